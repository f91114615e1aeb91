import Foundation
import WorkflowTesting

extension SeededGenerator {
    /// True in so many of a thousand cases.
    mutating func chance(_ permille: Int) -> Bool { Int.random(in: 0..<1000, using: &self) < permille }

    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    mutating func pick<Items: Collection>(_ items: Items) -> Items.Element? { items.randomElement(using: &self) }
}

/// How much a test with random parts does, and from which seed.
enum TestSize {
    /// With `SNAPWF_TEST_LONG=1` the sizes are those of a night.
    static let isLong = ProcessInfo.processInfo.environment["SNAPWF_TEST_LONG"] == "1"

    /// `SNAPWF_TEST_SEED` repeats one test of an earlier run, `SNAPWF_TEST_ROUND` all of them.
    static func seed(_ what: String) -> UInt64 {
        let seed = number("SNAPWF_TEST_SEED") ?? number("SNAPWF_TEST_ROUND") ?? .random(in: 0...1 << 32)
        print("\(what): SNAPWF_TEST_SEED=\(seed)")
        return seed
    }

    private static func number(_ variable: String) -> UInt64? {
        ProcessInfo.processInfo.environment[variable].flatMap { UInt64($0) }
    }
}
