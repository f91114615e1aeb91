import CoreMetrics
import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import Testing
import WorkflowPostgresMigrations
import WorkflowTesting

@testable import Workflow

extension Trait where Self == ConditionTrait {
    /// For tests of PostgreSQL alone.
    static var onPostgres: ConditionTrait { .enabled(if: StoreKind.tested.contains(.postgres)) }
}

@Suite("The store on PostgreSQL", .onPostgres)
struct PostgresTests {
    private static let script = Script { _, run in try await run.step("one") { _ in 1 } }

    private static let waiting = Script { _, run in
        try await run.step("wait") { _ in try await Task.sleep(for: .seconds(60)) }
        return 1
    }

    private static func open(_ store: TestStore) async throws -> Engine {
        try await Engine(store: store.configuration, configuration: testConfiguration())
    }

    // MARK: - Commits

    @Test("a run of N steps costs N + 1 commits until it answers, and a commit one round trip")
    func commitsPerRun() async throws {
        try await TestStore.use(.postgres) { store in
            let proxy = try CuttingProxy(before: try await TestPostgres.shared.value, in: store.directory)
            var configuration = StoreConfiguration.postgres(proxy.address(schema: store.schema))
            configuration.flushDelay = .seconds(5)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            // The first claim opens the connection of the leases.
            #expect(try await engine.start(Self.script, input: "").result() == 1)
            try await Task.sleep(for: .milliseconds(300))
            for count in [1, 3, 10] {
                let before = (commits: engine.commitCount, turns: proxy.turns)
                let handle = try await engine.start(
                    Script { _, run in
                        for index in 0..<count { try await run.step("step[\(index)]") { _ in index } }
                        return count
                    }, input: "")
                #expect(try await handle.result() == count)
                #expect(engine.commitCount - before.commits == count + 1)
                #expect(proxy.turns - before.turns == count + 1)
            }
            await engine.shutdown()
            proxy.close()
        }
    }

    @Test("operations that wait share one commit, and one that fails is rolled back alone")
    func groupCommit() async throws {
        try await TestStore.use(.postgres) { store in
            let engine = try await Self.open(store)
            try store.run("CREATE TABLE t (x bigint UNIQUE)")
            let writer = try #require(engine.core.store as? PostgresStore).writer
            let before = engine.commitCount
            let mayGoOn = DispatchSemaphore(value: 0)
            let isTaken = Promise<Void>()
            writer.submit(
                PostgresOperation(
                    urgency: .now, queries: { [PostgresQuery("INSERT INTO t VALUES (1000)")] },
                    during: { _ = mayGoOn.wait(timeout: .now() + 30) }, completion: { _ in isTaken.fulfil(()) }))
            try await until { writer.backlog == 0 }
            let results = await withTaskGroup(of: Bool.self) { group in
                for index in 0..<100 {
                    group.addTask {
                        await code {
                            try await writer.perform({
                                [PostgresQuery("INSERT INTO t VALUES ($1::bigint)", ["\(index / 2)"])]
                            }) { _ in }
                        } == nil
                    }
                }
                let isQueued: Void? = try? await until { writer.backlog == 100 }
                #expect(isQueued != nil)
                mayGoOn.signal()
                return await group.reduce(into: [Bool]()) { $0.append($1) }
            }
            await isTaken.value()
            #expect(results.filter { $0 }.count == 50)
            #expect(engine.commitCount - before == 2)
            #expect(try store.run("SELECT count(*) AS n FROM t")[0]["n"] == "51")
            await engine.shutdown()
        }
    }

    @Test("a row that another transaction keeps locked makes one operation busy, and none of the others")
    func busy() async throws {
        try await TestStore.use(.postgres) { store in
            var configuration = store.configuration
            configuration.busyTimeout = .milliseconds(200)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let handle = try await engine.start(Self.waiting, input: "")
            try await until { try await !engine.steps(of: handle.id).isEmpty }
            let other = try PostgresConnection(
                PostgresAddress(store.address), patience: .seconds(30), attributes: "any")
            try other.script("BEGIN; SELECT * FROM runs FOR UPDATE")
            async let refusal = code { try await engine.cancel(handle.id) }
            async let answer = engine.start(Self.script, input: "").result()
            #expect(await refusal == .storeBusy)
            #expect(try await answer == 1)
            try other.script("ROLLBACK")
            #expect(try await engine.cancel(handle.id))
            #expect(await code { _ = try await handle.result() } == .cancelled)
            await engine.shutdown()
        }
    }

    @Test("transactions that lock each other's rows crosswise both come through")
    func deadlock() async throws {
        try await TestStore.use(.postgres) { store in
            let (first, second) = (try await store.open(), try await store.open())
            let ids = [RunID(time: Date()), RunID(time: Date())]
            for id in ids { try await first.make(id) }
            for _ in 0..<5 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for (store, order) in [(first, ids), (second, ids.reversed())] {
                        for id in order { group.addTask { try await store.requestCancellation(id) } }
                    }
                    try await group.waitForAll()
                }
            }
            await first.close()
            await second.close()
        }
    }

    /// A claim that is under way while the old holder writes, and is committed then.
    ///
    /// - Returns: what the write was refused with.
    private static func writeDuringClaim(
        _ index: Int, _ rewrite: @escaping @Sendable (RunStatement, String) -> String = { $1 }
    ) async throws -> WorkflowError.Code? {
        try await TestStore.use(.postgres) { files in
            let store = try await files.open { $0.rewrite = rewrite }
            let id = RunID(time: Date())
            try await store.make(id)
            let (_, before, change) = FencingTests.changes(id)[index]
            if !before.isEmpty { try await store.commit(before, run: id, epoch: 1) }
            let rival = try PostgresConnection(
                PostgresAddress(files.address), patience: .seconds(30), attributes: "any")
            try rival.script("BEGIN; UPDATE runs SET epoch = epoch + 1")
            async let refusal = code { try await store.commit([change], run: id, epoch: 1) }
            try await Task.sleep(for: .milliseconds(30))
            try rival.script("COMMIT")
            let result = await refusal
            await store.close()
            return result
        }
    }

    @Test("a write waits for a claim that is under way, and is refused when that is committed", arguments: 0..<13)
    func writeDuringClaim(index: Int) async throws {
        #expect(try await Self.writeDuringClaim(index) == .takenOver)
    }

    @Test("without the lock on the run's row a write slips in beside a claim, and the test above notices")
    func withoutLock() async throws {
        var noticed = 0
        for index in 0..<13 {
            let refusal = try await Self.writeDuringClaim(index) { statement, sql in
                #expect(sql.contains("FOR NO KEY UPDATE"), "\(statement)")
                return sql.replacing("FOR NO KEY UPDATE", with: "")
            }
            if refusal != .takenOver { noticed += 1 }
        }
        print("\(noticed) of 13 changes slipped in")
        #expect(noticed == 13)
    }

    // MARK: - Schema

    @Test("a store of a newer program is refused and left as it is")
    func newerSchema() async throws {
        try await TestStore.use(.postgres) { store in
            await (try await Self.open(store)).shutdown()
            try store.run("INSERT INTO workflow_migrations (identifier) VALUES ('v9999_future')")
            #expect(await code { _ = try await Self.open(store) } == .storeNewerThanProgram)
            #expect(await code { _ = try await StoreReader(store: store.configuration) } == .storeNewerThanProgram)
            try store.run("DELETE FROM workflow_migrations")
            #expect(await code { _ = try await StoreReader(store: store.configuration) } == .storeNeedsMigration)
        }
    }

    @Test("engines that make a store at once make it once")
    func madeTogether() async throws {
        try await TestStore.use(.postgres) { store in
            let answers = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        let engine = try await Self.open(store)
                        let answer = try await engine.start(Self.script, input: "").result()
                        await engine.shutdown()
                        return answer
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(answers == 8)
            let applied = try store.run("SELECT identifier FROM workflow_migrations").compactMap { $0["identifier"] }
            #expect(applied.sorted() == WorkflowPostgresMigrations.all.map(\.identifier), "\(applied)")
        }
    }

    @Test("an opening that dies in the middle of making a store leaves nothing, and the next one makes it")
    func brokenMigration() async throws {
        try await TestStore.use(.postgres) { store in
            let dying = try PostgresConnection(
                PostgresAddress(store.address), patience: .seconds(30), attributes: "any")
            try dying.script("BEGIN")
            try PostgresMigration.migrateInTransaction(dying)
            let opening = Task { try await Self.open(store) }
            try await Task.sleep(for: .milliseconds(200))
            try store.run("SELECT pg_terminate_backend(\(dying.backend))")
            let engine = try await opening.value
            #expect(try await engine.start(Self.script, input: "").result() == 1)
            await engine.shutdown()
        }
    }

    @Test("a reader makes no schema, and reads what an engine wrote")
    func reader() async throws {
        try await TestStore.use(.postgres) { store in
            #expect(await code { _ = try await StoreReader(store: store.configuration) } == .noStore)
            #expect(
                try store.run("SELECT 1 FROM pg_tables WHERE schemaname = current_schema()").isEmpty)
            let engine = try await Self.open(store)
            let handle = try await engine.start(Self.script, input: "")
            #expect(try await handle.result() == 1)
            let reader = try await StoreReader(store: store.configuration)
            #expect(try await reader.runs().map(\.id) == [handle.id])
            #expect(try await reader.steps(of: handle.id).map(\.name) == ["one"])
            #expect(try await reader.events(of: handle.id).map(\.kind).last == "run.succeeded")
            #expect(try await reader.checkIntegrity() == [])
            #expect(await code { _ = try await reader.plan(handle.id) } == .alreadyFinished(.succeeded))
            await reader.close()
            #expect(await code { _ = try await reader.runs() } == .engineClosed)
            await engine.shutdown()
            // Nobody is left on the server, and nothing is held.
            try await until {
                try store.run(
                    "SELECT 1 FROM pg_stat_activity WHERE application_name = '\(store.schema)' AND pid <> pg_backend_pid()"
                ).isEmpty
            }
            #expect(try store.run("SELECT * FROM leases").isEmpty)
        }
    }

    @Test("a role that may only read can be a reader's, and is refused as an engine's")
    func roles() async throws {
        try await TestStore.use(.postgres) { store in
            let engine = try await Self.open(store)
            #expect(try await engine.start(Self.script, input: "").result() == 1)
            await engine.shutdown()
            let role = "r_" + store.schema
            for statement in [
                "CREATE ROLE \(role) LOGIN", "GRANT USAGE ON SCHEMA \(store.schema) TO \(role)",
                "GRANT SELECT ON ALL TABLES IN SCHEMA \(store.schema) TO \(role)",
            ] { try store.run(statement) }
            let configuration = StoreConfiguration.postgres(
                store.address.replacing("user=postgres", with: "user=\(role)"))
            let reader = try await StoreReader(store: configuration)
            #expect(try await reader.runs().map(\.status) == [.succeeded])
            #expect(try await reader.checkIntegrity() == [])
            await reader.close()
            let refusal = await code {
                _ = try await Engine(store: configuration, configuration: testConfiguration())
            }
            #expect(refusal == .storeNotWritable)
            try store.run("DROP OWNED BY \(role)")
            try store.run("DROP ROLE \(role)")
        }
    }

    /// Hides the library from a program, where that is allowed.
    private static let withoutLibrary = [
        "unshare", "-m", "sh", "-c",
        #"for file in /usr/lib/*/libpq.so.5; do mount --bind /dev/null "$(readlink -f "$file")"; done; exec "$@""#,
        "sh",
    ]

    private static let canHide: Bool = {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["unshare", "-m", "true"]
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()

    @Test(
        "without libpq a store on PostgreSQL is refused with what to install, and one on SQLite works",
        .enabled(if: canHide))
    func noLibrary() async throws {
        try await KillStory.use(.postgres) { story in
            let child = try story.start("run", under: Self.withoutLibrary)
            #expect(try await child.end() == (nil, 1))
            #expect(child.printed.last?.hasPrefix("error storeNotWritable: ") == true)
            #expect(child.printed.last?.contains("libpq5") == true)
        }
        try await KillStory.use(.sqlite) { story in
            let child = try story.start("run", under: Self.withoutLibrary)
            #expect(try await child.end() == (nil, 0), "\(child.printed)")
            #expect(try await story.defects(kills: 0) == [])
        }
    }

    // MARK: - Secrets

    @Test("a password is in no error, no record, no event and no description")
    func secrets() async throws {
        let password = "n0b0dy-sees-me"
        func isSilent(_ text: String) -> Bool { !text.contains(password) && !text.contains("n0b0dy") }
        try await TestStore.use(.postgres) { store in
            let address = store.address.replacing("user=postgres", with: "user=postgres&password=\(password)")
            let configuration = StoreConfiguration.postgres(address)
            #expect(isSilent("\(configuration)") && isSilent(String(reflecting: configuration)))
            var dumped = ""
            dump(configuration, to: &dumped)
            #expect(isSilent(dumped))
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            #expect(try await engine.start(Self.script, input: "").result() == 1)
            await engine.shutdown()
            for table in ["leases", "writers", "workflow_migrations"] {
                #expect(try isSilent("\(store.run("SELECT * FROM \(table)"))"))
            }
            #expect(isSilent(try store.dump()))
        }
        let addresses = [
            "postgresql://me:\(password)@127.0.0.1:1/none", "postgresql://me:\(password)%zz@127.0.0.1:1/none",
            "postgresql://me:\(password)@[::1/none", "postgresql://me@127.0.0.1:1/none?password=\(password)&x=1",
            "postgresql://me@127.0.0.1:1/none?\(password)=1", "host=127.0.0.1 port=1 password=\(password)",
            "host=127.0.0.1 port=1 \(password)", "host=127.0.0.1 port=1 password='\(password)",
            "postgresql://me:\(password)@/none?host=/nowhere", "postgresql://me:x/\(password)@127.0.0.1:1/none",
            "postgresql://me:1/\(password)@127.0.0.1:1/none", "postgresql://me:x@\(password)@127.0.0.1:1/none",
        ]
        for address in addresses {
            for configuration in [StoreConfiguration.postgres(address)] {
                let error = await #expect(throws: WorkflowError.self) {
                    _ = try await Engine(store: configuration, configuration: testConfiguration())
                }
                let text = error.map { "\($0) \(String(reflecting: $0)) \($0.message)" } ?? ""
                #expect(isSilent(text), "\(address)")
                #expect([.storeUnavailable, .storeNotWritable].contains(error?.code), "\(address): \(text)")
            }
        }
    }

    @Test("a text with a zero byte is refused with its reason, alone, and the run can go on")
    func zeroByte() async throws {
        try await TestStore.use(.postgres) { store in
            let writer = try await store.open()
            let id = RunID(time: Date())
            try await writer.make(id)
            async let failure = code { try await writer.commit([.event(NewEvent("a\0b"))], run: id, epoch: 1) }
            async let others = withThrowingTaskGroup(of: Void.self) { group in
                for index in 0..<20 {
                    group.addTask { try await writer.commit([.event(NewEvent("e\(index)"))], run: id, epoch: 1) }
                }
                try await group.waitForAll()
            }
            #expect(await failure == .invalidPayload)
            try await others
            #expect(try await writer.events(of: id, after: 0, limit: 100).count == 21)
            await writer.close()
        }
    }

    @Test("what was refused alone is refused, too, where the answer to its commit is lost")
    func refusedInDoubt() async throws {
        try await TestStore.use(.postgres) { store in
            let proxy = try CuttingProxy(before: try await TestPostgres.shared.value, in: store.directory)
            defer { proxy.close() }
            let writer = try await store.open { $0 = .postgres(proxy.address(schema: store.schema)) }
            let id = RunID(time: Date())
            try await writer.make(id)
            proxy.cutNext(.afterCommit)
            #expect(
                await code { try await writer.commit([.event(NewEvent("a\0b"))], run: id, epoch: 1) }
                    == .invalidPayload)
            #expect(proxy.cuts == 1)
            try await writer.commit([.event(NewEvent("ab"))], run: id, epoch: 1)
            #expect(try await writer.events(of: id, after: 0, limit: 100).count == 2)
            await writer.close()
        }
    }

    @Test("a store in a later schema of the search path is not taken for one in the first")
    func laterSchema() async throws {
        try await TestStore.use(.postgres) { store in
            await (try await store.open()).close()
            try await TestStore.use(.postgres) { first in
                let path = "\(first.schema)%2C\(store.schema)"
                let both = StoreConfiguration.postgres(store.address.replacing(store.schema, with: path))
                let refused = await #expect(throws: WorkflowError.self) {
                    _ = try await both.open(clock: ManualClock(), metrics: StoreMetrics(NOOPMetricsHandler.instance))
                }
                #expect(refused?.code == .storeNotWritable)
                for schema in [first.schema, store.schema] {
                    #expect(refused?.message.contains("'\(schema)'") == true, "\(String(describing: refused))")
                }
                let tables = try first.run("SELECT tablename FROM pg_tables WHERE schemaname = '\(first.schema)'")
                #expect(tables.isEmpty)
                await (try await first.open()).close()
            }
        }
    }

    // MARK: - News

    @Test("a request for cancellation reaches another process by a notification, long before it would look for one")
    func notification() async throws {
        try await TestStore.use(.postgres) { store in
            var configuration = testConfiguration()
            configuration.cancellationPollInterval = .seconds(60)
            let first = try await Engine(store: store.configuration, configuration: configuration)
            let second = try await Self.open(store)
            let handle = try await first.start(Self.waiting, input: "")
            try await until { try await !second.steps(of: handle.id).isEmpty }
            // The connection that listens comes with the first claim.
            try await Task.sleep(for: .milliseconds(300))
            let began = ContinuousClock.now
            #expect(try await second.cancel(handle.id))
            #expect(await code { _ = try await handle.result() } == .cancelled)
            #expect(began.duration(to: .now) < .seconds(5))
            await first.shutdown()
            await second.shutdown()
        }
    }
}

extension WorkflowStore {
    /// Records a run and claims it.
    func make(_ id: RunID) async throws {
        let new = NewRun(id: id, workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil, labels: [:])
        let owner = RunOwner(description: "test", pid: 1, host: "here", since: Date())
        _ = try await withCheckedThrowingContinuation { continuation in
            create(new, owner: owner, urgency: .now) { continuation.resume(with: $0) }
        }
    }
}
