import Foundation

/// How much a test with random parts does, and from which seed.
package enum TestSize {
    /// With `SNAPWF_TEST_LONG=1` the sizes are those of a night.
    package static let isLong = ProcessInfo.processInfo.environment["SNAPWF_TEST_LONG"] == "1"

    package static func count(_ short: Int, long: Int) -> Int { isLong ? long : short }

    /// Where a test begins; `SNAPWF_TEST_SEED` repeats one of an earlier run, `SNAPWF_TEST_ROUND` a whole run: it says where
    /// tests begin that else begin somewhere new.
    ///
    /// Round n of a test is made from the seed plus n alone, so that the seed of a round that fails brings it back as
    /// the first one.
    ///
    /// - Parameter fixed: where it begins unless somebody says otherwise; nil for somewhere new each time.
    package static func seed(_ what: String, otherwise fixed: UInt64? = nil) -> UInt64 {
        let seed = number("SNAPWF_TEST_SEED") ?? fixed ?? number("SNAPWF_TEST_ROUND") ?? .random(in: 0...1 << 32)
        print("\(what): SNAPWF_TEST_SEED=\(seed)")
        return seed
    }

    private static func number(_ variable: String) -> UInt64? {
        ProcessInfo.processInfo.environment[variable].flatMap { UInt64($0) }
    }
}

/// A small generator whose whole state is its seed (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    package mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }

    /// True in so many of a hundred cases.
    package mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

    package mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    package mutating func byte() -> UInt8 { UInt8.random(in: .min ... .max, using: &self) }
}
