import Connect
import Files
import Logging
import SandboxAPI
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

@testable import Sandbox

/// An API that answers what a test tells it to, and counts what it is asked.
private final class ScriptedAPI: Sendable {
    private let asked = Mutex<[String: Int]>([:])

    func count(_ method: String) -> Int { asked.withLock { $0[method] ?? 0 } }
    func note(_ method: String) { asked.withLock { $0[method, default: 0] += 1 } }

    static func with(
        _ routes: (inout ConnectRouter, ScriptedAPI) -> Void,
        _ body: (DepotProvider, ScriptedAPI) async throws -> Void
    ) async throws {
        let api = ScriptedAPI()
        var router = ConnectRouter()
        routes(&router, api)
        let directory = try TemporaryDirectory()
        let socket = directory.path + "/api"
        let logger = Logger(label: "scripted") { _ in SwiftLogNoOpLogHandler() }
        let server = ConnectServer(
            ConnectServerConfiguration(address: .unix(path: socket)), router: router, logger: logger)
        let (stops, stop) = AsyncStream<Void>.makeStream()
        let (starts, started) = AsyncStream<Void>.makeStream()
        let serving = Task {
            defer { started.finish() }
            try await server.run(onRunning: { _ in started.finish() }, until: { for await _ in stops {} })
        }
        for await _ in starts {}
        var configuration = DepotProvider.Configuration(url: "unix:" + socket)
        configuration.pollPause = .milliseconds(1)
        configuration.listingLag = .zero
        let provider = try DepotProvider(configuration)
        var failure: (any Error)?
        do { try await body(provider, api) } catch { failure = error }
        await provider.shutdown()
        stop.finish()
        try await serving.value
        if let failure { throw failure }
    }
}

@Suite("odd answers of an API")
struct DepotOddAnswersTests {
    private let spec = SandboxSpec(name: "n", labels: ["SNAPWF_RUN": "r"], timeToLive: .seconds(60))

    private static func sandbox(_ status: SandboxStatus, id: String = "sb-1", env: [String: String] = [:])
        -> SandboxMessage
    {
        SandboxMessage.with {
            $0.sandboxID = id
            $0.status = status
            $0.env = env
        }
    }

    @Test("one that does not echo the env cannot be used, and what it made is killed")
    func unlabelled() async throws {
        try await ScriptedAPI.with { router, api in
            router.unary(SandboxMethods.createSandbox) { _, _ in
                api.note("create")
                return CreateSandboxResponse.with { $0.sandbox = Self.sandbox(.running) }
            }
            router.unary(SandboxMethods.getSandbox) { _, _ in
                let status: SandboxStatus = api.count("kill") > 0 ? .cancelled : .running
                return GetSandboxResponse.with { $0.sandbox = Self.sandbox(status) }
            }
            router.unary(SandboxMethods.killSandbox) { _, _ in
                api.note("kill")
                return KillSandboxResponse()
            }
        } _: { provider, api in
            let error = try await sandboxError { _ = try await provider.create(spec) }
            #expect(error.code == .incompatible && !error.isInDoubt && !error.isRetryable, "\(error)")
            #expect(api.count("create") == 1 && api.count("kill") == 1)
        }
    }

    @Test("a creation that does not say what it made is in doubt")
    func nameless() async throws {
        try await ScriptedAPI.with { router, _ in
            router.unary(SandboxMethods.createSandbox) { _, _ in CreateSandboxResponse() }
        } _: { provider, _ async throws in
            let error = try await sandboxError { _ = try await provider.create(spec) }
            #expect(error.code == .unavailable && error.isInDoubt)
        }
    }

    @Test("a status of a later version counts as alive, and one about another sandbox is not believed")
    func foreign() async throws {
        try await ScriptedAPI.with { router, _ in
            router.unary(SandboxMethods.getSandbox) { request, _ in
                GetSandboxResponse.with {
                    $0.sandbox = Self.sandbox(.UNRECOGNIZED(99), id: request.id == "sb-2" ? "sb-1" : request.id)
                }
            }
        } _: { provider, _ async throws in
            #expect(try await provider.get(SandboxID("sb-1"))?.state == .starting)
            #expect(try await sandboxError { _ = try await provider.get(SandboxID("sb-2")) }.code == .unavailable)
        }
    }

    @Test("a list with an entry that has no id is not believed")
    func holes() async throws {
        try await ScriptedAPI.with { router, _ in
            router.unary(SandboxMethods.listSandboxes) { _, _ in
                ListSandboxesResponse.with { $0.sandboxes = [Self.sandbox(.running), Self.sandbox(.running, id: "")] }
            }
        } _: { provider, _ async throws in
            #expect(try await sandboxError { _ = try await provider.list() }.code == .unavailable)
        }
    }

    @Test("a file whose size the API counts otherwise is not renamed into place")
    func shortWrite() async throws {
        try await ScriptedAPI.with { router, api in
            router.clientStream(SandboxMethods.writeFile) { messages, _ in
                while try await messages.next() != nil {}
                return WriteFileResponse.with { $0.bytesWritten = 2 }
            }
            router.unary(SandboxMethods.getSandbox) { request, _ in
                GetSandboxResponse.with { $0.sandbox = Self.sandbox(.running, id: request.id) }
            }
            router.unary(SandboxMethods.rename) { _, _ in
                api.note("rename")
                return RenameResponse()
            }
            router.unary(SandboxMethods.remove) { _, _ in
                api.note("remove")
                return RemoveResponse()
            }
        } _: { provider, api in
            let error = try await sandboxError {
                try await provider.writeFile(
                    "/work/f", mode: 0o600, contents: .bytes([1, 2, 3]), in: SandboxID("sb-1"))
            }
            #expect(error.code == .unavailable)
            #expect(api.count("rename") == 0 && api.count("remove") == 1)
        }
    }

    @Test("messages of an upload stay under 4 MiB")
    func chunks() async throws {
        let sizes = Mutex<[Int]>([])
        let total = 9_000_001
        try await ScriptedAPI.with { router, _ in
            router.clientStream(SandboxMethods.writeFile) { messages, _ in
                var written = 0
                while let message = try await messages.next() {
                    let size = try (message.serializedBytes() as [UInt8]).count
                    sizes.withLock { $0.append(size) }
                    written += message.data.count
                }
                return WriteFileResponse.with { $0.bytesWritten = Int64(written) }
            }
            router.unary(SandboxMethods.chmod) { _, _ in ChmodResponse() }
            router.unary(SandboxMethods.rename) { _, _ in RenameResponse() }
        } _: { provider, _ async throws in
            let bytes = [UInt8](repeating: 7, count: total)
            try await provider.writeFile("/work/f", mode: 0o600, contents: .bytes(bytes), in: SandboxID("sb-1"))
            let seen = sizes.withLock { $0 }
            #expect(seen.allSatisfy { $0 < 4 << 20 } && seen.reduce(0, +) > total)
        }
    }
}

@Suite("an API whose process is replaced", .enabled(if: PeerWorld.isPossible))
struct DepotRestartTests {
    @Test("a durable command goes on in its sandbox while the API is killed and started again")
    func restart() async throws {
        let peer = try Peer()
        defer { peer.stop() }
        var configuration = DepotProvider.Configuration(url: peer.url)
        configuration.retry.attempts = 2
        let provider = try DepotProvider(configuration)
        let spec = SandboxSpec(name: "n", labels: ["SNAPWF_RUN": "r"], timeToLive: .seconds(600))
        let id = try await provider.create(spec).id
        let pacing = CommandPacing(firstPause: .milliseconds(20), longestPause: .milliseconds(200))
        let runner = DurableCommandRunner(
            provider: provider, sandbox: id, pacing: pacing, logger: Logger(label: "test"))
        let script = "echo run >> /work/runs; while [ ! -e /work/go ]; do echo tick; sleep 0.1; done; exit 5"
        _ = try await runner.start(DurableCommand(key: "k", script: script))
        var deaths = 0
        let outcome = try await runner.wait(for: "k", from: 0, deadline: .seconds(120)) { _, _ in
            guard deaths < 3 else { return }
            deaths += 1
            peer.kill()
            if deaths == 3 {
                try peer.restart()
                try await provider.writeFile("/work/go", mode: 0o600, contents: .bytes([]), in: id)
            } else {
                Task.detached {
                    try await Task.sleep(for: .milliseconds(400))
                    try peer.restart()
                }
            }
        }
        #expect(outcome == .finished(exitCode: 5) && deaths == 3)
        #expect(try await provider.readFile("/work/runs", limit: 100, in: id) == Array("run\n".utf8))
        #expect(try peer.journal("created").count == 1)
        try await provider.kill(id)
        await provider.shutdown()
    }
}
