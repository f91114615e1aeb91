/// The hash that orders a directory's names: half an MD4, names as unsigned bytes (kernel documentation, "ext4: Hash
/// Tree Directories").
struct DirectoryHash {
    struct Value: Comparable {
        let major: UInt32
        let minor: UInt32

        static func < (one: Value, other: Value) -> Bool {
            (one.major, one.minor) < (other.major, other.minor)
        }
    }

    private let initial: (UInt32, UInt32, UInt32, UInt32)

    /// A seed of 16 zero bytes stands for MD4's own.
    init(seed: [UInt8]) {
        func word(_ index: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(seed[4 * index + $1]) << UInt32(8 * $1) }
        }
        if seed.allSatisfy({ $0 == 0 }) {
            initial = (0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476)
        } else {
            initial = (word(0), word(1), word(2), word(3))
        }
    }

    func hash(_ name: UnsafeRawBufferPointer) -> Value {
        var state = initial
        var start = 0
        while start < name.count {
            let input = DirectoryHash.words(name, from: start)
            DirectoryHash.transform(&state, input)
            start += 32
        }
        // The lowest bit says "goes on in the next block", and the highest value says "end of the directory".
        let major = state.1 & ~1
        return Value(major: major == 0xFFFF_FFFE ? 0xFFFF_FFFC : major, minor: state.2)
    }

    private typealias Words = (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32)

    /// The next 32 bytes of a name as big-endian words, filled up with the length of what is left of it.
    private static func words(_ name: UnsafeRawBufferPointer, from start: Int) -> Words {
        let rest = name.count - start
        var pad = UInt32(rest) | UInt32(rest) << 8
        pad |= pad << 16
        let length = min(rest, 32)
        func word(_ index: Int) -> UInt32 {
            let first = 4 * index
            var value = pad
            if first < length {
                for offset in first..<min(first + 4, length) {
                    value = value << 8 &+ UInt32(name[start + offset])
                }
            }
            return value
        }
        return (word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7))
    }

    private static func transform(_ state: inout (UInt32, UInt32, UInt32, UInt32), _ input: Words) {
        var (a, b, c, d) = state
        @inline(__always)
        func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
            value << count | value >> (32 - count)
        }
        @inline(__always)
        func choose(_ a: inout UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ x: UInt32, _ count: UInt32) {
            a = rotate(a &+ (d ^ (b & (c ^ d))) &+ x, count)
        }
        @inline(__always)
        func majority(_ a: inout UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ x: UInt32, _ count: UInt32) {
            a = rotate(a &+ ((b & c) &+ ((b ^ c) & d)) &+ x &+ 0x5A82_7999, count)
        }
        @inline(__always)
        func parity(_ a: inout UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ x: UInt32, _ count: UInt32) {
            a = rotate(a &+ (b ^ c ^ d) &+ x &+ 0x6ED9_EBA1, count)
        }
        choose(&a, b, c, d, input.0, 3)
        choose(&d, a, b, c, input.1, 7)
        choose(&c, d, a, b, input.2, 11)
        choose(&b, c, d, a, input.3, 19)
        choose(&a, b, c, d, input.4, 3)
        choose(&d, a, b, c, input.5, 7)
        choose(&c, d, a, b, input.6, 11)
        choose(&b, c, d, a, input.7, 19)

        majority(&a, b, c, d, input.1, 3)
        majority(&d, a, b, c, input.3, 5)
        majority(&c, d, a, b, input.5, 9)
        majority(&b, c, d, a, input.7, 13)
        majority(&a, b, c, d, input.0, 3)
        majority(&d, a, b, c, input.2, 5)
        majority(&c, d, a, b, input.4, 9)
        majority(&b, c, d, a, input.6, 13)

        parity(&a, b, c, d, input.3, 3)
        parity(&d, a, b, c, input.7, 9)
        parity(&c, d, a, b, input.2, 11)
        parity(&b, c, d, a, input.6, 15)
        parity(&a, b, c, d, input.1, 3)
        parity(&d, a, b, c, input.5, 9)
        parity(&c, d, a, b, input.0, 11)
        parity(&b, c, d, a, input.4, 15)
        state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d)
    }
}
