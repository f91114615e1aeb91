import Dispatch
import Foundation
import GRDB
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Reading a store without an engine")
struct StoreReaderTests {
    private static let script = Script { _, run in try await run.step("one") { _ in 1 } }

    /// A closed store with finished runs.
    private static func fill(_ store: TemporaryStore, runs: Int = 1) async throws {
        let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
        for _ in 0..<runs { #expect(try await engine.start(script, input: "").result() == 1) }
        await engine.shutdown()
    }

    /// Changes the database as no program of ours would.
    private static func tamper(_ store: TemporaryStore, _ sql: String) throws {
        var settings = Configuration()
        settings.foreignKeysEnabled = false
        let queue = try DatabaseQueue(path: store.path, configuration: settings)
        try queue.inDatabase { db in try db.execute(sql: sql) }
        try queue.close()
    }

    private static func withReader<T>(
        _ store: TemporaryStore, _ body: (StoreReader) async throws -> T
    ) async throws -> T {
        let reader = try await StoreReader(store: store.configuration)
        let value = try await body(reader)
        await reader.close()
        return value
    }

    private static func problems(_ store: TemporaryStore) async throws -> [String] {
        try await withReader(store) { try await $0.checkIntegrity() }
    }

    private static func refusal(_ path: String) async -> WorkflowError.Code? {
        await code { _ = try await StoreReader(store: .sqlite(path: path)) }
    }

    private static func names(_ store: TemporaryStore) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: store.directory).sorted()
    }

    /// Lets the database look as if nobody had touched it for an hour.
    private static func age(_ store: TemporaryStore) throws {
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSinceNow: -3600)], ofItemAtPath: store.path)
    }

    private static func isAged(_ store: TemporaryStore) throws -> Bool {
        let date = try FileManager.default.attributesOfItem(atPath: store.path)[.modificationDate] as? Date
        return try #require(date) < Date(timeIntervalSinceNow: -1800)
    }

    // MARK: - In nobody's way

    @Test("it lists while somebody else holds the lock of all commits exclusively, and takes none of it")
    func commitLock() async throws {
        try await withEngine { engine, store in
            let handle = try await engine.start(Self.script, input: "")
            #expect(try await handle.result() == 1)
            let gate = try FileLock.open(store.path + ".commit.lock")
            #expect(gate.lock(.exclusive, patience: .seconds(10)))
            try await Self.withReader(store.files) { reader in
                let (runs, steps) = (try await reader.runs(), try await reader.steps(of: handle.id))
                #expect(runs.map(\.id) == [handle.id] && steps.map(\.name) == ["one"])
                #expect(try await reader.checkIntegrity() == [])
            }
            gate.unlock()
            // The open reader keeps nobody from the lock.
            try await Self.withReader(store.files) { reader in
                _ = try await reader.runs()
                #expect(gate.lock(.exclusive, patience: .seconds(10)))
                gate.unlock()
            }
        }
    }

    @Test("it lists while a writer is in the middle of a transaction, and sees nothing of it")
    func openTransaction() async throws {
        try await withEngine { engine, store in
            let handle = try await engine.start(Self.script, input: "")
            #expect(try await handle.result() == 1)
            let writer = try #require(engine.core.store as? SQLiteStore).writer
            let isInside = Promise<Void>()
            let mayGoOn = DispatchSemaphore(value: 0)
            let write = Task {
                try await writer.perform { session in
                    try session.db.execute(sql: "UPDATE runs SET status = 'failed', finished_at = 1")
                    isInside.fulfil(())
                    // Bounded, so that a reader that waits for the writer fails the test and does not hang it.
                    _ = mayGoOn.wait(timeout: .now() + 60)
                }
            }
            await isInside.value()
            try await Self.withReader(store.files) { reader in
                #expect(try await reader.runs().map(\.status) == [.succeeded])
                mayGoOn.signal()
                try await write.value
                #expect(try await reader.runs().map(\.status) == [.failed])
            }
        }
    }

    @Test("an engine commits and moves its log while a reader is in the middle of reading, which sees one moment")
    func movedLog() async throws {
        try await TemporaryStore.use { store in
            var configuration = store.configuration
            // Every commit is followed by the attempt to move the log.
            configuration.walLimit = 0
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            // Until here it is kept from moving, so that there is something in the log when the reading begins.
            let gate = try FileLock.open(store.path + ".commit.lock")
            #expect(gate.lock(.shared, patience: .seconds(10)))
            for _ in 0..<5 { #expect(try await engine.start(Self.script, input: "").result() == 1) }
            let reader = try await StoreReader(store: store.configuration)
            let isInside = Promise<Void>()
            let mayGoOn = DispatchSemaphore(value: 0)
            let counts = Task {
                try await #require(reader.store as? SQLiteStoreReading).reader.read { db in
                    let before = try Int.fetchOne(db, sql: "SELECT count(*) FROM runs")
                    isInside.fulfil(())
                    _ = mayGoOn.wait(timeout: .now() + 60)
                    return [before, try Int.fetchOne(db, sql: "SELECT count(*) FROM runs JOIN steps ON run_no = no")]
                }
            }
            await isInside.value()
            try Self.age(store)
            gate.unlock()
            for _ in 0..<20 { #expect(try await engine.start(Self.script, input: "").result() == 1) }
            #expect(try !Self.isAged(store), "the log was not moved into the database's file")
            mayGoOn.signal()
            #expect(try await counts.value == [5, 5])
            #expect(try await reader.runs().count == 25)
            #expect(try await reader.checkIntegrity() == [])
            await engine.shutdown()
            #expect(try await reader.runs().count == 25)
            await reader.close()
        }
    }

    @Test("a run is 'running' while its process lives, also when that is stopped, and 'interrupted' after its death")
    func states() async throws {
        try await KillStory.use { story in
            let child = try story.start("hold")
            let id = try #require(RunID(try await child.line("holding ")))
            let reader = try await StoreReader(store: .sqlite(path: story.database))
            let held = try #require(try await reader.run(id))
            #expect(held.status == .running && held.owner?.pid == child.pid)
            try await child.stop()
            #expect(try await reader.runs(RunQuery(statuses: [.running])).map(\.id) == [id])
            #expect(try await reader.runs(RunQuery(statuses: [.interrupted])).isEmpty)
            child.send(SIGKILL)
            _ = try await child.end()
            #expect(try await reader.run(id)?.status == .interrupted)
            #expect(try await reader.runs(RunQuery(statuses: [.interrupted])).map(\.id) == [id])
            #expect(try await reader.find(prefix: String(id.description.prefix(20).uppercased())).map(\.id) == [id])
            let plan = try await reader.plan(id)
            let engine = try await story.engine()
            #expect(try await engine.plan(id) == plan)
            // Reading has not taken the run from whoever resumes it.
            let claimed = try await engine.withAbandonedRun(id) { $0.record.id }
            #expect(claimed == id)
            await engine.shutdown()
            await reader.close()
        }
    }

    @Test("what it tells of a run is what the engine tells")
    func sameAnswers() async throws {
        let world = World()
        try await withEngine { engine, store in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                        try await run.step("one") { _ in 1 }
                    }
                }, input: "x", labels: ["a": "b"])
            #expect(try await handle.result() == 1)
            try await Self.withReader(store.files) { reader in
                #expect(try await reader.run(handle.id) == engine.run(handle.id))
                #expect(try await reader.steps(of: handle.id) == engine.steps(of: handle.id))
                #expect(try await reader.resources(of: handle.id) == engine.resources(of: handle.id))
                #expect(try await reader.resources(states: [.released]).count == 1)
                let events = try await reader.events(of: handle.id, after: 0, limit: 100_000)
                #expect(try await events == engine.events(of: handle.id) && events.count > 4)
                let last = try #require(events.last)
                #expect(try await reader.events(of: handle.id, after: last.seq, limit: -1).isEmpty)
                #expect(await code { _ = try await reader.plan(handle.id) } == .alreadyFinished(.succeeded))
                #expect(await code { _ = try await reader.plan(RunID(time: Date())) } == .unknownRun)
            }
        }
    }

    // MARK: - Nothing made

    @Test("where there is no store it says so, and makes nothing")
    func noStore() async throws {
        try await TemporaryStore.use { store in
            #expect(await Self.refusal(store.path) == .noStore)
            #expect(await Self.refusal(store.directory + "/not/there/flow.sqlite") == .noStore)
            #expect(try Self.names(store) == [])
            // What another process leaves for a moment while it makes a store.
            try Data().write(to: URL(fileURLWithPath: store.path))
            #expect(await Self.refusal(store.path) == .noStore)
            try Self.tamper(store, "CREATE TABLE other (x)")
            let before = try Self.names(store)
            #expect(await Self.refusal(store.path) == .noStore)
            #expect(try Self.names(store) == before)
            #expect(await Self.refusal(store.directory) == .storeNotWritable)
        }
    }

    @Test("a store that nobody has open is read, and no file appears beside it")
    func resting() async throws {
        try await TemporaryStore.use { store in
            try await Self.fill(store, runs: 3)
            try Self.age(store)
            let before = try Self.names(store)
            try await Self.withReader(store) { reader in
                #expect(try await reader.runs().count == 3)
                #expect(try await reader.checkIntegrity() == [])
                #expect(try Self.names(store) == before)
                // An engine comes, and the same reader sees what it does.
                try await Self.fill(store)
                #expect(try await reader.runs().count == 4)
            }
            try Self.age(store)
            let after = try Self.names(store)
            #expect(try await Self.withReader(store) { try await $0.runs() }.count == 4)
            #expect(try Self.names(store) == after)
        }
    }

    @Test("what was read of a file that changed meanwhile counts for nothing")
    func awakened() async throws {
        try await TemporaryStore.use { store in
            try await Self.fill(store)
            #expect(RestingDatabase(store.path) == nil, "it was changed just now")
            try Self.age(store)
            let resting = try #require(RestingDatabase(store.path))
            var settings = Configuration()
            settings.readonly = true
            let quiet = resting.read(settings) { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM runs") }
            #expect(try quiet?.get() == 1)
            let disturbed = resting.read(settings) { db in
                let file = try FileHandle(forWritingTo: URL(fileURLWithPath: store.path))
                let end = try file.seekToEnd()
                try file.write(contentsOf: Data(count: 1))
                try file.truncate(atOffset: end)
                try file.close()
                return 1
            }
            #expect(disturbed == nil)
            try Self.age(store)
            let link = store.directory + "/link"
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: store.path)
            #expect(RestingDatabase(link) == nil, "its log would stand elsewhere")
            try Data().write(to: URL(fileURLWithPath: store.path + "-wal"))
            #expect(RestingDatabase(store.path) == nil, "somebody has it open")
        }
    }

    // MARK: - Stores it cannot read

    @Test("a store of a newer program is refused, one of an older program too, and both stay as they are")
    func otherSchemas() async throws {
        try await TemporaryStore.use { store in
            try await Self.fill(store)
            try Self.tamper(store, "INSERT INTO workflow_migrations (identifier) VALUES ('v9999_future')")
            #expect(await Self.refusal(store.path) == .storeNewerThanProgram)
            try Self.tamper(store, "DELETE FROM workflow_migrations")
            #expect(await Self.refusal(store.path) == .storeNeedsMigration)
            let rows = try await DatabaseQueue(path: store.path).read { db in
                try Int.fetchOne(db, sql: "SELECT count(*) FROM workflow_migrations")
            }
            #expect(rows == 0)
        }
    }

    @Test("a file that is no database is refused")
    func noDatabase() async throws {
        try await TemporaryStore.use { store in
            try Data(repeating: 0x58, count: 8192).write(to: URL(fileURLWithPath: store.path))
            #expect(await Self.refusal(store.path) == .storeCorrupt)
        }
    }

    @Test("a closed reader reads no more, and closing it twice does no harm")
    func closed() async throws {
        try await TemporaryStore.use { store in
            try await Self.fill(store)
            let reader = try await StoreReader(store: store.configuration)
            await reader.close()
            await reader.close()
            #expect(await code { _ = try await reader.runs() } == .engineClosed)
        }
    }

    // MARK: - Damage

    @Test("a damaged page is found, by a reader and by an engine", arguments: ["steps", "runs_unfinished"])
    func damagedPage(name: String) async throws {
        try await TemporaryStore.use { store in
            try await Self.fill(store, runs: 5)
            #expect(try await Self.problems(store) == [])
            let page = try await DatabaseQueue(path: store.path).read { db in
                try Int.fetchOne(db, sql: "SELECT rootpage FROM sqlite_master WHERE name = ?", arguments: [name])
            }
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: store.path))
            try file.seek(toOffset: UInt64(try #require(page) - 1) * 4096)
            let bytes = try #require(try file.read(upToCount: 64))
            try file.seek(toOffset: UInt64(try #require(page) - 1) * 4096)
            try file.write(contentsOf: Data(bytes.map { ~$0 }))
            try file.close()

            #expect(try await !Self.problems(store).isEmpty)
            try Self.age(store)
            #expect(try await !Self.problems(store).isEmpty)
            let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await !engine.checkIntegrity().isEmpty)
            await engine.shutdown()
        }
    }

    @Test("a row that belongs to no run is found, in words")
    func orphan() async throws {
        try await withEngine { engine, store in
            #expect(try await engine.start(Self.script, input: "").result() == 1)
            #expect(try await engine.checkIntegrity() == [])
            try Self.tamper(store.files, "DELETE FROM runs")
            let problems = try await engine.checkIntegrity()
            #expect(
                problems.contains("row 1 of steps belongs to a row of runs that is not there"), "\(problems)")
            #expect(try await Self.problems(store.files) == problems)
        }
    }
}
