import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Snapshots in virtual machines: what they are for.
    @Suite(.serialized)
    struct Booting {
        private func machine(_ tag: String) async throws -> Installation {
            let installation = try Installation(environment: try await Images.shared.machineVariables())
            let layout = try await Images.shared.bootLayout()
            let run = try await installation.snapwf("run", "-q", "oci:\(layout):\(tag)", "--name", tag)
            try #require(run.status == 0, "\(run.everything)")
            return installation
        }

        @Test("a minimal Debian boots, with its streams apart and its exit code")
        func debian() async throws {
            let installation = try await machine("debian")
            let script = "cat /etc/debian_version; id -u; echo problem >&2; exit 42"
            let booted = try await installation.snapwf("boot", "debian", "--", "sh", "-c", script)
            #expect(booted.status == 42, "\(booted.everything)")
            #expect(booted.output.hasPrefix("12.") && booted.output.hasSuffix("\n0\n"), "\(booted.everything)")
            #expect(booted.errors == "problem\n")
            try await installation.expectNothingLeft("after a boot")
        }

        @Test("systemd starts its services where it is the init of a namespace")
        func systemd() async throws {
            let installation = try await machine("systemd")
            let script = """
                mount -t cgroup2 none /sys/fs/cgroup
                container=snapwf unshare -p -m -C -f --mount-proc /sbin/init >/dev/null 2>&1 &
                i=0; while [ ! -e /var/greeting ] && [ $i -lt 240 ]; do sleep 0.5; i=$((i + 1)); done
                cat /var/greeting
                """
            let booted = try await installation.snapwf("boot", "systemd", "--memory", "1GiB", "--", "sh", "-c", script)
            #expect(booted.output == "started by systemd\n", "\(booted.everything)")
            try await installation.expectNothingLeft("after a boot")
        }

        @Test("an image of one static program, without a directory, a shell or a libc, runs as its config says")
        func single() async throws {
            let installation = try await machine("static")
            let booted = try await installation.snapwf("boot", "static")
            #expect(booted.status == 7, "\(booted.everything)")
            #expect(booted.output == "/hello from the image\n")
            #expect(booted.errors == "and to the other stream\n")
            let missing = try await installation.snapwf("boot", "static", "--", "/bin/sh")
            #expect(missing.status == 127 && missing.errors.contains("no such program"), "\(missing.everything)")
        }

        @Test("the image's user, groups, directory and environment are the command's")
        func user() async throws {
            let installation = try await machine("user")
            let script = "id -un; id -Gn; pwd; echo $GREETING; touch made && stat -c %U made; cat"
            let booted = try await installation.snapwf("boot", "user", "--", "sh", "-c", script)
            #expect(
                booted.output == "app\napp audio\n/srv/app\nfrom the image\napp\n", "\(booted.everything)")
            let root = try await installation.snapwf(
                "boot", "user", "--user", "0", "-w", "/tmp", "-e", "GREETING=mine", "--", "sh", "-c",
                "id -un; pwd; echo $GREETING")
            #expect(root.output == "root\n/tmp\nmine\n", "\(root.everything)")
        }

        @Test("files and directories of mode 0000 are where they were")
        func locked() async throws {
            let installation = try await machine("locked")
            let script = "cat /etc/secret /srv/deep/deeper/secret; stat -c %a /etc/secret /srv"
            let booted = try await installation.snapwf("boot", "locked", "--", "sh", "-c", script)
            #expect(booted.output == "read in etc\nread in srv/deep/deeper\n0\n0\n", "\(booted.everything)")
        }

        @Test("--verify-boot keeps what boots with the time it took, and --sandbox vm makes a snapshot in a machine")
        func builder() async throws {
            let installation = try await machine("debian")
            let layout = try await Images.shared.smallLayout()
            let run = try await installation.snapwf("run", "oci:\(layout):latest", "--verify-boot", "--json")
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            #expect(try #require(result["bootMilliseconds"] as? Int) > 0)
            let inspected = try await installation.snapwf("snapshots", "inspect", "@last", "--json")
            #expect(inspected.output.contains("bootMilliseconds"), "\(inspected.everything)")
            try await installation.expectNothingLeft("after a boot for proof")
            let none = try await installation.snapwf("run", "oci:\(layout):latest", "--sandbox", "vm", "--force")
            #expect(none.status == 64 && none.errors.contains("--builder-image"), "\(none.everything)")
        }

        @Test("--verify-boot: what does not boot is the image's fault, is not kept, and leaves nothing")
        func doesNotBoot() async throws {
            let installation = try await machine("static")
            let shown = try await installation.snapwf("snapshots", "inspect", "static", "--json").json()
            let text = "\(shown)"
            let path = try #require(text.firstMatch(of: /\/[^\s"]*rootfs\.ext4/)?.output)
            // A first process that ends at once: the kernel panics.
            let program = installation.home + "/hello"
            try await tool(
                "sh", "-c", #""$0" cat "$1" /hello > "$2" && chmod +x "$2""#, Programs.snapshot, String(path), program)
            let layout = try await Images.shared.smallLayout()
            let run = try await installation.snapwf(
                "run", "oci:\(layout):latest", "--verify-boot", environment: ["SNAPWF_AGENT": program])
            #expect(run.status == 5, "\(run.everything)")
            #expect(run.errors.contains("does not boot"), "\(run.everything)")
            #expect(installation.names(in: "snapshots").filter { $0.hasPrefix("snap-") }.count == 1)
            try await installation.snapwf("gc", "--grace", "0s")
            try await installation.expectNothingLeft("after a boot that failed")
        }

        @Test("a machine whose snapwf is killed ends by itself, and one that is interrupted at once")
        func killed() async throws {
            let installation = try await machine("locked")
            let child = try installation.start(
                "boot", "locked", "--", "sh", "-c", "echo up; cat /proc/sys/kernel/hostname; while :; do :; done")
            try await eventually("the command runs", within: .seconds(60)) { child.outputSoFar.contains("up") }
            child.signal(SIGINT)
            let finished = try await child.wait()
            #expect(finished.status == 130, "\(finished.everything)")
            try await installation.expectNothingLeft("after Ctrl-C")
        }
    }
}
