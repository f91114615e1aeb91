import Synchronization
import WorkflowTesting

@testable import Workflow

/// One kind of trouble with a disk.
struct DiskFault: Sendable, CustomStringConvertible {
    let fault: FaultyDisk.Fault
    let isPersistent: Bool

    static let all = FaultyDisk.Fault.allCases.flatMap { fault in
        [false, true].map { DiskFault(fault: fault, isPersistent: $0) }
    }

    /// The calls that can meet it.
    var calls: Set<FaultyDisk.Call> {
        switch fault {
        case .ioError: FaultyDisk.Call.failing
        case .full: [.write]
        case .busy: [.lock, .shmLock]
        }
    }

    var description: String { "\(fault)\(isPersistent ? " from there on" : "")" }

    func arm(_ disk: FaultyDisk, at position: Int) {
        disk.failCall(position, of: calls, with: fault, persistently: isPersistent)
    }
}

/// A process whose disk fails at one call, and another one after the disk was mended.
struct DiskFaultScenario {
    struct Outcome: Sendable {
        /// Whether the call was made.
        var wasMet = false
        /// What the first process was told.
        var codes: [WorkflowError.Code] = []
        var defects: [String] = []
    }

    /// What an engine may blame on its disk.
    private static let blame: Set<WorkflowError.Code> = [.storeFailed, .storeFull, .storeBusy, .storeNotWritable]
    private static let input = 40

    private let world = Everything.world()
    private var outcome = Outcome()

    /// How many calls of some kinds a life makes when nothing fails.
    static func measure(_ calls: Set<FaultyDisk.Call>) async throws -> Int {
        var scenario = DiskFaultScenario()
        let store = try TemporaryStore(inMemory: true)
        let disk = try FaultyDisk(store.directory)
        await scenario.firstLife(store, disk)
        try store.remove()
        guard scenario.outcome.defects.isEmpty, scenario.outcome.codes.isEmpty else {
            throw Glitch(what: "the undisturbed life: \(scenario.outcome)")
        }
        return disk.counts[calls]
    }

    /// - Parameter cutSeed: lets the power go after the first life.
    static func play(_ fault: DiskFault, at position: Int, cutSeed: UInt64?) async throws -> Outcome {
        var scenario = DiskFaultScenario()
        var store = try TemporaryStore(inMemory: true)
        let disk = try FaultyDisk(store.directory)
        fault.arm(disk, at: position)
        await scenario.firstLife(store, disk)
        scenario.outcome.wasMet = disk.counts.failed > 0
        disk.heal()
        if let cutSeed {
            let survivor = try disk.cutPower(seed: cutSeed)
            try store.remove()
            store = survivor
        }
        do {
            try await scenario.secondLife(store)
        } catch {
            scenario.outcome.defects.append("the second process: \(error)")
        }
        try store.remove()
        return scenario.outcome
    }

    private static func configuration(_ store: TemporaryStore) -> StoreConfiguration {
        var configuration = store.configuration
        configuration.busyTimeout = .milliseconds(15)
        // No timer decides what travels together, so that the n-th call is always the same.
        configuration.flushDelay = .seconds(60)
        configuration.walLimit = 60_000
        return configuration
    }

    // MARK: - The first process

    private mutating func firstLife(_ store: TemporaryStore, _ disk: FaultyDisk) async {
        do {
            let engine = try await Engine(store: Self.configuration(store), configuration: testConfiguration())
            do {
                let handle = try await engine.start(Everything(world: world), input: Self.input)
                let output = try await handle.result()
                if output != 43 { outcome.defects.append("the output is \(output)") }
                let status = try await engine.run(handle.id)?.status
                if status != .succeeded { outcome.defects.append("told of success, the run is \(status ?? .pending)") }
            } catch {
                blame(error)
                disk.heal()
                await goOn(engine)
            }
            await engine.shutdown()
        } catch {
            blame(error)
        }
    }

    private mutating func blame(_ error: any Error) {
        guard let error = error as? WorkflowError else {
            outcome.defects.append("an error of \(type(of: error)): \(error)")
            return
        }
        outcome.codes.append(error.code)
        if !Self.blame.contains(error.code) { outcome.defects.append("\(error.code): \(error)") }
    }

    /// The same engine works again as soon as its disk does.
    private mutating func goOn(_ engine: Engine) async {
        do {
            let handle = try await engine.start(Script { _, run in try await run.step("probe") { _ in 7 } }, input: "")
            if try await handle.result() != 7 { outcome.defects.append("a later run has another result") }
        } catch {
            outcome.defects.append("the disk was mended, the engine was not: \(error)")
        }
    }

    // MARK: - The second process

    private mutating func secondLife(_ store: TemporaryStore) async throws {
        let engine = try await Engine(store: Self.configuration(store), configuration: testConfiguration())
        let workflow = Everything(world: world)
        let run = try await engine.runs(RunQuery(workflow: Everything.name)).first
        try await checkIntents(run?.id, engine)
        if run?.recordedStatus == .failed { outcome.defects.append("the run failed: \(run?.failure?.message ?? "")") }
        if let run, !run.recordedStatus.isFinished {
            _ = try await engine.resume(run.id, as: workflow).result()
        } else if run == nil {
            _ = try await engine.start(workflow, input: Self.input).result()
        }
        try await inspect(engine)
        await engine.shutdown()
    }

    /// Nothing has happened outside of which the store does not know.
    private mutating func checkIntents(_ run: RunID?, _ engine: Engine) async throws {
        var steps: [StepRecord] = []
        var resources: [ResourceRecord] = []
        if let run {
            steps = try await engine.steps(of: run)
            resources = try await engine.resources(of: run)
        }
        for name in world.effects.keys where !steps.contains(where: { $0.name == name }) {
            outcome.defects.append("\(name) happened without an intent")
        }
        for box in world.sandboxes
        where !resources.contains(where: { $0.key.idempotencyKey == box.key.idempotencyKey }) {
            outcome.defects.append("\(box.id) was made without an entry in the ledger")
        }
    }

    private mutating func inspect(_ engine: Engine) async throws {
        let runs = try await engine.runs(RunQuery(workflow: Everything.name))
        if runs.map(\.output) != ["43"] { outcome.defects.append("the runs are \(runs)") }
        let open = try await engine.resources(states: [.intended, .held, .releasing])
        if !open.isEmpty { outcome.defects.append("open in the ledger: \(open)") }
        if !world.alive.isEmpty { outcome.defects.append("left alive: \(world.alive)") }
        if world.sandboxes.count != 1 { outcome.defects.append("\(world.sandboxes.count) boxes were made") }
        if world.count("register") != 1 { outcome.defects.append("registered \(world.count("register")) times") }
        for name in ["prepare", "pull", "report"] where !(1...2).contains(world.count(name)) {
            outcome.defects.append("\(name) happened \(world.count(name)) times")
        }
        outcome.defects += try await engine.checkIntegrity()
    }
}
