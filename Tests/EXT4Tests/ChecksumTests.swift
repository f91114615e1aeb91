import CCRC32C
import TestSupport
import Testing

@testable import EXT4

@Suite("checksums")
struct ChecksumTests {
    @Test("the check value of CRC-32C comes out with and without the processor's instruction")
    func checkValue() {
        let digits = Array("123456789".utf8)
        #expect(~ccrc32c_update(~0, digits, digits.count) == 0xE306_9283)
        #expect(~ccrc32c_update_portable(~0, digits, digits.count) == 0xE306_9283)
    }

    @Test("both ways agree on every length and every start")
    func agreement() {
        var generator = SeededGenerator(seed: 31)
        let bytes = generator.bytes(400)
        for start in 0..<9 {
            for length in 0..<300 {
                let part = Array(bytes[start..<(start + length)])
                let seed = UInt32(truncatingIfNeeded: generator.next())
                #expect(ccrc32c_update(seed, part, length) == ccrc32c_update_portable(seed, part, length))
            }
        }
    }
}
