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
}
