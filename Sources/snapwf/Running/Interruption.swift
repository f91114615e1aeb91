import Files
import Glibc
import Synchronization
import UnixSignals
import Workflow

/// What the signals that stop a program do to the runs of this process: the first lets them stop where they can go on
/// later, or ends them, the second ends the process at once.
final class Interruption: Sendable {
    /// What becomes of the sandboxes (`--on-interrupt`).
    enum Policy: String, CaseIterable { case keep, kill }

    private struct State {
        var isInterrupted = false
        var watchers: [Int: @Sendable () -> Void] = [:]
        var next = 0
        var task: Task<Void, Never>?
    }

    private let state = Mutex(State())

    /// Listens from now on.
    ///
    /// - Parameter note: tells a person; called on a thread of its own, because a terminal may be stuck.
    init(policy: Policy, engine: Engine, note: @escaping @Sendable (String) -> Void) async {
        // A lost terminal is an interrupt like any other.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let task = Task { [weak self] in
            var count = 0
            for await _ in signals {
                count += 1
                if count > 1 { _exit(130) }
                let watchers = self?.begin() ?? []
                for watcher in watchers { watcher() }
                if policy == .keep || watchers.isEmpty { Task { await engine.interrupt() } }
                Task {
                    await onOwnThread {
                        note(
                            policy == .keep
                                ? "stopping; the sandbox stays. Once more to leave at once."
                                : "ending the run and its sandbox. Once more to leave at once.")
                    }
                }
            }
        }
        state.withLock { $0.task = task }
    }

    deinit { end() }

    /// Whether somebody asked to stop.
    var isInterrupted: Bool { state.withLock { $0.isInterrupted } }

    /// Calls `watcher` once when somebody asks to stop, at once if somebody has.
    ///
    /// - Returns: what ``forget(_:)`` takes.
    func watch(_ watcher: @escaping @Sendable () -> Void) -> Int {
        let (token, isTooLate) = state.withLock { state in
            let token = state.next
            state.next += 1
            if !state.isInterrupted { state.watchers[token] = watcher }
            return (token, state.isInterrupted)
        }
        if isTooLate { watcher() }
        return token
    }

    func forget(_ token: Int) { state.withLock { $0.watchers[token] = nil } }

    private func begin() -> [@Sendable () -> Void] {
        state.withLock { state in
            state.isInterrupted = true
            defer { state.watchers = [:] }
            return Array(state.watchers.values)
        }
    }

    /// Listens no more; signals do what they do to every program.
    func end() { state.withLock { $0.task }?.cancel() }
}
