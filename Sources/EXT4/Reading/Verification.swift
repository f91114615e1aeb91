/// What a look at every structure of an image found.
package struct Verification: Sendable {
    /// What is wrong, at most ``maxProblems`` of it.
    package fileprivate(set) var problems: [String] = []
    /// All that is wrong.
    package fileprivate(set) var problemCount = 0
    /// Inodes in use, the reserved ones among them.
    package internal(set) var inodes = 0
    package internal(set) var directories = 0
    package internal(set) var usedBlocks: UInt64 = 0

    package static let maxProblems = 100

    package var isSound: Bool { problemCount == 0 }
}

extension ImageReader {
    /// Reads every structure and checks every checksum, that all counts are right, that each block has one owner, that
    /// directories can be searched, and that free blocks read as zeros.
    ///
    /// - Parameter freeBlocksReadZero: false for images that Linux has written to, since it leaves in free blocks what
    ///   was in them.
    /// - Throws: only what hinders reading, and `.unsupported` where the image has other features than this package
    ///   writes; damage is reported.
    package func verify(freeBlocksReadZero: Bool = true) throws(EXT4Error) -> Verification {
        try requireOurFeatures()
        let verifier = Verifier(self)
        try verifier.run(freeBlocksReadZero: freeBlocksReadZero)
        return verifier.report
    }
}

extension ImageReader {
    /// What is more, or less, than the features that every structure here is known for.
    private func requireOurFeatures() throws(EXT4Error) {
        var optional = Features.ours
        optional.incompatible |= Superblock.Feature.valueInodes
        let more = features.subtracting(optional).names
        let less = Features.ours.subtracting(features).names
        guard more.isEmpty, less.isEmpty else {
            let differences = more.map { "has \($0)" } + less.map { "lacks \($0)" }
            throw EXT4Error(
                .unsupported,
                "Only images with the features that snapwf writes can be verified, and this one "
                    + differences.joined(separator: ", ") + "; e2fsck -fn FILE checks others")
        }
    }
}

/// One run over an image, and what it has learnt so far.
final class Verifier {
    let reader: ImageReader
    var report = Verification()
    /// One bit for each block that something owns.
    var owned: Scratch
    /// What is in use besides the reserved inodes. An inode of the image takes more bytes than what is kept of it here,
    /// so that memory is bounded by what really stands in the file.
    var inodes: [UInt32: Record] = [:]
    var directories: [InodeNumber] = []
    /// Directories whose blocks are something else's, too: reading them again and again could take forever.
    var unreadable: Set<UInt32> = []
    /// For each directory the one that names it, and the one it names as "..".
    var parents: [UInt32: UInt32] = [:]
    var dotDots: [UInt32: UInt32] = [:]
    var subdirectories: [UInt32: Int] = [:]
    /// How often each block of extended attributes is used, and how often it says it is.
    var attributeBlocks: [UInt64: (found: UInt32, stated: UInt32)] = [:]
    /// How often each inode that holds a value says it is named, and how often it is.
    var statedValues: [UInt32: UInt64] = [:]
    var foundValues: [UInt32: UInt64] = [:]
    /// For each block of extended attributes the blocks of such values.
    var valueBlocks: [UInt64: UInt64] = [:]

    struct Record {
        let type: FileType
        /// As the inode counts them.
        let links: UInt16
        /// Found in directories.
        var names: UInt32 = 0

        init(type: FileType, links: UInt16) {
            self.type = type
            self.links = links
        }
    }

    init(_ reader: ImageReader) {
        self.reader = reader
        owned = Scratch(count: Int(reader.groupCount) * ImageReader.blockSize)
    }

    func run(freeBlocksReadZero: Bool) throws(EXT4Error) {
        try attempt { () throws(EXT4Error) in try self.checkSuperblock() }
        ownFixedBlocks()
        try checkInodes()
        try checkDirectories()
        checkLinks()
        checkReachability()
        checkSharedAttributes()
        try attempt { () throws(EXT4Error) in try self.checkJournal() }
        try attempt { () throws(EXT4Error) in try self.checkResizeInode() }
        try checkBlockBitmaps()
        try checkCopies()
        if freeBlocksReadZero { try checkFreeBlocks() }
    }

    func note(_ problem: String) {
        report.problemCount += 1
        if report.problems.count < Verification.maxProblems {
            report.problems.append(problem)
        }
    }

    func expect(_ condition: Bool, _ problem: @autoclosure () -> String) {
        if !condition { note(problem()) }
    }

    /// Damage that is found is noted, and the look goes on elsewhere.
    func attempt(_ body: () throws(EXT4Error) -> Void) throws(EXT4Error) {
        do throws(EXT4Error) {
            try body()
        } catch {
            guard error.code == .corrupt else { throw error }
            note(error.message)
        }
    }

    /// Enters the owner of blocks; two of them are one too many. Whether it is the only one.
    @discardableResult
    func own(_ start: UInt64, _ count: UInt64, _ owner: @autoclosure () -> String) -> Bool {
        guard count > 0 else { return true }
        guard start + count <= reader.information.blockCount else {
            note("\(owner()) has blocks past the end of the image")
            return false
        }
        let blocks = Int(start)..<Int(start + count)
        let isShared = owned.base.hasSetBit(in: blocks)
        if isShared {
            note("a block from \(start) to \(start + count - 1) belongs to \(owner()) and to something else")
        }
        owned.base.setBits(blocks)
        report.usedBlocks += count
        return !isShared
    }

    // MARK: - What has a fixed place

    private func checkSuperblock() throws(EXT4Error) {
        let block = reader.superblock
        let state = try block.get(UInt16.self, at: 0x3A)
        expect(state == 1, "the superblock says that the image is not clean")
        let lastOrphan = try block.get(UInt32.self, at: 0xE8)
        expect(lastOrphan == 0, "the superblock has a list of orphaned inodes")
        let firstInode = try block.get(UInt32.self, at: 0x54)
        expect(
            firstInode == InodeNumber.lostAndFound.rawValue,
            "the superblock has a first inode that is not an image's of ours")
        // What each inode has, and what new ones get; 0 leaves it to the kernel. Room for the checksum's upper half is
        // the least.
        for field in [0x15C, 0x15E] {
            let size = Int(try block.get(UInt16.self, at: field))
            expect(
                size == 0 || ((4...(Geometry.inodeSize - 128)).contains(size) && size % 4 == 0),
                "the superblock asks for \(size) bytes of extra fields in an inode")
        }
        let reserved = try UInt64(block.get(UInt32.self, at: 0x154)) << 32 | UInt64(block.get(UInt32.self, at: 0x08))
        expect(
            reserved <= reader.information.blockCount / 2, "the superblock reserves more than half of the blocks")
        // Inodes of quotas, of a snapshot and of orphans, which no image of ours has.
        for field in [0x180, 0x240, 0x244, 0x26C, 0x280] {
            let number = try block.get(UInt32.self, at: field)
            expect(number == 0, "the superblock names a special inode at \(field)")
        }
        let journal = try block.get(UInt32.self, at: 0xE0)
        let journalElsewhere = try block.slice(0xD0..<0xE0) + block.slice(0xE4..<0xE8)
        expect(
            journal == InodeNumber.journal.rawValue && journalElsewhere.allSatisfy { $0 == 0 },
            "the superblock names another journal than inode 8")
        let hashVersion = try block.get(UInt8.self, at: 0xFC)
        let flags = try block.get(UInt32.self, at: 0x160)
        expect(hashVersion == 1 && flags & 2 != 0, "the directory hash is not half_md4 of unsigned bytes")
    }

    func headBlocks(of group: UInt64) -> UInt64 {
        Geometry.hasSuperblock(group) ? 1 + reader.descriptorBlocks + reader.reservedBlocks : 0
    }

    private func ownFixedBlocks() {
        for (index, group) in reader.groups.enumerated() {
            let start = UInt64(index) * Geometry.blocksPerGroup
            own(start, headBlocks(of: UInt64(index)), "the head of group \(index)")
            own(group.blockBitmap, 1, "the block bitmap of group \(index)")
            own(group.inodeBitmap, 1, "the inode bitmap of group \(index)")
            own(group.table, UInt64(reader.inodesPerGroup / 16), "the inode table of group \(index)")
        }
    }

    /// The log is empty, and the superblock's copy of where it is is right.
    private func checkJournal() throws(EXT4Error) {
        let inode = try reader.inode(.journal)
        let map = try inode.bytes.slice(InodeField.block..<(InodeField.block + InodeField.blockSize))
        let copy = try reader.superblock.slice(0x10C..<(0x10C + InodeField.blockSize))
        expect(map == copy, "the superblock's copy of the journal's map differs from its inode")
        var first: UInt64?
        try reader.forEachExtent(of: inode) { extent, _ throws(EXT4Error) in
            if extent.logical == 0 { first = extent.physical }
        }
        guard let first else { throw EXT4Error(.corrupt, "The journal has no first block") }
        let block = try reader.readBlock(first)
        let words = try [0x00, 0x04, 0x0C, 0x10, 0x1C].map { offset throws(EXT4Error) in
            UInt32(bigEndian: UInt32(littleEndian: try block.get(UInt32.self, at: offset)))
        }
        expect(
            words[0] == 0xC03B_3998 && words[1] == 4 && words[2] == UInt32(ImageReader.blockSize)
                && UInt64(words[3]) * Geometry.blockSize == inode.size,
            "the journal's superblock is damaged")
        expect(words[4] == 0, "the journal is not empty")
    }

    /// Its double-indirect block names the reserved descriptor blocks, and these name their copies.
    private func checkResizeInode() throws(EXT4Error) {
        let inode = try reader.inode(.resize)
        let doubleIndirect = UInt64(try inode.bytes.get(UInt32.self, at: InodeField.block + 13 * 4))
        let map = try reader.readBlock(doubleIndirect)
        own(doubleIndirect, 1, "the resize inode")
        let copies = (1..<max(reader.groupCount, 1)).filter { Geometry.hasSuperblock($0) }
        let first = 1 + reader.descriptorBlocks
        for block in first..<(first + reader.reservedBlocks) {
            let named = UInt64(try map.get(UInt32.self, at: Int((block - 1) % 1024) * 4))
            guard named == block else {
                throw EXT4Error(.corrupt, "The resize inode names block \(named) instead of \(block)")
            }
            let list = try reader.readBlock(block)
            for (index, group) in copies.enumerated() {
                let copy = UInt64(try list.get(UInt32.self, at: 4 * index))
                guard copy == block + group * Geometry.blocksPerGroup else {
                    throw EXT4Error(.corrupt, "The reserved descriptor block \(block) names a wrong copy")
                }
            }
        }
        let blocks = 1 + reader.reservedBlocks * UInt64(1 + copies.count)
        expect(inode.sectors == blocks * 8, "the resize inode has a wrong count of blocks")
    }

    /// Linux writes copies seldom, so that only what never changes must be the same.
    private func checkCopies() throws(EXT4Error) {
        let fixed = [0x00..<0x08, 0x14..<0x2C, 0x38..<0x3A, 0x58..<0x5A, 0x5C..<0x78, 0xCE..<0xD0, 0xEC..<0xFC]
        for group in 1..<max(reader.groupCount, 1) where Geometry.hasSuperblock(group) {
            try attempt { () throws(EXT4Error) in
                let start = group * Geometry.blocksPerGroup
                let copy = try self.reader.readBlock(start)
                let checksum = try copy.checksum(0..<(Superblock.size - 4), seed: ~0)
                let stored = try copy.get(UInt32.self, at: Superblock.size - 4)
                self.expect(checksum == stored, "the checksum of the superblock's copy in group \(group) is wrong")
                for range in fixed {
                    let same = try copy.slice(range) == self.reader.superblock.slice(range)
                    self.expect(same, "the superblock's copy in group \(group) differs at \(range.lowerBound)")
                }
                try self.checkDescriptorCopies(at: start + 1, group: group)
            }
        }
    }

    private func checkDescriptorCopies(at start: UInt64, group: UInt64) throws(EXT4Error) {
        for index in 0..<reader.descriptorBlocks {
            let copy = try reader.readBlock(start + index)
            let primary = try reader.readBlock(1 + index)
            for offset in stride(from: 0, to: ImageReader.blockSize, by: 64) {
                // Where bitmaps and table are.
                for range in [offset..<(offset + 12), (offset + 0x20)..<(offset + 0x2C)] {
                    guard try copy.slice(range) == primary.slice(range) else {
                        throw EXT4Error(.corrupt, "The descriptors' copy in group \(group) differs")
                    }
                }
            }
        }
    }
}
