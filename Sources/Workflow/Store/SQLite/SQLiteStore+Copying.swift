import GRDB

extension SQLiteStore: CopyableStore {
    func setStanding(_ new: StoreStanding, insteadOf old: StoreStanding, fencing: Bool) async throws {
        let place = place
        try await writer.perform { [self] session in
            let db = session.db
            guard try StoreStanding.current(db) == old else { throw WorkflowError.standingChanged(place) }
            if fencing {
                try Self.open(db)
                // Of a run that has ended somebody may be releasing what it left.
                try db.execute(
                    sql: """
                        UPDATE runs SET epoch = epoch + 1
                        WHERE finished_at IS NULL OR no IN (SELECT run_no FROM resources WHERE state <> 'released')
                        """)
            }
            try db.execute(
                sql: """
                    UPDATE store SET ancestors = ?, state = ?, copy = ?, peer = ?, peer_name = ?, changed_at = ?
                    """, arguments: StatementArguments(new.texts + ["\(now.milliseconds)"]))
        }
    }

    /// Until the end of the transaction, which nobody else sees.
    private static func open(_ db: Database) throws {
        try db.execute(sql: "UPDATE store SET state = 'open'")
    }

    private static func close(_ db: Database, as standing: StoreStanding) throws {
        try db.execute(
            sql: "UPDATE store SET state = ? WHERE copy IS ?", arguments: [standing.state.rawValue, standing.copy])
    }

    private func columns(of table: CopiedTable, _ db: Database) throws -> [String] {
        try db.columns(in: table.rawValue).map(\.name).filter { $0 != table.key }.sorted()
    }

    private func key(of table: CopiedTable) -> String { table.isNumberedByDatabase ? "rowid" : table.key }

    func page(of table: CopiedTable, after key: Int64, limit: Int) async throws -> CopiedPage {
        try await reader.read { [self] db in
            let columns = try columns(of: table, db)
            let name = self.key(of: table)
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT \(name), \(columns.joined(separator: ", ")) FROM \(table.rawValue)
                    WHERE \(name) > ? ORDER BY \(name) LIMIT ?
                    """, arguments: [key, limit])
            return CopiedPage(
                columns: columns,
                rows: try rows.map { row in
                    CopiedRow(
                        key: row[0],
                        values: try row.databaseValues.dropFirst().map { try CopiedValue($0, in: table) })
                })
        }
    }

    func append(_ page: CopiedPage, to table: CopiedTable, as standing: StoreStanding) async throws {
        let place = place
        try await writer.perform { [self] session in
            let db = session.db
            guard try StoreStanding.current(db) == standing else { throw WorkflowError.standingChanged(place) }
            let known = try columns(of: table, db)
            guard known == page.columns else { throw WorkflowError.otherColumns(table, known, page.columns) }
            try Self.open(db)
            let marks = Array(repeating: "?", count: known.count + 1).joined(separator: ", ")
            let insertion = try db.cachedStatement(
                sql: """
                    INSERT INTO \(table.rawValue) (\(([key(of: table)] + known).joined(separator: ", ")))
                    VALUES (\(marks))
                    """)
            for row in page.rows {
                try insertion.execute(
                    arguments: StatementArguments([row.key.databaseValue] + row.values.map(\.databaseValue)))
            }
            try Self.close(db, as: standing)
        }
    }

    func lastKey(of table: CopiedTable) async throws -> Int64 {
        try await reader.read { [self] db in
            try Int64.fetchOne(db, sql: "SELECT max(\(key(of: table))) FROM \(table.rawValue)") ?? 0
        }
    }

    func clear(as standing: StoreStanding) async throws {
        let place = place
        try await writer.perform { session in
            guard try StoreStanding.current(session.db) == standing else { throw WorkflowError.standingChanged(place) }
            try Self.open(session.db)
            for table in CopiedTable.roots { try session.db.execute(sql: "DELETE FROM \(table.rawValue)") }
            try Self.close(session.db, as: standing)
        }
    }

    func nextNumber() async throws -> Int64 {
        try await reader.read { try Int64.fetchOne($0, sql: "SELECT next FROM sequence") ?? 1 }
    }

    func skipNumbers(below number: Int64) async throws {
        try await writer.perform { session in
            try session.db.execute(sql: "UPDATE sequence SET next = max(next, ?)", arguments: [number])
            session.sequence.abandon()
        }
    }
}

extension StoreStanding {
    static func current(_ db: Database) throws -> StoreStanding {
        guard let row = try Row.fetchOne(db, sql: "SELECT \(columns) FROM store") else {
            throw WorkflowError.noStanding
        }
        return try StoreStanding(row)
    }
}

extension CopiedValue {
    fileprivate init(_ value: DatabaseValue, in table: CopiedTable) throws {
        switch value.storage {
        case .null: self = .null
        case .int64(let number): self = .integer(number)
        case .string(let text): self = .text(text)
        case .double, .blob:
            throw WorkflowError(
                .storeCorrupt, "the table \(table.rawValue) holds a value of a kind that no copy can take")
        }
    }

    fileprivate var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let number): number.databaseValue
        case .text(let text): text.databaseValue
        }
    }
}
