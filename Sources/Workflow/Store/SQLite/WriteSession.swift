import GRDB

/// What operations work with inside a transaction: the connection, its compiled statements, and what it remembers.
/// Belongs to the writer's thread, for as long as the connection is open.
final class WriteSession {
    let db: Database
    let statements: RunStatements
    let sequence = SequenceNumbers()
    /// Numbers of runs that were written to lately. Forgotten with every rollback: what was rolled back may have made
    /// the run, and its number then goes to another one.
    private var numbers: [RunID: Int64] = [:]
    /// How many are kept at most.
    private static let numbersLimit = 8192
    private let transaction: TransactionStatements

    init(_ db: Database, rewrite: @escaping @Sendable (RunStatement, String) -> String) throws {
        self.db = db
        statements = RunStatements(rewrite: rewrite)
        transaction = try TransactionStatements(db)
    }

    // MARK: - Runs

    /// The run's number.
    func number(of run: RunID) throws -> Int64 {
        if let known = numbers[run] { return known }
        let found = try Int64.fetchOne(db, sql: "SELECT no FROM runs WHERE id = ?", arguments: [run.description])
        // A run that is gone was over, and whoever still writes to it was taken over long ago.
        guard let found else { throw WorkflowError.takenOver(run) }
        remember(run, number: found)
        return found
    }

    func remember(_ run: RunID, number: Int64) {
        if numbers.count >= Self.numbersLimit { numbers = [:] }
        numbers[run] = number
    }

    /// What was done since the transaction or the savepoint began is undone.
    private func wasRolledBack() {
        numbers = [:]
        sequence.abandon()
    }

    // MARK: - Transactions

    /// One of several operations failed, and with it the transaction.
    struct OperationFailure: Error {
        let cause: any Error
    }

    /// Runs all operations in one transaction, or none.
    ///
    /// - Parameter lastCheck: called right before the commit; if it throws, everything is rolled back.
    /// - Throws: ``OperationFailure``, or what kept the transaction from beginning or from being committed.
    func together(_ operations: [SQLiteOperation], lastCheck: () throws -> Void) throws {
        try inTransaction {
            for operation in operations {
                do {
                    try operation.apply(self)
                } catch {
                    throw OperationFailure(cause: error)
                }
            }
            try lastCheck()
        }
    }

    /// Runs each operation in a savepoint of one transaction.
    ///
    /// - Returns: the error of each operation that was rolled back alone.
    func oneByOne(_ operations: [SQLiteOperation], lastCheck: () throws -> Void) throws -> [(any Error)?] {
        var errors: [(any Error)?] = []
        try inTransaction {
            for operation in operations {
                try transaction.savepoint.run()
                do {
                    try operation.apply(self)
                    errors.append(nil)
                } catch {
                    // Some errors (a full disk, failing I/O) make SQLite end the whole transaction.
                    guard db.isInsideTransaction else { throw error }
                    try transaction.rollbackToSavepoint.run()
                    wasRolledBack()
                    errors.append(error)
                }
                try transaction.release.run()
            }
            try lastCheck()
        }
        return errors
    }

    private func inTransaction(_ body: () throws -> Void) throws {
        try transaction.begin.run()
        do {
            try sequence.begin(version: transaction.dataVersion.integer())
            try body()
            try transaction.commit.run()
        } catch {
            wasRolledBack()
            // Where SQLite has not rolled back by itself, this only lets go of pages in memory: it cannot fail.
            if db.isInsideTransaction { try transaction.rollback.run() }
            throw error
        }
    }

    /// Before the connection is closed.
    func finalize() {
        statements.finalize()
        transaction.finalize()
    }
}

/// The statements around those of the operations.
private struct TransactionStatements {
    let begin: PreparedStatement
    let commit: PreparedStatement
    let rollback: PreparedStatement
    let savepoint: PreparedStatement
    let release: PreparedStatement
    let rollbackToSavepoint: PreparedStatement
    let dataVersion: PreparedStatement

    init(_ db: Database) throws {
        begin = try PreparedStatement("BEGIN IMMEDIATE", on: db)
        commit = try PreparedStatement("COMMIT", on: db)
        rollback = try PreparedStatement("ROLLBACK", on: db)
        savepoint = try PreparedStatement("SAVEPOINT operation", on: db)
        release = try PreparedStatement("RELEASE operation", on: db)
        rollbackToSavepoint = try PreparedStatement("ROLLBACK TO operation", on: db)
        dataVersion = try PreparedStatement("PRAGMA data_version", on: db)
    }

    func finalize() {
        for statement in [begin, commit, rollback, savepoint, release, rollbackToSavepoint, dataVersion] {
            statement.finalize()
        }
    }
}
