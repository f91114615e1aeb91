import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Garbage collection where sandboxes of others live, too.
    @Suite(.serialized)
    struct SharedAPI {
        @Test("gc ends exactly what this installation left behind, and nothing while a list is incomplete")
        func exactlyTheRightOnes() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let variables = ["DEPOT_ORG_ID": "mine", "SNAPWF_API_LISTING_LAG": "1s"]
            let (here, elsewhere) = try (
                Installation(environment: variables), Installation(environment: variables)
            )
            let peer = try Peer()
            defer { peer.stop() }
            try peer.set(["page_size": 2], organization: "mine")
            // A run that lives, on another machine as it were; then one here that is killed.
            let living = try elsewhere.start("run", registry.reference, "--api", peer.url, "--json")
            try await registry.waitUntilHolding()
            let doomed = try here.start("run", registry.reference, "--api", peer.url, "--json")
            try await eventually("the second run pulls") { registry.log.count { $0.hasPrefix("HOLD") } >= 2 }
            doomed.signal(SIGKILL)
            try await doomed.wait()
            let owner = try #require(try String(contentsOfFile: here.home + "/owner", encoding: .utf8).firstLine)
            let stranger = "00000000-0000-4000-8000-000000000000"
            let made = try peer.control(
                [
                    "sandboxes": [
                        ["name": "somebody's", "env": ["A": "b"]],
                        ["name": "no labels", "env": [String: String]()],
                        ["name": "another owner's", "env": ["SNAPWF_OWNER": stranger, "SNAPWF_RUN": "x"]],
                        [
                            "name": "ours, of a run that nobody knows",
                            "env": [
                                "SNAPWF_OWNER": owner, "SNAPWF_RUN": "01m00000000000000000000000",
                                "SNAPWF_GENERATION": "1",
                            ],
                        ],
                        [
                            "name": "another owner's, of our run's name",
                            "env": [
                                "SNAPWF_OWNER": stranger, "SNAPWF_RUN": try #require(try await here.runIDs().first),
                                "SNAPWF_GENERATION": "1",
                            ],
                        ],
                        ["name": "ours, over", "env": ["SNAPWF_OWNER": owner], "status": 5],
                    ]
                ], organization: "mine"
            ).made
            let before = try alive(peer)
            #expect(before.count == 7)

            // A list that does not end, and one whose second page fails: nothing is touched.
            try peer.set(["list_loop": true], organization: "mine")
            let looped = try await here.snapwf("gc", "--grace", "0s")
            #expect(looped.status == 6 && looped.errors.contains("nothing was touched"), "\(looped.everything)")
            try peer.set(["list_loop": false], organization: "mine")
            try peer.fault(
                "ListSandboxes", "status", nth: 2, times: 0, organization: "mine", ["status": 500, "code": "internal"])
            let cut = try await here.snapwf("gc", "--grace", "0s")
            #expect(cut.status == 6, "\(cut.everything)")
            try peer.control(["clear": true], organization: "mine")
            #expect(try alive(peer) == before)

            let plan = try await here.snapwf("gc", "--grace", "0s", "--dry-run", "--json").json()
            #expect((plan["items"] as? [[String: Any]])?.count == 2, "\(plan)")
            #expect(try alive(peer) == before)
            let collected = try await here.snapwf("gc", "--grace", "0s")
            #expect(collected.status == 0, "\(collected.everything)")
            let unknown = made[3]
            let ours = try #require(try await here.sandboxes().first)
            #expect(before.subtracting(try alive(peer)) == [ours, unknown])
            try await here.expectNothingLeft("after gc")

            // The other machine's run never noticed.
            try registry.letGo()
            let finished = try await living.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try alive(peer).count == 4)
            // An interrupted run may be gone on with, so its place is looked at; after the last one it is forgotten.
            let resumed = try await here.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            peer.kill()
            let unseen = try await here.snapwf("gc", "--grace", "0s")
            #expect(unseen.status == 6, "\(unseen.everything)")
            try peer.restart()
            #expect(try await here.snapwf("gc", "--grace", "0s").status == 0)
            peer.kill()
            let forgotten = try await here.snapwf("gc", "--grace", "0s")
            #expect(forgotten.status == 0, "\(forgotten.everything)")
        }

        private func alive(_ peer: Peer) throws -> Set<String> {
            Set(try peer.control().sandboxes.filter { !$0.isTerminal }.map(\.id))
        }
    }
}

extension String {
    fileprivate var firstLine: String? { split(separator: "\n").first.map(String.init) }
}
