import Foundation
import Synchronization
import Testing
import Workflow
import WorkflowTesting

/// What a program can do wrong, and the error that says so.
@Suite("Bad use", .everyStore)
struct BadUseTests {
    /// What the call threw, which has to be one of the engine's own errors.
    private static func error(_ body: () async throws -> Void) async -> WorkflowError? {
        do {
            try await body()
            Issue.record("the bad use was accepted")
            return nil
        } catch {
            guard let known = error as? WorkflowError else {
                Issue.record("it threw \(error)")
                return nil
            }
            return known
        }
    }

    /// Calls everything that a context offers, and returns what each threw.
    private static func useAll(_ run: RunContext) async -> [WorkflowError?] {
        [
            await error { try await run.step("late step") { _ in } },
            await error { try await run.sleep("late sleep", for: .seconds(1)) },
            await error { try await run.emit("late.event", 1) },
            await error { _ = try await run.withResource(BoxResource(world: World()), named: "late") { _, _ in 1 } },
        ]
    }

    @Test("a context that is used after its run has ended says so, whatever is called", arguments: [true, false])
    func afterTheRun(succeeds: Bool) async throws {
        let kept = Mutex<RunContext?>(nil)
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    kept.withLock { $0 = run }
                    guard succeeds else { throw TerminalError("no") }
                    return 1
                }, input: "")
            _ = await code { _ = try await handle.result() }
            let run = try #require(kept.withLock { $0 })
            let before = try await engine.events(of: handle.id)
            let errors = await Self.useAll(run)
            #expect(errors.map { $0?.code } == Array(repeating: .outsideRun, count: 4))
            #expect(errors.allSatisfy { $0?.message.contains("after its workflow had returned") == true })
            #expect(errors[0]?.message.contains("step 'late step'") == true)
            #expect(try await engine.events(of: handle.id) == before)
            #expect(try await engine.run(handle.id)?.status == (succeeds ? .succeeded : .failed))
        }
    }

    @Test("a step that outlives its run in a task of its own neither fails the run nor begins another attempt")
    func straggler() async throws {
        let world = World()
        let straggler = Mutex<Task<WorkflowError?, Never>?>(nil)
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    let task = Task {
                        await Self.error {
                            try await run.step("straggler") { _ in
                                world.effect("straggler")
                                try await until { world.count("over") > 0 }
                                throw Glitch(what: "the straggler")
                            }
                        }
                    }
                    straggler.withLock { $0 = task }
                    try await until { world.count("straggler") > 0 }
                    return 1
                }, input: "")
            #expect(try await handle.result() == 1)
            world.effect("over")
            let task = try #require(straggler.withLock { $0 })
            #expect(await task.value?.code == .outsideRun)
            #expect(world.count("straggler") == 1)
            #expect(try await engine.run(handle.id)?.status == .succeeded)
        }
    }

    @Test("the context of a resource says so when it is used after its scope was left; the run's own goes on")
    func afterTheScope() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    let (outer, inner) = try await run.withResource(BoxResource(world: world), named: "box") {
                        outer, _ in
                        let inner = try await outer.withResource(BoxResource(world: world), named: "volume") { run, _ in
                            run
                        }
                        let errors = await Self.useAll(inner)
                        #expect(errors.map { $0?.code } == Array(repeating: .outsideScope, count: 4))
                        #expect(errors[0]?.message.contains("resource 'volume'") == true)
                        return (outer, inner)
                    }
                    for (context, name) in [(outer, "box"), (inner, "volume")] {
                        let error = await Self.error { try await context.step("late") { _ in } }
                        #expect(error?.code == .outsideScope)
                        #expect(error?.message.contains("resource '\(name)'") == true)
                    }
                    return try await run.step("late") { _ in 1 }
                }, input: "")
            #expect(try await handle.result() == 1)
            #expect(world.alive == [])
        }
    }

    @Test("a report after the attempt is over says so, and what was reported in time stays")
    func lateReport() async throws {
        let kept = Mutex<[StepContext]>([])
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("pull", retry: .exponential(attempts: 2)) { step in
                        kept.withLock { $0.append(step) }
                        try await step.report(step.attempt * 10)
                        if step.attempt == 1 { throw Glitch(what: "the first") }
                    }
                    for step in kept.withLock({ $0 }) {
                        let error = await Self.error { try await step.report(99) }
                        #expect(error?.code == .outsideStep)
                        #expect(error?.message.contains("attempt \(step.attempt) of step 'pull' is over") == true)
                    }
                    return 1
                }, input: "")
            #expect(try await handle.result() == 1)
            let step = try #require(kept.withLock { $0 }.last)
            #expect(await Self.error { try await step.report(99) }?.code == .outsideRun)
            let reports = try await engine.events(of: handle.id).filter { $0.kind == "step.progress" }
            #expect(!reports.contains { $0.payload == "99" })
        }
    }

    @Test("a context of an interrupted run keeps saying that it was interrupted")
    func afterTheInterruption() async throws {
        let world = World()
        let kept = Mutex<RunContext?>(nil)
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    kept.withLock { $0 = run }
                    return try await run.step("long") { _ in
                        world.effect("long")
                        try await Task.sleep(for: .seconds(600))
                        return 1
                    }
                }, input: "")
            try await until { world.count("long") > 0 }
            await engine.interrupt()
            _ = await code { _ = try await handle.result() }
            let run = try #require(kept.withLock { $0 })
            #expect(await Self.error { try await run.step("late") { _ in } }?.code == .interrupted)
        }
    }

    @Test("names that are empty, too long or hold control characters are refused wherever a name goes")
    func names() async throws {
        let world = World()
        let tooLong = String(repeating: "x", count: 201)
        for name in ["", tooLong, "a\nb", "a\u{0}", "a\u{7f}", "a\u{85}b"] {
            try await withEngine { engine, _ in
                let handle = try await engine.start(
                    Script { _, run in
                        var codes: [WorkflowError.Code?] = []
                        codes.append(await Self.error { try await run.step(name) { _ in } }?.code)
                        codes.append(await Self.error { try await run.sleep(name, for: .seconds(1)) }?.code)
                        codes.append(await Self.error { try await run.emit(name, 1) }?.code)
                        codes.append(
                            await Self.error {
                                _ = try await run.withResource(BoxResource(world: world), named: name) { _, _ in 1 }
                            }?.code)
                        #expect(codes == Array(repeating: .invalidName, count: 4), "\(name.debugDescription)")
                        return 1
                    }, input: "")
                #expect(try await handle.result() == 1)
                let error = await Self.error {
                    _ = try await engine.start(Script { _, _ in 1 }, input: "", dedupKey: name)
                }
                #expect(error?.code == .invalidName)
                #expect(try await engine.steps(of: handle.id).isEmpty)
            }
        }
        #expect(world.sandboxes.isEmpty)
    }

    @Test("a limit of time that is zero or negative is refused by its name; a sleep of none is over at once")
    func durations() async throws {
        let world = World()
        for limit in [Duration.zero, .seconds(-5)] {
            try await withEngine { engine, _ in
                let refusal = await Self.error {
                    _ = try await engine.start(Script { _, _ in 1 }, input: "", timeout: limit)
                }
                #expect(refusal?.code == .invalidDuration)
                #expect(try await engine.runs().isEmpty)
                let handle = try await engine.start(
                    Script { _, run in
                        let timeout = await Self.error { try await run.step("one", timeout: limit) { _ in } }
                        #expect(timeout?.code == .invalidDuration)
                        #expect(timeout?.message.contains("the timeout of step 'one' is \(limit)") == true)
                        let silence = await Self.error { try await run.step("two", heartbeat: limit) { _ in } }
                        #expect(silence?.code == .invalidDuration)
                        try await run.sleep("none", for: limit)
                        var resource = BoxResource(world: world)
                        resource.limits.callTimeout = limit
                        return try await run.withResource(resource, named: "box") { _, _ in 1 }
                    }, input: "")
                let error = await Self.error { _ = try await handle.result() }
                #expect(error?.code == .invalidDuration)
                #expect(error?.message.contains("callTimeout of resource 'box'") == true)
                #expect(try await engine.steps(of: handle.id).map(\.name) == ["none"])
            }
        }
        #expect(world.sandboxes.isEmpty)
        try await withEngine { engine, _ in
            #expect(
                await Self.error { _ = try await engine.deleteFinishedRuns(olderThan: .seconds(-1)) }?.code
                    == .invalidDuration)
        }
    }

    @Test("a payload over 1 MiB is refused as input, step input, output, report and event, with size and advice")
    func largePayloads() async throws {
        let large = String(repeating: "x", count: 1 << 20)
        try await withEngine { engine, _ in
            let refusal = await Self.error { _ = try await engine.start(Script { _, _ in 1 }, input: large) }
            #expect(refusal?.code == .payloadTooLarge)
            #expect(refusal?.message.contains("1048578 bytes") == true)
            let handle = try await engine.start(
                Script { _, run in
                    let input = await Self.error { try await run.step("input", input: large) { _ in } }
                    let event = await Self.error { try await run.emit("large", large) }
                    try await run.step("report") { step in
                        let report = await Self.error { try await step.report(large) }
                        #expect(report?.code == .payloadTooLarge)
                    }
                    #expect([input, event].map { $0?.code } == [.payloadTooLarge, .payloadTooLarge])
                    return large
                }, input: "")
            let error = await Self.error { _ = try await handle.result() }
            #expect((error?.cause as? WorkflowError)?.code == .payloadTooLarge)
        }
    }

    @Test("a new run with the id of one that nobody executes is refused, and writes nothing into that one")
    func usedIDOfInterruptedRun() async throws {
        let id = RunID(time: Date(timeIntervalSince1970: 1))
        var configuration = testConfiguration()
        configuration.makeRunID = { _ in id }
        try await TestStore.use { store in
            let script = Script { input, run in
                try await run.step("of \(input)") { _ in
                    if input == "first" { try await Task.sleep(for: .seconds(600)) }
                    return 1
                }
            }
            let first = try await Engine(store: store.configuration, configuration: configuration)
            _ = try await first.start(script, input: "first")
            try await until { try await first.steps(of: id).count == 1 }
            await first.shutdown()
            let second = try await Engine(store: store.configuration, configuration: configuration)
            let before = try await second.steps(of: id)
            await #expect(throws: WorkflowError.self) { try await second.start(script, input: "second") }
            await second.shutdown()
            let third = try await Engine(store: store.configuration, configuration: configuration)
            #expect(try await third.steps(of: id) == before)
            #expect(try await third.run(id)?.status == .interrupted)
            await third.shutdown()
        }
    }

    @Test("a run id that is in use is refused, and the run that has it goes on undisturbed")
    func usedID() async throws {
        let world = World()
        let id = RunID(time: Date(timeIntervalSince1970: 1))
        var configuration = testConfiguration()
        configuration.makeRunID = { _ in id }
        try await withEngine(configuration) { engine, store in
            let script = Script { _, run in
                try await run.step("long") { _ in
                    world.effect("long")
                    try await until { world.count("go") > 0 }
                    return 1
                }
            }
            let handle = try await engine.start(script, input: "")
            try await until { world.count("long") > 0 }
            for key in [nil, "key"] {
                let error = await Self.error { _ = try await engine.start(script, input: "", dedupKey: key) }
                guard case .runHeld? = error?.code else {
                    Issue.record("it threw \(String(describing: error))")
                    continue
                }
            }
            // It still has its lock: nobody else can take it.
            let other = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await other.withAbandonedRun(id) { _ in true } == nil)
            world.effect("go")
            #expect(try await handle.result() == 1)
            #expect(world.count("long") == 1)
            await other.shutdown()
        }
    }

    @Test("a store whose path is empty or a directory is refused, and nothing is made there")
    func paths() async throws {
        try await TestStore.use { store in
            for (path, word) in [("", "empty"), (store.directory, "is a directory")] {
                let error = await Self.error {
                    _ = try await Engine(store: .sqlite(path: path), configuration: testConfiguration())
                }
                #expect(error?.code == .storeNotWritable)
                #expect(error?.message.contains(word) == true)
            }
            #expect(!FileManager.default.fileExists(atPath: store.directory + ".commit.lock"))
        }
    }
}
