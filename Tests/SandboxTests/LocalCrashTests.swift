import Files
import Glibc
import Testing

@testable import Sandbox

@Suite("a local sandbox and dying processes")
struct LocalCrashTests {
    @Test("outlives the process that made it")
    func outlives() async throws {
        try await TestRoot.with { root in
            let made = try await runOnHost(TestRoot.hostProgram, ["create", root.sandboxes, "r1", "300"])
            #expect(made.exitCode == 0, "\(made.text)")
            let info = try #require(try await root.provider.find(labels: ["SNAPWF_RUN": "r1"]).first)
            #expect(info.state == .running)
            #expect(try await root.provider.run(["echo", "hi"], in: info.id).text == "hi\n")
            // Nobody's child, and in a session that is not the maker's.
            let shim = try root.state(info.id).shim.pid
            #expect(getsid(shim) != getsid(0))
            let status = try #require(try SmallFile.read("/proc/\(shim)/status"))
            #expect(!String(decoding: status, as: UTF8.self).contains("PPid:\t\(getpid())\n"))
            // Nothing of the maker is open in it: null, the log twice, the lock, and its own.
            let open = try #require(try directoryEntries("/proc/\(shim)/fd")).count
            #expect(open < 12)
        }
    }

    @Test(
        "is found or swept wherever its maker is killed",
        arguments: [
            ("create:directory.before", 0, false), ("create:directory.made", 0, false),
            ("create:directory.after", 1, false), ("create:shim.after", 1, true), ("create:running.after", 1, true),
        ]
    )
    func makerDies(point: String, found: Int, lives: Bool) async throws {
        try await TestRoot.with { root in
            let made = try await runOnHost(
                TestRoot.hostProgram, ["create", root.sandboxes, "r1", "300", "local:" + point]
            )
            #expect(made.exitCode == 128 + SIGKILL)
            let infos = try await root.provider.find(labels: ["SNAPWF_RUN": "r1"])
            #expect(infos.count == found)
            if lives {
                let id = try #require(infos.first).id
                try await eventually("the sandbox of a dead maker does not come up") {
                    try await root.provider.get(id)?.state == .running
                }
                #expect(try await root.provider.sweep().isEmpty)
                #expect(try await root.provider.run(["true"], in: id).exitCode == 0)
                try await root.provider.kill(id)
            } else {
                #expect(infos.allSatisfy { !$0.state.isAlive })
                #expect(try await root.provider.sweep().count == found)
            }
            #expect(try directoryEntries(root.sandboxes) ?? [] == [])
        }
    }

    @Test("a directory whose maker has no lock yet is left alone while it is young")
    func youngDirectory() async throws {
        try await TestRoot.with { root in
            let making = root.sandboxes + "/.new-sb-0000"
            #expect(mkdir(root.sandboxes, 0o700) == 0 || errno == EEXIST)
            #expect(mkdir(making, 0o700) == 0)
            try await root.provider.sweep()
            #expect(linkStatus(making) != nil)
            var times = [timeval(tv_sec: 1_000_000, tv_usec: 0), timeval(tv_sec: 1_000_000, tv_usec: 0)]
            #expect(utimes(making, &times) == 0)
            try await root.provider.sweep()
            #expect(linkStatus(making) == nil)
        }
    }

    @Test("can be killed again after a killer died", arguments: ["kill:init.after", "kill:rename.after"])
    func killerDies(point: String) async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let members = try root.members(id)
            #expect(members.count >= 2)
            let killed = try await runOnHost(
                TestRoot.hostProgram, ["kill", root.sandboxes, id.rawValue, "local:" + point]
            )
            #expect(killed.exitCode == 128 + SIGKILL)
            #expect(try living(members) == [])
            try await root.provider.kill(id)
            try await root.provider.sweep()
            #expect(try directoryEntries(root.sandboxes) == [])
        }
    }

    @Test("ends with its shim, and is swept")
    func shimDies() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let state = try root.state(id)
            let script = "setsid sleep 4730 </dev/null >/dev/null 2>&1 & setsid sleep 4731 </dev/null >/dev/null 2>&1 &"
            _ = try await root.provider.run(.shell(script), in: id)
            let members = try root.members(id)
            #expect(members.count >= 4)
            #expect(kill(state.shim.pid, SIGKILL) == 0)
            try await eventually("the sandbox outlives its shim") { try living(members).isEmpty }
            try await root.expectDead(id)
            #expect(try await root.provider.get(id)?.state == .ended(reason: "its shim died"))
            await expectError(.ended) { _ = try await root.provider.run(["true"], in: id) }
            #expect(try await root.provider.sweep() == [id])
            #expect(try await root.provider.get(id) == nil)
            #expect(try directoryEntries(root.sandboxes) == [])
        }
    }

    @Test("ends with its shim at whatever moment of the start that is killed")
    func shimDiesEarly() async throws {
        var counts: [String: Int] = [:]
        let before = orphanedInits()
        for delay in 0..<24 {
            try await TestRoot.with { root in
                let made = try await runOnHost(
                    TestRoot.hostProgram, ["create", root.sandboxes, "r1", "300", "local:create:shim.after"]
                )
                #expect(made.exitCode == 128 + SIGKILL)
                try await Task.sleep(for: .milliseconds(delay))
                for shim in root.shims() { _ = kill(shim, SIGKILL) }
                let info = try #require(try await root.provider.list().first)
                let record = try root.directory(info.id).readState()
                counts[record.map { "\($0.state)" } ?? "no record", default: 0] += 1
                try await eventually("a process of the sandbox outlives its shim") {
                    let left = allProcesses().filter { pid in
                        guard let mounts = try? SmallFile.read("/proc/\(pid)/mounts", limit: 16 << 20) else {
                            return false
                        }
                        return String(decoding: mounts, as: UTF8.self).contains(root.path)
                    }
                    return left.isEmpty && root.shims().isEmpty
                }
                try await root.expectDead(info.id)
                #expect(try await root.provider.sweep() == [info.id])
            }
        }
        print("shims killed by what they had recorded:", counts)
        // Those that never got as far as having mounts of their own.
        try await eventually("an init waits for ever") { orphanedInits().subtracting(before).isEmpty }
    }

    @Test("ends when its holder's input ends, without any signal from a parent")
    func holder() async throws {
        try await TestRoot.with { root in
            let directory = SandboxDirectory(path: root.path + "/by-hand")
            let spec = SpecRecord(
                id: SandboxID("sb-0"), name: "n", labels: [:], createdAt: .now(), inputs: [], notes: []
            )
            let lock = try directory.make(spec: spec, expiry: Expiry(after: .seconds(60))) {
                directory throws(SandboxError) in try directory.fillForNamespaces()
            }
            _ = consume lock
            // What the holder runs beside it, in a session of its own.
            let holder = ["/bin/sh", "-c", "setsid sleep 4761 & " + Bubblewrap.holder[2]]
            let members = try await onOwnThread {
                let options = Bubblewrap(directory: directory, inputs: []).initOptions(statusDescriptor: 4)
                let file = try Bubblewrap.optionFile(options)
                let input = try Pipe()
                let output = try Pipe()
                let pid = try ChildProcess.start(
                    try Bubblewrap.locate(nil), ["--args", "3", "--"] + holder,
                    descriptors: [input.read.raw, output.write.raw, -1, file.raw, -1]
                )
                #expect(waitReadable(output.read.raw, for: .seconds(20)))
                return (pid, try descendants(of: pid))
                // Here the pipe's last write end is closed.
            }
            #expect(members.1.count == 3)
            try await eventually("the end of input does not end the sandbox") { try living(members.1).isEmpty }
            _ = kill(members.0, SIGKILL)
            _ = try await onOwnThread { try ChildProcess.reap(members.0) }
        }
    }

    @Test("does not kill another process that has the recorded pid")
    func reusedPid() async throws {
        try await TestRoot.with { root in
            try await withSleeper { innocent in
                for wrong in [
                    ProcessIdentity(pid: innocent.pid, startTime: innocent.startTime + 1, bootID: innocent.bootID),
                    ProcessIdentity(pid: innocent.pid, startTime: innocent.startTime, bootID: "another boot"),
                ] {
                    let id = try root.fabricate(initProcess: wrong)
                    try await root.expectDead(id)
                    #expect(try await root.provider.sweep() == [id])
                    #expect(try ProcessIdentity(of: innocent.pid) == innocent)
                }
                // And the right one is killed: what a dead shim left behind does not go on.
                let id = try root.fabricate(initProcess: innocent)
                try await root.expectDead(id)
                #expect(try await root.provider.sweep() == [id])
                #expect(try ProcessIdentity(of: innocent.pid) == nil)
            }
        }
    }

    @Test("is ended although its shim is stopped")
    func stoppedShim() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let shim = try root.state(id).shim
            #expect(kill(shim.pid, SIGSTOP) == 0)
            var provider = root.provider
            provider.shimPatience = .milliseconds(200)
            try await provider.kill(id)
            #expect(try ProcessIdentity(of: shim.pid) == nil)
            #expect(try directoryEntries(root.sandboxes) == [])
        }
    }

    @Test("ends in order when its shim is told to end or its directory is taken away")
    func toldToEnd() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let first = try root.state(id)
            #expect(kill(first.shim.pid, SIGTERM) == 0)
            try await eventually("TERM does not end the shim") {
                try await root.provider.get(id)?.state == .ended(reason: "its shim was told to end (SIGTERM)")
            }
            let other = try await root.provider.create(root.spec()).id
            let second = try root.state(other)
            let members = try root.members(other)
            #expect(rename(root.directory(other).path, root.path + "/elsewhere") == 0)
            try await eventually("the sandbox outlives its directory") {
                try living(members + [second.shim]).isEmpty
            }
        }
    }

    @Test("does not keep a command whose client was killed, but what it moved into a session of its own")
    func clientOfCommandDies() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let script = "setsid sleep 4741 </dev/null >/dev/null 2>&1 & echo $$ > /work/pid; exec sleep 4742"
            let client = try ChildProcess.start(
                TestRoot.hostProgram, ["run", root.sandboxes, id.rawValue, "sh", "-c", script],
                descriptors: [-1, -1, -1]
            )
            try await eventually("the command did not start") {
                try await root.provider.run(["test", "-s", "/work/pid"], in: id).exitCode == 0
            }
            #expect(kill(client, SIGKILL) == 0)
            #expect(try await onOwnThread { try ChildProcess.reap(client) } == 137)
            try await eventually("the command of a dead client goes on") {
                try await root.provider.run(.shell("kill -0 $(cat /work/pid)"), in: id).exitCode != 0
            }
            let left = try await root.provider.run(.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), in: id).text
            #expect(left.contains("sleep 4741"))
        }
    }

    @Test("works for an ordinary user, whom it gives no power")
    func ordinaryUser() async throws {
        // Not somebody: an id that no account has.
        let user = ["--reuid=54321", "--regid=54321", "--clear-groups"]
        let isRoot = getuid() == 0
        try await TestRoot.with { root in
            let program = root.path + "/SandboxShimHost"
            #expect(try await runOnHost("/bin/cp", [TestRoot.hostProgram, program]).exitCode == 0)
            let home = root.path + "/home"
            #expect(mkdir(home, 0o777) == 0 && chmod(home, 0o777) == 0)
            func run(_ arguments: [String]) async throws -> HostOutput {
                isRoot
                    ? try await runOnHost("/usr/bin/setpriv", user + [program] + arguments)
                    : try await runOnHost(program, arguments)
            }
            let place = home + "/sandboxes"
            #expect(try await run(["check", place]).text == "ok\n")
            let made = try await run(["create", place, "u1", "300"])
            let id = made.text.trimmed
            #expect(made.exitCode == 0, "\(made.text)")
            let script = """
                id -u; cat /proc/self/status; setsid sleep 4740 >/dev/null 2>&1 &
                mkdir -p /work/a/b && echo x > /work/a/b/c && chmod 000 /work/a/b/c /work/a/b && chmod 500 /work/a
                """
            let output = try await run(["run", place, id, "sh", "-c", script])
            #expect(output.exitCode == 0)
            if isRoot { #expect(output.text.hasPrefix("54321\n")) }
            #expect(output.text.contains("CapEff:\t0000000000000000"))
            #expect(try await run(["durable", place, id, "k", "id -u > /work/who"]).text == "started\n")
            try await eventually("the durable command did not run") {
                try await run(["run", place, id, "cat", "/work/.commands/k/started/rc"]).text.hasPrefix("0")
            }
            #expect(try await run(["kill", place, id]).exitCode == 0)
            #expect(try await run(["list", place]).text == "")
            #expect(try directoryEntries(place) == [])
        }
    }
}

extension TestRoot {
    /// Waits for a dead shim's lock to be free: a process that ends, or a child of another test between fork and exec,
    /// holds its descriptors a moment longer than one would think.
    func expectDead(_ id: SandboxID) async throws {
        try await eventually("the sandbox seems to be alive") { try await provider.get(id)?.state.isAlive == false }
    }

    /// A sandbox whose shim is dead, with a recorded init.
    func fabricate(initProcess: ProcessIdentity) throws -> SandboxID {
        let id = SandboxID("sb-" + randomName(20))
        try provider.sandboxes.makeRoot()
        let spec = SpecRecord(id: id, name: "n", labels: [:], createdAt: .now(), inputs: [], notes: [])
        let lock = try directory(id).make(spec: spec, expiry: Expiry(after: .seconds(60))) {
            directory throws(SandboxError) in try directory.fillForNamespaces()
        }
        _ = consume lock
        let gone = ProcessIdentity(pid: 1 << 22, startTime: 1, bootID: try ProcessIdentity.currentBootID())
        var state = StateRecord(state: .running, shim: gone, initProcess: initProcess)
        if initProcess.bootID != gone.bootID {
            state.shim = ProcessIdentity(pid: gone.pid, startTime: 1, bootID: initProcess.bootID)
        }
        try SmallFile.replace(directory(id).statePath, state.record.bytes, durable: false)
        return id
    }
}

/// The inits of sandboxes, bwrap processes, whose parent is gone.
func orphanedInits() -> Set<Int32> {
    Set(
        allProcesses().filter { pid in
            guard let line = try? SmallFile.read("/proc/\(pid)/cmdline"),
                let status = try? SmallFile.read("/proc/\(pid)/status"),
                let namespaces = String(decoding: status, as: UTF8.self).split(separator: "\n")
                    .first(where: { $0.hasPrefix("NSpid:") })
            else { return false }
            return String(decoding: line, as: UTF8.self).contains("read -r line")
                && namespaces.split(separator: "\t").count == 3
                && !String(decoding: status, as: UTF8.self).contains("Name:\tsh\n")
                && parentIsInit(status)
        }
    )
}

private func parentIsInit(_ status: [UInt8]) -> Bool {
    String(decoding: status, as: UTF8.self).contains("PPid:\t1\n")
}

/// The processes below a process.
func descendants(of pid: Int32) throws -> [ProcessIdentity] {
    try allProcesses().flatMap { child -> [ProcessIdentity] in
        guard let status = try SmallFile.read("/proc/\(child)/status"),
            String(decoding: status, as: UTF8.self).contains("PPid:\t\(pid)\n"),
            let identity = try ProcessIdentity(of: child)
        else { return [] }
        return try [identity] + descendants(of: child)
    }
}

/// A process that does nothing, for as long as a test needs it.
func withSleeper(_ body: (ProcessIdentity) async throws -> Void) async throws {
    let pid = try ChildProcess.start("/bin/sleep", ["4750"], descriptors: [-1, -1, -1])
    var failure: (any Error)?
    do {
        try await body(try #require(try ProcessIdentity(of: pid)))
    } catch {
        failure = error
    }
    _ = kill(pid, SIGKILL)
    _ = try await onOwnThread { try ChildProcess.reap(pid) }
    if let failure { throw failure }
}
