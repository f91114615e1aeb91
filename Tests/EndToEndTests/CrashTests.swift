import Foundation
import Testing

extension EndToEnd {
    /// snapwf is killed by SIGKILL at each point that a run passes: before, in and after every effect and commit.
    @Suite(.serialized)
    struct Crashes {
        @Test("killed at any point, resume ends with the same sandbox, the right bytes and nothing left over")
        func resume() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let reference = try await tracedRun(image)
            var resumed = 0
            var adopted = 0
            for point in reference.points {
                let installation = try Installation()
                let killed = try await installation.snapwf("run", image, environment: ["SNAPWF_TEST_CRASH_AT": point])
                try #require(killed.status == 128 + 9, "\(point): \(killed.everything)")
                let before = try await installation.sandboxes()

                // Before the run is on disk there is nothing to resume: the user types the same line again.
                let exists = try await !installation.runIDs().isEmpty
                let again =
                    exists
                    ? try await installation.snapwf("resume", "@last", "--json")
                    : try await installation.snapwf("run", image, "--json")
                #expect(again.status == 0, "\(point): \(again.everything)")
                guard again.status == 0 else { continue }
                let result = try #require(try again.json()["result"] as? [String: Any])
                #expect(result["sha256"] as? String == reference.sha256, "\(point): other bytes")
                let checksum = try await fileChecksum(result["path"] as? String)
                #expect(checksum == reference.sha256, "\(point): other file")
                let after = try await installation.sandboxes()
                #expect(after.count <= 1, "\(point): more than one sandbox: \(after)")
                #expect(before.isEmpty || after == before, "\(point): \(before) was left for \(after)")
                try await installation.expectNothingLeft(point)
                resumed += exists ? 1 : 0
                adopted += before.isEmpty ? 0 : 1
            }
            print("crash points: \(reference.points.count), resumed: \(resumed), in the same sandbox: \(adopted)")
            #expect(reference.points.count > 45, "a run passes more points than this")
            #expect(adopted > 15)
        }

        @Test("killed at any point and never resumed, gc leaves nothing")
        func collect() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let reference = try await tracedRun(image)
            var removed = 0
            for point in reference.points {
                let installation = try Installation()
                let killed = try await installation.snapwf("run", image, environment: ["SNAPWF_TEST_CRASH_AT": point])
                try #require(killed.status == 128 + 9, "\(point): \(killed.everything)")
                let collected = try await installation.snapwf("gc", "--grace", "0s", "--json")
                #expect(collected.status == 0, "\(point): \(collected.everything)")
                let items = try #require(try collected.json()["items"] as? [[String: Any]])
                removed += items.count
                try await installation.expectNothingLeft("gc after \(point)")
                let second = try await installation.snapwf("gc", "--grace", "0s", "--json").json()
                #expect((second["items"] as? [Any])?.isEmpty == true, "\(point): gc is not done after one call")
            }
            print("crash points: \(reference.points.count), items removed by gc: \(removed)")
            #expect(removed > 20)
        }

        @Test("within the grace, gc leaves an interrupted run its sandbox, and the run goes on in it")
        func grace() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            try await installation.snapwf("run", image, environment: ["SNAPWF_TEST_CRASH_AT": "pull:start.after"])
            let before = try await installation.sandboxes()
            let collected = try await installation.snapwf("gc", "--json").json()
            #expect((collected["items"] as? [Any])?.isEmpty == true)
            #expect((collected["kept"] as? [Any])?.count == 1)
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            #expect(try await installation.sandboxes() == before)
            try await installation.expectNothingLeft("after the grace")
        }

        @Test("after gc took its sandbox, a run can still be resumed, in a second generation")
        func resumeAfterCollection() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            try await installation.snapwf("run", image, environment: ["SNAPWF_TEST_CRASH_AT": "pull:start.after"])
            try await installation.snapwf("gc", "--grace", "0s")
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            #expect(try await installation.sandboxes().count == 2)
            try await installation.expectNothingLeft("after the second generation")
        }

        private struct Reference {
            var points: [String]
            var sha256: String
        }

        /// An undisturbed run: the points it passes and the bytes it makes.
        private func tracedRun(_ image: String) async throws -> Reference {
            let installation = try Installation()
            let trace = installation.home + "/trace"
            let run = try await installation.snapwf(
                "run", image, "--json", environment: ["SNAPWF_TEST_TRACE_POINTS": trace])
            try #require(run.status == 0, "\(run.everything)")
            try await installation.expectNothingLeft("an undisturbed run")
            let result = try #require(try run.json()["result"] as? [String: Any])
            var seen = Set<String>()
            let points = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n").map(String.init)
                .filter { seen.insert($0).inserted }
            return Reference(points: points, sha256: try #require(result["sha256"] as? String))
        }

        private func fileChecksum(_ path: String?) async throws -> String {
            let output = try await tool("sha256sum", try #require(path)).output
            return String(output.prefix(64))
        }
    }
}
