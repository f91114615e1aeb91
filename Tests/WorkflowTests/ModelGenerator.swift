import Foundation
import WorkflowTesting

@testable import Workflow

/// Draws operations, most of which fit what the oracle knows and some of which do not.
struct ModelGenerator: Sendable {
    var random: SeededGenerator
    /// Ids that runs had or never had.
    private var strangers: [RunID] = []
    var nextResource = 0

    /// More runs than this are not begun: a comparison of everything has to stay cheap.
    private static let runLimit = 24
    private static let workflows = ["alpha", "beta"]

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
    }

    mutating func next(_ oracle: ModelOracle) -> ModelOperation {
        let site = random.number(0...1)
        switch random.number(0...999) {
        case ..<80: return create(oracle, site)
        case ..<150: return claim(oracle, site)
        case ..<153: return .race(someRun(oracle), purpose())
        case ..<210: return relinquish(oracle)
        case ..<640: return .submit(site: site, batches(oracle, 1...3))
        case ..<670: return .requestCancellation(site: site, someRun(oracle))
        case ..<685: return .cancellationRequests(site: site)
        case ..<710: return .delete(site: site, age: age(oracle), keep: random.number(0...8))
        case ..<735: return .isHeld(site: site, someRun(oracle))
        case ..<765: return .run(site: site, someRun(oracle))
        case ..<785: return .prefix(site: site, String(someRun(oracle).description.prefix(random.number(0...26))))
        case ..<820: return .query(site: site, query(oracle))
        case ..<850: return .steps(site: site, someRun(oracle))
        case ..<870: return .resources(site: site, someRun(oracle))
        case ..<880:
            return .ledger(site: site, Set(ResourceRecord.State.allCases.filter { _ in random.chance(400) }))
        case ..<910:
            return .events(site: site, someRun(oracle), skipping: random.number(0...20), limit: random.number(1...20))
        case ..<920: return .flush(site: site)
        case ..<927: return .crash(site: site, underWay: batches(oracle, 0...4))
        case ..<931: return .reopen(site: site, underWay: batches(oracle, 0...4))
        default: return .advance(milliseconds: Int64(random.number(0...400)))
        }
    }

    // MARK: - Runs

    /// Mostly one that is there.
    private mutating func someRun(_ oracle: ModelOracle) -> RunID {
        if random.chance(60) || oracle.runs.isEmpty { return strangers.isEmpty ? freshID(oracle) : stranger() }
        return random.pick(sorted(oracle)) ?? freshID(oracle)
    }

    /// In an order that does not hang on the hashes of this process, so that a seed always draws the same.
    private func sorted(_ oracle: ModelOracle) -> [RunID] { oracle.runs.keys.sorted() }

    private mutating func stranger() -> RunID {
        strangers[random.number(0...(strangers.count - 1))]
    }

    private mutating func freshID(_ oracle: ModelOracle) -> RunID {
        let id = RunID(
            time: Timestamp(milliseconds: oracle.now).date, high: random.next(), low: random.next())
        if strangers.count < 100 { strangers.append(id) } else { strangers[random.number(0...99)] = id }
        return id
    }

    private mutating func create(_ oracle: ModelOracle, _ site: Int) -> ModelOperation {
        if oracle.runs.count >= Self.runLimit { return makeRoom(oracle, site) }
        // Now and then an id that a run has or had.
        let id = random.chance(60) ? someRun(oracle) : freshID(oracle)
        let isTaken = oracle.runs[id] != nil
        let dedupKey = random.chance(500) && !isTaken ? "key \(random.number(0...5))" : nil
        let labels = random.chance(500) ? ["parity": random.chance(500) ? "even" : "odd"] : [:]
        return .create(
            site: site,
            ModelNewRun(
                id: id, workflow: random.pick(Self.workflows) ?? "alpha", input: "\(random.number(0...9))",
                dedupKey: dedupKey, labels: labels,
                deadlineAt: random.chance(300) ? oracle.now + Int64(random.number(1...5000)) : nil,
                isUrgent: random.chance(700)))
    }

    /// Now and then exactly that of a finished run, which then stays.
    private mutating func age(_ oracle: ModelOracle) -> Int64 {
        if random.chance(500), let end = random.pick(sorted(oracle).compactMap({ oracle.runs[$0]?.finishedAt })) {
            return oracle.now - end
        }
        return Int64(random.number(-10...3000))
    }

    /// A step towards the deletion of some run: it has to have ended, and its ledger to be closed.
    private mutating func makeRoom(_ oracle: ModelOracle, _ site: Int) -> ModelOperation {
        let open = oracle.resources.filter { $0.state.isOpen }
        for run in sorted(oracle).compactMap({ oracle.runs[$0] }) {
            guard let finished = run.finishedAt, finished < oracle.now else { continue }
            let own = open.filter { $0.run == run.id }
            if own.isEmpty { return .delete(site: site, age: oracle.now - finished - 1, keep: 0) }
            let closing = own.map { RunWrite.resourceState(key: $0.key, from: [$0.state], to: .released) }
            return .submit(
                site: site, [ModelBatch(run: run.id, epoch: run.epoch, writes: closing, isUrgent: true)])
        }
        return .submit(site: site, batches(oracle, 1...3))
    }

    private mutating func claim(_ oracle: ModelOracle, _ site: Int) -> ModelOperation {
        // A claim of a held run tries again for a third of a second, so it is drawn more seldom.
        let free = sorted(oracle).filter { oracle.holders[$0] == nil }
        if !random.chance(80), let id = random.pick(free) { return .claim(site: site, id, purpose()) }
        return .claim(site: site, someRun(oracle), purpose())
    }

    private mutating func purpose() -> ModelPurpose {
        random.chance(500) ? .execution : random.chance(500) ? .collection : .decision
    }

    private mutating func relinquish(_ oracle: ModelOracle) -> ModelOperation {
        let held = oracle.holders.keys.sorted()
        guard let id = random.pick(held), let site = oracle.holders[id] else {
            return .advance(milliseconds: Int64(random.number(0...400)))
        }
        let isOver = oracle.runs[id]?.recorded.isFinished ?? true
        return .relinquish(site: site, id, isOver: isOver && random.chance(800))
    }

    private mutating func query(_ oracle: ModelOracle) -> RunQuery {
        let statuses = random.chance(600) ? Set(RunStatus.allCases.filter { _ in random.chance(350) }) : nil
        return RunQuery(
            statuses: statuses, workflow: random.chance(300) ? random.pick(Self.workflows) : nil,
            labels: random.chance(300) ? ["parity": "odd"] : [:],
            before: random.chance(300) ? someRun(oracle) : nil, limit: random.number(1...40))
    }

    // MARK: - Batches

    private mutating func batches(_ oracle: ModelOracle, _ count: ClosedRange<Int>) -> [ModelBatch] {
        var oracle = oracle
        var batches: [ModelBatch] = []
        for _ in 0..<random.number(count) {
            let batch = batch(oracle)
            // So that the next one can fit on it.
            _ = oracle.apply(batch)
            batches.append(batch)
        }
        return batches
    }

    private mutating func batch(_ oracle: ModelOracle) -> ModelBatch {
        let unfinished = sorted(oracle).filter { oracle.runs[$0]?.finishedAt == nil }
        let id = random.chance(120) ? someRun(oracle) : random.pick(unfinished) ?? someRun(oracle)
        var epoch = oracle.runs[id]?.epoch ?? 1
        if random.chance(120) { epoch += random.pick([-1, 1, -epoch]) ?? 1 }
        var known = oracle
        var writes: [RunWrite] = []
        for _ in 0..<random.number(1...4) {
            let write = write(known, id)
            _ = known.apply(ModelBatch(run: id, epoch: known.runs[id]?.epoch ?? 0, writes: [write], isUrgent: true))
            writes.append(write)
        }
        return ModelBatch(run: id, epoch: epoch, writes: writes, isUrgent: random.chance(600))
    }
}
