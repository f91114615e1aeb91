import Connect
import Foundation
import Glibc
import Logging
import Sandbox
import SandboxAPI
import SandboxServer
import Synchronization
import Testing

@Suite("serving")
struct ServingTests {
    static func configuration(
        _ host: String, token: String? = nil, _ fill: (inout SandboxServerConfiguration) -> Void = { _ in }
    ) throws -> SandboxServerConfiguration {
        var configuration = SandboxServerConfiguration(address: .tcp(host: host, port: 0))
        configuration.token = try token.map { try SecretToken($0) }
        fill(&configuration)
        return configuration
    }

    @Test("refuses what would be open by accident")
    func refusals() throws {
        func isRefused(_ configuration: SandboxServerConfiguration) -> Bool {
            do {
                try configuration.validate()
                return false
            } catch {
                return error.code == .invalidArgument && !error.message.contains("s3cret")
            }
        }
        let files = ConnectServerConfiguration.TLS(certificateFile: "c", keyFile: "k")
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
            #expect(isRefused(try Self.configuration(host)))
            #expect(!isRefused(try Self.configuration(host, token: "s3cret")))
        }
        for host in [
            "0.0.0.0", "::", "192.0.2.1", "example.org", "128.0.0.1", "::ffff:127.0.0.1", "localhost.example.org",
        ] {
            #expect(isRefused(try Self.configuration(host, token: "s3cret")))
            #expect(isRefused(try Self.configuration(host) { $0.tls = files }))
            #expect(!isRefused(try Self.configuration(host, token: "s3cret") { $0.tls = files }))
            #expect(!isRefused(try Self.configuration(host, token: "s3cret") { $0.allowsPlaintext = true }))
        }
        #expect(!isRefused(SandboxServerConfiguration(address: .unix(path: "/tmp/x"))))
    }

    @Test("a token matches itself alone, and is never shown")
    func tokens() throws {
        let token = try SecretToken(" s3cret-token\n")
        #expect(token.matches("s3cret-token"))
        for wrong in [
            "", "s", "s3cret-toke", "s3cret-token ", "s3cret-tokens", "S3cret-token", "s3cret-tokens3cret-token",
        ] {
            #expect(!token.matches(wrong))
        }
        #expect(!"\(token) \(String(reflecting: token))".contains("s3cret"))
        for bad in ["", " \n", "a b", "ä", "a\0b"] {
            #expect(throws: ConnectError.self) { try SecretToken(bad) }
        }
    }

    @Test("lets in whoever has the token and names the organisation, and logs neither, nor what was called with")
    func authentication() async throws {
        let log = LogLines()
        try await ServedSandboxes.with(logger: log.logger) { served in
            let configuration = try Self.configuration("127.0.0.1", token: "s3cret-token") { $0.organization = "org-1" }
            try await served.serve(configuration) { address in
                func client(_ headers: [(name: String, value: String)]) throws -> ConnectClient {
                    try ConnectClient(
                        ConnectClientConfiguration(address: address) { () throws(ConnectError) in headers })
                }
                let bearer = (name: "Authorization", value: "Bearer s3cret-token")
                let organization = (name: "x-depot-org", value: "org-1")
                let cases: [([(name: String, value: String)], ConnectError.Code?)] = [
                    ([bearer, organization], nil),
                    ([(name: "authorization", value: "bearer s3cret-token"), organization], nil),
                    ([], .unauthenticated), ([organization], .unauthenticated),
                    ([(name: "Authorization", value: "Bearer wr0ng"), organization], .unauthenticated),
                    ([(name: "Authorization", value: "Basic s3cret-token"), organization], .unauthenticated),
                    ([bearer], .permissionDenied),
                    ([bearer, (name: "x-depot-org", value: "org-2")], .permissionDenied),
                ]
                for (headers, code) in cases {
                    let client = try client(headers)
                    let request = ListSandboxesRequest()
                    if let code {
                        let error = await expectError(code) {
                            try await client.unary(SandboxMethods.listSandboxes, request)
                        }
                        #expect(error?.message.contains("s3cret") == false)
                    } else {
                        #expect(try await client.unary(SandboxMethods.listSandboxes, request).sandboxes.isEmpty)
                    }
                    await client.shutdown()
                }
                let friend = try client([bearer, organization])
                var create = CreateSandboxRequest()
                create.env = ["NAME_X": "value-x"]
                let made = try await friend.unary(SandboxMethods.createSandbox, create).sandbox
                var run = RunCommandRequest()
                run.sandbox.id = made.sandboxID
                run.cmd = "true"
                run.args = ["argument-x"]
                run.env = ["NAME_Y": "value-y"]
                try await friend.serverStream(SandboxMethods.runCommand, run) { while try await $0.next() != nil {} }
                await friend.shutdown()
            }
        }
        let lines = log.lines.joined(separator: "\n")
        #expect(lines.contains("depot.sandbox.v1.SandboxService/RunCommand ok "))
        #expect(lines.contains("depot.sandbox.v1.SandboxService/ListSandboxes unauthenticated "))
        for secret in ["s3cret", "wr0ng", "argument-x", "value-x", "value-y", "NAME_X"] {
            #expect(!lines.contains(secret), "the log shows \(secret)")
        }
    }

    @Test("a unix socket is its owner's alone; a dead server's is replaced, a living one's is not")
    func socket() async throws {
        try await ServedSandboxes.with { served in
            var status = Glibc.stat()
            #expect(lstat(served.socket, &status) == 0)
            #expect(status.st_mode & S_IFMT == S_IFSOCK && status.st_mode & 0o777 == 0o600)
            await expectError(.unavailable, .alreadyExists, .failedPrecondition) {
                try await served.serve(SandboxServerConfiguration(address: .unix(path: served.socket))) { _ in }
            }
            // The first one still serves.
            #expect(try await served.list().isEmpty)
            try await served.stop()
            let dead = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(served.socket.utf8) + [0]) }
            _ = unlink(served.socket)
            let bound = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(dead, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            #expect(bound == 0)
            close(dead)
            try await served.start()
            #expect(try await served.list().isEmpty)
        }
    }

    @Test("answers a plain GET of its health, as curl sees it, and nothing else")
    func health() async throws {
        try await ServedSandboxes.with { served in
            func curl(_ arguments: [String]) throws -> String {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
                process.arguments = ["-s", "--max-time", "20", "--unix-socket", served.socket] + arguments
                let pipe = Pipe()
                process.standardOutput = pipe
                try process.run()
                let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
                process.waitUntilExit()
                return String(decoding: data, as: UTF8.self)
            }
            #expect(try curl(["http://x/healthz"]) == "ok\n")
            #expect(try curl(["--http2-prior-knowledge", "http://x/healthz"]) == "ok\n")
            #expect(try curl(["-o", "/dev/null", "-w", "%{http_code}", "http://x/"]) == "404")
            let path = "http://x/depot.sandbox.v1.SandboxService/ListSandboxes"
            for more in [[], ["--http2-prior-knowledge"]] {
                let text = try curl(more + ["-H", "Content-Type: application/json", "-d", "{}", path])
                #expect(text == "{}")
            }
            let text = try curl([
                "-H", "Content-Type: application/json", "-d", "{\"sandbox\":{\"id\":\"sb-x\"}}",
                "http://x/depot.sandbox.v1.SandboxService/KillSandbox",
            ])
            #expect(text.contains("\"code\":\"not_found\"") && text.contains("there is no sandbox sb-x"))
        }
    }

    @Test("looks after what is left while it runs, and goes on when that fails")
    func housekeeping() async throws {
        try await ServedSandboxes.with { served in
            let rounds = Mutex(0)
            var configuration = SandboxServerConfiguration(address: .unix(path: served.directory + "/2.sock"))
            configuration.housekeepingInterval = .milliseconds(20)
            configuration.housekeeping = {
                let round = rounds.withLock { rounds in
                    rounds += 1
                    return rounds
                }
                if round == 1 { throw SandboxError(.system, "the first time") }
            }
            try await served.serve(configuration) { _ in
                try await eventually("nobody keeps house") { rounds.withLock { $0 } >= 3 }
            }
            let last = rounds.withLock { $0 }
            try await Task.sleep(for: .milliseconds(100))
            #expect(rounds.withLock { $0 } == last)
        }
    }
}

/// A logger whose lines can be looked at.
final class LogLines: Sendable {
    private let state = Mutex<[String]>([])
    var lines: [String] { state.withLock { $0 } }

    var logger: Logger {
        var logger = Logger(label: "serve") { _ in Handler(owner: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let owner: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            owner.state.withLock { $0.append("\(event.level) \(event.message) \(event.metadata ?? [:])") }
        }
    }
}
