import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import enum TestSupport.TestSize
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Five workers, two servers, and everything that happens to them", .onPostgres)
struct ChaosTests {
    private static let workers = 5
    private static let runs = 300
    private static let disturbances = 24

    /// A story under way.
    private struct Stage: Sendable {
        let servers: ChaosServers
        let provider: FaultyProvider
        let workers: [ChaosWorker]
        let engine: Engine
        let log: ChaosLog
    }

    @Test("every run ends once, nothing is left behind, and nothing happens twice that was not declared to")
    func chaos() async throws {
        let rounds = TestSize.isLong ? 20 : 1
        let seed = TestSize.seed("chaos")
        for round in 0..<rounds {
            let defects = try await Self.tell(seed &+ UInt64(round))
            #expect(defects == [], "seed \(seed &+ UInt64(round))")
        }
    }

    // MARK: - The story

    private static func tell(_ seed: UInt64) async throws -> [String] {
        let files = try TemporaryStore()
        defer { try? files.remove() }
        let world = files.directory + "/world"
        try FileManager.default.createDirectory(atPath: world, withIntermediateDirectories: true)
        let log = ChaosLog()
        let servers = try await ChaosServers()
        defer { servers.stop() }
        let provider = try FaultyProvider(path: world + "/provider", seed: seed)
        defer { provider.close() }
        var configuration = StoreConfiguration.postgres(servers.address)
        configuration.leaseTerm = KillStory.leaseTerm
        let engine = try await Engine(store: configuration, configuration: testConfiguration(clock: SystemClock()))
        let workers = try (1...Self.workers).map {
            try ChaosWorker($0, servers, world: world, directory: files.directory, log)
        }
        let stage = Stage(servers: servers, provider: provider, workers: workers, engine: engine, log: log)
        var defects: [String] = []
        do {
            try await disturb(stage, SeededGenerator(seed: seed))
            try await settle(stage)
        } catch {
            defects.append("the story ended with \(error)")
        }
        for worker in workers {
            let end = try await worker.finish()
            if end != (nil, 0) { defects.append("worker \(worker.number) ended with \(end)") }
        }
        defects += try await self.defects(stage)
        await engine.shutdown()
        try await report(stage, seed, defects)
        return defects
    }

    /// Runs are enqueued all along, and something happens every now and then.
    private static func disturb(_ stage: Stage, _ seeded: SeededGenerator) async throws {
        var random = seeded
        let endings: [TestPostgres.End] = [.fast, .immediate, .killed].shuffled(using: &random)
        let portion = runs / disturbances + 1
        try await withThrowingTaskGroup(of: Void.self) { group in
            var enqueued = 0
            for number in 0..<disturbances {
                let numbers = enqueued..<min(enqueued + portion, runs)
                enqueued = numbers.upperBound
                group.addTask { try await enqueue(numbers, stage) }
                try await Task.sleep(for: .milliseconds(random.number(50...700)))
                for worker in stage.workers { try await worker.revive() }
                let (kind, duration) = draw(&random)
                let first = random.number(0...4)
                for index in 0..<workers {
                    let worker = stage.workers[(first + index) % workers]
                    guard await worker.reserve() else { continue }
                    group.addTask { try await worker.disturb(kind, for: duration) }
                    break
                }
                switch number {
                case 5, 10, 15:
                    let end = endings[number / 5 - 1]
                    stage.log.add("restarted", "\(end)")
                    try await stage.servers.restart(end)
                    stage.log.add("over: restarted")
                case 20:
                    stage.log.add("failed over")
                    for worker in stage.workers { await worker.loseFirstServer() }
                    try await stage.servers.failOver()
                    stage.log.add("over: failed over")
                default: break
                }
            }
            try await group.waitForAll()
        }
    }

    private static func draw(_ random: inout SeededGenerator) -> (ChaosWorker.Disturbance, Duration) {
        let term = KillStory.leaseTerm
        return switch random.number(0...99) {
        case 0..<30: (.killed, .zero)
        // Most of them for longer than their lease.
        case 30..<55: (.stopped, term * (Double(random.number(5...22)) / 10))
        case 55..<75: (.heldUp, term * (Double(random.number(5...25)) / 10))
        case 75..<82: (.cut, .zero)
        case 82..<93: (.refused, term * (Double(random.number(1...20)) / 10))
        default: (.drained, .zero)
        }
    }

    private static func enqueue(_ numbers: Range<Int>, _ stage: Stage) async throws {
        for number in numbers {
            _ = try await stage.engine.enqueue(
                Sandboxed(), input: number, queue: "chaos", priority: number % 3, dedupKey: "run \(number)")
        }
    }

    /// Nothing happens any more but what has to: all runs end.
    private static func settle(_ stage: Stage) async throws {
        stage.log.add("calm")
        stage.provider.calmDown()
        let deadline = ContinuousClock.now + .seconds(90)
        while true {
            for worker in stage.workers { try await worker.revive() }
            let rows = try stage.servers.current.run(
                "SELECT count(*) AS n FROM runs WHERE finished_at IS NULL", schema: stage.servers.schema)
            if rows[0]["n"] == "0" { return stage.log.add("settled") }
            guard ContinuousClock.now < deadline else { throw Glitch(what: "\(rows) runs that did not end") }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    // MARK: - What has to hold

    private static func defects(_ stage: Stage) async throws -> [String] {
        func rows(_ sql: String) throws -> [[String: String]] {
            try stage.servers.current.run(sql, schema: stage.servers.schema)
        }
        var defects: [String] = []
        func expect(_ what: String, _ rows: [[String: String]]) {
            if !rows.isEmpty { defects.append("\(what): \(rows.count), such as \(rows.prefix(3))") }
        }
        let total = try rows("SELECT count(*) AS n FROM runs")[0]["n"]
        if total != "\(runs)" { defects.append("\(total ?? "no") runs are recorded") }
        expect(
            "runs that did not succeed with their own output",
            try rows(
                """
                SELECT id, status, input, output, error FROM runs
                WHERE status <> 'succeeded' OR output::bigint IS DISTINCT FROM input::bigint + 3
                """))
        expect(
            "runs with another number of ends than one",
            try rows(
                """
                SELECT run_no, string_agg(kind, ' ') AS ends FROM events
                WHERE kind IN ('run.succeeded', 'run.failed', 'run.cancelled') GROUP BY run_no HAVING count(*) <> 1
                """))
        expect(
            "open entries of the ledger",
            try rows("SELECT * FROM resources WHERE state NOT IN ('released', 'lost')"))
        expect("steps that are not done", try rows("SELECT run_no, key, state FROM steps WHERE state <> 'done'"))
        let books = stage.provider.books
        let left = books.boxes.filter(\.isAlive)
        if !left.isEmpty { defects.append("sandboxes left: \(left)") }
        let copies = Dictionary(grouping: books.boxes, by: \.key).values.filter { $0.count > 1 }
        if !copies.isEmpty { defects.append("made twice under one key: \(copies)") }
        let twice = (books.effects["register"] ?? [:]).filter { $0.value != 1 }
        if !twice.isEmpty { defects.append("registered more than once: \(twice)") }
        for name in ["prepare", "pull", "register", "report"] {
            let count = books.effects[name]?.count ?? 0
            if count < runs { defects.append("\(name) happened for \(count) of \(runs) runs") }
        }
        return defects
    }

    private static func report(_ stage: Stage, _ seed: UInt64, _ defects: [String]) async throws {
        let books = stage.provider.books
        let again = books.effects.mapValues { $0.values.reduce(0) { $0 + $1 - 1 } }
        let taken = try stage.servers.current.run(
            "SELECT sum(epoch - 1) AS n, max(deaths) AS deaths FROM runs", schema: stage.servers.schema)[0]
        print(
            """
            chaos, seed \(seed): \(runs) runs, \(stage.log.summary)
              provider: \(books.requests) requests, \(books.boxes.count) sandboxes made, \(books.releases) released, \
            \(books.lost) lost; \(ChaosLog.show(books.faults))
              effects that happened again: \(ChaosLog.show(again)); runs taken over \(taken["n"] ?? "0") times, \
            one of them \(taken["deaths"] ?? "0") deaths
            """)
        guard !defects.isEmpty else { return }
        print(stage.log.text)
        for worker in stage.workers { print("worker \(worker.number): \(await worker.said)") }
        let events = try stage.servers.current.run(
            """
            SELECT id, string_agg(kind || ' ' || coalesce(step, '') || ' ' || at, ', ' ORDER BY seq) AS story
            FROM events JOIN runs ON no = run_no
            WHERE status <> 'succeeded' OR EXISTS (
                SELECT 1 FROM resources WHERE resources.run_no = no AND state NOT IN ('released', 'lost'))
            GROUP BY id LIMIT 5
            """, schema: stage.servers.schema)
        for row in events { print(row) }
    }
}

/// The workflow of the workers, for who enqueues it.
private struct Sandboxed: WorkflowDefinition {
    static let name = "sandboxed"
    static let version = 1

    func run(_ input: Int, in run: RunContext) async throws -> Int { throw TerminalError("only workers run this") }
}
