import Foundation
import Glibc
import enum TestSupport.TestSize
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Families of runs whose worker is really killed")
struct FamilyKillTests {
    @Test(
        "each child exists once and each signal is received once, whenever the process is killed",
        arguments: StoreKind.tested)
    func killed(kind: StoreKind) async throws {
        // On PostgreSQL each kill costs a lease.
        let goal = kind == .sqlite ? (TestSize.isLong ? 2_000 : 60) : (TestSize.isLong ? 400 : 12)
        let lines = kind == .sqlite ? 2 : 4
        let seed = TestSize.seed("kills of families")
        let results = try await withThrowingTaskGroup(of: (kills: Int, stories: Int).self) { group in
            for line in 0..<lines {
                group.addTask {
                    var random = SeededGenerator(seed: seed &+ UInt64(line))
                    var result = (kills: 0, stories: 0)
                    while result.kills < goal / lines {
                        result.kills += try await Self.killUntilThrough(kind, &random)
                        result.stories += 1
                    }
                    return result
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let (kills, stories) = results.reduce((0, 0)) { ($0.0 + $1.kills, $0.1 + $1.stories) }
        print("killed \(kills) times in \(stories) families on \(kind)")
        #expect(kills >= goal)
    }

    /// - Returns: how many processes were killed before one got through.
    private static func killUntilThrough(_ kind: StoreKind, _ random: inout SeededGenerator) async throws -> Int {
        var delays: [Int] = []
        var isOver = false
        var draws = random
        try await KillStory.use(kind) { story in
            while !isOver {
                let child = try story.start("family")
                // The later ones get more time, so that the story ends.
                let most = (kind == .sqlite ? 120_000 : 1_600_000) + delays.count * 10_000
                let delay = draws.number(0...most)
                let deadline = ContinuousClock.now + .microseconds(delay)
                while ContinuousClock.now < deadline, !child.printed.contains(where: { $0.hasPrefix("result") }) {
                    try await Task.sleep(for: .milliseconds(2))
                }
                child.send(SIGKILL)
                let end = try await child.end()
                if child.printed.contains("result 128") { isOver = true }
                if end.signal == nil {
                    #expect(end.status == 0, "after kills at \(delays) µs: \(child.printed)")
                } else if !isOver {
                    delays.append(delay)
                }
            }
            #expect(try await defects(story, kills: delays.count) == [], "after kills at \(delays) µs")
        }
        random = draws
        return delays.count
    }

    private static func defects(_ story: KillStory, kills: Int) async throws -> [String] {
        var defects: [String] = []
        let engine = try await story.engine()
        let runs = try await engine.runs()
        if runs.compactMap(\.output).sorted() != ["128", "42", "43"] || runs.count != 3 {
            defects.append("the runs are \(runs)")
        }
        if let parent = runs.first(where: { $0.parent == nil }) {
            let names = try await engine.children(of: parent.id).map(\.parent?.name)
            if names != ["one", "two"] { defects.append("the children are \(names)") }
        }
        let open = try await engine.resources(states: [.intended, .held, .releasing])
        if !open.isEmpty { defects.append("open in the ledger: \(open)") }
        await engine.shutdown()
        let boxes = try story.boxes()
        if !boxes.isEmpty { defects.append("left behind: \(boxes)") }
        let effects = story.effects()
        for name in ["register 42", "register 43"] where effects[name] != 1 {
            defects.append("\(name) happened \(effects[name] ?? 0) times")
        }
        for name in ["prepare", "pull 42", "pull 43", "report"] where !(1...(1 + kills)).contains(effects[name] ?? 0) {
            defects.append("\(name) happened \(effects[name] ?? 0) times with \(kills) kills")
        }
        return defects
    }
}
