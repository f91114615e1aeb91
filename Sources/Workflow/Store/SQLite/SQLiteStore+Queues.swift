import GRDB

/// Runs that wait in queues. Every claim is one transaction of the writer, so no two workers see the same run or the same
/// free place.
extension SQLiteStore {
    func enqueue(_ run: NewRun, place: QueuePlace) async throws -> Enqueued {
        let answer = try await writer.perform { [self] session -> Enqueued in
            if let record = try find(run, session.db) { return .existing(record) }
            let (share, turn) = try session.turn(of: run.labels, in: place)
            let no = try session.sequence.next(session.db)
            try session.db.cachedStatement(
                sql: """
                    INSERT INTO runs (
                        no, id, workflow, version, input, input_hash, dedup_key, status, epoch, wake_at, deadline_at,
                        labels, created_at, updated_at, queue, priority, share, turn)
                    VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """
            ).execute(arguments: [
                no, run.id.description, run.workflow, run.version, run.input, run.inputHash, run.dedupKey,
                place.notBefore?.milliseconds, run.deadlineAt?.milliseconds, Payload.text(of: run.labels),
                now.milliseconds, now.milliseconds, place.queue, place.priority, share, turn,
            ])
            try append("run.enqueued", run: no, session)
            run.during?()
            return .recorded
        }
        bells.ring()
        return answer
    }

    func configure(_ queue: QueueSettings) async throws {
        try await writer.perform { session in
            let db = session.db
            let before = try Row.fetchOne(
                db, sql: "SELECT fairness FROM queues WHERE name = ?", arguments: [queue.name])
            try db.execute(
                sql: """
                    INSERT INTO queues (name, concurrency, rate_limit, rate_period, fairness) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency,
                        rate_limit = excluded.rate_limit, rate_period = excluded.rate_period,
                        fairness = excluded.fairness
                    """,
                arguments: [queue.name, queue.concurrency, queue.rateLimit, queue.ratePeriod, queue.fairness])
            guard before?["fairness"] as String? != queue.fairness else { return }
            try Self.dealTurns(queue, db)
        }
        bells.ring()
    }

    func introduce(queue: String) async throws {
        try await writer.perform { session in
            try session.db.execute(
                sql: "INSERT INTO queues (name) VALUES (?) ON CONFLICT (name) DO NOTHING", arguments: [queue])
        }
    }

    /// Gives all that wait their turns by another label.
    private static func dealTurns(_ queue: QueueSettings, _ db: Database) throws {
        let share = "coalesce((SELECT value FROM json_each(labels) WHERE key = :label), '')"
        try db.execute(
            sql: """
                UPDATE runs SET share = dealt.share, turn = iif(:label IS NULL, 0, dealt.turn)
                FROM (
                    SELECT no, \(share) AS share,
                        row_number() OVER (PARTITION BY priority, \(share) ORDER BY no) AS turn
                    FROM runs WHERE queue = :queue AND status = 'pending') AS dealt
                WHERE runs.no = dealt.no
                """,
            arguments: ["queue": queue.name, "label": queue.fairness])
    }

    // MARK: - Taking

    func take(_ request: QueueRequest, owner: RunOwner) async throws -> QueueAnswer {
        let taken = Slot<Set<RunID>>()
        do {
            let answer = try await writer.perform { [self] session -> QueueAnswer in
                let claimed = try take(request, owner, taken, session)
                return QueueAnswer(claimed: claimed, nextDue: try nextDue(request.queue, session.db))
            }
            letGo(taken, except: Set(answer.claimed.map(\.record.id)))
            return answer
        } catch {
            letGo(taken, except: [])
            throw error
        }
    }

    private func letGo(_ taken: Slot<Set<RunID>>, except kept: Set<RunID>) {
        for id in (taken.value ?? []).subtracting(kept) { locks.letGo(id, removing: false) }
    }

    private func take(
        _ request: QueueRequest, _ owner: RunOwner, _ taken: Slot<Set<RunID>>, _ session: WriteSession
    ) throws -> [Claimed] {
        let db = session.db
        let settings = try settings(of: request.queue, db)
        var places = request.limit
        if let concurrency = settings?.concurrency {
            places = min(places, concurrency - (try busy(request.queue, except: nil, db)))
        }
        var claimed: [Claimed] = []
        func claim(_ id: RunID, _ isBegun: Bool) throws {
            guard try taken.value?.contains(id) == true || locks.take(id) else { return }
            taken.value = (taken.value ?? []).union([id])
            claimed.append(try raiseEpoch(of: id, isBegun: isBegun, owner, session))
        }
        for row in try candidates(request, begun: true, db) where claimed.count < places { try claim(row, true) }
        var starts = Int.max
        if let settings, let limit = settings.rateLimit, let period = settings.ratePeriod {
            try db.execute(
                sql: "DELETE FROM queue_starts WHERE queue = ? AND at <= ?",
                arguments: [request.queue, now.milliseconds - period])
            let made = try Int.fetchOne(
                db, sql: "SELECT count(*) FROM queue_starts WHERE queue = ?", arguments: [request.queue])
            starts = limit - (made ?? 0)
        }
        let left = min(places - claimed.count, starts)
        guard left > 0 else { return claimed }
        for id in try candidates(request, begun: false, limit: left, db) {
            let count = claimed.count
            try claim(id, false)
            if settings?.rateLimit != nil, claimed.count > count {
                try db.execute(
                    sql: "INSERT INTO queue_starts (queue, at) VALUES (?, ?)",
                    arguments: [request.queue, now.milliseconds])
            }
        }
        return claimed
    }

    /// Runs that may be taken, the first ones first. Those that were begun are no more than workers had.
    private func candidates(
        _ request: QueueRequest, begun: Bool, limit: Int = .max, _ db: Database
    ) throws -> [RunID] {
        let known = request.workflows.map { [$0.name, "\($0.version)"] }
        let state =
            begun
            ? "status IN ('running', 'sleeping') AND :now IS NOT NULL"
            : "status = 'pending' AND (wake_at IS NULL OR wake_at <= :now)"
        let ids = try String.fetchAll(
            db,
            sql: """
                SELECT id FROM runs
                WHERE queue = :queue AND \(state) AND rest IS NOT 'parked'
                    AND EXISTS (
                        SELECT 1 FROM json_each(:known) WHERE value ->> 0 = workflow
                            AND (cast(value ->> 1 AS INTEGER) = version OR cancel_requested_at IS NOT NULL))
                ORDER BY priority DESC, turn, no LIMIT :limit
                """,
            arguments: [
                "queue": request.queue, "now": now.milliseconds, "known": Payload.text(of: known), "limit": limit,
            ])
        return try ids.map(runID)
    }

    private func raiseEpoch(
        of id: RunID, isBegun: Bool, _ owner: RunOwner, _ session: WriteSession
    ) throws -> Claimed {
        let db = session.db
        let no = try session.number(of: id)
        try db.execute(
            sql: """
                UPDATE runs SET epoch = epoch + 1, status = 'running', wake_at = NULL, owner = ?, updated_at = ?,
                    deaths = deaths + iif(status = 'running' AND rest IS NULL, 1, 0), rest = NULL
                WHERE no = ?
                """,
            arguments: [Payload.text(of: owner), now.milliseconds, no])
        try append(isBegun ? "run.resumed" : "run.started", run: no, session)
        guard let record = try run(id, db, isHeld: { _ in true }) else { throw WorkflowError.unknownRun(id) }
        return Claimed(
            claim: LockClaim(id: id, epoch: record.epoch), record: record, steps: try steps(of: id, db),
            resources: try resources(of: id, db))
    }

    // MARK: - Limits

    private func settings(of queue: String, _ db: Database) throws -> QueueSettings? {
        try Row.fetchOne(db, sql: "SELECT * FROM queues WHERE name = ?", arguments: [queue]).map {
            QueueSettings(
                name: queue, concurrency: $0["concurrency"], rateLimit: $0["rate_limit"], ratePeriod: $0["rate_period"],
                fairness: $0["fairness"])
        }
    }

    /// How many runs of the queue have a place: those that work, and those that slept and want to work again.
    private func busy(_ queue: String, except id: RunID?, _ db: Database) throws -> Int {
        let sleeping = id == nil ? " OR (status = 'sleeping' AND wake_at <= \(now.milliseconds))" : ""
        return try String.fetchAll(
            db,
            sql: """
                SELECT id FROM runs
                WHERE queue = ? AND status IN ('running', 'sleeping') AND (status = 'running'\(sleeping))
                """,
            arguments: [queue]
        ).map(runID).count { $0 != id && locks.isHeld($0) }
    }

    /// After how long time alone makes a run due, or the rate lets one begin.
    private func nextDue(_ queue: String, _ db: Database) throws -> Duration? {
        let due = try Int64.fetchOne(
            db,
            sql: """
                SELECT min(wake_at) FROM runs
                WHERE queue = ? AND status = 'pending' AND wake_at IS NOT NULL AND wake_at > ?
                """,
            arguments: [queue, now.milliseconds])
        let rate = try Int64.fetchOne(
            db,
            sql: """
                SELECT min(at) + rate_period FROM queue_starts JOIN queues ON name = queue
                WHERE queue = ? GROUP BY queue HAVING count(*) >= rate_limit
                """,
            arguments: [queue])
        return [due, rate].compactMap(\.self).min().map { .milliseconds(max($0 - now.milliseconds, 1)) }
    }

    func rouse(_ id: RunID, epoch: Int, queue: String) async throws -> Bool {
        try await writer.perform { [self] session in
            if let concurrency = try settings(of: queue, session.db)?.concurrency,
                try busy(queue, except: id, session.db) >= concurrency
            {
                return false
            }
            let writer = RunWriter(
                session: session, run: id, no: try session.number(of: id), epoch: epoch, now: now)
            try writer.apply(.status(.running, wakeAt: nil))
            return true
        }
    }

    func unpark(_ id: RunID) async throws -> Bool {
        let isDone = try await writer.perform { [self] session in
            try session.db.execute(
                sql: "UPDATE runs SET rest = 'yielded', updated_at = ? WHERE id = ? AND rest = 'parked'",
                arguments: [now.milliseconds, id.description])
            return session.db.changesCount == 1
        }
        bells.ring()
        return isDone
    }

    func news() -> StoreNews {
        let news = StoreNews { [reader] in
            try await reader.read { db in
                // The number of a connection that only reads changes with the commits of all that write.
                _ = try Int64.fetchOne(db, sql: "SELECT next FROM sequence")
                return try Int64.fetchOne(db, sql: "PRAGMA data_version") ?? 0
            }
        }
        bells.add(news.bell)
        return news
    }
}

extension WriteSession {
    /// Whose share of a queue a run belongs to, and in which round it stands there.
    ///
    /// In each round every share has one run. A share that waits gets the round after its last one; one that does not
    /// gets the round that is served now.
    func turn(of labels: [String: String], in place: QueuePlace) throws -> (share: String, turn: Int64) {
        let label = try String.fetchOne(
            db, sql: "SELECT fairness FROM queues WHERE name = ?", arguments: [place.queue])
        guard let label else { return ("", 0) }
        let share = labels[label] ?? ""
        let turn = try Int64.fetchOne(
            db,
            sql: """
                SELECT max(
                    coalesce((
                        SELECT max(turn) + 1 FROM runs
                        WHERE queue = :queue AND status = 'pending' AND priority = :priority AND share = :share), 0),
                    coalesce((
                        SELECT min(turn) FROM runs
                        WHERE queue = :queue AND status = 'pending' AND priority = :priority), 0))
                """,
            arguments: ["queue": place.queue, "priority": place.priority, "share": share])
        return (share, turn ?? 0)
    }
}
