import Dispatch
import Foundation
import GRDB
import Synchronization

/// The one thread with the one writing connection of this process.
///
/// Operations queue; the thread takes all that wait, runs them in one transaction, commits once and answers all. An
/// operation that does not hurry waits for the next one that does, but no longer than the flush delay.
final class SQLiteWriter: Sendable {
    /// Something to do in the next transaction.
    struct Operation: Sendable {
        let urgency: WriteUrgency
        /// What changes the store. If it throws, only this operation is rolled back.
        ///
        /// It may be called twice: when another one of the same transaction failed, all are run again.
        let apply: @Sendable (WriteSession) throws -> Void
        /// Called after the commit, in the order of submission, with the error if there was one.
        let completion: @Sendable ((any Error)?) -> Void
    }

    private struct State {
        var queue = CommitQueue()
        var isStopping = false
        var isSevered = false
        var commits = 0
    }

    private enum Turn {
        case take(CommitQueue.Group)
        case wait(until: ContinuousClock.Instant?)
        case stop
    }

    private let flushDelay: Duration
    private let path: String
    private let metrics: StoreMetrics
    private let state: Mutex<State>
    let watch = CommitWatch()
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = Promise<Void>()

    private init(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) {
        flushDelay = configuration.flushDelay
        path = configuration.path
        self.metrics = metrics
        state = Mutex(State())
    }

    /// Opens the database on a new thread, and keeps the thread.
    static func open(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) async throws -> SQLiteWriter {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<SQLiteWriter, any Error>) in
            let thread = Thread {
                let database: WritingDatabase
                do {
                    database = try WritingDatabase(configuration, metrics)
                } catch {
                    continuation.resume(throwing: StoreErrors.translate(error, path: configuration.path))
                    return
                }
                let writer = SQLiteWriter(configuration, metrics)
                continuation.resume(returning: writer)
                writer.loop(database)
            }
            thread.name = "workflow-writer"
            thread.start()
        }
    }

    var commitCount: Int { state.withLock { $0.commits } }

    /// How many operations wait.
    var backlog: Int { state.withLock { $0.queue.count } }

    func submit(_ operation: Operation) {
        enum Answer {
            case refused(WorkflowError)
            case queued(mustWake: Bool)
        }
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

    /// Runs an operation at once and returns its result after the commit. `body` may be called twice.
    func perform<T: Sendable>(_ body: @escaping @Sendable (WriteSession) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<T, any Error>) in
            let result = Slot<T>()
            submit(
                Operation(urgency: .now) { session in
                    result.value = try body(session)
                } completion: { error in
                    if let error {
                        continuation.resume(throwing: error)
                    } else if let value = result.value {
                        continuation.resume(returning: value)
                    } else {
                        continuation.resume(throwing: WorkflowError(.storeFailed, "an operation left no result"))
                    }
                })
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

    // MARK: - The thread

    private func loop(_ database: WritingDatabase) {
        var hasCommitted = false
        while true {
            switch turn() {
            case .take(let group):
                commit(group, database)
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
                database.close()
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

    private func commit(_ group: CommitQueue.Group, _ database: WritingDatabase) {
        let operations = group.operations
        var common: (any Error)?
        var errors: [(any Error)?] = []
        let began = ContinuousClock.now
        do {
            errors = try database.transaction(operations) { [self] in
                guard !isSevered else { throw WorkflowError.severed }
            }
            state.withLock { $0.commits += 1 }
            watch.committed(in: began.duration(to: .now))
            metrics.committed(
                operations: operations.count, of: group.queued, latency: group.waitingSince.duration(to: .now))
        } catch {
            metrics.commitFailed()
            common = StoreErrors.translate(error, path: path)
        }
        let isCut = isSevered
        if isCut { common = WorkflowError.severed }
        for (index, operation) in operations.enumerated() {
            let own = errors.isEmpty ? nil : errors[index].map { StoreErrors.translate($0, path: path) }
            operation.completion(common ?? own)
        }
        state.withLock { $0.queue.linger(until: .now.advanced(by: flushDelay)) }
        if !isCut { database.checkpointIfNeeded() }
    }
}

extension WorkflowError {
    static var severed: WorkflowError {
        WorkflowError(.engineClosed, "the engine was cut off, as if its process had died")
    }
}
