/// How a file system of a given number of blocks is cut into groups and how much of it the format itself takes.
struct Geometry: Equatable {
    static let blockSize: UInt64 = 4096
    static let blocksPerGroup: UInt64 = 32768
    static let descriptorsPerBlock: UInt64 = 64
    static let inodeSize = 256
    static let inodesPerBlock: UInt32 = 16
    /// One bitmap block has that many bits.
    static let maxInodesPerGroup: UInt32 = 32768
    static let groupsPerFlex = 16

    /// What the data phase leaves alone at the start of group 0 and of each backup group: the superblock, and 1024
    /// blocks for the group descriptors and their growth. While data streams in without a size nobody knows how many
    /// of these the image will need, so it is always the most there can be; what the final size does not need is given
    /// back as free space when the image is finished. 1024 descriptor blocks describe 65,536 groups, 8 TiB: a thousand
    /// times as large as an image of 8 GiB.
    static let frontBlocks: UInt64 = 1 + maxDescriptorBlocks
    static let maxDescriptorBlocks: UInt64 = 1024
    /// At least one of the 1024 stays in reserve, as a resize inode without blocks makes no sense.
    static let maxBlockCount = (maxDescriptorBlocks - 1) * descriptorsPerBlock * blocksPerGroup
    /// mke2fs makes no journal below this, and what it then makes is no image for us.
    static let minBlockCount: UInt64 = 2048
    /// jbd2 works with as little as this.
    static let minJournalBlocks: UInt64 = 1024

    let blockCount: UInt64
    let groupCount: UInt64
    /// Blocks of group descriptors in use.
    let descriptorBlocks: UInt64
    /// Blocks behind them, kept for growth by the resize inode.
    let reservedBlocks: UInt64
    let inodesPerGroup: UInt32
    let journalBlocks: UInt64

    /// Nil where a file system of that size cannot exist or has no room for that many inodes.
    init?(blockCount: UInt64, usedInodes: UInt32) {
        guard (Geometry.minBlockCount...Geometry.maxBlockCount).contains(blockCount) else { return nil }
        self.blockCount = blockCount
        groupCount = blockCount.dividedRoundingUp(by: Geometry.blocksPerGroup)
        descriptorBlocks = groupCount.dividedRoundingUp(by: Geometry.descriptorsPerBlock)
        reservedBlocks = Geometry.reservedBlocks(blockCount: blockCount, descriptorBlocks: descriptorBlocks)
        journalBlocks = Geometry.journalBlocks(blockCount: blockCount)

        // One inode for 16 KiB as mke2fs has it, or what is used and a twentieth more.
        let wanted = max(blockCount / 4, UInt64(usedInodes) + UInt64(usedInodes) / 20 + 1)
        let perGroup = wanted.dividedRoundingUp(by: groupCount)
        let wholeBlocks = perGroup.dividedRoundingUp(by: UInt64(Geometry.inodesPerBlock))
        inodesPerGroup = UInt32(
            min(wholeBlocks * UInt64(Geometry.inodesPerBlock), UInt64(Geometry.maxInodesPerGroup)))
        guard UInt64(inodesPerGroup) * groupCount >= UInt64(usedInodes) else { return nil }

        // As mke2fs: a last group must have room for what a group has of its own, and a little more.
        let remainder = blockCount % Geometry.blocksPerGroup
        let overhead = 2 + UInt64(inodesPerGroup / Geometry.inodesPerBlock) + headBlocks(of: groupCount - 1)
        guard remainder == 0 || remainder >= overhead + 50 else { return nil }
    }

    var inodeCount: UInt64 { UInt64(inodesPerGroup) * groupCount }

    var tableBlocks: UInt64 { UInt64(inodesPerGroup / Geometry.inodesPerBlock) }

    /// The superblock, the descriptors and the reserve at the start of group 0 and of a backup group.
    func headBlocks(of group: UInt64) -> UInt64 {
        Geometry.hasSuperblock(group) ? 1 + descriptorBlocks + reservedBlocks : 0
    }

    func blocks(of group: UInt64) -> Range<UInt64> {
        let start = group * Geometry.blocksPerGroup
        return start..<min(start + Geometry.blocksPerGroup, blockCount)
    }

    /// sparse_super: groups 0, 1 and the powers of 3, 5 and 7.
    static func hasSuperblock(_ group: UInt64) -> Bool {
        if group <= 1 { return true }
        if group % 2 == 0 { return false }
        for base: UInt64 in [3, 5, 7] {
            var power = base
            while power < group {
                power *= base
            }
            if power == group { return true }
        }
        return false
    }

    /// The first group after `group` that has a copy of the superblock.
    static func nextBackup(after group: UInt64) -> UInt64 {
        var next = group + 1
        while !hasSuperblock(next) {
            next += 1
        }
        return next
    }

    /// mke2fs's rule: enough to grow to 1024 times the size, and no further than 2^32 blocks; 1024 blocks at most, and
    /// here also no more than the front leaves.
    static func reservedBlocks(blockCount: UInt64, descriptorBlocks: UInt64) -> UInt64 {
        let largest = min(blockCount * 1024, UInt64(UInt32.max))
        let groups = largest.dividedRoundingUp(by: blocksPerGroup)
        let all = groups.dividedRoundingUp(by: descriptorsPerBlock)
        return min(all, maxDescriptorBlocks) - descriptorBlocks
    }

    /// mke2fs's rule, for blocks of 4 KiB.
    static func journalBlocks(blockCount: UInt64) -> UInt64 {
        switch blockCount {
        case ..<(32 << 10): minJournalBlocks
        case ..<(256 << 10): 4096
        case ..<(512 << 10): 8192
        case ..<(4096 << 10): 16384
        case ..<(8192 << 10): 32768
        case ..<(16384 << 10): 65536
        case ..<(32768 << 10): 131_072
        default: 262_144
        }
    }
}
