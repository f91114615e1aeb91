import Foundation
import TestSupport
import Testing

@testable import RootFS

@Suite("Random layers against overlayfs")
struct RandomLayerTests {
    /// What came of one stack.
    private struct Verdict: Sendable {
        /// nil: the image is what overlayfs shows. Two stacks fail alike when this is the same.
        var failure: String?
        var details: [String] = []
        var layers = 0
        var paths = 0
        var links = 0
        var holes = 0
        /// What of the stack overlayfs could take.
        var accepted: LayerStack

        mutating func add(_ other: Verdict) {
            layers += other.layers
            paths += other.paths
            links += other.links
            holes += other.holes
        }
    }

    @Test("an image shows what overlayfs shows of the same layers")
    func randomStacks() async throws {
        let first = TestSize.seed("random layers")
        let end = first + UInt64(TestSize.count(1000, long: 10_000))
        var totals = Verdict(accepted: LayerStack(layers: []))
        var failing: (seed: UInt64, verdict: Verdict)?
        try await withThrowingTaskGroup(of: (UInt64, Verdict).self) { group in
            var next = first
            func start() {
                let seed = next
                next += 1
                group.addTask { (seed, try await judge(seed)) }
            }
            for _ in 0..<ProcessInfo.processInfo.activeProcessorCount where next < end { start() }
            while let (seed, verdict) = try await group.next() {
                totals.add(verdict)
                if verdict.failure != nil, failing.map({ seed < $0.seed }) ?? true { failing = (seed, verdict) }
                if failing == nil, next < end { start() }
            }
        }
        if let failing { return try await report(failing.seed, failing.verdict, after: failing.seed - first) }
        print(
            """
            random layers: \(end - first) stacks of \(totals.layers) layers: \(totals.paths) paths, \(totals.links) hard \
            links and \(totals.holes) files with holes are the same
            """)
    }

    private func judge(_ seed: UInt64) async throws -> Verdict {
        var random = RandomLayers(seed: seed)
        return try await judge(random.stack(), seed: seed)
    }

    /// The seed says on which threads the stack is converted.
    private func judge(_ stack: LayerStack, seed: UInt64) async throws -> Verdict {
        var verdict = Verdict(accepted: stack)
        let count = UInt64(ways.count)
        // Other threads and another decoder must give the same bytes.
        let again = seed.isMultiple(of: 4) ? ways[Int((seed / 4 + 3) % count)] : nil
        do {
            let comparison = try await stack.compare(ways[Int(seed % count)], again: again)
            for (number, members) in comparison.accepted.enumerated() {
                verdict.accepted.layers[number].members = members
            }
            verdict.details = comparison.differences
            if !verdict.details.isEmpty { verdict.failure = "differs" }
            verdict.layers = stack.layers.count
            verdict.paths = comparison.expected.nodes.count
            verdict.links = comparison.summary.hardLinks
            verdict.holes = comparison.expected.nodes.values.count { node in
                node.data.reduce(0) { $0 + $1.count } < node.size
            }
        } catch let error as RootFSError {
            verdict.failure = "refused: \(error.code)"
            verdict.details = ["\(error)"]
        } catch {
            verdict.failure = "\(type(of: error))"
            verdict.details = ["\(error)"]
        }
        return verdict
    }

    private func report(_ seed: UInt64, _ verdict: Verdict, after count: UInt64) async throws {
        let smallest = try await verdict.accepted.shrunk { stack in
            try await judge(stack, seed: seed).failure == verdict.failure
        }
        let details = try await judge(smallest, seed: seed).details
        Issue.record(
            """
            SNAPWF_TEST_SEED=\(seed) \(verdict.failure ?? ""), after \(count) that do not; the smallest stack that does:
            \(smallest)
            \(details.prefix(30).map { String($0.prefix(400)) }.joined(separator: "\n"))
            """)
    }

    @Test("a failing stack is shrunk to what it fails by")
    func shrinking() async throws {
        /// Holds where a layer whites out a setuid file of a layer below it.
        func holds(_ stack: LayerStack) -> Bool {
            guard let upper = stack.layers.lastIndex(where: { $0.members.contains { $0.path == Array(".wh.x".utf8) } })
            else { return false }
            return stack.layers[..<upper].contains { layer in
                layer.members.contains { $0.path == Array("x".utf8) && $0.mode & 0o4000 != 0 }
            }
        }
        for seed in UInt64(1)...5 {
            var random = RandomLayers(seed: seed)
            var stack = random.stack()
            stack.layers[0].members.insert(
                Member("x", .file([1, 2, 3]), mode: 0o4755).with {
                    ($0.uid, $0.xattrs, $0.format) = (5, ["user.a": [1]], .go)
                }, at: stack.layers[0].members.count / 2)
            stack.layers[stack.layers.count - 1].members.append(.mark(".wh.x").with { $0.spelling = .dotted })
            let smallest = await stack.shrunk(tries: 2000, while: holds)
            #expect(
                smallest
                    == LayerStack(layers: [
                        LayerStack.Entry(members: [Member("x", .file([1]), mode: 0o4755)]),
                        LayerStack.Entry(members: [.mark(".wh.x")]),
                    ]), "\(smallest)")
        }
    }
}
