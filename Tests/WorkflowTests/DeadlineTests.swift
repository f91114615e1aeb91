import Foundation
import Testing
import Workflow
import WorkflowTesting

/// A clock whose timers come too late for everything.
private struct LateTimers: EngineClock {
    let clock: ManualClock

    func now() -> Date { clock.now() }
    func sleep(until deadline: Date) async throws { try await clock.sleep(until: deadline) }
    func expire(at deadline: Date) async throws { try await Task.sleep(for: .seconds(600)) }
}

@Suite("Deadlines of runs and heartbeats of steps", .everyStore)
struct DeadlineTests {
    /// Holds a box in a step that ends when it is cancelled.
    private static func holding(_ world: World) -> Script<Int> {
        Script { _, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("long") { _ in
                    if world.effect("long") == 1 { try await Task.sleep(for: .seconds(600)) }
                    return 1
                }
                return try await run.step("after") { _ in world.effect("after") }
            }
        }
    }

    private static func expectTimeout(_ engine: Engine, _ id: RunID) async throws {
        let run = try #require(try await engine.run(id))
        #expect(run.status == .failed)
        #expect(run.failure?.kind == .timeout)
        #expect(run.failure?.message.contains("was to be over by") == true)
    }

    @Test("a run that is not over by its deadline is cut off, releases what it owns, and fails with a timeout")
    func deadline() async throws {
        let world = World()
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(Self.holding(world), input: "", timeout: .seconds(60))
            try await until { world.count("long") > 0 }
            let run = try #require(try await engine.run(handle.id))
            #expect(run.deadlineAt == clock.now().addingTimeInterval(60))
            clock.advance(by: .seconds(59))
            #expect(world.alive == ["box-1"])
            clock.advance(by: .seconds(1))
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            guard case .runFailed(let failure)? = error?.code else {
                Issue.record("the run did not fail: \(String(describing: error))")
                return
            }
            #expect(failure.kind == .timeout)
            try await Self.expectTimeout(engine, handle.id)
            #expect(world.alive == [] && world.count("after") == 0)
        }
    }

    @Test("a run that is over in time ends as if it had no deadline")
    func inTime() async throws {
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in try await run.step("quick") { _ in 1 } }, input: "", timeout: .seconds(60))
            #expect(try await handle.result() == 1)
            #expect(try await engine.run(handle.id)?.status == .succeeded)
            // The timer has gone with the run.
            try await until { clock.waiting == 0 }
        }
    }

    @Test("a durable sleep ends at the deadline of its run")
    func sleeping() async throws {
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.sleep("night", for: .seconds(3600))
                    return 1
                }, input: "", timeout: .seconds(60))
            await clock.untilWaiting(2)
            clock.advance(by: .seconds(60))
            await #expect(throws: WorkflowError.self) { try await handle.result() }
            try await Self.expectTimeout(engine, handle.id)
        }
    }

    @Test("the deadline holds across a crash: a run resumed too late takes no step, releases and fails")
    func resumedTooLate() async throws {
        let world = World()
        let clock = ManualClock()
        let configuration = testConfiguration(clock: clock)
        try await withEngine(configuration) { first, store in
            let handle = try await first.start(Self.holding(world), input: "", timeout: .seconds(60))
            try await until { world.count("long") > 0 }
            first.crash()
            clock.advance(by: .seconds(30))
            let second = try await Engine(store: store.configuration, configuration: configuration)
            #expect(try await second.plan(handle.id).isPastDeadline == false)
            clock.advance(by: .seconds(31))
            #expect(try await second.plan(handle.id).isPastDeadline)
            let resumed = try await second.resume(handle.id, as: Self.holding(world))
            await #expect(throws: WorkflowError.self) { try await resumed.result() }
            try await Self.expectTimeout(second, handle.id)
            #expect(world.effects == ["long": 1] && world.alive == [])
            await second.shutdown()
        }
    }

    @Test("no step begins after the deadline, even if the timer has not noticed that it passed")
    func lateTimer() async throws {
        let world = World()
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: LateTimers(clock: clock))) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("before") { _ in clock.advance(by: .seconds(60)) }
                    return try await run.step("after") { _ in world.effect("after") }
                }, input: "", timeout: .seconds(60))
            await #expect(throws: WorkflowError.self) { try await handle.result() }
            try await Self.expectTimeout(engine, handle.id)
            #expect(world.count("after") == 0)
            #expect(try await engine.steps(of: handle.id).map(\.state) == [.done])
        }
    }

    @Test("a run that was to be cancelled before its deadline ends as cancelled")
    func cancelledFirst() async throws {
        let world = World()
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(Self.holding(world), input: "", timeout: .seconds(60))
            try await until { world.count("long") > 0 }
            try await engine.cancel(handle.id)
            clock.advance(by: .seconds(61))
            #expect(await code { _ = try await handle.result() } == .cancelled)
            #expect(try await engine.run(handle.id)?.status == .cancelled)
        }
    }

    @Test("wherever the process dies, a run past its deadline fails, and nothing is left behind")
    func deadlineDrill() async throws {
        struct Late: WorkflowDefinition {
            static let name = "late"
            static let version = 1
            let world: World

            func run(_ input: Int, in run: RunContext) async throws -> Int {
                try await run.withResource(BoxResource(world: world), named: "box") { [world] run, _ in
                    try await run.step("before") { _ in _ = world.effect("before") }
                    // The clock of the drill lets sleeps pass: afterwards the deadline is behind.
                    try await run.sleep("too long", for: .seconds(3600))
                    return try await run.step("after") { _ in world.effect("after") }
                }
            }
        }
        let drill = CrashDrill(
            input: 1, timeout: .seconds(1800), configuration: testConfiguration(), makeWorld: { World() },
            makeWorkflow: { Late(world: $0) })
        let summary = try await drill.run { scenario in
            var defects: [String] = []
            if scenario.run.status != .failed { defects.append("the run is \(scenario.run.status)") }
            if scenario.run.failure?.kind != .timeout { defects.append("it failed by \(scenario.run.failure as Any)") }
            if !scenario.world.alive.isEmpty { defects.append("left alive: \(scenario.world.alive)") }
            if scenario.world.count("after") != 0 { defects.append("a step began after the deadline") }
            return defects
        }
        print("deadline: \(summary.points) crash points")
        #expect(summary.defects == [] && summary.points >= 20)
    }

    @Test("wherever the process dies, a silent attempt is followed by one that reports")
    func heartbeatDrill() async throws {
        struct Silent: WorkflowDefinition {
            static let name = "silent"
            static let version = 1
            let world: World
            let clock: ManualClock

            func run(_ input: Int, in run: RunContext) async throws -> Int {
                try await run.step("pull", retry: .exponential(attempts: 3), heartbeat: .seconds(10)) {
                    [world, clock] step in
                    if world.effect("pull") == 1 {
                        clock.advance(by: .seconds(10))
                        try await Task.sleep(for: .seconds(600))
                    }
                    try await step.report(step.attempt)
                    return 1
                }
            }
        }
        let clock = ManualClock(sleeps: .pass)
        let drill = CrashDrill(
            input: 1, configuration: testConfiguration(clock: clock), makeWorld: { World() },
            makeWorkflow: { Silent(world: $0, clock: clock) })
        let summary = try await drill.run { scenario in
            scenario.run.output == "1" && scenario.world.count("pull") <= 2 + scenario.crashes.count
                ? [] : ["the output is \(scenario.run.output as Any) after \(scenario.world.count("pull")) attempts"]
        }
        print("heartbeat: \(summary.points) crash points")
        #expect(summary.defects == [] && summary.points >= 12)
    }

    @Test("an attempt that reports goes on, and one that falls silent is given up as at a timeout")
    func heartbeat() async throws {
        let world = World()
        let clock = ManualClock()
        var configuration = testConfiguration(clock: clock)
        configuration.random = { 0 }
        try await withEngine(configuration) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("pull", heartbeat: .seconds(10)) { step in
                        guard step.attempt == 1 else { return step.lastProgress(as: Int.self) ?? 0 }
                        for beat in 1...3 {
                            try await until { world.count("beat") >= beat }
                            try await step.report(beat)
                            world.effect("reported")
                        }
                        try await Task.sleep(for: .seconds(600))
                        return 0
                    }
                }, input: "")
            for beat in 1...3 {
                await clock.untilWaiting(1)
                clock.advance(by: .seconds(8))
                world.effect("beat")
                try await until { world.count("reported") == beat }
            }
            // 24 seconds have passed, and the step still runs.
            #expect(try await engine.steps(of: handle.id).first?.attempt == 1)
            await clock.untilWaiting(1)
            clock.advance(by: .seconds(2))
            await clock.untilWaiting(1)
            clock.advance(by: .seconds(8))
            #expect(try await handle.result() == 3)
            let failure = try #require(
                try await engine.events(of: handle.id).first { $0.kind == "step.retrying" }?.payload)
            #expect(failure.contains(#""kind":"timeout""#) && failure.contains("reported nothing for 10.0 seconds"))
            #expect(try await engine.steps(of: handle.id).first?.failures == 1)
        }
    }

    @Test("a timeout that comes before the heartbeat is missed says that it was the timeout")
    func timeoutFirst() async throws {
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("hangs", retry: .none, timeout: .seconds(5), heartbeat: .seconds(10)) { _ in
                        try await Task.sleep(for: .seconds(600))
                    }
                    return 1
                }, input: "")
            await clock.untilWaiting(2)
            clock.advance(by: .seconds(5))
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect(error?.message.contains("took longer than 5.0 seconds") == true)
        }
    }

    @Test("a silent attempt whose effect may have happened is in doubt, as after a timeout")
    func silentInDoubt() async throws {
        let world = World()
        let clock = ManualClock()
        try await withEngine(testConfiguration(clock: clock)) { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step(
                        "charge", heartbeat: .seconds(10),
                        inDoubt: .verify { _ in world.count("charge") > 0 ? .done(7) : .notDone }
                    ) { _ in
                        world.effect("charge")
                        try await Task.sleep(for: .seconds(600))
                        return 1
                    }
                }, input: "")
            try await until { world.count("charge") > 0 }
            await clock.untilWaiting(1)
            clock.advance(by: .seconds(10))
            #expect(try await handle.result() == 7)
            #expect(world.count("charge") == 1)
        }
    }
}
