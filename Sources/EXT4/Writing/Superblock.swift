/// The superblock (kernel documentation, "ext4: Super Block"), 1024 bytes.
struct Superblock {
    static let size = 1024

    enum Feature {
        /// has_journal, ext_attr, resize_inode, dir_index
        static let compatible: UInt32 = 0x4 | 0x8 | 0x10 | 0x20
        /// filetype, extent, 64bit, flex_bg
        static let incompatible: UInt32 = 0x2 | 0x40 | 0x80 | 0x200
        /// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
        /// ea_inode: where a value of an extended attribute has an inode of its own.
        static let valueInodes: UInt32 = 0x400
        static let readOnlyCompatible: UInt32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400
    }

    private let base = Scratch(count: Superblock.size)

    /// No blocks are reserved for root: what runs in a sandbox is mostly root, so that a reserve would protect nothing
    /// from it, and it would take the little space that a minimal image has free from everybody else.
    init(format: Format, layout: Layout, freeInodes: UInt64, journal: UnsafeMutableRawPointer, hasValueInodes: Bool) {
        let geometry = layout.geometry
        let free = layout.free.count
        putCounts(geometry, free: free, freeInodes: freeInodes)
        putTimes(format.timestamp)
        putFormat(format, geometry)
        if hasValueInodes { base.base.put(Feature.incompatible | Feature.valueInodes, at: 0x60) }
        putJournal(journal)
        // What writing took, in KiB: the kernel goes on counting from here.
        base.base.put((geometry.blockCount - free) * (Geometry.blockSize / 1024), at: 0x178)
    }

    private func putCounts(_ geometry: Geometry, free: UInt64, freeInodes: UInt64) {
        let block = base.base
        block.put(UInt32(truncatingIfNeeded: geometry.inodeCount), at: 0x00)
        block.put(UInt32(truncatingIfNeeded: geometry.blockCount), at: 0x04)
        block.put(UInt32(truncatingIfNeeded: geometry.blockCount >> 32), at: 0x150)
        block.put(UInt32(truncatingIfNeeded: free), at: 0x0C)
        block.put(UInt32(truncatingIfNeeded: free >> 32), at: 0x158)
        block.put(UInt32(truncatingIfNeeded: freeInodes), at: 0x10)
        // Block and cluster size: 1024 << 2.
        block.put(UInt32(2), at: 0x18)
        block.put(UInt32(2), at: 0x1C)
        block.put(UInt32(Geometry.blocksPerGroup), at: 0x20)
        block.put(UInt32(Geometry.blocksPerGroup), at: 0x24)
        block.put(geometry.inodesPerGroup, at: 0x28)
        block.put(UInt16(geometry.reservedBlocks), at: 0xCE)
    }

    /// Checked and made at the time of the format, never mounted, and never written to since: the low 32 bits here, the
    /// next 8 there.
    ///
    /// e2fsck takes its clock for broken when the last mount or write is later than now, and only then. So these two stay
    /// zero, and an image that is dated in the future is written as any other: its bytes depend on no day.
    private func putTimes(_ timestamp: Int64) {
        let time = UInt64(max(timestamp, 0))
        for (low, high) in [(0x40, 0x277), (0x108, 0x276)] {
            base.base.put(UInt32(truncatingIfNeeded: time), at: low)
            base.base.put(UInt8(truncatingIfNeeded: time >> 32), at: high)
        }
    }

    private func putFormat(_ format: Format, _ geometry: Geometry) {
        let block = base.base
        // Never to be checked because of a count of mounts or of days.
        block.put(UInt16(0xFFFF), at: 0x36)
        block.put(UInt16(0xEF53), at: 0x38)
        // Cleanly unmounted; go on after errors; revision 1 of Linux's own.
        block.put(UInt16(1), at: 0x3A)
        block.put(UInt16(1), at: 0x3C)
        block.put(UInt32(1), at: 0x4C)
        block.put(InodeNumber.lostAndFound.rawValue, at: 0x54)
        block.put(UInt16(Geometry.inodeSize), at: 0x58)
        block.put(Feature.compatible, at: 0x5C)
        block.put(Feature.incompatible, at: 0x60)
        block.put(Feature.readOnlyCompatible, at: 0x64)
        block.put(format.uuid, at: 0x68)
        block.put(format.label, at: 0x78)
        block.put(format.hashSeed, at: 0xEC)
        block.put(DirectoryWriter.hashVersion, at: 0xFC)
        // Descriptors of 64 bytes; mounted with user_xattr and acl.
        block.put(UInt16(64), at: 0xFE)
        block.put(UInt32(0xC), at: 0x100)
        block.put(InodeField.extraFields, at: 0x15C)
        block.put(InodeField.extraFields, at: 0x15E)
        // The directory hash takes names as unsigned bytes.
        block.put(UInt32(2), at: 0x160)
        // 2^4 groups in a flex group; checksums are CRC-32C.
        block.put(UInt8(4), at: 0x174)
        block.put(UInt8(1), at: 0x175)
    }

    /// The journal's inode, and where e2fsck finds its blocks should that inode be lost.
    private func putJournal(_ inode: UnsafeMutableRawPointer) {
        let block = base.base
        block.put(InodeNumber.journal.rawValue, at: 0xE0)
        block.put(UInt8(1), at: 0xFD)
        (block + 0x10C).copyMemory(from: inode + InodeField.block, byteCount: InodeField.blockSize)
        block.put(inode.get(UInt32.self, at: InodeField.sizeHigh), at: 0x10C + 60)
        block.put(inode.get(UInt32.self, at: InodeField.sizeLow), at: 0x10C + 64)
    }

    /// Copies the superblock of a group to memory; each says which group it is in.
    func write(to target: UnsafeMutableRawPointer, group: UInt64) {
        target.copyMemory(from: base.base, byteCount: Superblock.size)
        target.put(UInt16(truncatingIfNeeded: group), at: 0x5A)
        var sum = Checksum()
        sum.update(target, Superblock.size - 4)
        target.put(sum.value, at: Superblock.size - 4)
    }
}
