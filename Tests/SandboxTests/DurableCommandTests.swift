import Glibc
import Logging
import Testing

@testable import Sandbox

@Suite("a durable command")
struct DurableCommandTests {
    /// A runner in a sandbox of its own.
    private func with(
        _ body: (DurableCommandRunner, TestRoot, SandboxID) async throws -> Void
    ) async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            try await body(runner(root.provider, id), root, id)
        }
    }

    private func runner(
        _ provider: any SandboxProvider, _ id: SandboxID, claimPatience: Duration = .milliseconds(600),
        unknownBudget: Duration = .seconds(60)
    ) -> DurableCommandRunner {
        DurableCommandRunner(
            provider: provider, sandbox: id,
            pacing: CommandPacing(
                firstPause: .milliseconds(10), longestPause: .milliseconds(200), claimPatience: claimPatience,
                unknownBudget: unknownBudget
            ),
            logger: Logger(label: "test")
        )
    }

    /// Waits for the end and gathers the output.
    private func finish(
        _ runner: DurableCommandRunner, _ key: String, from offset: UInt64 = 0
    ) async throws -> (outcome: CommandOutcome, output: [UInt8], chunks: Int) {
        var gathered: [UInt8] = []
        var chunks = 0
        let outcome = try await runner.wait(for: key, from: offset, deadline: .seconds(120)) { chunk, newOffset in
            gathered += chunk
            chunks += 1
            #expect(newOffset == offset + UInt64(gathered.count))
            #expect(chunk.count <= 1 << 20)
        }
        return (outcome, gathered, chunks)
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test("gives its output and exit code", arguments: [0, 1, 7, 127, 255])
    func exitCodes(code: Int32) async throws {
        try await with { runner, _, _ in
            let command = DurableCommand(key: "k", script: "echo out; echo err >&2; exit \(code)")
            #expect(try await runner.start(command) == .started)
            let end = try await finish(runner, "k")
            #expect(end.outcome == .finished(exitCode: code))
            #expect(text(end.output) == "out\nerr\n")
            #expect(try await runner.start(command) == .attached)
        }
    }

    @Test("tells apart what cannot be run, what a signal ended, and a missing work directory")
    func oddEnds() async throws {
        try await with { runner, _, _ in
            _ = try await runner.start(DurableCommand(key: "none", arguments: ["/no/such/program"]))
            #expect(try await finish(runner, "none").outcome == .finished(exitCode: 127))
            _ = try await runner.start(DurableCommand(key: "signal", script: "kill -SEGV $$"))
            #expect(try await finish(runner, "signal").outcome == .finished(exitCode: 139))
            _ = try await runner.start(DurableCommand(key: "dir", arguments: ["true"], workingDirectory: "/none"))
            #expect(try await finish(runner, "dir").outcome == .finished(exitCode: 126))
        }
    }

    @Test("gets its arguments, environment and work directory as they are")
    func surroundings() async throws {
        try await with { runner, _, _ in
            let arguments = ["printf", "[%s]", "a'b", "", "$HOME `x`", "c\nd\\", "-n"]
            _ = try await runner.start(DurableCommand(key: "arguments", arguments: arguments))
            #expect(text(try await finish(runner, "arguments").output) == "[a'b][][$HOME `x`][c\nd\\][-n]")
            _ = try await runner.start(
                DurableCommand(
                    key: "environment", script: "printf '%s|%s' \"$A_1\" \"$PWD\"",
                    environment: ["A_1": "it's \"x\"\n$y"], workingDirectory: "/tmp"
                )
            )
            #expect(text(try await finish(runner, "environment").output) == "it's \"x\"\n$y|/tmp")
            _ = try await runner.start(DurableCommand(key: "home", script: "pwd; cat; echo read"))
            #expect(text(try await finish(runner, "home").output) == "/work\nread\n")
        }
    }

    @Test("runs once, however often and from however many sides it is started")
    func once() async throws {
        try await with { runner, _, _ in
            let command = DurableCommand(key: "k", script: "echo run >> /work/runs; sleep 0.3")
            let starts = try await withThrowingTaskGroup(of: CommandStart.self) { group in
                for _ in 1...6 { group.addTask { try await runner.start(command) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(starts.filter { $0 == .started }.count == 1)
            #expect(try await finish(runner, "k").outcome == .finished(exitCode: 0))
            #expect(try await runner.start(command) == .attached)
            #expect(text(try await runner.provider.readFile("/work/runs", limit: 100, in: runner.sandbox)) == "run\n")
        }
    }

    @Test("runs once although its launch is repeated")
    func launchedOnce() async throws {
        try await with { runner, root, id in
            let home = "/work/.commands/k"
            let claim = ShortCommand.shell(CommandScripts.claim, [home, "mine"])
            #expect(try await root.provider.run(claim, in: id).exitCode == 0)
            let command = DurableCommand(key: "k", script: "echo run >> /work/runs; sleep 0.2")
            let script = CommandScripts.run(command, secrets: "")
            try await root.provider.writeFile(
                home + "/run.sh", mode: 0o600, contents: .bytes(Array(script.utf8)), in: id
            )
            let launch = ShortCommand.shell(CommandScripts.launch, [home, "mine"])
            let codes = try await withThrowingTaskGroup(of: Int32.self) { group in
                for _ in 1...4 { group.addTask { try await root.provider.run(launch, in: id).exitCode } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(codes.sorted() == [0, 75, 75, 75])
            #expect(try await finish(runner, "k").outcome == .finished(exitCode: 0))
            #expect(text(try await root.provider.readFile("/work/runs", limit: 100, in: id)) == "run\n")
        }
    }

    @Test("loses no byte of a long log, whatever the offset it is read from")
    func longLog() async throws {
        try await with { runner, _, _ in
            let size = 3_500_000
            let script = "i=0; head -c \(size) /dev/urandom | tee /work/sent; sleep 0.1; printf end | tee -a /work/sent"
            _ = try await runner.start(DurableCommand(key: "k", script: script))
            let end = try await finish(runner, "k")
            let sent = try await runner.provider.readFile("/work/sent", limit: 4 << 20, in: runner.sandbox)
            #expect(end.outcome == .finished(exitCode: 0))
            #expect(sent.count == size + 3)
            #expect(end.output == sent)
            #expect(end.chunks >= 4)
            for offset in [1, 65_535, 65_536, 65_537, 1 << 20, size, size + 3] {
                let rest = try await finish(runner, "k", from: UInt64(offset))
                #expect(rest.output == Array(sent[offset...]), "from \(offset)")
            }
            let beyond = try await runner.poll("k", from: UInt64(size) + 1000)
            #expect(beyond.output.isEmpty)
        }
    }

    @Test("goes on when the client that started it is gone")
    func clientDies() async throws {
        try await with { runner, root, id in
            let script = "echo one; while [ ! -e /work/go ]; do sleep 0.02; done; echo two; exit 4"
            let client = try await runOnHost(
                TestRoot.hostProgram, ["durable", root.sandboxes, id.rawValue, "k", script]
            )
            #expect(client.text == "started\n")
            #expect(try await runner.start(DurableCommand(key: "k", script: "exit 9")) == .attached)
            #expect("\(try await runner.poll("k", from: 0).verdict)" == "running")
            try await root.provider.writeFile("/work/go", mode: 0o600, contents: .bytes([]), in: id)
            let end = try await finish(runner, "k")
            #expect(end.outcome == .finished(exitCode: 4))
            #expect(text(end.output) == "one\ntwo\n")
        }
    }

    @Test("is taken over when its claimant died before there was a process", arguments: ["mkdir", "token", "launched"])
    func deadClaimant(stage: String) async throws {
        try await with { runner, root, id in
            let home = "/work/.commands/k"
            var script = "mkdir -p \(home)/started"
            if stage != "mkdir" { script += "; echo someone > \(home)/started/token" }
            if stage == "launched" { script += "; mkdir \(home)/started/launched" }
            #expect(try await root.provider.run(.shell(script), in: id).exitCode == 0)
            guard case .claimed = try await runner.poll("k", from: 0).verdict else {
                Issue.record("a claim without a process is not seen")
                return
            }
            guard case .lost = try await finish(runner, "k").outcome else {
                Issue.record("waiting for a dead claimant does not end")
                return
            }
            #expect(try await runner.start(DurableCommand(key: "k", script: "echo hi")) == .started)
            #expect(try await finish(runner, "k").outcome == .finished(exitCode: 0))
        }
    }

    @Test("does not run for a claimant that was only slow")
    func slowClaimant() async throws {
        try await with { runner, root, id in
            // Claimed and prepared by one, taken over by another; then the first one goes on.
            let claim = ShortCommand.shell(CommandScripts.claim, ["/work/.commands/k", "slow"])
            #expect(try await root.provider.run(claim, in: id).exitCode == 0)
            let command = DurableCommand(key: "k", script: "echo run >> /work/runs")
            #expect(try await runner.start(command) == .started)
            let launch = ShortCommand.shell(CommandScripts.launch, ["/work/.commands/k", "slow"])
            #expect(try await root.provider.run(launch, in: id).exitCode == CommandScripts.notMine)
            // Even its process, started before and scheduled only now, goes home.
            let late = ShortCommand.shell(
                "cd /work/.commands/k/dead.* && sh ../run.sh slow /work; echo $?; ls; test -e rc && echo rc"
            )
            let output = try await root.provider.run(late, in: id)
            #expect(output.text.hasPrefix("1\n") && !output.text.contains("rc\nrc"))
            #expect(try await finish(runner, "k").outcome == .finished(exitCode: 0))
            #expect(text(try await root.provider.readFile("/work/runs", limit: 100, in: id)) == "run\n")
        }
    }

    @Test("is lost when its process is gone without an exit code, runs again, and keeps its log")
    func lost() async throws {
        try await with { runner, root, id in
            let script = """
                echo run >> /work/runs; printf half; [ -e /work/again ] || sleep 4770; echo whole
                """
            let command = DurableCommand(key: "k", script: script)
            _ = try await runner.start(command)
            try await eventually("no output") { try await !runner.poll("k", from: 0).output.isEmpty }
            // The recording process alone dies; the command itself is still there.
            let kill = "read pid rest < /work/.commands/k/started/pid; kill -KILL $pid"
            #expect(try await root.provider.run(.shell(kill), in: id).exitCode == 0)
            let end = try await finish(runner, "k")
            #expect(end.outcome == .lost(reason: "its process is gone and left no exit code"))
            #expect(text(end.output) == "half")
            try await root.provider.writeFile("/work/again", mode: 0o600, contents: .bytes([]), in: id)
            #expect(try await runner.start(command) == .started)
            let again = try await finish(runner, "k", from: 4)
            #expect(again.outcome == .finished(exitCode: 0))
            #expect(text(again.output) == "\nhalfwhole\n")
            #expect(text(try await root.provider.readFile("/work/runs", limit: 100, in: id)) == "run\nrun\n")
            // The first attempt was not left running beside the second.
            let left = try await root.provider.run(.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), in: id).text
            #expect(!left.contains("sleep 4770"))
        }
    }

    @Test("is lost when the machine was restarted, or another process has its pid")
    func restarted() async throws {
        try await with { runner, root, id in
            _ = try await runner.start(DurableCommand(key: "k", script: "exec sleep 4771"))
            let record = "/work/.commands/k/started/pid"
            let line = text(try await root.provider.readFile(record, limit: 200, in: id)).split(separator: " ")
            for wrong in ["\(line[0]) \(line[1]) another-boot\n", "\(line[0]) 1 \(line[2])"] {
                try await root.provider.writeFile(
                    record, mode: 0o600, contents: .bytes(Array(wrong.utf8)), in: id
                )
                guard case .lost = try await runner.poll("k", from: 0).verdict else {
                    Issue.record("not lost with \(wrong)")
                    continue
                }
                // Nobody is killed for it: not even this, which would be the wrong one.
                #expect("\(try await runner.cancel("k"))".hasPrefix("lost"))
                #expect(try await root.provider.run(.shell("kill -0 \"$1\"", [String(line[0])]), in: id).exitCode == 0)
            }
        }
    }

    @Test("reports a gone sandbox as gone")
    func sandboxGone() async throws {
        try await with { runner, root, id in
            _ = try await runner.start(DurableCommand(key: "k", script: "exec sleep 4772"))
            try await root.provider.kill(id)
            guard case .sandboxGone = try await finish(runner, "k").outcome else {
                Issue.record("not gone")
                return
            }
            guard case .sandboxGone = try await runner.cancel("k") else {
                Issue.record("not gone for cancel")
                return
            }
            await expectError(.ended) { _ = try await runner.start(DurableCommand(key: "k", script: "true")) }
        }
    }

    @Test("is not finished for a wait that reaches its deadline")
    func deadline() async throws {
        try await with { runner, _, _ in
            _ = try await runner.start(DurableCommand(key: "k", script: "exec sleep 4773"))
            await expectError(.deadlineExceeded) {
                _ = try await runner.wait(for: "k", from: 0, deadline: .milliseconds(300)) { _, _ in }
            }
            #expect("\(try await runner.poll("k", from: 0).verdict)" == "running")
        }
    }

    @Test("is cancelled with its whole group, by TERM when it listens and by KILL when not")
    func cancel() async throws {
        try await with { runner, root, id in
            let polite = "trap 'echo bye; exit 3' TERM; echo up; sleep 4774 & while :; do wait; done"
            _ = try await runner.start(DurableCommand(key: "polite", script: polite))
            try await eventually("no output") { try await !runner.poll("polite", from: 0).output.isEmpty }
            #expect("\(try await runner.cancel("polite"))" == "finished with exit code 3")
            #expect(text(try await finish(runner, "polite").output) == "up\nbye\n")
            _ = try await runner.start(DurableCommand(key: "plain", script: "sleep 4775; echo not"))
            #expect("\(try await runner.cancel("plain"))" == "finished with exit code 143")
            let deaf = "trap '' TERM; echo up; sleep 4776 & while :; do sleep 4776; done"
            _ = try await runner.start(DurableCommand(key: "deaf", script: deaf))
            try await eventually("no output") { try await !runner.poll("deaf", from: 0).output.isEmpty }
            #expect("\(try await runner.cancel("deaf", grace: .milliseconds(200)))".hasPrefix("lost"))
            try await eventually("a process of a cancelled command is left") {
                let left = try await root.provider.run(.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), in: id).text
                return !left.contains("sleep 477")
            }
            #expect("\(try await runner.cancel("never"))" == "not started")
            #expect("\(try await runner.cancel("plain"))" == "finished with exit code 143")
        }
    }

    @Test("gets secrets as files that nobody else sees and nobody keeps")
    func secrets() async throws {
        try await with { runner, root, id in
            let secret = "hunter2-\(randomName(8))"
            let script = """
                cat "$SNAPWF_SECRETS/password" > /tmp/seen; stat -c %a "$SNAPWF_SECRETS/password" >> /tmp/seen
                rm "$SNAPWF_SECRETS/password"; echo ready; while [ ! -e /work/go ]; do sleep 0.02; done
                """
            let command = DurableCommand(
                key: "k", script: script, secrets: ["password": Array(secret.utf8), "left": Array(secret.utf8)]
            )
            #expect(runner.secretPath("password", of: "k") == "/work/.commands/k/secrets/password")
            _ = try await runner.start(command)
            try await eventually("no output") { try await !runner.poll("k", from: 0).output.isEmpty }
            #expect(text(try await root.provider.readFile("/tmp/seen", limit: 100, in: id)) == secret + "600\n")
            // The process and every file of the command, the secret's own excepted.
            let look = """
                rm /tmp/seen
                cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n' | grep -c "^$(cat)" || :
                """
            var search = ShortCommand.shell(look)
            search.standardInput = Array(secret.utf8)
            let found = try await root.provider.run(search, in: id)
            #expect(found.text == "0\n")
            for path in ["run.sh", "log", "started/pid", "started/token"] {
                let file = try await root.provider.readFile("/work/.commands/k/" + path, limit: 1 << 20, in: id)
                #expect(!text(file).contains(secret), "\(path)")
            }
            for name in ["spec", "state", "expires", "log"] {
                let file = try SmallFile.read(root.directory(id).path + "/" + name) ?? []
                #expect(!text(file).contains(secret), "\(name)")
            }
            try await root.provider.writeFile("/work/go", mode: 0o600, contents: .bytes([]), in: id)
            #expect(try await finish(runner, "k").outcome == .finished(exitCode: 0))
            // What the command left is removed with it.
            #expect(try await root.provider.run(["test", "-e", "/work/.commands/k/secrets"], in: id).exitCode == 1)
        }
    }

    @Test("survives a provider that does not always answer, and still runs once", arguments: 0..<8)
    func flaky(seed: UInt64) async throws {
        try await with { _, root, id in
            var random = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
            func next(_ bound: UInt64) -> UInt64 {
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return (random >> 33) % bound
            }
            let troubles: [FlakyProvider.Trouble?] = (0..<24).map { _ in [.before, .after, .cut, nil][Int(next(4))] }
            let provider = FlakyProvider(root.provider, troubles: troubles)
            let runner = runner(provider, id, claimPatience: .seconds(2))
            let command = DurableCommand(key: "k", script: "echo run >> /work/runs; echo done; exit 5")
            _ = try await runner.start(command)
            let end = try await finish(runner, "k")
            #expect(end.outcome == .finished(exitCode: 5))
            #expect(text(end.output) == "done\n")
            #expect(text(try await root.provider.readFile("/work/runs", limit: 100, in: id)) == "run\n")
            print("flaky seed \(seed): \(provider.commands) commands")
        }
    }

    @Test("is given up on when nobody answers for the whole budget")
    func budget() async throws {
        try await with { _, root, id in
            let silent = FlakyProvider(root.provider, troubles: Array(repeating: .before, count: 10_000))
            let runner = runner(silent, id, unknownBudget: .milliseconds(300))
            await expectError(.unavailable) { _ = try await finish(runner, "k") }
            await expectError(.unavailable) { _ = try await runner.start(DurableCommand(key: "k", script: "true")) }
            await expectError(.unavailable) { _ = try await runner.cancel("k") }
        }
    }

    @Test("refuses names that are none")
    func names() async throws {
        try await with { runner, _, _ in
            for key in ["", ".", "..", "a/b", "-x", ".hidden", "a b", "a\n", String(repeating: "a", count: 101)] {
                await expectError(.invalidArgument) { _ = try await runner.poll(key, from: 0) }
                await expectError(.invalidArgument) {
                    _ = try await runner.start(DurableCommand(key: key, script: "true"))
                }
            }
            for command in [
                DurableCommand(key: "k", arguments: []), DurableCommand(key: "k", arguments: ["a\0b"]),
                DurableCommand(key: "k", script: "true", environment: ["A-B": "x"]),
                DurableCommand(key: "k", script: "true", environment: ["1": "x"]),
                DurableCommand(key: "k", script: "true", secrets: ["../x": []]),
            ] {
                await expectError(.invalidArgument) { _ = try await runner.start(command) }
            }
            await expectError(.invalidArgument) { _ = try await runner.poll("k", from: .max) }
            let verdict = try await runner.poll("k", from: 0).verdict
            #expect("\(verdict)" == "not started")
        }
    }
}
