import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf
import Testing

@Suite("RunCommand")
struct CommandCallTests {
    @Test("tells of the start, the output with its offsets, and the end")
    func events() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let ran = try await served.shell("printf abc; printf de >&2; sleep 0.2; printf fgh; exit 3", in: sandbox)
            guard case .started(let started)? = ran.events.first?.event else {
                Issue.record("the first event is no start")
                return
            }
            #expect(started.cmdID.hasPrefix("cmd-") && started.startedAt.seconds > 0)
            #expect(ran.text == "abcfgh" && String(decoding: ran.errors, as: UTF8.self) == "de")
            #expect(ran.exitCode == 3)
            #expect(ran.events.last { !$0.stdout.data.isEmpty }?.stdout.byteOffset == 6)
            #expect(ran.events.last { !$0.stderr.data.isEmpty }?.stderr.byteOffset == 2)
            #expect(try await served.shell("kill -TERM $$", in: sandbox).exitCode == 143)
            #expect(try await served.run(["true"], in: sandbox) { $0.sudo = true }.exitCode == 0)
            // No input: a command that wants some sees its end.
            #expect(try await served.run(["cat"], in: sandbox).events.count == 2)
        }
    }

    @Test("merges the sandbox's environment under its own, in the directory asked for")
    func surroundings() async throws {
        try await ServedSandboxes.with { served in
            let sandbox = try await served.create { $0.env = ["A": "sandbox", "B": "sandbox", "TMPDIR": "/work"] }
            let ran = try await served.run(["sh", "-c", "echo $A $B $C $TMPDIR $PWD"], in: sandbox) {
                $0.env = ["B": "command", "C": "x y"]
                $0.cwd = "/tmp"
            }
            #expect(ran.text == "sandbox command x y /work /tmp\n")
            let arguments = ["a b", "", "c\nd", "$HOME", "'", "-n", "ä"]
            let words = try await served.run(["printf", "%s|"] + arguments, in: sandbox)
            #expect(words.text == arguments.map { $0 + "|" }.joined())
        }
    }

    @Test("says what is wrong with a command")
    func refused() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            func fails(
                _ field: String, _ arguments: [String], _ fill: (inout RunCommandRequest) -> Void = { _ in }
            ) async {
                let error = await expectError(.invalidArgument) { try await served.run(arguments, in: sandbox, fill) }
                #expect(error?.message.hasPrefix(field + ":") == true, "\(error?.message ?? "")")
            }
            await fails("cmd", [""])
            await fails("cmd", ["a\0b"])
            await fails("args", ["echo", "a\0b"])
            await fails("args", ["echo", String(repeating: "x", count: 131_072)])
            await fails("cwd", ["pwd"]) { $0.cwd = "work" }
            await fails("env", ["env"]) { $0.env = ["A=B": ""] }
            await expectError(.invalidArgument) { try await served.run(["pwd"], in: sandbox) { $0.cwd = "/none" } }
            for isDetached in [false, true] {
                let missing = await expectError(.notFound) {
                    try await served.run(["no-such-program"], in: sandbox) { $0.detached = isDetached }
                }
                #expect(missing?.fileDetail?.syscall == "execve" && missing?.fileDetail?.path == "no-such-program")
            }
        }
    }

    @Test("leaves a detached command to itself")
    func detached() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let script = "echo \"$A\" > /work/a; echo noise; while :; do echo x >> /work/beat; sleep 0.05; done"
            let ran = try await served.run(["/bin/sh", "-c", script], in: sandbox) {
                $0.detached = true
                $0.env = ["A": "seen"]
            }
            #expect(ran.events.count == 1 && ran.events.first?.started.cmdID.isEmpty == false)
            try await eventually("the detached command does not run") {
                try await served.shell("test -s /work/beat", in: sandbox).exitCode == 0
            }
            #expect(try await served.read("/work/a", in: sandbox) == Array("seen\n".utf8))
            let before = try await served.stat("/work/beat", in: sandbox).size
            try await eventually("the detached command ended with its call") {
                try await served.stat("/work/beat", in: sandbox).size > before
            }
        }
    }

    @Test("kills a command whose caller goes, with its children")
    func disconnected() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let script = "sleep 4720 & echo $! > /work/child; echo $$ > /work/pid; echo up; exec sleep 4721"
            let call = Task { try await served.shell(script, in: sandbox) }
            try await eventually("the command does not run") {
                try await served.shell("test -s /work/pid", in: sandbox).exitCode == 0
            }
            call.cancel()
            await expectError(.canceled) { try await call.value }
            try await eventually("a command without a caller goes on") {
                try await served.shell("kill -0 $(cat /work/pid) || kill -0 $(cat /work/child)", in: sandbox).exitCode
                    != 0
            }
        }
    }

    @Test("ends a command at its caller's deadline")
    func deadline() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let request = RunCommandRequest.with {
                $0.sandbox = sandbox
                $0.cmd = "sh"
                $0.args = ["-c", "echo $$ > /work/pid; exec sleep 4722"]
            }
            await expectError(.deadlineExceeded) {
                try await served.client.serverStream(
                    SandboxMethods.runCommand, request, deadline: .milliseconds(500)
                ) { stream in
                    while try await stream.next() != nil {}
                }
            }
            try await eventually("a command goes on after its deadline") {
                try await served.shell("kill -0 $(cat /work/pid)", in: sandbox).exitCode != 0
            }
        }
    }

    @Test("says so when the sandbox ends under a command")
    func killed() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            async let ran = served.shell("echo x > /work/there; sleep 4723", in: sandbox)
            try await eventually("the command does not run") {
                try await served.shell("test -e /work/there", in: sandbox).exitCode == 0
            }
            _ = try await served.call(SandboxMethods.killSandbox) { $0.sandbox = sandbox }
            do {
                _ = try await ran
                Issue.record("a command of a killed sandbox finished")
            } catch let error as ConnectError {
                #expect([.failedPrecondition, .notFound].contains(error.code), "\(error)")
            }
        }
    }

    @Test("calls that this service does not have are unimplemented")
    func unimplemented() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let request = AttachCommandRequest.with { $0.command.id = "cmd-x" }
            await expectError(.unimplemented) {
                try await served.client.serverStream(SandboxMethods.attachCommand, request) { try await $0.next() }
            }
            for name in ["GetCommand", "ListCommands", "KillCommand"] {
                let method = Method<SandboxRef, GetSandboxResponse>(
                    service: SandboxMethods.service, name: name, kind: .unary, repeatability: .safe)
                await expectError(.unimplemented) { try await served.client.unary(method, sandbox) }
            }
            await expectError(.unimplemented) { try await served.call(SandboxMethods.listSnapshots) { _ in } }
            await expectError(.unimplemented) {
                try await served.call(SandboxMethods.snapshotSandbox) { $0.sandbox = sandbox }
            }
        }
    }
}
