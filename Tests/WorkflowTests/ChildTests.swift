import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// A run of runs.
struct Batch: WorkflowDefinition {
    static let name = "batch"
    static let version = 1
    var queue = "q"

    func run(_ input: [String], in run: RunContext) async throws -> [String] {
        var children: [ChildRun<String>] = []
        for (index, input) in input.enumerated() {
            children.append(try await run.child("part[\(index)]", Job.self, input: input, queue: queue))
        }
        var results: [String] = []
        for child in children {
            do {
                results.append(try await child.result())
            } catch let failure as ChildFailure {
                results.append("\(failure.status.rawValue): \(failure.failure.message)")
            }
        }
        return results
    }
}

@Suite("Child runs", .everyStore)
struct ChildTests {
    @Test("a parent waits for its children without a place of its own, and catches what one of them throws")
    func batch() async throws {
        let gauge = Gauge()
        let job = Job { input, run in
            try await run.step("work") { _ in
                gauge.enter(input)
                try await Task.sleep(for: .milliseconds(5))
                gauge.leave()
                if input == "bad" { throw TerminalError("no such image") }
            }
            return "done \(input)"
        }
        try await withEngines(1) { engines, _ in
            // One place for the parent and all its children.
            _ = try await engines[0].work(
                on: [QueueConfiguration("q", concurrency: 1, totalConcurrency: 1)], job, Batch())
            let handle = try await engines[0].enqueue(Batch(), input: ["a", "bad", "c"], queue: "q")
            #expect(try await handle.result() == ["done a", "failed: no such image", "done c"])
            #expect(gauge.most == 1)
            let children = try await engines[0].children(of: handle.id)
            #expect(children.map(\.parent?.name) == ["part[0]", "part[1]", "part[2]"])
            #expect(children.allSatisfy { $0.parent?.id == handle.id })
            #expect(children.map(\.status) == [.succeeded, .failed, .succeeded])
        }
    }

    @Test("a parent that is started by hand waits for children on another engine, and wakes quickly")
    func elsewhere() async throws {
        try await withEngines(2) { engines, _ in
            _ = try await engines[1].work(on: [QueueConfiguration("q", concurrency: 4)], Job())
            let handle = try await engines[0].start(Batch(), input: (0..<20).map { "\($0)" })
            let began = ContinuousClock.now
            #expect(try await handle.result() == (0..<20).map { "\($0)" })
            print("a batch of 20: \(began.duration(to: .now))")
        }
    }

    @Test("a resumed parent finds its children, and what they answered")
    func resumed() async throws {
        try await TestStore.use { files in
            let world = World()
            let job = Job { input, run in
                try await run.step("work") { _ in world.effect("work \(input)") }
                return input
            }
            let first = try await Engine(store: files.configuration, configuration: queueConfiguration())
            let handle = try await first.start(Batch(), input: ["a", "b"])
            try await until { try await first.children(of: handle.id).count == 2 }
            first.sever()
            await first.shutdown()
            let second = try await Engine(store: files.configuration, configuration: queueConfiguration())
            _ = try await second.work(on: [QueueConfiguration("q", concurrency: 1)], job)
            #expect(try await second.resume(handle.id, as: Batch()).result() == ["a", "b"])
            #expect(world.effects == ["work a": 1, "work b": 1])
            #expect(try await second.runs().count == 3)
            await second.shutdown()
        }
    }

    @Test("a parent's cancellation cancels its children, those that wait at once and those that work by their worker")
    func cancellation() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("work") { _ in
                    world.effect("work")
                    try await Task.sleep(for: .seconds(600))
                }
            }
            return input
        }
        try await withEngines(2) { engines, _ in
            _ = try await engines[1].work(on: [QueueConfiguration("q", concurrency: 1)], job)
            let handle = try await engines[0].start(Batch(), input: ["a", "b", "c"])
            try await until { world.count("work") == 1 }
            try await handle.cancel()
            #expect(await code { _ = try await handle.result() } == .cancelled)
            try await until { try await engines[0].children(of: handle.id).allSatisfy { $0.status == .cancelled } }
            #expect(world.count("work") == 1 && world.alive.isEmpty)
        }
    }

    @Test("a child that is started after the cancellation of its parent was asked for ends with it, without a worker")
    func startedLate() async throws {
        try await TestStore.use { files in
            let store = try await files.open()
            let id = RunID(time: Date())
            try await store.make(id)
            try await store.requestCancellation(id)
            let child = NewChild(
                id: RunID(time: Date()), name: "c", workflow: "w", version: 1, input: "1", inputHash: "", labels: [:],
                deadlineAt: nil, place: QueuePlace(queue: "q", priority: 0, notBefore: nil))
            try await store.commit([.child(child)], run: id, epoch: 1)
            #expect(try await store.run(child.id)?.status == .pending)
            store.cancelChildren(of: id, epoch: 1)
            try await store.flush()
            #expect(try await store.run(child.id)?.status == .cancelled)
            await store.close()
        }
    }

    @Test("children go with a parent that fails, and are deleted with it only")
    func failureAndRetention() async throws {
        let failing = Script { _, run -> Int in
            _ = try await run.child("left", Job.self, input: "x", queue: "q")
            try await run.step("fail", retry: .none) { _ in throw TerminalError("no") }
            return 1
        }
        try await withEngines(1) { engines, _ in
            let engine = engines[0]
            let handle = try await engine.start(failing, input: "")
            _ = try? await handle.result()
            try await until { try await engine.children(of: handle.id).map(\.status) == [.cancelled] }
            let child = try await engine.children(of: handle.id)[0].id
            #expect(await code { try await engine.deleteRun(child) } == .notFinished(.cancelled))
            try await Task.sleep(for: .milliseconds(5))
            _ = try await engine.deleteFinishedRuns(olderThan: .zero)
            #expect(try await engine.runs().isEmpty)
        }
    }

    @Test("a parent whose child has not ended is kept")
    func unfinishedChild() async throws {
        let leaving = Script { _, run in
            try await run.child("left", Job.self, input: "x", queue: "q").id.description
        }
        try await withEngines(1) { engines, _ in
            let engine = engines[0]
            let handle = try await engine.start(leaving, input: "")
            let child = try await handle.result()
            try await Task.sleep(for: .milliseconds(5))
            #expect(try await engine.deleteFinishedRuns(olderThan: .zero) == 0)
            #expect(await code { try await engine.deleteRun(handle.id) } == .notFinished(.succeeded))
            _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1)], Job())
            try await until { try await engine.children(of: handle.id).map(\.status) == [.succeeded] }
            #expect(try await engine.children(of: handle.id).map(\.id.description) == [child])
            try await Task.sleep(for: .milliseconds(5))
            #expect(try await engine.deleteFinishedRuns(olderThan: .zero) == 1)
            #expect(try await engine.runs().isEmpty)
        }
    }
}
