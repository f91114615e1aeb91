import Foundation
import Synchronization
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Retries, timeouts and sleeps", .everyStore)
struct RetryTests {
    @Test("failures and the next due time are rows, and a resumed run goes on counting")
    func retriesAreRows() async throws {
        let world = World()
        let clock = ManualClock()
        var configuration = testConfiguration(clock: clock)
        configuration.random = { .max }
        let script = Script { _, run in
            try await run.step("flaky", retry: .exponential(attempts: 3, base: .seconds(10))) { step in
                world.effect("flaky")
                if step.attempt < 3 { throw Glitch(what: "attempt \(step.attempt)") }
                return step.attempt
            }
        }
        try await withEngine(configuration) { first, store in
            let handle = try await first.start(script, input: "")
            await clock.untilWaiting(1)
            await first.interrupt()
            let row = try #require(try await first.steps(of: handle.id).first)
            #expect(row.state == .failed && row.attempt == 1 && row.failures == 1)
            #expect(row.failure?.message == "attempt 1 did not work this time")
            let delay = RetryPolicy.exponential(attempts: 3, base: .seconds(10)).delay(afterFailures: 1, random: .max)
            #expect(row.nextAttemptAt == Timestamp(clock.now()).advanced(by: delay).date)

            let second = try await Engine(store: store.configuration, configuration: configuration)
            let resumed = try await second.resume(handle.id, as: script)
            await clock.untilWaiting(1)
            #expect(world.count("flaky") == 1)
            clock.advance(by: .seconds(10))
            await clock.untilWaiting(1)
            #expect(world.count("flaky") == 2)
            clock.advance(by: .seconds(20))
            #expect(try await resumed.result() == 3)
            await second.shutdown()
        }
    }

    @Test("a step fails for good when its attempts are used up, and keeps saying so")
    func usedUp() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    do {
                        return try await run.step("never", retry: .exponential(attempts: 4)) { _ -> String in
                            world.effect("never")
                            throw Glitch(what: "this")
                        }
                    } catch let failure as StepFailure {
                        return "\(failure)"
                    }
                }, input: "")
            #expect(
                try await handle.result() == "step 'never' failed after 4 attempts: this did not work this time")
            #expect(world.count("never") == 4)
        }
    }

    @Test("an error that says it is not retryable is not retried")
    func terminal() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("bad") { _ -> Int in
                        world.effect("bad")
                        throw TerminalError("no such image", cause: Glitch(what: "lookup"))
                    }
                }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect(error?.message.contains("no such image (lookup did not work this time)") == true)
            #expect(world.count("bad") == 1)
        }
    }

    @Test(
        "a search for what was made halts the run like a creation, and is recorded, when only somebody outside can help"
    )
    func blockedSearch() async throws {
        let world = World()
        let script = Script { _, run in
            try await run.withResource(BlockedResource(world: world, refusedSearches: 1), named: "box") { _, box in
                box.id
            }
        }
        try await withEngine { engine, _ in
            let handle = try await engine.start(script, input: "")
            #expect(await code { _ = try await handle.result() } == .blocked(by: "resource 'box'"))
            let resumed = try await engine.resume(handle.id, as: script)
            #expect(await code { _ = try await resumed.result() } == .blocked(by: "resource 'box'"))
            let retries = try await engine.events(of: handle.id).filter { $0.kind == "resource.retrying" }
            #expect(retries.count == 2 && world.count("create") == 1)
            #expect(try await engine.resume(handle.id, as: script).result() == "box-1")
        }
    }

    @Test("an error that only somebody outside can end stops the run as it is; a resume goes on in the same resource")
    func blocked() async throws {
        let world = World()
        let script = Script { _, run in
            try await run.withResource(BlockedResource(world: world), named: "box") { run, box in
                try await run.step("ask", retry: .none) { step in
                    guard world.effect("ask") > 2 else { throw Refusal() }
                    return "\(box.id), attempt \(step.attempt)"
                }
            }
        }
        try await withEngine { engine, _ in
            let handle = try await engine.start(script, input: "")
            #expect(await code { _ = try await handle.result() } == .blocked(by: "resource 'box'"))
            #expect(world.sandboxes.isEmpty)
            for _ in 1...2 {
                let resumed = try await engine.resume(handle.id, as: script)
                let error = await #expect(throws: WorkflowError.self) { try await resumed.result() }
                #expect(error?.code == .blocked(by: "step 'ask'") && error?.cause is Refusal)
                #expect(try await engine.run(handle.id)?.status == .interrupted)
                #expect(world.alive == ["box-1"])
            }
            let step = try #require(try await engine.steps(of: handle.id).first)
            #expect(step.state == .failed && step.failures == 0 && step.attempt == 2 && step.nextAttemptAt != nil)
            #expect(try await engine.resume(handle.id, as: script).result() == "box-1, attempt 3")
            #expect(world.alive.isEmpty)
        }
    }

    @Test("a hung attempt meets its timeout, is cancelled, and its late result is discarded")
    func timeout() async throws {
        let world = World()
        let clock = ManualClock()
        var configuration = testConfiguration(clock: clock)
        configuration.random = { 0 }
        configuration.cancellationGrace = .milliseconds(50)
        try await withEngine(configuration) { engine, _ in
            let late = Promise<Void>()
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("hangs", timeout: .seconds(30)) { step in
                        world.effect("hangs")
                        if step.attempt == 1 {
                            #expect(step.deadline == clock.now().addingTimeInterval(30))
                            await late.value()
                        }
                        return step.attempt
                    }
                }, input: "")
            await clock.untilWaiting(1)
            try await until { world.count("hangs") > 0 }
            clock.advance(by: .seconds(30))
            let result = try await handle.result()
            late.fulfil(())
            #expect(result == 2)
            let step = try #require(try await engine.steps(of: handle.id).first)
            #expect(step.output == "2" && step.failures == 1 && step.attempt == 2)
        }
    }

    @Test("what an attempt reported reaches the next one, also after an interruption")
    func progress() async throws {
        let world = World()
        let script = Script { _, run in
            try await run.step("pull", retry: .exponential(attempts: 3)) { step in
                let offset = step.lastProgress(as: Int.self) ?? 0
                switch world.effect("pull") {
                case 1:
                    try await step.report(100)
                    try await step.report(200)
                    throw Glitch(what: "pull")
                case 2:
                    try await step.report(offset + 300)
                    try await step.report(offset + 400)
                    world.effect("reported")
                    try await Task.sleep(for: .seconds(600))
                    return 0
                default:
                    return offset
                }
            }
        }
        try await withEngine { first, store in
            let handle = try await first.start(script, input: "")
            try await until { world.count("reported") > 0 }
            await first.interrupt()
            #expect(try await first.steps(of: handle.id).first?.progress == "600")
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == 600)
            await second.shutdown()
        }
    }

    @Test("a report reaches the disk while the attempt goes on")
    func progressOnDisk() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("pull") { step in
                        for value in 1...50 { try await step.report(value) }
                        try await until { world.count("seen") > 0 }
                        return 1
                    }
                }, input: "")
            try await until { try await engine.steps(of: handle.id).first?.progress == "50" }
            world.effect("seen")
            _ = try await handle.result()
            let reports = try await engine.events(of: handle.id).filter { $0.kind == "step.progress" }
            #expect(reports.count < 50 && reports.last?.payload == "50")
        }
    }

    @Test("a sleep is due when it was due, however often the run is resumed")
    func sleep() async throws {
        let clock = ManualClock()
        let configuration = testConfiguration(clock: clock)
        let script = Script { _, run in
            try await run.sleep("night", for: .seconds(8 * 3600))
            return try await run.step("morning") { _ in "awake" }
        }
        try await withEngine(configuration) { first, store in
            let start = clock.now()
            let handle = try await first.start(script, input: "")
            await clock.untilWaiting(1)
            let record = try #require(try await first.run(handle.id))
            #expect(record.status == .sleeping && record.wakeAt == start.addingTimeInterval(8 * 3600))
            first.crash()
            clock.advance(by: .seconds(5 * 3600))
            let second = try await Engine(store: store.configuration, configuration: configuration)
            #expect(try await second.run(handle.id)?.status == .interrupted)
            let resumed = try await second.resume(handle.id, as: script)
            await clock.untilWaiting(1)
            clock.advance(by: .seconds(3 * 3600 - 1))
            #expect(clock.waiting == 1)
            clock.advance(by: .seconds(1))
            #expect(try await resumed.result() == "awake")
            await second.shutdown()
        }
    }

    @Test("full jitter: waits are evenly spread up to a ceiling that doubles and is capped, without overflow")
    func backoff() {
        let policy = RetryPolicy.exponential(attempts: 1000, base: .seconds(1), cap: .seconds(60))
        let ceilings = (1...8).map { policy.ceiling(afterFailures: $0) }
        #expect(ceilings == [1, 2, 4, 8, 16, 32, 60, 60].map { .seconds($0) })
        #expect(policy.ceiling(afterFailures: .max) == .seconds(60))
        var generator = SystemRandomNumberGenerator()
        let draws = (0..<2000).map { _ in policy.delay(afterFailures: 3, random: generator.next()).wholeMilliseconds }
        #expect(draws.allSatisfy { (0...4000).contains($0) })
        #expect(draws.contains { $0 < 1000 } && draws.contains { $0 > 3000 })
        let huge = RetryPolicy.exponential(attempts: .max, base: .seconds(Int64.max), cap: .seconds(Int64.max))
        #expect(huge.attempts == 1000 && huge.delay(afterFailures: 40, random: .max) > .zero)
    }
}

/// Nobody may do this until somebody outside allows it again.
private struct Refusal: RetryClassifying {
    var isRetryable: Bool { false }
    var isBlocked: Bool { true }
}

/// Its first creation is refused.
private struct BlockedResource: DurableResource {
    static let kind = "box"
    let world: World
    private var box: BoxResource { BoxResource(world: world) }

    let refusedSearches: Int

    init(world: World, refusedSearches: Int = 0) {
        self.world = world
        self.refusedSearches = refusedSearches
    }

    func find(_ key: ResourceKey) async throws -> [Box] {
        guard world.effect("find") > refusedSearches else { throw Refusal() }
        return try await box.find(key)
    }

    func create(_ key: ResourceKey) async throws -> Box {
        guard world.effect("create") > 1 else { throw Refusal() }
        return try await box.create(key)
    }

    func liveness(of handle: Box, _ key: ResourceKey) async throws -> Liveness {
        try await box.liveness(of: handle, key)
    }

    func release(_ handle: Box, _ key: ResourceKey) async throws { try await box.release(handle, key) }

    func externalID(of handle: Box) -> String { handle.id }
}
