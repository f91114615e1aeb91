import Foundation
import class TestSupport.TestPostgres

@testable import Workflow

extension TestPostgres {
    /// Runs one statement by itself, as no program of ours.
    @discardableResult
    func run(_ sql: String, schema: String? = nil) throws -> [[String: String]] {
        try Self.run(sql, address(schema: schema))
    }

    @discardableResult
    static func run(_ sql: String, _ address: String) throws -> [[String: String]] {
        let connection = try PostgresConnection(
            PostgresAddress(address), patience: .seconds(30), attributes: "any")
        let result = try connection.run(sql)
        return try result.rows.map { row in
            var values: [String: String] = [:]
            for name in result.names { values[name] = try row.text(name) }
            return values
        }
    }

    /// What the tables of an engine hold.
    static func dump(_ address: String) throws -> String {
        try ["runs", "steps", "resources", "events", "signals"].map { table in
            try run("SELECT * FROM \(table) ORDER BY ctid", address).map { row in
                row.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
            }.joined(separator: "\n")
        }.joined(separator: "\n\n")
    }

    func makeSchema() throws -> String {
        let schema = "s_" + UUID().uuidString.lowercased().replacing("-", with: "")
        try run("CREATE SCHEMA \(schema)")
        return schema
    }
}
