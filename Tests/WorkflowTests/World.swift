import Foundation
import Logging
import Synchronization
import Workflow
import WorkflowTesting

/// The outside that test workflows work on: sandboxes that can be made, lost and ended, and effects that are counted.
final class World: Sendable {
    struct Sandbox: Sendable {
        let id: String
        let key: ResourceKey
        var isAlive = true
    }

    struct State: Sendable {
        var sandboxes: [Sandbox] = []
        var effects: [String: Int] = [:]
        var failuresLeft: [String: Int] = [:]
        var calls: [String] = []
    }

    private let state = Mutex(State())

    /// Counts an effect.
    ///
    /// - Returns: how often it has happened now.
    @discardableResult
    func effect(_ name: String) -> Int {
        state.withLock { state in
            state.effects[name, default: 0] += 1
            return state.effects[name, default: 0]
        }
    }

    func count(_ name: String) -> Int { state.withLock { $0.effects[name, default: 0] } }
    var effects: [String: Int] { state.withLock { $0.effects } }

    /// Lets the next calls of `name` fail.
    func fail(_ name: String, times: Int) { state.withLock { $0.failuresLeft[name] = times } }

    func mayFail(_ name: String) throws {
        let fails = state.withLock { state in
            state.calls.append(name)
            guard let left = state.failuresLeft[name], left > 0 else { return false }
            state.failuresLeft[name] = left - 1
            return true
        }
        if fails { throw Glitch(what: name) }
    }

    var calls: [String] { state.withLock { $0.calls } }
    var sandboxes: [Sandbox] { state.withLock { $0.sandboxes } }
    var alive: [String] { sandboxes.filter(\.isAlive).map(\.id) }

    func make(_ key: ResourceKey) -> String {
        state.withLock { state in
            let id = "box-\(state.sandboxes.count + 1)"
            state.sandboxes.append(Sandbox(id: id, key: key))
            return id
        }
    }

    func end(_ id: String) {
        state.withLock { state in
            for index in state.sandboxes.indices where state.sandboxes[index].id == id {
                state.sandboxes[index].isAlive = false
            }
        }
    }
}

/// A temporary trouble.
struct Glitch: Error, Codable, Equatable, CustomStringConvertible {
    let what: String
    var description: String { "\(what) did not work this time" }
}

struct Box: Codable, Sendable, Equatable {
    let id: String
}

/// A sandbox of the test world.
struct BoxResource: DurableResource {
    static let kind = "box"
    let world: World
    var limits = ResourceLimits(releaseRetry: .exponential(attempts: 3))

    func find(_ key: ResourceKey) async throws -> [Box] {
        try world.mayFail("find")
        return world.sandboxes.filter { $0.key.idempotencyKey == key.idempotencyKey }.map { Box(id: $0.id) }
    }

    func create(_ key: ResourceKey) async throws -> Box {
        try world.mayFail("create")
        return Box(id: world.make(key))
    }

    func liveness(of handle: Box, _ key: ResourceKey) async throws -> Liveness {
        try world.mayFail("liveness")
        return world.alive.contains(handle.id) ? .alive : .lost
    }

    func release(_ handle: Box, _ key: ResourceKey) async throws {
        try world.mayFail("release")
        world.end(handle.id)
    }

    func externalID(of handle: Box) -> String { handle.id }
}

/// A workflow made of a closure.
struct Script<Output: Codable & Sendable>: WorkflowDefinition {
    static var name: String { "script" }
    static var version: Int { 1 }
    let body: @Sendable (String, RunContext) async throws -> Output

    init(_ body: @escaping @Sendable (String, RunContext) async throws -> Output) {
        self.body = body
    }

    func run(_ input: String, in run: RunContext) async throws -> Output {
        try await body(input, run)
    }
}

/// A configuration for tests: a silent logger, short grace, a clock whose sleeps pass.
func testConfiguration(clock: any EngineClock = ManualClock(sleeps: .pass)) -> EngineConfiguration {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return EngineConfiguration(
        logger: logger, clock: clock, ownerDescription: "test", cancellationPollInterval: .milliseconds(20),
        cancellationGrace: .milliseconds(200), progressInterval: .milliseconds(20))
}

/// An engine on a store of its own, for the time of `body`.
func withEngine<T>(
    _ configuration: EngineConfiguration = testConfiguration(),
    _ body: (Engine, TestStore) async throws -> T
) async throws -> T {
    try await TestStore.use { store in
        let engine = try await Engine(store: store.configuration, configuration: configuration)
        let result: Result<T, any Error>
        do {
            result = .success(try await body(engine, store))
        } catch {
            result = .failure(error)
        }
        await engine.shutdown()
        return try result.get()
    }
}

/// What code a throwing call ended with.
func code(_ body: () async throws -> Void) async -> WorkflowError.Code? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? WorkflowError)?.code
    }
}

/// Waits until the condition holds, at most half a minute.
func until(_ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now.advanced(by: .seconds(30))
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw Glitch(what: "waiting for half a minute") }
        try await Task.sleep(for: .milliseconds(1))
    }
}
