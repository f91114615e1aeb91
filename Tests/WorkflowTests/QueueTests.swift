import Foundation
import Synchronization
import Testing
import WorkflowTesting

@testable import Workflow

/// A workflow for queues: what it does is up to the world's `act`.
struct Job: WorkflowDefinition {
    static let name = "job"
    static let version = 1
    let body: @Sendable (String, RunContext) async throws -> String

    init(_ body: @escaping @Sendable (String, RunContext) async throws -> String = { input, _ in input }) {
        self.body = body
    }

    func run(_ input: String, in run: RunContext) async throws -> String {
        try await body(input, run)
    }
}

/// Counts how many of something are under way, in the whole process.
final class Gauge: Sendable {
    private let state = Mutex((now: 0, most: 0, order: [String]()))

    var most: Int { state.withLock { $0.most } }
    var now: Int { state.withLock { $0.now } }
    var order: [String] { state.withLock { $0.order } }

    func enter(_ name: String = "") {
        state.withLock { state in
            state.now += 1
            state.most = max(state.most, state.now)
            state.order.append(name)
        }
    }

    func leave() { state.withLock { $0.now -= 1 } }
}

/// A configuration by the wall clock, as the database's times are.
func queueConfiguration() -> EngineConfiguration { testConfiguration(clock: SystemClock()) }

/// Several engines on one store, for the time of `body`.
func withEngines<T>(
    _ count: Int, _ configuration: EngineConfiguration = queueConfiguration(),
    _ body: ([Engine], TestStore) async throws -> T
) async throws -> T {
    try await TestStore.use { store in
        var engines: [Engine] = []
        for _ in 0..<count {
            engines.append(try await Engine(store: store.configuration, configuration: configuration))
        }
        let result: Result<T, any Error>
        do {
            result = .success(try await body(engines, store))
        } catch {
            result = .failure(error)
        }
        for engine in engines { await engine.shutdown() }
        return try result.get()
    }
}

@Suite("Queues", .everyStore)
struct QueueTests {
    @Test("an enqueued run waits until a worker takes it, and its handle answers wherever it is executed")
    func simple() async throws {
        try await withEngines(2) { engines, _ in
            let handle = try await engines[0].enqueue(Job(), input: "hello", queue: "q", labels: ["a": "b"])
            let waiting = try await engines[0].run(handle.id)
            #expect(waiting?.status == .pending && waiting?.queueing?.queue == "q" && waiting?.epoch == 0)
            let worker = try await engines[1].work(on: [QueueConfiguration("q", concurrency: 2)], Job())
            #expect(try await handle.result() == "hello")
            try await until { worker.executed == 1 }
            #expect(try await engines[0].run(handle.id)?.status == .succeeded)
            await worker.drain(within: .seconds(1))
        }
    }

    @Test("priority comes before age, and what is due later waits")
    func order() async throws {
        let gauge = Gauge()
        let job = Job { input, run in
            try await run.step("note") { _ in gauge.enter(input) }
            return input
        }
        try await withEngines(1) { engines, _ in
            let engine = engines[0]
            let start = Date()
            let later = try await engine.enqueue(
                job, input: "later", queue: "q", priority: 9, notBefore: start.addingTimeInterval(1.5))
            var handles: [RunHandle<String>] = []
            for (name, priority) in [("c", 0), ("b", 1), ("a", 2), ("d", 0)] {
                handles.append(try await engine.enqueue(job, input: name, queue: "q", priority: priority))
            }
            _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1)], job)
            for handle in handles { _ = try await handle.result() }
            #expect(gauge.order == ["a", "b", "c", "d"])
            #expect(try await later.result() == "later")
            #expect(Date().timeIntervalSince(start) >= 1.5)
        }
    }

    @Test("a dedup key is taken by a run that waits, too")
    func dedup() async throws {
        try await withEngines(2) { engines, _ in
            let first = try await engines[0].enqueue(Job(), input: "1", queue: "q", dedupKey: "k")
            let second = try await engines[1].enqueue(Job(), input: "2", queue: "q", dedupKey: "k")
            #expect(!first.isExisting && second.isExisting && second.id == first.id)
            _ = try await engines[1].work(on: [QueueConfiguration("q", concurrency: 1)], Job())
            #expect(try await second.result() == "1")
            #expect(try await engines[0].enqueue(Job(), input: "3", queue: "q", dedupKey: "k").id == first.id)
            #expect(try await engines[0].runs().count == 1)
        }
    }

    @Test("three workers never execute more runs of a queue at once than it allows, nor one more than its own limit")
    func limits() async throws {
        let all = Gauge()
        let own = [Gauge(), Gauge(), Gauge()]
        try await withEngines(3) { engines, _ in
            var handles: [RunHandle<String>] = []
            for index in 0..<60 {
                handles.append(try await engines[index % 3].enqueue(Job(), input: "\(index)", queue: "q"))
            }
            var workers: [Worker] = []
            for (engine, gauge) in zip(engines, own) {
                let job = Job { input, run in
                    try await run.step("work") { _ in
                        all.enter()
                        gauge.enter()
                        try await Task.sleep(for: .milliseconds(10))
                        gauge.leave()
                        all.leave()
                    }
                    return input
                }
                workers.append(
                    try await engine.work(
                        on: [QueueConfiguration("q", concurrency: 2, totalConcurrency: 4)], job))
            }
            for handle in handles { _ = try await handle.result() }
            print("at once: \(all.most) of all, \(own.map(\.most)) of each; executed: \(workers.map(\.executed))")
            #expect(all.most <= 4 && all.most >= 2)
            #expect(own.allSatisfy { $0.most <= 2 })
        }
    }

    @Test("no more runs begin in any period than the rate allows, over all workers")
    func rate() async throws {
        let starts = Mutex<[Double]>([])
        let job = Job { input, run in
            starts.withLock { $0.append(Date().timeIntervalSinceReferenceDate) }
            return input
        }
        try await withEngines(3) { engines, _ in
            let rate = QueueConfiguration.Rate(starts: 5, per: .milliseconds(500))
            var handles: [RunHandle<String>] = []
            for index in 0..<20 { handles.append(try await engines[0].enqueue(job, input: "\(index)", queue: "q")) }
            for (number, engine) in engines.enumerated() {
                // The others leave the rate as the first one has set it.
                let queue = QueueConfiguration(
                    "q", concurrency: 5, rate: number == 0 ? rate : nil, keepsLimits: number > 0)
                _ = try await engine.work(on: [queue], job)
            }
            for handle in handles { _ = try await handle.result() }
            let times = starts.withLock { $0.sorted() }
            // A run begins here a little later than the store says, by as much as the machine is busy.
            for index in times.indices.dropFirst(5) {
                #expect(times[index] - times[index - 5] > 0.35, "\(times)")
            }
            #expect(times[19] - times[0] >= 1.4)
            print("20 starts in \(times[19] - times[0]) s, at 5 in half a second")
        }
    }

    @Test("one tenant's thousand runs do not hold up another's three")
    func fairness() async throws {
        let gauge = Gauge()
        let job = Job { input, run in
            gauge.enter(input)
            return input
        }
        try await withEngines(1) { engines, _ in
            let engine = engines[0]
            // Those that wait already get their turns when the first worker says what the queue is fair between.
            for _ in 0..<300 { _ = try await engine.enqueue(job, input: "big", queue: "q", labels: ["tenant": "big"]) }
            let queue = QueueConfiguration("q", concurrency: 1, fairness: "tenant")
            try await engine.core.store.configure(queue.settings)
            for _ in 0..<200 { _ = try await engine.enqueue(job, input: "big", queue: "q", labels: ["tenant": "big"]) }
            var small: [RunHandle<String>] = []
            for _ in 0..<3 {
                small.append(try await engine.enqueue(job, input: "small", queue: "q", labels: ["tenant": "small"]))
            }
            let worker = try await engine.work(on: [queue], job)
            for handle in small { _ = try await handle.result() }
            await worker.drain(within: .seconds(5))
            let places = gauge.order.enumerated().filter { $0.element == "small" }.map(\.offset)
            print("the small tenant's runs were the ones at \(places)")
            #expect(places.count == 3 && places[2] <= 8)
        }
    }

    @Test("a drained worker takes nothing more, lets runs end, and leaves the rest to others")
    func drain() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.step("work") { _ in
                world.effect("begun \(input)")
                if input == "short" { try await until { world.count("go") > 0 } }
                if input == "long", world.count("begun long") == 1 { try await Task.sleep(for: .seconds(600)) }
            }
            if input == "asleep" { try await run.sleep("nap", for: .seconds(world.count("awake") > 0 ? 0 : 600)) }
            return input
        }
        try await withEngines(2) { engines, _ in
            var handles: [String: RunHandle<String>] = [:]
            for name in ["short", "long"] {
                handles[name] = try await engines[0].enqueue(job, input: name, queue: "q")
            }
            let worker = try await engines[0].work(on: [QueueConfiguration("q", concurrency: 2)], job)
            try await until { world.count("begun short") > 0 && world.count("begun long") > 0 }
            let waiting = try await engines[0].enqueue(job, input: "waiting", queue: "q")
            async let drained: Void = worker.drain(within: .seconds(1))
            try await Task.sleep(for: .milliseconds(100))
            world.effect("go")
            await drained
            #expect(worker.runs.isEmpty)
            #expect(try await handles["short"]?.result() == "short")
            let left = try await engines[1].run(handles["long"]?.id ?? waiting.id)
            #expect(left?.status == .interrupted && left?.queueing?.isParked == false)
            #expect(try await engines[1].run(waiting.id)?.status == .pending)
            _ = try await engines[1].work(on: [QueueConfiguration("q", concurrency: 2)], job)
            #expect(try await handles["long"]?.result() == "long")
            #expect(try await waiting.result() == "waiting")
            #expect(try await engines[1].run(handles["long"]?.id ?? waiting.id)?.queueing?.deaths == 0)
        }
    }

    @Test("the runs of a worker that dies come back, and one that kills its workers fails and is released")
    func deaths() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("work") { _ in
                    world.effect(input)
                    if input == "poison" || world.count(input) == 1 { try await Task.sleep(for: .seconds(600)) }
                }
            }
            return input
        }
        try await TestStore.use { store in
            let owner = try await Engine(store: store.configuration, configuration: queueConfiguration())
            let good = try await owner.enqueue(job, input: "good", queue: "q")
            let poison = try await owner.enqueue(job, input: "poison", queue: "q")
            for life in 1...3 {
                let engine = try await Engine(store: store.configuration, configuration: queueConfiguration())
                _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 2, deathLimit: 2)], job)
                try await until { world.count("poison") == life }
                // The first life kills both; the good one gets through in the second.
                try await until {
                    life == 1 ? world.count("good") == 1 : try await owner.run(good.id)?.status == .succeeded
                }
                engine.sever()
                await engine.shutdown()
            }
            _ = try await owner.work(on: [QueueConfiguration("q", concurrency: 2, deathLimit: 2)], job)
            #expect(try await good.result() == "good")
            let error = await #expect(throws: WorkflowError.self) { try await poison.result() }
            guard case .runFailed(let failure) = error?.code else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(failure.kind == .crashed)
            #expect(world.count("poison") == 3)
            #expect(world.alive.isEmpty)
            await owner.shutdown()
        }
    }

    /// A box whose release does not return.
    private struct HeldBox: DurableResource {
        static let kind = "box"
        let box: BoxResource

        func find(_ key: ResourceKey) async throws -> [Box] { try await box.find(key) }
        func create(_ key: ResourceKey) async throws -> Box { try await box.create(key) }
        func liveness(of handle: Box, _ key: ResourceKey) async throws -> Liveness {
            try await box.liveness(of: handle, key)
        }
        func release(_ handle: Box, _ key: ResourceKey) async throws {
            box.world.effect("release")
            try await Task.sleep(for: .seconds(600))
        }
        func externalID(of handle: Box) -> String { handle.id }
    }

    @Test("a run whose release kills its workers, too, fails and leaves what it owns in the ledger")
    func buried() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.withResource(HeldBox(box: BoxResource(world: world)), named: "box") { run, _ in
                try await run.step("work") { _ in
                    world.effect("work")
                    try await Task.sleep(for: .seconds(600))
                }
            }
            return input
        }
        let queue = QueueConfiguration("q", concurrency: 1, deathLimit: 1)
        try await TestStore.use { store in
            let owner = try await Engine(store: store.configuration, configuration: queueConfiguration())
            let poison = try await owner.enqueue(job, input: "poison", queue: "q")
            for life in 1...3 {
                let engine = try await Engine(store: store.configuration, configuration: queueConfiguration())
                _ = try await engine.work(on: [queue], job)
                try await until { life < 3 ? world.count("work") == life : world.count("release") == 1 }
                engine.sever()
                await engine.shutdown()
            }
            _ = try await owner.work(on: [queue], job)
            guard case .runFailed(let failure)? = await code({ _ = try await poison.result() }) else {
                Issue.record("the run did not fail")
                return
            }
            #expect(failure.kind == .crashed)
            #expect(world.count("work") == 2 && world.count("release") == 1 && world.alive.count == 1)
            #expect(try await owner.resources(of: poison.id).map(\.state.isOpen) == [true])
            await owner.shutdown()
        }
    }

    @Test("a run that needs a person is parked, and no worker takes it until it is unparked")
    func parked() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.step("work") { _ in
                if world.effect("work") == 1 { throw Blocked() }
            }
            return input
        }
        try await withEngines(2) { engines, _ in
            let handle = try await engines[0].enqueue(job, input: "x", queue: "q")
            for engine in engines { _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1)], job) }
            try await until { try await engines[0].run(handle.id)?.queueing?.isParked == true }
            #expect(await code { _ = try await handle.result() } == .interrupted)
            try await Task.sleep(for: .milliseconds(300))
            #expect(world.count("work") == 1)
            #expect(try await engines[0].events(of: handle.id).contains { $0.kind == "run.parked" })
            #expect(try await engines[1].unpark(handle.id))
            #expect(try await handle.result() == "x")
            #expect(try await !engines[1].unpark(handle.id))
        }
    }

    @Test("a waiting run that is cancelled ends at once, without a worker")
    func cancelWaiting() async throws {
        try await withEngines(1) { engines, _ in
            let handle = try await engines[0].enqueue(Job(), input: "x", queue: "q")
            try await handle.cancel()
            #expect(await code { _ = try await handle.result() } == .cancelled)
            _ = try await engines[0].work(on: [QueueConfiguration("q", concurrency: 1)], Job())
            #expect(try await engines[0].enqueue(Job(), input: "y", queue: "q").result() == "y")
            #expect(try await engines[0].run(handle.id)?.status == .cancelled)
        }
    }

    @Test("a run that sleeps leaves its place to others, and gets one again before it goes on")
    func sleepers() async throws {
        let gauge = Gauge()
        let job = Job { input, run in
            for round in 0..<3 {
                try await run.step("work[\(round)]") { _ in
                    gauge.enter(input)
                    try await Task.sleep(for: .milliseconds(5))
                    gauge.leave()
                }
                try await run.sleep("nap[\(round)]", for: .milliseconds(60))
            }
            return input
        }
        try await withEngines(2) { engines, _ in
            var handles: [RunHandle<String>] = []
            for index in 0..<12 { handles.append(try await engines[0].enqueue(job, input: "\(index)", queue: "q")) }
            for engine in engines {
                _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1, totalConcurrency: 2)], job)
            }
            for handle in handles { _ = try await handle.result() }
            #expect(gauge.most <= 2)
            #expect(gauge.order.count == 36)
            // While the first one sleeps the others begin.
            #expect(Set(gauge.order.prefix(6)).count > 2)
        }
    }
}

/// Only somebody outside can end it.
struct Blocked: RetryClassifying {
    var isRetryable: Bool { false }
    var isBlocked: Bool { true }
}
