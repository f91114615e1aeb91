import Foundation
import Glibc
import Testing
import WorkflowTesting

import enum TestSupport.TestSize

@Suite("Real processes, really killed")
struct KillTests {
    @Test("SIGKILL at every crash point of a process, then a new process finishes")
    func everyPoint() async throws {
        let points = try await KillStory.use { story in
            let child = try story.start("run", environment: ["TRACE": "1"])
            #expect(try await child.end() == (nil, 0))
            #expect(try await story.defects(kills: 0) == [])
            return child.printed.filter { $0.hasPrefix("passed ") }.map { String($0.dropFirst(7)) }
        }
        print("killed at \(points.count) points")
        #expect(points.count >= 40)
        for point in points {
            try await KillStory.use { story in
                let victim = try story.start("run", environment: ["CRASH_AT": point])
                #expect(try await victim.end().signal == SIGKILL, "\(point) was not passed")
                let finisher = try story.start("run")
                #expect(try await finisher.end() == (nil, 0), "after \(point)")
                #expect(try await story.defects(kills: 1) == [], "after \(point)")
            }
        }
    }

    @Test("SIGKILL at random moments until a process gets through")
    func randomMoments() async throws {
        let goal = TestSize.isLong ? 10_000 : 300
        let seed = TestSize.seed("kills")
        // Two lines of stories, one a core.
        let results = try await withThrowingTaskGroup(of: (kills: Int, stories: Int).self) { group in
            for line in 0...1 {
                group.addTask {
                    var random = SeededGenerator(seed: seed &+ UInt64(line))
                    var kills = 0
                    var stories = 0
                    while kills < goal / 2 {
                        kills += try await Self.killUntilThrough(&random)
                        stories += 1
                    }
                    return (kills, stories)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let (kills, stories) = results.reduce((0, 0)) { ($0.0 + $1.kills, $0.1 + $1.stories) }
        print("killed \(kills) times in \(stories) runs")
        #expect(kills >= goal)
    }

    /// - Returns: how many processes were killed before one got through.
    private static func killUntilThrough(_ random: inout SeededGenerator) async throws -> Int {
        var delays: [Int] = []
        var isOver = false
        var draws = random
        try await KillStory.use { story in
            while !isOver {
                let child = try story.start("run")
                // The later ones get more time, so that the story ends.
                let delay = draws.number(0...(40_000 + delays.count * 2_000))
                try await Task.sleep(for: .microseconds(delay))
                child.send(SIGKILL)
                let end = try await child.end()
                if end.signal == nil {
                    #expect(end.status == 0, "after kills at \(delays) µs: \(child.printed)")
                    isOver = true
                } else {
                    delays.append(delay)
                }
            }
            #expect(try await story.defects(kills: delays.count) == [], "after kills at \(delays) µs")
        }
        random = draws
        return delays.count
    }

    @Test("several processes share the runs of a store, and whichever die, the others and their successors finish")
    func several() async throws {
        let goal = TestSize.isLong ? 2_000 : 60
        var random = SeededGenerator(seed: TestSize.seed("kills of several"))
        var total = 0
        var stories = 0
        while total < goal {
            stories += 1
            let parts = 5
            total += try await KillStory.use { story in
                for part in 0..<parts {
                    try FileManager.default.createDirectory(
                        atPath: "\(story.world)/\(part)", withIntermediateDirectories: false)
                }
                var kills = 0
                var children = try (0..<3).map { _ in try story.start("work", count: parts) }
                for _ in 0..<12 {
                    try await Task.sleep(for: .microseconds(random.number(0...50_000)))
                    let index = random.number(0...2)
                    children[index].send(SIGKILL)
                    let end = try await children[index].end()
                    if end.signal != nil { kills += 1 }
                    children[index] = try story.start("work", count: parts)
                }
                for child in children {
                    #expect(try await child.end() == (nil, 0), "\(child.printed)")
                }
                #expect(try await story.defects(parts: parts, kills: kills) == [], "after \(kills) kills")
                return kills
            }
        }
        print("killed \(total) of several processes in \(stories) stories")
    }
}
