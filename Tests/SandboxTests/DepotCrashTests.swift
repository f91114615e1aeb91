import Connect
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Sandbox

/// A small run against the API, as the workflow makes it: create or adopt, one durable command, kill. It may die at any
/// request and is gone on with by the next client, which knows only what was written down.
private struct SmallRun {
    /// What survives a client.
    struct Ledger: Sendable {
        var isIntended = false
        var intendedAt = UnixTime.now()
        var id: SandboxID?
        var isDone = false
        /// What the command had written when it was over.
        var output: [UInt8] = []
    }

    let provider: DepotProvider
    let labels: [String: String]

    /// - Parameter save: writes down what is known, as a ledger on disk would.
    func go(_ start: Ledger, save: (Ledger) -> Void) async throws {
        var ledger = start { didSet { save(ledger) } }
        if ledger.id == nil {
            if ledger.isIntended {
                let found = try await provider.findInDoubt(labels: labels, since: ledger.intendedAt)
                let living = found.filter(\.state.isAlive)
                for other in living.dropFirst() { try await provider.kill(other.id) }
                ledger.id = living.first?.id
            }
            ledger.isIntended = true
            if ledger.id == nil {
                let spec = SandboxSpec(name: "snapwf-r-g1", labels: labels, timeToLive: .seconds(600))
                ledger.id = try await provider.create(spec).id
            }
        }
        guard let id = ledger.id else { return }
        if ledger.output.isEmpty {
            let pacing = CommandPacing(
                firstPause: .milliseconds(5), longestPause: .milliseconds(50), claimPatience: .milliseconds(300),
                unknownBudget: .seconds(60))
            let runner = DurableCommandRunner(
                provider: provider, sandbox: id, pacing: pacing,
                logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
            _ = try await runner.start(DurableCommand(key: "k", script: "echo run >> /work/runs; cat /work/runs"))
            var output: [UInt8] = []
            _ = try await runner.wait(for: "k", from: 0, deadline: .seconds(60)) { chunk, _ in output += chunk }
            ledger.output = output
        }
        try await provider.kill(id)
        for other in try await provider.find(labels: labels) where other.state.isAlive {
            try await provider.kill(other.id)
        }
        ledger.isDone = true
    }
}

/// Lets a client live until it comes to some boundary of a request.
private final class Fate: Sendable {
    private let left: Mutex<Int>
    private let isCounted: @Sendable (RequestEvent) -> Bool
    /// What dies.
    let task = Mutex<Task<Void, any Error>?>(nil)
    private let isDead = Mutex(false)

    var hasStruck: Bool { isDead.withLock { $0 } }

    /// - Parameter number: at which of the counted boundaries, from 1.
    init(_ number: Int, of isCounted: @escaping @Sendable (RequestEvent) -> Bool = { _ in true }) {
        left = Mutex(number)
        self.isCounted = isCounted
    }

    var observer: ConnectClientConfiguration.Observer {
        { event throws(ConnectError) in
            if self.isCounted(event) {
                let isOver = self.left.withLock { left in
                    left -= 1
                    return left == 0
                }
                if isOver { self.isDead.withLock { $0 = true } }
            }
            guard self.hasStruck else { return }
            self.task.withLock { $0?.cancel() }
            throw ConnectError(.canceled, "the client died at \(event.point.rawValue) of \(event.method)")
        }
    }
}

@Suite("clients of the API that die", .enabled(if: PeerWorld.isPossible))
struct DepotCrashTests {
    private let labels = ["SNAPWF_RUN": "r", "SNAPWF_GENERATION": "1"]

    private func provider(_ peer: Peer, _ organization: String, _ fate: Fate?) throws -> DepotProvider {
        var configuration = DepotProvider.Configuration(url: peer.url, organization: organization)
        configuration.listingLag = .milliseconds(500)
        configuration.pollPause = .milliseconds(5)
        configuration.retry.firstDelay = .milliseconds(5)
        configuration.observer = fate?.observer
        return try DepotProvider(configuration)
    }

    /// - Returns: whether the client came to the end.
    private func live(
        _ peer: Peer, _ organization: String, _ fate: Fate?, _ ledger: inout SmallRun.Ledger
    ) async throws -> Bool {
        let provider = try provider(peer, organization, fate)
        let (start, labels) = (ledger, labels)
        let written = Mutex(ledger)
        let task = Task {
            try await SmallRun(provider: provider, labels: labels).go(start) { known in written.withLock { $0 = known }
            }
        }
        fate?.task.withLock { $0 = task }
        let result = await task.result
        await provider.shutdown()
        ledger = written.withLock { $0 }
        // A healthy client in a healthy world has no excuse.
        if fate == nil { try result.get() }
        return ledger.isDone
    }

    /// What must hold of each run when it is over.
    ///
    /// - Returns: how many sandboxes still live.
    private func judge(_ peer: Peer, _ ledgers: [String: SmallRun.Ledger]) throws -> Int {
        var living: [String: Int] = [:]
        for event in try peer.journal("created", "ended") {
            guard let organization = event.org else { continue }
            living[organization, default: 0] += event.event == "created" ? 1 : -1
            #expect(living[organization, default: 0] <= 1, "two sandboxes of one generation live in \(organization)")
        }
        let report = try peer.control()
        for sandbox in report.sandboxes {
            #expect(sandbox.env == labels, "a sandbox without its labels in \(sandbox.org)")
            #expect(sandbox.isTerminal, "a sandbox is left in \(sandbox.org)")
        }
        for (organization, ledger) in ledgers {
            let output = String(decoding: ledger.output, as: UTF8.self)
            #expect(output == "run\n", "the command ran otherwise than once in \(organization)")
        }
        return report.living
    }

    /// Everything that a small run asks for.
    private static let methods = [
        "CreateSandbox", "GetSandbox", "ListSandboxes", "KillSandbox", "RunCommand", "Mkdir", "WriteFile", "Chmod",
        "Rename",
    ]

    @Test("at every boundary of every request are followed by one that finds everything", .timeLimit(.minutes(10)))
    func everyBoundary() async throws {
        let peer = try Peer()
        defer { peer.stop() }
        try peer.set(["kill_seconds": 0.01, "list_lag_calls": 1])
        var ledgers: [String: SmallRun.Ledger] = [:]
        var deaths = 0
        for method in Self.methods {
            for point in RequestEvent.Point.allCases {
                // How often a call is made differs by a few; the first that nobody comes to is the end.
                for number in 1...100 {
                    let organization = "\(method)-\(point.rawValue)-\(number)"
                    var ledger = SmallRun.Ledger()
                    let fate = Fate(number) { $0.point == point && $0.method.hasSuffix("/" + method) }
                    let isDone = try await live(peer, organization, fate, &ledger)
                    if !isDone { _ = try await live(peer, organization, nil, &ledger) }
                    ledgers[organization] = ledger
                    if !fate.hasStruck {
                        #expect(number > 1, "no client ever came to \(point.rawValue) of \(method)")
                        break
                    }
                    deaths += 1
                }
            }
        }
        let leaked = try judge(peer, ledgers)
        print("clients died at \(deaths) boundaries; \(leaked) sandboxes leaked")
        #expect(leaked == 0)
    }

    @Test("and a network that breaks leave nothing behind, whatever the schedule", .timeLimit(.minutes(300)))
    func schedules() async throws {
        let seed = TestSize.seed("schedules of faults")
        let rounds = TestSize.count(500, long: 20_000)
        var leaked = 0
        var clients = 0
        for start in stride(from: 0, to: rounds, by: 50) {
            let peer = try Peer()
            defer { peer.stop() }
            try peer.set(["kill_seconds": 0.01, "list_lag_calls": 1])
            var ledgers: [String: SmallRun.Ledger] = [:]
            try await withThrowingTaskGroup(of: (String, SmallRun.Ledger, Int).self) { group in
                for number in start..<min(start + 50, rounds) {
                    // As many at once as keep two processors busy.
                    if number >= start + 4, let (organization, ledger, lives) = try await group.next() {
                        ledgers[organization] = ledger
                        clients += lives
                    }
                    group.addTask {
                        let seed = seed &+ UInt64(number)
                        var ledger = SmallRun.Ledger()
                        let lives = try await run(peer, "seed-\(seed)", seed, &ledger)
                        return ("seed-\(seed)", ledger, lives)
                    }
                }
                for try await (organization, ledger, lives) in group {
                    ledgers[organization] = ledger
                    clients += lives
                }
            }
            leaked += try judge(peer, ledgers)
        }
        print("\(rounds) schedules, \(clients) clients; \(leaked) sandboxes leaked")
        #expect(leaked == 0)
    }

    /// Clients that die, one after the other, in a network that breaks; the last one lives, and its network mends.
    ///
    /// - Returns: how many it took.
    private func run(
        _ peer: Peer, _ organization: String, _ seed: UInt64, _ ledger: inout SmallRun.Ledger
    ) async throws -> Int {
        var generator = SeededGenerator(seed: seed)
        let rate = Double(generator.number(0...30)) / 100
        try peer.control(
            ["schedule": ["seed": Int(truncatingIfNeeded: seed >> 1), "rate": rate]], organization: organization)
        for life in 1...4 {
            let fate = Fate(generator.number(1...80))
            if try await live(peer, organization, fate, &ledger) { return life }
        }
        try peer.control(["clear": true], organization: organization)
        _ = try await live(peer, organization, nil, &ledger)
        return 5
    }
}
