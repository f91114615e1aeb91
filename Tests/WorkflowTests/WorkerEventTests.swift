import Foundation
import Synchronization
import Testing

@testable import Workflow

/// What a worker tells of its runs, and what is known of a queue from outside.
@Suite("Workers, seen from outside", .everyStore)
struct WorkerEventTests {
    private struct Broken: Error {}

    @Test("the figures of a queue count what may be taken, what is for later, and what waits for a person")
    func figures() async throws {
        try await withEngines(1) { engines, _ in
            let engine = engines[0]
            let none = QueueFigures(due: 0, foreign: 0, later: 0, parked: 0, oldest: nil)
            #expect(try await engine.figures(ofQueue: "q") == none)
            let doubtful = try await engine.enqueue(Job(), input: "ask", queue: "q")
            let worker = try await engine.work(
                on: [QueueConfiguration("q", concurrency: 1)],
                Job { input, run in
                    let blocked = WorkflowError(.blocked(by: "a test"), "somebody has to help")
                    if input == "ask" { throw run.execution.halt(blocked) }
                    return input
                })
            while try await engine.figures(ofQueue: "q").parked == 0 { try await Task.sleep(for: .milliseconds(5)) }
            await worker.drain(within: .seconds(10))
            _ = try await engine.enqueue(Job(), input: "now", queue: "q")
            _ = try await engine.enqueue(Job(), input: "later", queue: "q", notBefore: Date().addingTimeInterval(3600))
            let figures = try await engine.figures(ofQueue: "q")
            #expect(figures.due == 1 && figures.later == 1 && figures.parked == 1, "\(figures)")
            #expect(figures.oldest.map { $0 >= .zero && $0 < .seconds(60) } == true, "\(figures)")
            #expect(try await engine.run(doubtful.id)?.queueing?.isParked == true)
        }
    }

    @Test("runs of a version or workflow that an engine does not know are due, and foreign to it until they are to end")
    func foreign() async throws {
        try await withEngines(2) { engines, _ in
            let (old, new) = (engines[0], engines[1])
            try old.register(Job())
            try new.register(NewerJob())
            try new.register(OtherJob())
            let handle = try await old.enqueue(Job(), input: "1", queue: "q")
            _ = try await new.enqueue(NewerJob(), input: "2", queue: "q")
            _ = try await new.enqueue(OtherJob(), input: "3", queue: "q")
            for (engine, foreign) in [(old, 2), (new, 1)] {
                let figures = try await engine.figures(ofQueue: "q")
                #expect(figures.due == 3 && figures.foreign == foreign, "\(figures)")
                #expect(figures.oldest != nil)
            }
            try await new.cancel(handle.id)
            #expect(try await new.figures(ofQueue: "q").foreign == 0)
            let worker = try await new.work(on: [QueueConfiguration("q", concurrency: 1)])
            var statuses: [RunStatus] = []
            for _ in 0..<2000 where statuses.isEmpty || !statuses.allSatisfy(\.isFinished) {
                try await Task.sleep(for: .milliseconds(5))
                statuses = try await new.runs(RunQuery()).map(\.status)
            }
            await worker.drain(within: .seconds(10))
            #expect(statuses.count { $0 == .succeeded } == 2 && statuses.contains(.cancelled), "\(statuses)")
        }
    }

    private struct NewerJob: WorkflowDefinition {
        static let name = Job.name
        static let version = 2
        func run(_ input: String, in run: RunContext) async throws -> String { input }
    }

    private struct OtherJob: WorkflowDefinition {
        static let name = "other"
        static let version = 1
        func run(_ input: String, in run: RunContext) async throws -> String { input }
    }

    @Test("at no moment is a run neither due, nor at its worker, nor executed, nor being taken")
    func taking() async throws {
        try await withEngines(2) { engines, _ in
            let worker = try await engines[0].work(on: [QueueConfiguration("q", concurrency: 1)], Job())
            var moments = 0
            for round in 1...100 {
                _ = try await engines[1].enqueue(Job(), input: "\(round)", queue: "q")
                while worker.executed < round {
                    let due = try await engines[1].figures(ofQueue: "q").due
                    let isTaking = worker.isTaking
                    let isHere = !worker.runs.isEmpty
                    #expect(due > 0 || isTaking || isHere || worker.executed >= round, "round \(round)")
                    moments += 1
                }
            }
            print("looked at \(moments) moments of 100 runs")
            await worker.drain(within: .seconds(10))
        }
    }

    @Test("what keeps a worker from taking runs is known for as long as it does")
    func trouble() async throws {
        try await withEngines(1) { engines, store in
            let soon = Date().addingTimeInterval(0.3)
            let handle = try await engines[0].enqueue(Job(), input: "later", queue: "q", notBefore: soon)
            let worker = try await engines[0].work(on: [QueueConfiguration("q", concurrency: 1)], Job())
            #expect(worker.trouble == nil)
            try store.run("UPDATE store SET state = 'moved'")
            try await until { (worker.trouble as? WorkflowError)?.code == .storeMoved }
            #expect(worker.executed == 0)
            try store.run("UPDATE store SET state = 'open'")
            #expect(try await handle.result() == "later")
            #expect(worker.trouble == nil)
            await worker.drain(within: .seconds(10))
        }
    }

    @Test("each run that is executed is told of twice, with how it ended; a queue that pauses gives none")
    func events() async throws {
        try await withEngines(1) { engines, _ in
            let told = Mutex<[String]>([])
            let worker = try await engines[0].work(
                on: [QueueConfiguration("q", concurrency: 1)],
                observing: { event in
                    let words =
                        switch event {
                        case .began(let run): "began \(run.input)"
                        case .ended(let run, .succeeded(let output)): "succeeded \(run.input) \(output)"
                        case .ended(let run, .failed): "failed \(run.input)"
                        case .ended(let run, let other): "\(other) \(run.input)"
                        }
                    told.withLock { $0.append(words) }
                },
                Job { input, _ in
                    if input == "bad" { throw Broken() }
                    return input
                })
            worker.pause("q", for: .milliseconds(400))
            #expect(worker.load == [WorkerLoad(queue: "q", working: 0, resting: 0, isPaused: true)])
            let handles = [
                try await engines[0].enqueue(Job(), input: "good", queue: "q"),
                try await engines[0].enqueue(Job(), input: "bad", queue: "q"),
            ]
            try await Task.sleep(for: .milliseconds(100))
            #expect(told.withLock { $0 }.isEmpty, "it pauses")
            #expect(try await handles[0].result() == "good")
            await #expect(throws: WorkflowError.self) { try await handles[1].result() }
            await worker.drain(within: .seconds(10))
            #expect(
                told.withLock { $0 } == [
                    "began \"good\"", "succeeded \"good\" \"good\"", "began \"bad\"", "failed \"bad\"",
                ])
        }
    }
}
