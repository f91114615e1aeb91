import Dispatch
import Foundation
import Synchronization

/// A thread that works off a queue of closures, for calls that block.
final class WorkerThread: Sendable {
    private struct State {
        var queue: [@Sendable () -> Void] = []
        var isStopped = false
    }

    private let state: Mutex<State>
    private let wake = DispatchSemaphore(value: 0)

    private init() {
        state = Mutex(State())
    }

    /// Starts the thread. It ends after ``stop()`` once the queue is empty.
    static func start(name: String) -> WorkerThread {
        let worker = WorkerThread()
        let thread = Thread { worker.loop() }
        thread.name = name
        thread.start()
        return worker
    }

    /// Queues a closure.
    ///
    /// - Returns: `false` if the thread was stopped; the closure is then not called.
    func submit(_ work: @escaping @Sendable () -> Void) -> Bool {
        let accepted = state.withLock { state in
            guard !state.isStopped else { return false }
            state.queue.append(work)
            return true
        }
        if accepted { wake.signal() }
        return accepted
    }

    /// Runs a closure on the thread and returns what it returned.
    func perform<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let accepted = submit { continuation.resume(with: Result { try work() }) }
            if !accepted {
                continuation.resume(throwing: WorkflowError(.engineClosed, "the store was closed: open it again"))
            }
        }
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        wake.signal()
    }

    private func loop() {
        while true {
            wake.wait()
            let (work, isOver) = state.withLock { state -> ([@Sendable () -> Void], Bool) in
                defer { state.queue = [] }
                return (state.queue, state.isStopped)
            }
            for closure in work { closure() }
            if isOver { return }
        }
    }
}
