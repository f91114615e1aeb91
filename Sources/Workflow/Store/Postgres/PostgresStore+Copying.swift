import Foundation

extension PostgresStore: CopyableStore {
    /// Waits for the transactions that have changed runs, and keeps others from beginning to.
    private static let lock = PostgresQuery("LOCK TABLE queues, runs, signals IN SHARE ROW EXCLUSIVE MODE")

    func setStanding(_ new: StoreStanding, insteadOf old: StoreStanding, fencing: Bool) async throws {
        var queries = [Self.lock, Self.expected(old)]
        if fencing {
            queries += [
                PostgresQuery("UPDATE store SET state = 'open'"),
                PostgresQuery("UPDATE runs SET epoch = epoch + 1 WHERE finished_at IS NULL"),
            ]
        }
        queries.append(
            PostgresQuery(
                """
                UPDATE store SET ancestors = $1, state = $2, copy = $3, peer = $4, peer_name = $5, changed_at = $6::bigint
                """, new.texts + ["\(now.milliseconds)"]))
        try await perform(queries)
    }

    /// Fails the transaction unless the store stands so.
    private static func expected(_ standing: StoreStanding) -> PostgresQuery {
        PostgresQuery(
            """
            SELECT require_change(count(*), NULL, NULL) FROM store
            WHERE id = $1 AND ancestors = $2 AND state = $3 AND copy IS NOT DISTINCT FROM $4
                AND peer IS NOT DISTINCT FROM $5 AND peer_name IS NOT DISTINCT FROM $6
            """, [standing.id] + standing.texts)
    }

    /// All in one transaction; where a row that was required is not there, somebody else was at it.
    private func perform(_ queries: [PostgresQuery]) async throws {
        let place = place
        try await writer.watch.outcome { completion in
            writer.submit(
                PostgresOperation(
                    urgency: .now, queries: { queries }, refusal: { _ in WorkflowError.standingChanged(place) },
                    completion: { completion($0.map { .failure($0) } ?? .success(())) }))
        }
    }

    /// The columns behind the key, by name, and which of them hold numbers.
    private static func columns(
        of table: CopiedTable, _ connection: PostgresConnection
    ) throws -> [(name: String, type: String)] {
        try connection.run(
            """
            SELECT column_name, data_type FROM information_schema.columns
            WHERE table_schema = current_schema() AND table_name = $1 AND column_name <> $2
            """, [table.rawValue, table.key]
        ).rows.map { (try $0.needText("column_name"), try $0.needText("data_type")) }.sorted { $0.0 < $1.0 }
    }

    func page(of table: CopiedTable, after key: Int64, limit: Int) async throws -> CopiedPage {
        try await reader.read { connection in
            let columns = try Self.columns(of: table, connection)
            let answer = try connection.run(
                """
                SELECT \(([table.key] + columns.map(\.name)).joined(separator: ", ")) FROM \(table.rawValue)
                WHERE \(table.key) > $1::bigint ORDER BY \(table.key) LIMIT $2::bigint
                """, ["\(key)", "\(limit)"])
            return CopiedPage(
                columns: columns.map(\.name),
                rows: try answer.rows.map { row in
                    CopiedRow(
                        key: try row.needInteger(table.key), values: try columns.map { try row.value($0.name, $0.type) }
                    )
                })
        }
    }

    func append(_ page: CopiedPage, to table: CopiedTable, as standing: StoreStanding) async throws {
        let known = try await reader.read { try Self.columns(of: table, $0).map(\.name) }
        guard known == page.columns else { throw WorkflowError.otherColumns(table, known, page.columns) }
        let names = ([table.key] + known).joined(separator: ", ")
        try await perform([
            Self.expected(standing), PostgresQuery("UPDATE store SET state = 'open'"),
            PostgresQuery(
                """
                INSERT INTO \(table.rawValue) (\(names)) OVERRIDING SYSTEM VALUE
                SELECT \(names) FROM json_populate_recordset(NULL::\(table.rawValue), $1::json)
                """, [try page.json(key: table.key)]),
            Self.restored(standing),
        ])
    }

    private static func restored(_ standing: StoreStanding) -> PostgresQuery {
        PostgresQuery("UPDATE store SET state = $1", [standing.state.rawValue])
    }

    func lastKey(of table: CopiedTable) async throws -> Int64 {
        try await reader.read { connection in
            try connection.run("SELECT max(\(table.key)) AS last FROM \(table.rawValue)").first?.integer("last") ?? 0
        }
    }

    func clear(as standing: StoreStanding) async throws {
        let deletions = CopiedTable.roots.map { PostgresQuery("DELETE FROM \($0.rawValue)") }
        try await perform(
            [Self.expected(standing), PostgresQuery("UPDATE store SET state = 'open'")] + deletions
                + [Self.restored(standing)])
    }

    func nextNumber() async throws -> Int64 {
        try await reader.read { connection in
            let answer = try connection.run(
                "SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END AS next FROM happenings")
            return try answer.first?.integer("next") ?? 1
        }
    }

    func skipNumbers(below number: Int64) async throws {
        let next = max(number, try await nextNumber())
        var queries = [PostgresQuery("SELECT setval('happenings', $1::bigint, false)", ["\(next)"])]
        for table in CopiedTable.allCases where table.isNumberedByDatabase {
            queries.append(
                PostgresQuery(
                    """
                    SELECT setval(pg_get_serial_sequence('\(table.rawValue)', '\(table.key)'),
                        (SELECT coalesce(max(\(table.key)), 0) + 1 FROM \(table.rawValue)), false)
                    """))
        }
        try await perform(queries)
    }
}

extension PostgresRow {
    fileprivate func value(_ column: String, _ type: String) throws -> CopiedValue {
        guard let text = try text(column) else { return .null }
        switch type {
        case "text": return .text(text)
        case "boolean": return .integer(text == "t" ? 1 : 0)
        case "bigint", "integer", "smallint": return .integer(try needInteger(column))
        default: throw WorkflowError(.storeFailed, "the column \(column) is of a type that no copy can take: \(type)")
        }
    }
}

extension CopiedPage {
    /// As `json_populate_recordset` takes it.
    fileprivate func json(key: String) throws -> String {
        let objects = rows.map { row in
            var object: [String: Any] = [key: row.key]
            for (column, value) in zip(columns, row.values) {
                switch value {
                case .null: break
                case .integer(let number): object[column] = number
                case .text(let text): object[column] = text
                }
            }
            return object
        }
        return String(decoding: try JSONSerialization.data(withJSONObject: objects), as: UTF8.self)
    }
}
