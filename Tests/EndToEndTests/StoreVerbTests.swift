import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Runs recorded on PostgreSQL, by installations that share it; and their way there and back.
    @Suite("A store that machines share", .serialized)
    struct SharedStores {
        /// A run that died in the middle of its pull.
        private func interrupted(
            _ installation: Installation, _ image: String, environment: [String: String] = [:]
        ) async throws -> String {
            let killed = try await installation.snapwf(
                "run", "--force", image,
                environment: environment.merging(["SNAPWF_TEST_CRASH_AT": "pull:start.after"]) { $1 })
            try #require(killed.status == 128 + 9, "\(killed.everything)")
            let listed = try await installation.snapwf("ls", "-q", "-l", "1", environment: environment)
            return try #require(listed.output.split(separator: "\n").first.map(String.init), "\(listed.everything)")
        }

        private func image() async throws -> String { "oci:\(try await Images.shared.smallLayout()):latest" }

        /// Once a lease of a process that was killed has ended: at once, where it is told to.
        private func endLeases(_ store: SharedStore) async throws { try await store.run("DELETE FROM leases") }

        @Test("a run killed on one machine is resumed on another, and each cleans up what is its own")
        func elsewhere() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let first = try Installation(environment: store.environment)
            let second = try Installation(environment: store.environment)
            let run = try await interrupted(first, image)
            #expect(!FileManager.default.fileExists(atPath: first.home + "/workflow.db"))

            let held = try await second.snapwf("resume", run)
            #expect(held.status == 1 && held.errors.contains("is held by snapwf "), "\(held.everything)")
            try await endLeases(store)
            let all = try await second.snapwf("resume", "--all")
            #expect(all.status == 0 && all.errors.contains("at work on other machines"), "\(all.everything)")
            let early = try await second.snapwf("gc", "--grace", "0s", "--json").json()
            #expect((early["items"] as? [Any])?.isEmpty == true, "what another machine may come back for: \(early)")

            let resumed = try await second.snapwf("resume", run, "--json")
            #expect(resumed.status == 0, "\(resumed.everything)")
            let shown = try await first.snapwf("show", run, "--json").json()
            #expect((shown["run"] as? [String: Any])?["status"] as? String == "succeeded", "\(shown)")
            #expect(second.names(in: "snapshots").count == 1 && first.names(in: "snapshots").isEmpty)

            #expect(first.names(in: "sandboxes").count == 1)
            let collected = try await first.snapwf("gc", "--grace", "0s")
            #expect(collected.status == 0, "\(collected.everything)")
            try await first.expectNothingLeft("on the first machine")
            try await second.expectNothingLeft("on the second machine")
        }

        @Test("two machines make the same image at once, each for itself")
        func sameImage() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let installations = try [
                Installation(environment: store.environment), Installation(environment: store.environment),
            ]
            let children = try installations.map { try $0.start("run", "-q", image) }
            for child in children {
                let finished = try await child.wait()
                #expect(finished.status == 0, "\(finished.everything)")
            }
            for installation in installations { #expect(installation.names(in: "snapshots").count == 1) }
            #expect(try await store.run("SELECT count(*) FROM runs WHERE status = 'succeeded'") == "2\n")
        }

        @Test("gc with one store ends nothing that belongs to a run of another store")
        func twoStores() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let installation = try Installation()
            _ = try await interrupted(installation, image)
            let shared = try await installation.snapwf("gc", "--grace", "0s", "--json", environment: store.environment)
            #expect(shared.status == 0, "\(shared.everything)")
            #expect((try shared.json()["items"] as? [Any])?.isEmpty == true, "\(shared.everything)")
            #expect(shared.output.contains("may be in another one: \(installation.home)/workflow.db"))
            #expect(installation.names(in: "sandboxes").count == 1)

            let other = try Installation()
            _ = try await interrupted(other, image, environment: store.environment)
            let own = try await other.snapwf("gc", "--grace", "0s", "--json")
            #expect((try own.json()["items"] as? [Any])?.isEmpty == true, "\(own.everything)")
            #expect(other.names(in: "sandboxes").count == 1)
        }

        @Test("all runs move to PostgreSQL and back, and one that was in the middle goes on in the same sandbox")
        func bothWays() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let installation = try Installation()
            #expect(try await installation.snapwf("run", "-q", image).status == 0)
            #expect(try await installation.snapwf("run", "-q", "oci:/no/such:latest").status == 3)
            let run = try await interrupted(installation, image)
            let sandbox = installation.names(in: "sandboxes")
            let before = try await installation.snapwf("show", run, "--json").output

            let there = try await installation.snapwf("store", "copy", "--to", store.address, "--json")
            #expect(there.status == 0, "\(there.everything)")
            let tables = try #require(try there.json()["tables"] as? [[String: Any]])
            let names = ["runs", "steps", "resources", "events", "signals", "queues", "queue_starts"]
            #expect(tables.map { $0["name"] as? String } == names)
            #expect(tables.prefix(4).allSatisfy { $0["rows"] as? Int ?? 0 > 0 }, "\(tables)")
            #expect(
                try await installation.snapwf("show", run, "--json", environment: store.environment).output == before)

            let refused = try await installation.snapwf("resume", run)
            #expect(refused.status == 1 && refused.errors.contains("were moved to PostgreSQL"), "\(refused.everything)")
            let begun = try await installation.snapwf("run", image, "--json")
            #expect((try begun.json()["error"] as? [String: Any])?["code"] as? String == "store-moved")
            #expect(try await installation.snapwf("ls", "-q").output.split(separator: "\n").count == 3)

            let back = installation.home + "/again.db"
            let moved = try await installation.snapwf("store", "copy", "--to", back, environment: store.environment)
            #expect(moved.status == 0, "\(moved.everything)")
            let resumed = try await installation.snapwf("resume", run, "--json", environment: ["SNAPWF_STORE": back])
            #expect(resumed.status == 0, "\(resumed.everything)")
            #expect(sandbox.count == 1 && installation.names(in: "sandboxes").isEmpty)
            let resources = try #require(
                try await installation.snapwf("show", run, "--json", environment: ["SNAPWF_STORE": back]).json()[
                    "resources"]
                    as? [[String: Any]])
            #expect(resources.count == 1, "another sandbox: \(resources)")
            let more = try await installation.snapwf("run", "-q", "--force", image, environment: ["SNAPWF_STORE": back])
            #expect(more.status == 0, "\(more.everything)")
        }

        @Test("a copy that is killed anywhere and started again ends the same; nothing else is begun meanwhile")
        func killedCopy() async throws {
            let image = try await image()
            let points = [
                "closing", "closed", "marked", "page:runs", "page:steps", "page:events", "copied", "verified", "opened",
            ]
            for point in points {
                let store = try await SharedStore()
                let installation = try Installation()
                let run = try await interrupted(installation, image)
                let killed = try await installation.snapwf(
                    "store", "copy", "--to", store.address, environment: ["SNAPWF_TEST_CRASH_AT": "store-copy:\(point)"]
                )
                #expect(killed.status == 128 + 9, "\(point): \(killed.everything)")
                let early = try await installation.snapwf("resume", run)
                #expect(early.status == 1 && early.errors.contains("store reopen"), "\(point): \(early.everything)")
                if !["closing", "closed", "opened"].contains(point) {
                    let half = try await installation.snapwf("resume", run, environment: store.environment)
                    #expect(half.status != 0, "\(point): \(half.everything)")
                }
                let again = try await installation.snapwf("store", "copy", "--to", store.address)
                #expect(again.status == 0, "\(point): \(again.everything)")
                let third = try await installation.snapwf("store", "copy", "--to", store.address)
                #expect(third.status == 0 && third.errors.contains("there already"), "\(point): \(third.everything)")
                let resumed = try await installation.snapwf("resume", run, environment: store.environment)
                #expect(resumed.status == 0, "\(point): \(resumed.everything)")
                #expect(installation.names(in: "sandboxes").isEmpty)
            }
        }

        @Test("a copy waits for nobody: it names who is at work, and harms neither them nor a store with other runs")
        func refusedCopy() async throws {
            let store = try await SharedStore()
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let child = try installation.start("run", "-q", registry.reference)
            try await registry.waitUntilHolding()
            let run = try #require(try await installation.runIDs().first)
            let refused = try await installation.snapwf("store", "copy", "--to", store.address)
            #expect(
                refused.status == 1 && refused.errors.contains("\(run) (process \(child.pid)"), "\(refused.everything)")
            try registry.letGo()
            #expect(try await child.wait().status == 0)

            let other = try Installation(environment: store.environment)
            #expect(try await other.snapwf("run", "-q", "oci:/no/such:latest").status == 3)
            let full = try await installation.snapwf("store", "copy", "--to", store.address)
            #expect(full.status == 1 && full.errors.contains("has runs already"), "\(full.everything)")
            let still = try await installation.snapwf("run", "-q", "oci:/no/such:latest")
            #expect(still.status == 3, "the old store is as it was: \(still.everything)")
        }

        @Test("a move is taken back with reopen, and then made again")
        func reopened() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let installation = try Installation()
            let run = try await interrupted(installation, image)
            let killed = try await installation.snapwf(
                "store", "copy", "--to", store.address, environment: ["SNAPWF_TEST_CRASH_AT": "store-copy:page:steps"])
            #expect(killed.status == 128 + 9, "\(killed.everything)")
            #expect(try await installation.snapwf("store", "reopen").status == 0)
            let resumed = try await installation.snapwf("resume", run)
            #expect(resumed.status == 0, "\(resumed.everything)")
            let copied = try await installation.snapwf("store", "copy", "--to", store.address)
            #expect(copied.status == 0, "\(copied.everything)")
            let shown = try await installation.snapwf("show", run, "--json", environment: store.environment)
            #expect(
                (try shown.json()["run"] as? [String: Any])?["status"] as? String == "succeeded", "\(shown.everything)")
        }

        @Test(
            "a password is in nothing that is printed, logged, recorded or seen by others; doctor tells of the server")
        func password() async throws {
            let store = try await SharedStore()
            let image = try await image()
            let installation = try Installation()
            let settings = installation.home + "-settings.toml"
            defer { try? FileManager.default.removeItem(atPath: settings) }
            try Data("store = \"\(store.address)\"\n".utf8).write(to: URL(fileURLWithPath: settings))
            chmod(settings, 0o600)
            let environment = ["SNAPWF_CONFIG": settings]
            var said = ""
            for arguments in [
                ["run", "-v", image], ["ls"], ["show", "--json"], ["logs"], ["gc", "-v"], ["doctor"],
                ["doctor", "--json"],
                ["config", "show"], ["config", "show", "--json"], ["config", "show", "-q", "store"], ["store"],
                ["store", "status", "--json"], ["resume", "@last"], ["rm", "@last"],
                ["ls", "--store", "postgresql://postgres:\(SharedStore.password)@127.0.0.1:9/x"],
                ["ls", "--store", "mysql://postgres:\(SharedStore.password)@127.0.0.1:9/x"],
                [
                    "ls", "--store",
                    "postgresql://postgres:\(SharedStore.password)@[::/x?password=\(SharedStore.password)",
                ],
                ["ls", "--store=postgresql://u:\(SharedStore.password)@h/x", "--nonsense"],
            ] {
                let finished = try await installation.start(arguments, environment: environment).wait()
                said += "\(arguments.first ?? ""): \(finished.everything)\n"
            }
            #expect(said.contains("postgresql://postgres:***@"), "config show says where it is")
            #expect(said.contains("over a socket of this machine") && said.contains("primary"), "\(said)")

            // In the background, while others may look at what processes were started with.
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let detached = try await installation.snapwf(
                "run", "--detach", "--store", store.address, registry.reference, environment: [:])
            said += detached.everything
            #expect(detached.status == 0, "\(detached.everything)")
            let lines =
                installation.processes.map(Installation.commandLine(of:)) + [
                    try await tool("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").output
                ]
            try registry.letGo()
            let run = try #require(detached.output.split(separator: "\n").first.map(String.init))
            let followed = try await installation.snapwf("logs", "--follow", run, environment: environment)
            said += followed.everything
            said += try await store.dump()
            for file in try FileManager.default.subpathsOfDirectory(atPath: installation.home) {
                let data = FileManager.default.contents(atPath: installation.home + "/" + file) ?? Data()
                said += String(decoding: data.prefix(1 << 20), as: UTF8.self)
            }
            for secret in [SharedStore.password, SharedStore.plainPassword] {
                #expect(!said.contains(secret), "\(secret) was said")
                #expect(!lines.contains { $0.contains(secret) }, "\(secret) is among arguments")
            }
        }

        @Test(
            "without a server every verb says so, with its code and what to do; what libpq cannot read is a usage error"
        )
        func away() async throws {
            let installation = try Installation()
            for arguments in [["ls"], ["run", "x"], ["gc"], ["store"]] {
                let gone = try await installation.start(
                    arguments + ["--json", "--store", "postgresql://postgres@127.0.0.1:9/x?connect_timeout=2"]
                ).wait()
                #expect(gone.status == 6, "\(arguments): \(gone.everything)")
                #expect((try gone.json()["error"] as? [String: Any])?["code"] as? String == "store-unavailable")
            }
            let wrong = try await installation.snapwf("ls", "--store", "postgresql://postgres@[::/x")
            #expect(wrong.status == 64, "\(wrong.everything)")
        }
    }
}
