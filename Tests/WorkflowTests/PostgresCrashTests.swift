import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import enum TestSupport.TestSize
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Dying processes and PostgreSQL", .onPostgres)
struct PostgresCrashTests {
    /// Stores for the scenarios of a drill.
    private final class Stores: Sendable {
        private let stores = Mutex<[TestStore]>([])

        func make() async throws -> StoreConfiguration {
            let new = try await TestStore(.postgres, inMemory: true)
            stores.withLock { $0.append(new) }
            return new.configuration
        }

        func remove() throws {
            for store in stores.withLock({ $0 }) { try store.remove() }
        }
    }

    @Test("one crash anywhere (or, in the night, two): one result, nothing leaked, nothing undeclared done twice")
    func drill() async throws {
        let stores = Stores()
        let drill = CrashDrill<Everything, World>(
            input: 40, configuration: testConfiguration(), makeStore: stores.make, makeWorld: Everything.world
        ) { Everything(world: $0) }
        let summary = try await drill.run(TestSize.isLong ? .pairs : .singles, check: CrashDrillTests.check)
        print("crash points: \(summary.points), scenarios: \(summary.scenarios)")
        #expect(summary.defects == [])
        #expect(summary.points >= 40)
        try stores.remove()
    }

    @Test("SIGKILL at crash points of a process; when its lease has ended a new process finishes")
    func killed() async throws {
        let points = try await KillStory.use(.postgres) { story in
            let child = try story.start("run", environment: ["TRACE": "1"])
            #expect(try await child.end() == (nil, 0))
            #expect(try await story.defects(kills: 0) == [])
            return child.printed.filter { $0.hasPrefix("passed ") }.map { String($0.dropFirst(7)) }
        }
        #expect(points.count >= 40)
        let tried = TestSize.isLong ? points : stride(from: 0, to: points.count, by: 5).map { points[$0] }
        for point in tried {
            try await KillStory.use(.postgres) { story in
                let victim = try story.start("run", environment: ["CRASH_AT": point])
                #expect(try await victim.end().signal == SIGKILL, "\(point) was not passed")
                let finisher = try story.start("run")
                #expect(try await finisher.end() == (nil, 0), "after \(point): \(finisher.printed)")
                #expect(try await story.defects(kills: 1) == [], "after \(point)")
            }
        }
        print("killed at \(tried.count) of \(points.count) points")
    }

    @Test("several processes share the runs of a store, and whichever die, the others and their successors finish")
    func several() async throws {
        let goal = TestSize.isLong ? 500 : 10
        var random = SeededGenerator(seed: TestSize.seed("kills of several"))
        var total = 0
        while total < goal {
            let parts = 5
            total += try await KillStory.use(.postgres) { story in
                for part in 0..<parts {
                    try FileManager.default.createDirectory(
                        atPath: "\(story.world)/\(part)", withIntermediateDirectories: false)
                }
                var kills = 0
                var children = try (0..<3).map { _ in try story.start("work", count: parts) }
                for _ in 0..<8 {
                    try await Task.sleep(for: .microseconds(random.number(0...300_000)))
                    let index = random.number(0...2)
                    children[index].send(SIGKILL)
                    if try await children[index].end().signal != nil { kills += 1 }
                    children[index] = try story.start("work", count: parts)
                }
                for child in children {
                    #expect(try await child.end() == (nil, 0), "\(child.printed)")
                }
                #expect(try await story.defects(parts: parts, kills: kills) == [], "after \(kills) kills")
                return kills
            }
        }
        print("killed \(total) of several processes")
    }

    @Test("a killed process holds its run until its lease ends, and not longer")
    func leaseOfTheDead() async throws {
        try await KillStory.use(.postgres) { story in
            let (child, id) = try await HolderTests.hold(story)
            let engine = try await story.engine()
            // Longer than the term: it is renewed.
            try await Task.sleep(for: KillStory.leaseTerm * 1.5)
            #expect(try await engine.run(id)?.status == .running)
            child.send(SIGKILL)
            #expect(try await child.end().signal == SIGKILL)
            let killed = ContinuousClock.now
            #expect(try await engine.run(id)?.status == .running)
            guard case .runHeld(let owner?)? = await code({ try await engine.decide(id, step: "wait", .runAgain) })
            else {
                Issue.record("the run is not held")
                return
            }
            #expect(owner.pid == child.pid)
            try await until { try await engine.run(id)?.status == .interrupted }
            #expect(killed.duration(to: .now) < KillStory.leaseTerm * 1.5)
            #expect(try await engine.withAbandonedRun(id) { $0.resources.map(\.state) } == [.held])
            await engine.shutdown()
        }
    }

    @Test(
        "a process that is stopped for longer than its lease loses the run, and changes and begins nothing when it goes on"
    )
    func stoppedHolder() async throws {
        try await KillStory.use(.postgres) { story in
            let (child, id) = try await HolderTests.hold(story)
            try await child.stop()
            let engine = try await story.engine()
            try await until { try await engine.run(id)?.status == .interrupted }
            let rival = try story.start("take")
            #expect(try await rival.line("taken") == "")
            try story.go()
            #expect(try await rival.end() == (nil, 0))
            #expect(rival.printed == ["taken", "result 2"])
            let before = try TestPostgres.dump(story.database)
            child.send(SIGCONT)
            #expect(try await child.end() == (nil, 0))
            let last = try #require(child.printed.last)
            #expect(["takenOver", "storeUnavailable"].contains(last))
            #expect(try TestPostgres.dump(story.database) == before)
            // The body of the stopped one was cancelled or found the run gone: `after` is the rival's.
            #expect(story.effects() == ["create": 1, "wait": 2, "after": 1])
            #expect(try await engine.run(id)?.epoch == 2)
            await engine.shutdown()
        }
    }
}
