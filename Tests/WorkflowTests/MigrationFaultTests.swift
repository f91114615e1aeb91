import Foundation
import GRDB
import Testing
import WorkflowTesting

import enum TestSupport.TestSize

@testable import Workflow

@Suite("Making a store on a disk that fails")
struct MigrationFaultTests {
    private static func open(_ store: TemporaryStore) async throws -> Engine {
        var configuration = store.configuration
        configuration.busyTimeout = .milliseconds(15)
        return try await Engine(store: configuration, configuration: testConfiguration())
    }

    /// Opens a new store and closes it; what goes wrong is for the caller to judge.
    private static func make(_ store: TemporaryStore) async throws {
        await (try await open(store)).shutdown()
    }

    private static func schema(_ engine: Engine) async throws -> [String] {
        let store = try #require(engine.core.store as? SQLiteStore)
        return try await store.writer.perform { session in
            try String.fetchAll(
                session.db, sql: "SELECT type || name || coalesce(sql, '') FROM sqlite_master ORDER BY 1")
                + String.fetchAll(session.db, sql: "SELECT identifier FROM workflow_migrations ORDER BY position")
                + String.fetchAll(session.db, sql: "PRAGMA integrity_check")
        }
    }

    /// What an undisturbed opening does, and what it leaves.
    private static func undisturbed() async throws -> (counts: FaultyDisk.Counts, schema: [String]) {
        let store = try TemporaryStore(inMemory: true)
        let disk = try FaultyDisk(store.directory)
        try await make(store)
        let counts = disk.counts
        let engine = try await open(store)
        let schema = try await schema(engine)
        await engine.shutdown()
        try store.remove()
        #expect(schema.count > 10 && schema.last == "ok")
        return (counts, schema)
    }

    /// - Returns: what is wrong with a store that is opened after the trouble.
    private static func defects(_ store: TemporaryStore, _ schema: [String]) async throws -> [String] {
        let engine: Engine
        do {
            engine = try await open(store)
        } catch {
            return ["cannot be opened again: \(error)"]
        }
        let isWhole = try await Self.schema(engine) == schema
        let handle = try await engine.start(Script { _, run in try await run.step("one") { _ in 1 } }, input: "")
        let works = try await handle.result() == 1
        await engine.shutdown()
        return (isWhole ? [] : ["the schema is another"]) + (works ? [] : ["no run works"])
    }

    @Test("power goes anywhere while a store is made: the next opening makes it whole")
    func power() async throws {
        let changing: Set<FaultyDisk.Call> = [.write, .truncate, .sync, .delete]
        let (counts, schema) = try await Self.undisturbed()
        let calls = counts[changing]
        let seeds: UInt64 = TestSize.isLong ? 60 : 4
        #expect(calls > 50)
        var all: [String] = []
        for position in 1...calls {
            let store = try TemporaryStore(inMemory: true)
            let disk = try FaultyDisk(store.directory)
            disk.cutPower(beforeCall: position, of: changing)
            try await Self.make(store)
            #expect(!disk.hasPower)
            for seed in 1...seeds {
                let survivor = try disk.cutPower(seed: seed)
                all += try await Self.defects(survivor, schema).map { "call \(position), seed \(seed): \($0)" }
                try survivor.remove()
            }
            try store.remove()
        }
        print("power cut before each of \(calls) changes, \(seeds) survivors of each")
        #expect(all == [])
    }

    @Test("a call fails anywhere while a store is made: the opening says so, the next one makes it whole")
    func faults() async throws {
        let (counts, schema) = try await Self.undisturbed()
        let blame: Set<WorkflowError.Code> = [.storeFailed, .storeFull, .storeBusy, .storeNotWritable]
        var scenarios = 0
        var refused = 0
        var all: [String] = []
        for fault in DiskFault.all {
            for position in 1...counts[fault.calls] {
                let store = try TemporaryStore(inMemory: true)
                let disk = try FaultyDisk(store.directory)
                fault.arm(disk, at: position)
                var found: [String] = []
                do {
                    try await Self.make(store)
                } catch let error as WorkflowError where blame.contains(error.code) {
                    refused += 1
                } catch {
                    found.append("\(error)")
                }
                if disk.counts.failed == 0 { found.append("was not met") }
                disk.heal()
                let survivor = position.isMultiple(of: 2) ? try disk.cutPower(seed: UInt64(position)) : nil
                found += try await Self.defects(survivor ?? store, schema)
                try survivor?.remove()
                try store.remove()
                scenarios += 1
                all += found.map { "\(fault) at call \(position): \($0)" }
            }
        }
        print("\(scenarios) openings with a fault, \(refused) refused")
        #expect(refused > 100)
        #expect(all == [])
    }
}
