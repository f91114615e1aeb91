import Crypto
import Files
import Foundation
import Glibc
import Testing

@testable import HelperInterface

struct FileChecksumTests {
    /// Writes pieces at offsets into a file of a size, and hashes it both ways.
    private func compare(size: Int, _ pieces: [(offset: Int, count: Int)]) throws {
        let path = NSTemporaryDirectory() + "snapwf-checksum-\(UUID().uuidString)"
        let file = try OpenFile(path, O_RDWR | O_CREAT | O_EXCL)
        unlink(path)
        var expected = [UInt8](repeating: 0, count: size)
        for (offset, count) in pieces {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ offset | 1) }
            expected.replaceSubrange(offset..<(offset + count), with: bytes)
            try bytes.withUnsafeBytes { try file.write($0, at: offset) }
        }
        #expect(ftruncate(file.descriptor, size) == 0)
        let (hex, found) = try sha256(of: file)
        #expect(found == UInt64(size))
        #expect(hex == SHA256.hash(data: expected).map { String(format: "%02x", $0) }.joined())
    }

    @Test("the checksum of a file with holes is that of its bytes, wherever the holes are")
    func holes() throws {
        try compare(size: 0, [])
        try compare(size: 1, [(0, 1)])
        try compare(size: 5 << 20, [])
        try compare(size: 5 << 20, [(0, 5 << 20)])
        try compare(size: (5 << 20) + 17, [(1 << 20, 100), (3 << 20, 1 << 20)])
        try compare(size: (3 << 20) + 1, [(0, 4096), (3 << 20, 1)])
        try compare(size: 9 << 20, [(4095, (2 << 20) + 2), (8 << 20, 5)])
    }
}
