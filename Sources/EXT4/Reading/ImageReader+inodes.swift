/// An inode as it was read; its checksum was right.
package struct Inode: Sendable {
    package let number: InodeNumber
    /// Type and permission bits, as `st_mode`.
    package let mode: UInt16
    package let uid: UInt32
    package let gid: UInt32
    /// In bytes.
    package let size: UInt64
    package let links: UInt16
    package let modified: Timestamp
    /// Sectors of 512 bytes that belong to it.
    let sectors: UInt64
    let flags: UInt32
    let generation: UInt32
    let attributeBlock: UInt64
    let bytes: ByteView

    /// The seed of the checksums of what belongs to this inode.
    let seed: UInt32

    /// Nil for what no Linux knows, an inode that was never used for example.
    package var type: FileType? { FileType(mode: mode) }

    package var isDirectory: Bool { type == .directory }
    package var isFile: Bool { type == .file }
    package var isSymlink: Bool { type == .symlink }

    var hasExtents: Bool { flags & InodeField.flagExtents != 0 }

    /// A symlink's target in the inode itself.
    var isFastSymlink: Bool { isSymlink && size < UInt64(InodeField.blockSize) && !hasExtents }

    /// The number of a device; nil for everything else.
    package var device: (major: UInt32, minor: UInt32)? {
        guard type == .characterDevice || type == .blockDevice,
            let old = try? bytes.get(UInt32.self, at: InodeField.block),
            let new = try? bytes.get(UInt32.self, at: InodeField.block + 4)
        else { return nil }
        if old != 0 || new == 0 {
            return (old >> 8 & 0xFF, old & 0xFF)
        }
        return (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00)
    }
}

extension ImageReader {
    package var root: InodeNumber { .root }

    /// Reads an inode that is in use.
    package func inode(_ number: InodeNumber) throws(EXT4Error) -> Inode {
        guard number.rawValue >= 1, number.rawValue <= information.inodeCount else {
            throw EXT4Error(
                .corrupt, "The image names inode \(number.rawValue); it has \(information.inodeCount)")
        }
        let index = number.rawValue - 1
        let group = groups[Int(index / inodesPerGroup)]
        let offset = group.table * Geometry.blockSize + UInt64(index % inodesPerGroup) * UInt64(Geometry.inodeSize)
        let bytes = try ImageReader.read(descriptor, at: offset, count: Geometry.inodeSize)
        return try inode(number, bytes)
    }

    func inode(_ number: InodeNumber, _ bytes: ByteView) throws(EXT4Error) -> Inode {
        let generation = try bytes.get(UInt32.self, at: InodeField.generation)
        var sum = Checksum(seed)
        sum.update(number.rawValue)
        sum.update(generation)
        let inodeSeed = sum.value
        let extraSize = try bytes.get(UInt16.self, at: InodeField.extraSize)
        // All-zero inodes were never written.
        let isBlank = bytes.bytes.allSatisfy { $0 == 0 }
        let computed = try checksum(bytes, seed: inodeSeed)
        let found = try stored(bytes, extraSize: extraSize)
        guard isBlank || computed == found else {
            throw EXT4Error(.corrupt, "The checksum of inode \(number.rawValue) is wrong")
        }
        guard isBlank || extraSize == 0 || (extraSize >= 4 && extraSize <= 96 && extraSize % 4 == 0) else {
            throw EXT4Error(.corrupt, "Inode \(number.rawValue) has extra fields of \(extraSize) bytes")
        }
        func wide<T: FixedWidthInteger>(
            _ low: Int, _ high: Int, _: T.Type, shift: UInt64
        ) throws(EXT4Error) -> UInt64 {
            let upper = UInt64(truncatingIfNeeded: try bytes.get(UInt16.self, at: high))
            let lower = UInt64(truncatingIfNeeded: try bytes.get(T.self, at: low))
            return upper << shift | lower
        }
        return Inode(
            number: number, mode: try bytes.get(UInt16.self, at: InodeField.mode),
            uid: UInt32(try wide(InodeField.uid, InodeField.uidHigh, UInt16.self, shift: 16)),
            gid: UInt32(try wide(InodeField.gid, InodeField.gidHigh, UInt16.self, shift: 16)),
            size: UInt64(try bytes.get(UInt32.self, at: InodeField.sizeHigh)) << 32
                | UInt64(try bytes.get(UInt32.self, at: InodeField.sizeLow)),
            links: try bytes.get(UInt16.self, at: InodeField.linksCount), modified: try modified(bytes),
            sectors: try wide(InodeField.blocksLow, InodeField.blocksHigh, UInt32.self, shift: 32),
            flags: try bytes.get(UInt32.self, at: InodeField.flags), generation: generation,
            attributeBlock: try wide(InodeField.fileACLLow, InodeField.fileACLHigh, UInt32.self, shift: 32),
            bytes: bytes, seed: inodeSeed)
    }

    /// The checksum over an inode with zeros in the checksum's own place.
    private func checksum(_ bytes: ByteView, seed: UInt32) throws(EXT4Error) -> UInt32 {
        let zeros = ByteView([0, 0])
        var sum = try bytes.checksum(0..<InodeField.checksumLow, seed: seed)
        sum = try zeros.checksum(0..<2, seed: sum)
        sum = try bytes.checksum((InodeField.checksumLow + 2)..<InodeField.checksumHigh, seed: sum)
        // The upper half stands in the extra fields, and is left out only where there is no room for it.
        let hasHigh = try bytes.get(UInt16.self, at: InodeField.extraSize) >= 4
        sum = hasHigh ? try zeros.checksum(0..<2, seed: sum) : try bytes.checksum(0x82..<0x84, seed: sum)
        sum = try bytes.checksum((InodeField.checksumHigh + 2)..<Geometry.inodeSize, seed: sum)
        return hasHigh ? sum : sum & 0xFFFF
    }

    private func stored(_ bytes: ByteView, extraSize: UInt16) throws(EXT4Error) -> UInt32 {
        let low = UInt32(try bytes.get(UInt16.self, at: InodeField.checksumLow))
        guard extraSize >= 4 else { return low }
        return UInt32(try bytes.get(UInt16.self, at: InodeField.checksumHigh)) << 16 | low
    }

    private func modified(_ bytes: ByteView) throws(EXT4Error) -> Timestamp {
        let low = try bytes.get(Int32.self, at: InodeField.modificationTime)
        let extra = try bytes.get(UInt32.self, at: InodeField.modificationTimeExtra)
        return Timestamp(seconds: Int64(low) + Int64(extra & 3) << 32, nanoseconds: extra >> 2)
    }
}
