/// What describes a dm-verity hash tree on disk: 512 bytes as veritysetup(8) writes them (cryptsetup's wiki,
/// "DMVerity: on-disk format"), here always version 1 with SHA-256 and blocks of 4096 bytes.
///
/// In an image it stands right behind the file system, and the tree one block after it.
package struct VeritySuperblock: Sendable, Equatable {
    package static let blockSize: UInt64 = 4096
    static let size = 512
    private static let magic = Array("verity\0\0".utf8)
    private static let algorithm = Array("sha256".utf8)
    private static let maxSalt = 256

    /// 16 bytes.
    package var uuid: [UInt8]
    /// What is hashed in front of each block; at most 256 bytes.
    package var salt: [UInt8]
    package var dataBlocks: UInt64

    package init(uuid: [UInt8], salt: [UInt8], dataBlocks: UInt64) {
        self.uuid = uuid
        self.salt = salt
        self.dataBlocks = dataBlocks
    }

    /// Nil where it is none, or one of another kind.
    package init?(_ bytes: [UInt8]) {
        func number(_ range: Range<Int>) -> UInt64 {
            bytes[range].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard bytes.count >= Self.size, Array(bytes[0..<8]) == Self.magic, number(8..<12) == 1, number(12..<16) == 1,
            Array(bytes[32..<64]) == Self.algorithm + Array(repeating: 0, count: 32 - Self.algorithm.count),
            number(64..<68) == Self.blockSize, number(68..<72) == Self.blockSize, number(80..<82) <= Self.maxSalt,
            number(72..<80) > 0, number(72..<80) <= UInt64(Int64.max) / Self.blockSize / 2
        else { return nil }
        uuid = Array(bytes[16..<32])
        dataBlocks = number(72..<80)
        salt = Array(bytes[88..<(88 + Int(number(80..<82)))])
    }

    package var bytes: [UInt8] {
        var bytes = Self.magic
        func put(_ number: UInt64, _ count: Int) {
            bytes += (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
        }
        put(1, 4)
        put(1, 4)
        bytes += uuid
        bytes += Self.algorithm + Array(repeating: 0, count: 32 - Self.algorithm.count)
        put(Self.blockSize, 4)
        put(Self.blockSize, 4)
        put(dataBlocks, 8)
        put(UInt64(salt.count), 2)
        put(0, 6)
        bytes += salt
        return bytes + Array(repeating: 0, count: Self.size - bytes.count)
    }

    /// Where in the file the superblock stands, in bytes.
    package var offset: UInt64 { dataBlocks * Self.blockSize }

    /// Where the file ends: superblock and tree included.
    package var end: UInt64 {
        levels.reduce(offset + Self.blockSize) { max($0, $1.hashes.upperBound) }
    }

    /// A level of the tree: which bytes of the file it hashes, and where the hashes stand. 128 of them fill a block.
    struct Level: Equatable {
        let input: Range<UInt64>
        let hashes: Range<UInt64>
    }

    static let hashesPerBlock: UInt64 = 128

    /// From the data up to the level of one block, whose hash is the root. On disk the topmost level comes first.
    var levels: [Level] {
        var counts: [UInt64] = []
        var blocks = dataBlocks
        while blocks > 1 {
            blocks = (blocks - 1) / Self.hashesPerBlock + 1
            counts.append(blocks)
        }
        var start = offset + Self.blockSize
        var places: [Range<UInt64>] = []
        for count in counts.reversed() {
            places.append(start..<(start + count * Self.blockSize))
            start += count * Self.blockSize
        }
        places.reverse()
        return places.indices.map { Level(input: $0 == 0 ? 0..<offset : places[$0 - 1], hashes: places[$0]) }
    }
}
