import Foundation
import Testing
import Workflow
import WorkflowTesting

@Suite("Resources", .everyStore)
struct ResourceTests {
    private static func script(
        _ world: World, _ body: @escaping @Sendable (RunContext, Box) async throws -> String
    ) -> Script<String> {
        Script { _, run in
            let before = try await run.step("before") { _ in world.effect("before") }
            let inner = try await run.withResource(BoxResource(world: world), named: "box", body)
            return "\(before) \(inner)"
        }
    }

    @Test("a resource is in the ledger before it exists and released when its scope ends")
    func lifecycle() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Self.script(world) { run, box in
                    let open = try await engine.resources(states: [.intended, .held])
                    #expect(open.map(\.runID) == [run.id])
                    return try await run.step("use") { _ in box.id }
                }, input: "")
            #expect(try await handle.result() == "1 box-1")
            let ledger = try await engine.resources(of: handle.id)
            #expect(ledger.map(\.state) == [.released])
            #expect(ledger.map(\.externalID) == ["box-1"])
            #expect(ledger.map(\.generation) == [1])
            #expect(world.alive == [])
            #expect(world.calls == ["create", "release"])
        }
    }

    @Test("a failing scope releases its resource, and the run fails with the scope's error")
    func failure() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Self.script(world) { run, _ in
                    try await run.step("use", retry: .none) { _ -> String in throw Glitch(what: "use") }
                }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            let failure = (error?.cause as? StepFailure)?.failure
            #expect(failure?.decoded(as: Glitch.self) == Glitch(what: "use"))
            #expect(world.alive == [])
            let record = try #require(try await engine.run(handle.id))
            #expect(record.status == .failed && record.failure?.step == "use")
        }
    }

    @Test("a lost resource begins a new generation: its steps are taken again, those outside stay")
    func nextGeneration() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Self.script(world) { run, box in
                    try await run.step("first") { _ in _ = world.effect("first") }
                    return try await run.step("second") { _ in
                        if world.effect("second") == 1 {
                            world.end(box.id)
                            throw ResourceLost(reason: "404")
                        }
                        return box.id
                    }
                }, input: "")
            #expect(try await handle.result() == "1 box-2")
            #expect(world.effects == ["before": 1, "first": 2, "second": 2])
            #expect(try await engine.resources(of: handle.id).map(\.state) == [.lost, .released])
            #expect(world.alive == [])
            let steps = try await engine.steps(of: handle.id)
            #expect(steps.map(\.scope) == ["", "box#2", "box#2"])
            #expect(Set(steps.map(\.idempotencyKey)).count == 3)
        }
    }

    @Test("a resource that is said to be lost but is alive is a failed attempt like any other")
    func falseAlarm() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Self.script(world) { run, box in
                    try await run.step("use") { _ in
                        if world.effect("use") == 1 { throw ResourceLost(named: "box") }
                        return box.id
                    }
                }, input: "")
            #expect(try await handle.result() == "1 box-1")
            let step = try #require(try await engine.steps(of: handle.id).last)
            #expect(step.attempt == 2 && step.failures == 1)
            #expect(world.sandboxes.count == 1)
        }
    }

    @Test("a resource lost again and again ends the run after its last generation")
    func tooManyGenerations() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Self.script(world) { run, box in
                    try await run.step("use") { _ -> String in
                        world.end(box.id)
                        throw ResourceLost()
                    }
                }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect((error?.cause as? WorkflowError)?.code == .resourceLostTooOften)
            #expect(world.sandboxes.count == 5)
            #expect(try await engine.resources(of: handle.id).allSatisfy { $0.state == .lost })
        }
    }

    @Test("an ambiguous creation is looked for before another is tried")
    func ambiguousCreation() async throws {
        struct Ambiguous: DurableResource {
            static let kind = "box"
            let box: BoxResource

            func find(_ key: ResourceKey) async throws -> [Box] { try await box.find(key) }
            func create(_ key: ResourceKey) async throws -> Box {
                let made = try await box.create(key)
                if box.world.effect("create") == 1 { throw Glitch(what: "the connection broke") }
                return made
            }
            func liveness(of handle: Box, _ key: ResourceKey) async throws -> Liveness { .alive }
            func release(_ handle: Box, _ key: ResourceKey) async throws { try await box.release(handle, key) }
            func externalID(of handle: Box) -> String { handle.id }
        }
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.withResource(Ambiguous(box: BoxResource(world: world)), named: "box") { run, box in
                        try await run.step("use") { _ in box.id }
                    }
                }, input: "")
            #expect(try await handle.result() == "box-1")
            #expect(world.sandboxes.count == 1)
        }
    }

    @Test("of several resources under one key the oldest healthy one is adopted and the others are released")
    func duplicates() async throws {
        let world = World()
        let script = Self.script(world) { run, box in try await run.step("use") { _ in box.id } }
        try await TestStore.use { store in
            let probe = CrashProbe(
                crashAt: CrashVisit(CrashPoint(subject: "resource:box:create", moment: "effect", edge: .after)))
            var configuration = testConfiguration()
            configuration.probe = probe.closure
            let first = try await Engine(store: store.configuration, configuration: configuration)
            probe.attach(first)
            let handle = try await first.start(script, input: "")
            await #expect(throws: WorkflowError.self) { try await handle.result() }
            let key = try #require(world.sandboxes.first).key
            world.end("box-1")
            _ = world.make(key)
            _ = world.make(key)

            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == "1 box-2")
            #expect(world.alive == [])
            #expect(world.sandboxes.count == 3)
            await second.shutdown()
        }
    }

    @Test("a nested resource belongs to the generation of the outer one")
    func nested() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.withResource(BoxResource(world: world), named: "outer") { run, outer in
                        try await run.withResource(BoxResource(world: world), named: "inner") { run, inner in
                            try await run.step("use") { _ in
                                if world.effect("use") == 1 {
                                    world.end(outer.id)
                                    throw ResourceLost(named: "outer")
                                }
                                return "\(outer.id) \(inner.id)"
                            }
                        }
                    }
                }, input: "")
            #expect(try await handle.result() == "box-3 box-4")
            #expect(world.alive == [])
            let ledger = try await engine.resources(of: handle.id)
            let lines = ledger.map { "\($0.scope) \($0.name)#\($0.generation) \($0.state)" }
            #expect(
                lines == [
                    " outer#1 lost", "outer#1 inner#1 released", " outer#2 released", "outer#2 inner#1 released",
                ])
        }
    }

    @Test("what garbage collection released is replaced by the next generation when the run is resumed")
    func resumeAfterCollection() async throws {
        let world = World()
        let script = Self.script(world) { run, box in
            let first = try await run.step("first") { _ in
                world.effect("first")
                return box.id
            }
            return try await run.step("second") { _ in
                if world.effect("second") == 1 { try await Task.sleep(for: .seconds(60)) }
                return first
            }
        }
        try await withEngine { first, store in
            let handle = try await first.start(script, input: "")
            try await until { world.count("second") > 0 }
            let other = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await other.withAbandonedRun(handle.id) { _ in 1 } == nil)
            await first.interrupt()
            #expect(world.alive == ["box-1"])

            let collected = try await other.withAbandonedRun(handle.id) { run in
                #expect(run.record.status == .running)
                for entry in run.resources where entry.state.isOpen {
                    world.end(entry.externalID ?? "")
                    try await run.markReleased(entry)
                }
                return run.resources.count
            }
            #expect(collected == 1)
            #expect(try await other.run(handle.id)?.status == .interrupted)
            #expect(try await other.resume(handle.id, as: script).result() == "1 box-2")
            #expect(world.effects == ["before": 1, "first": 2, "second": 2])
            #expect(world.alive == [])
            await other.shutdown()
        }
    }

    @Test("a run whose steps are all recorded needs its resource no more, even if it was lost meanwhile")
    func replayWithoutResource() async throws {
        let world = World()
        let script = Self.script(world) { run, box in
            try await run.step("use") { _ in
                world.effect("use")
                return box.id
            }
        }
        try await TestStore.use { store in
            let probe = CrashProbe(
                crashAt: CrashVisit(CrashPoint(subject: "resource:box:release", moment: "intent", edge: .after)))
            var configuration = testConfiguration()
            configuration.probe = probe.closure
            let first = try await Engine(store: store.configuration, configuration: configuration)
            probe.attach(first)
            let handle = try await first.start(script, input: "")
            await #expect(throws: WorkflowError.self) { try await handle.result() }
            world.end("box-1")
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == "1 box-1")
            #expect(world.count("use") == 1 && world.sandboxes.count == 1)
            await second.shutdown()
        }
    }

    @Test("a release that never succeeds leaves the entry in the ledger for garbage collection")
    func releaseGivesUp() async throws {
        let world = World()
        world.fail("release", times: 100)
        try await withEngine { engine, _ in
            let handle = try await engine.start(Self.script(world) { _, box in box.id }, input: "")
            #expect(try await handle.result() == "1 box-1")
            let ledger = try await engine.resources(states: [.releasing])
            #expect(ledger.map(\.runID) == [handle.id])
            #expect(ledger.first?.failures == 2)
            let closed = try await engine.withAbandonedRun(handle.id) { run in
                for entry in run.resources { try await run.markReleased(entry) }
                return true
            }
            #expect(closed == true)
            #expect(try await engine.resources(states: [.releasing]).isEmpty)
        }
    }
}
