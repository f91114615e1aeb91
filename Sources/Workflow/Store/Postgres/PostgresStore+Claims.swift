import Foundation

extension PostgresStore {
    func create(
        _ run: NewRun, owner: RunOwner, urgency: WriteUrgency,
        completion: @escaping @Sendable (Result<Creation, any Error>) -> Void
    ) {
        let asked = Slot<ContinuousClock.Instant>()
        let creation = Slot<Creation>()
        let existing = run.dedupKey.map {
            PostgresQuery(prepared: StoreStatement.existing.rawValue, [run.workflow, $0])
        }
        let id = run.id.description
        writer.submit(
            PostgresOperation(
                urgency: urgency,
                queries: { [self] in
                    run.isMade.value = nil
                    asked.value = .now
                    let query = PostgresQuery(
                        prepared: StoreStatement.create.rawValue, values(run, owner: owner))
                    return [query] + (existing.map { [$0] } ?? [])
                },
                recovery: [PostgresQuery("SELECT count(*) AS made, 1 AS free FROM runs WHERE id = $1", [id])]
                    + (existing.map { [$0] } ?? []),
                during: run.during,
                refusal: { _ in Self.inUse(run.id) },
                failed: { run.isMade.value = false },
                read: { results in
                    creation.value = try Self.creation(of: run, results)
                },
                completion: { [self] error in
                    if let error { return completion(.failure(error)) }
                    switch creation.value {
                    case .created(let claim as LeaseClaim):
                        run.isMade.value = true
                        keeper.add(claim, asked: asked.value ?? .now)
                        completion(.success(.created(claim)))
                    case let other?: completion(.success(other))
                    case nil: completion(.failure(WorkflowError(.storeFailed, "an operation left no result")))
                    }
                }))
    }

    private func values(_ run: NewRun, owner: RunOwner) -> [String?] {
        [
            run.id.description, run.workflow, "\(run.version)", run.input, run.inputHash, run.dedupKey,
            Payload.text(of: owner), run.deadlineAt.map { "\($0.milliseconds)" }, Payload.text(of: run.labels),
            "\(now.milliseconds)", self.owner, "\(keeper.term.wholeMilliseconds)",
        ]
    }

    private static func creation(of run: NewRun, _ results: [PostgresResult]) throws -> Creation {
        guard let row = results[0].first else { throw WorkflowError(.storeFailed, "the store did not answer") }
        if try row.integer("made") == 1 { return .created(LeaseClaim(id: run.id, epoch: 1, isQueued: false)) }
        guard try row.integer("free") == 1 else { throw inUse(run.id) }
        // Its end may have come between the two statements; then the key is free.
        guard results.count > 1, let record = try results[1].runRecords().first else {
            throw WorkflowError(.storeBusy, "the run with the same dedup key has just ended: start again")
        }
        return .existing(record)
    }

    private static func inUse(_ id: RunID) -> WorkflowError {
        WorkflowError(.runHeld(by: nil), "the new run id \(id) is in use: start again")
    }

    func claim(
        _ id: RunID, owner: RunOwner, purpose: ClaimPurpose, during: (@Sendable () -> Void)?
    ) async throws -> ClaimResult {
        // A transaction that has the run's row is over in no time, and the lease of a run that is over goes soon.
        for attempt in 0... {
            switch try await claimOnce(id, owner: owner, purpose: purpose, during) {
            case .answer(let result): return result
            case .soon(let owner):
                guard attempt < 5 else { return .held(by: owner) }
                try await Task.sleep(for: .milliseconds(5 << attempt), clock: .continuous)
            }
        }
        return .held(by: nil)
    }

    private enum ClaimAnswer: Sendable {
        case answer(ClaimResult)
        /// It is held by something that is about to end.
        case soon(RunOwner?)
    }

    private func claimOnce(
        _ id: RunID, owner: RunOwner, purpose: ClaimPurpose, _ during: (@Sendable () -> Void)?
    ) async throws -> ClaimAnswer {
        let asked = Slot<ContinuousClock.Instant>()
        let details: [StoreStatement] = [.record, .steps, .resources]
        let reading = details.map { PostgresQuery(prepared: $0.rawValue, [id.description]) }
        let isExecution = if case .execution = purpose { true } else { false }
        let isCollection = if case .collection = purpose { true } else { false }
        return try await writer.perform(
            { [self] in
                asked.value = .now
                let values = [
                    id.description, self.owner, "\(keeper.term.wholeMilliseconds)", "\(now.milliseconds)",
                    Payload.text(of: owner), "\(isExecution)", "\(isCollection)",
                ]
                return [PostgresQuery(prepared: StoreStatement.claim.rawValue, values)] + reading
            },
            recovery: [
                PostgresQuery(
                    """
                    SELECT 1 AS seen, (
                        SELECT epoch FROM leases
                        WHERE run_id = $1 AND owner = $2::uuid AND expires_at > clock_timestamp()) AS epoch
                    """, [id.description, self.owner])
            ] + reading, during: during
        ) { [self] results in
            let epoch = try results[0].first?.integer("epoch").map { Int($0) }
            guard let record = try results[1].runRecords().first else { return .answer(.unknown) }
            // One that this store holds already is not claimed anew, whatever a lost answer leaves to be seen.
            if let epoch, keeper.isNew(id, epoch: epoch) {
                let claim = LeaseClaim(id: id, epoch: epoch, isQueued: record.queueing != nil)
                keeper.add(claim, asked: asked.value ?? .now)
                return .answer(
                    .claimed(
                        Claimed(
                            claim: claim, record: record, steps: try results[2].steps(of: id),
                            resources: try results[3].resources(of: id))))
            }
            if record.recordedStatus.isFinished, !isCollection { return .answer(.finished(record.recordedStatus)) }
            let isLocked = try results[0].first?.integer("seen") != 1
            return isLocked || record.recordedStatus.isFinished ? .soon(record.owner) : .answer(.held(by: record.owner))
        }
    }

    func relinquish(_ claim: any RunClaim, isOver: Bool) async {
        keeper.remove(claim.id, epoch: claim.epoch)
        let query = PostgresQuery(
            prepared: StoreStatement.letGo.rawValue, [claim.id.description, owner, "\(claim.epoch)"])
        // A lease that cannot be let go ends by itself. One of a run that is over is in nobody's way: it goes with the next
        // commit. Neither has to survive a loss of power.
        let done = Promise<Void>()
        writer.submit(
            PostgresOperation(
                urgency: isOver ? .withNext : .now, queries: { [query] }, isDurable: false, isNews: !isOver
            ) { [keeper] _ in
                keeper.forget(claim.id, epoch: claim.epoch)
                done.fulfil(())
            })
        if !isOver { await done.value() }
    }
}
