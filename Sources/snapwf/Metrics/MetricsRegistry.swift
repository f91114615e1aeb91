import CoreMetrics
import Synchronization

/// Collects what the program and its engine measure, and prints it for Prometheus.
///
/// Names become Prometheus': a counter `snapwf.runs` is `snapwf_runs_total`, a timer `workflow.run.duration` is the histogram
/// `workflow_run_duration_seconds`. A series is kept until the process ends, and there are no more than
/// ``seriesLimit`` of them: what is beyond is counted nowhere but in `snapwf_metrics_dropped_total`.
final class MetricsRegistry: MetricsFactory {
    enum Kind: String, Sendable { case counter, gauge, histogram }

    private struct Family {
        let kind: Kind
        let help: String
        /// By the text of their labels.
        var series: [String: (labels: [(String, String)], series: any MetricSeries)] = [:]
    }

    private struct State {
        var families: [String: Family] = [:]
        var count = 0
    }

    static let seriesLimit = 3000
    private static let dropped = "snapwf_metrics_dropped_total"

    private let state = Mutex(State())
    private let droppedSeries = CounterSeries()
    private let help: [String: String]

    /// - Parameter help: what metrics mean, by the labels that they are made with; others have their label as explanation.
    init(help: [String: String] = [:]) {
        self.help = help
    }

    // MARK: - The page

    /// All series, in the order of their names.
    func page() -> String {
        let families = state.withLock { $0.families }
        var text = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            text += Exposition.head(name, family.help, family.kind.rawValue)
            for (_, series) in family.series.sorted(by: { $0.key < $1.key }) {
                text += series.series.samples(name, series.labels)
            }
        }
        text += Exposition.head(Self.dropped, "Series that were not kept, as there were too many.", "counter")
        return text + droppedSeries.samples(Self.dropped, [])
    }

    // MARK: - Series

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler { counter(label, dimensions) }

    func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        counter(label, dimensions)
    }

    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler { gauge(label, dimensions) }

    func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        guard aggregate else { return gauge(label, dimensions) }
        return series(Exposition.name(label), label, .histogram, dimensions) {
            HistogramSeries(bounds: HistogramSeries.numbers)
        }
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(Exposition.name(label) + "_seconds", label, .histogram, dimensions) {
            HistogramSeries(bounds: HistogramSeries.seconds)
        }
    }

    // What was counted stays counted.
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}

    private func counter(_ label: String, _ dimensions: [(String, String)]) -> CounterSeries {
        let name = Exposition.name(label)
        return series(name.hasSuffix("_total") ? name : name + "_total", label, .counter, dimensions) {
            CounterSeries()
        }
    }

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeSeries {
        series(Exposition.name(label), label, .gauge, dimensions) { GaugeSeries() }
    }

    /// The series of a name and labels; a new one that is on no page where there are too many, or where the name is another
    /// kind's.
    private func series<Series: MetricSeries>(
        _ name: String, _ label: String, _ kind: Kind, _ dimensions: [(String, String)], _ make: () -> Series
    ) -> Series {
        let labels = dimensions.map { (Exposition.labelName($0), $1) }.sorted { $0.0 < $1.0 }
        let key = Exposition.labels(labels)
        let found = state.withLock { state -> Series? in
            var family = state.families[name] ?? Family(kind: kind, help: help[label] ?? label)
            if let known = family.series[key] { return known.series as? Series }
            guard family.kind == kind, state.count < Self.seriesLimit else { return nil }
            let series = make()
            family.series[key] = (labels, series)
            state.families[name] = family
            state.count += 1
            return series
        }
        if let found { return found }
        droppedSeries.increment(by: Int64(1))
        return make()
    }
}
