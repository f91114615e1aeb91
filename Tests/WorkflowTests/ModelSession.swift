import Foundation
import WorkflowTesting

@testable import Workflow

/// Two stores on the same files and the oracle, in step.
struct ModelSession {
    private let store: TestStore
    private let clock: ManualClock
    private var sites: [ModelStore]
    private(set) var oracle: ModelOracle

    init(_ store: TestStore) async throws {
        self.store = store
        clock = ManualClock()
        sites = []
        for _ in 0...1 { sites.append(try await ModelStore.open(self.store, clock: clock)) }
        oracle = ModelOracle(now: Timestamp(clock.now()).milliseconds)
    }

    func close() async {
        for site in sites { await site.close() }
    }

    /// Lets both sides do it.
    ///
    /// - Returns: where they differ, or `nil`.
    mutating func play(_ operation: ModelOperation) async throws -> String? {
        switch operation {
        case .race(let id, let purpose): return await race(id, purpose)
        case .crash(let site, let batches): return try await crash(site, batches)
        case .reopen(let site, let batches):
            let store = sites[site]
            let answer = await store.submit(batches) { await store.close() }
            let expected = ModelAnswer.many(batches.map { oracle.apply($0) })
            oracle.lose(site)
            sites[site] = try await ModelStore.open(self.store, clock: clock)
            if let difference = Self.difference(answer, expected) { return difference }
            return await inspect()
        case .advance(let milliseconds):
            clock.advance(by: .milliseconds(milliseconds))
            oracle.now = Timestamp(clock.now()).milliseconds
            return nil
        default:
            return Self.difference(await answer(operation), expect(operation))
        }
    }

    // MARK: - One call

    private func answer(_ operation: ModelOperation) async -> ModelAnswer {
        switch operation {
        case .create(let site, let run):
            await sites[site].create(run, owner: ModelOracle.owner(site, now: oracle.now))
        case .claim(let site, let id, let purpose):
            await sites[site].claim(id, owner: ModelOracle.owner(site, now: oracle.now), purpose: purpose)
        case .relinquish(let site, let id, let isOver):
            await sites[site].relinquish(id, epoch: oracle.runs[id]?.epoch ?? 1, isOver: isOver)
        case .submit(let site, let batches): await sites[site].submit(batches)
        case .requestCancellation(let site, let id): await sites[site].requestCancellation(id)
        case .cancellationRequests(let site): await sites[site].cancellationRequests()
        case .delete(let site, let age, let keep):
            await sites[site].delete(before: oracle.now - age, keep: keep)
        case .isHeld(let site, let id): await sites[site].isHeld(id)
        case .run(let site, let id): await sites[site].run(id)
        case .prefix(let site, let prefix): await sites[site].runs(prefix: prefix)
        case .query(let site, let query): await sites[site].runs(query)
        case .steps(let site, let id): await sites[site].steps(of: id)
        case .resources(let site, let id): await sites[site].resources(of: id)
        case .ledger(let site, let states): await sites[site].resources(states: states)
        case .events(let site, let id, let count, let limit):
            await sites[site].events(of: id, skipping: count, limit: limit)
        case .flush(let site): await sites[site].flush()
        case .race, .crash, .reopen, .advance: .defect("played elsewhere")
        }
    }

    private mutating func expect(_ operation: ModelOperation) -> ModelAnswer {
        switch operation {
        case .create(let site, let run): oracle.create(run, site: site)
        case .claim(let site, let id, let purpose): oracle.claim(id, purpose, site: site)
        case .relinquish(let site, let id, _): oracle.relinquish(id, site: site)
        case .submit(_, let batches): .many(batches.map { oracle.apply($0) })
        case .requestCancellation(_, let id): oracle.requestCancellation(id)
        case .cancellationRequests: oracle.cancellationRequests()
        case .delete(_, let age, let keep): oracle.delete(before: oracle.now - age, keep: keep)
        case .isHeld(_, let id): .flag(oracle.holders[id] != nil)
        case .run(_, let id): oracle.run(id)
        case .prefix(_, let prefix): oracle.runs(prefix: prefix)
        case .query(_, let query): oracle.runs(query)
        case .steps(_, let id): oracle.steps(of: id)
        case .resources(_, let id): oracle.resources(of: id)
        case .ledger(_, let states): oracle.resources(states: states)
        case .events(_, let id, let count, let limit): oracle.events(of: id, skipping: count, limit: limit)
        case .flush: .done
        case .race, .crash, .reopen, .advance: .done
        }
    }

    // MARK: - Several things at once

    /// Either may win, but not both, and the other one learns who did.
    private mutating func race(_ id: RunID, _ purpose: ModelPurpose) async -> String? {
        let (first, second) = (sites[0], sites[1])
        let owners = [0, 1].map { ModelOracle.owner($0, now: oracle.now) }
        async let one = first.claim(id, owner: owners[0], purpose: purpose)
        async let two = second.claim(id, owner: owners[1], purpose: purpose)
        let answers = await [one, two]
        var differences: [String] = []
        for winner in [0, 1] {
            var candidate = oracle
            var expected = [ModelAnswer.done, .done]
            expected[winner] = candidate.claim(id, purpose, site: winner)
            expected[1 - winner] = candidate.claim(id, purpose, site: 1 - winner)
            guard let difference = Self.difference(.many(answers), .many(expected)) else {
                oracle = candidate
                return nil
            }
            differences.append(difference)
        }
        return differences.joined(separator: "\nor\n")
    }

    /// What was under way is on disk up to some batch and not beyond it, and nothing that was answered is missing.
    private mutating func crash(_ site: Int, _ batches: [ModelBatch]) async throws -> String? {
        let store = sites[site]
        let answer = await store.submit(batches, inOrder: false) { store.sever() }
        store.sever()
        sites[site] = try await ModelStore.open(self.store, clock: clock)
        oracle.lose(site)
        guard case .many(let answers) = answer else { return "\(answer)" }
        let before = oracle
        var differences: [String] = []
        for count in 0...batches.count {
            oracle = before
            let expected = batches.prefix(count).map { oracle.apply($0) }
            let isPossible = zip(answers, expected).allSatisfy { $0 == $1 || $0 == Self.cutOff }
            guard isPossible, answers.dropFirst(count).allSatisfy({ $0 == Self.cutOff }) else { continue }
            guard let difference = await inspect() else { return nil }
            differences.append("with \(count) batches: \(difference)")
        }
        return "answers: \(answers)\n" + differences.joined(separator: "\n")
    }

    private static let cutOff = ModelAnswer.refused(.engineClosed)

    // MARK: - Everything

    /// Compares all that both stores can read.
    func inspect() async -> String? {
        for store in sites {
            let query = RunQuery(limit: 10_000)
            if let difference = Self.difference(await store.runs(query), oracle.runs(query)) { return difference }
            for id in oracle.runs.keys {
                let pairs = [
                    (await store.steps(of: id), oracle.steps(of: id)),
                    (
                        await store.events(of: id, skipping: 0, limit: 10_000),
                        oracle.events(of: id, skipping: 0, limit: 10_000)
                    ),
                ]
                for (answer, expected) in pairs {
                    if let difference = Self.difference(answer, expected) { return "\(id): \(difference)" }
                }
            }
            let states = Set(ResourceRecord.State.allCases)
            let ledger = await store.resources(states: states)
            if let difference = Self.difference(ledger, oracle.resources(states: states)) { return difference }
        }
        return nil
    }

    private static func difference(_ answer: ModelAnswer, _ expected: ModelAnswer) -> String? {
        answer == expected ? nil : "    answered: \(answer)\n    expected: \(expected)"
    }
}
