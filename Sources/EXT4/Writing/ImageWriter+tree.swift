/// The metadata phase: inodes and names, in the order of the caller's walk.
extension ImageWriter {
    static let maxLinks: UInt16 = 65000

    /// Adds an inode; the first one is the root directory. Numbers ascend in the order of the calls.
    ///
    /// - Throws: `.invalidAttributes` or `.invalidExtendedAttribute` for what ext4 cannot express.
    package func addInode(_ attributes: Attributes, _ content: Content) throws(EXT4Error) -> InodeNumber {
        try requireUnfinished()
        guard !isFileOpen else {
            throw EXT4Error(.misuse, "A file is still open; end it before an inode is added")
        }
        try check(attributes, content)
        var encoder = attributes.xattrs.isEmpty ? nil : try XattrEncoder(attributes.xattrs)
        let number = try nextNumber(content)
        inodes.setAttributes(
            mode: attributes.mode, uid: attributes.uid, gid: attributes.gid, time: attributes.modified, of: number)
        var blocks = try write(content, of: number)
        try encoder?.placeValues { value throws(EXT4Error) in
            // They count as the owner's, too: a quota would make it pay for them.
            blocks += UInt64(value.count).dividedRoundingUp(by: Geometry.blockSize)
            return try self.storeValue(value)
        }
        if let encoder {
            blocks += try write(encoder, of: number)
        }
        inodes.setBlocks(blocks, of: number)
        return number
    }

    /// Names an inode in a directory. A second name is a hard link, of which there can be 65,000; a directory has one.
    ///
    /// - Throws: `.invalidName`, `.tooManyLinks`, `.invalidTree`. That a name is twice in one directory is found by
    ///   ``finish()``.
    package func addEntry(parent: InodeNumber, name: [UInt8], child: InodeNumber) throws(EXT4Error) {
        try requireUnfinished()
        guard inodes.contains(parent), inodes.contains(child), inodes.type(of: parent) == .directory,
            let type = inodes.type(of: child), child != .root
        else {
            throw EXT4Error(
                .invalidTree,
                "Cannot name inode \(child.rawValue) in inode \(parent.rawValue): the one must exist and not be the root, "
                    + "the other must be a directory")
        }
        let inode = inodes[child]
        let links = inode.get(UInt16.self, at: InodeField.linksCount)
        if type == .directory {
            guard parents[Int(child.rawValue) - 1] == 0 else {
                throw EXT4Error(.tooManyLinks, "A directory can have one name; inode \(child.rawValue) has one already")
            }
            try entries.append(parent: parent, name: name, child: child)
            parents[Int(child.rawValue) - 1] = parent.rawValue
        } else {
            guard links < ImageWriter.maxLinks else {
                throw EXT4Error(
                    .tooManyLinks,
                    "A file can have \(ImageWriter.maxLinks) names; inode \(child.rawValue) would have more")
            }
            try entries.append(parent: parent, name: name, child: child)
            inode.put(links + 1, at: InodeField.linksCount)
        }
    }

    private func nextNumber(_ content: Content) throws(EXT4Error) -> InodeNumber {
        if !hasRoot {
            guard case .directory = content else {
                throw EXT4Error(.invalidTree, "The first inode of an image is its root and must be a directory")
            }
            hasRoot = true
            parents[Int(InodeNumber.root.rawValue) - 1] = InodeNumber.root.rawValue
            return .root
        }
        let number = try inodes.add()
        parents.append(0)
        return number
    }

    private func check(_ attributes: Attributes, _ content: Content) throws(EXT4Error) {
        let type: FileType =
            switch content {
            case .file: .file
            case .directory: .directory
            case .symlink: .symlink
            case .characterDevice: .characterDevice
            case .blockDevice: .blockDevice
            case .fifo: .fifo
            case .socket: .socket
            }
        guard FileType(mode: attributes.mode) == type else {
            throw EXT4Error(
                .invalidAttributes, "The mode 0\(String(attributes.mode, radix: 8)) is not the one of a \(type)")
        }
        guard attributes.modified.nanoseconds < 1_000_000_000 else {
            throw EXT4Error(
                .invalidAttributes, "A time has \(attributes.modified.nanoseconds) nanoseconds in its second")
        }
        switch content {
        case .symlink(let target):
            guard (1..<Int(Geometry.blockSize)).contains(target.count), !target.contains(0) else {
                throw EXT4Error(
                    .invalidAttributes,
                    "A symlink's target has \(target.count) bytes; 1 to 4095 without a zero byte are possible")
            }
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            guard major < 1 << 12, minor < 1 << 20 else {
                throw EXT4Error(
                    .invalidAttributes, "The device number \(major):\(minor) is past Linux's 4095:1048575")
            }
        case .file, .directory, .fifo, .socket: break
        }
    }

    /// Puts what is special to the type into the inode; returns how many blocks it takes.
    private func write(_ content: Content, of number: InodeNumber) throws(EXT4Error) -> UInt64 {
        let inode = inodes[number]
        switch content {
        case .file(let data): return try write(data, of: number)
        case .directory: return 0
        case .symlink(let target): return try writeSymlink(target, of: number)
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            // Small numbers in the form of 16 bits, all others in the one of 32 in the word behind.
            if major < 256, minor < 256 {
                inode.put(major << 8 | minor, at: InodeField.block)
            } else {
                inode.put(minor & 0xFF | major << 8 | (minor & ~0xFF) << 12, at: InodeField.block + 4)
            }
            return 0
        case .fifo, .socket: return 0
        }
    }

    /// Puts a file's size and its extent tree into an inode; returns how many blocks both take.
    func write(_ data: FileData, of number: InodeNumber) throws(EXT4Error) -> UInt64 {
        inodes.setSize(data.size, of: number)
        inodes[number].put(InodeField.flagExtents, at: InodeField.flags)
        let nodes = try ExtentTree.write(
            data, root: inodes[number] + InodeField.block, seed: Checksum.seed(seed, inode: number), node: block,
            output: output
        ) { () throws(EXT4Error) in try space.take() }
        return data.blockCount + nodes
    }

    /// A target that fits stands in the inode itself, where a file has its extents.
    private func writeSymlink(_ target: [UInt8], of number: InodeNumber) throws(EXT4Error) -> UInt64 {
        if target.count < InodeField.blockSize {
            inodes[number].put(target, at: InodeField.block)
            inodes.setSize(UInt64(target.count), of: number)
            return 0
        }
        var data = try space.takeFile(blocks: 1)
        data.size = UInt64(target.count)
        block.clear()
        block.base.put(target, at: 0)
        try output.write(block, at: (data.first?.physical ?? 0) * Geometry.blockSize)
        return try write(data, of: number)
    }

    /// Gives an extended attribute's value an inode of its own, which has no name (kernel documentation, "ext4:
    /// Extended Attributes", and the feature ea_inode of mke2fs).
    private func storeValue(_ value: [UInt8]) throws(EXT4Error) -> XattrEncoder.ValueInode {
        hasValueInodes = true
        let number = try inodes.add()
        parents.append(0)
        var data = try space.takeFile(blocks: UInt64(value.count).dividedRoundingUp(by: Geometry.blockSize))
        data.size = UInt64(value.count)
        var cursor = BlockCursor(data)
        for start in stride(from: 0, to: value.count, by: Int(Geometry.blockSize)) {
            block.clear()
            block.base.put(value[start..<min(start + Int(Geometry.blockSize), value.count)], at: 0)
            try output.write(block, at: cursor.next())
        }
        inodes.setAttributes(mode: 0o100600, uid: 0, gid: 0, time: Timestamp(seconds: 0), of: number)
        inodes.setBlocks(try write(data, of: number), of: number)
        let hash = value.withUnsafeBytes { Checksum.continued(seed, $0) }
        let inode = inodes[number]
        inode.put(InodeField.flagExtents | InodeField.flagValue, at: InodeField.flags)
        inode.put(UInt16(1), at: InodeField.linksCount)
        inode.put(UInt32(1), at: InodeField.version)
        inode.put(hash, at: InodeField.accessTime)
        return XattrEncoder.ValueInode(number: number, hash: hash)
    }

    /// Puts extended attributes into the inode and a block; returns how many blocks that takes.
    private func write(_ encoder: XattrEncoder, of number: InodeNumber) throws(EXT4Error) -> UInt64 {
        block.clear()
        if encoder.hasTail {
            encoder.writeTail(block.base)
            inodes.setTail(UnsafeRawBufferPointer(start: block.base, count: InodeStore.tailSize), of: number)
            block.clear()
        }
        guard encoder.hasBlock else { return 0 }
        encoder.writeBlock(block.base)
        let bytes = Array(block.bytes)
        let blockNumber: UInt64
        if let known = attributeBlocks[bytes], known.references < ImageWriter.maxReferences {
            blockNumber = known.number
            attributeBlocks[bytes] = AttributeBlock(number: blockNumber, references: known.references + 1)
        } else {
            blockNumber = try space.take()
            XattrEncoder.putChecksum(block.base, number: blockNumber, seed: seed)
            try output.write(block, at: blockNumber * Geometry.blockSize)
            try remember(bytes, AttributeBlock(number: blockNumber, references: 1))
        }
        inodes[number].put(UInt32(truncatingIfNeeded: blockNumber), at: InodeField.fileACLLow)
        inodes[number].put(UInt16(truncatingIfNeeded: blockNumber >> 32), at: InodeField.fileACLHigh)
        return 1
    }

    /// The kernel shares a block among that many inodes and no more.
    private static let maxReferences: UInt32 = 1024
    /// 4 MiB of blocks are remembered to be shared; past that the search begins anew.
    private static let maxRemembered = 1024

    private func remember(_ bytes: [UInt8], _ new: AttributeBlock) throws(EXT4Error) {
        if let full = attributeBlocks[bytes] {
            try writeReferences(bytes, full)
        }
        attributeBlocks[bytes] = new
        if attributeBlocks.count > ImageWriter.maxRemembered {
            try writeSharedAttributeBlocks()
        }
    }

    /// Writes the blocks again that more than one inode has, now with the right count, in the order of their numbers.
    func writeSharedAttributeBlocks() throws(EXT4Error) {
        for (bytes, shared) in attributeBlocks.sorted(by: { $0.value.number < $1.value.number }) {
            try writeReferences(bytes, shared)
        }
        attributeBlocks.removeAll()
    }

    private func writeReferences(_ bytes: [UInt8], _ shared: AttributeBlock) throws(EXT4Error) {
        guard shared.references > 1 else { return }
        block.base.put(bytes, at: 0)
        block.base.put(shared.references, at: XattrEncoder.referencesOffset)
        XattrEncoder.putChecksum(block.base, number: shared.number, seed: seed)
        try output.write(block, at: shared.number * Geometry.blockSize)
    }
}
