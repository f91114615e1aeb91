import Files
import Glibc
import GuestProtocol
import TestSupport
import Testing

@testable import Sandbox

/// Guests that go wrong, and hosts that do: each is told as what it was, and nothing is left.
@Suite("a guest", .enabled(if: GuestFixtures.isPossible))
struct GuestEndTests {
    @Test("boots from a snapshot with its environment, user and directory, grown to its disk, and leaves it as it was")
    func boots() async throws {
        try await GuestWorld.with { world in
            let made = try await GuestFixtures.shared.make()
            let before = try await runOnHost("/usr/bin/sha256sum", [made.snapshot.path]).text
            var spec = world.spec()
            spec.snapshot = made.snapshot
            spec.snapshot?.user = "guest"
            spec.snapshot?.useLock = made.snapshot.path
            spec.vcpus = 2
            spec.memoryBytes = 300 << 20
            spec.diskBytes = 1 << 30
            let info = try await world.provider.create(spec)
            let script = """
                id -u; pwd; echo "$IMAGE $HOME"; nproc; df -m / | tail -n 1 | awk '{ print ($2 > 900) }'
                free -m | awk '/^Mem/ { print ($2 > 200 && $2 < 310) }'; hostname; dd if=/dev/zero of=/tmp/x bs=1M count=64
                """
            let output = try await world.provider.run(.shell(script), in: info.id)
            #expect(output.text == "1000\n/work\nbusybox /work\n2\n1\n1\nguest\n", "\(output.errorText)")
            #expect(output.exitCode == 0, "\(output.errorText)")
            // Whoever would remove the snapshot sees that it is in use.
            let lock = try Descriptor.open(made.snapshot.path, O_RDONLY)
            #expect(flock(lock.raw, LOCK_EX | LOCK_NB) != 0)
            try await world.provider.powerOff(info.id, patience: .seconds(20))
            #expect(try await world.reason(info.id).contains("powered off"))
            try await world.provider.kill(info.id)
            #expect(flock(lock.raw, LOCK_EX | LOCK_NB) == 0)
            #expect(try await runOnHost("/usr/bin/sha256sum", [made.snapshot.path]).text == before)
            print("notes of a guest:", info.notes)
        }
    }

    @Test("that panics is over, with the kernel's words")
    func panics() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            await expectError(.ended) {
                _ = try await world.provider.run(.shell("echo c > /proc/sysrq-trigger; sleep 60"), in: id)
            }
            let reason = try await world.reason(id)
            #expect(reason.contains("its kernel panicked: ") && reason.contains("sysrq"), "\(reason)")
            // The shim says how it ended, and then ends itself.
            try await eventually("nobody is left") { world.processes().isEmpty }
        }
    }

    @Test("that answers no more is over, and told so")
    func hangs() async throws {
        try await GuestWorld.with({ $0.patience = .seconds(20) }) { world in
            let id = try await world.provider.create(world.spec()).id
            let qemu = try #require(try world.directory(id).readState()?.initProcess)
            #expect(kill(qemu.pid, SIGSTOP) == 0)
            let reason = try await world.reason(id)
            #expect(reason.contains("it hangs"), "\(reason)")
            #expect(try ProcessIdentity(of: qemu.pid) == nil)
        }
    }

    @Test("that fills its disk says so, and goes on")
    func fillsItsDisk() async throws {
        try await GuestWorld.with { world in
            var spec = world.spec()
            spec.diskBytes = 64 << 20
            let id = try await world.provider.create(spec).id
            let output = try await world.provider.run(
                ShortCommand(["dd", "if=/dev/urandom", "of=/work/full", "bs=1M"], deadline: .seconds(90)), in: id)
            #expect(output.exitCode == 1 && output.errorText.contains("No space left"), "\(output.errorText)")
            await expectError(.outOfSpace) {
                try await world.provider.writeFile(
                    "/work/more", mode: 0o600, contents: .bytes([UInt8](repeating: 1, count: 1 << 20)), in: id)
            }
            #expect(try await world.provider.run(["rm", "/work/full"], in: id).exitCode == 0)
        }
    }

    @Test("that forks without end can still be asked, and is ended")
    func forksWithoutEnd() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            var bomb = ShortCommand.shell("bomb() { bomb | bomb & }; bomb; sleep 60")
            bomb.deadline = .seconds(8)
            await expectError(.commandTimedOut) { _ = try await world.provider.run(bomb, in: id) }
            #expect(try await world.provider.get(id)?.state == .running)
            try await world.provider.kill(id)
            #expect(world.processes() == [])
        }
    }

    @Test("that floods its console fills no disk of the host")
    func floods() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            var flood = ShortCommand.shell(
                "yes 'a guest that will not be quiet' | head -c 1500000 > /dev/console; echo done")
            flood.deadline = .seconds(120)
            #expect(try await world.provider.run(flood, in: id).text == "done\n")
            let directory = world.directory(id)
            for path in [directory.consolePath, directory.olderConsolePath] {
                #expect(try #require(linkStatus(path)).st_size <= ConsoleLog.fileLimit)
            }
        }
    }

    @Test("ends with its shim, however that ends")
    func shimDies() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            let state = try #require(try world.directory(id).readState())
            let qemu = try #require(state.initProcess)
            #expect(kill(state.shim.pid, SIGKILL) == 0)
            try await eventually("QEMU outlives its shim") { try ProcessIdentity(of: qemu.pid) != qemu }
            #expect(try await world.reason(id) == "its shim died")
            #expect(try await world.provider.sweep() == [id])

            let other = try await world.provider.create(world.spec()).id
            let shim = try #require(try world.directory(other).readState()).shim
            #expect(kill(shim.pid, SIGTERM) == 0)
            #expect(try await world.reason(other).contains("SIGTERM"))
        }
    }

    @Test("ends with its QEMU, and a command in it is told")
    func qemuDies() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            let qemu = try #require(try world.directory(id).readState()?.initProcess)
            do {
                _ = try await world.provider.stream(.shell("echo up; sleep 4717"), in: id) { progress in
                    if case .output = progress { kill(qemu.pid, SIGKILL) }
                }
                Issue.record("a command of a dead guest has an exit code")
            } catch let error as SandboxError {
                #expect(error.code == .ended, "\(error)")
            }
            #expect(try await world.reason(id) == "QEMU ended with 137 (signal 9)")
        }
    }

    @Test("that cannot find its root is over before it is there, and says why")
    func noRoot() async throws {
        try await GuestWorld.with { world in
            let junk = world.path + "/junk"
            try SmallFile.replace(junk, [UInt8](repeating: 7, count: 1 << 20), durable: false)
            var spec = world.spec()
            spec.snapshot = SnapshotRoot(path: junk)
            do {
                _ = try await world.provider.create(spec)
                Issue.record("a guest runs without a root")
            } catch {
                #expect("\(error)".contains("could not be set up"), "\(error)")
            }
            spec.snapshot = SnapshotRoot(path: world.path + "/none")
            await expectError(.notFound) { _ = try await world.provider.create(spec) }
            spec.snapshot = SnapshotRoot(path: junk)
            spec.diskBytes = 4096
            await expectError(.invalidArgument) { _ = try await world.provider.create(spec) }
            #expect(try await world.provider.list().isEmpty)
        }
    }

    @Test("gives a terminal of the size that it is told, and takes another")
    func terminal() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            var request = CommandRequest(["sh", "-c", "stty size; read line; stty size; echo \"<$line>\"; exit 9"])
            request.terminal = TerminalSize(rows: 33, columns: 77)
            request.hasInput = true
            let feed = CommandFeed()
            let control = GuestControl()
            var said = ""
            let code = try await world.provider.stream(request, input: feed, control: control, in: id) { progress in
                guard case .output(let bytes) = progress else { return }
                said += String(decoding: bytes, as: UTF8.self)
                if said == "33 77\r\n" {
                    control.resize(TerminalSize(rows: 10, columns: 20))
                    // The size first, then what makes the command look at it.
                    try await Task.sleep(for: .milliseconds(500))
                    _ = try await feed.write(Array("hello\n".utf8))
                }
            }
            #expect(code == 9)
            #expect(said == "33 77\r\nhello\r\n10 20\r\n<hello>\r\n", "\(said)")
        }
    }

    @Test("is reached by no network that was not asked for, and reaches the host's where it was")
    func network() async throws {
        try await GuestWorld.with { world in
            var spec = world.spec()
            let open = try await world.provider.create(spec).id
            #expect(try await world.provider.run(.shell("ip addr | grep -q 10.0.2.15"), in: open).exitCode == 0)
            spec.hasNetwork = false
            let closed = try await world.provider.create(spec).id
            #expect(try await world.provider.run(.shell("ls /sys/class/net"), in: closed).text == "lo\n")
        }
    }

    @Test("starts every time, twenty at once on a busy host, and each answers")
    func many() async throws {
        try await GuestWorld.with { world in
            let rounds = TestSize.isLong ? 3 : 1
            for _ in 0..<rounds {
                try await withThrowingTaskGroup(of: String.self) { group in
                    for number in 1...20 {
                        group.addTask {
                            var spec = world.spec()
                            spec.memoryBytes = 128 << 20
                            let id = try await world.provider.create(spec).id
                            var command = ShortCommand(["echo", "guest \(number)"])
                            command.deadline = .seconds(120)
                            let said = try await world.provider.run(command, in: id).text
                            try await world.provider.kill(id)
                            return said
                        }
                    }
                    var said: Set<String> = []
                    for try await words in group { said.insert(words) }
                    #expect(said == Set((1...20).map { "guest \($0)\n" }))
                }
            }
        }
    }

    @Test("kills the command of a client that goes, and serves the others")
    func clientGoes() async throws {
        try await GuestWorld.with { world in
            let id = try await world.provider.create(world.spec()).id
            let directory = world.directory(id)
            try await onOwnThread {
                let client = try GuestClient(directory)
                client.put(
                    .run(CommandRequest(["sh", "-c", "sleep 4718 & echo $$ $! > /work/pids; echo ready; sleep 4719"])))
                while client.peer.waiting > 0 { client.peer.flush() }
                let end = SteadyClock.now() + .seconds(60)
                // Until it said that it runs; then the connection is closed without a word.
                while SteadyClock.now() < end {
                    _ = waitReadable(client.peer.descriptor, for: .seconds(1))
                    client.peer.fill()
                    while let message = try client.next() {
                        if case .output = message { return }
                    }
                }
                throw SandboxError(.deadlineExceeded, "the command did not run")
            }
            try await eventually("the command of a client that went goes on") {
                let look =
                    "[ -s /work/pids ] || exit 1; for pid in $(cat /work/pids); do kill -0 $pid && exit 1; done; exit 0"
                return try await world.provider.run(.shell(look), in: id).exitCode == 0
            }
            #expect(try await world.provider.run(["true"], in: id).exitCode == 0)
        }
    }
}
