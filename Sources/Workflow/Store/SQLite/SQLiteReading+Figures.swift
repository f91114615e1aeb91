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

    func census(ofQueue queue: String) async throws -> [QueueCensus] {
        let now = Timestamp(clock.now()).milliseconds
        return try await reader.read { [self] db in
            let waiting = try Row.fetchAll(
                db,
                sql: """
                    SELECT workflow, version, cancel_requested_at IS NOT NULL AS is_ending,
                        count(*) FILTER (WHERE wake_at IS NULL OR wake_at <= :now) AS due,
                        count(*) FILTER (WHERE wake_at > :now) AS later,
                        min(max(created_at, coalesce(wake_at, 0)))
                            FILTER (WHERE wake_at IS NULL OR wake_at <= :now) AS since
                    FROM runs WHERE queue = :queue AND status = 'pending' AND rest IS NOT 'parked'
                    GROUP BY 1, 2, 3
                    """, arguments: ["now": now, "queue": queue])
            let stopped = try Row.fetchAll(
                db,
                sql: """
                    SELECT id, rest, workflow, version, cancel_requested_at IS NOT NULL AS is_ending FROM runs
                    WHERE queue = ? AND (status IN ('running', 'sleeping') OR (status = 'pending' AND rest = 'parked'))
                    """, arguments: [queue])
            let groups = try waiting.map { row in
                try group(row, due: row["due"], later: row["later"], oldest: row.integer("since").map { now - $0 })
            }
            return try groups
                + stopped.map { row in
                    let isParked = row.text("rest") == RunRest.parked.rawValue
                    let isDue = try !isParked && !locks.isHeld(runID(row.needText("id")))
                    return try group(row, due: isDue ? 1 : 0, parked: isParked ? 1 : 0)
                }
        }
    }

    private func group(
        _ row: Row, due: Int, later: Int = 0, parked: Int = 0, oldest: Int64? = nil
    ) throws -> QueueCensus {
        QueueCensus(
            workflow: KnownWorkflow(name: try row.needText("workflow"), version: Int(try row.needInteger("version"))),
            isEnding: row["is_ending"], due: due, later: later, parked: parked, oldest: oldest)
    }
}
