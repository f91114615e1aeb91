import Connect
import Logging
import Sandbox
import SandboxAPI
import Testing

@Suite("a server that is stopped and started again")
struct RestartTests {
    @Test("finds its sandboxes as they were, with what was detached still running")
    func restart() async throws {
        try await ServedSandboxes.with { served in
            let sandbox = try await served.create {
                $0.name = "kept"
                $0.env = ["SNAPWF_RUN": "r1"]
            }
            let before = try await served.list()
            _ = try await served.run(["sh", "-c", "while :; do echo x >> /work/beat; sleep 0.05; done"], in: sandbox) {
                $0.detached = true
            }
            let runner = DurableCommandRunner(
                provider: served.provider, sandbox: SandboxID(sandbox.id), logger: Logger(label: "durable"))
            _ = try await runner.start(
                DurableCommand(
                    key: "pull", script: "echo begun >> /work/log; until [ -e /work/go ]; do sleep 0.05; done; echo ok")
            )

            let attached = Task { [client = try served.client] in
                let request = Self.sleeper(sandbox)
                try await client.serverStream(SandboxMethods.runCommand, request) {
                    while try await $0.next() != nil {}
                }
            }
            try await eventually("the command does not run") {
                try await served.shell("test -s /work/pid", in: sandbox).exitCode == 0
            }
            try await served.stop()
            // Its end was never heard of: an error, not an exit code.
            await #expect(throws: ConnectError.self) { try await attached.value }
            #expect(try await served.provider.list().map(\.state) == [.running])

            try await served.start()
            #expect(try await served.list() == before)
            try await eventually("a command whose call ended with the server goes on") {
                try await served.shell("kill -0 $(cat /work/pid)", in: sandbox).exitCode != 0
            }
            let size = try await served.stat("/work/beat", in: sandbox).size
            try await eventually("the detached command ended with the server") {
                try await served.stat("/work/beat", in: sandbox).size > size
            }
            _ = try await served.write("/work/go", [], in: sandbox)
            try await eventually("the durable command did not end") {
                try await served.shell("find /work -name rc | grep -q .", in: sandbox).exitCode == 0
            }
            #expect(try await served.read("/work/log", in: sandbox) == Array("begun\n".utf8))
            _ = try await served.call(SandboxMethods.killSandbox) { $0.sandbox = sandbox }
            #expect(try await served.list().isEmpty)
        }
    }

    private static func sleeper(_ sandbox: SandboxRef) -> RunCommandRequest {
        var request = RunCommandRequest()
        request.sandbox = sandbox
        request.cmd = "sh"
        request.args = ["-c", "echo $$ > /work/pid; exec sleep 4730"]
        return request
    }
}
