import Foundation
import Glibc
import struct TestSupport.Command
import class TestSupport.TestPostgres
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("PostgreSQL over TCP, with TLS and passwords", .onPostgres)
struct PostgresSecurityTests {
    private static let password = "n0b0dy-sees-me"
    private static let script = Script { _, run in try await run.step("one") { _ in 1 } }

    /// A server that lets in over TCP who uses TLS and knows a password, and the certificate of who signed its own.
    private struct SecureServer {
        let server: TestPostgres
        let authority: String
        let otherAuthority: String
        let directory: String

        func address(_ options: [String: String] = [:], password: String? = PostgresSecurityTests.password) -> String {
            let all = [
                "hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": authority,
                "options": "-csearch_path%3Dworker",
            ].merging(options) { $1 }
            let query = all.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "&")
            let secret = password.map { ":\($0)" } ?? ""
            return "postgresql://worker\(secret)@localhost:\(server.port)/postgres?\(query)"
        }

        var log: String { (try? String(contentsOfFile: server.directory + "/log", encoding: .utf8)) ?? "" }
    }

    private static func use(_ body: (SecureServer) async throws -> Void) async throws {
        let files = try TemporaryStore()
        defer { try? files.remove() }
        let directory = files.directory
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for name in ["ca", "other"] {
            try await Command.run(
                "openssl",
                ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
                    + ["-subj", "/CN=\(name)", "-keyout", "\(directory)/\(name).key"]
                    + ["-out", "\(directory)/\(name).pem"])
        }
        try await Command.run(
            "openssl",
            ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
                + ["-keyout", "\(directory)/server.key", "-out", "\(directory)/server.csr"])
        try Data("subjectAltName=DNS:localhost\n".utf8).write(to: URL(fileURLWithPath: directory + "/names"))
        try await Command.run(
            "openssl",
            ["x509", "-req", "-in", "\(directory)/server.csr", "-CA", "\(directory)/ca.pem", "-CAkey"]
                + ["\(directory)/ca.key", "-CAcreateserial", "-days", "2", "-extfile", "\(directory)/names"]
                + ["-out", "\(directory)/server.pem"])
        let server = try TestPostgres(port: try freePort())
        defer { server.stop() }
        for name in ["server.pem", "server.key"] {
            try server.write(try String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8), to: name)
        }
        try server.write(
            "local all postgres trust\nhostssl all worker 127.0.0.1/32 scram-sha-256\n", to: "pg_hba.conf")
        try await server.start([
            "listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key",
            "password_encryption=scram-sha-256", "log_connections=on",
        ])
        let own = "postgresql:///postgres?host=\(server.directory)&port=\(server.port)&user=postgres"
        try TestPostgres.run("CREATE ROLE worker LOGIN PASSWORD '\(password)'", own)
        try TestPostgres.run("CREATE SCHEMA AUTHORIZATION worker", own)
        try await body(
            SecureServer(
                server: server, authority: "\(directory)/ca.pem", otherAuthority: "\(directory)/other.pem",
                directory: directory))
    }

    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { place in
                bind(descriptor, place, length) == 0 ? getsockname(descriptor, place, &length) : -1
            }
        }
        try #require(code == 0)
        return Int(UInt16(bigEndian: address.sin_port))
    }

    /// What opening the store there ends with.
    private static func refusal(_ address: String) async -> WorkflowError? {
        var configuration = StoreConfiguration.postgres(address)
        configuration.reconnectTimeout = .seconds(2)
        do {
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            await engine.shutdown()
            return nil
        } catch {
            return error as? WorkflowError
        }
    }

    @Test("a store works over verified TLS with a password, and no other way, and shows the password to nobody")
    func overTLS() async throws {
        try await Self.use { secure in
            let engine = try await Engine(
                store: .postgres(secure.address()), configuration: testConfiguration())
            let handle = try await engine.start(Self.script, input: "")
            #expect(try await handle.result() == 1)
            let own = "postgresql:///postgres?host=\(secure.server.directory)&port=\(secure.server.port)&user=postgres"
            let sessions = try TestPostgres.run(
                "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'worker'", own)
            #expect(sessions.count >= 2 && sessions.allSatisfy { $0["ssl"] == "t" }, "\(sessions)")
            await engine.shutdown()

            let passwords = secure.directory + "/passwords"
            try Data("localhost:*:*:worker:\(Self.password)\n".utf8).write(to: URL(fileURLWithPath: passwords))
            try #require(chmod(passwords, 0o600) == 0)
            let fromFile = secure.address(["passfile": passwords], password: nil)
            #expect(await Self.refusal(fromFile) == nil, "a password from a file")

            let refused = [
                "another authority": secure.address(["sslrootcert": secure.otherAuthority]),
                "another name": secure.address(["host": "elsewhere.example"])
                    .replacing("@localhost:\(secure.server.port)", with: "@:\(secure.server.port)"),
                "without TLS": secure.address(["sslmode": "disable"]),
                "a server that cannot be written": secure.address([
                    "options": "-csearch_path%3Dworker%20-cdefault_transaction_read_only%3Don"
                ]),
                "another password": secure.address(password: Self.password + "x"),
                "no password": secure.address(["passfile": "/dev/null"], password: nil),
            ]
            for (name, address) in refused {
                let error = await Self.refusal(address)
                #expect(error?.code == .storeUnavailable, "\(name): \(String(describing: error))")
                let message = error?.message ?? ""
                let isPassword = message.contains("does not let the role in: see its password")
                #expect(isPassword == name.hasSuffix("password"), "\(name): \(message)")
                #expect(message.contains("pg_hba.conf") == (name == "without TLS"), "\(name): \(message)")
                for text in ["\(String(describing: error))", String(reflecting: error), error?.message ?? ""] {
                    #expect(!text.contains("n0b0dy"), "\(name) shows the password")
                }
            }
            #expect(secure.log.contains("worker"), "the server logs connections")
            #expect(!secure.log.contains("n0b0dy"), "the server's log shows the password")
        }
    }
}
