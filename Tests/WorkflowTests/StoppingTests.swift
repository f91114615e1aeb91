import Foundation
import Testing
import Workflow
import WorkflowTesting

@Suite("Interruption and cancellation", .everyStore)
struct StoppingTests {
    private static func script(_ world: World) -> Script<String> {
        Script { _, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, box in
                try await run.step("long") { _ in
                    if world.effect("long") == 1 { try await Task.sleep(for: .seconds(600)) }
                    return box.id
                }
            }
        }
    }

    private static func untilLong(_ world: World) async throws {
        try await until { world.count("long") > 0 }
    }

    @Test("an interruption releases nothing, and a resume goes on in the same resource")
    func interruption() async throws {
        let world = World()
        try await withEngine { first, store in
            let handle = try await first.start(Self.script(world), input: "")
            try await Self.untilLong(world)
            await first.interrupt()
            #expect(await code { _ = try await handle.result() } == .interrupted)
            #expect(world.alive == ["box-1"])
            #expect(await code { _ = try await first.start(Self.script(world), input: "") } == .engineClosed)
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            let plan = try await second.plan(handle.id)
            #expect(plan.steps.map(\.action) == [.runAgain] && plan.resources.map(\.action) == [.use])
            #expect(try await second.resume(handle.id, as: Self.script(world)).result() == "box-1")
            #expect(world.alive == [])
            await second.shutdown()
        }
    }

    @Test("a cancellation ends the running body, releases the resource and ends the run")
    func cancellation() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(Self.script(world), input: "")
            try await Self.untilLong(world)
            #expect(try await engine.cancel(handle.id))
            #expect(await code { _ = try await handle.result() } == .cancelled)
            #expect(world.alive == [])
            #expect(try await engine.run(handle.id)?.status == .cancelled)
            #expect(await code { try await engine.cancel(handle.id) } == .alreadyFinished(.cancelled))
        }
    }

    @Test("a cancellation asked for by another engine reaches the holder")
    func cancellationFromElsewhere() async throws {
        let world = World()
        try await withEngine { engine, store in
            let handle = try await engine.start(Self.script(world), input: "")
            try await Self.untilLong(world)
            let other = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await other.cancel(handle.id))
            #expect(await code { _ = try await handle.result() } == .cancelled)
            #expect(world.alive == [])
            await other.shutdown()
        }
    }

    @Test("a run that is cancelled while nobody holds it releases its resource when it is resumed")
    func cancellationOfInterrupted() async throws {
        let world = World()
        try await withEngine { first, store in
            let handle = try await first.start(Self.script(world), input: "")
            try await Self.untilLong(world)
            await first.interrupt()
            #expect(world.alive == ["box-1"])
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.cancel(handle.id) == false)
            let resumed = try await second.resume(handle.id, as: Self.script(world))
            #expect(await code { _ = try await resumed.result() } == .cancelled)
            #expect(world.alive == [] && world.count("long") == 1)
            #expect(try await second.run(handle.id)?.status == .cancelled)
            await second.shutdown()
        }
    }

    @Test("a body that ignores its cancellation is left behind after the grace period")
    func stubbornBody() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("stubborn") { _ in
                        world.effect("long")
                        let end = ContinuousClock.now.advanced(by: .seconds(5))
                        while ContinuousClock.now < end {
                            await withCheckedContinuation { continuation in
                                Thread.detachNewThread {
                                    Thread.sleep(forTimeInterval: 0.05)
                                    continuation.resume()
                                }
                            }
                        }
                        return 1
                    }
                }, input: "")
            try await Self.untilLong(world)
            await engine.interrupt()
            #expect(await code { _ = try await handle.result() } == .interrupted)
        }
    }

    @Test("a failing step cancels its siblings, which are then neither done nor failed")
    func siblings() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await withThrowingTaskGroup(of: Int.self) { group in
                        group.addTask {
                            try await run.step("slow") { _ in
                                world.effect("long")
                                try await Task.sleep(for: .seconds(600))
                                return 1
                            }
                        }
                        group.addTask {
                            try await Self.untilLong(world)
                            return try await run.step("bad") { _ in throw TerminalError("bad") }
                        }
                        return try await group.reduce(0, +)
                    }
                }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect((error?.cause as? StepFailure)?.step == "bad")
            let states = try await engine.steps(of: handle.id).map { "\($0.name) \($0.state)" }.sorted()
            #expect(states == ["bad failed", "slow intended"])
        }
    }

    @Test("a held run names its holder, and is free at once when the holder lets go")
    func held() async throws {
        let world = World()
        try await withEngine { first, store in
            let handle = try await first.start(Self.script(world), input: "")
            try await Self.untilLong(world)
            #expect(try await first.run(handle.id)?.status == .running)
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            let refusal = await code { _ = try await second.resume(handle.id, as: Self.script(world)) }
            guard case .runHeld(let owner)? = refusal else {
                Issue.record("the run was not held: \(String(describing: refusal))")
                return
            }
            #expect(owner?.pid == ProcessInfo.processInfo.processIdentifier)
            #expect(owner?.description == "test")
            first.crash()
            #expect(try await second.resume(handle.id, as: Self.script(world)).result() == "box-1")
            await second.shutdown()
        }
    }
}
