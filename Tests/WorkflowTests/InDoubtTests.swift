import Foundation
import Testing
import Workflow
import WorkflowTesting

@Suite("Steps in doubt", .everyStore)
struct InDoubtTests {
    /// Runs a workflow up to a crash right after the effect of its step `pay`, and hands over to a second engine.
    private static func afterCrash<Output: Codable & Sendable>(
        _ script: Script<Output>, _ body: (Engine, RunID) async throws -> Void
    ) async throws {
        try await TestStore.use { store in
            let probe = CrashProbe(
                crashAt: CrashVisit(CrashPoint(subject: "step:pay", moment: "effect", edge: .after)))
            var configuration = testConfiguration()
            configuration.probe = probe.closure
            let first = try await Engine(store: store.configuration, configuration: configuration)
            probe.attach(first)
            // The run is quick: the process may die before the start has answered.
            await #expect(throws: WorkflowError.self) { try await first.start(script, input: "").result() }
            #expect(probe.hasCrashed)
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            try await body(second, try #require(try await second.runs().first?.id))
            await second.shutdown()
        }
    }

    private static func asking(_ world: World) -> Script<Int> {
        Script { _, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("pay", inDoubt: .ask) { _ in world.effect("pay") }
            }
        }
    }

    @Test("a step that nobody can tell about holds the run, and releases nothing, until somebody decides")
    func ask() async throws {
        let world = World()
        try await Self.afterCrash(Self.asking(world)) { engine, id in
            let plan = try await engine.plan(id)
            #expect(plan.undecided.map(\.record.name) == ["pay"])
            for _ in 0..<2 {
                let resumed = try await engine.resume(id, as: Self.asking(world))
                #expect(await code { _ = try await resumed.result() } == .inDoubt(step: "pay"))
                #expect(try await engine.run(id)?.status == .interrupted)
                #expect(world.alive == ["box-1"] && world.count("pay") == 1)
            }
            #expect(await code { try await engine.decide(id, step: "other", .runAgain) } == .inDoubt(step: "other"))
            #expect(await code { try await engine.decide(id, step: "pay", .done(output: "{")) } == .invalidPayload)
            try await engine.decide(id, step: "pay", .done(output: "77"))
            #expect(try await engine.plan(id).steps.map(\.action) == [.useOutput])
            #expect(try await engine.resume(id, as: Self.asking(world)).result() == 77)
            #expect(world.count("pay") == 1 && world.alive == [])
        }
    }

    @Test("an attempt that began when the step asked is asked about, also when the step runs again by itself today")
    func policyOfTheAttempt() async throws {
        let world = World()
        let today = Script { _, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("pay") { _ in world.effect("pay") }
            }
        }
        try await Self.afterCrash(Self.asking(world)) { engine, id in
            let held = try await engine.resume(id, as: today)
            #expect(await code { _ = try await held.result() } == .inDoubt(step: "pay"))
            #expect(world.count("pay") == 1)
            try await engine.decide(id, step: "pay", .runAgain)
            #expect(try await engine.resume(id, as: today).result() == 2)
        }
    }

    @Test("the operator can have the step run again, or fail it")
    func decisions() async throws {
        let world = World()
        try await Self.afterCrash(Self.asking(world)) { engine, id in
            try await engine.decide(id, step: "pay", .runAgain)
            #expect(try await engine.resume(id, as: Self.asking(world)).result() == 2)
        }
        let other = World()
        try await Self.afterCrash(Self.asking(other)) { engine, id in
            try await engine.decide(id, step: "pay", .failed(reason: "the bank said no"))
            let resumed = try await engine.resume(id, as: Self.asking(other))
            let error = await #expect(throws: WorkflowError.self) { try await resumed.result() }
            #expect(error?.message.contains("the bank said no") == true)
            #expect(other.alive == [])
        }
    }

    @Test("a held run can be cancelled, which releases its resource")
    func cancelHeld() async throws {
        let world = World()
        try await Self.afterCrash(Self.asking(world)) { engine, id in
            try await engine.cancel(id)
            let resumed = try await engine.resume(id, as: Self.asking(world))
            #expect(await code { _ = try await resumed.result() } == .cancelled)
            #expect(world.alive == [] && world.count("pay") == 1)
        }
    }

    @Test(
        "a step that can verify decides by itself: done, not done, or unknown",
        arguments: ["done", "not", "unknown"])
    func verify(verdict: String) async throws {
        let world = World()
        let script = Script { _, run in
            try await run.step(
                "pay",
                inDoubt: .verify { step in
                    #expect(step.attempt == 1)
                    switch verdict {
                    case "done": return .done(100)
                    case "not": return .notDone
                    default: return .unknown
                    }
                }
            ) { _ in world.effect("pay") }
        }
        try await Self.afterCrash(script) { engine, id in
            let resumed = try await engine.resume(id, as: script)
            switch verdict {
            case "done": #expect(try await resumed.result() == 100)
            case "not": #expect(try await resumed.result() == 2)
            default: #expect(await code { _ = try await resumed.result() } == .inDoubt(step: "pay"))
            }
        }
    }

    @Test("an error that leaves the outcome open is verified before another attempt is made")
    func ambiguousError() async throws {
        struct Broken: RetryClassifying {
            var isRetryable: Bool { true }
            var isInDoubt: Bool { true }
        }
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("pay", inDoubt: .verify { _ in .done(world.count("pay")) }) { _ -> Int in
                        world.effect("pay")
                        throw Broken()
                    }
                }, input: "")
            #expect(try await handle.result() == 1)
            #expect(world.count("pay") == 1)
        }
    }

    @Test("a step that kills its process again and again fails in the end")
    func poison() async throws {
        let world = World()
        var configuration = testConfiguration()
        configuration.crashLimit = 3
        let script = Script { _, run in try await run.step("poison") { _ in world.effect("poison") } }
        try await TestStore.use { store in
            for life in 1...4 {
                let probe = CrashProbe(
                    crashAt: CrashVisit(CrashPoint(subject: "step:poison", moment: "effect", edge: .after)))
                configuration.probe = probe.closure
                let engine = try await Engine(store: store.configuration, configuration: configuration)
                probe.attach(engine)
                let known = try await engine.runs().first?.id
                #expect((known == nil) == (life == 1))
                // The run is quick: the process may die before the start has answered.
                await #expect(throws: WorkflowError.self) {
                    if let known {
                        _ = try await engine.resume(known, as: script).result()
                    } else {
                        _ = try await engine.start(script, input: "").result()
                    }
                }
                #expect(probe.hasCrashed, "life \(life)")
            }
            configuration.probe = nil
            let last = try await Engine(store: store.configuration, configuration: configuration)
            let handle = try await last.resume(try #require(try await last.runs().first?.id), as: script)
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect(error?.message.contains("died 4 times") == true)
            #expect(world.count("poison") == 4)
            await last.shutdown()
        }
    }
}
