import Foundation
import Testing

extension EndToEnd {
    /// The places that an image comes from, and what a pull that dies leaves for the next one.
    @Suite(.serialized)
    struct Inputs {
        private func pull(_ image: String, _ arguments: String..., to output: String) async throws -> Finished {
            try await Child(Programs.snapshot, ["pull", image, "--output", output] + arguments).wait()
        }

        @Test("killed with SIGKILL in the middle of a layer, a pull with a cache leaves what the next one goes on with")
        func killed() async throws {
            let layout = try await Images.shared.smallLayout()
            let registry = try await SlowRegistry(layout: layout)
            let directory = try makeTemporaryDirectory("cache")
            let cache = directory + "/cache"
            let blobs = cache + "/blobs/sha256"
            let victim = try Child(
                Programs.snapshot,
                ["pull", registry.reference, "--output", directory + "/image.ext4", "--cache", cache])
            try await registry.waitUntilHolding()
            var part = 0
            try await eventually("half of a layer is in the cache") {
                let size = try partialSize(in: blobs)
                defer { part = size }
                return size > 50_000 && size == part
            }
            victim.signal(SIGKILL)
            #expect(try await victim.wait().status == 128 + SIGKILL)
            #expect(!FileManager.default.fileExists(atPath: directory + "/image.ext4"))

            try registry.letGo()
            let left = try partialSize(in: blobs)
            let second = try await pull(registry.reference, "--cache", cache, to: directory + "/image.ext4")
            #expect(second.status == 0, "\(second.everything)")
            #expect(registry.log.contains("RANGE \(left)"), "\(registry.log)")
            #expect(try partialSize(in: blobs) == 0)
            for name in try FileManager.default.contentsOfDirectory(atPath: blobs) {
                let sum = try await tool("sha256sum", blobs + "/" + name).output
                #expect(sum.hasPrefix(name + " "))
            }
            let plain = try await pull("oci:\(layout):latest", to: directory + "/plain.ext4")
            #expect(plain.status == 0, "\(plain.everything)")
            try await tool("cmp", directory + "/image.ext4", directory + "/plain.ext4")
            let asked = registry.log.count { $0.contains("/blobs/") }
            let third = try await pull(registry.reference, "--cache", cache, to: directory + "/image.ext4")
            #expect(third.status == 0, "\(third.everything)")
            // The config alone, which is small.
            #expect(registry.log.count { $0.contains("/blobs/") } == asked + 1)
            try FileManager.default.removeItem(atPath: directory)
        }

        private func partialSize(in blobs: String) throws -> Int {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: blobs)) ?? []
            return try names.filter { $0.hasSuffix(".partial") }.reduce(0) { sum, name in
                sum + (try FileManager.default.attributesOfItem(atPath: blobs + "/" + name)[.size] as? Int ?? 0)
            }
        }

        @Test("damage in the cache is repaired, and the image is the same")
        func damagedCache() async throws {
            let layout = try await Images.shared.smallLayout()
            let registry = try await SlowRegistry(layout: layout, holding: false)
            let directory = try makeTemporaryDirectory("cache")
            let blobs = directory + "/cache/blobs/sha256"
            let first = try await pull(registry.reference, "--cache", directory + "/cache", to: directory + "/1.ext4")
            try #require(first.status == 0, "\(first.everything)")
            for name in try FileManager.default.contentsOfDirectory(atPath: blobs) {
                let file = URL(fileURLWithPath: blobs + "/" + name)
                var bytes = try Data(contentsOf: file)
                bytes[bytes.count / 2] ^= 0x55
                try bytes.write(to: file)
            }
            let second = try await pull(registry.reference, "--cache", directory + "/cache", to: directory + "/2.ext4")
            #expect(second.status == 0, "\(second.everything)")
            #expect(second.errors.contains("damaged"), "\(second.everything)")
            try await tool("cmp", directory + "/1.ext4", directory + "/2.ext4")
            try FileManager.default.removeItem(atPath: directory)
        }

        @Test("archives that skopeo makes give a run what the layout gives")
        func archives() async throws {
            let layout = try await Images.shared.smallLayout()
            let directory = try makeTemporaryDirectory("archives")
            for (transport, name) in [("oci-archive", "latest"), ("docker-archive", "acme/app:latest")] {
                try await tool(
                    "skopeo", "--insecure-policy", "copy", "--quiet", "oci:\(layout):latest",
                    "\(transport):\(directory)/\(transport).tar:\(name)")
            }
            var sums: [String: String] = [:]
            var entries: Set<Int> = []
            for image in [
                "oci:\(layout):latest", "oci-archive:\(directory)/oci-archive.tar",
                "docker-archive:\(directory)/docker-archive.tar:acme/app",
            ] {
                let installation = try Installation()
                let run = try await installation.snapwf("run", image, "--json")
                try #require(run.status == 0, "\(run.everything)")
                let result = try #require(try run.json()["result"] as? [String: Any])
                sums[image] = try #require(result["sha256"] as? String)
                entries.insert(try #require(result["entries"] as? Int))
                try await tool("e2fsck", "-fn", try #require(result["path"] as? String))
                try await installation.expectNothingLeft("after \(image)")
            }
            #expect(sums["oci:\(layout):latest"] == sums["oci-archive:\(directory)/oci-archive.tar"])
            // Another key, so another UUID; but the same tree.
            #expect(Set(sums.values).count == 2)
            #expect(entries.count == 1)
            try FileManager.default.removeItem(atPath: directory)
        }

        @Test("a run takes nothing from standard input, and says what to do")
        func standardInput() async throws {
            let refused = try await Installation().snapwf("run", "-")
            #expect(refused.status == 64, "\(refused.everything)")
            #expect(refused.errors.contains("docker-archive:FILE"), "\(refused.everything)")
        }
    }
}
