import CoreMetrics
import SnapshotSteps
import Synchronization
import Workflow

/// What a worker counts, besides its engine. Without `--listen` nothing comes of it.
final class WorkerMetrics: Sendable {
    /// What the metrics mean; the labels are those of the program and of its engine.
    static let help = [
        "snapwf.runs": "Runs that this worker stopped to execute, by how.",
        "snapwf.runs.working": "Runs of the queue that this worker works on.",
        "snapwf.runs.resting": "Runs of the queue that this worker holds and that wait for something.",
        "snapwf.leases.lost": "Runs that this worker lost, because it could not hold or record them any more.",
        "snapwf.queue.wait": "From the submission of a run to its first execution.",
        "snapwf.queue.depth": "Runs of the queue that a worker may take now, over the whole store.",
        "snapwf.queue.foreign": "Of those, the ones of another version, which this worker leaves to others.",
        "snapwf.queue.later": "Runs of the queue that are to be taken later, over the whole store.",
        "snapwf.queue.parked": "Runs of the queue that wait for a person, over the whole store.",
        "snapwf.queue.oldest.seconds": "For how long the first run that waits in the queue could have been taken.",
        "snapwf.sandboxes.held": "Sandboxes of the runs that this worker executes.",
        "snapwf.provider.requests": "Requests to Sandbox APIs, by provider.",
        "snapwf.provider.failures": "Requests to Sandbox APIs that failed, by provider.",
        "snapwf.provider.throttled": "Requests that a Sandbox API refused with 429, by provider.",
        "snapwf.store.available": "Whether the store answered when it was last asked.",
        "workflow.runs.active": "Runs that the engine executes.",
        "workflow.run.duration": "How long an execution of a run took, by outcome.",
        "workflow.step.duration": "How long steps took, all attempts together, by outcome.",
        "workflow.step.attempts": "Attempts of steps, by outcome.",
        "workflow.steps.replayed": "Steps that answered from their checkpoints.",
        "workflow.claim.duration": "How long it took to take runs from the queue.",
        "workflow.commit.duration": "How long transactions of the store took.",
        "workflow.commit.latency": "How long the first change of a transaction waited until it was committed.",
        "workflow.commit.operations": "Changes in a transaction.",
        "workflow.commit.queue": "Changes that waited when a transaction began.",
        "workflow.commit.failures": "Transactions that failed.",
        "workflow.lock.wait": "How long transactions waited for the store's lock.",
        "workflow.checkpoint.duration": "How long moving the store's log took.",
    ]

    private struct Made {
        var counters: [String: Counter] = [:]
        var meters: [String: Meter] = [:]
        var timers: [String: CoreMetrics.Timer] = [:]
    }

    private let made = Mutex(Made())

    func ended(_ queue: String, _ outcome: String) {
        counter("snapwf.runs", [("queue", queue), ("outcome", outcome)]).increment()
        if outcome == "lost" { counter("snapwf.leases.lost", []).increment() }
    }

    func began(_ queue: String, after wait: Duration) {
        let timer = made.withLock { made in
            let timer =
                made.timers[queue] ?? CoreMetrics.Timer(label: "snapwf.queue.wait", dimensions: [("queue", queue)])
            made.timers[queue] = timer
            return timer
        }
        timer.recordNanoseconds(Int64(min(max(wait / .seconds(1), 0), 1e9) * 1e9))
    }

    func asked(_ provider: String) { counter("snapwf.provider.requests", [("provider", provider)]).increment() }

    func failed(_ provider: String, isThrottled: Bool) {
        counter("snapwf.provider.failures", [("provider", provider)]).increment()
        if isThrottled { counter("snapwf.provider.throttled", [("provider", provider)]).increment() }
    }

    /// Makes series that are 0 until something happens, so that what never happened is seen, too.
    func prepare(_ queues: [String]) {
        for queue in queues {
            for outcome in ["succeeded", "failed", "cancelled"] {
                _ = counter("snapwf.runs", [("queue", queue), ("outcome", outcome)])
            }
        }
        _ = counter("snapwf.leases.lost", [])
    }

    func show(_ load: WorkerLoad) {
        meter("snapwf.runs.working", load.queue).set(load.working)
        meter("snapwf.runs.resting", load.queue).set(load.resting)
    }

    func show(_ figures: QueueFigures, of queue: String) {
        meter("snapwf.queue.depth", queue).set(figures.due)
        meter("snapwf.queue.foreign", queue).set(figures.foreign)
        meter("snapwf.queue.later", queue).set(figures.later)
        meter("snapwf.queue.parked", queue).set(figures.parked)
        meter("snapwf.queue.oldest.seconds", queue).set((figures.oldest ?? .zero) / .seconds(1))
    }

    func show(sandboxes: Int) { meter("snapwf.sandboxes.held", nil).set(sandboxes) }

    func show(storeAnswers: Bool) { meter("snapwf.store.available", nil).set(storeAnswers ? 1 : 0) }

    private func counter(_ label: String, _ dimensions: [(String, String)]) -> Counter {
        made.withLock { made in
            let key = label + dimensions.map { "\n\($1)" }.joined()
            let counter = made.counters[key] ?? Counter(label: label, dimensions: dimensions)
            made.counters[key] = counter
            return counter
        }
    }

    private func meter(_ label: String, _ queue: String?) -> Meter {
        made.withLock { made in
            let key = label + "\n" + (queue ?? "")
            let meter =
                made.meters[key] ?? Meter(label: label, dimensions: queue.map { [("queue", $0)] } ?? [])
            made.meters[key] = meter
            return meter
        }
    }
}
