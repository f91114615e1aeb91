import Foundation
import Testing

@testable import RootFS

/// A small generator whose whole state is its seed, so that a failure can be repeated (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// Layers full of collisions: few names, so that everything happens to everything.
struct RandomLayers {
    var generator: SeededGenerator
    /// Where some layer has had something that can be linked to.
    private var linkable: [String] = []

    init(seed: UInt64) { generator = SeededGenerator(state: seed) }

    mutating func stack(of count: ClosedRange<Int> = 2...5) -> [[Member]] {
        (0..<Int.random(in: count, using: &generator)).map { _ in layer() }
    }

    private mutating func path() -> String {
        (0..<generator.pick([1, 1, 2, 2, 2, 3, 3, 4])).map { _ in generator.pick(["a", "b", "c", "d"]) }
            .joined(separator: "/")
    }

    private mutating func layer() -> [Member] {
        var members: [Member] = generator.chance(30) ? [attributed(.directory("./"))] : []
        for _ in 0..<Int.random(in: 1...14, using: &generator) { members.append(member()) }
        return members
    }

    private mutating func member() -> Member {
        let path = path()
        let parent = path.split(separator: "/").dropLast().joined(separator: "/")
        let prefix = parent.isEmpty ? "" : parent + "/"
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<28:
            linkable.append(path)
            return attributed(Member(path, .file(content())))
        case 28..<50: return attributed(.directory(path))
        case 50..<57: return attributed(.symlink(path, to: generator.pick(["a", "../b", "/c/d", "nowhere"])))
        case 57..<70:
            let target = linkable.isEmpty || generator.chance(20) ? self.path() : generator.pick(linkable)
            linkable.append(path)
            return attributed(.hardLink(path, to: target))
        case 70..<84: return .mark("\(prefix).wh.\(path.split(separator: "/").last ?? "a")")
        case 84..<90: return .mark("\(prefix).wh..wh..opq")
        case 90..<93: return Member(path, .character(0, 0))
        case 93..<96: return attributed(Member(path, generator.pick([.character(1, 3), .block(8, 70_000), .fifo])))
        default: return attributed(.directory(path, mode: 0o1777))
        }
    }

    private mutating func content() -> [UInt8] {
        let size = generator.pick([0, 1, 10, 511, 512, 513, 4096, 5000, 20_000])
        let first = UInt8.random(in: .min ... .max, using: &generator)
        return (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) &+ first }
    }

    private mutating func attributed(_ member: Member) -> Member {
        var member = member
        member.mode = generator.pick([0o644, 0o755, 0o4755, 0o2775, 0o1777, 0o600, 0o000])
        member.uid = generator.pick([0, 0, 1000, 65_536, 4_294_967_294])
        member.gid = generator.pick([0, 0, 1000, 70_000, 4_294_967_294])
        member.seconds = generator.pick([0, 1, -1, -2_000_000_000, 1_700_000_000, 4_294_967_295, 15_000_000_000])
        member.nanoseconds = generator.pick([0, 1, 500_000_000, 999_999_999])
        switch member.kind {
        case .file, .directory:
            if generator.chance(25) { member.xattrs["user.note"] = content().prefix(300).map { $0 } }
            if generator.chance(15) { member.xattrs["trusted.key"] = [1, 0, 2] }
            if generator.chance(10) { member.xattrs["security.test"] = Array("label".utf8) }
        default: break
        }
        return member
    }
}

@Suite("Random layers against overlayfs")
struct RandomLayerTests {
    @Test("an image shows what overlayfs shows of the same layers")
    func randomStacks() async throws {
        let environment = ProcessInfo.processInfo.environment
        let first = environment["ROOTFS_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...1_000_000_000)
        let count = environment["ROOTFS_STACKS"].flatMap { UInt64($0) } ?? 160
        print("random layers: \(count) stacks from ROOTFS_SEED=\(first)")
        var layers = 0
        var paths = 0
        var links = 0
        for seed in first..<(first + count) {
            var random = RandomLayers(seed: seed)
            let stack = random.stack()
            let comparison: Comparison
            do {
                comparison = try await compare(stack, execution: ways[Int(seed % UInt64(ways.count))]) {
                    [.gzip, .none, .zstd][$0 % 3]
                }
            } catch {
                Issue.record("ROOTFS_SEED=\(seed) failed: \(error)\n\(describe(stack))")
                return
            }
            layers += comparison.accepted.count
            paths += comparison.expected.nodes.count
            links += comparison.summary.hardLinks
            guard comparison.differences.isEmpty else {
                Issue.record(
                    """
                    ROOTFS_SEED=\(seed) differs:
                    \(comparison.differences.joined(separator: "\n"))
                    \(describe(comparison.accepted))
                    """)
                return
            }
        }
        print("random layers: \(layers) layers, \(paths) paths and \(links) hard links are the same")
    }

    private func describe(_ stack: [[Member]]) -> String {
        stack.enumerated().map { number, members in
            "layer \(number):\n" + members.map { "  \($0)" }.joined(separator: "\n")
        }.joined(separator: "\n")
    }
}
