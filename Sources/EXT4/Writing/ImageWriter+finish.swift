/// The end: directories behind the data, and then all that makes a file system of it.
extension ImageWriter {
    /// Writes all that is missing and sets the file's size. Nothing is fsynced. Afterwards nothing can be added.
    ///
    /// - Throws: `.invalidTree` and `.duplicateName` for trees that are none, `.sizeTooSmall` with the size that would
    ///   hold the content.
    package func finish() throws(EXT4Error) -> Summary {
        try requireUnfinished()
        guard !isFileOpen else {
            throw EXT4Error(.misuse, "A file is still open; end it before the image is finished")
        }
        isFinished = true
        try writeSharedAttributeBlocks()
        try writeDirectories()
        let layout = try chooseLayout()
        try writeJournal(layout)
        try writeResizeInode(layout)
        let groups = try GroupWriter(layout: layout, inodes: inodes, seed: seed, output: output).write()
        let superblock = Superblock(
            format: format, layout: layout, freeInodes: groups.freeInodes, journal: inodes[.journal],
            hasValueInodes: hasValueInodes)
        let size = format.size ?? layout.geometry.blockCount * Geometry.blockSize
        try output.setSize(size)
        try writeCopies(superblock, descriptors: groups.descriptors, geometry: layout.geometry)
        return Summary(
            blockCount: layout.geometry.blockCount, freeBlocks: layout.free.count,
            inodeCount: UInt32(layout.geometry.inodeCount),
            usedInodes: UInt32(layout.geometry.inodeCount - groups.freeInodes), imageSize: size)
    }

    private func chooseLayout() throws(EXT4Error) -> Layout {
        let used = UInt32(inodes.count)
        let tooLarge = EXT4Error(.tooLarge, "The content does not fit into the largest image, 8 TiB")
        guard let size = format.size else {
            guard let layout = Layout.smallest(space: space, usedInodes: used) else { throw tooLarge }
            return layout
        }
        if let layout = Layout.ofSize(size, space: space, usedInodes: used) {
            return layout
        }
        guard let needed = Layout.neededSize(space: space, usedInodes: used) else { throw tooLarge }
        throw EXT4Error(
            .sizeTooSmall(needed: needed),
            "The content does not fit into an image of \(size) bytes; it takes \(needed)")
    }

    // MARK: - Directories

    private func writeDirectories() throws(EXT4Error) {
        guard hasRoot else {
            throw EXT4Error(.invalidTree, "The image has no root directory; it is the first inode to be added")
        }
        try addLostAndFound()
        try checkTree()
        let (order, starts) = entries.byParent(inodeCount: inodes.count)
        let writer = DirectoryWriter(
            list: entries, inodes: inodes, hashSeed: format.hashSeed, seed: seed, output: output)
        for index in 1...inodes.count {
            let number = InodeNumber(UInt32(index))
            guard inodes.type(of: number) == .directory else { continue }
            let result = try writer.write(
                number, parent: InodeNumber(parents[index - 1]),
                positions: order[Int(starts[index])..<Int(starts[index + 1])], space: &space)
            let attributeBlocks = inodes.blocks(of: number)
            let blocks = try write(result.data, of: number)
            inodes.setBlocks(attributeBlocks + blocks, of: number)
            if result.isIndexed {
                inodes[number].put(InodeField.flagExtents | InodeField.flagIndex, at: InodeField.flags)
            }
            // dir_nlink: 1 stands for "more than can be counted".
            let links = 2 + result.subdirectories
            inodes[number].put(links > Int(ImageWriter.maxLinks) ? 1 : UInt16(links), at: InodeField.linksCount)
        }
    }

    /// e2fsck needs a place for what it finds; where the caller brought none it is inode 11.
    private func addLostAndFound() throws(EXT4Error) {
        let name = Array("lost+found".utf8)
        for entry in entries.entries where entry.parent == .root && entries.name(of: entry).elementsEqual(name) {
            guard inodes.type(of: entry.child) == .directory else {
                throw EXT4Error(.invalidTree, "/lost+found must be a directory, e2fsck puts into it what it finds")
            }
            return
        }
        inodes.setAttributes(
            mode: 0o040700, uid: 0, gid: 0, time: Timestamp(seconds: format.timestamp), of: .lostAndFound)
        try entries.append(parent: .root, name: name, child: .lostAndFound)
        parents[Int(InodeNumber.lostAndFound.rawValue) - 1] = InodeNumber.root.rawValue
    }

    /// Every inode has a name, and every directory is below the root.
    private func checkTree() throws(EXT4Error) {
        let root = InodeNumber.root.rawValue
        var reached = [Bool](repeating: false, count: inodes.count + 1)
        reached[Int(root)] = true
        var path: [UInt32] = []
        for index in Int(InodeNumber.firstOfContent.rawValue)..<max(inodes.count + 1, 12) {
            let number = InodeNumber(UInt32(index))
            let isDirectory = inodes.type(of: number) == .directory
            let links = inodes[number].get(UInt16.self, at: InodeField.linksCount)
            guard isDirectory ? parents[index - 1] != 0 : links > 0 else {
                throw EXT4Error(.invalidTree, "Inode \(index) has no name: no entry was added for it")
            }
            guard isDirectory else { continue }
            var current = number.rawValue
            while !reached[Int(current)] {
                path.append(current)
                current = parents[Int(current) - 1]
                guard current != 0, path.count <= inodes.count, current != number.rawValue else {
                    throw EXT4Error(.invalidTree, "The directory with inode \(index) is not below the root")
                }
            }
            for reachedNow in path { reached[Int(reachedNow)] = true }
            path.removeAll(keepingCapacity: true)
        }
    }

    // MARK: - Inodes of the file system's own

    /// The journal is a hole but for its superblock: nothing that is in it is ever read.
    private func writeJournal(_ layout: Layout) throws(EXT4Error) {
        setOwn(.journal)
        let node = layout.journalNode
        let nodes = try ExtentTree.write(
            layout.journal, root: inodes[.journal] + InodeField.block,
            seed: Checksum.seed(seed, inode: .journal), node: block, output: output
        ) { () throws(EXT4Error) in
            guard let node else {
                throw EXT4Error(.tooLarge, "The journal lies in too many pieces")
            }
            return node
        }
        inodes[.journal].put(InodeField.flagExtents, at: InodeField.flags)
        inodes.setSize(layout.journal.size, of: .journal)
        inodes.setBlocks(layout.journal.blockCount + nodes, of: .journal)
        // jbd2's superblock, version 2 (kernel documentation, "ext4: Journal"). The log is empty: it starts at 0.
        block.clear()
        block.base.putBigEndian(0xC03B_3998, at: 0x00)
        block.base.putBigEndian(4, at: 0x04)
        block.base.putBigEndian(UInt32(Geometry.blockSize), at: 0x0C)
        block.base.putBigEndian(UInt32(layout.journal.blockCount), at: 0x10)
        block.base.putBigEndian(1, at: 0x14)
        block.base.putBigEndian(1, at: 0x18)
        block.base.putBigEndian(1, at: 0x40)
        try output.write(block, at: (layout.journal.first?.physical ?? 0) * Geometry.blockSize)
    }

    /// The resize inode owns the reserved descriptor blocks: its double-indirect block names those of group 0, and each
    /// of them names its copies in the backup groups.
    private func writeResizeInode(_ layout: Layout) throws(EXT4Error) {
        let geometry = layout.geometry
        let addresses: UInt64 = 1024
        setOwn(.resize)
        inodes.setSize((addresses * addresses + addresses + 12) * Geometry.blockSize, of: .resize)
        inodes[.resize].put(UInt32(layout.resizeBlock), at: InodeField.block + 13 * 4)
        var backups: [UInt64] = []
        var group = Geometry.nextBackup(after: 0)
        while group < geometry.groupCount {
            backups.append(group)
            group = Geometry.nextBackup(after: group)
        }
        inodes.setBlocks(1 + geometry.reservedBlocks * UInt64(1 + backups.count), of: .resize)
        let reserved = (1 + geometry.descriptorBlocks)..<(1 + geometry.descriptorBlocks + geometry.reservedBlocks)
        block.clear()
        for primary in reserved {
            block.base.put(UInt32(primary), at: Int((primary - 1) % addresses) * 4)
        }
        try output.write(block, at: layout.resizeBlock * Geometry.blockSize)
        guard !backups.isEmpty else { return }
        block.clear()
        for primary in reserved {
            for (index, group) in backups.enumerated() {
                block.base.put(UInt32(primary + group * Geometry.blocksPerGroup), at: index * 4)
            }
            try output.write(block, at: primary * Geometry.blockSize)
        }
    }

    private func setOwn(_ number: InodeNumber) {
        inodes.setAttributes(
            mode: 0o100600, uid: 0, gid: 0, time: Timestamp(seconds: format.timestamp), of: number)
        inodes[number].put(UInt16(1), at: InodeField.linksCount)
    }

    // MARK: - Superblock and descriptors

    /// The backups first, the primary superblock last: without it there is no file system.
    private func writeCopies(
        _ superblock: Superblock, descriptors: Scratch, geometry: Geometry
    ) throws(EXT4Error) {
        var group = Geometry.nextBackup(after: 0)
        while group < geometry.groupCount {
            let start = group * Geometry.blocksPerGroup * Geometry.blockSize
            superblock.write(to: block.base, group: group)
            try output.write(
                UnsafeRawBufferPointer(start: block.base, count: Superblock.size), at: start)
            try output.write(descriptors, at: start + Geometry.blockSize)
            group = Geometry.nextBackup(after: group)
        }
        try output.write(descriptors, at: Geometry.blockSize)
        try output.flush()
        superblock.write(to: block.base, group: 0)
        try output.write(
            UnsafeRawBufferPointer(start: block.base, count: Superblock.size), at: UInt64(Superblock.size))
        try output.flush()
    }
}
