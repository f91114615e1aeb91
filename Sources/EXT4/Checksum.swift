internal import CCRC32C

/// CRC-32C as ext4 chains it: starting from all ones, never inverted at the end (kernel documentation,
/// "ext4: Checksums").
struct Checksum {
    private(set) var value: UInt32

    init(_ seed: UInt32 = ~0) {
        value = seed
    }

    @inline(__always)
    mutating func update(_ bytes: UnsafeMutableRawPointer, _ count: Int) {
        value = ccrc32c_update(value, bytes, count)
    }

    mutating func update<T: FixedWidthInteger>(_ number: T) {
        var bytes = number.littleEndian
        value = ccrc32c_update(value, &bytes, MemoryLayout<T>.size)
    }

    /// The seed of everything in a file system that has this UUID.
    static func seed(uuid: [UInt8]) -> UInt32 {
        uuid.withUnsafeBytes { ccrc32c_update(~0, $0.baseAddress, $0.count) }
    }

    /// The seed of what belongs to an inode: its number and its generation, which is 0 in our images.
    static func seed(_ fileSystem: UInt32, inode: InodeNumber) -> UInt32 {
        var sum = Checksum(fileSystem)
        sum.update(inode.rawValue)
        sum.update(UInt32(0))
        return sum.value
    }
}

extension Checksum {
    static func continued(_ seed: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        ccrc32c_update(seed, bytes.baseAddress, bytes.count)
    }
}
