import Foundation

/// Random numbers that a seed gives again: a counter in steps of the golden ratio, and a mix of its bits.
struct SplitMix64: RandomNumberGenerator, Sendable {
    private var counter: UInt64

    init(seed: UInt64) {
        counter = seed
    }

    mutating func next() -> UInt64 {
        counter &+= 0x9e37_79b9_7f4a_7c15
        var mixed = counter
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// True in so many of a thousand cases.
    mutating func chance(_ permille: Int) -> Bool { Int.random(in: 0..<1000, using: &self) < permille }

    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    mutating func pick<Items: Collection>(_ items: Items) -> Items.Element? { items.randomElement(using: &self) }
}

/// How much a test with random parts does, and from which seed.
enum TestSize {
    /// With `SNAPWF_TEST_LONG=1` the sizes are those of a night.
    static let isLong = ProcessInfo.processInfo.environment["SNAPWF_TEST_LONG"] == "1"

    /// `SNAPWF_TEST_SEED` repeats the seeds of an earlier run.
    static func seed(_ what: String) -> UInt64 {
        let given = ProcessInfo.processInfo.environment["SNAPWF_TEST_SEED"].flatMap { UInt64($0) }
        let seed = given ?? .random(in: 0...1 << 32)
        print("\(what): SNAPWF_TEST_SEED=\(seed)")
        return seed
    }
}
