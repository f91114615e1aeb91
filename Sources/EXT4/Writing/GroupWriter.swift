/// Writes bitmaps and inode tables and makes the group descriptors (kernel documentation, "ext4: Block Group
/// Descriptors").
struct GroupWriter {
    struct Result {
        let descriptors: Scratch
        let freeInodes: UInt64
    }

    private enum Flag {
        static let inodesUninitialised: UInt16 = 1
        static let blocksUninitialised: UInt16 = 2
        /// The table reads zero where nothing was written: nobody has to initialise it later.
        static let tableZeroed: UInt16 = 4
    }

    private static let descriptorSize = 64

    let layout: Layout
    let inodes: InodeStore
    let seed: UInt32
    let output: BlockOutput
    private let bitmap = Scratch(count: Int(Geometry.blockSize))

    init(layout: Layout, inodes: InodeStore, seed: UInt32, output: BlockOutput) {
        self.layout = layout
        self.inodes = inodes
        self.seed = seed
        self.output = output
    }

    func write() throws(EXT4Error) -> Result {
        let geometry = layout.geometry
        let descriptors = Scratch(count: Int(geometry.descriptorBlocks * Geometry.blockSize))
        let batch = Scratch(count: 256 << 10)
        var freeInodes: UInt64 = 0
        var nextRange = 0
        for group in 0..<Int(geometry.groupCount) {
            let descriptor = descriptors.base + group * GroupWriter.descriptorSize
            var flags = Flag.tableZeroed
            let perGroup = Int(geometry.inodesPerGroup)
            let table = try inodes.writeTable(
                at: layout.tables[group], first: group * perGroup + 1, perGroup: perGroup, seed: seed, batch: batch,
                output: output)
            var used = table.inodes
            if table.inodes == 0 {
                flags |= Flag.inodesUninitialised
            } else {
                used -= fillInodeBitmap(group: group, used: table.inodes)
                try writeBitmap(at: layout.inodeBitmaps[group], coveredBytes: perGroup / 8, descriptor, 0x1A, 0x3A)
            }
            let freeBlocks = fillBlockBitmap(group: UInt64(group), nextRange: &nextRange)
            if isUntouched(UInt64(group), freeBlocks: freeBlocks) {
                flags |= Flag.blocksUninitialised
            } else {
                try writeBitmap(
                    at: layout.blockBitmaps[group], coveredBytes: Int(Geometry.blockSize), descriptor, 0x18, 0x38)
            }
            put(layout.blockBitmaps[group], descriptor, 0x00, 0x20)
            put(layout.inodeBitmaps[group], descriptor, 0x04, 0x24)
            put(layout.tables[group], descriptor, 0x08, 0x28)
            putHalves(UInt32(freeBlocks), descriptor, 0x0C, 0x2C)
            putHalves(UInt32(perGroup - used), descriptor, 0x0E, 0x2E)
            putHalves(UInt32(table.directories), descriptor, 0x10, 0x30)
            descriptor.put(flags, at: 0x12)
            putHalves(UInt32(perGroup - table.inodes), descriptor, 0x1C, 0x32)
            freeInodes += UInt64(perGroup - used)
            var sum = Checksum(seed)
            sum.update(UInt32(group))
            sum.update(descriptor, GroupWriter.descriptorSize)
            descriptor.put(UInt16(truncatingIfNeeded: sum.value), at: 0x1E)
        }
        return Result(descriptors: descriptors, freeInodes: freeInodes)
    }

    /// Nothing in it but the superblock's copy and its descriptors: the kernel then makes the bitmap itself. The last
    /// group is always given one, as it may be short.
    private func isUntouched(_ group: UInt64, freeBlocks: UInt64) -> Bool {
        let geometry = layout.geometry
        let size = UInt64(geometry.blocks(of: group).count)
        return group > 0 && group + 1 < geometry.groupCount && freeBlocks == size - geometry.headBlocks(of: group)
    }

    /// Sets the bits of used inodes, and those that stand for nothing. Returns how many of the inodes that were written
    /// are unused all the same: 11, where the caller's tree has its own /lost+found.
    private func fillInodeBitmap(group: Int, used: Int) -> Int {
        bitmap.clear()
        bitmap.base.setBits(0..<used)
        bitmap.base.setBits(Int(layout.geometry.inodesPerGroup)..<(8 * bitmap.count))
        guard group == 0, inodes.type(of: .lostAndFound) == nil else { return 0 }
        let index = Int(InodeNumber.lostAndFound.rawValue) - 1
        bitmap.base.clearBits(index..<(index + 1))
        return 1
    }

    /// Sets all bits, those past the end of the file system too, and clears those of free blocks, which it counts.
    private func fillBlockBitmap(group: UInt64, nextRange: inout Int) -> UInt64 {
        let blocks = layout.geometry.blocks(of: group)
        bitmap.base.setBits(0..<(8 * bitmap.count))
        var free: UInt64 = 0
        while nextRange < layout.free.ranges.count {
            let range = layout.free.ranges[nextRange].clamped(to: blocks)
            if !range.isEmpty {
                bitmap.base.clearBits(
                    Int(range.lowerBound - blocks.lowerBound)..<Int(range.upperBound - blocks.lowerBound))
                free += UInt64(range.count)
            }
            if layout.free.ranges[nextRange].upperBound > blocks.upperBound || range.isEmpty { break }
            nextRange += 1
        }
        return free
    }

    private func writeBitmap(
        at block: UInt64, coveredBytes: Int, _ descriptor: UnsafeMutableRawPointer, _ low: Int, _ high: Int
    ) throws(EXT4Error) {
        try output.write(bitmap, at: block * Geometry.blockSize)
        var sum = Checksum(seed)
        sum.update(bitmap.base, coveredBytes)
        putHalves(sum.value, descriptor, low, high)
    }

    private func put(_ block: UInt64, _ descriptor: UnsafeMutableRawPointer, _ low: Int, _ high: Int) {
        descriptor.put(UInt32(truncatingIfNeeded: block), at: low)
        descriptor.put(UInt32(truncatingIfNeeded: block >> 32), at: high)
    }

    private func putHalves(_ value: UInt32, _ descriptor: UnsafeMutableRawPointer, _ low: Int, _ high: Int) {
        descriptor.put(UInt16(truncatingIfNeeded: value), at: low)
        descriptor.put(UInt16(truncatingIfNeeded: value >> 16), at: high)
    }
}

/// Bits as ext4's bitmaps count them: the lowest of each byte first.
extension UnsafeMutableRawPointer {
    func setBits(_ bits: Range<Int>) {
        forEachByte(of: bits) { byte, mask in
            storeBytes(of: load(fromByteOffset: byte, as: UInt8.self) | mask, toByteOffset: byte, as: UInt8.self)
        }
    }

    func clearBits(_ bits: Range<Int>) {
        forEachByte(of: bits) { byte, mask in
            storeBytes(of: load(fromByteOffset: byte, as: UInt8.self) & ~mask, toByteOffset: byte, as: UInt8.self)
        }
    }

    func hasSetBit(in bits: Range<Int>) -> Bool {
        var found: UInt8 = 0
        forEachByte(of: bits) { byte, mask in
            found |= load(fromByteOffset: byte, as: UInt8.self) & mask
        }
        return found != 0
    }

    @inline(__always)
    private func forEachByte(of bits: Range<Int>, _ body: (Int, UInt8) -> Void) {
        var bit = bits.lowerBound
        while bit < bits.upperBound {
            let end = min((bit / 8 + 1) * 8, bits.upperBound)
            let mask = UInt8(truncatingIfNeeded: ((1 << (end - bit)) - 1) << (bit % 8))
            body(bit / 8, mask)
            bit = end
        }
    }
}
