import Foundation
import Testing

extension EndToEnd {
    /// The verbs about runs: looking at them from elsewhere, ending them, deleting them; several of them in one command.
    @Suite(.serialized)
    struct RunVerbs {
        @Test("logs --follow tells a run of another process, across its death and its resume, each event once")
        func follow() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            let log = try installation.start("logs", "--follow", "@last")
            try await eventually("the log has begun") { log.outputSoFar.contains("attempt 1 began") }
            run.signal(SIGKILL)
            try await run.wait()
            try await eventually("the log knows of the interruption") { log.errorsSoFar.contains("interrupted") }
            #expect(log.process.isRunning)
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last", "-q")
            #expect(resumed.status == 0, "\(resumed.everything)")
            let told = try await log.wait()
            #expect(told.status == 0, "\(told.everything)")
            let whole = try await installation.snapwf("logs", "@last")
            #expect(told.output == whole.output)
            #expect(whole.output.contains("resumed") && whole.output.hasSuffix("succeeded\n"), "\(whole.output)")
            let lines = try await installation.snapwf("logs", "--json").output.split(separator: "\n")
            #expect(lines.count == whole.output.split(separator: "\n").count)
            let story = try await installation.snapwf("show").output
            #expect(story.contains("(nobody at work)") && story.contains("died with its process"), "\(story)")
        }

        @Test("logs prints every event of a run that had very many")
        func manyEvents() async throws {
            let installation = try Installation()
            let run = try await installation.snapwf("run", "-q", "oci:/no/such:latest")
            #expect(run.status == 3, "\(run.everything)")
            let few = try await installation.snapwf("logs").output.split(separator: "\n").count
            try await tool(
                "sqlite3", installation.home + "/workflow.db",
                """
                WITH RECURSIVE numbers (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM numbers WHERE i < 12000)
                INSERT INTO events (seq, run_no, at, kind)
                SELECT i + (SELECT max(seq) FROM events), no, updated_at, 'note' FROM numbers, runs
                """)
            let many = try await installation.snapwf("logs").output.split(separator: "\n").count
            #expect(many == few + 12_000)
        }

        @Test("cancel ends a run of another process and its sandbox; a second time that is no error")
        func cancelElsewhere() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            let cancelled = try await installation.snapwf("cancel", "@last")
            #expect(cancelled.status == 0 && cancelled.output.contains("cancelled"), "\(cancelled.everything)")
            let ended = try await run.wait()
            #expect(ended.status == 1 && ended.errors.contains("cancelled"), "\(ended.everything)")
            try await installation.expectNothingLeft("after cancel")
            let again = try await installation.snapwf("cancel", "@last")
            #expect(again.status == 0 && again.output.contains("already"), "\(again.everything)")
        }

        @Test(
            "rm refuses what has not ended, and with --force ends it first; an interrupted run's sandbox is gone, too")
        func remove() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            let refused = try await installation.snapwf("rm", "@last")
            #expect(refused.status == 1 && refused.errors.contains("rm --force"), "\(refused.everything)")
            run.signal(SIGKILL)
            try await run.wait()
            let removed = try await installation.snapwf("rm", "--force", "@last")
            #expect(removed.status == 0 && removed.output.contains("deleted"), "\(removed.everything)")
            #expect(try await installation.runIDs().isEmpty)
            try await installation.expectNothingLeft("after rm --force")
        }

        @Test("decide answers only for a step that waits for it; show knows what died with its process")
        func decide() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(SIGKILL)
            try await run.wait()
            let story = try await installation.snapwf("show")
            #expect(story.output.contains("died with its process"), "\(story.everything)")
            let refused = try await installation.snapwf("decide", "@last", "pull", "--run-again")
            #expect(refused.status == 64 && refused.errors.contains("waits for no decision"), "\(refused.everything)")
            let nonsense = try await installation.snapwf("decide", "@last", "pull", "--done", "{")
            #expect(nonsense.status == 64 && nonsense.errors.contains("no JSON"), "\(nonsense.everything)")
            // As if the step had been declared so.
            try await tool(
                "sqlite3", installation.home + "/workflow.db",
                "UPDATE steps SET in_doubt = 'ask' WHERE state = 'intended'")
            let plan = try await installation.snapwf("resume", "--plan", "@last", "-q")
            #expect(plan.status == 2 && plan.output == "pull\n", "\(plan.everything)")
            let decided = try await installation.snapwf("decide", "@last", "pull", "--failed", "nobody knows")
            #expect(decided.status == 0, "\(decided.everything)")
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 1 && resumed.errors.contains("nobody knows"), "\(resumed.everything)")
            try await installation.expectNothingLeft("after a decision")
        }

        @Test(
            "several images: results in their order, the exit code of the first that failed, the others made all the same"
        )
        func several() async throws {
            let layout = try await Images.shared.smallLayout()
            let other = try makeTemporaryDirectory("other") + "/other"
            try await tool("cp", "-r", layout, other)
            let directory = try makeTemporaryDirectory("exports")
            let installation = try Installation()
            let images = ["oci:\(other):latest", "oci:/no/such:latest", "oci:\(layout):latest", "oci:\(other):latest"]
            let run = try await installation.start(["run", "--jobs", "3", "--json", "-o", directory] + images).wait()
            #expect(run.status == 3, "\(run.everything)")
            let documents = try run.output.split(separator: "\n").map { line in
                try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            }
            #expect(documents.count == 3)
            let results = documents.map { ($0["result"] as? [String: Any])?["exportedTo"] as? String }
            #expect(results == [directory + "/other-latest.ext4", nil, directory + "/layout-latest.ext4"])
            #expect((documents[1]["error"] as? [String: Any])?["exitCode"] as? Int == 3)
            try await tool("cmp", directory + "/other-latest.ext4", directory + "/layout-latest.ext4")
            let quiet = try await installation.snapwf("run", "-q", images[0], images[2])
            #expect(quiet.output.split(separator: "\n").count == 2, "\(quiet.everything)")
            let refused = try await installation.snapwf("run", "--name", "x", images[0], images[2])
            #expect(refused.status == 64, "\(refused.everything)")
            try await installation.expectNothingLeft("after several images")
        }

        @Test("several interrupted at once: one line resumes them all")
        func severalInterrupted() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let digest = registry.reference.replacing(":latest", with: ":other")
            let run = try installation.start("run", registry.reference, registry.reference, digest, "--size", "1GiB")
            try await registry.waitUntilHolding()
            run.signal(SIGINT)
            let stopped = try await run.wait()
            #expect(stopped.status == 75, "\(stopped.everything)")
            #expect(stopped.errors.contains("Resume with: snapwf resume"), "\(stopped.everything)")
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "--all", "-q")
            #expect(resumed.output.contains("snap-"), "\(resumed.everything)")
            try await installation.expectNothingLeft("after resume --all")
        }

        @Test("--on-interrupt kill ends the run and its sandbox")
        func kill() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference, "--on-interrupt", "kill")
            try await registry.waitUntilHolding()
            run.signal(SIGINT)
            let ended = try await run.wait()
            #expect(ended.status == 1 && ended.errors.contains("cancelled"), "\(ended.everything)")
            try await installation.expectNothingLeft("after --on-interrupt kill")
        }

        @Test("--timeout: the run fails in time and its sandbox is gone")
        func timeout() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try await installation.snapwf("run", registry.reference, "--timeout", "3s")
            #expect(run.status == 1 && run.errors.contains("more time"), "\(run.everything)")
            try await installation.expectNothingLeft("after --timeout")
        }

        @Test("--detach prints the run's id and leaves it at work; what fails before is told with its exit code")
        func detach() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let detached = try await installation.snapwf("run", "-q", "--detach", registry.reference)
            let id = try #require(try await installation.runIDs().first)
            #expect(detached.status == 0 && detached.output == id + "\n", "\(detached.everything)")
            let attached = try installation.start("run", registry.reference, "-q")
            try await eventually("the second call waits for the first's run") {
                attached.errorsSoFar.contains("waiting for it")
            }
            try registry.letGo()
            let result = try await attached.wait()
            #expect(result.status == 0 && result.output.hasPrefix("snap-"), "\(result.everything)")
            try await installation.expectNothingLeft("after --detach")
            #expect(installation.names(in: "detached").count == 1)
            try await Task.sleep(for: .seconds(1))
            try await installation.snapwf("gc", "--keep-runs", "0")
            #expect(installation.names(in: "detached").isEmpty, "gc leaves what the background said")

            let refused = try await installation.snapwf(
                "run", "--detach", "--creds-file", "/no/such", registry.reference)
            #expect(refused.status == 64, "\(refused.everything)")
            let failed = try await installation.snapwf(
                "run", "--detach", "--api", "http://127.0.0.1:9", registry.reference)
            #expect(failed.status == 6 && failed.errors.contains("Connection refused"), "\(failed.everything)")
        }

        @Test("ls shows what was asked for; what is nearly right is answered with what is right")
        func names() async throws {
            let installation = try Installation()
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            try await installation.snapwf("run", "-q", image)
            try await installation.snapwf("run", "-q", "oci:/no/such:latest")
            let failed = try await installation.snapwf("ls", "-q", "--status", "failed")
            #expect(failed.output.split(separator: "\n").count == 1, "\(failed.everything)")
            let id = try #require(try await installation.runIDs().last)
            let typo = try await installation.snapwf("show", "x" + id.dropFirst().prefix(11))
            #expect(typo.status == 3 && typo.errors.contains("did you mean \(id)"), "\(typo.everything)")
            let verb = try await installation.snapwf("rnu", image, "--json")
            #expect(verb.status == 64 && verb.errors.contains("did you mean snapwf run?"), "\(verb.everything)")
            #expect((try verb.json()["error"] as? [String: Any])?["exitCode"] as? Int == 64)
            let flag = try await installation.snapwf("run", "--sandbx", "local", image)
            #expect(flag.status == 64 && flag.errors.contains("--sandbox"), "\(flag.everything)")
            #expect(flag.errors.contains("next: snapwf help run"), "\(flag.everything)")
        }
    }
}
