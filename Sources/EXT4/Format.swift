/// Everything besides the content that decides the bytes of an image: the same format and the same calls give the
/// same bytes.
package struct Format: Sendable, Equatable {

    /// The file system's UUID, 16 bytes; it seeds every checksum.
    package var uuid: [UInt8]
    /// The seed of the directory hash, 16 bytes.
    package var hashSeed: [UInt8]
    /// The volume label, at most 16 bytes.
    package var label: [UInt8]
    /// The superblock's times (made, checked), and those of inodes that nobody brought, such as `/lost+found`: seconds
    /// since 1970; 0 for what is before. May lie in the future, up to ``Timestamp/latestUndoubted``.
    package var timestamp: Int64
    /// The image's size in bytes, at most 8 TiB. What is past the last whole block stays outside of the file system.
    /// Nil: as small as the content allows with 5 % (at least 16 MiB) of free space and inodes to match.
    package var size: UInt64?

    package init(
        uuid: [UInt8], hashSeed: [UInt8], label: [UInt8] = [], timestamp: Int64, size: UInt64? = nil
    ) {
        self.uuid = uuid
        self.hashSeed = hashSeed
        self.label = label
        self.timestamp = timestamp
        self.size = size
    }
}

/// The number of an inode in the image that is being written. The root directory is 2.
package struct InodeNumber: Sendable, Hashable {
    package let rawValue: UInt32

    init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    static let root = InodeNumber(2)
    static let resize = InodeNumber(7)
    static let journal = InodeNumber(8)
    static let lostAndFound = InodeNumber(11)
    /// The first one that ordinary content gets; 11 is kept for `/lost+found`.
    static let firstOfContent = InodeNumber(12)
}

/// What came out: counted, not estimated.
package struct Summary: Sendable, Equatable {
    /// Blocks of 4096 bytes in the file system.
    package let blockCount: UInt64
    /// Blocks that belong to nothing; they all read zero.
    package let freeBlocks: UInt64
    package let inodeCount: UInt32
    /// Inodes in use, the ten reserved ones among them.
    package let usedInodes: UInt32
    /// The size of the image file in bytes.
    package let imageSize: UInt64
}
