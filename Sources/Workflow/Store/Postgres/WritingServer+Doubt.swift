import Glibc

/// What became of a transaction whose answer was lost.
extension WritingServer {
    /// Finds out whether the transaction was committed whose answer was lost.
    ///
    /// - Returns: the errors of the operations if it was; `nil` if there is none, or it was not committed and will not be.
    func settled(
        _ operations: [PostgresOperation], _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?]? {
        guard let doubtful else { return nil }
        let connection = try link.connected(lastCheck)
        guard try lastCommit(connection, lastCheck) == Int64(doubtful) else { return nil }
        return try operations.enumerated().map { index, operation in
            if !undone.isEmpty, let error = undone[index] { return error }
            guard !operation.recovery.isEmpty else { return nil }
            do {
                try operation.read(try connection.pipeline(operation.recovery).map { try $0.get() })
                return nil
            } catch let error as PostgresError where error.isLost {
                throw error
            } catch {
                return error
            }
        }
    }

    /// The number of the last transaction that was committed, once none is under way any more.
    ///
    /// - Throws: `storeUnavailable` if one that has the row neither commits nor goes away in time: then it is not known whether
    ///   it will.
    private func lastCommit(_ connection: PostgresConnection, _ lastCheck: () throws -> Void) throws -> Int64? {
        let deadline = ContinuousClock.now + doubtPatience
        while true {
            do {
                // This waits for a transaction that still has the row, also for one that inserts it.
                return try connection.run(
                    """
                    INSERT INTO writers (id, commits, seen_at) VALUES ($1::uuid, 0, now())
                    ON CONFLICT (id) DO UPDATE SET seen_at = now() RETURNING commits
                    """, [writer]
                ).first?.needInteger("commits")
            } catch let error as PostgresError where error.hasWaitedInVain {
                guard ContinuousClock.now < deadline else { throw PostgresErrors.unknownOutcome(link.name, error) }
                try lastCheck()
                usleep(50_000)
            }
        }
    }
}
