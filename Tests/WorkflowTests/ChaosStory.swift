import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import WorkflowTesting

@testable import Workflow

/// What happened in a chaos test, with the milliseconds since its beginning.
final class ChaosLog: Sendable {
    private let began = ContinuousClock.now
    private let lines = Mutex<[String]>([])
    private let counts = Mutex<[String: Int]>([:])

    /// - Parameter kind: what is counted.
    func add(_ kind: String, _ detail: String = "") {
        let line = "\(began.duration(to: .now).wholeMilliseconds) ms: \(kind) \(detail)"
        lines.withLock { $0.append(line) }
        counts.withLock { $0[kind, default: 0] += 1 }
    }

    var text: String { lines.withLock { $0.joined(separator: "\n") } }
    var summary: String { ChaosLog.show(counts.withLock { $0 }) }
    func count(_ kind: String) -> Int { counts.withLock { $0[kind] ?? 0 } }

    static func show(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }
}

/// Two servers: one that is written to, and one that follows it and knows everything that anybody was told of.
final class ChaosServers: Sendable {
    let primary: TestPostgres
    let standby: TestPostgres
    let schema: String
    private let isFailedOver = Mutex(false)

    init() async throws {
        primary = try TestPostgres()
        try await primary.start()
        schema = try primary.makeSchema()
        standby = try TestPostgres(standbyOf: primary)
        try await standby.start()
        try primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        try primary.run("SELECT pg_reload_conf()")
        try await untilInStep()
    }

    /// The one that is written to.
    var current: TestPostgres { isFailedOver.withLock { $0 } ? standby : primary }

    /// Of both, as a program names them that goes to whichever may be written to.
    static func address(_ directories: [String], schema: String) -> String {
        "postgresql:///postgres?host=\(directories.joined(separator: ","))&user=postgres"
            + "&target_session_attrs=read-write&options=-csearch_path%3D\(schema)"
    }

    var address: String { Self.address([primary.directory, standby.directory], schema: schema) }

    func untilInStep() async throws {
        try await until {
            try primary.run("SELECT count(*) AS n FROM pg_stat_replication WHERE sync_state = 'sync'")[0]["n"] == "1"
        }
    }

    func restart(_ end: TestPostgres.End) async throws {
        try await current.end(end)
        try await Task.sleep(for: .milliseconds(200))
        try await current.start()
        if !isFailedOver.withLock({ $0 }) { try await untilInStep() }
    }

    /// The first one is gone for good, and the other one takes its place.
    func failOver() async throws {
        try await primary.kill()
        try await Task.sleep(for: .milliseconds(300))
        isFailedOver.withLock { $0 = true }
        try standby.run("SELECT pg_promote(true, 60)")
    }

    func stop() {
        primary.stop()
        standby.stop()
    }
}

/// One worker process, replaced when it ends, with a network of its own to the servers.
actor ChaosWorker {
    enum Disturbance: Sendable {
        case killed
        case stopped
        case heldUp
        case cut
        case refused
        case drained
    }

    nonisolated let number: Int
    private let world: String
    private let address: String
    private let proxies: [CuttingProxy]
    private let log: ChaosLog
    private var child: Child
    private(set) var isDisturbed = false
    private(set) var said: [String] = []

    private static let concurrency = 8

    init(_ number: Int, _ servers: ChaosServers, world: String, directory: String, _ log: ChaosLog) throws {
        self.number = number
        self.world = world
        self.log = log
        let directories = ["\(directory)/\(number)a", "\(directory)/\(number)b"]
        for directory in directories {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        }
        proxies = [
            try CuttingProxy(before: servers.primary, in: directories[0]),
            try CuttingProxy(before: servers.standby, in: directories[1]),
        ]
        address = ChaosServers.address(directories, schema: servers.schema)
        child = try Child.start("serve", database: address, world: world, count: Self.concurrency)
    }

    /// Whether it can be disturbed; then it is until ``disturb(_:for:)`` is over.
    func reserve() -> Bool {
        defer { isDisturbed = true }
        return !isDisturbed
    }

    func disturb(_ kind: Disturbance, for duration: Duration) async throws {
        defer { isDisturbed = false }
        log.add("\(kind)", "worker \(number) \(duration.wholeMilliseconds) ms")
        switch kind {
        case .killed:
            child.send(SIGKILL)
            try await replace()
        case .stopped:
            child.send(SIGSTOP)
            try await Task.sleep(for: duration)
            child.send(SIGCONT)
        case .heldUp:
            for proxy in proxies { proxy.holdUp(true) }
            try await Task.sleep(for: duration)
            for proxy in proxies { proxy.holdUp(false) }
        case .cut:
            for proxy in proxies { proxy.cutAll() }
        case .refused:
            for proxy in proxies { proxy.refuse(true) }
            try await Task.sleep(for: duration)
            for proxy in proxies { proxy.refuse(false) }
        case .drained:
            child.send(SIGTERM)
            try await replace()
        }
        log.add("over: \(kind)", "worker \(number)")
    }

    /// The machine of the first server is gone.
    func loseFirstServer() { proxies[0].close() }

    /// Replaces the process if it ended by itself: where it could not open the store.
    func revive() async throws {
        guard !isDisturbed, kill(child.pid, 0) == 0, isZombie else { return }
        isDisturbed = true
        defer { isDisturbed = false }
        log.add("ended by itself", "worker \(number): \(child.printed.last ?? "")")
        try await replace()
    }

    /// - Returns: how its last process ended.
    func finish() async throws -> (signal: Int32?, status: Int32) {
        // The last one may have been started while no server was there, and nobody has seen yet that it ended.
        for _ in 0..<3 where try await endsUnasked() {
            log.add("ended by itself", "worker \(number): \(child.printed.last ?? "")")
            try await replace()
        }
        _ = try await child.line("serving")
        child.send(SIGTERM)
        let end = try await child.end()
        said.append("\(child.pid): \(child.printed)")
        for proxy in proxies { proxy.close() }
        return end
    }

    /// Waits until it serves, or has ended instead.
    private func endsUnasked() async throws -> Bool {
        try await until { child.printed.contains("serving") || isZombie }
        return !child.printed.contains("serving")
    }

    private func replace() async throws {
        let end = try await child.end()
        said.append("\(child.pid): \(end) \(child.printed)")
        child = try Child.start("serve", database: address, world: world, count: Self.concurrency)
    }

    private var isZombie: Bool {
        let text = (try? String(contentsOfFile: "/proc/\(child.pid)/stat", encoding: .utf8)) ?? ""
        return text.split(separator: ")").last?.first { $0 != " " } == "Z"
    }
}
