import Testing

@testable import Sandbox

@Suite("every provider, streaming")
struct StreamConformanceTests {
    /// What a streamed command said, put together.
    struct Heard {
        var starts = 0
        var output: [UInt8] = []
        var errors: [UInt8] = []
        /// Output before the start was announced.
        var isEarly = false

        mutating func take(_ progress: CommandProgress) {
            switch progress {
            case .started: starts += 1
            case .output(let bytes): output += bytes
            case .errors(let bytes): errors += bytes
            }
            if starts == 0 { isEarly = true }
        }
    }

    @Test("tells of the start, then each channel's bytes, then the exit code", arguments: ProviderUnderTest.here)
    func outcome(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            var heard = Heard()
            let script = "for i in 1 2 3; do echo \"o$i\"; echo \"e$i\" >&2; done; exit 7"
            let code = try await provider.stream(.shell(script), in: id) { heard.take($0) }
            #expect(code == 7)
            #expect(heard.starts == 1 && !heard.isEarly)
            #expect(String(decoding: heard.output, as: UTF8.self) == "o1\no2\no3\n")
            #expect(String(decoding: heard.errors, as: UTF8.self) == "e1\ne2\ne3\n")
            let killed = try await provider.stream(.shell("kill -KILL $$"), in: id) { _ in }
            #expect(killed == 137)
            await expectError(.missingTool) {
                _ = try await provider.stream(StreamedCommand(["no-such-program"]), in: id) { _ in }
            }
            await expectError(.notFound) {
                _ = try await provider.stream(.shell(":"), in: SandboxID("sb-0123456789abcdef0123")) { _ in }
            }
        }
    }

    @Test("hands output over while the command still runs", arguments: ProviderUnderTest.here)
    func live(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            // It ends only when somebody answered to what it said.
            let script = "echo ready; while [ ! -e /work/go ]; do sleep 0.05; done; echo \"$A $PWD\""
            var command = StreamedCommand.shell(script)
            command.environment = ["A": "x y"]
            command.workingDirectory = "/tmp"
            var heard = Heard()
            let code = try await provider.stream(command, in: id) { progress in
                heard.take(progress)
                if progress == .output(Array("ready\n".utf8)) {
                    try await provider.writeFile("/work/go", mode: 0o600, contents: .bytes([]), in: id)
                }
            }
            #expect(code == 0)
            #expect(String(decoding: heard.output, as: UTF8.self) == "ready\nx y /tmp\n")
        }
    }

    @Test(
        "loses nothing of much output, and holds the command back for a slow listener",
        arguments: ProviderUnderTest.here)
    func pressure(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let total = 20_000_000
            // The command tells how far it came; the pipes, the queue and a message or two are all that may lie between.
            // Random bytes, because of zeros a compressed stream holds many more on the way.
            let script = """
                i=0; while [ $i -lt 20 ]; do head -c 1000000 /dev/urandom; i=$((i + 1)); echo $i > /work/at.new
                mv /work/at.new /work/at; done
                """
            var count = 0
            var largest = 0
            var ahead: Int?
            let code = try await provider.stream(.shell(script), in: id) { progress in
                guard case .output(let bytes) = progress else { return }
                count += bytes.count
                largest = max(largest, bytes.count)
                if count < 4_000_000 || ahead != nil { return }
                // Long enough for a command that nobody holds back to write all of it.
                try await Task.sleep(for: .milliseconds(300))
                let at = try await provider.readFile("/work/at", limit: 10, in: id)
                ahead = (Int(String(decoding: at, as: UTF8.self).trimmed) ?? 0) * 1_000_000 - count
            }
            #expect(code == 0)
            #expect(count == total)
            #expect(largest <= 4 << 20)
            // What the peer keeps in its own memory is not ours to bound.
            if subject != .peer { #expect(try #require(ahead) < 10_000_000) }
        }
    }

    @Test("kills the command when its task is cancelled or its listener throws", arguments: ProviderUnderTest.here)
    func cancelled(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            let script = "sleep 4715 & echo $! > /work/child; echo $$ > /work/pid; echo up; while :; do echo x; done"
            func expectGone() async throws {
                try await eventually("a command that nobody listens to goes on") {
                    try await provider.run(
                        .shell("kill -0 $(cat /work/pid) || kill -0 $(cat /work/child)"), in: id
                    ).exitCode != 0
                }
                _ = try await provider.run(["rm", "/work/pid", "/work/child"], in: id)
            }
            let task = Task { try await provider.stream(.shell(script), in: id) { _ in } }
            try await eventually("the command did not start") {
                try await provider.run(["test", "-s", "/work/pid"], in: id).exitCode == 0
            }
            task.cancel()
            await #expect(throws: CancellationError.self) { _ = try await task.value }
            try await expectGone()

            await expectError(.outOfSpace) {
                _ = try await provider.stream(.shell(script), in: id) { progress in
                    if case .output = progress { throw SandboxError(.outOfSpace, "no room for it") }
                }
            }
            try await expectGone()
        }
    }

    @Test("feeds a command what comes while it runs", arguments: ProviderUnderTest.here)
    func input(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            guard provider.capabilities.standardInput else { return }
            let feed = CommandFeed()
            async let code = provider.stream(.shell("cat > /work/fed", input: feed), in: id) { _ in }
            for number in 0..<40 {
                #expect(try await feed.write([UInt8](repeating: UInt8(number), count: 100_000)))
            }
            feed.finish()
            #expect(try await code == 0)
            let expected = (0..<40).flatMap { [UInt8](repeating: UInt8($0), count: 100_000) }
            #expect(try await provider.readFile("/work/fed", limit: 5_000_000, in: id) == expected)

            // Nobody reads: the writer hears of it instead of waiting for ever.
            let deaf = CommandFeed()
            async let end = provider.stream(.shell("exec <&-; sleep 0.2", input: deaf), in: id) { _ in }
            var isRead = true
            while isRead { isRead = try await deaf.write([UInt8](repeating: 1, count: 1 << 20)) }
            #expect(try await end == 0)
        }
    }

    @Test("says so when the sandbox ends under a streamed command", arguments: ProviderUnderTest.here)
    func killed(_ subject: ProviderUnderTest) async throws {
        try await subject.withSandbox { provider, id in
            do {
                _ = try await provider.stream(.shell("echo up; sleep 4716"), in: id) { progress in
                    if case .output = progress { try await provider.kill(id) }
                }
                Issue.record("a command of a killed sandbox has an exit code")
            } catch let error as SandboxError {
                #expect([.notFound, .ended].contains(error.code), "\(error)")
            }
        }
    }
}
