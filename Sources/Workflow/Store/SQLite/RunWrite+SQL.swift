import GRDB

/// Applies the changes of a run. Each statement names the run and the writer's epoch by itself, so that a stale writer
/// changes nothing whatever it tries.
struct RunWriter {
    let db: Database
    let run: RunID
    let epoch: Int
    let now: Timestamp

    func apply(_ write: RunWrite) throws {
        switch write {
        case .intent(let intent): try apply(intent)
        case .done(let attempt, let output): try done(attempt, output)
        case .failed(let attempt, let ending): try failed(attempt, ending)
        case .progress(let attempt, let progress): try self.progress(attempt, progress)
        case .decide(let step, let decision): try decide(step, decision)
        case .status(let status, let wakeAt): try self.status(status, wakeAt)
        case .finish(let status, let output, let failure): try finish(status, output, failure)
        case .resourceIntent(let intent): try apply(intent)
        case .resourceHeld(let key, let externalID, let handle): try held(key, externalID, handle)
        case .resourceState(let key, let from, let to): try state(key, from, to)
        case .resourceFailed(let key, let failures, let failure, let next):
            try resourceFailed(key, failures, failure, next)
        case .event(let event): try append(event)
        }
    }

    /// Executes a statement that must touch exactly one row. `:run`, `:epoch` and `:now` are bound here.
    private func change(_ sql: String, _ arguments: [String: (any DatabaseValueConvertible)?] = [:]) throws {
        var all = arguments
        all["run"] = run.description
        all["epoch"] = epoch
        if sql.contains(":now") { all["now"] = now.milliseconds }
        let statement = try db.cachedStatement(sql: sql)
        try statement.execute(arguments: StatementArguments(all))
        guard db.changesCount == 1 else { throw try refusal() }
    }

    /// Why no row was touched.
    private func refusal() throws -> WorkflowError {
        let row = try Row.fetchOne(
            db, sql: "SELECT epoch, finished_at IS NOT NULL FROM runs WHERE id = ?", arguments: [run.description])
        guard let row, row[0] == epoch else {
            return WorkflowError(
                .takenOver, "run \(run) was taken over by another process, so this one stops and changes nothing more")
        }
        if row[1] == true {
            return WorkflowError(.takenOver, "run \(run) has ended, so nothing about it can change any more")
        }
        return WorkflowError(.storeFailed, "run \(run): a change does not fit what is recorded; resume the run")
    }

    // MARK: - Steps

    private func apply(_ intent: StepIntent) throws {
        // A checkpoint is never overwritten in its generation, nor an attempt by itself or an earlier one.
        try change(
            """
            INSERT INTO steps (
                run_id, key, kind, scope, generation, state, attempt, failures, crashes, idempotency_key, in_doubt,
                input, input_hash, progress, next_attempt_at, deadline_at, started_at, epoch)
            SELECT id, :key, :kind, :scope, :generation, 'intended', :attempt, :failures, :crashes, :idempotencyKey,
                :policy, :input, :inputHash, :progress, :wakeAt, :deadlineAt, :now, epoch
            FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL
            ON CONFLICT (run_id, key) DO UPDATE SET
                kind = excluded.kind, scope = excluded.scope, generation = excluded.generation, state = 'intended',
                attempt = excluded.attempt, failures = excluded.failures, crashes = excluded.crashes,
                idempotency_key = excluded.idempotency_key, in_doubt = excluded.in_doubt, input = excluded.input,
                input_hash = excluded.input_hash, output = NULL, error = NULL, progress = excluded.progress,
                next_attempt_at = excluded.next_attempt_at, deadline_at = excluded.deadline_at,
                started_at = iif(scope = excluded.scope, started_at, excluded.started_at), finished_at = NULL,
                epoch = excluded.epoch
            WHERE scope <> excluded.scope OR (state <> 'done' AND attempt < excluded.attempt)
            """,
            [
                "key": intent.attempt.key, "kind": intent.kind.rawValue, "scope": intent.attempt.scope,
                "generation": intent.generation, "attempt": intent.attempt.attempt, "failures": intent.failures,
                "crashes": intent.crashes, "idempotencyKey": intent.idempotencyKey, "policy": intent.policy.rawValue,
                "input": intent.input, "inputHash": intent.inputHash, "progress": intent.progress,
                "wakeAt": intent.wakeAt?.milliseconds, "deadlineAt": intent.deadlineAt?.milliseconds,
            ])
    }

    /// The rows of an attempt that is under way, for this epoch only.
    private static let attemptGuard = """
        WHERE run_id = :run AND key = :key AND scope = :scope AND attempt = :attempt AND state = 'intended'
            AND EXISTS (SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL)
        """

    private func done(_ attempt: StepAttempt, _ output: String) throws {
        try change(
            """
            UPDATE steps SET state = 'done', output = :output, error = NULL, next_attempt_at = NULL,
                deadline_at = NULL, finished_at = :now, epoch = :epoch
            \(Self.attemptGuard)
            """,
            ["key": attempt.key, "scope": attempt.scope, "attempt": attempt.attempt, "output": output])
    }

    private func failed(_ attempt: StepAttempt, _ ending: StepEnding) throws {
        try change(
            """
            UPDATE steps SET state = :state, failures = :failures, crashes = :crashes, error = :error,
                next_attempt_at = :next, deadline_at = NULL, progress = coalesce(:progress, progress),
                finished_at = iif(:final, :now, NULL), epoch = :epoch
            \(Self.attemptGuard)
            """,
            [
                "key": attempt.key, "scope": attempt.scope, "attempt": attempt.attempt,
                "state": ending.state.rawValue, "failures": ending.failures, "crashes": ending.crashes,
                "error": Payload.text(of: ending.failure), "next": ending.nextAttemptAt?.milliseconds,
                "progress": ending.progress, "final": ending.isFinal,
            ])
    }

    private func progress(_ attempt: StepAttempt, _ progress: String) throws {
        try change(
            "UPDATE steps SET progress = :progress \(Self.attemptGuard)",
            ["key": attempt.key, "scope": attempt.scope, "attempt": attempt.attempt, "progress": progress])
    }

    private func decide(_ step: String, _ decision: InDoubtDecision) throws {
        let state: StepRecord.State
        var output: String?
        var failure: Failure?
        switch decision {
        case .runAgain: state = .failed
        case .done(let json):
            state = .done
            output = json
        case .failed(let reason):
            state = .failed
            failure = Failure(kind: .error, type: "InDoubtDecision", message: reason, step: step, payload: nil)
        }
        let isFinal = decision != .runAgain
        try change(
            """
            UPDATE steps SET state = :state, output = :output, error = :error,
                next_attempt_at = iif(:final, NULL, :now), deadline_at = NULL,
                finished_at = iif(:final, :now, NULL), epoch = :epoch
            WHERE run_id = :run AND key = :key AND kind = 'step' AND state = 'intended'
                AND EXISTS (SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL)
            """,
            [
                "key": step, "state": state.rawValue, "output": output,
                "error": failure.map { Payload.text(of: $0) }, "final": isFinal,
            ])
    }

    // MARK: - The run

    private func status(_ status: RunStatus, _ wakeAt: Timestamp?) throws {
        try change(
            """
            UPDATE runs SET status = :status, wake_at = :wakeAt, updated_at = :now
            WHERE id = :run AND epoch = :epoch AND finished_at IS NULL
            """,
            ["status": status.rawValue, "wakeAt": wakeAt?.milliseconds])
    }

    private func finish(_ status: RunStatus, _ output: String?, _ failure: Failure?) throws {
        try change(
            """
            UPDATE runs SET status = :status, output = :output, error = :error, wake_at = NULL,
                updated_at = :now, finished_at = :now
            WHERE id = :run AND epoch = :epoch AND finished_at IS NULL
            """,
            ["status": status.rawValue, "output": output, "error": failure.map { Payload.text(of: $0) }])
    }

    // MARK: - Resources

    private func apply(_ intent: ResourceIntent) throws {
        try change(
            """
            INSERT INTO resources (
                idempotency_key, run_id, name, kind, scope, generation, state, failures, intended_at, updated_at, epoch)
            SELECT :key, id, :name, :kind, :scope, :generation, 'intended', 0, :intendedAt, :now, epoch
            FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL
            """,
            [
                "key": intent.key.idempotencyKey, "name": intent.key.name, "kind": intent.kind, "scope": intent.scope,
                "generation": intent.key.generation, "intendedAt": Timestamp(intent.key.intendedAt).milliseconds,
            ])
    }

    private func held(_ key: String, _ externalID: String, _ handle: String) throws {
        try change(
            """
            UPDATE resources SET state = 'held', external_id = :externalID, details = :handle, failures = 0,
                error = NULL, next_attempt_at = NULL, updated_at = :now, epoch = :epoch
            WHERE idempotency_key = :key AND run_id = :run AND state = 'intended'
                AND EXISTS (SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL)
            """,
            ["key": key, "externalID": externalID, "handle": handle])
    }

    /// Also for finished runs: a garbage collector closes what they left open.
    private func state(_ key: String, _ from: [ResourceRecord.State], _ to: ResourceRecord.State) throws {
        let states = from.map { "'\($0.rawValue)'" }.joined(separator: ", ")
        try change(
            """
            UPDATE resources SET state = :state, failures = 0, error = NULL, next_attempt_at = NULL,
                updated_at = :now, epoch = :epoch
            WHERE idempotency_key = :key AND run_id = :run AND state IN (\(states))
                AND EXISTS (SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch)
            """,
            ["key": key, "state": to.rawValue])
    }

    private func resourceFailed(_ key: String, _ failures: Int, _ failure: Failure, _ next: Timestamp?) throws {
        try change(
            """
            UPDATE resources SET failures = :failures, error = :error, next_attempt_at = :next,
                updated_at = :now, epoch = :epoch
            WHERE idempotency_key = :key AND run_id = :run
                AND EXISTS (SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch AND finished_at IS NULL)
            """,
            [
                "key": key, "failures": failures, "error": Payload.text(of: failure),
                "next": next?.milliseconds,
            ])
    }

    // MARK: - Events

    private func append(_ event: NewEvent) throws {
        if let key = event.dedupKey {
            let isKnown = try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM events WHERE run_id = ? AND dedup_key = ?)",
                arguments: [run.description, key])
            if isKnown == true {
                // Nothing is added, but a stale writer has to learn here too that it is one.
                let isCurrent = try Bool.fetchOne(
                    db, sql: "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ? AND epoch = ?)",
                    arguments: [run.description, epoch])
                guard isCurrent == true else { throw try refusal() }
                return
            }
        }
        try change(
            """
            INSERT INTO events (run_id, at, kind, step, attempt, payload, dedup_key)
            SELECT id, :now, :kind, :step, :attempt, :payload, :dedupKey
            FROM runs WHERE id = :run AND epoch = :epoch
            """,
            [
                "kind": event.kind, "step": event.name, "attempt": event.attempt, "payload": event.payload,
                "dedupKey": event.dedupKey,
            ])
    }
}
