import Foundation
import SnapshotSteps
import TestSupport
import Testing
import Workflow

/// The whole workflow against an independent implementation of the API that misbehaves, by a client that dies.
@Suite("Runs through a Sandbox API, dying at any request", .serialized)
struct FaultScheduleTests {
    /// How many worlds are worked at at once: the peer is one process.
    private static let width = 4

    @Test("a client that dies at any boundary of any request and comes back ends with one snapshot and no sandbox")
    func everyBoundary() async throws {
        let stage = try await ScheduleStage()
        defer { stage.stop() }
        let undisturbed = try ScheduleWorld(stage, organization: "undisturbed")
        let (status, boundaries) = try await undisturbed.live(.never)
        #expect(status == .succeeded)
        #expect(try undisturbed.defects(maybeTwins: false) == [])
        try undisturbed.remove()
        let points = boundaries.passed
        let outcomes = try await inParallel(points.count) { index in
            let world = try ScheduleWorld(stage, organization: "boundary-\(index)")
            let (_, boundaries) = try await world.live(.at(points[index]))
            let (status, _) = try await world.live(.never)
            var defects = try world.defects(maybeTwins: false)
            if status != .succeeded { defects.append("the run \(status.map { "\($0)" } ?? "is nowhere")") }
            try world.remove()
            return Outcome(
                name: "\(points[index])", defects: defects, kills: boundaries.isDead ? 1 : 0,
                created: try world.created())
        }
        report("boundaries of requests", outcomes)
        #expect(outcomes.flatMap(\.defects) == [])
        #expect(points.count >= 60)
        // Heartbeats come when they come, so a few points are passed in another order.
        #expect(outcomes.count { $0.kills == 1 } >= points.count * 9 / 10)
    }

    @Test("whatever the API answers and wherever the client dies, no sandbox is left and no stranger's is touched")
    func schedules() async throws {
        let stage = try await ScheduleStage()
        defer { stage.stop() }
        let seed = TestSize.seed("fault schedules", otherwise: TestSize.isLong ? nil : 1_310_465_216)
        let outcomes = try await inParallel(TestSize.count(500, long: 20_000)) { index in
            try await play(index, seed: seed, on: stage)
        }
        report("fault schedules", outcomes)
        #expect(outcomes.flatMap(\.defects) == [])
    }

    // MARK: -

    private struct Outcome: Sendable {
        let name: String
        let defects: [String]
        var kills = 0
        var lives = 1
        var created = 0
        var status: RunStatus?
    }

    private func report(_ what: String, _ outcomes: [Outcome]) {
        let statuses = Dictionary(grouping: outcomes.compactMap(\.status), by: \.rawValue).mapValues(\.count)
        let leaked = outcomes.flatMap(\.defects).count { $0.contains("LEAKED") }
        print(
            "\(what): \(outcomes.count), clients killed \(outcomes.map(\.kills).reduce(0, +)), sandboxes created "
                + "\(outcomes.map(\.created).reduce(0, +)), leaked \(leaked)"
                + (statuses.isEmpty ? "" : ", runs \(statuses.sorted { $0.key < $1.key }.map { "\($0) \($1)" })"))
        for outcome in outcomes where !outcome.defects.isEmpty { print("\(outcome.name): \(outcome.defects)") }
    }

    /// One story, the same for the same seed and number but for the order of what happens at once.
    private func play(_ index: Int, seed: UInt64, on stage: ScheduleStage) async throws -> Outcome {
        var random = SeededGenerator(seed: seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15)
        let organization = "schedule-\(index)"
        let world = try ScheduleWorld(stage, organization: organization)
        let isHarsh = random.number(0...3) == 0
        var faults = [
            "unavailable", "unavailable-after", "internal", "internal-after", "exhausted", "reset", "reset-after",
            "reset-answer", "cut-started", "cut-finished", "cut-end", "slow",
        ]
        // What the API itself may do to a sandbox, or make too many of.
        if isHarsh { faults += ["duplicate", "vanish", "expire", "fail"] }
        try stage.peer.control(
            [
                "settings": [
                    "list_lag_seconds": Double(random.number(0...30)) / 100, "page_size": random.number(1...4),
                    "skew": random.number(-1800...1800), "unknown_fields": random.number(0...1) == 1,
                    "unique_names": random.number(0...1) == 1, "boot_seconds": Double(random.number(0...4)) / 100,
                    "kill_seconds": Double(random.number(0...4)) / 100,
                ],
                "schedule": [
                    "seed": index, "rate": Double(random.number(0...25)) / 100, "faults": faults,
                ],
                "sandboxes": [
                    ["name": "stranger", "env": ["SNAPWF_OWNER": ScheduleWorld.stranger, "SNAPWF_RUN": "x"]],
                    ["name": "people's", "env": ["SNAPWF_OWNER": ScheduleWorld.stranger]],
                ],
            ], organization: organization)
        var status: RunStatus?
        var kills = 0
        var lives = 0
        for _ in 0..<random.number(0...3) where status?.isFinished != true {
            let (seen, boundaries) = try await world.live(.nth(random.number(1...70)))
            status = seen
            kills += boundaries.isDead ? 1 : 0
            lives += 1
        }
        // Once more under faults, then in peace.
        for isPeaceful in [false, true] where status?.isFinished != true {
            if isPeaceful { try stage.peer.control(["clear": true], organization: organization) }
            status = try await world.live(.never).status
            lives += 1
        }
        try stage.peer.control(["clear": true], organization: organization)
        // A list may still lag behind the last creation.
        try await Task.sleep(for: .milliseconds(300))
        let failures = try await world.collectGarbage().compactMap { outcome -> String? in
            if case .failed(let why) = outcome.result { "gc: \(why)" } else { nil }
        }
        var defects = failures + (try world.defects(maybeTwins: isHarsh))
        if status?.isFinished != true { defects.append("the run is \(status.map { "\($0)" } ?? "nowhere")") }
        let created = try world.created()
        try world.remove()
        return Outcome(
            name: "schedule \(index)", defects: defects, kills: kills, lives: lives, created: created, status: status)
    }

    private func inParallel(
        _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Outcome
    ) async throws -> [Outcome] {
        try await withThrowingTaskGroup(of: Outcome.self) { group in
            var outcomes: [Outcome] = []
            for index in 0..<count {
                if index >= Self.width, let outcome = try await group.next() { outcomes.append(outcome) }
                group.addTask { try await body(index) }
            }
            for try await outcome in group { outcomes.append(outcome) }
            return outcomes
        }
    }
}
