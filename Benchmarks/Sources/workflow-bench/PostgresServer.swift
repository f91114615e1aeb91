import Foundation
import Glibc

/// A PostgreSQL server to measure: one that is given, or one of the distribution's that lives as long as the program.
final class PostgresServer {
    /// What is not given on the command line.
    static let own = "own"

    /// Of a database to begin from; others are made beside it.
    private let base: URLComponents
    private let shell: Process?
    /// The shell's input: it ends the server when that ends, however this process does.
    private let lifeline: Pipe?

    /// - Parameters:
    ///   - address: a URL, or ``own``.
    ///   - parent: on the disk to measure.
    init(_ address: String, parent: String) async throws {
        if address != Self.own {
            guard let base = URLComponents(string: address) else {
                throw Usage(message: "--postgres takes 'own' or a URL such as postgresql://user@host/database")
            }
            self.base = base
            self.shell = nil
            self.lifeline = nil
            return
        }
        let bin = try Self.binaries()
        let directory = "\(parent)/pg"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        var user: [String] = []
        if geteuid() == 0 {
            // A server refuses to be root.
            _ = try await tool(["chown", "postgres", directory])
            user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        }
        let data = directory + "/data"
        _ = try await tool(
            user + ["\(bin)/initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"])
        let script = """
            "$@" >'\(data)/log' 2>&1 </dev/null & server=$!
            cat >/dev/null
            kill -INT $server; wait $server
            """
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments =
            ["-c", script, "sh"] + user + [
                "\(bin)/postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "max_connections=400",
                "-c", "shared_buffers=256MB",
            ]
        let lifeline = Pipe()
        shell.standardInput = lifeline
        try shell.run()
        var base = URLComponents()
        base.scheme = "postgresql"
        base.host = ""
        base.path = "/postgres"
        base.queryItems = [URLQueryItem(name: "host", value: directory), URLQueryItem(name: "user", value: "postgres")]
        self.base = base
        self.shell = shell
        self.lifeline = lifeline
        for _ in 0..<300 {
            if (try? await tool(["\(bin)/pg_isready", "-q", "-h", directory])) != nil { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw ToolFailed(command: "postgres", status: 1)
    }

    /// Ends an own server.
    func stop() throws {
        try lifeline?.fileHandleForWriting.close()
        shell?.waitUntilExit()
    }

    var address: String { base.string ?? "" }

    /// What it calls itself.
    func version() async throws -> String { try await ask("SHOW server_version") }

    /// Makes a database.
    ///
    /// - Returns: its address.
    func makeDatabase() async throws -> String {
        let name = "bench_" + UUID().uuidString.lowercased().replacing("-", with: "_")
        _ = try await ask("CREATE DATABASE \(name)")
        var new = base
        new.path = "/" + name
        return new.string ?? ""
    }

    func drop(_ address: String) async throws {
        guard let name = URLComponents(string: address)?.path.dropFirst() else { return }
        _ = try await ask("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }

    @discardableResult
    func ask(_ sql: String, in address: String? = nil) async throws -> String {
        try await tool(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, address ?? self.address])
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The rate of one-row transactions of the distribution's own load generator.
    func plainRate(clients: Int) async throws -> Double {
        let database = try await makeDatabase()
        try await ask("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)", in: database)
        let script = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).sql")
        try Data("INSERT INTO t (v) VALUES ('1');\n".utf8).write(to: script)
        defer { try? FileManager.default.removeItem(at: script) }
        // A number of transactions and no time: its clock is a signal, which the children of a thread of Foundation's block.
        let said = try await tool([
            try Self.binaries() + "/pgbench", "-n", "-M", "prepared", "-f", script.path, "-c", "\(clients)", "-j",
            "\(min(clients, 2))", "-t", "\(clients == 1 ? 6000 : max(24_000 / clients, 1))", database,
        ])
        try await drop(database)
        guard let line = said.split(separator: "\n").first(where: { $0.hasPrefix("tps = ") }),
            let rate = Double(line.dropFirst(6).prefix { $0 != " " })
        else { throw ToolFailed(command: "pgbench", status: 0) }
        return rate
    }

    private static func binaries() throws -> String {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        guard let newest = versions.compactMap({ Int($0) }).max() else {
            throw Usage(message: "there is no PostgreSQL server: scripts/setup bench installs one")
        }
        return "\(root)/\(newest)/bin"
    }
}

/// Runs a tool to its end; what it printed.
func tool(_ command: [String]) async throws -> String {
    try await onThread {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ToolFailed(command: command.joined(separator: " "), status: process.terminationStatus)
        }
        return String(decoding: output, as: UTF8.self)
    }
}

struct ToolFailed: Error, CustomStringConvertible {
    let command: String
    let status: Int32
    var description: String { "\(command) ended with status \(status)" }
}
