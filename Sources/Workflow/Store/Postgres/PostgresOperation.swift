/// Something to do in the next transaction: statements that travel at once, and what becomes of their answers.
struct PostgresOperation: CommitOperation {
    let urgency: WriteUrgency
    /// The statements; called anew for each try. If it throws, nothing of the operation is done.
    let queries: @Sendable () throws -> [PostgresQuery]
    /// What is asked instead, one query for each, where the transaction was committed and its answers were lost. Empty where
    /// the answers say nothing.
    var recovery: [PostgresQuery] = []
    /// Whether the commit has to be safe from the loss of power before it is answered.
    var isDurable = true
    /// The queue whose limits it looks at: its row is locked first, with those of the other operations in the transaction.
    var queueLock: String? = nil
    /// Called inside the transaction, when everything is done and not yet committed.
    var during: (@Sendable () -> Void)? = nil
    /// What it means that a statement that had to change a row did not.
    var refusal: @Sendable (PostgresError.Refusal) -> any Error = { _ in
        WorkflowError(.storeFailed, "a change does not fit what is recorded")
    }
    /// Whatever went wrong, once it did.
    var failed: @Sendable () -> Void = {}
    /// Takes the answers, after the commit.
    var read: @Sendable ([PostgresResult]) throws -> Void = { _ in }
    let completion: @Sendable ((any Error)?) -> Void
}

extension CommitThread where Backend == WritingServer {
    /// Runs statements at once and returns what `read` made of the answers, after the commit.
    func perform<T: Sendable>(
        _ queries: @escaping @Sendable () throws -> [PostgresQuery], recovery: [PostgresQuery] = [],
        during: (@Sendable () -> Void)? = nil, isDurable: Bool = true, queueLock: String? = nil,
        refusal: (@Sendable (PostgresError.Refusal) -> any Error)? = nil,
        _ read: @escaping @Sendable ([PostgresResult]) throws -> T
    ) async throws -> T {
        let result = Slot<T>()
        return try await watch.outcome { completion in
            submit(
                PostgresOperation(
                    urgency: .now, queries: queries, recovery: recovery, isDurable: isDurable, queueLock: queueLock,
                    during: during,
                    refusal: refusal ?? { _ in
                        WorkflowError(.storeFailed, "a change does not fit what is recorded")
                    },
                    read: { result.value = try read($0) }
                ) { error in
                    if let error {
                        completion(.failure(error))
                    } else if let value = result.value {
                        completion(.success(value))
                    } else {
                        completion(.failure(WorkflowError(.storeFailed, "an operation left no result")))
                    }
                })
        }
    }
}
