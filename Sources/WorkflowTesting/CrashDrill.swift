import Logging
public import Workflow

/// Runs a workflow once undisturbed, then once for every crash point that it passed, dying there and resuming in a new
/// engine; with ``Depth/pairs`` also once for every crash point of every such recovery.
///
/// After each scenario the kit checks by itself what must hold for every workflow: there is exactly one run, it has
/// ended, and no entry of its ledger is open. What must hold outside is for the caller to check, in a `World` that is
/// made anew for each scenario and survives the crashes, as the outside does.
public struct CrashDrill<W: WorkflowDefinition, World: Sendable>: Sendable {
    /// How many crashes a scenario has at most.
    public enum Depth: Int, Sendable {
        /// One.
        case singles = 1
        /// One, and a second one during the recovery from it.
        case pairs = 2
    }

    /// What one scenario left behind.
    public struct Scenario: Sendable {
        /// Where the engine died, in order.
        public let crashes: [CrashVisit]
        /// The outside.
        public let world: World
        /// The run.
        public let run: RunRecord
        /// Its steps.
        public let steps: [StepRecord]
        /// Its ledger.
        public let resources: [ResourceRecord]
    }

    /// What a drill amounted to.
    public struct Summary: Sendable {
        /// How many crash points the undisturbed run passed.
        public internal(set) var points = 0
        /// How many scenarios were run, the undisturbed one included.
        public internal(set) var scenarios = 0
        /// Scenarios whose last crash point was not passed: concurrent parts of a workflow can come to other points in
        /// another order. They were checked all the same.
        public internal(set) var missed: [String] = []
        /// What was wrong, in words, with the crashes that led to it.
        public internal(set) var defects: [String] = []
    }

    private let input: W.Input
    private let timeout: Duration?
    private let configuration: EngineConfiguration
    private let makeStore: (@Sendable () async throws -> StoreConfiguration)?
    private let prepare: (@Sendable (Engine, World) async throws -> Void)?
    private let accompany: (@Sendable (Engine, RunID, World) async throws -> Void)?
    private let makeWorld: @Sendable () -> World
    private let makeWorkflow: @Sendable (World) -> W

    /// Describes a drill.
    ///
    /// - Parameters:
    ///   - input: what each run is started with.
    ///   - timeout: how long each run may take, by the clock of the configuration.
    ///   - configuration: of the engines. Its probe is replaced; give it a ``ManualClock`` whose sleeps pass.
    ///   - makeStore: makes a store for one scenario; a temporary SQLite database when `nil`. Only that one can lose its
    ///     power.
    ///   - prepare: called with each engine before the run is started or resumed, for example to let it work on queues.
    ///   - accompany: called while the run is executed, for example to send it signals. It may be called in each life of
    ///     the process, also of a run that has received them.
    ///   - makeWorld: makes the outside of one scenario.
    ///   - makeWorkflow: makes the workflow that works on that outside.
    public init(
        input: W.Input, timeout: Duration? = nil, configuration: EngineConfiguration,
        makeStore: (@Sendable () async throws -> StoreConfiguration)? = nil,
        prepare: (@Sendable (Engine, World) async throws -> Void)? = nil,
        accompany: (@Sendable (Engine, RunID, World) async throws -> Void)? = nil,
        makeWorld: @escaping @Sendable () -> World, makeWorkflow: @escaping @Sendable (World) -> W
    ) {
        self.input = input
        self.timeout = timeout
        self.configuration = configuration
        self.makeStore = makeStore
        self.prepare = prepare
        self.accompany = accompany
        self.makeWorld = makeWorld
        self.makeWorkflow = makeWorkflow
    }

    /// Runs all scenarios.
    ///
    /// - Parameters:
    ///   - depth: how many crashes a scenario has at most.
    ///   - share: with ``Depth/pairs``, of the second crashes only one in so many is tried, spread over all of them.
    ///   - offset: which ones those are; any number. Equal numbers try the same ones.
    ///   - powerLossSeed: lets the power of the machine go with each crash; the next engine finds what the seed leaves
    ///     of the store (``FaultyDisk/cutPower(seed:)``). With `nil` only the process dies, and every write survives.
    ///   - check: says what is wrong with what a scenario left behind; empty if nothing is.
    public func run(
        _ depth: Depth = .singles, oneIn share: Int = 1, from offset: UInt64 = 0, powerLossSeed: UInt64? = nil,
        check: @Sendable (Scenario) async throws -> [String]
    ) async throws -> Summary {
        var summary = Summary()
        var pair = offset
        let undisturbed = try await play([], powerLossSeed, &summary, check)
        summary.points = undisturbed.count
        for first in undisturbed {
            let recovery = try await play([first], powerLossSeed, &summary, check)
            guard depth == .pairs else { continue }
            for second in recovery {
                pair &+= 1
                guard pair % UInt64(max(share, 1)) == 0 else { continue }
                _ = try await play([first, second], powerLossSeed, &summary, check)
            }
        }
        return summary
    }

    /// Plays one scenario.
    ///
    /// - Returns: the points that the last, undisturbed engine passed.
    private func play(
        _ crashes: [CrashVisit], _ powerLossSeed: UInt64?, _ summary: inout Summary,
        _ check: (Scenario) async throws -> [String]
    ) async throws -> [CrashVisit] {
        var store = try TemporaryStore(inMemory: true)
        let shared = try await makeStore?()
        let world = makeWorld()
        let names = crashes.isEmpty ? "undisturbed" : crashes.map(\.description).joined(separator: ", then ")
        summary.scenarios += 1
        for crash in crashes {
            let disk = try powerLossSeed.map { _ in try FaultyDisk(store.directory) }
            let probe = CrashProbe(crashAt: crash, cuttingPowerOf: disk)
            let (engine, defects) = try await live(shared ?? store.configuration, world, probe)
            await engine.shutdown()
            if !probe.hasCrashed { summary.missed.append(names) }
            summary.defects += defects.map { "\(names): \($0)" }
            if let disk, let powerLossSeed {
                let survivor = try disk.cutPower(seed: powerLossSeed)
                try store.remove()
                store = survivor
            }
        }
        let probe = CrashProbe()
        let (engine, defects) = try await live(shared ?? store.configuration, world, probe)
        let found = defects + (try await inspect(engine, crashes, world, check))
        await engine.shutdown()
        try store.remove()
        summary.defects += found.map { "\(names): \($0)" }
        return probe.visits
    }

    /// One life of a process: starts the run if there is none, resumes it if it is not over.
    private func live(
        _ store: StoreConfiguration, _ world: World, _ probe: CrashProbe
    ) async throws -> (Engine, defects: [String]) {
        var configuration = configuration
        configuration.probe = probe.closure
        let engine = try await Engine(store: store, configuration: configuration)
        probe.attach(engine)
        do {
            try await prepare?(engine, world)
            if let handle = try await takeUp(engine, makeWorkflow(world)) {
                try await accompany?(engine, handle.id, world)
                _ = try await handle.result()
            }
        } catch {
            // A run that fails is for the caller's check; a dying engine has to throw.
            if !probe.hasCrashed, !error.isEndOfRun { return (engine, ["unexpected error: \(error)"]) }
        }
        return (engine, [])
    }

    private func takeUp(_ engine: Engine, _ workflow: W) async throws -> RunHandle<W.Output>? {
        guard let run = try await engine.runs(RunQuery()).first(where: { $0.parent == nil }) else {
            return try await engine.start(workflow, input: input, timeout: timeout)
        }
        if run.recordedStatus.isFinished { return nil }
        return try await engine.resume(run.id, as: workflow)
    }

    private func inspect(
        _ engine: Engine, _ crashes: [CrashVisit], _ world: World, _ check: (Scenario) async throws -> [String]
    ) async throws -> [String] {
        let all = try await engine.runs(RunQuery())
        let runs = all.filter { $0.parent == nil }
        guard let run = runs.first, runs.count == 1 else { return ["there are \(runs.count) runs"] }
        var defects: [String] = []
        for run in all where !run.status.isFinished { defects.append("run \(run.id) is \(run.status)") }
        let resources = try await engine.resources(of: run.id)
        for resource in resources where resource.state.isOpen {
            defects.append("resource '\(resource.name)' is left \(resource.state)")
        }
        return defects
            + (try await check(
                Scenario(
                    crashes: crashes, world: world, run: run, steps: try await engine.steps(of: run.id),
                    resources: resources)))
    }
}

extension Error {
    /// Whether it tells of a run that ended, rather than of one that could not go on.
    fileprivate var isEndOfRun: Bool {
        switch (self as? WorkflowError)?.code {
        case .runFailed, .cancelled: true
        default: false
        }
    }
}
