import Dispatch
import Foundation
import Glibc
import Synchronization

/// What commits for a ``CommitThread``. Made, used and closed on that thread.
protocol CommitBackend: SendableMetatype {
    associatedtype Operation: CommitOperation

    /// Runs the operations in one transaction, and commits.
    ///
    /// - Parameter lastCheck: called right before the commit; if it throws, everything is rolled back.
    /// - Returns: the error of each operation that was rolled back alone; empty when there is none.
    func transaction(_ operations: [Operation], lastCheck: () throws -> Void) throws -> [(any Error)?]
    /// An error in the words of the engine.
    func translate(_ error: any Error) -> any Error
    /// After the answers of a transaction, unless the store was cut off.
    func tidy()
    /// - Parameter isCutOff: whether nothing may be written any more.
    func close(isCutOff: Bool)
}

/// The one thread with the one writing connection of this process.
///
/// Operations queue; the thread takes all that wait, runs them in one transaction, commits once and answers all. An
/// operation that does not hurry waits for the next one that does, but no longer than the flush delay.
final class CommitThread<Backend: CommitBackend>: Sendable {
    typealias Operation = Backend.Operation

    private struct State {
        var queue = CommitQueue<Operation>()
        var isStopping = false
        var isSevered = false
        var isClosed = false
        var commits = 0
    }

    private enum Answer {
        case refused(WorkflowError)
        case queued(mustWake: Bool)
    }

    private enum Turn {
        case take(CommitQueue<Operation>.Group)
        case wait(until: ContinuousClock.Instant?)
        case stop
    }

    private let flushDelay: Duration
    private let metrics: StoreMetrics
    private let state: Mutex<State>
    let watch = CommitWatch()
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = Promise<Void>()
    private let thread: pthread_t

    /// Called on the thread.
    private init(_ flushDelay: Duration, _ metrics: StoreMetrics) {
        self.flushDelay = flushDelay
        self.metrics = metrics
        thread = pthread_self()
        state = Mutex(State())
    }

    /// Opens the backend on a new thread, and keeps the thread.
    ///
    /// - Parameter open: its error is thrown as it is.
    static func open(
        flushDelay: Duration, metrics: StoreMetrics, _ open: @escaping @Sendable () throws -> Backend
    ) async throws -> CommitThread {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<CommitThread, any Error>) in
            let thread = Thread {
                let backend: Backend
                do {
                    backend = try open()
                } catch {
                    continuation.resume(throwing: error)
                    return
                }
                let writer = CommitThread(flushDelay, metrics)
                continuation.resume(returning: writer)
                writer.loop(backend)
            }
            thread.name = "workflow-writer"
            thread.start()
        }
    }

    var commitCount: Int { state.withLock { $0.commits } }

    /// How many operations wait.
    var backlog: Int { state.withLock { $0.queue.count } }

    func submit(_ operation: Operation) {
        let answer = state.withLock { state -> Answer in
            if state.isSevered { return .refused(.severed) }
            if state.isStopping { return .refused(WorkflowError(.engineClosed, "the engine was shut down")) }
            return .queued(mustWake: state.queue.append(operation, at: .now, flushDelay: flushDelay))
        }
        if operation.urgency == .now { watch.announce() }
        switch answer {
        case .refused(let error): operation.completion(error)
        case .queued(let mustWake): if mustWake { wake.signal() }
        }
    }

    /// Commits what waits and closes the connection.
    func stop() async {
        state.withLock { $0.isStopping = true }
        wake.signal()
        await stopped.value()
    }

    /// Refuses everything from now on, also what waits, and lets a transaction that is under way roll back.
    func sever() {
        let waiting = state.withLock { state in
            state.isSevered = true
            state.isStopping = true
            return state.queue.removeAll()
        }
        wake.signal()
        for operation in waiting { operation.completion(WorkflowError.severed) }
    }

    private var isSevered: Bool { state.withLock { $0.isSevered } }

    /// Whether the caller is on the thread.
    var isCurrent: Bool { pthread_equal(pthread_self(), thread) != 0 }

    /// Whether the backend is closed and nothing will be done any more.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    // MARK: - The thread

    private func loop(_ backend: Backend) {
        var hasCommitted = false
        while true {
            switch turn() {
            case .take(let group):
                commit(group, backend)
                hasCommitted = true
            case .wait where hasCommitted:
                hasCommitted = false
                // Whether or not something came, the queue says what is next.
                watch.lookForMore()
            case .wait(until: nil): wake.wait()
            case .wait(until: .some(let instant)):
                // A time-out is as good as a signal: the queue is looked at again.
                let left = max(ContinuousClock.now.duration(to: instant), .zero)
                _ = wake.wait(timeout: .now() + .nanoseconds(Int(clamping: left.wholeNanoseconds)))
            case .stop:
                backend.close(isCutOff: isSevered)
                state.withLock { $0.isClosed = true }
                stopped.fulfil(())
                return
            }
        }
    }

    private func turn() -> Turn {
        state.withLock { state in
            switch state.queue.next(at: .now, isStopping: state.isStopping) {
            case .take(let group): return .take(group)
            case .wait(let until): return state.isStopping ? .stop : .wait(until: until)
            }
        }
    }

    private func commit(_ group: CommitQueue<Operation>.Group, _ backend: Backend) {
        let operations = group.operations
        var common: (any Error)?
        var errors: [(any Error)?] = []
        let began = ContinuousClock.now
        do {
            errors = try backend.transaction(operations) { [self] in
                guard !isSevered else { throw WorkflowError.severed }
            }
            state.withLock { $0.commits += 1 }
            watch.committed(in: began.duration(to: .now))
            metrics.committed(
                operations: operations.count, of: group.queued, latency: group.waitingSince.duration(to: .now))
        } catch {
            metrics.commitFailed()
            common = backend.translate(error)
        }
        let isCut = isSevered
        if isCut { common = WorkflowError.severed }
        for (index, operation) in operations.enumerated() {
            let own = errors.isEmpty ? nil : errors[index].map { backend.translate($0) }
            operation.completion(common ?? own)
        }
        state.withLock { $0.queue.linger(until: .now.advanced(by: flushDelay)) }
        if !isCut { backend.tidy() }
    }
}

extension WorkflowError {
    static var severed: WorkflowError {
        WorkflowError(.engineClosed, "the engine was cut off, as if its process had died")
    }
}
