/// Bytes that came from an image and are not to be trusted: reading past their end is an error, never a trap.
struct ByteView {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var count: Int { bytes.count }

    func get<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) throws(EXT4Error) -> T {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<T>.size else {
            throw EXT4Error(.corrupt, "A structure of the image goes past the end of its block")
        }
        return bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
    }

    func slice(_ range: Range<Int>) throws(EXT4Error) -> [UInt8] {
        guard range.lowerBound >= 0, range.upperBound <= bytes.count else {
            throw EXT4Error(.corrupt, "A structure of the image goes past the end of its block")
        }
        return Array(bytes[range])
    }

    /// Goes on with a checksum over a part, which must be inside.
    func checksum(_ range: Range<Int>, seed: UInt32) throws(EXT4Error) -> UInt32 {
        guard range.lowerBound >= 0, range.upperBound <= bytes.count else {
            throw EXT4Error(.corrupt, "A structure of the image goes past the end of its block")
        }
        return bytes.withUnsafeBytes { Checksum.continued(seed, UnsafeRawBufferPointer(rebasing: $0[range])) }
    }
}
