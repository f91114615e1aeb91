import Foundation

/// Runs that wait in queues. A claim is one statement; of a queue with limits, in a transaction that locks the queue's row.
extension PostgresStore {
    func enqueue(_ run: NewRun, place: QueuePlace) async throws -> Enqueued {
        let values = [
            run.id.description, run.workflow, "\(run.version)", run.input, run.inputHash, run.dedupKey,
            run.deadlineAt.map { "\($0.milliseconds)" }, Payload.text(of: run.labels), "\(now.milliseconds)",
            place.queue, "\(place.priority)", place.notBefore.map { "\($0.milliseconds)" },
        ]
        let existing = run.dedupKey.map {
            [PostgresQuery(prepared: StoreStatement.existing.rawValue, [run.workflow, $0])]
        }
        return try await writer.perform(
            {
                [PostgresQuery(prepared: QueueStatement.enqueue.name, values)] + (existing ?? [])
            },
            recovery: [
                PostgresQuery("SELECT count(*) AS made FROM runs WHERE id = $1", [run.id.description])
            ] + (existing ?? []), during: run.during, isNews: true
        ) { results in
            if try results[0].first?.integer("made") == 1 { return .recorded }
            // Its end may have come between the two statements; then the key is free.
            guard results.count > 1, let record = try results[1].runRecords().first else {
                throw WorkflowError(.storeBusy, "the run with the same dedup key has just ended: enqueue again")
            }
            return .existing(record)
        }
    }

    func configure(_ queue: QueueSettings) async throws {
        let label = queue.fairness
        let share = "coalesce(labels::jsonb ->> $2, '')"
        try await writer.perform(
            {
                [
                    // Nobody changes it between the comparison and the change.
                    PostgresQuery(
                        """
                        WITH dealt AS (
                            SELECT no, \(share) AS share,
                                row_number() OVER (PARTITION BY priority, \(share) ORDER BY no) AS turn
                            FROM runs WHERE queue = $1 AND status = 'pending' AND $2::text IS DISTINCT FROM (
                                SELECT fairness FROM queues WHERE name = $1))
                        UPDATE runs SET share = dealt.share, turn = CASE WHEN $2::text IS NULL THEN 0 ELSE dealt.turn END
                        FROM dealt WHERE runs.no = dealt.no AND status = 'pending'
                        """, [queue.name, label]),
                    PostgresQuery(
                        """
                        INSERT INTO queues (name, concurrency, rate_limit, rate_period, fairness)
                        VALUES ($1, $2::bigint, $3::bigint, $4::bigint, $5)
                        ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency,
                            rate_limit = excluded.rate_limit, rate_period = excluded.rate_period,
                            fairness = excluded.fairness
                        """,
                        [
                            queue.name, queue.concurrency.map { "\($0)" }, queue.rateLimit.map { "\($0)" },
                            queue.ratePeriod.map { "\($0)" }, label,
                        ]),
                ]
            }, recovery: [PostgresQuery("SELECT 1"), PostgresQuery("SELECT 1")], queueLock: queue.name, isNews: true
        ) { _ in }
    }

    func introduce(queue: String) async throws {
        try await writer.perform(
            { [PostgresQuery("INSERT INTO queues (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", [queue])] },
            recovery: [PostgresQuery("SELECT 1")]
        ) { _ in }
    }

    func take(_ request: QueueRequest, owner: RunOwner) async throws -> QueueAnswer {
        let asked = Slot<ContinuousClock.Instant>()
        let due = PostgresQuery(prepared: QueueStatement.nextDue.name, [request.queue])
        // Not synced: an effect begins only after a commit that is, and that one takes this along.
        let (records, nextDue) = try await writer.perform(
            { [self] in
                asked.value = .now
                let values = [
                    request.queue, "\(now.milliseconds)", self.owner, "\(keeper.term.wholeMilliseconds)",
                    Payload.text(of: owner), PostgresRead.array(request.workflows.map { "\($0.version) \($0.name)" }),
                    PostgresRead.array(request.workflows.map(\.name)), "\(request.limit)",
                ]
                return [PostgresQuery(prepared: QueueStatement.take.name, values), due]
            },
            recovery: [
                // One that is parked or left is not held, though its lease may still wait to be let go.
                PostgresQuery(
                    """
                    SELECT \(PostgresRead.runColumns) FROM runs
                    WHERE queue = $1 AND status = 'running' AND rest IS NULL AND id IN (
                        SELECT run_id FROM leases WHERE owner = $2::uuid AND expires_at > clock_timestamp())
                    """, [request.queue, self.owner]),
                due,
            ], isDurable: false, queueLock: request.queue
        ) { [keeper] results in
            (
                // Here, before anything else that was submitted is answered: then it is still known what was given up.
                try results[0].runRecords().filter { keeper.isNew($0.id, epoch: $0.epoch) },
                try results[1].first?.integer("wait").map { Duration.milliseconds(max($0, 1)) }
            )
        }
        var claimed: [Claimed] = []
        for record in records {
            let claim = LeaseClaim(id: record.id, epoch: record.epoch)
            keeper.add(claim, asked: asked.value ?? .now)
            claimed.append(Claimed(claim: claim, record: record, steps: [], resources: []))
        }
        return QueueAnswer(claimed: try await withDetails(claimed), nextDue: nextDue)
    }

    /// What is recorded about those that were begun before. Nobody else can change it: they are ours.
    private func withDetails(_ claimed: [Claimed]) async throws -> [Claimed] {
        var detailed: [Claimed] = []
        for one in claimed {
            guard one.record.epoch > 1 else {
                detailed.append(one)
                continue
            }
            do {
                let id = one.record.id
                detailed.append(
                    Claimed(
                        claim: one.claim, record: one.record, steps: try await steps(of: id),
                        resources: try await resources(of: id)))
            } catch {
                for lost in claimed {
                    // Else it would count as the death of a worker; where that cannot be said, it does.
                    try? await commit([.rest(.yielded)], run: lost.record.id, epoch: lost.record.epoch)
                    await relinquish(lost.claim, isOver: false)
                }
                throw error
            }
        }
        return detailed
    }

    func rouse(_ id: RunID, epoch: Int, queue: String) async throws -> Bool {
        let values = [id.description, "\(epoch)", "\(now.milliseconds)", queue]
        return try await writer.perform(
            {
                [PostgresQuery(prepared: QueueStatement.rouse.name, values)]
            },
            recovery: [
                PostgresQuery(
                    "SELECT count(*) AS roused FROM runs WHERE id = $1 AND epoch = $2::bigint AND status = 'running'",
                    [id.description, "\(epoch)"])
            ], isDurable: false, queueLock: queue, refusal: { Self.error($0, of: id) }
        ) { results in
            try results[0].first?.integer("roused") == 1
        }
    }

    func unpark(_ id: RunID) async throws -> Bool {
        try await writer.perform(
            { [self] in
                [
                    PostgresQuery(
                        """
                        WITH done AS (
                            UPDATE runs SET rest = 'yielded', updated_at = $2::bigint WHERE id = $1 AND rest = 'parked'
                            RETURNING 1)
                        SELECT count(*) AS done FROM done
                        """, [id.description, "\(now.milliseconds)"])
                ]
            }, recovery: [PostgresQuery("SELECT 1 AS done")], isNews: true
        ) { results in
            try results[0].first?.integer("done") == 1
        }
    }

    func news() -> StoreNews {
        let news = StoreNews()
        keeper.bells.add(news.bell)
        keeper.listen()
        return news
    }

    // MARK: - Signals and children

    func send(_ signal: NewSignal) async throws -> Bool {
        let values = [
            signal.run.description, signal.name, signal.key, signal.payload, "\(now.milliseconds)",
            "\(PendingSignal.limit)",
        ]
        let answer = try await writer.perform(
            {
                [PostgresQuery(prepared: QueueStatement.send.name, values)]
            },
            recovery: [
                PostgresQuery(
                    """
                    SELECT count(*) AS sent, 0 AS known, (SELECT status FROM runs WHERE id = $1) AS status
                    FROM signals WHERE run_no = (SELECT no FROM runs WHERE id = $1) AND name = $2 AND key = $3
                    """, [signal.run.description, signal.name, signal.key])
            ], isNews: true
        ) { results in
            (
                isSent: try results[0].first?.integer("sent") == 1,
                isKnown: try results[0].first?.integer("known") == 1,
                status: try results[0].first?.text("status").flatMap { RunStatus(rawValue: $0) }
            )
        }
        if answer.isSent { return true }
        if answer.isKnown { return false }
        guard let status = answer.status else { throw WorkflowError.unknownRun(signal.run) }
        if status.isFinished { throw WorkflowError.alreadyFinished(signal.run, status) }
        throw WorkflowError.tooManySignals(signal.run)
    }

    func signals(of runs: [RunID]) async throws -> [PendingSignal] {
        try await reader.read { connection in
            try connection.run(
                """
                SELECT DISTINCT ON (run_no, name) seq, id, name, payload FROM signals JOIN runs ON no = run_no
                WHERE id = ANY ($1::text[]) AND received_by IS NULL ORDER BY run_no, name, seq
                """, [PostgresRead.array(runs.map(\.description))]
            ).rows.map {
                PendingSignal(
                    run: try runID($0.needText("id")), name: try $0.needText("name"), seq: try $0.needInteger("seq"),
                    payload: try $0.needText("payload"))
            }
        }
    }

    func ended(among runs: [RunID]) async throws -> [RunRecord] {
        try await reader.read { connection in
            try connection.run(
                "SELECT \(PostgresRead.runColumns) FROM runs WHERE id = ANY ($1::text[]) AND finished_at IS NOT NULL",
                [PostgresRead.array(runs.map(\.description))]
            ).runRecords()
        }
    }

    func children(of id: RunID) async throws -> [RunRecord] {
        try await reader.read { connection in
            try connection.run(
                """
                SELECT \(PostgresRead.runColumns) FROM runs
                WHERE parent_no = (SELECT parents.no FROM runs AS parents WHERE parents.id = $1) ORDER BY no
                """, [id.description]
            ).runRecords()
        }
    }

    func cancelChildren(of id: RunID, epoch: Int) {
        writer.submit(
            PostgresOperation(
                urgency: .withNext,
                queries: { [self] in
                    [
                        PostgresQuery(
                            prepared: QueueStatement.cancelChildren.name,
                            [id.description, "\(epoch)", "\(now.milliseconds)"]),
                        cancelUnbegun(id),
                    ]
                }, isNews: true
            ) { _ in })
    }

    func cancelUnbegun(_ id: RunID) -> PostgresQuery {
        PostgresQuery(
            prepared: QueueStatement.cancelUnbegun.name,
            ["\(now.milliseconds)", Payload.text(of: Failure(.cancelled, WorkflowError.cancelled)), id.description])
    }
}
