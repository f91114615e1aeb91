@testable import Connect
import Files
import Logging
@testable import Sandbox
import TestSupport
import Testing

@Suite("sandboxes through the API", .enabled(if: PeerWorld.isPossible))
struct DepotProviderTests {
    private func withSandbox(
        settings: [String: Any] = [:], configure: (inout DepotProvider.Configuration) -> Void = { _ in },
        _ body: (PeerWorld, DepotProvider, SandboxID) async throws -> Void
    ) async throws {
        try await PeerWorld.with(settings: settings, configure: configure) { world in
            let spec = SandboxSpec(name: "s", labels: ["SNAPWF_RUN": "r"], timeToLive: .seconds(600))
            try await body(world, world.provider, try await world.provider.create(spec).id)
        }
    }

    // MARK: Ends

    @Test("a kill returns when the sandbox is over, whatever becomes of its answer")
    func kill() async throws {
        try await withSandbox(settings: ["kill_seconds": 0.4]) { world, provider, id in
            try world.rules(["method": "KillSandbox", "fault": "reset", "when": "after"])
            try await provider.kill(id)
            #expect(try world.living() == 0)
            // Over already: failed_precondition, and success.
            try await provider.kill(id)
            try world.act("vanish", on: id)
            try await provider.kill(id)
            #expect(try await provider.get(id) == nil)
        }
    }

    @Test("a kill that is not obeyed in time says so")
    func stubborn() async throws {
        try await withSandbox(
            settings: ["kill_seconds": 3], configure: { $0.killPatience = .milliseconds(200) }
        ) { world, provider, id in
            let error = try await sandboxError { try await provider.kill(id) }
            #expect(error.code == .unavailable)
            try await eventually("the sandbox was not killed") { try world.living() == 0 }
        }
    }

    @Test("a time to live is set in whole minutes, and not in a sandbox that is over or gone")
    func timeToLive() async throws {
        try await withSandbox { world, provider, id in
            try await provider.setTimeToLive(.seconds(61), of: id)
            #expect(try world.peer.journal("timeout", organization: world.organization).last?.minutes == 2)
            try world.rules(["method": "SetSandboxTimeout", "fault": "expire"])
            #expect(try await sandboxError { try await provider.setTimeToLive(.seconds(60), of: id) }.code == .ended)
            #expect(try await sandboxError { _ = try await provider.run(["true"], in: id) }.code == .ended)
            try world.rules(["method": "SetSandboxTimeout", "fault": "vanish"])
            #expect(try await sandboxError { try await provider.setTimeToLive(.seconds(60), of: id) }.code == .notFound)
        }
    }

    // MARK: Commands

    @Test("commands run as root in /work, which is made where it is missing")
    func root() async throws {
        try await withSandbox(settings: ["work": false]) { world, provider, id in
            let output = try await provider.run(.shell("id -u; pwd"), in: id)
            #expect(output.text == "0\n/work\n")
            #expect(try await provider.run(["true"], in: id).exitCode == 0)
            #expect(try world.count("call", "Mkdir") == 1)
        }
    }

    @Test("a command in a sandbox that still starts waits for it")
    func starting() async throws {
        try await PeerWorld.with(
            settings: ["boot_seconds": 0.8], configure: { $0.startPatience = .milliseconds(100) }
        ) { world in
            let spec = SandboxSpec(name: "s", labels: ["A": "b"], timeToLive: .seconds(600))
            _ = try await sandboxError { _ = try await world.provider.create(spec) }
            var configuration = world.provider.configuration
            configuration.startPatience = .seconds(30)
            let patient = try DepotProvider(configuration)
            let id = try #require(try await patient.find(labels: ["A": "b"]).first).id
            #expect(try await patient.run(["echo", "hello"], in: id).text == "hello\n")
            await patient.shutdown()
        }
    }

    @Test("a stream that ends without Finished is no result; after Finished its end does not matter")
    func cuts() async throws {
        try await withSandbox { world, provider, id in
            let cuts = [("started", "reset"), ("finished", "close"), ("started", "close"), ("finished", "reset")]
            for (place, way) in cuts {
                try world.rules(["method": "RunCommand", "fault": "cut", "at": place, "how": way])
                let error = try await sandboxError { _ = try await provider.run(["echo", "x"], in: id) }
                #expect(error.code == .unavailable && error.isInDoubt, "\(place) \(way): \(error)")
            }
            try world.rules(["method": "RunCommand", "fault": "cut", "at": "end", "how": "close"])
            #expect(try await provider.run(["echo", "x"], in: id).text == "x\n")
        }
    }

    @Test("noise in a command's stream does not end it; what was refused is sent again")
    func noise() async throws {
        try await withSandbox(settings: ["unknown_fields": true]) { world, provider, id in
            try world.rules([
                "method": "RunCommand", "fault": "status", "status": 429, "code": "resource_exhausted",
                "retry_after": "0",
            ])
            try world.rules(["method": "RunCommand", "fault": "noise"])
            #expect(try await provider.run(["echo", "x"], in: id).text == "x\n")
            #expect(try world.count("command") == 1)
        }
    }

    @Test("a sandbox that ends under a command is told from a broken stream")
    func endsUnderCommand() async throws {
        for (fault, expected) in [("vanish", SandboxError.Code.notFound), ("expire", .ended), ("fail", .ended)] {
            try await withSandbox { world, provider, id in
                #expect(try await provider.run(["true"], in: id).exitCode == 0)
                try world.rules(["method": "RunCommand", "fault": fault])
                let error = try await sandboxError { _ = try await provider.run(["true"], in: id) }
                #expect(error.code == expected, "\(fault): \(error)")
            }
        }
    }

    @Test("standard input is refused before anything is sent")
    func input() async throws {
        try await withSandbox { world, provider, id async throws in
            let command = ShortCommand(["cat"], standardInput: [1])
            #expect(try await sandboxError { _ = try await provider.run(command, in: id) }.code == .unimplemented)
            #expect(try world.count("command") == 0)
        }
    }

    // MARK: Files

    @Test("a write that breaks off leaves the old file whole and can be made again")
    func brokenUpload() async throws {
        try await withSandbox { world, provider, id in
            let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try await provider.writeFile("/work/f", mode: 0o600, contents: .bytes([1, 2, 3]), in: id)
            try world.rules(["method": "WriteFile", "fault": "reset", "when": "body", "bytes": 3_000_000])
            let error = try await sandboxError {
                try await provider.writeFile("/work/f", mode: 0o600, contents: .bytes(bytes), in: id)
            }
            #expect(error.code == .unavailable && error.isRetryable, "\(error)")
            #expect(try await provider.readFile("/work/f", limit: 10, in: id) == [1, 2, 3])
            try await provider.writeFile("/work/f", mode: 0o600, contents: .bytes(bytes), in: id)
            #expect(try await provider.readFile("/work/f", limit: 5_000_000, in: id) == bytes)
            #expect(try await provider.run(["stat", "-c", "%a %u", "/work/f"], in: id).text == "600 0\n")
            #expect(try await provider.run(["ls", "-A", "/work"], in: id).text == "f\n")
        }
    }

    @Test("a file whose answer is cut is not half a file")
    func brokenRead() async throws {
        try await withSandbox { world, provider, id in
            try await provider.writeFile("/work/f", mode: 0o600, contents: .bytes([1, 2, 3]), in: id)
            try world.rules(["method": "ReadFile", "fault": "cut", "at": "end", "how": "close"])
            let error = try await sandboxError { _ = try await provider.readFile("/work/f", limit: 10, in: id) }
            #expect(error.code == .unavailable)
        }
    }

    // MARK: Durable commands

    @Test("a durable command runs once and is heard whole through a broken network", arguments: [1, 2, 3])
    func durable(_ seed: Int) async throws {
        try await withSandbox { world, provider, id in
            let pacing = CommandPacing(firstPause: .milliseconds(10), longestPause: .milliseconds(100))
            let runner = DurableCommandRunner(
                provider: provider, sandbox: id, pacing: pacing, logger: Logger(label: "test"))
            let script = """
                echo run >> /work/runs; stat -c '%a %u' "$SNAPWF_SECRETS/token"; cat "$SNAPWF_SECRETS/token"
                rm "$SNAPWF_SECRETS/token"; i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo "line $i"; done; exit 3
                """
            let command = DurableCommand(key: "k", script: script, secrets: ["token": Array("s3cret\n".utf8)])
            try world.control(["schedule": ["seed": seed, "rate": 0.25]])
            _ = try await runner.start(command)
            var output: [UInt8] = []
            let outcome = try await runner.wait(for: "k", from: 0, deadline: .seconds(120)) { chunk, _ in
                output += chunk
            }
            try world.clear()
            #expect(outcome == .finished(exitCode: 3), "seed \(seed)")
            let lines = (1...2000).map { "line \($0)\n" }.joined()
            #expect(String(decoding: output, as: UTF8.self) == "600 0\ns3cret\n" + lines, "seed \(seed)")
            #expect(try await provider.readFile("/work/runs", limit: 100, in: id) == Array("run\n".utf8))
            // The secret went by WriteFile alone: no command and no environment of the API held it.
            let journal = try world.peer.journal("command", organization: world.organization)
            #expect(!journal.isEmpty && !journal.contains { "\($0)".contains("s3cret") })
        }
    }

    // MARK: Snapshots

    @Test("a snapshot is captured once under its name, and found again after a lost answer")
    func snapshots() async throws {
        try await withSandbox(settings: ["snapshots": true, "capture_seconds": 0.3]) { world, provider, id in
            try await provider.check()
            #expect(provider.capabilities.snapshots)
            try world.rules(["method": "SnapshotSandbox", "fault": "reset", "when": "after"])
            let error = try await sandboxError { _ = try await provider.snapshot(of: id, name: "key-1") }
            #expect(error.code == .unavailable && error.isInDoubt)
            let first = try await provider.snapshot(of: id, name: "key-1")
            #expect(first.state == .ready && first.name == "key-1" && first.sandbox == id)
            #expect(try await provider.snapshot(of: id, name: "key-1").id == first.id)
            #expect(try world.count("captured") == 1)
            let other = try await provider.snapshot(of: id, name: "key-2")
            #expect(try await provider.snapshots(of: id).map(\.id) == [other.id, first.id])
            try await provider.removeSnapshot(first.id)
            try await provider.removeSnapshot(first.id)
            #expect(try await provider.snapshot(first.id) == nil)
        }
    }
}

@Suite("whether the API can be used", .enabled(if: PeerWorld.isPossible))
struct DepotCheckTests {
    @Test("the right token in the right organisation can; snapshots are found out")
    func good() async throws {
        try await PeerWorld.with(settings: ["token": "s3cr3t"], configure: { $0.token = { "s3cr3t" } }) { world in
            try await world.provider.check()
            #expect(!world.provider.capabilities.snapshots)
            try world.settings(["snapshots": true])
            try await world.provider.check()
            #expect(world.provider.capabilities.snapshots)
        }
    }

    @Test("a wrong token, none, and one without permission are told apart, and never shown")
    func credentials() async throws {
        try await PeerWorld.with(settings: ["token": "right"], configure: { $0.token = { "wr0ng-t0ken" } }) { world in
            let wrong = try await sandboxError { try await world.provider.check() }
            #expect(wrong.code == .credentials && wrong.message.contains("the token is not accepted"))
            #expect(!"\(wrong)".contains("wr0ng") && !"\(String(describing: wrong.cause))".contains("wr0ng"))
            var configuration = world.provider.configuration
            configuration.token = nil
            let bare = try DepotProvider(configuration)
            let none = try await sandboxError { try await bare.check() }
            #expect(none.code == .credentials && none.message.contains("give one (DEPOT_TOKEN"))
            await bare.shutdown()
            try world.settings(["token": "wr0ng-t0ken", "mode": "permission_denied"])
            let denied = try await sandboxError { try await world.provider.check() }
            #expect(denied.code == .credentials && denied.message.contains("--org"))
            #expect(!denied.isRetryable)
            try world.settings(["mode": "normal"])
        }
    }

    @Test("a page, an old API and nobody at all are told apart")
    func foreign() async throws {
        try await PeerWorld.with { world in
            try world.settings(["mode": "html"])
            let page = try await sandboxError { try await world.provider.check() }
            #expect(page.code == .incompatible && page.message.contains("check --api"), "\(page)")
            try world.settings(["mode": "normal", "missing": ["ListSandboxes"]])
            let old = try await sandboxError { try await world.provider.check() }
            #expect(old.code == .incompatible && old.message.contains("too old"), "\(old)")
            try world.settings(["missing": ["ListSnapshots"]])
            try await world.provider.check()
            #expect(!world.provider.capabilities.snapshots)
            try world.settings(["missing": [String]()])
            try world.rules([
                "method": "ListSandboxes", "fault": "status", "status": 500, "body": "html", "times": 0,
            ])
            let broken = try await sandboxError { try await world.provider.check() }
            #expect(broken.code == .unavailable, "\(broken)")
        }
        // Nobody listens on port 1.
        var configuration = DepotProvider.Configuration(url: "http://127.0.0.1:1")
        configuration.retry.attempts = 1
        let provider = try DepotProvider(configuration)
        let nobody = try await sandboxError { try await provider.check() }
        #expect(nobody.code == .unavailable && nobody.isRetryable && !nobody.isInDoubt)
        await provider.shutdown()
    }

    @Test("an address that is none is refused before anybody is asked")
    func address() async {
        for url in ["", "ftp://x", "https://user:pass@host", "unix:relative"] {
            await expectError(.invalidArgument) { _ = try DepotProvider(.init(url: url)) }
        }
    }
}
