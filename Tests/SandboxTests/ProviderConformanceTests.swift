import Glibc
import Testing

@testable import Sandbox

/// What every provider must do. Another provider joins by another case.
enum ProviderUnderTest: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case local
    /// `depot`, asking the independent peer.
    case peer
    /// `depot`, asking a server of ours with local sandboxes behind it.
    case served
    /// Virtual machines, emulated where KVM does not work.
    case vm

    /// Those that can be tried here.
    static var here: [ProviderUnderTest] {
        allCases.filter { subject in
            switch subject {
            case .local, .served: true
            case .peer: PeerWorld.isPossible
            case .vm: GuestFixtures.isPossible
            }
        }
    }

    /// An emulated guest takes some seconds to start, which a short time to live has to leave it.
    private func roomForStart(_ timeToLive: Duration) -> Duration {
        self == .vm && timeToLive < .seconds(60) ? timeToLive * 3 : timeToLive
    }

    var testDescription: String { rawValue }

    /// - Parameter minute: how long a minute of the provider's takes, where it counts in minutes.
    func with(
        minute: Duration = .seconds(60), _ body: (any SandboxProvider) async throws -> Void
    ) async throws {
        switch self {
        case .local: try await TestRoot.with { try await body($0.provider) }
        case .peer:
            let settings: [String: Any] = [
                "minute": Double(minute.wholeMilliseconds) / 1000, "disconnect_kills": true,
            ]
            try await PeerWorld.with(settings: settings) { try await body($0.provider) }
        case .served: try await ServedRoot.with(minute: minute) { try await body($0) }
        case .vm: try await GuestWorld.with { try await body($0.provider) }
        }
    }

    /// Runs a test in a sandbox of its own. Short times to live are ten seconds where minutes count.
    func withSandbox(
        timeToLive: Duration = .seconds(300), _ body: (any SandboxProvider, SandboxID) async throws -> Void
    ) async throws {
        try await with(minute: timeToLive < .seconds(60) ? .seconds(10) : .seconds(60)) { provider in
            let spec = SandboxSpec(
                name: "conformance", labels: ["SNAPWF_RUN": "c"], timeToLive: roomForStart(timeToLive))
            let info = try await provider.create(spec)
            try await body(provider, info.id)
            try await provider.kill(info.id)
        }
    }
}

@Suite("every provider")
struct ProviderConformanceTests {
    @Test("can be used here", arguments: ProviderUnderTest.here)
    func check(_ subject: ProviderUnderTest) async throws {
        try await subject.with { try await $0.check() }
    }

    @Test("shows what was created, by id, by labels and in the list", arguments: ProviderUnderTest.here)
    func create(_ subject: ProviderUnderTest) async throws {
        try await subject.with { provider in
            let labels = ["SNAPWF_RUN": "r1", "SNAPWF_OWNER": "a b\n=%ä"]
            let made = try await provider.create(
                SandboxSpec(name: "snapwf-r1-g1", labels: labels, memoryBytes: 1 << 30, timeToLive: .seconds(600))
            )
            #expect(made.state == .running)
            #expect(made.labels == labels)
            #expect(made.name == "snapwf-r1-g1")
            let expiry = try #require(made.expiresAt)
            #expect(expiry > made.createdAt)
            if !provider.capabilities.resourceLimits { #expect(made.notes.contains("memory: not enforced")) }
            #expect(try await provider.get(made.id) == made)
            #expect(try await provider.find(labels: labels) == [made])
            #expect(try await provider.list() == [made])
            try await provider.kill(made.id)
            #expect(try await provider.list().filter { $0.state.isAlive } == [])
        }
    }

    @Test("finds only those that carry every label, the oldest first", arguments: ProviderUnderTest.here)
    func find(_ subject: ProviderUnderTest) async throws {
        try await subject.with { provider in
            var made: [SandboxID] = []
            for number in 1...3 {
                let spec = SandboxSpec(
                    name: "s", labels: ["RUN": "r", "N": "\(number)"], timeToLive: .seconds(300)
                )
                made.append(try await provider.create(spec).id)
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(try await provider.find(labels: ["RUN": "r"]).map(\.id) == made)
            #expect(try await provider.find(labels: ["RUN": "r", "N": "2"]).map(\.id) == [made[1]])
            #expect(try await provider.find(labels: ["RUN": "r", "N": "4"]).isEmpty)
            for id in made { try await provider.kill(id) }
        }
    }

    @Test("does not know what was never made", arguments: ProviderUnderTest.here)
    func unknown(_ subject: ProviderUnderTest) async throws {
        try await subject.with { provider in
            for id in [SandboxID("sb-0123456789abcdef0123"), SandboxID("../../etc"), SandboxID("")] {
                #expect(try await provider.get(id) == nil)
                await expectError(.notFound) { _ = try await provider.run(["true"], in: id) }
                await expectError(.notFound) { try await provider.setTimeToLive(.seconds(60), of: id) }
                try await provider.kill(id)
            }
            #expect(try await provider.list().isEmpty)
        }
    }

    @Test("gives a command's exit code, output and errors apart", arguments: ProviderUnderTest.here)
    func outcome(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let output = try await provider.run(.shell("echo out; echo err >&2; exit 7"), in: id)
            #expect(output.exitCode == 7)
            #expect(output.text == "out\n")
            #expect(output.errorText == "err\n")
            #expect(try await provider.run(["true"], in: id).exitCode == 0)
            for (signal, code) in [("KILL", Int32(137)), ("TERM", 143)] {
                let killed = try await provider.run(.shell("kill -\(signal) $$"), in: id)
                #expect(killed.exitCode == code, "\(killed.text)\(killed.errorText)")
            }
            let arguments = ["printf", "%s|", "a b", "", "c\nd", "$HOME", "'"]
            #expect(try await provider.run(arguments, in: id).text == "a b||c\nd|$HOME|'|")
            await expectError(.missingTool) { _ = try await provider.run(["no-such-program"], in: id) }
        }
    }

    @Test("passes environment, working directory and standard input", arguments: ProviderUnderTest.here)
    func surroundings(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            var command = ShortCommand.shell("printf '%s|%s|' \"$A\" \"$PWD\"; cat")
            command.environment = ["A": "x=y\nz"]
            command.workingDirectory = "/tmp"
            let heard = try await provider.run(command, in: id)
            #expect(heard.text == "x=y\nz|/tmp|")
            if provider.capabilities.standardInput {
                command.standardInput = [UInt8](repeating: 7, count: 1 << 20)
                let echo = try await provider.run(command, in: id)
                #expect(echo.standardOutput.count == (1 << 20) + 11)
                // A command that does not read is no error.
                let deaf = ShortCommand(["true"], standardInput: [UInt8](repeating: 7, count: 1 << 20))
                let silence = try await provider.run(deaf, in: id)
                #expect(silence.exitCode == 0)
            }
        }
    }

    @Test("ends a command at its deadline, with its children", arguments: ProviderUnderTest.here)
    func deadline(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            var command = ShortCommand.shell("sleep 4711 & echo $! > /work/child; sleep 4712")
            command.deadline = .milliseconds(500)
            await expectError(.commandTimedOut) { _ = try await provider.run(command, in: id) }
            let child = try await provider.readFile("/work/child", limit: 100, in: id)
            let pid = String(decoding: child, as: UTF8.self).trimmed
            try await eventually("the child of a command that timed out goes on") {
                try await provider.run(.shell("kill -0 \"$1\"", [pid]), in: id).exitCode != 0
            }
            #expect(try await provider.run(["true"], in: id).exitCode == 0)
        }
    }

    @Test("bounds a command's output", arguments: ProviderUnderTest.here)
    func outputLimit(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            var command = ShortCommand(["head", "-c", "100000", "/dev/zero"])
            command.outputLimit = 100_000
            let output = try await provider.run(command, in: id)
            #expect(output.standardOutput.count == 100_000)
            command.outputLimit = 99_999
            await expectError(.outputTooLarge) { _ = try await provider.run(command, in: id) }
            await expectError(.outputTooLarge) { _ = try await provider.run(["cat", "/dev/zero"], in: id) }
        }
    }

    @Test("writes files whole, with their mode, over old ones", arguments: ProviderUnderTest.here)
    func files(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let path = "/work/deep/er/it's a file"
            try await provider.writeFile(path, mode: 0o751, contents: .bytes(bytes), in: id)
            #expect(try await provider.readFile(path, limit: bytes.count, in: id) == bytes)
            await expectError(.outputTooLarge) {
                _ = try await provider.readFile(path, limit: bytes.count - 1, in: id)
            }
            #expect(try await provider.run(["stat", "-c", "%a", path], in: id).text == "751\n")
            try await provider.writeFile(path, mode: 0o600, contents: .bytes([]), in: id)
            #expect(try await provider.readFile(path, limit: 10, in: id).isEmpty)
            #expect(try await provider.run(["ls", "-A", "/work/deep/er"], in: id).text == "it's a file\n")
            await expectError(.notFound) { _ = try await provider.readFile("/work/none", limit: 10, in: id) }
            await expectError(.commandFailed) { _ = try await provider.readFile("/work/deep", limit: 10, in: id) }
            await expectError(.commandFailed) {
                try await provider.writeFile("/work/deep", mode: 0o600, contents: .bytes([1]), in: id)
            }
        }
    }

    @Test("streams a file of the host into the sandbox", arguments: ProviderUnderTest.here)
    func hostFile(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let program = TestRoot.hostProgram
            try await provider.writeFile("/work/program", mode: 0o755, contents: .hostFile(program), in: id)
            let inside = try await provider.run(["sha256sum", "/work/program"], in: id).text.prefix(64)
            let outside = try await runOnHost("/usr/bin/sha256sum", [program]).text.prefix(64)
            #expect(inside == outside && inside.count == 64)
            await expectError(.notFound) {
                try await provider.writeFile("/work/x", mode: 0o755, contents: .hostFile("/no/such"), in: id)
            }
        }
    }

    @Test("keeps a background session after its command", arguments: ProviderUnderTest.here)
    func background(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let script = """
                setsid sh -c 'while :; do echo x >> /work/beat; sleep 0.05; done' </dev/null >/dev/null 2>&1 &
                """
            #expect(try await provider.run(.shell(script), in: id).exitCode == 0)
            func beats() async throws -> Int {
                do {
                    return try await provider.readFile("/work/beat", limit: 1 << 20, in: id).count
                } catch let error as SandboxError where error.code == .notFound {
                    return 0
                }
            }
            try await eventually("the background process did not start") { try await beats() > 0 }
            let before = try await beats()
            try await eventually("the background process ended with its command") { try await beats() > before }
        }
    }

    @Test("ends everything when the time to live passes", arguments: ProviderUnderTest.here)
    func timeToLive(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox(timeToLive: .seconds(5)) { provider, id in
            try await eventually("the sandbox outlives its time to live") {
                try await provider.get(id)?.state.isAlive != true
            }
            await expectError(.ended) { _ = try await provider.run(["true"], in: id) }
            await expectError(.ended) { try await provider.setTimeToLive(.seconds(60), of: id) }
        }
    }

    @Test("takes a later and an earlier expiry", arguments: ProviderUnderTest.here)
    func changedTimeToLive(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox(timeToLive: .seconds(6)) { provider, id in
            let first = try #require(try await provider.get(id)?.expiresAt)
            try await provider.setTimeToLive(.seconds(500), of: id)
            try await eventually("time stands still") { UnixTime.now() > first.advanced(by: .seconds(2)) }
            #expect(try await provider.run(["true"], in: id).exitCode == 0)
            try await provider.setTimeToLive(.milliseconds(200), of: id)
            try await eventually("the earlier expiry was not seen") {
                try await provider.get(id)?.state.isAlive != true
            }
        }
    }

    @Test("kills for good, and again, and two at once", arguments: ProviderUnderTest.here)
    func kill(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 1...4 { group.addTask { try await provider.kill(id) } }
                try await group.waitForAll()
            }
            try await provider.kill(id)
            #expect(try await provider.get(id)?.state.isAlive != true)
            do {
                _ = try await provider.run(["true"], in: id)
                Issue.record("a command ran in a killed sandbox")
            } catch let error as SandboxError {
                #expect(error.code == .notFound || error.code == .ended)
            }
        }
    }

    @Test("says so when a command's sandbox is killed under it", arguments: ProviderUnderTest.here)
    func killUnderCommand(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            async let command = provider.run(.shell("echo x > /work/there; sleep 4713"), in: id)
            try await eventually("the command did not start") {
                try await provider.run(["test", "-e", "/work/there"], in: id).exitCode == 0
            }
            try await provider.kill(id)
            do {
                _ = try await command
                Issue.record("a command of a killed sandbox has an exit code")
            } catch let error as SandboxError {
                #expect([.notFound, .ended].contains(error.code), "\(error)")
            }
        }
    }

    @Test("ends a command whose task is cancelled", arguments: ProviderUnderTest.here)
    func cancelled(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let task = Task { try await provider.run(.shell("echo $$ > /work/pid; exec sleep 4714"), in: id) }
            try await eventually("the command did not start") {
                try await provider.run(["test", "-s", "/work/pid"], in: id).exitCode == 0
            }
            task.cancel()
            await #expect(throws: CancellationError.self) { _ = try await task.value }
            try await eventually("the command of a cancelled task goes on") {
                try await provider.run(.shell("kill -0 $(cat /work/pid)"), in: id).exitCode != 0
            }
        }
    }
}
