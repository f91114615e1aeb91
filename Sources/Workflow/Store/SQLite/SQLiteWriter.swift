import Dispatch
import Foundation
import GRDB
import Synchronization

/// The one thread with the one writing connection of this process.
///
/// Operations queue; the thread takes all that wait, runs each in a savepoint inside one transaction, commits once and
/// answers all. An operation that does not hurry waits for the next one that does, but no longer than the flush delay.
final class SQLiteWriter: Sendable {
    /// Something to do in the next transaction.
    struct Operation: Sendable {
        let urgency: WriteUrgency
        /// Runs in a savepoint; if it throws, only this operation is rolled back.
        let apply: @Sendable (Database) throws -> Void
        /// Called after the commit, in the order of submission, with the error if there was one.
        let completion: @Sendable ((any Error)?) -> Void
    }

    private struct State {
        var waiting: [Operation] = []
        var hurries = false
        var flushAt: ContinuousClock.Instant?
        /// When the oldest of those that wait came.
        var waitingSince: ContinuousClock.Instant?
        var isStopping = false
        var isSevered = false
        var commits = 0
    }

    private enum Turn {
        case take([Operation], of: Int, since: ContinuousClock.Instant)
        case wait(until: ContinuousClock.Instant?)
        case stop
    }

    /// How many operations one transaction takes at most.
    private static let groupLimit = 1024

    private let database: WritingDatabase
    private let flushDelay: Duration
    private let metrics: StoreMetrics
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = Promise<Void>()

    private init(database: WritingDatabase, flushDelay: Duration, metrics: StoreMetrics) {
        self.database = database
        self.flushDelay = flushDelay
        self.metrics = metrics
    }

    /// Opens the database on a new thread, and keeps the thread.
    static func open(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) async throws -> SQLiteWriter {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<SQLiteWriter, any Error>) in
            let thread = Thread {
                let writer: SQLiteWriter
                do {
                    let database = try WritingDatabase.open(configuration, metrics)
                    writer = SQLiteWriter(
                        database: database, flushDelay: configuration.flushDelay, metrics: metrics)
                } catch {
                    continuation.resume(throwing: StoreErrors.translate(error, path: configuration.path))
                    return
                }
                continuation.resume(returning: writer)
                writer.loop()
            }
            thread.name = "workflow-writer"
            thread.start()
        }
    }

    var commitCount: Int { state.withLock { $0.commits } }

    /// How many operations wait.
    var backlog: Int { state.withLock { $0.waiting.count } }

    func submit(_ operation: Operation) {
        let refusal = state.withLock { state -> WorkflowError? in
            if state.isSevered { return .severed }
            if state.isStopping { return WorkflowError(.engineClosed, "the engine was shut down") }
            let now = ContinuousClock.now
            state.waiting.append(operation)
            if state.waitingSince == nil { state.waitingSince = now }
            switch operation.urgency {
            case .now: state.hurries = true
            case .withNext: state.flushAt = state.flushAt ?? now.advanced(by: flushDelay)
            }
            return nil
        }
        if let refusal {
            operation.completion(refusal)
        } else {
            wake.signal()
        }
    }

    /// Runs an operation at once and returns its result after the commit.
    func perform<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<T, any Error>) in
            let result = Mutex<T?>(nil)
            let box = Box(result)
            submit(
                Operation(urgency: .now) { db in
                    let value = try body(db)
                    box.value.withLock { $0 = value }
                } completion: { error in
                    if let error {
                        continuation.resume(throwing: error)
                    } else if let value = box.value.withLock({ $0 }) {
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
        let waiting = state.withLock { state -> [Operation] in
            state.isSevered = true
            state.isStopping = true
            defer { state.waiting = [] }
            return state.waiting
        }
        wake.signal()
        for operation in waiting { operation.completion(WorkflowError.severed) }
    }

    private var isSevered: Bool { state.withLock { $0.isSevered } }

    private func loop() {
        while true {
            switch turn() {
            case .take(let operations, let queue, let since): commit(operations, of: queue, since: since)
            case .wait(until: nil): wake.wait()
            case .wait(until: .some(let instant)):
                let left = max(ContinuousClock.now.duration(to: instant), .zero)
                let nanoseconds = Int(clamping: left.components.attoseconds / 1_000_000_000)
                // A time-out is as good as a signal: the queue is looked at again.
                _ = wake.wait(timeout: .now() + .nanoseconds(nanoseconds) + .seconds(Int(left.components.seconds)))
            case .stop:
                database.close()
                stopped.fulfil(())
                return
            }
        }
    }

    private func turn() -> Turn {
        state.withLock { state in
            if state.waiting.isEmpty { return state.isStopping ? .stop : .wait(until: nil) }
            if !state.hurries, !state.isStopping, let flushAt = state.flushAt, flushAt > .now {
                return .wait(until: flushAt)
            }
            let queue = state.waiting.count
            let group = Array(state.waiting.prefix(Self.groupLimit))
            let now = ContinuousClock.now
            let since = state.waitingSince ?? now
            state.waiting.removeFirst(group.count)
            state.hurries = state.waiting.contains { $0.urgency == .now }
            state.flushAt = state.waiting.isEmpty ? nil : now
            state.waitingSince = state.waiting.isEmpty ? nil : since
            return .take(group, of: queue, since: since)
        }
    }

    private func commit(_ operations: [Operation], of queue: Int, since: ContinuousClock.Instant) {
        var errors: [(any Error)?]
        do {
            errors = try database.transaction(operations.map(\.apply)) { [self] in
                guard !isSevered else { throw WorkflowError.severed }
            }
            state.withLock { $0.commits += 1 }
            metrics.committed(operations: operations.count, of: queue, latency: since.duration(to: .now))
        } catch {
            metrics.commitFailed()
            errors = operations.map { _ in error }
        }
        let cut = isSevered
        for (operation, error) in zip(operations, errors) {
            operation.completion(cut ? WorkflowError.severed : error.map { database.translate($0) })
        }
        if !cut { database.checkpointIfNeeded() }
    }
}

/// Carries a value that cannot be copied into closures.
private final class Box<Value: ~Copyable & Sendable>: Sendable {
    let value: Value
    init(_ value: consuming Value) { self.value = value }
}

extension WorkflowError {
    static var severed: WorkflowError {
        WorkflowError(.engineClosed, "the engine was cut off, as if its process had died")
    }
}
