extension Verifier {
    private var lastReserved: UInt32 { InodeNumber.lostAndFound.rawValue - 1 }

    /// Reads all inodes that a bitmap calls used, and compares bitmaps and counts.
    func checkInodes() throws(EXT4Error) {
        var free: UInt64 = 0
        for index in reader.groups.indices {
            let group = reader.groups[index]
            let perGroup = Int(reader.inodesPerGroup)
            let initialised = group.flags & 1 != 0 ? 0 : perGroup - Int(group.unusedInodes)
            var used = 0
            var found = 0
            if initialised > 0 {
                try attempt { () throws(EXT4Error) in
                    let bitmap = try self.inodeBitmap(index, group)
                    (used, found) = try self.checkTable(index, group, bitmap, initialised: initialised)
                }
            }
            expect(Int(group.freeInodes) == perGroup - used, "group \(index) has a wrong count of free inodes")
            expect(Int(group.directories) == found, "group \(index) has a wrong count of directories")
            free += UInt64(perGroup - used)
            report.inodes += used
        }
        report.directories = directories.count
        expect(
            free == UInt64(reader.information.freeInodes), "the superblock has a wrong count of free inodes")
    }

    private func inodeBitmap(_ index: Int, _ group: ImageReader.Group) throws(EXT4Error) -> ByteView {
        let bitmap = try reader.readBlock(group.inodeBitmap)
        let checksum = try bitmap.checksum(0..<Int(reader.inodesPerGroup / 8), seed: reader.seed)
        expect(checksum == group.inodeBitmapChecksum, "the checksum of the inode bitmap of group \(index) is wrong")
        let padding = bitmap.bytes[Int(reader.inodesPerGroup / 8)...]
        expect(padding.allSatisfy { $0 == 0xFF }, "the inode bitmap of group \(index) is not padded")
        return bitmap
    }

    private func checkTable(
        _ index: Int, _ group: ImageReader.Group, _ bitmap: ByteView, initialised: Int
    ) throws(EXT4Error) -> (used: Int, directories: Int) {
        var used = 0
        var found = 0
        var batch = ByteView([])
        let perBatch = 256
        var loaded = -1
        for slot in 0..<Int(reader.inodesPerGroup) {
            guard bitmap.bytes[slot / 8] >> (slot % 8) & 1 == 1 else { continue }
            guard slot < initialised else {
                note("the inode bitmap of group \(index) has inodes past the last one")
                break
            }
            used += 1
            if slot / perBatch * perBatch != loaded {
                loaded = slot / perBatch * perBatch
                let count = min(perBatch, Int(reader.inodesPerGroup) - loaded) * Geometry.inodeSize
                let offset = group.table * Geometry.blockSize + UInt64(loaded * Geometry.inodeSize)
                batch = try ImageReader.read(reader.descriptor, at: offset, count: count)
            }
            let start = (slot - loaded) * Geometry.inodeSize
            let bytes = ByteView(try batch.slice(start..<(start + Geometry.inodeSize)))
            let number = InodeNumber(UInt32(index * Int(reader.inodesPerGroup) + slot + 1))
            try attempt { () throws(EXT4Error) in
                let inode = try self.reader.inode(number, bytes)
                if inode.isDirectory { found += 1 }
                try self.check(inode)
            }
        }
        return (used, found)
    }

    private func check(_ inode: Inode) throws(EXT4Error) {
        let number = inode.number.rawValue
        if number <= lastReserved, number != InodeNumber.root.rawValue {
            if number == InodeNumber.journal.rawValue { try checkBlocks(inode) }
            return
        }
        guard let type = inode.type else {
            throw EXT4Error(.corrupt, "Inode \(number) has no known type")
        }
        // The time of deletion, and an address that was never used.
        for field in [0x14, 0x70] {
            let value = try inode.bytes.get(UInt32.self, at: field)
            expect(value == 0, "inode \(number) is in use and has a field set at \(field) that must be zero")
        }
        expect(
            inode.size <= ExtentTree.maxFileBlocks * Geometry.blockSize, "inode \(number) has a size that cannot be")
        // Encrypted, verity, data in the inode, names without case, AFS: all of other features.
        let isValue = inode.flags & InodeField.flagValue != 0
        expect(
            inode.flags & 0x5010_2800 == 0 && (!isValue || (reader.features.hasValueInodes && inode.isFile)),
            "inode \(number) has flags of features that the image has not")
        if isValue {
            let upper = UInt64(try inode.bytes.get(UInt32.self, at: InodeField.changeTime)) << 32
            statedValues[number] = upper | UInt64(try inode.bytes.get(UInt32.self, at: InodeField.version))
            expect(inode.links == 1, "inode \(number) holds an attribute's value and counts \(inode.links) links")
        } else {
            inodes[number] = Record(type: type, links: inode.links)
        }
        if inode.isDirectory { directories.append(inode.number) }
        try checkBlocks(inode, valueBlocks: try checkAttributes(inode))
        if inode.isSymlink {
            let target = try reader.target(of: inode)
            expect(
                UInt64(target.count) == inode.size && !target.contains(0), "symlink \(number) has no proper target")
        }
    }

    /// Returns how many blocks the values take that have inodes of their own: they count as the owner's, too. What
    /// stands in a block is looked at once, however many inodes have it.
    private func checkAttributes(_ inode: Inode) throws(EXT4Error) -> UInt64 {
        var blocks: UInt64 = 0
        func visit(_ number: InodeNumber, _ size: Int) {
            foundValues[number.rawValue, default: 0] += 1
            blocks += UInt64(size).dividedRoundingUp(by: Geometry.blockSize)
        }
        if attributeBlocks[inode.attributeBlock] == nil {
            _ = try reader.attributes(inBlockOf: inode, value: visit)
            valueBlocks[inode.attributeBlock] = blocks
        } else {
            blocks = valueBlocks[inode.attributeBlock] ?? 0
        }
        _ = try reader.attributes(inInode: inode, value: visit)
        return blocks
    }

    /// Each block has one owner, and the inode counts them right.
    private func checkBlocks(_ inode: Inode, valueBlocks: UInt64 = 0) throws(EXT4Error) {
        let number = inode.number.rawValue
        var blocks: UInt64 = 0
        var end: UInt64 = 0
        try reader.forEachExtent(
            of: inode,
            node: { block throws(EXT4Error) in
                // What is below was looked at where it was met first.
                guard self.own(block, 1, "the extent tree of inode \(number)") else {
                    throw EXT4Error(.corrupt, "the extent tree of inode \(number) is not its own")
                }
                blocks += 1
            },
            { extent, _ throws(EXT4Error) in
                if !self.own(extent.physical, extent.count, "inode \(number)") { self.unreadable.insert(number) }
                blocks += extent.count
                end = extent.logical + extent.count
            })
        expect(
            end <= inode.size.dividedRoundingUp(by: Geometry.blockSize), "inode \(number) has blocks past its size")
        if inode.attributeBlock != 0 {
            blocks += 1
            try checkAttributeBlock(inode.attributeBlock, number)
        }
        blocks += valueBlocks
        expect(inode.sectors == blocks * 8, "inode \(number) counts \(inode.sectors) sectors and has \(blocks * 8)")
    }

    private func checkAttributeBlock(_ block: UInt64, _ number: UInt32) throws(EXT4Error) {
        if attributeBlocks[block] != nil {
            attributeBlocks[block]?.found += 1
            return
        }
        own(block, 1, "the extended attributes of inode \(number)")
        let stated = try reader.attributeBlock(block).get(UInt32.self, at: XattrEncoder.referencesOffset)
        attributeBlocks[block] = (1, stated)
    }

    func checkSharedAttributes() {
        for (block, counts) in attributeBlocks.sorted(by: { $0.key < $1.key }) where counts.found != counts.stated {
            note("the extended attributes in block \(block) count \(counts.stated) users and have \(counts.found)")
        }
        for number in Set(statedValues.keys).union(foundValues.keys).sorted()
        where statedValues[number] != foundValues[number] {
            note(
                "inode \(number) holds an attribute's value, counts \(statedValues[number] ?? 0) entries that name it and "
                    + "has \(foundValues[number] ?? 0)")
        }
    }

    // MARK: - Block bitmaps

    func checkBlockBitmaps() throws(EXT4Error) {
        var free: UInt64 = 0
        for index in reader.groups.indices {
            try attempt { () throws(EXT4Error) in free += try self.checkBlockBitmap(index) }
        }
        expect(free == reader.information.freeBlocks, "the superblock has a wrong count of free blocks")
    }

    private func checkBlockBitmap(_ index: Int) throws(EXT4Error) -> UInt64 {
        let group = reader.groups[index]
        let start = UInt64(index) * Geometry.blocksPerGroup
        let size = Int(min(Geometry.blocksPerGroup, reader.information.blockCount - start))
        let expected = owned.base + index * ImageReader.blockSize
        var used = 0
        for offset in stride(from: 0, to: ImageReader.blockSize, by: 8) {
            used += expected.load(fromByteOffset: offset, as: UInt64.self).nonzeroBitCount
        }
        let free = size - used
        expect(Int(group.freeBlocks) == free, "group \(index) has a wrong count of free blocks")
        if group.flags & 2 != 0 {
            expect(
                UInt64(used) == headBlocks(of: UInt64(index)) && index + 1 < reader.groups.count,
                "group \(index) has blocks in use and no bitmap")
            return UInt64(free)
        }
        let bitmap = try reader.readBlock(group.blockBitmap)
        let checksum = try bitmap.checksum(0..<ImageReader.blockSize, seed: reader.seed)
        expect(checksum == group.blockBitmapChecksum, "the checksum of the block bitmap of group \(index) is wrong")
        let padded = Scratch(count: ImageReader.blockSize)
        padded.base.copyMemory(from: expected, byteCount: ImageReader.blockSize)
        padded.base.setBits(size..<(8 * ImageReader.blockSize))
        expect(
            padded.bytes.elementsEqual(bitmap.bytes), "the block bitmap of group \(index) differs from what is in use")
        return UInt64(free)
    }

    // MARK: - Free blocks

    /// What nobody owns reads as zeros: nothing that was deleted is left to be found.
    func checkFreeBlocks() throws(EXT4Error) {
        var run: UInt64?
        let end = reader.information.blockCount
        var block: UInt64 = 0
        while block < end {
            let word = owned.base.load(fromByteOffset: Int(block / 64) * 8, as: UInt64.self)
            // Sixty-four blocks of one kind need no closer look.
            if block % 64 == 0, block + 64 <= end, word == (run == nil ? ~0 : 0) {
                block += 64
                continue
            }
            let isFree = UInt64(littleEndian: word) >> (block % 64) & 1 == 0
            if isFree, run == nil {
                run = block
            } else if !isFree, let start = run {
                run = nil
                try checkZero(start..<block)
            }
            block += 1
        }
        if let run { try checkZero(run..<end) }
    }

    private func checkZero(_ blocks: Range<UInt64>) throws(EXT4Error) {
        var offset = blocks.lowerBound * Geometry.blockSize
        let end = blocks.upperBound * Geometry.blockSize
        while let next = reader.nextData(from: offset), next < end {
            let start = next / Geometry.blockSize * Geometry.blockSize
            let count = Int(min(end - start, 1 << 20))
            let bytes = try ImageReader.read(reader.descriptor, at: start, count: count)
            if bytes.bytes.contains(where: { $0 != 0 }) {
                note("free blocks from \(start / Geometry.blockSize) on do not read as zeros")
                return
            }
            offset = start + UInt64(count)
        }
    }
}
