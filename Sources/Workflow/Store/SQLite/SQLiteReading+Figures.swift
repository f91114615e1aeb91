import GRDB

extension SQLiteReading {
    func figures() async throws -> StoreFigures {
        try await reader.read { [self] db in
            var figures = StoreFigures()
            let ended = try Row.fetchAll(
                db, sql: "SELECT status, count(*) AS number FROM runs WHERE finished_at IS NOT NULL GROUP BY status")
            for row in ended {
                guard let status = RunStatus(rawValue: try row.needText("status")) else { continue }
                figures.add(Int(try row.needInteger("number")), status, isHeld: false)
            }
            let unfinished = try Row.fetchCursor(db, sql: "SELECT id, status FROM runs WHERE finished_at IS NULL")
            while let row = try unfinished.next() {
                guard let status = RunStatus(rawValue: try row.needText("status")) else { continue }
                figures.add(1, status, isHeld: locks.isHeld(try runID(row.needText("id"))))
            }
            let pages = try Int64.fetchOne(db, sql: "PRAGMA page_count") ?? 0
            figures.bytes = pages * (try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 0)
            return figures
        }
    }

    func figures(ofQueue queue: String) async throws -> QueueFigures {
        let now = Timestamp(clock.now()).milliseconds
        return try await reader.read { [self] db in
            let waiting = try Row.fetchOne(
                db,
                sql: """
                    SELECT count(*) FILTER (WHERE wake_at IS NULL OR wake_at <= :now) AS due,
                        count(*) FILTER (WHERE wake_at > :now) AS later,
                        min(max(created_at, coalesce(wake_at, 0)))
                            FILTER (WHERE wake_at IS NULL OR wake_at <= :now) AS since
                    FROM runs WHERE queue = :queue AND status = 'pending' AND rest IS NOT 'parked'
                    """, arguments: ["now": now, "queue": queue])
            let stopped = try Row.fetchAll(
                db,
                sql: """
                    SELECT id, rest FROM runs
                    WHERE queue = ? AND (status IN ('running', 'sleeping') OR (status = 'pending' AND rest = 'parked'))
                    """, arguments: [queue])
            var (abandoned, parked) = (0, 0)
            for row in stopped {
                if row.text("rest") == RunRest.parked.rawValue {
                    parked += 1
                } else if !locks.isHeld(try runID(row.needText("id"))) {
                    abandoned += 1
                }
            }
            let since = waiting?.integer("since")
            return QueueFigures(
                due: Int(waiting?.integer("due") ?? 0) + abandoned, later: Int(waiting?.integer("later") ?? 0),
                parked: parked, oldest: since.map { .milliseconds(max(now - $0, 0)) })
        }
    }
}
