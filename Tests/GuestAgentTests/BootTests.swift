import GuestProtocol
import TestSupport
import Testing

/// The agent in a machine of QEMU's, without KVM.
@Suite("A booted agent", .serialized, .enabled(if: BootedGuest.isPossible))
struct BootTests {
    @Test("runs commands: exit codes, channels apart, environment, user, directory, input")
    func commands() throws {
        let guest = try BootedGuest.configured(
            GuestConfiguration(hostname: "there", environment: ["A=b", "C=d"], workingDirectory: "/work/deep"))
        let said = try guest.shell("echo out; echo err >&2; echo \"$A $PWD $HOME\"; hostname; exit 7")
        #expect(said.exitCode == 7 && said.errorText == "err\n")
        #expect(said.text == "out\nb /work/deep /root\nthere\n")
        #expect(try guest.shell("kill -KILL $$").last == .exited(.signal(9)))
        var request = CommandRequest(["sh", "-c", "id; pwd; echo \"$A$C$HOME\""])
        request.user = "app"
        request.environment = ["C=e"]
        request.workingDirectory = "/tmp"
        let app = try guest.run(request)
        #expect(app.text == "uid=1000(app) gid=1001(app) groups=1002(extra)\n/tmp\nbe/home/app\n", "\(app)")
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let echo = try guest.run(CommandRequest(["cat"]), input: bytes)
        #expect(echo.exitCode == 0 && echo.output == bytes)
        // Nobody reads: that is no error.
        #expect(try guest.run(CommandRequest(["true"]), input: bytes).exitCode == 0)
        #expect(try guest.shell("cat /secret").text == "nobody may read this")
        // What a command leaves in a session of its own goes on; what it wrote before it ended is not lost.
        #expect(try guest.shell("setsid sleep 100 & head -c 60000 /dev/zero").output.count == 60000)
        #expect(try guest.shell("ps | grep -v grep | grep -c 'sleep 100'").text == "1\n")
        guard case .status(let status) = try guest.ask(.status) else {
            Issue.record("no status")
            return
        }
        #expect(status.memoryTotal > 150 << 20 && status.memoryAvailable > 0 && status.running == 0)
        // Grown to the disk.
        #expect(status.diskTotal > 100 << 20 && status.bootMilliseconds > 0)
        #expect(try guest.ask(.sync) == .done)
        #expect(try guest.ask(.powerOff) == .done)
        #expect(guest.ends())
    }

    @Test("says why something does not run")
    func failures() throws {
        let guest = try BootedGuest()
        #expect(try guest.hello().version == GuestHello.version)
        #expect(try guest.shell("true").failure?.code == .notConfigured)
        let none = try guest.ask(.configure(GuestConfiguration(disk: "vda/../x")))
        guard case .failed(let failure) = none else {
            Issue.record("\(none)")
            return
        }
        #expect(failure.code == .root)
        #expect(try guest.ask(.configure(GuestConfiguration())) == .done)
        func code(_ request: CommandRequest) throws -> GuestFailure.Code? { try guest.run(request).failure?.code }
        #expect(try code(CommandRequest(["no-such-program"])) == .notFound)
        #expect(try code(CommandRequest(["/bin/no-interpreter"])) == .notFound)
        #expect(try code(CommandRequest(["/bin/not-executable"])) == .notExecutable)
        #expect(try code(CommandRequest(["true"], workingDirectory: "/none")) == .workingDirectory)
        #expect(try code(CommandRequest(["true"], user: "nobody")) == .user)
        #expect(try code(CommandRequest([])) == .badMessage)
        #expect(try code(CommandRequest([""])) == .badMessage)
        guard case .failed(let again) = try guest.ask(.configure(GuestConfiguration())) else {
            Issue.record("configured twice")
            return
        }
        #expect(again.code == .alreadyConfigured)
        // Unknown and broken messages are answered, and the agent goes on.
        for (kind, payload) in [(UInt16(99), [UInt8]()), (3, [1, 2, 3])] {
            var bytes: [UInt8] = []
            try Frame(kind: kind, nonce: guest.nonce, id: 1000, payload: payload).encode(into: &bytes)
            try guest.write(bytes)
            guard case .failed(let failure) = try guest.answer(1000) else {
                Issue.record("kind \(kind) is not refused")
                return
            }
            #expect(failure.code == .badMessage)
        }
        #expect(try guest.ask(.ping) == .pong)
        _ = try guest.hello(version: 99)
        guard case .failed(let version) = try guest.answer(0) else {
            Issue.record("another version is not refused")
            return
        }
        #expect(version.code == .version)
    }

    @Test("writes and reads files whole")
    func files() throws {
        let guest = try BootedGuest.configured()
        let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 17) }
        let path = "/made/on the/way/it's a file"
        func write(_ path: String, _ bytes: [UInt8], mode: UInt16 = 0o640) throws -> BootedGuest.Outcome {
            let id = try guest.begin(.writeFile(path: path, mode: mode))
            if bytes.isEmpty { try guest.tell(.inputEnd, id: id) }
            return try guest.finish(id, input: bytes)
        }
        func read(_ path: String, limit: UInt64) throws -> BootedGuest.Outcome {
            try guest.finish(try guest.begin(.readFile(path: path, limit: limit)))
        }
        #expect(try write(path, bytes, mode: 0o4751).last == .done)
        #expect(try guest.run(CommandRequest(["stat", "-c", "%a", path])).text == "4751\n")
        let back = try read(path, limit: UInt64(bytes.count))
        #expect(back.last == .done && back.output == bytes)
        #expect(try read(path, limit: UInt64(bytes.count - 1)).failure?.code == .tooLarge)
        #expect(try write(path, []).last == .done)
        #expect(try read(path, limit: 0).output.isEmpty)
        #expect(try read("/none", limit: 1).failure?.code == .notFound)
        #expect(try read("/made", limit: 1).failure?.errno == 21)
        #expect(try read("/proc/uptime", limit: 100).output.count > 3)
        #expect(try write("/made", [1]).failure?.errno == 21)
        #expect(try write("relative", [1]).failure?.code == .system)
        #expect(try write("/big", [UInt8](repeating: 1, count: 140 << 20)).failure?.code == .outOfSpace)
        #expect(try guest.shell("ls -A / /made/on*/way").text.contains("snapwf") == false)
        // Given up in the middle: the old file stays, and nothing aside.
        #expect(try write("/kept", [7]).last == .done)
        let id = try guest.begin(.writeFile(path: "/kept", mode: 0o600))
        try guest.tell(.input([1, 2, 3]), id: id)
        try guest.tell(.cancel, id: id)
        #expect(try guest.finish(id).failure?.code == .cancelled)
        #expect(try read("/kept", limit: 9).output == [7])
        #expect(try guest.shell("ls -A /").text.contains(".snapwf") == false)
    }

    @Test("a terminal has its size, its user, and one channel")
    func terminal() throws {
        let guest = try BootedGuest.configured()
        let script = "tty; stty size; read line; stty size; echo \"got $line\"; cat; echo over >&2; exit 3"
        var request = CommandRequest(["sh", "-c", script], terminal: TerminalSize(rows: 33, columns: 77))
        request.hasInput = true
        let id = try guest.begin(.run(request))
        try guest.tell(.resize(TerminalSize(rows: 44, columns: 88)), id: id)
        try guest.tell(.input(Array("hello\n".utf8)), id: id)
        try guest.tell(.inputEnd, id: id)
        let said = try guest.finish(id)
        #expect(said.exitCode == 3 && said.errors.isEmpty)
        #expect(said.text.contains("/dev/pts/0"), "\(said.text)")
        #expect(said.text.contains("44 88\r\ngot hello\r\n") && said.text.hasSuffix("over\r\n"), "\(said.text)")
    }

    @Test("holds a command back for a slow host, and serves others meanwhile")
    func pressure() throws {
        let guest = try BootedGuest.configured()
        let slow = try guest.begin(.run(CommandRequest(["sh", "-c", "head -c 5000000 /dev/zero; touch /done"])))
        #expect(try guest.shell("sleep 1; ls /done").exitCode == 1)
        // Its first window was passed over by the commands in between.
        let told = try guest.shell("true")
        #expect(told.exitCode == 0)
        try guest.tell(.cancel, id: slow)
        let end = try guest.finish(slow)
        #expect(end.last == .exited(.signal(9)))
        #expect(try guest.shell("ls /done").exitCode == 1)
        // A signal goes to the whole group.
        let group = try guest.begin(.run(CommandRequest(["sh", "-c", "sleep 400 & sleep 401; true"])))
        #expect(try guest.answer(group) != .pong)
        try guest.tell(.signal(15), id: group)
        #expect(try guest.finish(group).last == .exited(.signal(15)))
        #expect(try guest.shell("ps | grep -v grep | grep -c 'sleep 40'").text == "0\n")
    }

    @Test("another host after one that died in the middle of a message finds a clean agent")
    func reconnection() throws {
        let guest = try BootedGuest.configured()
        let id = try guest.begin(.run(CommandRequest(["sh", "-c", "while :; do echo much; done"])))
        #expect(try guest.answer(id) != .pong)
        var half: [UInt8] = []
        let payload = [UInt8](repeating: 7, count: 200_000)
        try Frame(kind: 4, nonce: guest.nonce, id: 7, payload: payload).encode(into: &half)
        for count in [10, 40, 150_000] {
            try guest.reconnect(after: Array(half.prefix(count)))
            #expect(try guest.hello().isConfigured)
            #expect(try guest.shell("ps | grep -v grep | grep -c 'do echo much'").text == "0\n")
        }
    }

    @Test("boots an image of one program, read-only too, without anything else in it")
    func bare() throws {
        for isReadOnly in [false, true] {
            let guest = try BootedGuest.configured(
                GuestConfiguration(isReadOnly: isReadOnly, network: isReadOnly ? nil : .qemuUser), disk: "bare.ext4")
            #expect(try guest.run(CommandRequest(["/echo", "alone"], user: "5:6")).text == "alone\n")
            #expect(try guest.ask(.powerOff) == .done)
            #expect(guest.ends())
        }
    }

    @Test("forks without end and hogs of memory do not take the agent away; a dead kernel ends the machine")
    func abuse() throws {
        let guest = try BootedGuest.configured()
        let bomb = try guest.begin(.run(CommandRequest(["sh", "-c", "f() { f | f & }; f; sleep 1000"])))
        #expect(try guest.answer(bomb) != .pong)
        #expect(try guest.shell("exec sleep 5").exitCode == 0)
        #expect(try guest.ask(.ping) == .pong)
        try guest.tell(.cancel, id: bomb)
        #expect(try guest.finish(bomb).last == .exited(.signal(9)))
        // Everything that is left of it: all but the caller and the agent.
        #expect(try guest.run(CommandRequest(["kill", "-9", "-1"])).exitCode == 0)
        let hog = try guest.run(CommandRequest(["dd", "if=/dev/zero", "of=/dev/null", "bs=400M"]))
        #expect(hog.exitCode != 0)
        #expect(try guest.shell("echo there").text == "there\n")
        _ = try guest.begin(.run(CommandRequest(["sh", "-c", "echo c > /proc/sysrq-trigger"])))
        #expect(guest.ends())
        #expect(guest.console.contains("Kernel panic"))
    }
}
