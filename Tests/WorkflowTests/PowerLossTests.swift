import Foundation
import Testing
import Workflow
import WorkflowTesting

import enum TestSupport.TestSize

@Suite("Losing power")
struct PowerLossTests {
    /// Plays scenarios with the seeds from 1 on, a few at a time.
    private static func play(
        _ count: Int, _ synchronous: StoreConfiguration.Synchronous
    ) async throws -> (PowerLossScenario.Outcome, [String]) {
        let extent = try await PowerLossScenario.measure()
        print("undisturbed: \(extent.visits.count) crash points, \(extent.changes) changes and syncs of files")
        #expect(extent.visits.count > 60 && extent.changes > 60)
        var total = PowerLossScenario.Outcome()
        var stories: [String] = []
        try await withThrowingTaskGroup(of: (UInt64, PowerLossScenario.Outcome).self) { group in
            var seeds = (1...UInt64(count)).makeIterator()
            func add() {
                guard let seed = seeds.next() else { return }
                group.addTask {
                    var scenario = try PowerLossScenario(seed: seed, synchronous)
                    return (seed, try await scenario.play(extent))
                }
            }
            for _ in 0..<3 { add() }
            while let (seed, outcome) = try await group.next() {
                total.cuts += outcome.cuts
                total.cutsInTheMiddle += outcome.cutsInTheMiddle
                total.promises += outcome.promises
                total.lost += outcome.lost
                total.defects += outcome.defects
                if !outcome.lost.isEmpty || !outcome.defects.isEmpty {
                    stories.append("seed \(seed): lost \(outcome.lost), \(outcome.defects)")
                }
                add()
            }
        }
        print(
            "seeds 1 to \(count) at \(synchronous): \(total.cuts) cuts, \(total.cutsInTheMiddle) of them in the middle, "
                + "\(total.promises) promises, lost \(total.lost.count) in \(stories.count) scenarios")
        #expect(total.cutsInTheMiddle * 2 > total.cuts)
        return (total, stories)
    }

    @Test("whatever anybody was told is still there when the power is back, and every run gets through")
    func nothingIsLost() async throws {
        let (total, stories) = try await Self.play(TestSize.isLong ? 12_000 : 400, .full)
        #expect(stories == [])
        #expect(total.promises > 0)
    }

    @Test("the same trial finds the loss when commits are not synced")
    func lossIsFound() async throws {
        let (total, _) = try await Self.play(TestSize.isLong ? 1200 : 40, .normal)
        #expect(total.lost.count > 0)
        // Even so nothing is damaged: only the newest commits are missing.
        #expect(total.defects.filter { $0.contains("orphan") || $0.contains("malformed") } == [])
    }

    @Test("power that goes with the process at any crash point leaves nothing leaked and nothing done twice")
    func drill() async throws {
        var scenarios = 0
        let seeds: UInt64 = TestSize.isLong ? 30 : 3
        for seed in 1...seeds {
            let depth = TestSize.isLong && seed <= 2 ? CrashDrill<Everything, World>.Depth.pairs : .singles
            let summary = try await CrashDrillTests.drill().run(
                depth, powerLossSeed: seed, check: CrashDrillTests.check)
            #expect(summary.defects == [], "seed \(seed)")
            scenarios += summary.scenarios
        }
        print("seeds 1 to \(seeds): \(scenarios) scenarios")
        #expect(scenarios > 100)
    }
}
