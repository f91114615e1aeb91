import Foundation
import GRDB
import Glibc
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("The store")
struct StoreTests {
    private static func mode(_ path: String) -> UInt32 {
        var info = stat()
        return stat(path, &info) == 0 ? info.st_mode & 0o777 : 0
    }

    @Test("commits are durable: FULL, WAL, no automatic checkpoint, read back from the connection")
    func pragmas() async throws {
        try await withEngine { engine, _ in
            let store = try #require(engine.core.store as? SQLiteStore)
            let answers = try await store.writer.perform { session in
                try ["synchronous", "wal_autocheckpoint", "foreign_keys"].map {
                    try Int.fetchOne(session.db, sql: "PRAGMA \($0)")
                }
            }
            #expect(answers == [2, 0, 1])
            let mode = try await store.writer.perform { try String.fetchOne($0.db, sql: "PRAGMA journal_mode") }
            #expect(mode == "wal")
            let reader = try await store.reader.read { db in
                try ["wal_autocheckpoint", "mmap_size"].map { try Int.fetchOne(db, sql: "PRAGMA \($0)") }
            }
            #expect(reader[0] == 0 && (reader[1] ?? 0) == 0)
        }
    }

    @Test("a connection that is not FULL is refused")
    func refusesNormal() throws {
        let queue = try DatabaseQueue()
        #expect(throws: WorkflowError.self) {
            try queue.inDatabase { db in try WritingDatabase.verify(db) }
        }
    }

    @Test("files are readable by their owner only")
    func modes() async throws {
        try await TemporaryStore.use { store in
            let path = store.directory + "/sub/dir/flow.sqlite"
            let engine = try await Engine(store: .sqlite(path: path), configuration: testConfiguration())
            let handle = try await engine.start(
                Script { _, run in try await run.step("look") { _ in Self.mode("\(path).locks/\(run.id).lock") } },
                input: "")
            #expect(try await handle.result() == 0o600)
            for file in [path, path + "-wal", path + "-shm", path + ".commit.lock"] {
                #expect(Self.mode(file) == 0o600, "\(file)")
            }
            #expect(Self.mode(path + ".locks") == 0o700)
            #expect(Self.mode(store.directory + "/sub/dir") == 0o700)
            #expect(try FileManager.default.contentsOfDirectory(atPath: path + ".locks") == [])
            await engine.shutdown()
        }
    }

    @Test("a store of a newer program is refused and left as it is")
    func newerSchema() async throws {
        try await withEngine { engine, store in
            let writer = try #require(engine.core.store as? SQLiteStore).writer
            try await writer.perform { session in
                let db = session.db
                try db.execute(sql: "INSERT INTO workflow_migrations (identifier) VALUES ('v9999_future')")
            }
            let refusal = await code {
                _ = try await Engine(store: store.configuration, configuration: testConfiguration())
            }
            #expect(refusal == .storeNewerThanProgram)
        }
    }

    @Test("a file that is no database is refused with a clear error")
    func corrupt() async throws {
        try await TemporaryStore.use { store in
            try Data(repeating: 0x58, count: 8192).write(to: URL(fileURLWithPath: store.path))
            let refusal = await code {
                _ = try await Engine(store: store.configuration, configuration: testConfiguration())
            }
            #expect(refusal == .storeCorrupt)
        }
    }

    @Test("a place that cannot be written is refused with a clear error")
    func notWritable() async throws {
        try await TemporaryStore.use { store in
            try Data().write(to: URL(fileURLWithPath: store.directory + "/file"))
            let refusal = await code {
                _ = try await Engine(
                    store: .sqlite(path: store.directory + "/file/flow.sqlite"), configuration: testConfiguration())
            }
            #expect(refusal == .storeNotWritable)
        }
    }

    @Test("a full disk stops the run with a clear error, and it can be resumed when there is space")
    func fullDisk() async throws {
        let world = World()
        let text = String(repeating: "x", count: 100_000)
        let script = Script { _, run in
            try await run.step("one") { _ in _ = world.effect("one") }
            try await run.step("big") { _ in
                world.effect("big")
                return text
            }
            return try await run.step("after") { _ in world.effect("after") }
        }
        try await withEngine { first, store in
            let writer = try #require(first.core.store as? SQLiteStore).writer
            try await writer.perform { session in
                let db = session.db
                let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
                try db.execute(sql: "PRAGMA max_page_count = \(pages + 4)")
            }
            let handle = try await first.start(script, input: "")
            #expect(await code { _ = try await handle.result() } == .storeFull)
            #expect(world.effects == ["one": 1, "big": 1])
            #expect(try await first.run(handle.id)?.status == .interrupted)
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == 1)
            #expect(world.effects == ["one": 1, "big": 2, "after": 1])
            await second.shutdown()
        }
    }

    @Test("a run of N steps costs N + 1 commits, intents included")
    func commitsPerRun() async throws {
        var configuration = StoreConfiguration.sqlite(path: "")
        try await TemporaryStore.use { store in
            configuration = store.configuration
            configuration.flushDelay = .seconds(5)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            for count in [1, 3, 10] {
                let before = engine.commitCount
                let handle = try await engine.start(
                    Script { _, run in
                        for index in 0..<count { try await run.step("step[\(index)]") { _ in index } }
                        return count
                    }, input: "")
                #expect(try await handle.result() == count)
                #expect(engine.commitCount - before == count + 1)
            }
            await engine.shutdown()
        }
    }

    @Test("operations that wait share one commit, and one that fails is rolled back alone")
    func groupCommit() async throws {
        try await withEngine { engine, store in
            let writer = try #require(engine.core.store as? SQLiteStore).writer
            try await writer.perform { try $0.db.execute(sql: "CREATE TABLE t (x INTEGER UNIQUE) STRICT") }
            let before = engine.commitCount
            // Holding the gate makes the writer wait with the first one while the others queue up behind.
            let gate = try FileLock.open(store.path + ".commit.lock")
            #expect(gate.tryLock(.exclusive))
            let isTaken = Promise<Void>()
            writer.submit(
                SQLiteOperation(urgency: .now) { _ in
                } completion: { _ in
                    isTaken.fulfil(())
                })
            try await until { writer.backlog == 0 }
            let results = await withTaskGroup(of: Bool.self) { group in
                for index in 0..<100 {
                    group.addTask {
                        do {
                            try await writer.perform { session in
                                let db = session.db
                                try db.execute(sql: "INSERT INTO t VALUES (?)", arguments: [index / 2])
                            }
                            return true
                        } catch {
                            return false
                        }
                    }
                }
                let isQueued: Void? = try? await until { writer.backlog == 100 }
                #expect(isQueued != nil)
                gate.unlock()
                return await group.reduce(into: [Bool]()) { $0.append($1) }
            }
            await isTaken.value()
            #expect(results.filter { $0 }.count == 50)
            #expect(engine.commitCount - before == 2)
            let rows = try await writer.perform { try Int.fetchOne($0.db, sql: "SELECT count(*) FROM t") }
            #expect(rows == 50)
        }
    }

    @Test("a lone 'done' reaches the disk without waiting for another step")
    func loneDone() async throws {
        let world = World()
        try await withEngine { engine, _ in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("one") { _ in 1 }
                    try await until { world.count("seen") > 0 }
                    return 1
                }, input: "")
            try await until { try await engine.steps(of: handle.id).first?.state == .done }
            world.effect("seen")
            _ = try await handle.result()
        }
    }

    @Test("the log is moved into the database when it has grown, but never while somebody else commits")
    func checkpoints() async throws {
        try await TemporaryStore.use { store in
            var configuration = store.configuration
            configuration.walLimit = 200_000
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let writer = try #require(engine.core.store as? SQLiteStore).writer
            func size() -> Int {
                var info = stat()
                return stat(store.path + "-wal", &info) == 0 ? Int(info.st_size) : 0
            }
            try await writer.perform { try $0.db.execute(sql: "CREATE TABLE t (x ANY) STRICT") }
            let other = try FileLock.open(store.path + ".commit.lock")
            #expect(other.tryLock(.shared))
            for _ in 0..<10 {
                try await writer.perform { try $0.db.execute(sql: "INSERT INTO t VALUES (randomblob(50000))") }
            }
            #expect(size() > 500_000)
            other.unlock()
            // The first commit moves the log, the second begins it anew and gives the rest of the file back.
            try await writer.perform { try $0.db.execute(sql: "INSERT INTO t VALUES (1)") }
            for _ in 0..<30 {
                try await writer.perform { try $0.db.execute(sql: "INSERT INTO t VALUES (randomblob(50000))") }
                // The checkpoint follows its commit's answer; the next operation waits for it.
                try await writer.perform { _ in }
                #expect(size() <= 300_000)
            }
            await engine.shutdown()
        }
    }

    @Test("after a shutdown nothing is open any more, and everything is in the database's one file")
    func shutdown() async throws {
        try await TemporaryStore.use { store in
            let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
            let handle = try await engine.start(Script { _, run in try await run.step("one") { _ in 1 } }, input: "")
            #expect(try await handle.result() == 1)
            #expect(try await engine.run(handle.id)?.status == .succeeded)
            await engine.shutdown()
            await engine.shutdown()
            #expect(await code { _ = try await engine.run(handle.id) } == .engineClosed)
            let left = try FileManager.default.contentsOfDirectory(atPath: store.directory).sorted()
            #expect(left == ["workflow.sqlite", "workflow.sqlite.commit.lock", "workflow.sqlite.locks"])
            let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
                try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
            }
            #expect(open.filter { $0.hasPrefix(store.directory) } == [])
        }
    }

    @Test("a store that another process keeps locked is reported as busy")
    func busy() async throws {
        try await TemporaryStore.use { store in
            var configuration = store.configuration
            configuration.busyTimeout = .milliseconds(50)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let gate = try FileLock.open(store.path + ".commit.lock")
            #expect(gate.tryLock(.exclusive))
            #expect(await code { _ = try await engine.start(Script { _, _ in 1 }, input: "") } == .storeBusy)
            gate.unlock()
            // The refused commit may just be giving its own lock back.
            var patient = Configuration()
            patient.busyMode = .timeout(5)
            let queue = try DatabaseQueue(path: store.path, configuration: patient)
            try await queue.writeWithoutTransaction { db in
                try db.beginTransaction(.immediate)
                try db.rollback()
            }
            #expect(try await engine.start(Script { _, _ in 1 }, input: "").result() == 1)
            await engine.shutdown()
        }
    }

    @Test("an opening waits for another process that is just making the store, and is not refused by SQLite")
    func madeTogether() async throws {
        try await TemporaryStore.use { store in
            let gate = try FileLock.open(store.path + ".commit.lock")
            #expect(gate.tryLock(.shared))
            // A writer in a database that has no write-ahead log yet: where the other opening stands halfway.
            var open = Configuration()
            open.allowsUnsafeTransactions = true
            let other = try DatabaseQueue(path: store.path, configuration: open)
            try await other.writeWithoutTransaction { db in
                try db.execute(sql: "CREATE TABLE made (id INTEGER)")
                try db.beginTransaction(.immediate)
            }
            let opening = Task { try await Engine(store: store.configuration, configuration: testConfiguration()) }
            try await Task.sleep(for: .milliseconds(200))
            try await other.writeWithoutTransaction { try $0.rollback() }
            try other.close()
            gate.unlock()
            let engine = try await opening.value
            #expect(try await engine.start(Script { _, _ in 1 }, input: "").result() == 1)
            await engine.shutdown()
        }
    }
}
