import GRDB

/// Applies the changes of one run under one epoch, inside a transaction.
struct RunWriter {
    let session: WriteSession
    let run: RunID
    /// The run's number.
    let no: Int64
    let epoch: Int
    let now: Timestamp

    private var db: Database { session.db }

    func apply(_ write: RunWrite) throws {
        switch write {
        case .intent(let intent): try apply(intent)
        case .done(let attempt, let output): try done(attempt, output)
        case .failed(let attempt, let ending): try failed(attempt, ending)
        case .progress(let attempt, let progress):
            try change(.progress) { statement in
                bind(attempt, to: statement)
                statement.bind(7, progress)
            }
        case .decide(let step, let decision): try decide(step, decision)
        case .status(let status, let wakeAt):
            try change(.status) { statement in
                statement.bind(4, status.rawValue)
                statement.bind(5, wakeAt?.milliseconds)
            }
        case .finish(let status, let output, let failure):
            try change(.finish) { statement in
                statement.bind(4, status.rawValue)
                statement.bind(5, output)
                statement.bind(6, failure.map { Payload.text(of: $0) })
            }
        case .resourceIntent(let intent): try apply(intent)
        case .resourceHeld(let key, let externalID, let handle):
            try change(.resourceHeld) { statement in
                statement.bind(4, key)
                statement.bind(5, externalID)
                statement.bind(6, handle)
            }
        case .resourceState(let key, let from, let to):
            try change(.resourceState) { statement in
                statement.bind(4, key)
                statement.bind(5, to.rawValue)
                statement.bind(6, Payload.text(of: from))
            }
        case .resourceFailed(let key, let failures, let failure, let next):
            try change(.resourceFailed) { statement in
                statement.bind(4, key)
                statement.bind(5, failures)
                statement.bind(6, Payload.text(of: failure))
                statement.bind(7, next?.milliseconds)
            }
        case .child(let child): try apply(child)
        case .receive(let signal, let wait):
            try change(.receive) { statement in
                statement.bind(4, signal)
                statement.bind(5, wait)
            }
        case .rest(let rest): try change(.rest) { $0.bind(4, rest.rawValue) }
        case .event(let event): try append(event)
        }
    }

    /// Runs a statement that must touch exactly one row.
    private func change(_ statement: RunStatement, _ bind: (PreparedStatement) throws -> Void) throws {
        let prepared = try session.statements(statement, db)
        prepared.bind(1, no)
        prepared.bind(2, epoch)
        prepared.bind(3, now.milliseconds)
        try bind(prepared)
        guard try prepared.run() == 1 else { throw try refusal() }
    }

    /// Why no row was touched.
    private func refusal() throws -> WorkflowError {
        let row = try Row.fetchOne(
            db, sql: "SELECT epoch, finished_at IS NOT NULL FROM runs WHERE no = ?", arguments: [no])
        guard let row, row[0] == epoch else { return .takenOver(run) }
        if row[1] == true {
            return .hasEnded(run)
        }
        return .unfitting(run)
    }

    private func bind(_ attempt: StepAttempt, to statement: PreparedStatement) {
        statement.bind(4, attempt.key)
        statement.bind(5, attempt.scope)
        statement.bind(6, attempt.attempt)
    }

    // MARK: - Steps

    private func apply(_ intent: StepIntent) throws {
        let attempt = intent.attempt
        try change(.intent) { statement in
            bind(attempt, to: statement)
            statement.bind(7, intent.kind.rawValue)
            statement.bind(8, intent.generation)
            statement.bind(9, intent.failures)
            statement.bind(10, intent.crashes)
            statement.bind(11, intent.idempotencyKey)
            statement.bind(12, intent.policy.rawValue)
            statement.bind(13, intent.input)
            statement.bind(14, intent.inputHash)
            statement.bind(15, intent.progress)
            statement.bind(16, intent.wakeAt?.milliseconds)
            statement.bind(17, intent.deadlineAt?.milliseconds)
            statement.bind(18, try session.sequence.next(db))
        }
        // The row itself tells of the first attempt.
        if attempt.attempt > 1 {
            try append(NewEvent("step.started", name: attempt.key, attempt: attempt.attempt))
        }
    }

    private func done(_ attempt: StepAttempt, _ output: String) throws {
        try change(.done) { statement in
            bind(attempt, to: statement)
            statement.bind(7, output)
            statement.bind(8, try session.sequence.next(db))
        }
        // The run gets on, whatever its workers died of.
        try db.cachedStatement(sql: "UPDATE runs SET deaths = 0 WHERE no = ? AND deaths > 0").execute(arguments: [no])
    }

    private func failed(_ attempt: StepAttempt, _ ending: StepEnding) throws {
        try change(.failed) { statement in
            bind(attempt, to: statement)
            statement.bind(7, ending.state.rawValue)
            statement.bind(8, ending.failures)
            statement.bind(9, ending.crashes)
            statement.bind(10, Payload.text(of: ending.failure))
            statement.bind(11, ending.nextAttemptAt?.milliseconds)
            statement.bind(12, ending.progress)
            statement.bind(13, ending.isFinal ? 1 : 0)
        }
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
        try change(.decide) { statement in
            statement.bind(4, step)
            statement.bind(5, state.rawValue)
            statement.bind(6, output)
            statement.bind(7, failure.map { Payload.text(of: $0) })
            statement.bind(8, decision == .runAgain ? 0 : 1)
            statement.bind(9, try session.sequence.next(db))
        }
    }

    // MARK: - Resources

    private func apply(_ intent: ResourceIntent) throws {
        try change(.resourceIntent) { statement in
            statement.bind(4, intent.key.idempotencyKey)
            statement.bind(5, intent.key.name)
            statement.bind(6, intent.kind)
            statement.bind(7, intent.scope)
            statement.bind(8, intent.key.generation)
            statement.bind(9, Timestamp(intent.key.intendedAt).milliseconds)
        }
    }

    // MARK: - Children

    private func apply(_ child: NewChild) throws {
        let (share, turn) = try session.turn(of: child.labels, in: child.place)
        let number = try session.sequence.next(db)
        try change(.child) { statement in
            statement.bind(4, child.id.description)
            statement.bind(5, child.name)
            statement.bind(6, child.workflow)
            statement.bind(7, child.version)
            statement.bind(8, child.input)
            statement.bind(9, child.inputHash)
            statement.bind(10, Payload.text(of: child.labels))
            statement.bind(11, child.deadlineAt?.milliseconds)
            statement.bind(12, child.place.queue)
            statement.bind(13, child.place.priority)
            statement.bind(14, child.place.notBefore?.milliseconds)
            statement.bind(15, share)
            statement.bind(16, turn)
            statement.bind(17, number)
        }
        // Without a guard of its own: nothing comes here that the statement above did not let through.
        try db.cachedStatement(
            sql: "INSERT INTO events (seq, run_no, at, kind, step, payload) VALUES (?, ?, ?, 'run.child_started', ?, ?)"
        ).execute(arguments: [
            try session.sequence.next(db), no, now.milliseconds, child.name,
            Payload.text(of: ["id": child.id.description]),
        ])
    }

    // MARK: - Events

    private func append(_ event: NewEvent) throws {
        if let key = event.dedupKey {
            let isKnown = try Bool.fetchOne(
                db, sql: "SELECT EXISTS (SELECT 1 FROM events WHERE run_no = ? AND dedup_key = ?)",
                arguments: [no, key])
            if isKnown == true {
                // Nothing is added, but a stale writer has to learn here too that it is one.
                let isCurrent = try Bool.fetchOne(
                    db, sql: "SELECT EXISTS (SELECT 1 FROM runs WHERE no = ? AND epoch = ?)", arguments: [no, epoch])
                guard isCurrent == true else { throw try refusal() }
                return
            }
        }
        try change(.event) { statement in
            statement.bind(4, try session.sequence.next(db))
            statement.bind(5, event.kind)
            statement.bind(6, event.name)
            statement.bind(7, event.attempt.map { Int64($0) })
            statement.bind(8, event.payload)
            statement.bind(9, event.dedupKey)
        }
    }
}

extension WorkflowError {
    static func takenOver(_ run: RunID) -> WorkflowError {
        WorkflowError(
            .takenOver, "run \(run) was taken over by another process, so this one stops and changes nothing more")
    }

    static func hasEnded(_ run: RunID) -> WorkflowError {
        WorkflowError(.takenOver, "run \(run) has ended, so nothing about it can change any more")
    }

    static func unfitting(_ run: RunID) -> WorkflowError {
        WorkflowError(.storeFailed, "run \(run): a change does not fit what is recorded; resume the run")
    }
}
