import Foundation
import Testing

extension EndToEnd {
    @Suite(.serialized)
    struct Interruptions {
        @Test("Ctrl-C exits 75, prints the line that resumes, and keeps the sandbox; the same run picks it up")
        func interrupt() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(SIGINT)
            let stopped = try await run.wait()
            let id = try #require(try await installation.runIDs().first)
            #expect(stopped.status == 75, "\(stopped.everything)")
            #expect(stopped.errors.contains("Resume with: snapwf resume \(id)"), "\(stopped.everything)")
            let before = try await installation.sandboxes()
            #expect(before.count == 1)
            #expect(installation.names(in: "sandboxes") == before, "the sandbox is gone")

            try registry.letGo()
            let again = try await installation.snapwf("run", registry.reference)
            #expect(again.status == 0, "\(again.everything)")
            #expect(again.errors.contains(id), "it does not say which run it goes on with: \(again.everything)")
            #expect(try await installation.sandboxes() == before)
            #expect(try await installation.runIDs() == [id], "a second run was started")
            try await installation.expectNothingLeft("after the second run")
        }

        @Test("a lost terminal and SIGTERM are interruptions, too", arguments: [SIGTERM, SIGHUP])
        func otherSignals(signal: Int32) async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(signal)
            #expect(try await run.wait().status == 75)
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            try await installation.expectNothingLeft("after signal \(signal)")
        }

        @Test("two resumes of one run at once: one works, the other says who holds it")
        func twoResumes() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(SIGKILL)
            try await run.wait()

            let first = try installation.start("resume", "@last")
            let second = try installation.start("resume", "@last")
            try await eventually("one of them gives up") {
                first.process.isRunning != second.process.isRunning
            }
            let (worker, loser) = first.process.isRunning ? (first, second) : (second, first)
            let refused = try await loser.wait()
            #expect(refused.status == 1, "\(refused.everything)")
            #expect(refused.errors.contains("\(worker.pid)"), "it does not say who holds it: \(refused.everything)")
            try registry.letGo()
            let finished = try await worker.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try await installation.sandboxes().count == 1)
            try await installation.expectNothingLeft("after two resumes")
        }

        @Test("the same run while one is at work waits for it and answers the same")
        func attach() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let first = try installation.start("run", registry.reference, "-q")
            try await registry.waitUntilHolding()
            let second = try installation.start("run", registry.reference, "-q")
            try await eventually("the second one waits") { second.errorsSoFar.contains("waiting for it") }
            try registry.letGo()
            let (one, two) = (try await first.wait(), try await second.wait())
            #expect(one.status == 0 && two.status == 0, "\(one.everything) \(two.everything)")
            #expect(one.output == two.output && one.output.hasPrefix("snap-"))
            #expect(try await installation.runIDs().count == 1)
        }

        @Test("when the one at work is killed, the one that waits goes on with its run")
        func takeOver() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let first = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            let second = try installation.start("run", registry.reference)
            try await eventually("the second one waits") { second.errorsSoFar.contains("waiting for it") }
            first.signal(SIGKILL)
            try registry.letGo()
            let finished = try await second.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try await installation.sandboxes().count == 1)
            try await installation.expectNothingLeft("after the take-over")
        }
    }
}
