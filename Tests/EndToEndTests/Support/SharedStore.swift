import Foundation
import TestSupport
import Testing

/// A schema of a PostgreSQL server, as a store that installations share.
struct SharedStore: Sendable {
    /// In every address; it must turn up nowhere.
    static let password = "sEcReT-hOrSe-%41"
    /// As libpq understands it.
    static let plainPassword = "sEcReT-hOrSe-A"

    let server: TestPostgres
    let schema: String

    /// On the server that tests share.
    init(on server: TestPostgres? = nil) async throws {
        let running: TestPostgres
        if let server { running = server } else { running = try await TestPostgres.shared.value }
        self.server = running
        schema = "s_" + UUID().uuidString.lowercased().replacing("-", with: "")
        try await run("CREATE SCHEMA \(schema)")
    }

    var address: String {
        "postgresql://postgres:\(Self.password)@/postgres?host=\(server.directory)&options=-csearch_path%3D\(schema)"
    }

    var environment: [String: String] { ["SNAPWF_STORE": address] }

    /// Runs one statement by itself; what it answers, a line a row.
    @discardableResult
    func run(_ sql: String) async throws -> String {
        try await tool(
            "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", server.directory, "-U", "postgres", "-c", sql, "postgres",
            environment: ["PGOPTIONS": "-csearch_path=\(schema)"]
        ).output
    }

    /// Everything that is recorded.
    func dump() async throws -> String {
        try await tool(
            TestPostgres.binaries() + "/pg_dump", "-h", server.directory, "-U", "postgres", "-n", schema, "postgres"
        )
        .output
    }
}
