import Foundation
import GRDB
import Glibc
import Testing
import WorkflowTesting

import enum TestSupport.TestSize

@testable import Workflow

@Suite("The process that holds a run")
struct HolderTests {
    /// Starts a process that holds a run in its first step.
    static func hold(_ story: KillStory) async throws -> (child: Child, run: RunID) {
        let child = try story.start("hold")
        let id = try #require(RunID(try await child.line("holding ")))
        try await until { story.effects()["wait"] != nil }
        return (child, id)
    }

    @Test("a living process holds its run; a killed one lets go at once")
    func killed() async throws {
        try await KillStory.use { story in
            let (child, id) = try await Self.hold(story)
            let engine = try await story.engine()
            #expect(try await engine.run(id)?.status == .running)
            child.send(SIGKILL)
            #expect(try await child.end().signal == SIGKILL)
            #expect(try await engine.run(id)?.status == .interrupted)
            #expect(await code { _ = try await engine.resume(id, as: Script { _, _ in 1 }) } == .versionMismatch)
            #expect(try await engine.withAbandonedRun(id) { $0.resources.map(\.state) } == [.held])
            await engine.shutdown()
        }
    }

    @Test("a stopped process is not robbed of its run by anybody, and goes on where it was")
    func stopped() async throws {
        try await KillStory.use { story in
            let (child, id) = try await Self.hold(story)
            let engine = try await story.engine()
            try await child.stop()
            let rivals = try (0..<3).map { _ in try story.start("take") }
            for _ in 0..<3 {
                #expect(try await engine.run(id)?.status == .running)
                #expect(try await engine.withAbandonedRun(id) { _ in true } == nil)
                let refusal = await code { try await engine.decide(id, step: "wait", .runAgain) }
                guard case .runHeld(let owner?)? = refusal else {
                    Issue.record("the run was not held: \(String(describing: refusal))")
                    continue
                }
                #expect(owner.pid == child.pid && owner.description == "child")
            }
            for rival in rivals {
                #expect(try await rival.end() == (nil, 0))
                #expect(rival.printed == ["held"])
            }
            #expect(story.effects() == ["create": 1, "wait": 1])
            try story.go()
            child.send(SIGCONT)
            #expect(try await child.end() == (nil, 0))
            #expect(child.printed.last == "result 1")
            #expect(story.effects() == ["create": 1, "wait": 1, "after": 1])
            #expect(try await engine.run(id)?.epoch == 1)
            await engine.shutdown()
        }
    }

    @Test("a stopped process that was fenced off meanwhile changes nothing when it goes on, and begins no effect")
    func fenced() async throws {
        try await KillStory.use { story in
            let (child, id) = try await Self.hold(story)
            try await child.stop()
            let queue = try DatabaseQueue(path: story.database)
            try await queue.writeWithoutTransaction { db in
                // As another machine would, for which the lock file of this one means nothing.
                try db.execute(sql: "UPDATE runs SET epoch = epoch + 1")
            }
            func dump() async throws -> [String] {
                try await queue.read { db in
                    try ["runs", "steps", "resources", "events", "signals"].flatMap { table in
                        try Row.fetchAll(db, sql: "SELECT * FROM \(table)").map { "\(table): \($0)" }
                    }
                }
            }
            let before = try await dump()
            try story.go()
            child.send(SIGCONT)
            #expect(try await child.end() == (nil, 0))
            #expect(child.printed.last == "takenOver")
            #expect(try await dump() == before)
            #expect(story.effects() == ["create": 1, "wait": 1])
            #expect(try story.boxes().count == 1)
            // Whoever has it now goes on from the rows as they are.
            let successor = try story.start("take")
            #expect(try await successor.end() == (nil, 0))
            #expect(successor.printed == ["taken", "result 2"])
            #expect(try story.boxes() == [])
            let engine = try await story.engine()
            #expect(try await engine.run(id)?.epoch == 3)
            await engine.shutdown()
        }
    }

    @Test("a process stopped at any moment keeps what it has: with another one at work every effect happens once")
    func stoppedAnywhere() async throws {
        let rounds = TestSize.isLong ? 300 : 12
        var random = SeededGenerator(seed: TestSize.seed("stops"))
        for _ in 0..<rounds {
            let delay = random.number(0...45_000)
            try await KillStory.use { story in
                try FileManager.default.createDirectory(
                    atPath: story.world + "/0", withIntermediateDirectories: false)
                let first = try story.start("work")
                try await Task.sleep(for: .microseconds(delay))
                first.send(SIGSTOP)
                let second = try story.start("work")
                // It may be kept waiting by a commit that stands still; it answers at the latest when that is over.
                try await Task.sleep(for: .milliseconds(random.number(20...200)))
                first.send(SIGCONT)
                for child in [first, second] {
                    #expect(try await child.end() == (nil, 0), "stopped after \(delay) µs: \(child.printed)")
                }
                #expect(try await story.defects(parts: 1, kills: 0) == [], "stopped after \(delay) µs")
            }
        }
        print("stopped \(rounds) processes")
    }

    @Test("a cancellation reaches the process that holds the run, which releases and ends it")
    func cancellation() async throws {
        try await KillStory.use { story in
            let (child, id) = try await Self.hold(story)
            #expect(try story.boxes().count == 1)
            let engine = try await story.engine()
            #expect(try await engine.cancel(id))
            #expect(try await child.end() == (nil, 0))
            #expect(child.printed.last == "cancelled")
            #expect(try await engine.run(id)?.status == .cancelled)
            #expect(try story.boxes() == [])
            await engine.shutdown()
        }
    }
}
