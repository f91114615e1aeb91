import GRDB

/// A run whose lock file this process holds.
struct LockClaim: RunClaim {
    let id: RunID
    let epoch: Int
}

extension SQLiteStore {
    func create(
        _ run: NewRun, owner: RunOwner, urgency: WriteUrgency,
        completion: @escaping @Sendable (Result<Creation, any Error>) -> Void
    ) {
        let existing = Slot<RunRecord>()
        let isTaken = Slot<Bool>()
        writer.submit(
            SQLiteOperation(urgency: urgency) { [self] session in
                if let record = try find(run, session.db) {
                    existing.value = record
                    return
                }
                run.isMade.value = false
                guard try isTaken.value == true || locks.take(run.id) else {
                    throw WorkflowError(.runHeld(by: nil), "the new run id \(run.id) is in use: start again")
                }
                isTaken.value = true
                try insert(run, owner, session)
                run.isMade.value = true
                run.during?()
            } completion: { [self] error in
                if let error {
                    // Only the lock taken above: if the id was in use, the lock is that run's.
                    if isTaken.value == true { locks.letGo(run.id, removing: true) }
                    completion(.failure(error))
                } else if let record = existing.value {
                    completion(.success(.existing(record)))
                } else {
                    completion(.success(.created(LockClaim(id: run.id, epoch: 1))))
                }
            })
    }

    private func insert(_ run: NewRun, _ owner: RunOwner, _ session: WriteSession) throws {
        let no = try session.sequence.next(session.db)
        try session.db.cachedStatement(
            sql: """
                INSERT INTO runs (
                    no, id, workflow, version, input, input_hash, dedup_key, status, epoch, owner, deadline_at,
                    labels, created_at, updated_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, 'running', 1, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            no, run.id.description, run.workflow, run.version, run.input, run.inputHash, run.dedupKey,
            Payload.text(of: owner), run.deadlineAt?.milliseconds, Payload.text(of: run.labels), now.milliseconds,
            now.milliseconds,
        ])
        try append("run.started", run: no, session)
        session.remember(run.id, number: no)
    }

    /// The run that has the new one's dedup key.
    func find(_ run: NewRun, _ db: Database) throws -> RunRecord? {
        guard let key = run.dedupKey else { return nil }
        return try Row.fetchOne(
            db,
            sql: """
                SELECT \(RunRecord.columns) FROM runs
                WHERE workflow = ? AND dedup_key = ? AND status NOT IN ('failed', 'cancelled')
                """,
            arguments: [run.workflow, key]
        ).map { try RunRecord($0, isHeld: locks.isHeld) }
    }

    func claim(
        _ id: RunID, owner: RunOwner, purpose: ClaimPurpose, during: (@Sendable () -> Void)?
    ) async throws -> ClaimResult {
        // Somebody who only looks whether the run is held is in the way for some microseconds.
        for attempt in 0... {
            let result = try await claimOnce(id, owner: owner, purpose: purpose, during)
            guard case .held = result, attempt < 5 else { return result }
            try await Task.sleep(for: .milliseconds(10 << attempt), clock: .continuous)
        }
        return .held(by: nil)
    }

    private func claimOnce(
        _ id: RunID, owner: RunOwner, purpose: ClaimPurpose, _ during: (@Sendable () -> Void)?
    ) async throws -> ClaimResult {
        let isTaken = Slot<Bool>()
        do {
            return try await writer.perform { [self] session -> ClaimResult in
                guard let before = try status(of: id, session.db) else { return .unknown }
                if before.isFinished, purpose != .collection { return .finished(before) }
                guard try isTaken.value == true || locks.take(id) else {
                    return .held(by: try self.owner(of: id, session.db))
                }
                isTaken.value = true
                let claimed = try raiseEpoch(of: id, owner, purpose, session)
                during?()
                return .claimed(claimed)
            }
        } catch {
            if isTaken.value == true { locks.letGo(id, removing: false) }
            throw error
        }
    }

    private func raiseEpoch(
        of id: RunID, _ owner: RunOwner, _ purpose: ClaimPurpose, _ session: WriteSession
    ) throws -> Claimed {
        let db = session.db
        let no = try session.number(of: id)
        if purpose == .execution {
            try db.execute(
                sql: """
                    UPDATE runs SET epoch = epoch + 1, status = 'running', wake_at = NULL, owner = ?, updated_at = ?,
                        rest = NULL
                    WHERE no = ?
                    """,
                arguments: [Payload.text(of: owner), now.milliseconds, no])
            try append("run.resumed", run: no, session)
        } else {
            try db.execute(sql: "UPDATE runs SET epoch = epoch + 1 WHERE no = ?", arguments: [no])
        }
        session.remember(id, number: no)
        guard let record = try run(id, db, isHeld: { _ in true }) else { throw WorkflowError.unknownRun(id) }
        return Claimed(
            claim: LockClaim(id: id, epoch: record.epoch), record: record, steps: try steps(of: id, db),
            resources: try resources(of: id, db))
    }

    private func owner(of id: RunID, _ db: Database) throws -> RunOwner? {
        try run(id, db, isHeld: { _ in true })?.owner
    }

    func relinquish(_ claim: any RunClaim, isOver: Bool) async {
        locks.letGo(claim.id, removing: isOver)
    }
}
