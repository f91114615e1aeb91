import CoreMetrics
import Foundation
import InMemoryTracing
import MetricsTestKit
import Testing
import Tracing
import Workflow
import WorkflowTesting

/// Runs `body` with a metrics factory of its own. The closure's type spells out that it may throw anything.
private func observing<T>(_ metrics: TestMetrics, _ body: () async throws -> T) async throws -> T {
    try await withMetricsFactory(metrics, body)
}

/// Runs `body` with a tracer of its own.
private func tracing<T>(_ tracer: InMemoryTracer, _ body: () async throws -> T) async throws -> T {
    try await withTracer(tracer, body)
}

@Suite("Metrics and traces", .everyStore)
struct ObservationTests {
    /// Fails once, counts a loop, and calls a failing step.
    private static func script(_ world: World) -> Script<Int> {
        Script { _, run in
            let first = try await run.step("shaky") { _ in
                try world.mayFail("shaky")
                return 1
            }
            for index in 0..<3 { _ = try await run.step("layer[\(index)]") { _ in index } }
            do {
                try await run.step("broken", retry: .none) { _ in throw TerminalError("no") }
            } catch is StepFailure {
                // The workflow goes another way.
            }
            return first
        }
    }

    private static func total(_ metrics: TestMetrics, _ label: String, _ dimensions: [(String, String)]) -> Int64 {
        metrics.counterTotal(label: label, dimensions: [("workflow", "script")] + dimensions)
    }

    private static func count(_ metrics: TestMetrics, _ label: String, _ dimensions: [(String, String)]) -> Int {
        metrics.timers(label: label, dimensions: [("workflow", "script")] + dimensions).flatMap(\.values).count
    }

    @Test("attempts, steps and runs are counted and timed by workflow, step and outcome; loops share a series")
    func runs() async throws {
        let metrics = TestMetrics()
        let world = World()
        world.fail("shaky", times: 1)
        try await observing(metrics) {
            try await withEngine { engine, _ in
                let result = try await engine.start(Self.script(world), input: "").result()
                #expect(result == 1)
            }
        }
        let attempts = "workflow.step.attempts"
        #expect(Self.total(metrics, attempts, [("step", "shaky"), ("outcome", "threw")]) == 1)
        #expect(Self.total(metrics, attempts, [("step", "shaky"), ("outcome", "returned")]) == 1)
        #expect(Self.total(metrics, attempts, [("step", "layer"), ("outcome", "returned")]) == 3)
        let steps = "workflow.step.duration"
        #expect(Self.count(metrics, steps, [("step", "shaky"), ("outcome", "done")]) == 1)
        #expect(Self.count(metrics, steps, [("step", "layer"), ("outcome", "done")]) == 3)
        #expect(Self.count(metrics, steps, [("step", "broken"), ("outcome", "failed")]) == 1)
        #expect(Self.count(metrics, "workflow.run.duration", [("outcome", "succeeded")]) == 1)
        #expect(try metrics.expectMeter("workflow.runs.active").values == [1, 0])
    }

    @Test("every commit tells how many operations it took, how long they waited, and how long it took")
    func commits() async throws {
        let metrics = TestMetrics()
        let commits = try await observing(metrics) {
            try await withEngine { engine, _ in
                _ = try await engine.start(Self.script(World()), input: "").result()
                return engine.commitCount
            }
        }
        let operations = try metrics.expectRecorder("workflow.commit.operations").values
        let queue = try metrics.expectRecorder("workflow.commit.queue").values
        #expect(operations.count >= commits)
        #expect(operations.allSatisfy { $0 >= 1 })
        #expect(operations.contains { $0 >= 2 }, "a done travels with the next intent")
        #expect(zip(operations, queue).allSatisfy { $0 <= $1 })
        // A lock of a file is waited for on SQLite alone.
        let waits = StoreKind.current == .sqlite ? ["workflow.lock.wait"] : []
        for label in ["workflow.commit.duration", "workflow.commit.latency"] + waits {
            let values = try metrics.expectTimer(label).values
            #expect(values.count == operations.count, "\(label)")
            #expect(values.allSatisfy { $0 >= 0 }, "\(label)")
        }
        #expect(metrics.counterTotal(label: "workflow.commit.failures") == 0)
    }

    @Test("a run that was left is stopped, and a resumed one says how many steps came from their checkpoints")
    func replay() async throws {
        let metrics = TestMetrics()
        let tracer = InMemoryTracer()
        let script = Script<Int> { _, run in
            for index in 0..<3 { _ = try await run.step("layer[\(index)]") { _ in index } }
            return try await run.step("wait") { step in
                if step.attempt == 1 { try await Task.sleep(for: .seconds(600)) }
                return step.attempt
            }
        }
        try await observing(metrics) {
            try await tracing(tracer) {
                try await TestStore.use { store in
                    let first = try await Engine(store: store.configuration, configuration: testConfiguration())
                    let handle = try await first.start(script, input: "")
                    try await until { try await first.steps(of: handle.id).last?.name == "wait" }
                    await first.shutdown()
                    let second = try await Engine(store: store.configuration, configuration: testConfiguration())
                    #expect(try await second.resume(handle.id, as: script).result() == 2)
                    await second.shutdown()
                }
            }
        }
        #expect(Self.total(metrics, "workflow.steps.replayed", []) == 3)
        #expect(Self.count(metrics, "workflow.run.duration", [("outcome", "stopped")]) == 1)
        #expect(Self.count(metrics, "workflow.step.duration", [("step", "wait"), ("outcome", "stopped")]) == 1)
        let runs = tracer.finishedSpans.filter { $0.operationName == "run script" }
        #expect(runs.map { $0.attributes["workflow.run.epoch"]?.toSpanAttribute() } == [.int64(1), .int64(2)])
        #expect(runs.map { $0.status?.code } == [.error, nil])
    }

    @Test("a span for the run hangs below the caller's, one for each attempt below the run's, a body's own below that")
    func spans() async throws {
        let tracer = InMemoryTracer()
        let world = World()
        world.fail("shaky", times: 1)
        let script = Script<Int> { _, run in
            try await run.step("shaky") { _ in
                try world.mayFail("shaky")
                return withSpan("inside") { _ in 1 }
            }
        }
        try await tracing(tracer) {
            try await withEngine { engine, _ in
                _ = try await withSpan("caller") { _ in try await engine.start(script, input: "").result() }
            }
        }
        let spans = tracer.finishedSpans
        let caller = try #require(spans.first { $0.operationName == "caller" })
        let run = try #require(spans.first { $0.operationName == "run script" })
        let attempts = spans.filter { $0.operationName == "step shaky" }
        let inside = try #require(spans.first { $0.operationName == "inside" })
        #expect(run.parentSpanID == caller.spanID)
        #expect(run.attributes["workflow.outcome"]?.toSpanAttribute() == .string("succeeded"))
        #expect(attempts.map(\.parentSpanID) == [run.spanID, run.spanID])
        #expect(attempts.map { $0.attributes["workflow.step.attempt"]?.toSpanAttribute() } == [.int64(1), .int64(2)])
        #expect(attempts.map { $0.errors.count } == [1, 0])
        #expect(attempts.map { $0.status?.code } == [.error, nil])
        #expect(inside.parentSpanID == attempts.last?.spanID)
        #expect(tracer.activeSpans.isEmpty)
    }
}
