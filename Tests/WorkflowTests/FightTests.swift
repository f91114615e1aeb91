import Foundation
import Glibc
import Testing
import WorkflowTesting

import enum TestSupport.TestSize

@testable import Workflow

@Suite("Processes that fight for one run")
struct FightTests {
    private static let parts = 8
    private static let fighters = 6

    /// What the marks of the bodies say against one executor at a time.
    private static func defects(_ story: KillStory) -> [String] {
        var defects: [String] = []
        let marks = story.marks().map { $0.split(separator: " ").map(String.init) }
        let bodies = marks.filter { $0[0] != "effect" }
        // A process that lost the run never comes back to it, so its marks stand in one block.
        var blocks: [String] = []
        for mark in bodies where blocks.last != mark[3] { blocks.append(mark[3]) }
        if Set(blocks).count != blocks.count { defects.append("processes took turns: \(blocks)") }
        let begins = bodies.filter { $0[0] == "begin" }.map { "\($0[1]) \($0[2])" }
        if Set(begins).count != begins.count { defects.append("an attempt began twice: \(begins)") }
        var open: [String: String] = [:]
        for mark in bodies {
            if mark[0] == "end" {
                if open.removeValue(forKey: mark[3]) != mark[1] { defects.append("\(mark) ended another body") }
            } else if let other = open.updateValue(mark[1], forKey: mark[3]) {
                defects.append("\(mark) began while \(other) was under way")
            }
        }
        let effects = marks.filter { $0[0] == "effect" }.map { $0[1] }.sorted()
        if effects != (0..<parts).map({ "part[\($0)]" }).sorted() { defects.append("the effects are \(effects)") }
        return defects
    }

    @Test(
        "of six processes that start at once one executes the run, and the others are told that it is held",
        arguments: StoreKind.tested)
    func oneWins(kind: StoreKind) async throws {
        let rounds = TestSize.isLong ? 100 : kind == .sqlite ? 6 : 2
        for round in 0..<rounds {
            try await KillStory.use(kind) { story in
                let children = try (0..<Self.fighters).map { _ in try story.start("fight", count: Self.parts) }
                try await until { children.filter { $0.printed.contains("held") }.count == Self.fighters - 1 }
                #expect(story.marks().count == 1)
                try story.go()
                for child in children { #expect(try await child.end() == (nil, 0), "\(child.printed)") }
                let winners = children.filter { $0.printed.contains("result \(Self.parts)") }
                #expect(winners.count == 1, "round \(round)")
                let losers = children.filter { $0.printed == ["held", "finished"] }
                #expect(losers.count == Self.fighters - 1, "\(children.map(\.printed))")
                #expect(Self.defects(story) == [])
                let engine = try await story.engine()
                let run = try #require(try await engine.runs().first)
                #expect(run.owner?.pid == winners.first?.pid && run.epoch == 1)
                await engine.shutdown()
            }
        }
        print("\(rounds) fights of \(Self.fighters) processes on \(kind)")
    }

    @Test(
        "a holder that is killed is followed by one other, and no body runs twice at once", arguments: StoreKind.tested)
    func killedHolders(kind: StoreKind) async throws {
        // On PostgreSQL each kill costs a lease.
        let rounds = kind == .sqlite ? (TestSize.isLong ? 200 : 6) : (TestSize.isLong ? 30 : 1)
        var random = SeededGenerator(seed: TestSize.seed("fights"))
        var total = 0
        for _ in 0..<rounds {
            try await KillStory.use(kind) { story in
                try story.go()
                let children = try (0..<Self.fighters).map { _ in try story.start("fight", count: Self.parts) }
                var dead: Set<pid_t> = []
                // One of them has to be left to finish.
                while dead.count < Self.fighters - 1 {
                    var holder: Child?
                    try await until {
                        let pid = story.marks().last { !$0.hasPrefix("effect") }?.split(separator: " ").last
                        holder = children.first { "\($0.pid)" == pid ?? "" && !dead.contains($0.pid) }
                        // A holder that is killed when the run has just ended cannot say so any more.
                        return holder != nil
                            || children.contains {
                                !Set($0.printed).isDisjoint(with: ["result \(Self.parts)", "finished"])
                            }
                    }
                    guard let holder else { break }
                    try await Task.sleep(for: .microseconds(random.number(0...12_000)))
                    holder.send(SIGKILL)
                    let end = try await holder.end()
                    dead.insert(holder.pid)
                    if end.signal == nil { break }
                }
                for child in children where !dead.contains(child.pid) {
                    #expect(try await child.end() == (nil, 0), "\(child.printed)")
                }
                #expect(Self.defects(story) == [], "after \(dead.count) kills")
                let engine = try await story.engine()
                #expect(try await engine.runs().map(\.output) == ["\(Self.parts)"])
                await engine.shutdown()
                total += dead.count
            }
        }
        print("killed \(total) holders in \(rounds) fights on \(kind)")
        #expect(total >= rounds)
    }
}
