import Foundation
import GRDB
import Synchronization
import Testing
import WorkflowTesting

@testable import Workflow

/// Moving all runs from one store to another.
@Suite("All runs of a store move to another one")
struct StoreCopyTests {
    /// Two stores, of which the first has runs: ended, failed, with resources, and one in the middle.
    private static func use(
        _ from: StoreKind, _ to: StoreKind, _ body: (TestStore, TestStore, RunID) async throws -> Void
    ) async throws {
        try await TestStore.use(from) { old in
            try await TestStore.use(to) { new in
                try await body(old, new, fill(old))
            }
        }
    }

    /// - Returns: the run in the middle.
    private static func fill(_ store: TestStore) async throws -> RunID {
        let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
        for number in 0..<3 {
            let handle = try await engine.start(
                Script { input, run in
                    for step in 0..<5 { _ = try await run.step("step \(step)") { _ in "ä\u{1F600}\n\(input)" } }
                    if number == 2 { throw TerminalError("it fails") }
                    return 1
                }, input: "run \(number)", labels: ["number": "\(number)"])
            _ = try? await handle.result()
        }
        let handle = try await engine.start(
            Script { _, run in
                _ = try await run.step("first") { _ in String(repeating: "x", count: 300_000) }
                return try await run.step("hangs") { _ in
                    try await Task.sleep(for: .seconds(3600))
                    return 2
                }
            }, input: "middle")
        try await until { try await engine.steps(of: handle.id).count == 2 }
        await engine.shutdown()
        return handle.id
    }

    private static let pairs: [(StoreKind, StoreKind)] = StoreKind.tested.flatMap { from in
        StoreKind.tested.map { (from, $0) }
    }

    @Test("with every row, in any direction; the old store is closed, and can be reopened", arguments: pairs)
    func directions(_ from: StoreKind, _ to: StoreKind) async throws {
        try await Self.use(from, to) { old, new, run in
            let report = try await StoreCopy.move(from: old.configuration, to: new.configuration)
            let names = ["runs", "steps", "resources", "events", "signals", "queues", "queue_starts"]
            #expect(report.tables.map(\.name) == names && !report.wasDone)
            #expect(report.tables[0].rows == 4 && report.tables[1].rows == 17, "\(report.tables)")

            let reader = try await StoreReader(store: new.configuration)
            let before = try await StoreReader(store: old.configuration)
            for record in try await before.runs() {
                let copy = try await reader.run(record.id)
                #expect(copy == record)
                #expect(try await reader.steps(of: record.id) == before.steps(of: record.id))
                #expect(try await reader.events(of: record.id) == before.events(of: record.id))
            }
            await reader.close()
            await before.close()

            await #expect {
                _ = try await Engine(store: old.configuration, configuration: testConfiguration())
            } throws: { ($0 as? WorkflowError)?.code == .storeMoved }
            #expect(try await StoreCopy.move(from: old.configuration, to: new.configuration).wasDone)

            let engine = try await Engine(store: new.configuration, configuration: testConfiguration())
            let plan = try await engine.plan(run)
            #expect(plan.steps.count == 2)
            let more = try await engine.start(Script { _, run in try await run.step("one") { _ in 1 } }, input: "")
            #expect(try await more.result() == 1)
            let all = try await engine.events(of: more.id).map(\.seq)
            let others = try await engine.events(of: run).map(\.seq)
            #expect((others.max() ?? 0) < (all.min() ?? 0), "numbers go on behind those that were copied")
            await engine.shutdown()

            _ = try await StoreReopening.reopen(old.configuration)
            let again = try await Engine(store: old.configuration, configuration: testConfiguration())
            #expect(try await again.run(run)?.status == .interrupted)
            await again.shutdown()
        }
    }

    /// Starts a child, waits for a signal, and then for the child.
    private struct Parent: WorkflowDefinition {
        static let name = "parent"
        static let version = 1

        func run(_ input: String, in run: RunContext) async throws -> String {
            let child = try await run.child("part", Job.self, input: "part", queue: "others")
            let word = try await run.waitForSignal("word", as: String.self)
            return try await child.result() + word
        }
    }

    @Test("what waits in queues, for signals and for children goes on in the other store", arguments: pairs)
    func queues(_ from: StoreKind, _ to: StoreKind) async throws {
        try await TestStore.use(from) { old in
            try await TestStore.use(to) { new in
                let first = try await Engine(store: old.configuration, configuration: testConfiguration())
                let queue = QueueConfiguration(
                    "q", concurrency: 2, totalConcurrency: 1, rate: .init(starts: 1000, per: .seconds(600)))
                let worker = try await first.work(on: [queue], Job(), Parent())
                #expect(try await first.enqueue(Job(), input: "ended", queue: "q").result() == "ended")
                let parent = try await first.enqueue(Parent(), input: "", queue: "q").id
                try await until { try await first.run(parent)?.recordedStatus == .sleeping }
                await worker.drain(within: .seconds(10))
                #expect(try await first.signal(parent, "word", " and a word", key: "once"))
                let low = try await first.enqueue(Job(), input: "low", queue: "q", dedupKey: "low").id
                _ = try await first.enqueue(Job(), input: "high", queue: "q", priority: 5)
                await first.shutdown()

                let report = try await StoreCopy.move(from: old.configuration, to: new.configuration)
                let counts = Dictionary(uniqueKeysWithValues: report.tables.map { ($0.name, $0.rows) })
                #expect(counts["runs"] == 5 && counts["signals"] == 1, "\(counts)")
                #expect(counts["queues"] == 1 && counts["queue_starts"] == 2, "\(counts)")

                let second = try await Engine(store: new.configuration, configuration: testConfiguration())
                #expect(try await !second.signal(parent, "word", "again", key: "once"))
                #expect(try await second.enqueue(Job(), input: "low", queue: "q", dedupKey: "low").id == low)
                let order = Mutex<[String]>([])
                let job = Job { input, _ in
                    order.withLock { $0.append(input) }
                    return input
                }
                _ = try await second.work(
                    on: [
                        QueueConfiguration("q", concurrency: 2, keepsLimits: true),
                        QueueConfiguration("others", concurrency: 1),
                    ], job, Parent())
                try await until {
                    try await second.runs(RunQuery()).allSatisfy { $0.recordedStatus == .succeeded }
                }
                #expect(try await second.run(parent)?.output == "\"part and a word\"")
                #expect(order.withLock { $0.filter { $0 != "part" } } == ["high", "low"])
                await second.shutdown()
            }
        }
    }

    @Test("an engine that was open before begins, claims, cancels and deletes nothing any more", .everyStore)
    func openBefore() async throws {
        try await TestStore.use { old in
            try await TestStore.use(.sqlite) { new in
                let run = try await Self.fill(old)
                let engine = try await Engine(store: old.configuration, configuration: testConfiguration())
                _ = try await StoreCopy.move(from: old.configuration, to: new.configuration)
                let script = Script { _, run in try await run.step("one") { _ in 1 } }
                await #expect { _ = try await engine.start(script, input: "") } throws: { Self.isMoved($0) }
                await #expect { _ = try await engine.resume(run, as: script) } throws: { Self.isMoved($0) }
                await #expect { _ = try await engine.cancel(run) } throws: { Self.isMoved($0) }
                let ended = try #require(try await engine.runs(RunQuery(statuses: [.succeeded])).first)
                await #expect { try await engine.deleteRun(ended.id) } throws: { Self.isMoved($0) }
                await #expect { _ = try await engine.signal(run, "word", "late") } throws: { Self.isMoved($0) }
                await #expect {
                    _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 1)], Job())
                } throws: { Self.isMoved($0) }
                await engine.shutdown()
            }
        }
    }

    @Test("a store in which a worker was once started, and nothing else, takes all runs", arguments: pairs)
    func usedBefore(_ from: StoreKind, _ to: StoreKind) async throws {
        try await Self.use(from, to) { old, new, _ in
            let engine = try await Engine(store: new.configuration, configuration: testConfiguration())
            _ = try await engine.work(on: [QueueConfiguration("idle", concurrency: 1, totalConcurrency: 1)], Job())
            await engine.shutdown()
            let report = try await StoreCopy.move(from: old.configuration, to: new.configuration)
            #expect(report.tables[0].rows == 4 && !report.wasDone)
            #expect(try new.run("SELECT name FROM queues").isEmpty)
        }
    }

    @Test("a store that was being emptied for a copy, and never was, is emptied by the next try", .everyStore)
    func marking() async throws {
        try await Self.use(.sqlite, StoreKind.current) { old, new, _ in
            await (try await Engine(store: new.configuration, configuration: testConfiguration())).shutdown()
            try new.run("INSERT INTO queues (name) VALUES ('idle')")
            let id = try #require(try old.run("SELECT id FROM store")[0]["id"])
            try new.run("UPDATE store SET state = 'filling', peer = '\(id)', peer_name = 'another name'")
            let report = try await StoreCopy.move(from: old.configuration, to: new.configuration)
            #expect(report.tables[0].rows == 4)
        }
    }

    @Test("who still has a run in hand that has ended writes nothing any more", .onPostgres)
    func collector() async throws {
        try await Self.use(.postgres, .sqlite) { old, new, _ in
            let engine = try await Engine(store: old.configuration, configuration: testConfiguration())
            let ended = try #require(try await engine.runs(RunQuery(statuses: [.succeeded])).first)
            let wasDone = try await engine.withAbandonedRun(ended.id) { claimed in
                try await claimed.confirm("before")
                _ = try await StoreCopy.move(from: old.configuration, to: new.configuration)
                #expect(await code { try await claimed.confirm("after") } == .takenOver)
                return true
            }
            #expect(wasDone == true)
            await engine.shutdown()
        }
    }

    private static func isMoved(_ error: any Error) -> Bool { (error as? WorkflowError)?.code == .storeMoved }

    @Test("while somebody executes a run nothing moves, and the run goes on", .everyStore)
    func held() async throws {
        try await TestStore.use { old in
            try await TestStore.use(.sqlite) { new in
                let gate = Promise<Void>()
                let engine = try await Engine(store: old.configuration, configuration: testConfiguration())
                let handle = try await engine.start(
                    Script { _, run in
                        try await run.step("waits") { _ in
                            await gate.value()
                            return 1
                        }
                    }, input: "")
                await #expect {
                    _ = try await StoreCopy.move(from: old.configuration, to: new.configuration)
                } throws: { error in
                    guard case .runHeld? = (error as? WorkflowError)?.code else { return false }
                    return "\(error)".contains("\(handle.id)")
                }
                gate.fulfil(())
                #expect(try await handle.result() == 1)
                await engine.shutdown()
                #expect(try await !StoreCopy.move(from: old.configuration, to: new.configuration).wasDone)
            }
        }
    }

    @Test("a store with runs of its own takes no others, and one that is being filled is used by nobody")
    func refusals() async throws {
        try await TestStore.use(.sqlite) { old in
            try await TestStore.use(.sqlite) { new in
                _ = try await Self.fill(old)
                _ = try await Self.fill(new)
                await #expect {
                    _ = try await StoreCopy.move(from: old.configuration, to: new.configuration)
                } throws: { ($0 as? WorkflowError)?.code == .storeNotEmpty }
                await #expect {
                    _ = try await StoreCopy.move(from: old.configuration, to: old.configuration)
                } throws: { ($0 as? WorkflowError)?.code == .storeNotEmpty }
                let engine = try await Engine(store: old.configuration, configuration: testConfiguration())
                await engine.shutdown()
                try new.run("UPDATE store SET state = 'filling', peer = 'x'")
                await #expect {
                    _ = try await Engine(store: new.configuration, configuration: testConfiguration())
                } throws: { Self.isMoved($0) }
                await #expect { _ = try await StoreReopening.reopen(new.configuration) } throws: { Self.isMoved($0) }
            }
        }
    }

    @Test("every table is copied, or is about the store itself; both schemas have the same columns", .everyStore)
    func tables() async throws {
        try await TestStore.use { store in
            await (try await Engine(store: store.configuration, configuration: testConfiguration())).shutdown()
            let names = try store.run(
                store.kind == .sqlite
                    ? "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                    : "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()"
            ).compactMap { $0["name"] }
            let own: Set = ["store", "sequence", "leases", "writers", "workflow_migrations"]
            #expect(Set(names).subtracting(own) == Set(CopiedTable.allCases.map(\.rawValue)))
        }
    }

    @Test("pages of large rows get small, those of small ones large, within bounds")
    func pages() {
        var limit = PageLimit()
        let large = CopiedPage(
            columns: ["a"], rows: [CopiedRow(key: 1, values: [.text(String(repeating: "x", count: 5 << 20))])])
        for _ in 0..<10 { limit.adapt(to: large) }
        #expect(limit.rows == 1)
        for _ in 0..<20 { limit.adapt(to: CopiedPage(columns: ["a"], rows: [CopiedRow(key: 1, values: [.null])])) }
        #expect(limit.rows == 1024)
    }
}

/// What is shown of an address.
struct StoreAddressTests {
    @Test(
        "an address is shown without its password, however badly it is written",
        arguments: [
            ("postgresql://u:geheim@h/d", "postgresql://u:***@h/d"),
            ("postgres://u@h:5432/d?sslmode=require", "postgres://u@h:5432/d?sslmode=require"),
            ("postgresql://u:ge@he/im@h/d", "postgresql://u:***@h/d"),
            ("postgresql://u:geheim?@h/d", "postgresql://u:***@h/d"),
            ("postgresql://h/d?password=geheim&x=y", "postgresql://h/d?password=***&x=y"),
            ("postgresql://h/d?sslpassword=geheim", "postgresql://h/d?sslpassword=***"), ("/a/b.db", "/a/b.db"),
        ])
    func shown(_ address: String, _ expected: String) {
        #expect(StoreConfiguration.shown(address) == expected)
    }
}
