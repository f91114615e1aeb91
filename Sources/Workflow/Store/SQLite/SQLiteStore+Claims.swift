import Foundation
import GRDB
import Synchronization

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
            SQLiteWriter.Operation(urgency: urgency) { [self] db in
                guard try locks.take(run.id) else {
                    throw WorkflowError(.runHeld(by: nil), "the new run id \(run.id) is in use: start again")
                }
                isTaken.value = true
                guard try !insert(run, owner, db) else { return }
                locks.letGo(run.id, removing: true)
                existing.value = try find(run, db)
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

    /// - Returns: `false` if another run has the dedup key.
    private func insert(_ run: NewRun, _ owner: RunOwner, _ db: Database) throws -> Bool {
        try db.execute(
            sql: """
                INSERT INTO runs (
                    id, workflow, version, input, input_hash, dedup_key, status, epoch, owner, deadline_at, labels,
                    created_at, updated_at)
                VALUES (:id, :workflow, :version, :input, :hash, :dedup, 'running', 1, :owner, :deadline, :labels,
                    :now, :now)
                ON CONFLICT (workflow, dedup_key)
                    WHERE dedup_key IS NOT NULL AND status NOT IN ('failed', 'cancelled') DO NOTHING
                """,
            arguments: [
                "id": run.id.description, "workflow": run.workflow, "version": run.version, "input": run.input,
                "hash": run.inputHash, "dedup": run.dedupKey, "owner": Payload.text(of: owner),
                "deadline": run.deadlineAt?.milliseconds, "labels": Payload.text(of: run.labels),
                "now": now.milliseconds,
            ])
        guard db.changesCount == 1 else { return false }
        try db.execute(
            sql: "INSERT INTO events (run_id, at, kind) VALUES (?, ?, 'run.started')",
            arguments: [run.id.description, now.milliseconds])
        return true
    }

    private func find(_ run: NewRun, _ db: Database) throws -> RunRecord? {
        try Row.fetchOne(
            db,
            sql: """
                SELECT \(RunRecord.columns) FROM runs
                WHERE workflow = ? AND dedup_key = ? AND status NOT IN ('failed', 'cancelled')
                """,
            arguments: [run.workflow, run.dedupKey]
        ).map { try RunRecord($0, isHeld: locks.isHeld) }
    }

    func claim(_ id: RunID, owner: RunOwner, purpose: ClaimPurpose) async throws -> ClaimResult {
        // Somebody who only looks whether the run is held is in the way for some microseconds.
        for attempt in 0... {
            let result = try await claimOnce(id, owner: owner, purpose: purpose)
            guard case .held = result, attempt < 5 else { return result }
            try await Task.sleep(for: .milliseconds(10 << attempt), clock: .continuous)
        }
        return .held(by: nil)
    }

    private func claimOnce(_ id: RunID, owner: RunOwner, purpose: ClaimPurpose) async throws -> ClaimResult {
        let isTaken = Slot<Bool>()
        do {
            let result = try await writer.perform { [self] db -> ClaimResult in
                guard let before = try status(of: id, db) else { return .unknown }
                if before.isFinished, purpose != .collection { return .finished(before) }
                guard try locks.take(id) else { return .held(by: try self.owner(of: id, db)) }
                isTaken.value = true
                return .claimed(try raiseEpoch(of: id, owner, purpose, db))
            }
            return result
        } catch {
            if isTaken.value == true { locks.letGo(id, removing: false) }
            throw error
        }
    }

    private func raiseEpoch(
        of id: RunID, _ owner: RunOwner, _ purpose: ClaimPurpose, _ db: Database
    ) throws -> Claimed {
        if purpose == .execution {
            try db.execute(
                sql: """
                    UPDATE runs SET epoch = epoch + 1, status = 'running', wake_at = NULL, owner = ?, updated_at = ?
                    WHERE id = ?
                    """,
                arguments: [Payload.text(of: owner), now.milliseconds, id.description])
            try db.execute(
                sql: "INSERT INTO events (run_id, at, kind) VALUES (?, ?, 'run.resumed')",
                arguments: [id.description, now.milliseconds])
        } else {
            try db.execute(sql: "UPDATE runs SET epoch = epoch + 1 WHERE id = ?", arguments: [id.description])
        }
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

    func isHeld(_ id: RunID) async -> Bool {
        locks.isHeld(id)
    }
}

/// A value that the writer's thread leaves for a completion on the same thread, or for the task that waits for it.
private final class Slot<Value: Sendable>: Sendable {
    private let stored = Mutex<Value?>(nil)

    var value: Value? {
        get { stored.withLock { $0 } }
        set { stored.withLock { $0 = newValue } }
    }
}
