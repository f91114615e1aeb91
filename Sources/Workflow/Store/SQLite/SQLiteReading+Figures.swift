import GRDB

extension SQLiteReading {
    func figures() async throws -> StoreFigures {
        try await reader.read { [self] db in
            var figures = StoreFigures()
            for row in try Row.fetchAll(db, sql: "SELECT status, count(*) AS number FROM runs GROUP BY status") {
                guard let status = RunStatus(rawValue: try row.needText("status")) else { continue }
                figures.runs[status] = Int(try row.needInteger("number"))
            }
            let unfinished = try String.fetchCursor(db, sql: "SELECT id FROM runs WHERE finished_at IS NULL")
            while let text = try unfinished.next() {
                if let id = RunID(text), locks.isHeld(id) { figures.held += 1 }
            }
            let pages = try Int64.fetchOne(db, sql: "PRAGMA page_count") ?? 0
            figures.bytes = pages * (try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 0)
            return figures
        }
    }
}
