import Foundation
import Synchronization

/// The progress reports of one attempt: the last one in memory at once, on disk at most every so often.
final class ProgressLog: Sendable {
    private struct State {
        var latest: String?
        var isDirty = false
        var isScheduled = false
        var isClosed = false
    }

    private let state: Mutex<State>
    private let attempt: StepAttempt
    let execution: RunExecution
    /// `nil` if the attempt may be silent.
    let heartbeat: Heartbeat?

    init(attempt: StepAttempt, latest: String?, heartbeat: Duration? = nil, execution: RunExecution) {
        self.attempt = attempt
        self.execution = execution
        self.heartbeat = heartbeat.map { Heartbeat(limit: $0, now: execution.now) }
        state = Mutex(State(latest: latest))
    }

    func report(_ progress: some Encodable) throws {
        try execution.requireInside(nil, "a report of step '\(attempt.key)'")
        try execution.require(.effect)
        heartbeat?.beat(at: execution.now)
        let text = try execution.encode(progress, what: "a progress report of step '\(attempt.key)'")
        let mustSchedule = try state.withLock { state throws(WorkflowError) in
            guard !state.isClosed else { throw outside }
            state.latest = text
            state.isDirty = true
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustSchedule { schedule() }
    }

    private var outside: WorkflowError {
        WorkflowError(
            .outsideStep,
            "attempt \(attempt.attempt) of step '\(attempt.key)' is over, because it returned, failed, or was given up "
                + "at its timeout, so its report counts for nothing: end the task that reports")
    }

    func last<P: Decodable>(as type: P.Type) -> P? {
        guard let latest = state.withLock({ $0.latest }) else { return nil }
        // A report of another shape is as good as none: the step begins from the start.
        return try? Payload.decode(type, from: latest)
    }

    var latest: String? { state.withLock { $0.latest } }

    /// The attempt is over; what is still to be written goes with its ending.
    func close() -> String? {
        state.withLock { state in
            state.isClosed = true
            return state.latest
        }
    }

    /// Writes the first report at once, and then the latest one after every interval in which something came.
    private func schedule() {
        write()
        Task { [self] in
            do {
                try await Task.sleep(for: execution.core.configuration.progressInterval, clock: .continuous)
            } catch {
                return  // nobody cancels this task
            }
            let isDirty = state.withLock { state in
                state.isScheduled = state.isDirty && !state.isClosed
                return state.isScheduled
            }
            if isDirty { schedule() }
        }
    }

    /// Submitted under the lock: after ``close()`` no report may follow the attempt's ending into the store.
    private func write() {
        state.withLock { state in
            guard state.isDirty, !state.isClosed, let text = state.latest else { return }
            state.isDirty = false
            do {
                try execution.enqueue(
                    [
                        .progress(attempt, text),
                        .event(NewEvent("step.progress", name: attempt.key, attempt: attempt.attempt, json: text)),
                    ], at: .step(attempt.key, "progress"))
            } catch {
                // The engine was cut off, as by a crash: nothing is written any more.
            }
        }
    }
}
