internal import Glibc

/// Reads an ext4 image: what this package writes, and what Linux makes of that.
///
/// Every checksum is checked when its structure is read. Damaged input gives an error (`.corrupt`), never a trap and
/// never an endless loop. Nothing is written; not for use by more than one thread at a time, and it blocks.
package final class ImageReader {
    /// What the superblock says of the whole.
    package struct Information: Sendable, Equatable {
        package let uuid: [UInt8]
        package let label: [UInt8]
        package let blockCount: UInt64
        package let freeBlocks: UInt64
        package let inodeCount: UInt32
        package let freeInodes: UInt32
        /// Bytes that the file system spans.
        package var size: UInt64 { blockCount * Geometry.blockSize }
        /// Seconds since 1970: when it was made, mounted read-write (0: never) and written to by a tool (0: never).
        package let made: Int64
        package let mounted: Int64
        package let written: Int64
        /// How often it was mounted read-write.
        package let mountCount: UInt16
        /// In the order of their bits, by mke2fs's names.
        package let features: [String]
        /// Blocks kept for group descriptors of a larger file system.
        package let reservedDescriptorBlocks: UInt64

        /// To how many bytes a mounted file system can grow: as far as the reserve has room for descriptors.
        package var growableTo: UInt64 {
            let used = blockCount.dividedRoundingUp(by: Geometry.blocksPerGroup * Geometry.descriptorsPerBlock)
            let groups = (used + reservedDescriptorBlocks) * Geometry.descriptorsPerBlock
            return groups * Geometry.blocksPerGroup * Geometry.blockSize
        }

        /// Linux has mounted it read-write since it was made: what was deleted then still stands in free blocks.
        package var wasMounted: Bool { mountCount > 0 || mounted > 0 }
    }

    /// A group descriptor.
    struct Group {
        let blockBitmap: UInt64
        let inodeBitmap: UInt64
        let table: UInt64
        let freeBlocks: UInt32
        let freeInodes: UInt32
        let directories: UInt32
        let unusedInodes: UInt32
        let flags: UInt16
        let blockBitmapChecksum: UInt32
        let inodeBitmapChecksum: UInt32
    }

    package let information: Information
    let descriptor: Int32
    /// The size of the file, in bytes.
    let fileSize: UInt64
    let superblock: ByteView
    let features: Features
    /// The seed of all checksums.
    let seed: UInt32
    let inodesPerGroup: UInt32
    let reservedBlocks: UInt64
    let hash: DirectoryHash
    private(set) var groups: [Group] = []

    static let blockSize = Int(Geometry.blockSize)

    /// Reads the superblock and the group descriptors. The descriptor stays the caller's.
    package init(fileDescriptor: Int32) throws(EXT4Error) {
        descriptor = fileDescriptor
        fileSize = try ImageReader.size(of: fileDescriptor)
        guard fileSize >= 2 * UInt64(Superblock.size) else {
            throw EXT4Error(.corrupt, "The file has \(fileSize) bytes; an ext4 image is larger than its superblock")
        }
        superblock = try ImageReader.read(fileDescriptor, at: UInt64(Superblock.size), count: Superblock.size)
        try ImageReader.check(superblock)
        features = try Features(superblock)
        let uuid = try superblock.slice(0x68..<0x78)
        seed =
            features.hasChecksumSeed
            ? try superblock.get(UInt32.self, at: 0x270) : Checksum.seed(uuid: uuid)
        inodesPerGroup = try superblock.get(UInt32.self, at: 0x28)
        reservedBlocks = UInt64(try superblock.get(UInt16.self, at: 0xCE))
        hash = DirectoryHash(seed: try superblock.slice(0xEC..<0xFC))
        information = try ImageReader.information(superblock, uuid: uuid)
        try checkCounts()
        try readGroups()
    }

    private static func check(_ superblock: ByteView) throws(EXT4Error) {
        guard try superblock.get(UInt16.self, at: 0x38) == 0xEF53 else {
            throw EXT4Error(.corrupt, "The file is no ext4 image: the superblock's magic number is missing")
        }
        let features = try Features(superblock)
        // Without this feature there are no checksums; that says more than that there is none in its place.
        if features.readOnlyCompatible & 0x400 == 0 { try features.requireReadable() }
        let checksum = try superblock.checksum(0..<(Superblock.size - 4), seed: ~0)
        guard try superblock.get(UInt32.self, at: Superblock.size - 4) == checksum else {
            throw EXT4Error(.corrupt, "The superblock's checksum is wrong; the image is damaged")
        }
        try features.requireReadable()
        let logBlockSize = try superblock.get(UInt32.self, at: 0x18)
        guard logBlockSize == 2 else {
            let size = logBlockSize < 7 ? "\(1024 << logBlockSize) bytes" : "1024 << \(logBlockSize) bytes"
            throw EXT4Error(.unsupported, "The image has blocks of \(size); this reader knows blocks of 4096 bytes")
        }
        for (what, found, known) in [
            ("the revision", try superblock.get(UInt32.self, at: 0x4C), 1),
            ("the logarithm of a cluster's size", try superblock.get(UInt32.self, at: 0x1C), logBlockSize),
            ("clusters in a group", try superblock.get(UInt32.self, at: 0x24), UInt32(Geometry.blocksPerGroup)),
            ("inodes of so many bytes", UInt32(try superblock.get(UInt16.self, at: 0x58)), UInt32(Geometry.inodeSize)),
            ("blocks in a group", try superblock.get(UInt32.self, at: 0x20), UInt32(Geometry.blocksPerGroup)),
            ("group descriptors of so many bytes", UInt32(try superblock.get(UInt16.self, at: 0xFE)), 64),
            ("the kind of checksums", UInt32(try superblock.get(UInt8.self, at: 0x175)), 1),
            ("the first data block", try superblock.get(UInt32.self, at: 0x14), 0),
        ] where found != known {
            throw EXT4Error(.unsupported, "This reader does not know \(what): \(found) instead of \(known)")
        }
        // Nothing here depends on flex groups; Linux overlooks a number that cannot be, e2fsck opens no such image.
        let logGroupsPerFlex = try superblock.get(UInt8.self, at: 0x174)
        guard logGroupsPerFlex <= 31 else {
            throw EXT4Error(.corrupt, "The superblock speaks of 2^\(logGroupsPerFlex) groups in a flex group")
        }
    }

    private static func information(_ superblock: ByteView, uuid: [UInt8]) throws(EXT4Error) -> Information {
        func wide(_ low: Int, _ high: Int) throws(EXT4Error) -> UInt64 {
            UInt64(try superblock.get(UInt32.self, at: high)) << 32
                | UInt64(try superblock.get(UInt32.self, at: low))
        }
        let label = try superblock.slice(0x78..<0x88)
        // The low 32 bits of a time here, the next 8 there.
        func time(_ low: Int, _ high: Int) throws(EXT4Error) -> Int64 {
            let upper = Int64(try superblock.get(UInt8.self, at: high)) << 32
            return upper | Int64(try superblock.get(UInt32.self, at: low))
        }
        return Information(
            uuid: uuid, label: Array(label.prefix { $0 != 0 }), blockCount: try wide(0x04, 0x150),
            freeBlocks: try wide(0x0C, 0x158), inodeCount: try superblock.get(UInt32.self, at: 0x00),
            freeInodes: try superblock.get(UInt32.self, at: 0x10),
            made: try time(0x108, 0x276), mounted: try time(0x2C, 0x275), written: try time(0x30, 0x274),
            mountCount: try superblock.get(UInt16.self, at: 0x34), features: try Features(superblock).names,
            reservedDescriptorBlocks: UInt64(try superblock.get(UInt16.self, at: 0xCE)))
    }

    private func checkCounts() throws(EXT4Error) {
        let blocks = information.blockCount
        guard blocks <= Geometry.maxBlockCount else {
            throw EXT4Error(
                .unsupported, "The image has \(blocks) blocks; this reader knows up to \(Geometry.maxBlockCount)")
        }
        guard blocks > 0, blocks <= fileSize / Geometry.blockSize else {
            throw EXT4Error(
                .corrupt, "The superblock speaks of \(blocks) blocks, the file has \(fileSize / Geometry.blockSize)")
        }
        guard inodesPerGroup > 0, inodesPerGroup <= Geometry.maxInodesPerGroup, inodesPerGroup % 16 == 0,
            UInt64(information.inodeCount) == UInt64(inodesPerGroup) * groupCount
        else {
            throw EXT4Error(.corrupt, "The superblock's count of inodes does not match its groups")
        }
        // The resize inode names them in one block of addresses of four bytes.
        guard reservedBlocks <= Geometry.blockSize / 4 else {
            throw EXT4Error(
                .corrupt, "The superblock reserves \(reservedBlocks) blocks for descriptors, more than can be named")
        }
    }

    var groupCount: UInt64 { information.blockCount.dividedRoundingUp(by: Geometry.blocksPerGroup) }

    var descriptorBlocks: UInt64 { groupCount.dividedRoundingUp(by: Geometry.descriptorsPerBlock) }

    private func readGroups() throws(EXT4Error) {
        groups.reserveCapacity(Int(groupCount))
        var block = ByteView([])
        for index in 0..<Int(groupCount) {
            let inBlock = index % Int(Geometry.descriptorsPerBlock)
            if inBlock == 0 {
                block = try readBlock(1 + UInt64(index) / Geometry.descriptorsPerBlock)
            }
            groups.append(try group(index, ByteView(try block.slice((64 * inBlock)..<(64 * inBlock + 64)))))
        }
    }

    private func group(_ index: Int, _ bytes: ByteView) throws(EXT4Error) -> Group {
        var sum = Checksum(seed)
        sum.update(UInt32(index))
        var checksum = try bytes.checksum(0..<0x1E, seed: sum.value)
        checksum = try ByteView([0, 0]).checksum(0..<2, seed: checksum)
        checksum = try bytes.checksum(0x20..<0x40, seed: checksum)
        guard try bytes.get(UInt16.self, at: 0x1E) == UInt16(truncatingIfNeeded: checksum) else {
            throw EXT4Error(.corrupt, "The checksum of group descriptor \(index) is wrong")
        }
        func block(_ low: Int, _ high: Int) throws(EXT4Error) -> UInt64 {
            UInt64(try bytes.get(UInt32.self, at: high)) << 32 | UInt64(try bytes.get(UInt32.self, at: low))
        }
        func halves(_ low: Int, _ high: Int) throws(EXT4Error) -> UInt32 {
            UInt32(try bytes.get(UInt16.self, at: high)) << 16 | UInt32(try bytes.get(UInt16.self, at: low))
        }
        let group = Group(
            blockBitmap: try block(0x00, 0x20), inodeBitmap: try block(0x04, 0x24), table: try block(0x08, 0x28),
            freeBlocks: try halves(0x0C, 0x2C), freeInodes: try halves(0x0E, 0x2E),
            directories: try halves(0x10, 0x30), unusedInodes: try halves(0x1C, 0x32),
            flags: try bytes.get(UInt16.self, at: 0x12), blockBitmapChecksum: try halves(0x18, 0x38),
            inodeBitmapChecksum: try halves(0x1A, 0x3A))
        let last = information.blockCount
        guard group.blockBitmap < last, group.inodeBitmap < last, group.table < last,
            group.table + UInt64(inodesPerGroup / 16) <= last, group.unusedInodes <= inodesPerGroup
        else {
            throw EXT4Error(.corrupt, "Group descriptor \(index) names blocks past the end of the image")
        }
        return group
    }

    /// The size of the journal in bytes; 0 where there is none inside of the image.
    package func journalSize() throws(EXT4Error) -> UInt64 {
        let number = try superblock.get(UInt32.self, at: 0xE0)
        return features.compatible & 0x4 == 0 || number == 0 ? 0 : try inode(InodeNumber(number)).size
    }

    // MARK: - Blocks

    func readBlock(_ number: UInt64) throws(EXT4Error) -> ByteView {
        guard number < information.blockCount else {
            throw EXT4Error(.corrupt, "The image names block \(number); it has \(information.blockCount)")
        }
        return try ImageReader.read(descriptor, at: number * Geometry.blockSize, count: ImageReader.blockSize)
    }

    static func read(_ descriptor: Int32, at offset: UInt64, count: Int) throws(EXT4Error) -> ByteView {
        var failure: Int32 = 0
        var read = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            (read, failure) = fill(descriptor, UnsafeMutableRawBufferPointer(buffer), at: offset)
            initialized = read
        }
        guard failure == 0 else {
            throw EXT4Error(.io, "Cannot read \(count) bytes of the image at \(offset)", errno: failure)
        }
        guard read == count else {
            throw EXT4Error(.corrupt, "The image ends at \(offset + UInt64(read)), within a structure")
        }
        return ByteView(bytes)
    }

    /// Fills memory from an offset of the image.
    func read(at offset: UInt64, into memory: UnsafeMutableRawPointer, count: Int) throws(EXT4Error) {
        let part = UnsafeMutableRawBufferPointer(start: memory, count: count)
        let (filled, failure) = ImageReader.fill(descriptor, part, at: offset)
        guard failure == 0, filled == count else {
            throw EXT4Error(.io, "Cannot read \(count) bytes of the image at \(offset)", errno: failure)
        }
    }

    /// Reads until the buffer is full or the file ends; returns the number of bytes and the system's error, or 0.
    static func fill(
        _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) -> (Int, Int32) {
        var filled = 0
        while filled < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + filled }, buffer.count - filled,
                off_t(offset) + off_t(filled))
            if count < 0 {
                if errno == EINTR { continue }
                return (filled, errno)
            }
            if count == 0 { break }
            filled += count
        }
        return (filled, 0)
    }

    /// Where bytes begin that are no hole of the image's file, at or after an offset; nil if there are none.
    func nextData(from offset: UInt64) -> UInt64? {
        // SEEK_DATA, which Swift's Glibc module does not show. What has no holes has data everywhere.
        let next = lseek(descriptor, off_t(offset), 3)
        if next >= 0 { return UInt64(next) }
        return errno == ENXIO ? nil : offset
    }

    private static func size(of descriptor: Int32) throws(EXT4Error) -> UInt64 {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else {
            throw EXT4Error(.io, "Cannot look at the image's file", errno: errno)
        }
        return UInt64(end)
    }
}
