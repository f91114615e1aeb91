import Foundation
import Testing
import Workflow
import WorkflowTesting

@Suite("Steps", .everyStore)
struct StepTests {
    @Test("a run answers with what its steps made, and the steps are recorded")
    func straightforward() async throws {
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { input, run in
                    let length = try await run.step("measure", input: input) { _ in input.count }
                    return try await run.step("say") { step in "\(input) has \(length) (attempt \(step.attempt))" }
                }, input: "word", labels: ["who": "me"])
            #expect(try await handle.result() == "word has 4 (attempt 1)")
            let record = try #require(try await engine.run(handle.id))
            #expect(record.status == .succeeded)
            #expect(record.output == "\"word has 4 (attempt 1)\"")
            #expect(record.labels == ["who": "me"])
            let steps = try await engine.steps(of: handle.id)
            #expect(steps.map(\.name) == ["measure", "say"])
            #expect(steps.allSatisfy { $0.state == .done && $0.attempt == 1 })
            let kinds = try await engine.events(of: handle.id).map(\.kind)
            #expect(
                kinds == ["run.started", "step.started", "step.done", "step.started", "step.done", "run.succeeded"])
        }
    }

    @Test("a resumed run takes recorded steps from their checkpoints and the others anew")
    func replay() async throws {
        let world = World()
        try await withEngine { first, store in
            let script = Script { _, run in
                let one = try await run.step("one") { _ in world.effect("one") }
                return try await run.step("two") { _ in
                    if world.effect("two") == 1 { try await Task.sleep(for: .seconds(60)) }
                    return one + 10
                }
            }
            let handle = try await first.start(script, input: "")
            try await until { world.count("two") > 0 }
            await first.interrupt()
            #expect(await code { _ = try await handle.result() } == .interrupted)
            #expect(try await first.run(handle.id)?.status == .interrupted)
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == 11)
            #expect(world.effects == ["one": 1, "two": 2])
            let step = try #require(try await second.steps(of: handle.id).last)
            #expect(step.attempt == 2 && step.crashes == 0 && step.failures == 0)
            await second.shutdown()
        }
    }

    @Test("steps of a task group and of async let run at once and are found by name")
    func concurrent() async throws {
        try await withEngine { engine, _ in
            let script = Script { _, run in
                async let left = run.step("left") { _ in 1 }
                async let right = run.step("right") { _ in 2 }
                let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                    for index in 0..<20 {
                        group.addTask { try await run.step("layer[\(index)]") { _ in index } }
                    }
                    return try await group.reduce(0, +)
                }
                return try await left + right + sum
            }
            let handle = try await engine.start(script, input: "")
            #expect(try await handle.result() == 193)
            #expect(try await engine.steps(of: handle.id).count == 22)
        }
    }

    @Test("a name used twice in a run is refused")
    func duplicateName() async throws {
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("same") { _ in 1 }
                    return try await run.step("same") { _ in 2 }
                }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await handle.result() }
            #expect((error?.cause as? WorkflowError)?.code == .duplicateName)
            #expect(try await engine.run(handle.id)?.status == .failed)
        }
    }

    @Test("a payload over the limit is refused with its size, as input, output and run input")
    func payloadLimit() async throws {
        var configuration = testConfiguration()
        configuration.payloadLimit = 100
        try await withEngine(configuration) { engine, _ in
            let large = String(repeating: "x", count: 200)
            #expect(await code { _ = try await engine.start(Script { _, _ in 1 }, input: large) } == .payloadTooLarge)
            let output = try await engine.start(
                Script { _, run in try await run.step("big") { _ in large } }, input: "")
            let error = await #expect(throws: WorkflowError.self) { try await output.result() }
            #expect(error?.message.contains("202 bytes") == true)
            let step = try #require(try await engine.steps(of: output.id).first)
            #expect(step.state == .failed && step.attempt == 1)
        }
    }

    @Test("a step without a result is recorded as well")
    func noResult() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("touch") { _ in _ = world.effect("touch") }
                    return true
                }, input: "")
            #expect(try await handle.result())
            #expect(world.count("touch") == 1)
        }
    }
}
