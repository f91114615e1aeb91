import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Snapshots that installations make for each other: one converts, the others fetch.
    @Suite("A catalog that machines share", .serialized)
    struct SharedCatalogs {
        /// A store, and a registry that snapshots travel by.
        struct World {
            let store: SharedStore
            let registry: RealRegistry
            let image: String

            init() async throws {
                store = try await SharedStore()
                registry = try await RealRegistry(.anonymous)
                image = "oci:\(try await Images.shared.smallLayout()):latest"
            }

            var environment: [String: String] {
                store.environment.merging(["SNAPWF_PUSH": registry.host + "/team/snapshots"]) { $1 }
            }

            func installation() throws -> Installation { try Installation(environment: environment) }

            /// How many sandboxes were ever asked for: what is fetched needs none.
            func conversions() async throws -> Int {
                let text = try await store.run("SELECT count(*) FROM resources")
                return try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
            }

            /// What a process that was killed held ends at once.
            func endLeases() async throws { try await store.run("DELETE FROM leases; DELETE FROM shared_turns") }
        }

        /// The only snapshot that an installation has: its id and the SHA-256 of its file, read now.
        func snapshot(of installation: Installation) async throws -> (id: String, sha256: String) {
            let id = try #require(installation.names(in: "snapshots").first { $0.hasPrefix("snap-") })
            let path = installation.home + "/snapshots/" + id + "/rootfs.ext4"
            return (id, String(try await tool("sha256sum", path).output.prefix(64)))
        }

        @Test("the second machine converts nothing and has the same bytes; evicted, they are fetched again")
        func secondMachine() async throws {
            let world = try await World()
            defer { world.registry.stop() }
            let (first, second, third) = try (world.installation(), world.installation(), world.installation())
            let made = try await first.snapwf("run", "--json", world.image)
            try #require(made.status == 0, "\(made.everything)")
            let result = try #require(try made.json()["result"] as? [String: Any])
            #expect((result["pushedTo"] as? String)?.hasPrefix(world.registry.host) == true)

            let fetched = try await second.snapwf("run", "--json", world.image)
            try #require(fetched.status == 0, "\(fetched.everything)")
            #expect((try fetched.json()["result"] as? [String: Any])?["cached"] as? Bool == true)
            let original = try await snapshot(of: first)
            #expect(try await snapshot(of: second) == original)
            #expect(try await world.conversions() == 1)

            let listed = try await third.snapwf("snapshots", "ls", "--json")
            let facts = try #require(
                (try listed.json()["snapshots"] as? [[String: Any]])?.first, "\(listed.everything)")
            #expect(facts["id"] as? String == original.id && facts["path"] == nil)
            #expect((facts["machines"] as? [String])?.isEmpty == false && (facts["artifacts"] as? [Any])?.count == 1)
            let inspected = try await third.snapwf("snapshots", "inspect", original.id)
            #expect(inspected.output.contains("not on this machine"), "\(inspected.everything)")
            let verified = try await third.snapwf("snapshots", "verify", original.id)
            #expect(verified.status == 3 && verified.errors.contains("snapshots pull"), "\(verified.everything)")
            let copy = third.home + "/copy.ext4"
            let exported = try await third.snapwf("snapshots", "export", original.id, "-o", copy)
            #expect(exported.status == 0, "\(exported.everything)")
            #expect(try await tool("sha256sum", copy).output.hasPrefix(original.sha256))

            #expect(try await second.snapwf("gc", "--snapshots", "--keep", "0").status == 0)
            #expect(second.names(in: "snapshots").isEmpty)
            #expect(try await world.store.run("SELECT count(*) FROM shared_copies") == "2\n")
            #expect(try await second.snapwf("run", "-q", world.image).status == 0)
            #expect(try await snapshot(of: second) == original)
            #expect(try await world.conversions() == 1)
            for installation in [first, second, third] { try await installation.expectNothingLeft("in the end") }
        }

        @Test("ten processes of five installations at once make an image once, and all have it")
        func tenAtOnce() async throws {
            let world = try await World()
            defer { world.registry.stop() }
            let installations = try (0..<5).map { _ in try world.installation() }
            let children = try (installations + installations).map { try $0.start("run", "-q", world.image) }
            for child in children {
                let finished = try await child.wait()
                #expect(finished.status == 0, "\(finished.everything)")
            }
            let first = try await snapshot(of: installations[0])
            for installation in installations {
                #expect(try await snapshot(of: installation) == first)
                try await installation.expectNothingLeft("after ten at once")
            }
            #expect(try await world.conversions() == 1)
            print("10 processes, 5 installations: \(try await world.conversions()) conversion")
        }

        @Test("killed between push, the catalog here and the one of all: whoever comes next mends it")
        func crashPoints() async throws {
            for point in ["register:document.after", "register:row.after", "share:before", "share:after"] {
                let world = try await World()
                defer { world.registry.stop() }
                let (first, second) = try (world.installation(), world.installation())
                let killed = try await first.snapwf(
                    "run", world.image, environment: ["SNAPWF_TEST_CRASH_AT": point])
                #expect(killed.status == 128 + 9, "\(point): \(killed.everything)")
                try await world.endLeases()
                // What others know is whole, or they know nothing of it and make it themselves.
                let other = try await second.snapwf("run", "-q", world.image)
                #expect(other.status == 0, "\(point): \(other.everything)")
                #expect(try await world.conversions() == (point == "share:after" ? 1 : 2), "\(point)")
                let run = try #require(try await first.runIDs().last)
                let resumed = try await first.snapwf("resume", run)
                #expect(resumed.status == 0, "\(point): \(resumed.everything)")
                #expect(try await snapshot(of: first) == snapshot(of: second), "\(point)")
                #expect(try await world.store.run("SELECT count(*) FROM shared_copies") == "2\n", "\(point)")
                for installation in [first, second] { try await installation.expectNothingLeft(point) }
            }
        }

        @Test("killed while it fetches, the next one goes on and converts nothing")
        func killedFetch() async throws {
            let world = try await World()
            defer { world.registry.stop() }
            let first = try world.installation()
            #expect(try await first.snapwf("run", "-q", world.image).status == 0)
            for point in [
                "fetch:download.after", "register:rename.after", "register:row.after", "fetch:registered.after",
            ] {
                let second = try world.installation()
                let killed = try await second.snapwf("run", world.image, environment: ["SNAPWF_TEST_CRASH_AT": point])
                #expect(killed.status == 128 + 9, "\(point): \(killed.everything)")
                try await world.endLeases()
                let again = try await second.snapwf("run", "-q", world.image)
                #expect(again.status == 0, "\(point): \(again.everything)")
                #expect(try await snapshot(of: second) == snapshot(of: first), "\(point)")
                if point == "register:row.after" {
                    // What is in the catalog is not looked for in a registry any more: gc has the place, a day later.
                    let place = try #require(second.names(in: "snapshots").first { !$0.hasPrefix("snap-") })
                    let path = second.home + "/snapshots/" + place
                    _ = try await tool("find", path, "-exec", "touch", "-d", "2 days ago", "{}", "+")
                    #expect(try await second.snapwf("gc").status == 0)
                }
                try await second.expectNothingLeft(point)
            }
            #expect(try await world.conversions() == 1)
        }

        @Test("when the one that makes it dies, one that waits for it makes it")
        func takenOver() async throws {
            let world = try await World()
            defer { world.registry.stop() }
            let source = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let (first, second) = try (world.installation(), world.installation())
            let doomed = try first.start("run", source.reference)
            try await source.waitUntilHolding()
            let waiting = try second.start("run", source.reference)
            try await eventually("the second one waits") { waiting.errorsSoFar.contains("waiting for it") }
            #expect(try await world.conversions() == 1)
            doomed.signal(SIGKILL)
            try await doomed.wait()
            try await world.endLeases()
            try source.letGo()
            let finished = try await waiting.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try await world.conversions() == 2)
            #expect(try await first.snapwf("gc", "--grace", "0s").status == 0)
            for installation in [first, second] { try await installation.expectNothingLeft("after a takeover") }
        }

        @Test("without a registry a snapshot stays where it was made, and it is said where that is")
        func staysThere() async throws {
            let store = try await SharedStore()
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installations = try [
                Installation(environment: store.environment), Installation(environment: store.environment),
            ]
            let host = try await tool("uname", "-n").output.trimmingCharacters(in: .whitespacesAndNewlines)
            let first = try await installations[0].snapwf("run", image)
            #expect(first.status == 0 && first.errors.contains("stays on this machine, \(host)"), "\(first.everything)")
            let second = try await installations[1].snapwf("run", image)
            #expect(second.status == 0 && second.errors.contains("is on \(host) only"), "\(second.everything)")
        }

        @Test("two gc at once end what a dead run of either left at an API, and nothing of a living one")
        func collectors() async throws {
            let store = try await SharedStore()
            let source = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let peer = try Peer()
            defer { peer.stop() }
            let (first, second) = try (
                Installation(environment: store.environment), Installation(environment: store.environment)
            )
            let living = try second.start("run", source.reference, "--api", peer.url)
            try await source.waitUntilHolding()
            let doomed = try first.start("run", source.reference, "--api", peer.url, "--force")
            try await eventually("the other run pulls") { source.log.count { $0.hasPrefix("HOLD") } >= 2 }
            doomed.signal(SIGKILL)
            try await doomed.wait()
            let run = try #require(try await first.runIDs().first)
            try await store.run("DELETE FROM leases WHERE run_id = '\(run)'")
            #expect(try alive(peer) == 2)
            let collectors = try [first, second, second].map {
                try $0.start("gc", "--grace", "0s", "--api", peer.url, "--json")
            }
            var removed = 0
            for collector in collectors {
                let finished = try await collector.wait()
                #expect(finished.status == 0, "\(finished.everything)")
                let items = try #require(try finished.json()["items"] as? [[String: Any]])
                removed += items.count { $0["outcome"] as? String == "removed" }
            }
            #expect(removed >= 1)
            #expect(try alive(peer) == 1)
            try source.letGo()
            let finished = try await living.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try alive(peer) == 0)
        }

        @Test("what gc was about to end is used by no run that comes before the kill: a late kill harms nobody")
        func lateKill() async throws {
            let world = try await World()
            defer { world.registry.stop() }
            let (first, second) = try (world.installation(), world.installation())
            let killed = try await first.snapwf(
                "run", "--force", world.image, environment: ["SNAPWF_TEST_CRASH_AT": "pull:start.after"])
            try #require(killed.status == 128 + 9, "\(killed.everything)")
            try await world.endLeases()
            let late = try await first.snapwf(
                "gc", "--grace", "0s", environment: ["SNAPWF_TEST_CRASH_AT": "gc:releasing.after"])
            #expect(late.status == 128 + 9, "\(late.everything)")
            #expect(first.names(in: "sandboxes").count == 1, "not killed yet")
            try await world.endLeases()
            let run = try #require(try await first.runIDs().first)
            let resumed = try await first.snapwf("resume", run)
            #expect(resumed.status == 0, "\(resumed.everything)")
            let used = try await first.sandboxes()
            #expect(used.count == 2, "the one that was to end was used again: \(used)")
            for installation in [first, second] { try await installation.expectNothingLeft("after a late kill") }
        }

        private func alive(_ peer: Peer) throws -> Int { try peer.control().sandboxes.count { !$0.isTerminal } }
    }
}
