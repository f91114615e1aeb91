import CoreMetrics
import Foundation
import GRDB
import class TestSupport.TestPostgres
import Testing
import Workflow
import WorkflowTesting

@testable import Workflow

/// Where the runs of a test are kept.
enum StoreKind: String, CaseIterable, Sendable {
    case sqlite
    case postgres

    /// The kind that tests use which do not say another.
    @TaskLocal static var current = StoreKind.sqlite

    /// `SNAPWF_TEST_STORES=sqlite` leaves PostgreSQL out, for a machine without a server.
    static var tested: [StoreKind] {
        let given = ProcessInfo.processInfo.environment["SNAPWF_TEST_STORES"]
        return allCases.filter { given?.split(separator: ",").contains(Substring($0.rawValue)) ?? true }
    }
}

/// Runs each test of a suite once for each kind of store: `TestStore` and `withEngine` follow.
struct EveryStore: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    @concurrent func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        for kind in StoreKind.tested {
            do {
                try await StoreKind.$current.withValue(kind) { try await function() }
            } catch {
                print("\(test.name) threw on \(kind): \(error)")
                throw error
            }
        }
    }
}

extension Trait where Self == EveryStore {
    static var everyStore: EveryStore { EveryStore() }
}

/// A new store of some kind, and a directory beside it.
struct TestStore: Sendable {
    let kind: StoreKind
    let files: TemporaryStore
    private let server: TestPostgres?
    /// On a server, what its tables are in.
    let schema: String

    var directory: String { files.directory }
    /// The file of a SQLite database.
    var path: String { files.path }

    /// What a process is told to open it with.
    var address: String { server.map { $0.address(schema: schema) } ?? files.path }

    var configuration: StoreConfiguration {
        var configuration = StoreConfiguration.named(address)
        configuration.leaseTerm = .seconds(2)
        configuration.reconnectTimeout = .seconds(20)
        return configuration
    }

    init(_ kind: StoreKind = .current, inMemory: Bool = false) async throws {
        self.kind = kind
        files = try TemporaryStore(inMemory: inMemory)
        server = kind == .postgres ? try await TestPostgres.shared.value : nil
        schema = try server?.makeSchema() ?? ""
    }

    func remove() throws {
        try server?.run("DROP SCHEMA \(schema) CASCADE")
        try files.remove()
    }

    static func use<T>(
        _ kind: StoreKind = .current, inMemory: Bool = false, _ body: (TestStore) async throws -> T
    ) async throws -> T {
        let store = try await TestStore(kind, inMemory: inMemory)
        let result: Result<T, any Error>
        do {
            result = .success(try await body(store))
        } catch {
            result = .failure(error)
        }
        try store.remove()
        return try result.get()
    }

    /// Runs one statement by itself, as no program of ours would; what it answers, each row as text.
    @discardableResult
    func run(_ sql: String) throws -> [[String: String]] {
        if let server { return try server.run(sql, schema: schema) }
        var patient = Configuration()
        patient.busyMode = .timeout(10)
        let queue = try DatabaseQueue(path: files.path, configuration: patient)
        return try queue.writeWithoutTransaction { db in
            try Row.fetchAll(db, sql: sql).map { row in
                var values: [String: String] = [:]
                for (name, value) in row { values[name] = String.fromDatabaseValue(value) ?? "\(value)" }
                return values
            }
        }
    }

    /// Everything that is in the tables of the engine.
    func dump() throws -> String {
        if kind == .postgres { return try TestPostgres.dump(address) }
        let queue = try DatabaseQueue(path: files.path)
        return try queue.read { db in
            try ["runs", "steps", "resources", "events", "signals"].map { table in
                try Row.fetchAll(db, sql: "SELECT * FROM \(table) ORDER BY rowid").map(\.description)
                    .joined(separator: "\n")
            }.joined(separator: "\n\n")
        }
    }

    /// The store itself, without an engine.
    func open(clock: any EngineClock = ManualClock(), _ change: (inout StoreConfiguration) -> Void = { _ in })
        async throws -> any WorkflowStore
    {
        var configuration = configuration
        change(&configuration)
        return try await configuration.open(clock: clock, metrics: StoreMetrics(NOOPMetricsHandler.instance))
    }
}
