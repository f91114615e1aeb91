import enum TestSupport.TestSize
import Testing
import Workflow
import WorkflowTesting

@Suite("Dying at every crash point of a family")
struct FamilyDrillTests {
    /// Waits for a signal and for two children.
    struct Family: WorkflowDefinition {
        static let name = "family"
        static let version = 1
        let world: World

        func run(_ input: Int, in run: RunContext) async throws -> [String] {
            try await run.step("begin") { [world] _ in world.effect("begin") }
            let word = try await run.waitForSignal("word", as: String.self)
            let children = [
                try await run.child("one", Member.self, input: word + " one", queue: "q"),
                try await run.child("two", Member.self, input: word + " two", queue: "q"),
            ]
            var results: [String] = []
            for child in children { results.append(try await child.result()) }
            results.append(try await run.waitForSignal("word", as: String.self))
            try await run.step("end") { [world] _ in world.effect("end") }
            return results
        }
    }

    struct Member: WorkflowDefinition {
        static let name = "member"
        static let version = 1
        let world: World

        func run(_ input: String, in run: RunContext) async throws -> String {
            _ = try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("work") { [world] _ in world.effect(input) }
            }
            return input
        }
    }

    private static func drill(
        _ makeStore: (@Sendable () async throws -> StoreConfiguration)? = nil
    ) -> CrashDrill<Family, World> {
        CrashDrill(
            input: 1, configuration: testConfiguration(), makeStore: makeStore,
            prepare: { engine, world in
                _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1)], Member(world: world))
            },
            accompany: { engine, id, _ in
                do {
                    try await engine.signal(id, "word", "first", key: "1")
                    try await engine.signal(id, "word", "second", key: "2")
                } catch let error as WorkflowError where error.code == .alreadyFinished(.succeeded) {
                    // It was quicker.
                }
            },
            makeWorld: { World() }, makeWorkflow: { Family(world: $0) })
    }

    @Sendable private static func check(_ scenario: CrashDrill<Family, World>.Scenario) async throws -> [String] {
        var defects: [String] = []
        let world = scenario.world
        if scenario.run.output != #"["first one","first two","second"]"# {
            defects.append("the output is \(scenario.run.output ?? "missing"): \(scenario.run.failure?.message ?? "")")
        }
        if !world.alive.isEmpty { defects.append("left alive: \(world.alive)") }
        for name in ["begin", "first one", "first two", "end"] {
            let count = world.count(name)
            if count < 1 || count > 1 + scenario.crashes.count { defects.append("\(name) happened \(count) times") }
        }
        if world.effects.count != 4 { defects.append("effects: \(world.effects)") }
        if !scenario.steps.allSatisfy({ $0.state == .done }) { defects.append("a step is not done") }
        return defects
    }

    @Test("one crash anywhere: each signal is received once, each child exists once, everything ends")
    func singles() async throws {
        let summary = try await Self.drill().run(.singles, check: Self.check)
        print("crash points: \(summary.points), scenarios: \(summary.scenarios), missed: \(summary.missed.count)")
        #expect(summary.defects == [])
        #expect(summary.points >= 60)
    }

    @Test("the same on PostgreSQL", .enabled(if: StoreKind.tested.contains(.postgres)))
    func postgres() async throws {
        let summary = try await Self.drill { try await TestStore(.postgres).configuration }
            .run(.singles, check: Self.check)
        print("crash points: \(summary.points), scenarios: \(summary.scenarios), missed: \(summary.missed.count)")
        #expect(summary.defects == [])
    }

    @Test("two crashes anywhere", .enabled(if: TestSize.isLong))
    func pairs() async throws {
        let summary = try await Self.drill().run(.pairs, check: Self.check)
        print("crash points: \(summary.points), scenarios: \(summary.scenarios), missed: \(summary.missed.count)")
        #expect(summary.defects == [])
    }
}
