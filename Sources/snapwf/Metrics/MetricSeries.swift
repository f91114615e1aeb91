import CoreMetrics
import Synchronization

/// One line, or some, of the page of metrics. Safe from any thread; none waits for more than a few instructions.
protocol MetricSeries: Sendable {
    /// - Parameters:
    ///   - name: of the metric.
    ///   - labels: of the series.
    func samples(_ name: String, _ labels: [(String, String)]) -> String
}

/// What only grows.
final class CounterSeries: MetricSeries, CounterHandler, FloatingPointCounterHandler {
    private let value = Mutex(0.0)

    func increment(by amount: Int64) { increment(by: Double(amount)) }
    func increment(by amount: Double) { value.withLock { $0 += max(amount, 0) } }
    func reset() { value.withLock { $0 = 0 } }

    func samples(_ name: String, _ labels: [(String, String)]) -> String {
        "\(name)\(Exposition.labels(labels)) \(Exposition.number(value.withLock { $0 }))\n"
    }
}

/// What goes up and down.
final class GaugeSeries: MetricSeries, MeterHandler, RecorderHandler {
    private let value = Mutex(0.0)

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { value.withLock { $0 -= amount } }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }

    func samples(_ name: String, _ labels: [(String, String)]) -> String {
        "\(name)\(Exposition.labels(labels)) \(Exposition.number(value.withLock { $0 }))\n"
    }
}

/// How often values were how large.
final class HistogramSeries: MetricSeries, RecorderHandler, TimerHandler {
    private struct State {
        var counts: [UInt64]
        var count: UInt64 = 0
        var sum = 0.0
    }

    /// Seconds: from half a millisecond, which a commit takes, to hours, which a run may.
    static let seconds: [Double] = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800,
        7200,
    ]
    /// Numbers of things.
    static let numbers: [Double] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000]

    private let bounds: [Double]
    private let state: Mutex<State>

    /// - Parameter bounds: ascending; each is the largest value of its bucket.
    init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count)))
    }

    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

    func record(_ value: Double) {
        guard value.isFinite else { return }
        let bucket = bounds.firstIndex { value <= $0 }
        state.withLock { state in
            if let bucket { state.counts[bucket] += 1 }
            state.count += 1
            state.sum += value
        }
    }

    func samples(_ name: String, _ labels: [(String, String)]) -> String {
        let (counts, count, sum) = state.withLock { ($0.counts, $0.count, $0.sum) }
        var text = ""
        var total: UInt64 = 0
        for (bound, number) in zip(bounds, counts) {
            total += number
            text += "\(name)_bucket\(Exposition.labels(labels + [("le", Exposition.number(bound))])) \(total)\n"
        }
        text += "\(name)_bucket\(Exposition.labels(labels + [("le", "+Inf")])) \(count)\n"
        text += "\(name)_sum\(Exposition.labels(labels)) \(Exposition.number(sum))\n"
        text += "\(name)_count\(Exposition.labels(labels)) \(count)\n"
        return text
    }
}
