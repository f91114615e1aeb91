import Synchronization
import WorkflowTesting

@testable import Workflow

/// What somebody outside was told, and so must find again when the machine is back.
enum Promised: Hashable, Sendable {
    case exists(String)
    case intended(String, step: Int)
    case done(String, step: Int)
    case ledgered(String)
    case succeeded(String)
}

/// One life of the machine. What happens after its power went did not happen.
final class Life: Sendable {
    let world: World
    private let disk: FaultyDisk?
    private let promises = Mutex<Set<Promised>>([])

    init(_ world: World, on disk: FaultyDisk?) {
        self.world = world
        self.disk = disk
    }

    var isOn: Bool { disk?.hasPower ?? true }
    var promised: Set<Promised> { promises.withLock { $0 } }

    /// Called after it was told; so if there is power now, there was power when it was told.
    func note(_ promise: Promised) {
        if isOn { _ = promises.withLock { $0.insert(promise) } }
    }
}

/// A box whose making and ending need power.
struct LivingBox: DurableResource {
    static let kind = "box"
    let life: Life
    let run: String

    private var box: BoxResource { BoxResource(world: life.world) }

    func find(_ key: ResourceKey) async throws -> [Box] { try await box.find(key) }

    func create(_ key: ResourceKey) async throws -> Box {
        life.note(.ledgered(run))
        guard life.isOn else { throw Glitch(what: "the power") }
        return try await box.create(key)
    }

    func liveness(of handle: Box, _ key: ResourceKey) async throws -> Liveness {
        try await box.liveness(of: handle, key)
    }

    func release(_ handle: Box, _ key: ResourceKey) async throws {
        if life.isOn { try await box.release(handle, key) }
    }

    func externalID(of handle: Box) -> String { handle.id }
}

/// Steps of many sizes around and in a resource, each of which notes what it was promised.
struct Journey: WorkflowDefinition {
    static let name = "journey"
    static let version = 1
    static let steps = 6
    let life: Life

    static func output(of step: Int) -> String { String(repeating: "x", count: [10, 700, 6000][step % 3] + step) }

    func run(_ label: String, in run: RunContext) async throws -> Int {
        try await take(0..<2, label, run)
        try await run.withResource(LivingBox(life: life, run: label), named: "box") { run, _ in
            try await take(2..<4, label, run)
        }
        try await take(4..<Self.steps, label, run)
        return Self.steps
    }

    private func take(_ steps: Range<Int>, _ label: String, _ run: RunContext) async throws {
        for step in steps {
            try await run.step("step[\(step)]") { [life] _ in
                life.note(.intended(label, step: step))
                if step > 0 { life.note(.done(label, step: step - 1)) }
                return Self.output(of: step)
            }
        }
    }
}

/// Runs side by side on a machine that loses its power once or twice, and then gets through.
struct PowerLossScenario {
    static let labels = ["a", "b", "c"]

    struct Outcome {
        var cuts = 0
        var cutsInTheMiddle = 0
        var promises = 0
        var lost: [Promised] = []
        var defects: [String] = []
    }

    /// How much happens when nothing happens.
    struct Extent {
        let visits: [CrashVisit]
        let changes: Int
    }

    static let changing: Set<FaultyDisk.Call> = [.write, .truncate, .sync, .delete]

    private let synchronous: StoreConfiguration.Synchronous
    private var random: SeededGenerator
    private let world = World()
    private var store: TemporaryStore
    private var outcome = Outcome()

    init(seed: UInt64, _ synchronous: StoreConfiguration.Synchronous) throws {
        self.synchronous = synchronous
        random = SeededGenerator(seed: seed)
        store = try TemporaryStore(inMemory: true)
    }

    static func measure() async throws -> Extent {
        let store = try TemporaryStore(inMemory: true)
        let disk = try FaultyDisk(store.directory)
        let probe = CrashProbe()
        var configuration = testConfiguration()
        configuration.probe = probe.closure
        let engine = try await Engine(store: store.configuration, configuration: configuration)
        await Self.takeUp(engine, Life(World(), on: disk))
        await engine.shutdown()
        try store.remove()
        return Extent(visits: probe.visits, changes: disk.counts[changing])
    }

    mutating func play(_ extent: Extent) async throws -> Outcome {
        var promised: Set<Promised> = []
        for _ in 0..<Int.random(in: 1...2, using: &random) {
            let disk = try FaultyDisk(store.directory)
            let visit = Bool.random(using: &random) ? extent.visits.randomElement(using: &random) : nil
            if visit == nil { disk.cutPower(beforeCall: Int.random(in: 1...extent.changes, using: &random)) }
            let life = Life(world, on: disk)
            try await live(life, CrashProbe(crashAt: visit, cuttingPowerOf: disk), &promised)
            outcome.cuts += 1
            if !disk.hasPower { outcome.cutsInTheMiddle += 1 }
            let survivor = try disk.cutPower(seed: random.next())
            try store.remove()
            store = survivor
            promised.formUnion(life.promised)
        }
        try await live(Life(world, on: nil), CrashProbe(), &promised)
        outcome.promises = promised.count
        try await inspect()
        try store.remove()
        return outcome
    }

    private mutating func configuration() -> StoreConfiguration {
        var configuration = store.configuration
        configuration.synchronous = synchronous
        configuration.walLimit = [1, 30_000, 4 << 20].randomElement(using: &random) ?? 1
        configuration.flushDelay = [.zero, .milliseconds(3)].randomElement(using: &random) ?? .zero
        return configuration
    }

    /// One life: looks whether every promise was kept, goes on with every run, and dies.
    private mutating func live(_ life: Life, _ probe: CrashProbe, _ promised: inout Set<Promised>) async throws {
        var surroundings = testConfiguration()
        surroundings.probe = probe.closure
        let engine = try await Engine(store: configuration(), configuration: surroundings)
        probe.attach(engine)
        outcome.defects += try await engine.checkIntegrity()
        let kept = try await Self.kept(engine)
        outcome.lost += promised.subtracting(kept)
        promised.formIntersection(kept)
        let errors = await Self.takeUp(engine, life)
        // A dying engine has to throw, and so has the box of a machine without power.
        if life.isOn, !probe.hasCrashed { outcome.defects += errors }
        if !life.isOn { engine.crash() }
        await engine.shutdown()
    }

    @discardableResult
    private static func takeUp(_ engine: Engine, _ life: Life) async -> [String] {
        await withTaskGroup(of: String?.self) { group in
            for label in labels {
                group.addTask {
                    do {
                        try await takeUp(engine, life, label)
                        return nil
                    } catch {
                        return "run \(label): \(error)"
                    }
                }
            }
            return await group.reduce(into: []) { errors, error in errors += error.map { [$0] } ?? [] }
        }
    }

    private static func takeUp(_ engine: Engine, _ life: Life, _ label: String) async throws {
        let workflow = Journey(life: life)
        let handle: RunHandle<Int>
        if let run = try await engine.runs(RunQuery(labels: ["label": label])).first {
            if run.recordedStatus.isFinished { return }
            handle = try await engine.resume(run.id, as: workflow)
        } else {
            handle = try await engine.start(workflow, input: label, labels: ["label": label])
            life.note(.exists(label))
        }
        if try await handle.result() == Journey.steps { life.note(.succeeded(label)) }
    }

    /// What the store holds of what may have been promised.
    private static func kept(_ engine: Engine) async throws -> Set<Promised> {
        var kept: Set<Promised> = []
        for run in try await engine.runs(RunQuery()) {
            let label = run.labels["label"] ?? ""
            kept.insert(.exists(label))
            if run.status == .succeeded, run.output == "\(Journey.steps)" { kept.insert(.succeeded(label)) }
            if try await !engine.resources(of: run.id).isEmpty { kept.insert(.ledgered(label)) }
            let steps = try await engine.steps(of: run.id)
            for step in 0..<Journey.steps {
                guard let record = steps.first(where: { $0.name == "step[\(step)]" }) else { continue }
                kept.insert(.intended(label, step: step))
                if record.output == "\"\(Journey.output(of: step))\"" { kept.insert(.done(label, step: step)) }
            }
        }
        return kept
    }

    private mutating func inspect() async throws {
        let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
        let runs = try await engine.runs(RunQuery())
        if runs.compactMap({ $0.labels["label"] }).sorted() != Self.labels || runs.contains(where: { $0.output != "6" })
        {
            outcome.defects.append("the runs are \(runs)")
        }
        let open = try await engine.resources(states: [.intended, .held, .releasing])
        if !open.isEmpty { outcome.defects.append("open in the ledger: \(open)") }
        await engine.shutdown()
        if !world.alive.isEmpty { outcome.defects.append("left alive: \(world.alive)") }
        let keys = world.sandboxes.map(\.key.idempotencyKey)
        if Set(keys).count != keys.count { outcome.defects.append("made twice: \(keys)") }
    }
}
