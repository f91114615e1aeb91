import GRDB

/// Signals, and what runs know of the runs that they started.
extension SQLiteStore {
    func send(_ signal: NewSignal) async throws -> Bool {
        let isNew = try await writer.perform { [self] session in
            let db = session.db
            guard let status = try status(of: signal.run, db) else { throw WorkflowError.unknownRun(signal.run) }
            let no = try session.number(of: signal.run)
            let isKnown = try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM signals WHERE run_no = ? AND name = ? AND key = ?)",
                arguments: [no, signal.name, signal.key])
            if isKnown == true { return false }
            if status.isFinished { throw WorkflowError.alreadyFinished(signal.run, status) }
            let waiting = try Int.fetchOne(
                db, sql: "SELECT count(*) FROM signals WHERE run_no = ? AND received_by IS NULL", arguments: [no])
            guard waiting ?? 0 < PendingSignal.limit else { throw WorkflowError.tooManySignals(signal.run) }
            try db.execute(
                sql: "INSERT INTO signals (seq, run_no, name, key, payload, at) VALUES (?, ?, ?, ?, ?, ?)",
                arguments: [
                    try session.sequence.next(db), no, signal.name, signal.key, signal.payload, now.milliseconds,
                ])
            return true
        }
        bells.ring()
        return isNew
    }

    func signals(of runs: [RunID]) async throws -> [PendingSignal] {
        let ids = Payload.text(of: runs)
        return try await reader.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT min(seq) AS seq, id, name, payload FROM signals JOIN runs ON no = run_no
                    WHERE id IN (SELECT value FROM json_each(?)) AND received_by IS NULL GROUP BY run_no, name
                    """, arguments: [ids]
            ).map {
                PendingSignal(
                    run: try runID($0.needText("id")), name: try $0.needText("name"), seq: try $0.needInteger("seq"),
                    payload: try $0.needText("payload"))
            }
        }
    }

    func ended(among runs: [RunID]) async throws -> [RunRecord] {
        let ids = Payload.text(of: runs)
        return try await reader.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT \(RunRecord.columns) FROM runs
                    WHERE id IN (SELECT value FROM json_each(?)) AND finished_at IS NOT NULL
                    """, arguments: [ids]
            ).map { try RunRecord($0) { _ in false } }
        }
    }

    func children(of id: RunID) async throws -> [RunRecord] {
        try await reader.read { [locks] db in
            let number = try Int64.fetchOne(db, sql: "SELECT no FROM runs WHERE id = ?", arguments: [id.description])
            return try Row.fetchAll(
                db, sql: "SELECT \(RunRecord.columns) FROM runs WHERE parent_no = ? ORDER BY no", arguments: [number]
            ).map { try RunRecord($0, isHeld: locks.isHeld) }
        }
    }

    func cancelChildren(of id: RunID, epoch: Int) {
        writer.submit(
            SQLiteOperation(urgency: .withNext) { [self] session in
                let isOurs = try Bool.fetchOne(
                    session.db, sql: "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ? AND epoch = ?)",
                    arguments: [id.description, epoch])
                if isOurs == true { try cancelDescendants(of: try session.number(of: id), session) }
            } completion: { [self] _ in
                bells.ring()
            })
    }

    /// Asks for the cancellation of all that the run started. Those that no worker has taken end at once.
    func cancelDescendants(of no: Int64, _ session: WriteSession) throws {
        // One that was started after the cancellation of its parent was asked for is asked already.
        let family = try Row.fetchAll(
            session.db,
            sql: """
                WITH RECURSIVE family (no) AS (
                    SELECT no FROM runs WHERE parent_no = ?
                    UNION ALL SELECT runs.no FROM runs JOIN family ON parent_no = family.no)
                SELECT family.no, cancel_requested_at IS NOT NULL AS is_asked
                FROM family JOIN runs ON runs.no = family.no WHERE finished_at IS NULL
                """, arguments: [no])
        for row in family {
            let child = try row.needInteger("no")
            if try row.needInteger("is_asked") == 0 {
                try session.db.execute(
                    sql: "UPDATE runs SET cancel_requested_at = ?, updated_at = ? WHERE no = ?",
                    arguments: [now.milliseconds, now.milliseconds, child])
                try append("run.cancel_requested", run: child, session)
            }
            try endUnbegun(child, session)
        }
    }

    /// A run that no worker has taken has nothing to release: a wish to cancel it is its end. One that is parked is taken
    /// again, to release what it has.
    func endUnbegun(_ no: Int64, _ session: WriteSession) throws {
        let failure = Payload.text(of: Failure(.cancelled, WorkflowError.cancelled))
        try session.db.execute(
            sql: """
                UPDATE runs SET status = 'cancelled', epoch = epoch + 1, error = ?, wake_at = NULL, finished_at = ?
                WHERE no = ? AND status = 'pending' AND epoch = 0
                """,
            arguments: [failure, now.milliseconds, no])
        if session.db.changesCount == 1 { try append("run.cancelled", run: no, session) }
        try session.db.execute(
            sql: "UPDATE runs SET rest = 'yielded' WHERE no = ? AND rest = 'parked' AND finished_at IS NULL",
            arguments: [no])
    }
}
