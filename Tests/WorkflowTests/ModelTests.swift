import Foundation
import Testing
import WorkflowTesting

import enum TestSupport.TestSize

@testable import Workflow

@Suite("The store against a model", .everyStore)
struct ModelTests {
    /// What one seed led to.
    private struct Story: Sendable {
        var operations: [ModelOperation] = []
        /// Where store and oracle differ, after the last operation.
        var difference: String?
    }

    private static let inspectionInterval = 100

    /// Draws and plays operations until a difference or the end.
    private static func story(seed: UInt64, length: Int) async throws -> Story {
        try await withSession { session in
            var generator = ModelGenerator(seed: seed)
            var story = Story()
            for number in 1...length {
                let operation = generator.next(session.oracle)
                story.operations.append(operation)
                story.difference = try await session.play(operation)
                if story.difference == nil, number % inspectionInterval == 0 || number == length {
                    story.difference = await session.inspect()
                }
                if story.difference != nil { break }
            }
            return story
        }
    }

    /// Plays operations that were drawn before.
    private static func replay(_ operations: [ModelOperation]) async throws -> String? {
        try await withSession { session in
            for operation in operations {
                if let difference = try await session.play(operation) { return difference }
            }
            return await session.inspect()
        }
    }

    private static func withSession<T>(_ body: (inout ModelSession) async throws -> T) async throws -> T {
        let store = try await TestStore(inMemory: true)
        var session = try await ModelSession(store)
        let result: Result<T, any Error>
        do {
            result = .success(try await body(&session))
        } catch {
            result = .failure(error)
        }
        await session.close()
        try store.remove()
        return try result.get()
    }

    /// Leaves out ever smaller parts as long as there is a difference without them, for at most half a minute.
    private static func shrink(_ operations: [ModelOperation]) async throws -> [ModelOperation] {
        let deadline = ContinuousClock.now.advanced(by: .seconds(30))
        var shortest = operations
        var part = operations.count / 2
        while part > 0 {
            var start = 0
            while start < shortest.count {
                guard ContinuousClock.now < deadline else { return shortest }
                var candidate = shortest
                candidate.removeSubrange(start..<min(start + part, shortest.count))
                if try await replay(candidate) == nil { start += part } else { shortest = candidate }
            }
            part /= 2
        }
        return shortest
    }

    @Test("whatever is asked of the store, it answers and keeps what the model does")
    func againstModel() async throws {
        let usual = StoreKind.current == .sqlite ? 2_500 : 1_000
        let (seeds, length) = TestSize.isLong ? (40, usual * 10) : (8, usual)
        let first = TestSize.seed("model")
        let stories = try await withThrowingTaskGroup(of: (UInt64, Story).self) { group in
            var stories: [(seed: UInt64, story: Story)] = []
            for number in 0..<seeds {
                // A claim of a held run waits; meanwhile the others go on.
                if number >= 8, let story = try await group.next() { stories.append(story) }
                let seed = first &+ UInt64(number)
                group.addTask { (seed, try await Self.story(seed: seed, length: length)) }
            }
            for try await story in group { stories.append(story) }
            return stories
        }
        Self.printCounts(stories.flatMap(\.story.operations))
        for (number, (seed, story)) in stories.filter({ $0.story.difference != nil }).enumerated() {
            // One short story is what a person needs; the others are mostly the same.
            let shortest = number == 0 ? try await Self.shrink(story.operations) : story.operations
            let rest = number == 0 ? try await Self.replay(shortest) : nil
            Issue.record(
                """
                seed \(seed), operation \(story.operations.count): store and model differ
                \(story.difference ?? "")
                the last operations:
                \(Self.text(story.operations.suffix(10)))
                \(shortest.count) of the operations are enough, at the end:
                \(Self.text(shortest.suffix(20)))
                \(rest ?? "(not played again)")
                """)
        }
    }

    @Test("the model notices a single row that somebody else changed")
    func noticesTampering() async throws {
        let store = try await TestStore(inMemory: true)
        var session = try await ModelSession(store)
        var generator = ModelGenerator(seed: 7)
        for _ in 0..<300 {
            let difference = try await session.play(generator.next(session.oracle))
            #expect(difference == nil)
        }
        let isFine = await session.inspect() == nil
        #expect(isFine)
        try store.run("UPDATE runs SET epoch = epoch + 1 WHERE id = (SELECT max(id) FROM runs)")
        let isNoticed = await session.inspect() != nil
        #expect(isNoticed)
        await session.close()
        try store.remove()
    }

    private static func printCounts(_ operations: [ModelOperation]) {
        func counted(_ names: [String]) -> String {
            Dictionary(names.map { ($0, 1) }, uniquingKeysWith: +).sorted { $0.key < $1.key }
                .map { "\($0.value) × \($0.key)" }.joined(separator: ", ")
        }
        let batches = operations.flatMap(\.batches)
        let writes = batches.flatMap(\.writes).map { write in
            String("\(write)".prefix { $0 != "(" })
        }
        print("\(operations.count) operations: \(counted(operations.map(\.kind)))")
        print("\(batches.count) batches of \(writes.count) changes: \(counted(writes))")
    }

    private static func text(_ operations: some Sequence<ModelOperation>) -> String {
        operations.map { "    " + Payload.excerpt("\($0)", limit: 2000) }.joined(separator: "\n")
    }
}
