import CoreMetrics
import Synchronization

/// What executions tell the metrics backend that was in force when the engine was opened.
///
/// Without a backend nothing is looked up and nothing is allocated. With one, every series is made once and kept.
final class RunMetrics: Sendable {
    /// What tells one series of a label from another.
    private struct Series: Hashable {
        let label: Label
        let workflow: String
        let step: String?
        let outcome: String?
        var queue: String?
    }

    private enum Label: String {
        case runDuration = "workflow.run.duration"
        case stepDuration = "workflow.step.duration"
        case stepAttempts = "workflow.step.attempts"
        case stepsReplayed = "workflow.steps.replayed"
        case claimDuration = "workflow.claim.duration"
    }

    private struct Made {
        var timers: [Series: CoreMetrics.Timer] = [:]
        var counters: [Series: Counter] = [:]
    }

    /// How many series there are at most; names beyond it are counted as "other". Backends keep every series for ever.
    private static let seriesLimit = 2000

    private let factory: (any MetricsFactory)?
    private let active: Meter?
    private let made = Mutex(Made())

    init(_ factory: any MetricsFactory) {
        let backend = factory is NOOPMetricsHandler ? nil : factory
        self.factory = backend
        active = backend.map { Meter(label: "workflow.runs.active", factory: $0) }
    }

    func runBegan() { active?.increment() }

    func runEnded(_ workflow: String, outcome: String, since began: ContinuousClock.Instant) {
        guard let active else { return }
        active.decrement()
        timer(Series(label: .runDuration, workflow: workflow, step: nil, outcome: outcome))?
            .recordNanoseconds(began.duration(to: .now).wholeNanoseconds)
    }

    func stepEnded(_ workflow: String, _ step: String, outcome: String, since began: ContinuousClock.Instant) {
        guard factory != nil else { return }
        timer(Series(label: .stepDuration, workflow: workflow, step: Self.series(of: step), outcome: outcome))?
            .recordNanoseconds(began.duration(to: .now).wholeNanoseconds)
    }

    func attemptEnded(_ workflow: String, _ step: String, outcome: String) {
        guard factory != nil else { return }
        counter(Series(label: .stepAttempts, workflow: workflow, step: Self.series(of: step), outcome: outcome))?
            .increment()
    }

    /// A worker got runs of a queue from the store.
    func claimed(_ queue: String, since asked: ContinuousClock.Instant) {
        timer(Series(label: .claimDuration, workflow: "", step: nil, outcome: nil, queue: queue))?
            .recordNanoseconds(asked.duration(to: .now).wholeNanoseconds)
    }

    func stepReplayed(_ workflow: String) {
        counter(Series(label: .stepsReplayed, workflow: workflow, step: nil, outcome: nil))?.increment()
    }

    /// The name without the index that a loop gives it: `layer[3]` is one of the series `layer`.
    static func series(of step: String) -> String {
        guard step.utf8.last == UInt8(ascii: "]"), let bracket = step.firstIndex(of: "["), bracket > step.startIndex
        else { return step }
        return String(step[..<bracket])
    }

    private func timer(_ series: Series) -> CoreMetrics.Timer? {
        guard let factory else { return nil }
        return made.withLock { made in
            if let timer = made.timers[series] { return timer }
            let series = bounded(series, made)
            if let timer = made.timers[series] { return timer }
            let timer = CoreMetrics.Timer(
                label: series.label.rawValue, dimensions: dimensions(series), factory: factory)
            made.timers[series] = timer
            return timer
        }
    }

    private func counter(_ series: Series) -> Counter? {
        guard let factory else { return nil }
        return made.withLock { made in
            if let counter = made.counters[series] { return counter }
            let series = bounded(series, made)
            if let counter = made.counters[series] { return counter }
            let counter = Counter(label: series.label.rawValue, dimensions: dimensions(series), factory: factory)
            made.counters[series] = counter
            return counter
        }
    }

    private func bounded(_ series: Series, _ made: Made) -> Series {
        guard made.timers.count + made.counters.count >= Self.seriesLimit else { return series }
        return Series(
            label: series.label, workflow: "other", step: series.step.map { _ in "other" }, outcome: series.outcome,
            queue: series.queue.map { _ in "other" })
    }

    private func dimensions(_ series: Series) -> [(String, String)] {
        if let queue = series.queue { return [("queue", queue)] }
        var dimensions = [("workflow", series.workflow)]
        if let step = series.step { dimensions.append(("step", step)) }
        if let outcome = series.outcome { dimensions.append(("outcome", outcome)) }
        return dimensions
    }
}
