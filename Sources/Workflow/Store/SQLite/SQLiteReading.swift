import GRDB

/// Reading from SQLite: the rows by a connection that cannot write, and who holds a run by the lock files.
protocol SQLiteReading: StoreReading {
    var reader: SQLiteReader { get }
    var locks: RunLocks { get }
}

extension SQLiteReading {
    var place: String { reader.path }

    func standing() async throws -> StoreStanding {
        try await reader.read { try StoreStanding.current($0) }
    }

    func isHeld(_ id: RunID) async -> Bool {
        locks.isHeld(id)
    }

    func run(_ id: RunID) async throws -> RunRecord? {
        try await reader.read { [self] db in try run(id, db, isHeld: locks.isHeld) }
    }

    func run(_ id: RunID, _ db: Database, isHeld: (RunID) -> Bool) throws -> RunRecord? {
        try Row.fetchOne(
            db, sql: "SELECT \(RunRecord.columns) FROM runs WHERE id = ?", arguments: [id.description]
        ).map { try RunRecord($0, isHeld: isHeld) }
    }

    func runs(idPrefix prefix: String) async throws -> [RunRecord] {
        try await reader.read { [self] db in
            // "~" sorts after everything an id can hold.
            try Row.fetchAll(
                db,
                sql: "SELECT \(RunRecord.columns) FROM runs WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 100",
                arguments: [prefix, prefix + "~"]
            ).map { try RunRecord($0, isHeld: locks.isHeld) }
        }
    }

    func runs(_ query: RunQuery) async throws -> [RunRecord] {
        try await reader.read { [self] db in
            var found: [RunRecord] = []
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT \(RunRecord.columns) FROM runs
                    WHERE id < :before AND (:workflow IS NULL OR workflow = :workflow)
                        AND \(condition(query.statuses))
                    ORDER BY id DESC
                    """,
                arguments: ["before": query.before?.description ?? "~", "workflow": query.workflow])
            while found.count < query.limit, let row = try rows.next() {
                let record = try RunRecord(row, isHeld: locks.isHeld)
                guard query.statuses?.contains(record.status) ?? true,
                    query.labels.allSatisfy({ record.labels[$0.key] == $0.value })
                else { continue }
                found.append(record)
            }
            return found
        }
    }

    func steps(of id: RunID) async throws -> [StepRecord] {
        try await reader.read { [self] db in try steps(of: id, db) }
    }

    func steps(of id: RunID, _ db: Database) throws -> [StepRecord] {
        try Row.fetchAll(
            db,
            sql: "SELECT * FROM steps WHERE run_no = (SELECT no FROM runs WHERE id = ?) ORDER BY rowid",
            arguments: [id.description]
        ).map { try StepRecord($0, of: id) }
    }

    func resources(of id: RunID) async throws -> [ResourceRecord] {
        try await reader.read { [self] db in try resources(of: id, db) }
    }

    func resources(of id: RunID, _ db: Database) throws -> [ResourceRecord] {
        try Row.fetchAll(
            db,
            sql: "SELECT * FROM resources WHERE run_no = (SELECT no FROM runs WHERE id = ?) ORDER BY rowid",
            arguments: [id.description]
        ).map { try ResourceRecord($0, of: id) }
    }

    func resources(states: Set<ResourceRecord.State>) async throws -> [ResourceRecord] {
        let list = states.map { "'\($0.rawValue)'" }.sorted().joined(separator: ", ")
        return try await reader.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT resources.*, runs.id AS run_id FROM resources JOIN runs ON runs.no = run_no
                    WHERE state IN (\(list)) ORDER BY resources.rowid
                    """
            ).map { try ResourceRecord($0, of: runID($0.needText("run_id"))) }
        }
    }

    func events(of id: RunID, after seq: Int64, limit: Int) async throws -> [EventRecord] {
        try await reader.read { db in
            // SQLite takes a number into the parts of the view, and no subquery: with one, it would read all events and steps.
            let number = try Int64.fetchOne(db, sql: "SELECT no FROM runs WHERE id = ?", arguments: [id.description])
            guard let number else { return [] }
            return try Row.fetchAll(
                db, sql: "SELECT * FROM history WHERE run_no = ? AND seq > ? ORDER BY seq LIMIT ?",
                arguments: [number, seq, limit]
            ).map { try EventRecord($0, of: id) }
        }
    }

    func everything(of id: RunID) async throws -> RunRecords? {
        try await reader.read { [self] db in
            guard let run = try run(id, db, isHeld: locks.isHeld) else { return nil }
            return RunRecords(run: run, steps: try steps(of: id, db), resources: try resources(of: id, db))
        }
    }
}

/// The recorded states behind the asked ones: "interrupted" is one of the unfinished ones.
///
/// Where no finished one is among them, the words are those of a partial index.
private func condition(_ statuses: Set<RunStatus>?) -> String {
    var recorded = statuses ?? Set(RunStatus.allCases)
    if recorded.contains(.interrupted) { recorded.formUnion([.pending, .running, .sleeping]) }
    let list = recorded.map { "'\($0.rawValue)'" }.sorted().joined(separator: ", ")
    let unfinished = recorded.contains(where: \.isFinished) ? "" : " AND finished_at IS NULL"
    return "status IN (\(list))" + unfinished
}
