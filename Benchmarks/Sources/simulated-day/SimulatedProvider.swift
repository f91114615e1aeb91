import Foundation
import Synchronization
import Workflow

/// Gives sandboxes that take simulated time, counts calls and what the sandboxes cost, and allows so many creations a minute.
final class SimulatedProvider: Sendable {
    /// Too many creations of late.
    struct TooMany: RetryClassifying, CustomStringConvertible {
        var isRetryable: Bool { true }
        var description: String { "429: too many sandboxes were created of late" }
    }

    /// What happened to a job.
    struct Record: Sendable {
        var begun = 0.0
        var ended = 0.0
        var sandbox = 0.0
        var calls = 0
        var refused = 0
    }

    private struct State {
        var records: [Record]
        var created: [RunID: (job: Int, at: Date)] = [:]
        var recent: [Date] = []
    }

    let clock: SimulatedClock
    let day: Day
    private let midnight: Date
    /// How many creations any minute may have.
    private let creationsPerMinute: Int
    private let state: Mutex<State>

    init(_ day: Day, clock: SimulatedClock, creationsPerMinute: Int) {
        self.day = day
        self.clock = clock
        self.creationsPerMinute = creationsPerMinute
        midnight = clock.now()
        state = Mutex(State(records: Array(repeating: Record(), count: day.jobs.count)))
    }

    var records: [Record] { state.withLock { $0.records } }
    private var time: Double { clock.now().timeIntervalSince(midnight) }

    func begin(_ job: Int) {
        let time = time
        state.withLock { state in if state.records[job].begun == 0 { state.records[job].begun = time } }
    }

    func end(_ job: Int) {
        let time = time
        state.withLock { $0.records[job].ended = time }
    }

    func call(_ job: Int, times: Int = 1) { state.withLock { $0.records[job].calls += times } }

    func create(_ job: Int, for run: RunID) async throws {
        let now = clock.now()
        let isAllowed = state.withLock { state in
            state.records[job].calls += 1
            state.recent.removeAll { now.timeIntervalSince($0) >= 60 }
            guard state.recent.count < creationsPerMinute else {
                state.records[job].refused += 1
                return false
            }
            state.recent.append(now)
            return true
        }
        guard isAllowed else { throw TooMany() }
        try await clock.sleep(for: day.jobs[job].creation)
        let created = clock.now()
        state.withLock { $0.created[run] = (job, created) }
    }

    func release(_ run: RunID) {
        let now = clock.now()
        state.withLock { state in
            guard let (job, created) = state.created.removeValue(forKey: run) else { return }
            state.records[job].calls += 1
            state.records[job].sandbox = now.timeIntervalSince(created)
        }
    }

    /// How many sandboxes are there now.
    var alive: Int { state.withLock { $0.created.count } }
}

private struct SimulatedSandbox: DurableResource {
    static let kind = "sandbox"
    let provider: SimulatedProvider
    let job: Int

    var limits: ResourceLimits {
        ResourceLimits(createRetry: .exponential(attempts: 100, base: .seconds(2), cap: .seconds(30)))
    }

    func find(_ key: ResourceKey) async throws -> [Int] {
        provider.call(job)
        return []
    }

    func create(_ key: ResourceKey) async throws -> Int {
        try await provider.create(job, for: key.runID)
        return job
    }

    func liveness(of handle: Int, _ key: ResourceKey) async throws -> Liveness { .alive }

    func release(_ handle: Int, _ key: ResourceKey) async throws { provider.release(key.runID) }

    func externalID(of handle: Int) -> String { "\(handle)" }
}

/// The shipped workflow's shape: a sandbox, a pull in it that is polled, a push, and an entry in a catalog.
struct SimulatedSnapshot: WorkflowDefinition {
    static let name = "simulated-snapshot"
    static let version = 1
    let provider: SimulatedProvider

    /// How often a pull is looked at.
    private static let pollSeconds = 10.0

    func run(_ job: Int, in run: RunContext) async throws -> Int {
        provider.begin(job)
        let work = provider.day.jobs[job]
        try await run.withResource(SimulatedSandbox(provider: provider, job: job), named: "sandbox") { run, _ in
            try await run.step("pull") { [provider] _ in
                provider.call(job, times: 1 + Int(work.pull / Self.pollSeconds))
                try await provider.clock.sleep(for: work.pull)
            }
            try await run.step("push") { [provider] _ in
                provider.call(job)
                try await provider.clock.sleep(for: work.push)
            }
        }
        try await run.step("register") { [provider] _ in provider.end(job) }
        return job
    }
}
