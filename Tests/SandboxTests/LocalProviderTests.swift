import Glibc
import Testing

@testable import Sandbox

@Suite("a local sandbox")
struct LocalProviderTests {
    @Test("shows nothing of the host but /usr, and /usr cannot be written")
    func isolation() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let names = try await root.provider.run(["ls", "-A", "/"], in: id).text.split(separator: "\n")
            let known = [
                "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", "var",
                "work",
            ]
            #expect(names.filter { !known.contains(String($0)) } == [])
            for path in ["/usr/x", "/x", "/etc/x", "/etc/passwd", "/run/x", "/usr/bin/env"] {
                let output = try await root.provider.run(.shell("echo x >> \"$1\"", [path]), in: id)
                #expect(output.exitCode != 0, "\(path) can be written")
            }
            for path in ["/root", "/home", "/etc/shadow", "/sys", "/etc/ssl/private", root.path] {
                let output = try await root.provider.run(["test", "-e", path], in: id)
                #expect(output.exitCode == 1, "\(path) is visible")
            }
            #expect(try await root.provider.run(.shell("echo x > /work/a && echo y > /tmp/b"), in: id).exitCode == 0)
        }
    }

    @Test("cannot change the machine's settings, whoever made it")
    func settings() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            for name in ["kernel/core_pattern", "vm/swappiness", "kernel/hostname"] {
                let script = "value=$(cat \"$1\") && echo \"$value\" > \"$1\""
                let output = try await root.provider.run(.shell(script, ["/proc/sys/" + name]), in: id)
                #expect(output.exitCode != 0, "/proc/sys/\(name) can be written")
            }
            let status = try await root.provider.run(["cat", "/proc/self/status"], in: id).text
            #expect(status.contains("CapEff:\t0000000000000000"))
            #expect(status.contains("CapPrm:\t0000000000000000"))
            #expect(status.contains("NoNewPrivs:\t1"))
        }
    }

    @Test("sees only its own processes, and its commands see each other")
    func processView() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let script = "setsid sleep 4720 </dev/null >/dev/null 2>&1 & ls /proc"
            _ = try await root.provider.run(.shell(script), in: id)
            let text = try await root.provider.run(.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), in: id).text
            #expect(text.contains("sleep 4720"))
            #expect(!text.contains("SandboxShimHost") && !text.contains("sandbox-shim"))
            let numbers = try await root.provider.run(["ls", "/proc"], in: id).text.split(separator: "\n")
            #expect(numbers.compactMap { Int($0) }.count < 12)
        }
    }

    @Test("has name resolution and certificates")
    func network() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            #expect(try await root.provider.run(["getent", "hosts", "localhost"], in: id).exitCode == 0)
            for path in ["/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssl/certs"]
            where linkStatus(path) != nil {
                #expect(try await root.provider.run(["test", "-r", path], in: id).exitCode == 0, "\(path)")
            }
        }
    }

    @Test("sees its inputs read-only, and refuses inputs in its own places")
    func inputs() async throws {
        try await TestRoot.with { root in
            let input = root.path + "/input"
            try SmallFile.replace(input, Array("hello".utf8), durable: false)
            var spec = root.spec()
            spec.inputs = [
                ReadOnlyInput(hostPath: input, guestPath: "/inputs/a"),
                ReadOnlyInput(hostPath: "/usr/share", guestPath: "/share"),
            ]
            let id = try await root.provider.create(spec).id
            #expect(try await root.provider.run(["cat", "/inputs/a"], in: id).text == "hello")
            #expect(try await root.provider.run(.shell("echo x > /inputs/a"), in: id).exitCode != 0)
            #expect(try SmallFile.read(input) == Array("hello".utf8))
            for guest in ["/work/a", "/usr", "/", "relative", "/a/../etc", "/etc/passwd", "/a//b"] {
                spec.inputs = [ReadOnlyInput(hostPath: input, guestPath: guest)]
                await expectError(.invalidArgument) { _ = try await root.provider.create(spec) }
            }
            spec.inputs = [ReadOnlyInput(hostPath: root.path + "/none", guestPath: "/a")]
            await expectError(.invalidArgument) { _ = try await root.provider.create(spec) }
            #expect(try await root.provider.list().count == 1)
        }
    }

    @Test("gives its files to the host, but no path that leads out")
    func hostPaths() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let script = "echo hi > /work/f; ln -s /etc /work/out; ln -s f /work/same; mkdir /work/d"
            _ = try await root.provider.run(.shell(script), in: id)
            let path = try #require(root.provider.hostPath(of: "/work/f", in: id))
            #expect(try SmallFile.read(path) == Array("hi\n".utf8))
            #expect(root.provider.hostPath(of: "/work/d/new", in: id) != nil)
            #expect(root.provider.hostPath(of: "/tmp/x", in: id)?.hasSuffix("/tmp/x") == true)
            let outside = [
                "/work/out/passwd", "/work/out", "/work/same", "/work/../spec", "/etc/passwd", "/workf", "work",
            ]
            for path in outside {
                #expect(root.provider.hostPath(of: path, in: id) == nil, "\(path)")
            }
        }
    }

    @Test("is gone without a trace after kill: processes, directory, mounts")
    func traces() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let script = """
                mkdir -p /work/a/b && echo x > /work/a/b/c && chmod 000 /work/a/b/c /work/a/b && chmod 500 /work/a
                ln -s /etc/passwd /work/link; mkfifo /work/fifo
                setsid sleep 4721 </dev/null >/dev/null 2>&1 &
                """
            _ = try await root.provider.run(.shell(script), in: id)
            let members = try root.members(id)
            #expect(members.count >= 3)
            try await root.provider.kill(id)
            #expect(try living(members) == [])
            #expect(root.shims() == [])
            #expect(try directoryEntries(root.sandboxes) == [])
            let mounts = try #require(try SmallFile.read("/proc/self/mounts", limit: 16 << 20))
            #expect(!String(decoding: mounts, as: UTF8.self).contains(root.sandboxes))
        }
    }

    @Test("leaves a directory two hundred levels deep removable")
    func depth() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let script = """
                cd /work; i=0; while [ $i -lt 200 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done; echo x > f
                """
            #expect(try await root.provider.run(.shell(script), in: id).exitCode == 0)
            try await root.provider.kill(id)
            #expect(try directoryEntries(root.sandboxes) == [])
        }
    }

    @Test("does not show half a file when its writer died")
    func halfFile() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            var command = ShortCommand.shell(LocalProvider.writeScript, ["/work/f", "600", "random", "10"])
            command.standardInput = Array("12345".utf8)
            #expect(try await root.provider.run(command, in: id).exitCode != 0)
            #expect(try await root.provider.run(["ls", "-A", "/work"], in: id).text == "")
        }
    }

    @Test("refuses what could never be right")
    func refusals() async throws {
        try await TestRoot.with { root in
            await expectError(.invalidArgument) { _ = try await root.provider.create(root.spec(timeToLive: .zero)) }
            let id = try await root.provider.create(root.spec()).id
            await expectError(.invalidArgument) { _ = try await root.provider.run([], in: id) }
            await expectError(.invalidArgument) { _ = try await root.provider.run(["a\0b"], in: id) }
            await expectError(.invalidArgument) {
                _ = try await root.provider.run(ShortCommand(["true"], environment: ["A=B": "c"]), in: id)
            }
            await expectError(.invalidArgument) {
                try await root.provider.writeFile("relative", mode: 0o600, contents: .bytes([]), in: id)
            }
            await expectError(.invalidArgument) { try await root.provider.setTimeToLive(.zero, of: id) }
        }
    }

    @Test("a command that failed without a word says how it ended")
    func reason() async throws {
        try await TestRoot.with { root in
            let id = try await root.provider.create(root.spec()).id
            let ends = [
                "kill -9 $$": "it was ended by signal 9", "exit 3": "it ended with exit code 3",
                "echo ' no ' >&2; exit 1": "no", "kill -TERM $$": "it was ended by signal 15",
            ]
            for (script, reason) in ends {
                let output = try await root.provider.run(.shell(script, []), in: id)
                #expect(output.reason == reason, "\(script)")
                #expect(output.isKilled == script.contains("kill"), "\(script)")
            }
        }
    }

    @Test("says what to do when bubblewrap or the right to use it is missing")
    func advice() async throws {
        try await TestRoot.with { root in
            var configuration = root.provider.configuration
            configuration.bubblewrap = root.path + "/bwrap"
            await expectError(.missingTool) { try await LocalProvider(configuration: configuration).check() }
            configuration.bubblewrap = "/bin/false"
            await expectError(.notPermitted) { try await LocalProvider(configuration: configuration).check() }
            configuration.bubblewrap = nil
            configuration.shimCommand = ["/no/such/program"]
            await expectError(.missingTool) { try await LocalProvider(configuration: configuration).check() }
            await expectError(.notFound) {
                _ = try await LocalProvider(configuration: configuration).create(root.spec())
            }
            configuration.shimCommand = ["/bin/false"]
            await expectError(.didNotStart) {
                _ = try await LocalProvider(configuration: configuration).create(root.spec())
            }
            let left = try await root.provider.list()
            #expect(left.isEmpty)
        }
        func advice(_ settings: [String: String]) -> String {
            LocalProvider.advice(complaint: "no", setting: { settings[$0] })
        }
        #expect(advice(["kernel/unprivileged_userns_clone": "0"]).contains("sysctl kernel.unprivileged_userns_clone=1"))
        #expect(advice(["user/max_user_namespaces": "0"]).contains("sysctl user.max_user_namespaces="))
        #expect(advice(["kernel/apparmor_restrict_unprivileged_userns": "1"]).contains("AppArmor"))
        #expect(advice([:]).contains("container"))
    }
}
