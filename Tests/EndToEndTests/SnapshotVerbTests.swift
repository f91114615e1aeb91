import Foundation
import Glibc
import Testing

extension EndToEnd {
    /// `snapwf snapshots …`, and what else keeps and removes snapshots.
    @Suite(.serialized)
    struct SnapshotVerbs {
        @Test("a snapshot is named, listed, inspected, verified, exported and removed")
        func wholeLife() async throws {
            let installation = try Installation()
            let none = try await installation.snapwf("snapshots")
            #expect(none.status == 0 && none.output.isEmpty && none.errors.contains("there is no snapshot yet"))
            #expect(installation.names(in: "") == [], "looking made something")
            let run = try await installation.snapwf(
                "run", try await image(), "--name", "web:1", "--label", "team=web", "--verity", "--json")
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            let (id, sha256) = try (
                #require(result["snapshotID"] as? String), #require(result["sha256"] as? String)
            )

            let listed = try await installation.snapwf("snapshots", "ls", "--json").json()
            let snapshot = try #require((listed["snapshots"] as? [[String: Any]])?.first)
            #expect(snapshot["names"] as? [String] == ["web:1"])
            #expect(snapshot["labels"] as? [String: String] == ["team": "web"])
            let (size, onDisk) = try (
                #require(snapshot["size"] as? Int), #require(snapshot["bytesOnDisk"] as? Int)
            )
            #expect(onDisk > 0 && onDisk < size)
            for (filter, count) in [("name=web:*", 1), ("name=db", 0), ("label=team", 1), ("label=team=db", 0)] {
                let shown = try await installation.snapwf("snapshots", "ls", "-q", "--filter", filter)
                #expect(shown.output == (count == 1 ? id + "\n" : ""), "\(filter): \(shown.everything)")
            }
            let inspected = try await installation.snapwf("snapshots", "inspect", "web:1", "--json").json()
            let facts = try #require(inspected["snapshot"] as? [String: Any])
            let root = try #require((facts["verity"] as? [String: Any])?["rootHash"] as? String)
            // The tree in the file itself says the same.
            let path = try #require(facts["path"] as? String)
            let image = try await tool(Programs.snapshot, "inspect", "--json", path).json()
            #expect((image["verity"] as? [String: Any])?["rootHash"] as? String == root)
            #expect((inspected["config"] as? String)?.contains("diff_ids") == true)
            // The document beside the image is one that the helper understands: it compares the checksum.
            #expect(try await tool(Programs.snapshot, "verify", "--json", path).json()["sha256"] as? String == sha256)

            #expect(try await installation.snapwf("snapshots", "verify", "web:1").output == "ok   \(id)\n")
            let copy = installation.home + "/copy.ext4"
            let exported = try await installation.snapwf("snapshots", "export", "web:1", "-o", copy, "-q")
            #expect(exported.output == copy + "\n", "\(exported.everything)")
            #expect(try await tool("sha256sum", copy).output.hasPrefix(sha256))
            #expect(try await tool("/usr/sbin/e2fsck", "-fn", copy).status == 0)

            let tagged = try await installation.snapwf("snapshots", "tag", id, "web:latest")
            #expect(tagged.status == 0, "\(tagged.everything)")
            let refused = try await installation.snapwf("snapshots", "rm", "web:1")
            #expect(refused.status == 1 && refused.errors.contains("web:latest"), "\(refused.everything)")
            #expect(try await installation.snapwf("snapshots", "untag", "web:latest").status == 0)
            let typo = try await installation.snapwf("snapshots", "inspect", "wbe:1")
            #expect(typo.status == 3 && typo.errors.contains("the nearest is \"web:1\""), "\(typo.everything)")
            let removed = try await installation.snapwf("snapshots", "rm", "web:1", "-q")
            #expect(removed.status == 0 && removed.output == id + "\n", "\(removed.everything)")
            #expect(installation.names(in: "snapshots") == [])
        }

        @Test("a cached run names its snapshot too, and a name moves with a run")
        func cachedName() async throws {
            let installation = try Installation()
            let image = try await image()
            let id = try await installation.snapwf("run", image, "-q").output
            #expect(try await installation.snapwf("run", image, "-q", "--name", "web").output == id)
            let large = try await installation.snapwf("run", image, "-q", "--size", "1GiB", "--name", "web").output
            #expect(large != id)
            #expect(try await installation.snapwf("snapshots", "inspect", "web", "-q").output == large)
            #expect(try await installation.snapwf("snapshots", "ls", "-q").output == large + id)
            let refused = try await installation.snapwf("run", image, "--name", "no name")
            #expect(refused.status == 64, "\(refused.everything)")
        }

        @Test(
            "damage, a half copied store and a lost catalog are noticed, named and mended by the command that is named")
        func damage() async throws {
            let installation = try Installation()
            let image = try await image()
            let options = ["run", image, "--size", "64MiB", "--verity", "--json"]
            let run = try await installation.start(options).wait().json()
            let result = try #require(run["result"] as? [String: Any])
            let (id, path) = try (#require(result["snapshotID"] as? String), #require(result["path"] as? String))
            let file = try #require(FileHandle(forUpdatingAtPath: path))
            try file.seek(toOffset: 500_000)
            try file.write(contentsOf: Data("damage".utf8))
            try file.close()
            let bad = try await installation.snapwf("snapshots", "verify", "--all", "--json")
            #expect(bad.status == 5, "\(bad.everything)")
            let item = try #require((try bad.json()["snapshots"] as? [[String: Any]])?.first)
            #expect(item["whole"] as? Bool == false)
            #expect(try await installation.snapwf("gc", "--verify").status == 5)
            let next = try #require(item["next"] as? String).split(separator: " ").map(String.init)
            try #require(next.first == "snapwf")
            #expect(try await installation.start(Array(next.dropFirst())).wait().status == 0)
            #expect(try await installation.snapwf("gc", "--verify").status == 0)

            try FileManager.default.moveItem(atPath: path, toPath: path + ".away")
            let doctor = try await installation.snapwf("doctor", "-q")
            #expect(doctor.output.contains("warn  snapshots") && doctor.output.contains(id), "\(doctor.everything)")
            let kept = try await installation.snapwf("snapshots", "export", id, "-o", installation.home + "/x")
            #expect(kept.status == 3 && kept.errors.contains("Is its disk mounted?"), "\(kept.everything)")
            try FileManager.default.moveItem(atPath: path + ".away", toPath: path)

            try FileManager.default.removeItem(atPath: installation.home + "/catalog.db")
            let unknown = try await installation.snapwf("snapshots", "verify", "--all")
            #expect(unknown.status == 1 && unknown.output.contains("snapshots adopt \(id)"), "\(unknown.everything)")
            #expect(try await installation.snapwf("doctor").output.contains("snapshots adopt \(id)"))
            #expect(try await installation.snapwf("gc", "--grace", "0s").status == 0)
            #expect(installation.names(in: "snapshots") == [id], "gc took a snapshot whose catalog was lost")
            #expect(try await installation.snapwf("snapshots", "adopt", id, "-q").output == id + "\n")
            let again = try await installation.start(options).wait().json()["result"] as? [String: Any]
            #expect(again?["cached"] as? Bool == true)
            let whole = try await installation.snapwf("snapshots", "verify", "--all")
            #expect(whole.status == 0, "\(whole.everything)")
        }

        @Test("a store moved to another place works on there")
        func moved() async throws {
            let installation = try Installation()
            let image = try await image()
            let id = try await installation.snapwf("run", image, "-q", "--name", "web").output
            let other = try makeTemporaryDirectory("moved") + "/home"
            try await tool("cp", "-a", "--sparse=always", installation.home, other)
            let home = ["SNAPWF_HOME": other]
            let verified = try await installation.snapwf("snapshots", "verify", "--all", environment: home)
            #expect(verified.status == 0, "\(verified.everything)")
            let facts = try await installation.snapwf("snapshots", "inspect", "web", "--json", environment: home).json()
            let path = (facts["snapshot"] as? [String: Any])?["path"] as? String
            #expect(path?.hasPrefix(other) == true && id.hasPrefix("snap-"), "\(facts)")
            try FileManager.default.removeItem(atPath: other)
        }

        @Test("retention removes what is beyond it, with reasons, and never what is named or in use")
        func retention() async throws {
            let installation = try Installation()
            let image = try await image()
            var ids: [String] = []
            for size in ["64MiB", "65MiB", "66MiB", "67MiB"] {
                ids.append(
                    try await installation.snapwf("run", image, "-q", "--size", size).output.filter { $0 != "\n" })
            }
            #expect(Set(ids).count == 4)
            try #require(try await installation.snapwf("snapshots", "tag", ids[0], "base").status == 0)
            // What a boot does: a shared lock of the file beside the image, held by a process.
            let usage = installation.home + "/snapshots/\(ids[1])/in-use"
            let holder = try Child("/usr/bin/flock", ["-s", usage, "sleep", "600"])
            defer { holder.signal(SIGKILL) }
            try await eventually("the snapshot is in use") {
                try await installation.snapwf("snapshots", "inspect", ids[1]).output.contains("in use by")
            }
            for wrong in [["--snapshots"], ["--keep", "1"], ["--named"]] {
                #expect(try await installation.start(["gc"] + wrong).wait().status == 64, "\(wrong)")
            }
            let planned = try await installation.snapwf("gc", "--snapshots", "--keep", "0", "--dry-run", "--json")
                .json()
            let items = try #require(planned["items"] as? [[String: Any]])
            #expect(Set(items.compactMap { $0["id"] as? String }) == [ids[2], ids[3]], "\(planned)")
            #expect(items.allSatisfy { $0["kind"] as? String == "snapshot" && $0["reason"] != nil })
            #expect(installation.names(in: "snapshots").count == 4)

            let kept = try await installation.snapwf("gc", "--snapshots", "--keep", "1", "--json").json()
            #expect((kept["items"] as? [[String: Any]])?.compactMap { $0["id"] as? String } == [ids[2]], "\(kept)")
            let young = try await installation.snapwf("gc", "--snapshots", "--older-than", "1h", "--json").json()
            #expect((young["items"] as? [Any])?.isEmpty == true, "\(young)")
            let named = try await installation.snapwf("gc", "--snapshots", "--keep", "0", "--named", "--json").json()
            #expect((named["items"] as? [Any])?.count == 2, "\(named)")
            #expect(installation.names(in: "snapshots") == [ids[1]])
            let inUse = try await installation.snapwf("snapshots", "rm", "--force", ids[1])
            #expect(inUse.status == 1 && inUse.errors.contains("is in use by"), "\(inUse.everything)")
            let children = try await tool("pgrep", "-P", "\(holder.pid)").output.split(separator: "\n")
            for child in children { kill(try #require(pid_t(child)), SIGKILL) }
            holder.signal(SIGKILL)
            try await holder.wait()
            #expect(try await installation.snapwf("snapshots", "rm", "--force", ids[1]).status == 0)
        }

        @Test("two runs of one key at once, while gc runs, leave one file and one row, ten times")
        func twoAtOnce() async throws {
            let image = try await image()
            for round in 0..<10 {
                let installation = try Installation()
                let runs = try ["a", "b"].map { try installation.start("run", image, "-q", "--label", "of=\($0)") }
                let collector = try installation.start("gc", "--grace", "0s")
                let ids = try await [runs[0].wait(), runs[1].wait()]
                try await collector.wait()
                #expect(ids.allSatisfy { $0.status == 0 }, "round \(round): \(ids.map(\.everything))")
                #expect(Set(ids.map(\.output)).count == 1, "round \(round)")
                #expect(installation.names(in: "snapshots").count == 1, "round \(round)")
                let listed = try await installation.snapwf("snapshots", "ls", "-q")
                #expect(listed.output == ids[0].output, "round \(round): \(listed.everything)")
                #expect(try await installation.snapwf("snapshots", "verify", "--all").status == 0, "round \(round)")
                try await installation.expectNothingLeft("round \(round)")
            }
        }

        @Test("a removal that is killed anywhere can be done again, or is finished by gc")
        func killedRemoval() async throws {
            let image = try await image()
            for point in ["remove:document.after", "remove:row.after"] {
                let installation = try Installation()
                let id = try await installation.snapwf("run", image, "-q").output.filter { $0 != "\n" }
                let killed = try await installation.snapwf(
                    "snapshots", "rm", id, environment: ["SNAPWF_TEST_CRASH_AT": point])
                #expect(killed.status == 128 + 9, "\(point): \(killed.everything)")
                let listed = try await installation.snapwf("snapshots", "ls", "-q").output
                if !listed.isEmpty {
                    #expect(try await installation.snapwf("snapshots", "rm", id).status == 0, "\(point)")
                    #expect(installation.names(in: "snapshots") == [], "\(point)")
                }
                let again = try await installation.snapwf("run", image, "-q")
                #expect(again.output == id + "\n", "\(point): \(again.everything)")
                #expect(try await installation.snapwf("snapshots", "verify", "--all").status == 0, "\(point)")
            }
        }

        private func image() async throws -> String { "oci:\(try await Images.shared.smallLayout()):latest" }
    }
}
