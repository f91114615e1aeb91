import Testing
import Workflow
import WorkflowTesting

@Suite("What durability costs")
struct SyncCountTests {
    /// Steps that do nothing, so that all that is seen are the engine's own syncs.
    private static func script(steps: Int) -> Script<Int> {
        Script { _, run in
            for index in 0..<steps { try await run.step("step[\(index)]") { _ in index } }
            return steps
        }
    }

    /// An engine whose lone writes wait for company, so that no timer adds a commit.
    private static func withDisk(_ body: (Engine, FaultyDisk) async throws -> Void) async throws {
        try await TemporaryStore.use { store in
            let disk = try FaultyDisk(store.directory)
            var configuration = store.configuration
            configuration.flushDelay = .seconds(60)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            try await body(engine, disk)
            await engine.shutdown()
        }
    }

    @Test("a run of N steps costs N + 1 syncs of the log between start and result, intents included")
    func alone() async throws {
        try await Self.withDisk { engine, disk in
            // SQLite syncs the header of a new or restarted log once by itself, before the first commit's own sync
            // (wal.c, sqlite3WalFrames, "Sync the header": an older frame must not be read under the new header). The
            // schema's commit has paid that when the store was opened, and the log is not restarted here.
            var costs: [Int] = []
            for steps in [1, 5, 50] {
                let before = disk.counts
                let handle = try await engine.start(Self.script(steps: steps), input: "")
                #expect(try await handle.result() == steps)
                let after = disk.counts
                costs.append(after[.sync, on: .log] - before[.sync, on: .log])
                #expect(costs.last == steps + 1)
                #expect(after[.sync, on: .database] == before[.sync, on: .database])
            }
            print("syncs of runs of 1, 5 and 50 steps: \(costs)")
        }
    }

    @Test("the first commit of a restarted log syncs once more, for the log's header")
    func header() async throws {
        try await TemporaryStore.use { store in
            let disk = try FaultyDisk(store.directory)
            var configuration = store.configuration
            configuration.flushDelay = .seconds(60)
            // Every commit is followed by a checkpoint that empties the log.
            configuration.walLimit = 1
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let before = disk.counts
            let handle = try await engine.start(Self.script(steps: 5), input: "")
            #expect(try await handle.result() == 5)
            await engine.shutdown()
            let after = disk.counts
            let syncs = after[.sync, on: .log] - before[.sync, on: .log]
            let checkpoints = after[.sync, on: .database] - before[.sync, on: .database]
            print("with a checkpoint after each of 6 commits: \(syncs) syncs of the log, \(checkpoints) checkpoints")
            // A commit syncs header and frames, a checkpoint the log before it reads it. The very first commit finds
            // the log of the schema, which has its header.
            #expect(syncs == 6 * 3 - 1)
            #expect(checkpoints == 6)
        }
    }

    @Test("runs side by side share their syncs")
    func manyRuns() async throws {
        let runs = 64
        let steps = 10
        try await Self.withDisk { engine, disk in
            // Longer than all runs need to reach their next commit, so that how many share one is the engine's doing.
            disk.slowSyncs(by: .milliseconds(20))
            let before = disk.counts[.sync, on: .log]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<runs {
                    group.addTask {
                        let handle = try await engine.start(Self.script(steps: steps), input: "")
                        #expect(try await handle.result() == steps)
                    }
                }
                try await group.waitForAll()
            }
            let syncs = disk.counts[.sync, on: .log] - before
            print("\(runs) runs of \(steps) steps: \(syncs) syncs")
            #expect(syncs > steps)
            // One after the other they would cost 64 times as many as one.
            #expect(syncs <= 4 * (steps + 1))
        }
    }

    @Test("a database elsewhere is none of the disk's business")
    func elsewhere() async throws {
        try await TemporaryStore.use { store in
            let disk = try FaultyDisk(store.directory)
            disk.failCall(1, persistently: true)
            try await withEngine { engine, _ in
                let handle = try await engine.start(Self.script(steps: 3), input: "")
                #expect(try await handle.result() == 3)
            }
            #expect(disk.counts[Set(FaultyDisk.Call.allCases)] == 0)
            disk.detach()
            let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
            let handle = try await engine.start(Self.script(steps: 3), input: "")
            #expect(try await handle.result() == 3)
            await engine.shutdown()
            #expect(disk.counts[Set(FaultyDisk.Call.allCases)] == 0)
        }
    }
}
