import GRDB

/// The thread with the writing connection to SQLite.
typealias SQLiteWriter = CommitThread<WritingDatabase>

/// Something to do in the next transaction.
struct SQLiteOperation: CommitOperation {
    let urgency: WriteUrgency
    /// What changes the store. If it throws, only this operation is rolled back.
    ///
    /// It may be called twice: when another one of the same transaction failed, all are run again.
    let apply: @Sendable (WriteSession) throws -> Void
    let completion: @Sendable ((any Error)?) -> Void
}

extension CommitThread where Backend == WritingDatabase {
    static func open(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) async throws -> SQLiteWriter {
        try await open(flushDelay: configuration.flushDelay, metrics: metrics) {
            do {
                return try WritingDatabase(configuration, metrics)
            } catch {
                throw StoreErrors.translate(error, path: configuration.path)
            }
        }
    }

    /// Runs an operation at once and returns its result after the commit. `body` may be called twice.
    func perform<T: Sendable>(_ body: @escaping @Sendable (WriteSession) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<T, any Error>) in
            let result = Slot<T>()
            submit(
                SQLiteOperation(urgency: .now) { session in
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
}
