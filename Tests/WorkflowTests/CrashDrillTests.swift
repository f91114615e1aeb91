import Foundation
import enum TestSupport.TestSize
import Testing
import Workflow
import WorkflowTesting

/// Everything that a workflow can do, with effects that a world counts.
struct Everything: WorkflowDefinition {
    static let name = "everything"
    static let version = 1
    let world: World

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        let base = try await run.step("prepare", input: input) { [world] _ in
            world.effect("prepare")
            return input
        }
        try await run.emit("prepared", ["base": base])
        let inner = try await run.withResource(BoxResource(world: world), named: "box") { run, box in
            let first = try await run.step("pull", timeout: .seconds(600)) { [world] step in
                try world.mayFail("pull")
                try await step.report(1)
                world.effect("pull")
                return base + 1
            }
            try await run.sleep("settle", for: .seconds(3600))
            // Declared neither idempotent nor left to a person: it finds out by itself.
            return try await run.step(
                "register",
                inDoubt: .verify { [world] _ in world.count("register") > 0 ? .done(first + 1) : .notDone }
            ) { [world] _ in
                world.effect("register")
                return first + 1
            }
        }
        return try await run.step("report") { [world] _ in
            world.effect("report")
            return inner + 1
        }
    }

    static func world() -> World {
        let world = World()
        world.fail("pull", times: 1)
        world.fail("release", times: 1)
        return world
    }
}

@Suite("Dying at every crash point")
struct CrashDrillTests {
    static func drill() -> CrashDrill<Everything, World> {
        CrashDrill(input: 40, configuration: testConfiguration(), makeWorld: Everything.world) {
            Everything(world: $0)
        }
    }

    @Sendable
    static func check(_ scenario: CrashDrill<Everything, World>.Scenario) async throws -> [String] {
        var defects: [String] = []
        let world = scenario.world
        if scenario.run.output != "43" {
            defects.append("the output is \(scenario.run.output ?? "missing"): \(scenario.run.failure?.message ?? "")")
        }
        if !world.alive.isEmpty { defects.append("left alive: \(world.alive)") }
        if world.sandboxes.count != 1 { defects.append("\(world.sandboxes.count) boxes were made") }
        if world.count("register") != 1 { defects.append("registered \(world.count("register")) times") }
        for name in ["prepare", "pull", "report"] {
            let count = world.count(name)
            if count < 1 || count > 1 + scenario.crashes.count { defects.append("\(name) happened \(count) times") }
        }
        if !scenario.steps.allSatisfy({ $0.state == .done }) { defects.append("a step is not done") }
        if scenario.resources.map(\.state) != [.released] { defects.append("the ledger is \(scenario.resources)") }
        return defects
    }

    @Test("one crash anywhere: one result, nothing leaked, nothing undeclared done twice")
    func singles() async throws {
        let summary = try await Self.drill().run(.singles, check: Self.check)
        print("crash points: \(summary.points), scenarios: \(summary.scenarios)")
        #expect(summary.defects == [])
        #expect(summary.points >= 40)
    }

    @Test("a second crash anywhere in the recovery from the first changes nothing about that")
    func pairs() async throws {
        let summary = try await Self.drill().run(
            .pairs, oneIn: TestSize.count(4, long: 1), from: TestSize.seed("second crashes"), check: Self.check)
        print(
            "crash points: \(summary.points), scenarios with up to two crashes: \(summary.scenarios), "
                + "of which missed their point: \(summary.missed)")
        #expect(summary.missed.count < 10)
        #expect(summary.defects == [])
        #expect(summary.scenarios > 500)
    }

    @Test("a workflow that fails releases its resource wherever the process dies")
    func failing() async throws {
        struct Failing: WorkflowDefinition {
            static let name = "failing"
            static let version = 1
            let world: World

            func run(_ input: Int, in run: RunContext) async throws -> Int {
                try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                    try await run.step("fail", retry: .none) { _ in throw TerminalError("no such image") }
                    return 1
                }
            }
        }
        let drill = CrashDrill(
            input: 1, configuration: testConfiguration(), makeWorld: { World() }, makeWorkflow: { Failing(world: $0) })
        let (share, offset) = (TestSize.count(2, long: 1), TestSize.seed("second crashes"))
        let summary = try await drill.run(.pairs, oneIn: share, from: offset) { scenario in
            var defects: [String] = []
            if scenario.run.status != .failed { defects.append("the run is \(scenario.run.status)") }
            if scenario.run.failure?.message != "no such image" {
                defects.append("it failed with \(scenario.run.failure?.message ?? "nothing")")
            }
            if !scenario.world.alive.isEmpty { defects.append("left alive: \(scenario.world.alive)") }
            if scenario.world.sandboxes.count != 1 { defects.append("\(scenario.world.sandboxes.count) boxes") }
            return defects
        }
        print("crash points: \(summary.points), scenarios: \(summary.scenarios)")
        #expect(summary.defects == [])
    }

    @Test("a workflow without a defect in its recovery passes, one with a defect does not")
    func drillFindsDefects() async throws {
        struct Leaky: WorkflowDefinition {
            static let name = "leaky"
            static let version = 1
            let world: World

            func run(_ input: Int, in run: RunContext) async throws -> Int {
                try await run.step("make") { [world] step in
                    _ = world.make(
                        ResourceKey(
                            idempotencyKey: step.idempotencyKey, runID: run.id, name: "x", generation: 1,
                            intendedAt: Date()))
                    return 1
                }
            }
        }
        let drill = CrashDrill(
            input: 1, configuration: testConfiguration(), makeWorld: { World() }, makeWorkflow: { Leaky(world: $0) })
        let summary = try await drill.run { scenario in
            scenario.world.sandboxes.count == 1 ? [] : ["made \(scenario.world.sandboxes.count)"]
        }
        #expect(summary.defects.contains { $0.hasPrefix("step:make:effect.after: made 2") })
    }
}
