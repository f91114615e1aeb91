import Logging
import Testing

@testable import Sandbox

@Suite("a durable command with nothing but busybox")
struct BusyboxTests {
    private static let applets = [
        "cat", "dd", "head", "ls", "mkdir", "mv", "rm", "setsid", "sh", "sleep", "sync", "tail",
    ]

    private func with(
        _ applets: [String], busyboxShell: Bool = true,
        _ body: (DurableCommandRunner, BusyboxProvider) async throws -> Void
    ) async throws {
        try await TestRoot.with { root in
            let provider = BusyboxProvider(inner: root.provider, hasBusyboxShell: busyboxShell)
            let id = try await provider.create(root.spec()).id
            try await provider.install(applets, in: id)
            let pacing = CommandPacing(
                firstPause: .milliseconds(10), longestPause: .milliseconds(200), claimPatience: .milliseconds(600)
            )
            let logger = Logger(label: "test")
            try await body(
                DurableCommandRunner(provider: provider, sandbox: id, pacing: pacing, logger: logger), provider
            )
        }
    }

    @Test("runs, is read in chunks, is lost, taken over and cancelled like any other")
    func busybox() async throws {
        try await with(Self.applets) { runner, provider in
            let script = "head -c 1500000 /dev/urandom > /work/sent; cat /work/sent; exit 3"
            let long = DurableCommand(key: "long", arguments: ["sh", "-c", script])
            #expect(try await runner.start(long) == .started)
            var gathered: [UInt8] = []
            let outcome = try await runner.wait(for: "long", from: 0, deadline: .seconds(60)) { chunk, _ in
                gathered += chunk
            }
            #expect(outcome == .finished(exitCode: 3))
            #expect(try await provider.readFile("/work/sent", limit: 2 << 20, in: runner.sandbox) == gathered)

            let stay = DurableCommand(key: "stay", arguments: ["sh", "-c", "echo x >> /work/runs; sleep 4780"])
            #expect(try await runner.start(stay) == .started)
            #expect(try await runner.start(stay) == .attached)
            let kill = ShortCommand.shell("read pid rest < /work/.commands/stay/started/pid; kill -KILL $pid")
            #expect(try await provider.run(kill, in: runner.sandbox).exitCode == 0)
            try await eventually("not lost") { try await "\(runner.poll("stay", from: 0).verdict)".hasPrefix("lost") }
            #expect(try await runner.start(stay) == .started)
            #expect("\(try await runner.cancel("stay"))" == "finished with exit code 143")

            let claim = ShortCommand.shell("cat; mkdir -p /work/.commands/dead/started")
            #expect(try await provider.run(claim, in: runner.sandbox).exitCode == 0)
            let dead = DurableCommand(key: "dead", arguments: ["sh", "-c", "exit 0"])
            #expect(try await runner.start(dead) == .started)
        }
    }

    @Test("says which tools an image lacks", arguments: ["setsid", "dd", "tail"])
    func missing(tool: String) async throws {
        try await with(Self.applets.filter { $0 != tool }, busyboxShell: false) { runner, _ in
            do {
                _ = try await runner.start(DurableCommand(key: "k", script: "true"))
                Issue.record("started without \(tool)")
            } catch let error as SandboxError {
                #expect(error.code == .missingTool)
                #expect(error.message.contains(" \(tool);"), "\(error.message)")
            }
        }
    }

    @Test("says that an image has no shell")
    func noShell() async throws {
        try await with([]) { runner, _ in
            await expectError(.missingTool) { _ = try await runner.start(DurableCommand(key: "k", script: "true")) }
        }
    }
}
