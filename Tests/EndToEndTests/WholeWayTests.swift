import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// A real image, a real registry with a password, real judges: overlayfs, e2fsck, the kernel, QEMU.
    @Suite(.serialized)
    struct WholeWay {
        @Test("an image of over 10,000 entries becomes what overlayfs shows, e2fsck accepts and the kernel boots")
        func realImage() async throws {
            let image = try await Images.shared.largeImage()
            #expect(image.entries > 10_000)
            let registry = try await RealRegistry(.password(user: "someone", password: "s3cret word"))
            defer { registry.stop() }
            try await registry.push(
                layout: image.layout, tag: "latest", to: "acme/large:1", credentials: "someone:s3cret word")

            let installation = try Installation()
            let credentials = installation.home + "/credentials.json"
            let secret = Data("someone:s3cret word".utf8).base64EncodedString()
            try Data(#"{"auths":{"\#(registry.host)":{"auth":"\#(secret)"}}}"#.utf8)
                .write(to: URL(fileURLWithPath: credentials))
            let run = try await installation.snapwf(
                "run", "\(registry.host)/acme/large:1", "--creds-file", credentials, "--json")
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            let path = try #require(result["path"] as? String)
            try await installation.expectNothingLeft("after the run")
            try await expectNoSecret(secret, in: installation)

            try await expectSilentE2fsck(path)
            try await compareWithOverlay(image, path)
            try await mountReadWrite(path)
            let console = try await tool(
                Programs.fixture("boot-image"), path, Images.kernels, "cat /etc/motd; uname -r;",
                "test $(ls /srv/many | wc -l) = 5000"
            ).output
            #expect(console.contains("unpacked by snapwf"), "\(console)")
            #expect(console.contains("boot-image: unmounted"), "\(console)")
            #expect(!console.lowercased().contains("ext4-fs error"), "\(console)")
            #expect(!console.lowercased().contains("ext4-fs warning"), "\(console)")
            print("entries: \(image.entries), layer bytes: \(image.bytes), snapshot bytes: \(result["size"] ?? 0)")
        }

        @Test("a guest grows its mounted snapshot a hundred times, and its kernel has nothing to say")
        func growsOnline() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            let result = try #require(
                try await installation.snapwf("run", image, "--json").json()["result"] as? [String: Any])
            let (path, size) = try (#require(result["path"] as? String), #require(result["size"] as? Int))
            let console = try await tool(
                Programs.fixture("boot-image"), "--grow", "\(size * 100)", path, Images.kernels,
                // More than there was room for.
                "dd if=/dev/zero of=/written bs=1048576 count=\(size >> 20); df -P -m /; cat /etc/motd"
            ).output
            #expect(console.contains("boot-image: as large as its disk"), "\(console)")
            #expect(console.contains("unpacked by snapwf") && console.contains("boot-image: unmounted"), "\(console)")
            for complaint in ["ext4-fs error", "ext4-fs warning", "no space left"] {
                #expect(!console.lowercased().contains(complaint), "\(console)")
            }
            // The last line is e2fsck's: blocks in use / all blocks.
            let blocks = try #require(console.firstMatch(of: /\/([0-9]+) blocks/).flatMap { Int($0.1) }, "\(console)")
            #expect(blocks > size / 4096 * 99)
        }

        @Test("--verity: veritysetup verifies what snapwf made, and the document names the root hash")
        func verity() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            let run = try await installation.snapwf("run", image, "--verity", "--json")
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            let path = try #require(result["path"] as? String)
            let inspected = try await tool(Programs.snapshot, "inspect", "--json", path).json()
            let verity = try #require(inspected["verity"] as? [String: Any])
            let (root, offset) = try (
                #require(verity["rootHash"] as? String), #require(verity["hashOffset"] as? Int)
            )
            try await tool("veritysetup", "verify", path, path, root, "--hash-offset=\(offset)")
            try await tool(Programs.snapshot, "verify", path)
            try await expectSilentE2fsck(path)
            let plain = try await installation.snapwf("run", image, "--json").json()
            #expect((plain["result"] as? [String: Any])?["snapshotID"] as? String != result["snapshotID"] as? String)
        }

        @Test("the same run again answers from the catalog, and a copy can be had")
        func cached() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            let first = try await installation.snapwf("run", image, "--json").json()
            let second = try await installation.snapwf("run", image, "--json").json()
            let one = try #require(first["result"] as? [String: Any])
            let two = try #require(second["result"] as? [String: Any])
            #expect(one["cached"] as? Bool == false && two["cached"] as? Bool == true)
            #expect(one["snapshotID"] as? String == two["snapshotID"] as? String)
            let copy = installation.home + "/copy.ext4"
            let exported = try await installation.snapwf("run", image, "-o", copy, "-q")
            #expect(exported.output == copy + "\n", "\(exported.everything)")
            try await expectSilentE2fsck(copy)
            try await tool("cmp", copy, try #require(one["path"] as? String))
        }

        @Test("--size is the size of the file system; the same request gives the same bytes in another store")
        func size() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            var checksums = Set<String>()
            for _ in 0..<2 {
                let installation = try Installation()
                let run = try await installation.snapwf("run", image, "--size", "1GiB", "--json")
                try #require(run.status == 0, "\(run.everything)")
                let result = try #require(try run.json()["result"] as? [String: Any])
                #expect(result["size"] as? Int == 1 << 30)
                checksums.insert(try #require(result["sha256"] as? String))
                try await expectSilentE2fsck(try #require(result["path"] as? String))
            }
            #expect(checksums.count == 1)
        }

        /// The password, and its encoded form, must be in no file of the state and in no record.
        private func expectNoSecret(_ secret: String, in installation: Installation) async throws {
            for text in [secret, "s3cret word"] {
                let found = try await Child(
                    "/bin/grep", ["-rlF", "--exclude=credentials.json", "--", text, installation.home]
                ).wait()
                #expect(found.status == 1, "the secret stands in \(found.output)")
            }
        }

        private func expectSilentE2fsck(_ path: String) async throws {
            let checked = try await tool("/usr/sbin/e2fsck", "-fn", path)
            let said = checked.output.split(separator: "\n").dropLast().filter { !$0.hasPrefix("Pass ") }
            #expect(said.isEmpty, "\(checked.everything)")
        }

        private func compareWithOverlay(_ image: Images.LargeImage, _ path: String) async throws {
            let directory = try makeTemporaryDirectory("compare")
            let (expected, actual) = (directory + "/expected", directory + "/actual")
            let script = """
                set -eu
                mkdir "$1" "$2"
                trap 'umount "$1" "$2" 2>/dev/null; rmdir "$1" "$2"' EXIT
                mount -t overlay overlay -o "ro,lowerdir=$4" "$1"
                mount -o loop,ro "$3" "$2"
                "$5" "$1" "$2"
                """
            let lower = image.layers.reversed().joined(separator: ":")
            let compared = try await Child(
                "/bin/sh",
                ["-c", script, "sh", expected, actual, path, lower, Programs.fixture("compare-trees")]
            ).wait(.seconds(300))
            #expect(compared.status == 0, "\(compared.everything)")
            print("compared with overlayfs: \(compared.output)")
            try FileManager.default.removeItem(atPath: directory)
        }

        /// The kernel mounts a copy read-write, writes to it, and e2fsck still has nothing to say.
        private func mountReadWrite(_ path: String) async throws {
            let directory = try makeTemporaryDirectory("mount")
            let script = """
                set -eu
                cp --sparse=always "$1" "$2/copy"
                mkdir "$2/mounted"
                trap 'umount "$2/mounted" 2>/dev/null || true' EXIT
                mount -o loop,rw "$2/copy" "$2/mounted"
                dd if=/dev/zero of="$2/mounted/written" bs=1M count=2 status=none
                touch "$2/mounted/srv/many/one-more"
                umount "$2/mounted"
                """
            let mounted = try await Child("/bin/sh", ["-c", script, "sh", path, directory]).wait()
            #expect(mounted.status == 0, "\(mounted.everything)")
            try await expectSilentE2fsck(directory + "/copy")
            try FileManager.default.removeItem(atPath: directory)
        }
    }
}
