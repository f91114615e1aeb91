import Foundation
import enum TestSupport.TestSize
import Testing
import WorkflowTesting

@testable import Workflow

/// Two stores on one database, and what their queues have to hold by the documented rules.
private struct QueueModel {
    struct Run: Sendable, Equatable {
        let id: RunID
        let number: Int
        let queue: String
        let priority: Int
        let tenant: String
        var turn = 0
        var epoch = 0
        var deaths = 0
        var status = RunStatus.pending
        var rest: RunRest?
        var holder: Int?
        var wakeAt: Int64?
        var isBegun: Bool { status == .running || status == .sleeping }
    }

    struct Taken: Hashable, CustomStringConvertible {
        let number: Int
        let epoch: Int
        let deaths: Int
        var description: String { "\(number)/\(epoch)/\(deaths)" }
    }

    let files: TestStore
    let clock = ManualClock()
    var stores: [any WorkflowStore] = []
    var runs: [Run] = []
    var settings: [String: QueueSettings] = [:]
    var random: SeededGenerator
    var counts: [String: Int] = [:]
    static let queues = ["a", "b"]
    static let owner = RunOwner(description: "model", pid: 1, host: "here", since: Date(timeIntervalSince1970: 0))

    init(_ files: TestStore, seed: UInt64) async throws {
        self.files = files
        random = SeededGenerator(seed: seed)
        for _ in 0...1 { stores.append(try await open()) }
    }

    func open() async throws -> any WorkflowStore {
        try await files.open(clock: clock) { $0.leaseTerm = .seconds(3600) }
    }

    private var now: Int64 { Timestamp(clock.now()).milliseconds }

    // MARK: - One operation

    /// - Returns: where store and model differ.
    mutating func play() async throws -> String? {
        let (name, difference) = try await draw()
        counts[name, default: 0] += 1
        return difference.map { "\(name): \($0)" }
    }

    private mutating func draw() async throws -> (String, String?) {
        switch random.number(0...99) {
        case 0..<30: return ("enqueue", try await enqueue())
        case 30..<60: return ("take", try await take())
        case 60..<75: return ("finish", try await finish())
        case 75..<80: return ("sleep", try await sleep())
        case 80..<84: return ("rouse", try await rouse())
        case 84..<89: return ("leave", try await leave())
        case 89..<91: return ("unpark", try await unpark())
        case 91..<94: return ("cancel", try await cancel())
        case 94..<97: return ("configure", try await configure())
        case 97..<98:
            clock.advance(by: .milliseconds(random.number(1...50)))
            return ("advance", nil)
        default: return ("die", try await die())
        }
    }

    private mutating func enqueue() async throws -> String? {
        let queue = random.pick(Self.queues) ?? "a"
        let priority = random.number(0...2)
        let tenant = random.pick(["x", "y", "z", ""]) ?? ""
        let id = RunID(time: clock.now(), high: random.next(), low: random.next())
        var run = Run(id: id, number: runs.count, queue: queue, priority: priority, tenant: tenant)
        run.turn = turn(of: run)
        let new = NewRun(
            id: id, workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil,
            labels: tenant.isEmpty ? [:] : ["tenant": tenant])
        let place = QueuePlace(queue: queue, priority: priority, notBefore: nil)
        _ = try await store().enqueue(new, place: place)
        runs.append(run)
        return nil
    }

    private func turn(of run: Run) -> Int {
        guard settings[run.queue]?.fairness != nil else { return 0 }
        let others = runs.filter { $0.queue == run.queue && $0.priority == run.priority && $0.status == .pending }
        let own = others.filter { $0.tenant == run.tenant }.map(\.turn).max().map { $0 + 1 } ?? 0
        return max(own, others.map(\.turn).min() ?? 0)
    }

    private mutating func store() -> any WorkflowStore { stores[random.number(0...1)] }

    private mutating func take() async throws -> String? {
        let site = random.number(0...1)
        let queue = random.pick(Self.queues) ?? "a"
        let limit = random.number(1...4)
        let answer = try await stores[site].take(
            QueueRequest(queue: queue, workflows: [KnownWorkflow(name: "w", version: 1)], limit: limit),
            owner: Self.owner)
        var places = limit
        if let concurrency = settings[queue]?.concurrency {
            let busy = runs.filter {
                $0.queue == queue && $0.holder != nil
                    && ($0.status == .running || ($0.status == .sleeping && $0.wakeAt.map { $0 <= now } == true))
            }.count
            places = min(places, concurrency - busy)
        }
        let free = runs.filter { $0.queue == queue && $0.holder == nil && $0.rest != .parked && !$0.status.isFinished }
        func first(_ runs: [Run]) -> [Run] {
            runs.sorted { (-$0.priority, $0.turn, $0.number) < (-$1.priority, $1.turn, $1.number) }
        }
        let chosen = (first(free.filter(\.isBegun)) + first(free.filter { !$0.isBegun })).prefix(max(places, 0))
        var expected: Set<Taken> = []
        for run in chosen {
            var run = run
            if run.status == .running, run.rest == nil { run.deaths += 1 }
            (run.epoch, run.rest, run.status, run.wakeAt, run.holder) = (run.epoch + 1, nil, .running, nil, site)
            runs[run.number] = run
            expected.insert(Taken(number: run.number, epoch: run.epoch, deaths: run.deaths))
        }
        let got = Set(
            answer.claimed.map { claimed in
                Taken(
                    number: runs.firstIndex { $0.id == claimed.record.id } ?? -1, epoch: claimed.claim.epoch,
                    deaths: claimed.record.queueing?.deaths ?? -1)
            })
        return got == expected ? nil : "took \(got), expected \(expected) (queue \(queue), places \(places))"
    }

    private mutating func held(_ condition: (Run) -> Bool = { _ in true }) -> Run? {
        random.pick(runs.filter { $0.holder != nil && condition($0) })
    }

    private mutating func write(_ writes: [RunWrite], _ run: Run) async throws {
        try await stores[run.holder ?? 0].commit(writes, run: run.id, epoch: run.epoch)
    }

    private func relinquish(_ run: Run, isOver: Bool) async {
        let store = stores[run.holder ?? 0]
        let claim: any RunClaim =
            store is PostgresStore ? LeaseClaim(id: run.id, epoch: run.epoch) : LockClaim(id: run.id, epoch: run.epoch)
        await store.relinquish(claim, isOver: isOver)
    }

    private mutating func finish() async throws -> String? {
        guard let run = held() else { return nil }
        try await write([.finish(.succeeded, output: "1", failure: nil)], run)
        await relinquish(run, isOver: true)
        runs[run.number].status = .succeeded
        runs[run.number].holder = nil
        return nil
    }

    private mutating func sleep() async throws -> String? {
        guard let run = held({ $0.status == .running }) else { return nil }
        let wakeAt = random.pick([nil, now - 1, now + 10]) ?? nil
        try await write([.status(.sleeping, wakeAt: wakeAt.map(Timestamp.init(milliseconds:)))], run)
        runs[run.number].status = .sleeping
        runs[run.number].wakeAt = wakeAt
        return nil
    }

    private mutating func rouse() async throws -> String? {
        guard let run = held({ $0.status == .sleeping }), let site = run.holder else { return nil }
        let busy = runs.filter { $0.queue == run.queue && $0.holder != nil && $0.status == .running }.count
        let expected = settings[run.queue]?.concurrency.map { busy < $0 } ?? true
        let got = try await stores[site].rouse(run.id, epoch: run.epoch, queue: run.queue)
        if got {
            runs[run.number].status = .running
            runs[run.number].wakeAt = nil
        }
        return got == expected ? nil : "\(got), expected \(expected)"
    }

    private mutating func leave() async throws -> String? {
        guard let run = held() else { return nil }
        let rest = random.pick([RunRest.yielded, .parked]) ?? .yielded
        try await write([.rest(rest)], run)
        await relinquish(run, isOver: false)
        runs[run.number].rest = rest
        runs[run.number].holder = nil
        return nil
    }

    private mutating func unpark() async throws -> String? {
        guard let run = random.pick(runs.filter { !$0.status.isFinished }) else { return nil }
        let got = try await store().unpark(run.id)
        if got { runs[run.number].rest = .yielded }
        return got == (run.rest == .parked) ? nil : "\(got) for \(run)"
    }

    private mutating func cancel() async throws -> String? {
        guard let run = random.pick(runs.filter { !$0.status.isFinished }) else { return nil }
        try await store().requestCancellation(run.id)
        if run.status == .pending, run.epoch == 0 { runs[run.number].status = .cancelled }
        if run.rest == .parked { runs[run.number].rest = .yielded }
        return nil
    }

    private mutating func configure() async throws -> String? {
        let queue = random.pick(Self.queues) ?? "a"
        let new = QueueSettings(
            name: queue, concurrency: random.pick([nil, 1, 3, 5]) ?? nil, rateLimit: nil, ratePeriod: nil,
            fairness: random.chance(700) ? "tenant" : nil)
        try await store().configure(new)
        if new.fairness != settings[queue]?.fairness {
            var next: [String: Int] = [:]
            for run in runs where run.queue == queue && run.status == .pending {
                let share = "\(run.priority) \(run.tenant)"
                next[share, default: 0] += 1
                runs[run.number].turn = new.fairness == nil ? 0 : next[share, default: 0]
            }
        }
        settings[queue] = new
        return nil
    }

    private mutating func die() async throws -> String? {
        let site = random.number(0...1)
        stores[site].sever()
        await stores[site].close()
        stores[site] = try await open()
        for run in runs where run.holder == site { runs[run.number].holder = nil }
        return nil
    }

    /// Compares everything.
    func inspect() async throws -> String? {
        for run in runs {
            guard let record = try await stores[0].run(run.id) else { return "\(run.id) is gone" }
            let isSame =
                record.recordedStatus == run.status && record.epoch == run.epoch + (run.isUnbegunEnd ? 1 : 0)
                && record.queueing?.deaths == run.deaths && record.queueing?.isParked == (run.rest == .parked)
            guard isSame else { return "\(record) is not \(run)" }
        }
        return nil
    }

    func close() async {
        for store in stores { await store.close() }
    }
}

extension QueueModel.Run {
    /// Whether it ended before anybody took it.
    fileprivate var isUnbegunEnd: Bool { status == .cancelled }
}

@Suite("Queues against a model", .everyStore)
struct QueueModelTests {
    @Test("whatever workers ask of queues, they get the runs that the model says")
    func againstModel() async throws {
        let (seeds, length) = TestSize.isLong ? (40, 5_000) : (6, 600)
        let first = TestSize.seed("queue model")
        for seed in (0..<seeds).map({ first &+ UInt64($0) }) {
            try await TestStore.use(inMemory: true) { files in
                var model = try await QueueModel(files, seed: seed)
                for number in 1...length {
                    var difference = try await model.play()
                    if difference == nil, number % 100 == 0 { difference = try await model.inspect() }
                    if let difference {
                        Issue.record("seed \(seed), operation \(number): \(difference)")
                        break
                    }
                }
                print("seed \(seed): \(model.counts.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" })")
                await model.close()
            }
        }
    }
}
