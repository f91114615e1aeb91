import Foundation
import Synchronization

/// How a call of code outside the engine ended.
enum Ending<Output: Sendable>: Sendable {
    case returned(Output)
    case threw(any Error)
    /// The deadline passed first; whatever the code answers later is discarded.
    case timedOut
    /// It was cancelled and did not end within the grace period; whatever it answers later is discarded.
    case abandoned
}

/// One call of code outside the engine, in a task of its own, so that neither a hung body nor one that ignores its
/// cancellation can hold up the run.
final class Attempt<Output: Sendable>: Sendable {
    private struct State {
        var isExpired = false
        var isOver = false
        var isCancelled = false
        var tasks: [Task<Void, Never>] = []
    }

    private let grace: Duration
    private let state = Mutex(State())
    private let ending = Promise<Ending<Output>>()

    init(grace: Duration) {
        self.grace = grace
    }

    func run(
        until deadline: Timestamp?, clock: any EngineClock, _ body: @escaping @Sendable () async throws -> Output
    ) async -> Ending<Output> {
        let work: @Sendable () async -> Void = { [self] in
            do {
                let output = try await body()
                end(.returned(output))
            } catch {
                end(.threw(error))
            }
        }
        // What answers without waiting for anything needs no turn of its own in the pool. With a limit it gets one:
        // a body that keeps its thread busy must not keep this one from seeing the time pass.
        let isWatched = deadline != nil || state.withLock { !$0.tasks.isEmpty }
        adopt(isWatched ? Task { await work() } : Task.immediate { await work() })
        if let deadline {
            adopt(
                Task { [self] in
                    do {
                        try await clock.expire(at: deadline.date)
                    } catch {
                        return  // the body was faster
                    }
                    expire()
                })
        }
        return await ending.value()
    }

    /// Gives the attempt up, as at its deadline, once it has been silent for too long.
    func watch(_ heartbeat: Heartbeat, _ clock: any EngineClock) {
        adopt(
            Task { [self] in
                do {
                    try await heartbeat.untilMissed(clock)
                } catch {
                    return  // the body was faster
                }
                expire()
            })
    }

    /// Cancels the body's task and gives it the grace period to end.
    func cancel() {
        let isNew = state.withLock { state in
            defer { state.isCancelled = true }
            return !state.isCancelled && !state.isOver
        }
        guard isNew else { return }
        for task in state.withLock({ $0.tasks }) { task.cancel() }
        Task { [self] in
            do {
                try await Task.sleep(for: grace, clock: .continuous)
            } catch {
                return  // nobody cancels this task
            }
            end(.abandoned)
        }
    }

    private func expire() {
        state.withLock { $0.isExpired = true }
        cancel()
    }

    private func end(_ ending: Ending<Output>) {
        let (isExpired, tasks) = state.withLock { state in
            state.isOver = true
            defer { state.tasks = [] }
            return (state.isExpired, state.tasks)
        }
        guard self.ending.fulfil(isExpired ? .timedOut : ending) else { return }
        for task in tasks { task.cancel() }
    }

    private func adopt(_ task: Task<Void, Never>) {
        let isTooLate = state.withLock { state in
            if !state.isOver { state.tasks.append(task) }
            return state.isOver || state.isCancelled
        }
        if isTooLate { task.cancel() }
    }
}
