extension Verifier {
    func checkDirectories() throws(EXT4Error) {
        for number in directories where !unreadable.contains(number.rawValue) {
            try attempt { () throws(EXT4Error) in
                let directory = try self.reader.inode(number)
                let physical = try self.checkEntries(of: directory)
                if directory.flags & InodeField.flagIndex != 0 {
                    try self.checkTree(directory, physical)
                }
            }
        }
    }

    /// Looks at all entries; returns where the blocks are.
    private func checkEntries(of directory: Inode) throws(EXT4Error) -> [UInt64] {
        var physical: [UInt64] = []
        var seen: Set<[UInt8]> = []
        let isIndexed = directory.flags & InodeField.flagIndex != 0
        let tail = ImageReader.blockSize - DirectoryWriter.tailSize
        try reader.forEachBlock(of: directory) { index, number, block throws(EXT4Error) in
            physical.append(number)
            let isIndex = try self.reader.isIndexBlock(block, index: index, of: directory)
            if isIndex, index > 0 { return }
            if !isIndex { try self.reader.checkLeaf(block, of: directory) }
            // In front of a tree stand "." and ".." alone; the tree itself is no entry.
            let end = isIndexed && index == 0 ? ImageReader.blockSize : tail
            if index == 0 {
                // The names . and .. with zeros behind them.
                let names = try [8, 20].map { offset throws(EXT4Error) in try block.get(UInt32.self, at: offset) }
                self.expect(
                    names == [0x2E, 0x2E2E], "directory \(directory.number.rawValue) does not begin with . and ..")
            }
            var position = 0
            try self.reader.forEachEntry(in: block, end: end, of: directory) { entry, offset throws(EXT4Error) in
                if index == 0, position < 2 {
                    try self.checkDots(entry, position: position, offset: offset, of: directory)
                } else {
                    guard seen.count < ImageReader.maxNames else {
                        throw EXT4Error(
                            .unsupported,
                            "Directory \(directory.number.rawValue) has more than \(ImageReader.maxNames) names")
                    }
                    guard seen.insert(entry.name).inserted else {
                        throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) has a name twice")
                    }
                    self.enter(entry, in: directory)
                }
                position += 1
            }
            if index == 0, position < 2 || (isIndexed && position > 2) {
                throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) does not begin as it should")
            }
        }
        return physical
    }

    private func checkDots(
        _ entry: DirectoryEntry, position: Int, offset: Int, of directory: Inode
    ) throws(EXT4Error) {
        let name = [UInt8](repeating: UInt8(ascii: "."), count: position + 1)
        guard entry.name == name, offset == 12 * position, entry.type == FileType.directory.rawValue,
            position == 1 || entry.inode == directory.number
        else {
            throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) does not begin with . and ..")
        }
        if position == 1 { dotDots[directory.number.rawValue] = entry.inode.rawValue }
    }

    private func enter(_ entry: DirectoryEntry, in directory: Inode) {
        let child = entry.inode.rawValue
        let parent = directory.number.rawValue
        guard entry.name != [0x2E], entry.name != [0x2E, 0x2E] else {
            note("directory \(parent) has . or .. in a wrong place")
            return
        }
        guard let record = inodes[child] else {
            note("directory \(parent) names inode \(child), which is not in use")
            return
        }
        expect(record.type.rawValue == entry.type, "directory \(parent) names inode \(child) as what it is not")
        inodes[child]?.names &+= 1
        guard entry.type == FileType.directory.rawValue else { return }
        expect(
            parents[child] == nil && child != InodeNumber.root.rawValue, "directory \(child) has more than one name")
        parents[child] = parent
        subdirectories[parent, default: 0] += 1
    }

    // MARK: - Hash trees

    /// Every block is reached once, and a leaf has no name whose hash leads elsewhere.
    private func checkTree(_ directory: Inode, _ physical: [UInt64]) throws(EXT4Error) {
        let root = try reader.readBlock(physical[0])
        guard try root.get(UInt8.self, at: 28) == DirectoryWriter.hashVersion,
            try root.get(UInt8.self, at: 29) == 8, try root.get(UInt32.self, at: 24) == 0
        else {
            throw EXT4Error(.corrupt, "The hash tree of directory \(directory.number.rawValue) is of an unknown kind")
        }
        let levels = try root.get(UInt8.self, at: 30)
        guard levels <= 1 else {
            throw EXT4Error(.corrupt, "The hash tree of directory \(directory.number.rawValue) has too many levels")
        }
        var reached = Set([0])
        try walk(
            root, at: 32, limit: HashTreeShape.rootLimit, levels: Int(levels), from: 0, to: nil, directory, physical,
            &reached)
        expect(
            reached.count == physical.count, "the hash tree of directory \(directory.number.rawValue) lacks blocks")
    }

    private func walk(
        _ block: ByteView, at offset: Int, limit: Int, levels: Int, from low: UInt32, to high: UInt32?,
        _ directory: Inode, _ physical: [UInt64], _ reached: inout Set<Int>
    ) throws(EXT4Error) {
        let damaged = EXT4Error(.corrupt, "The hash tree of directory \(directory.number.rawValue) is damaged")
        let count = Int(try block.get(UInt16.self, at: offset + 2))
        guard Int(try block.get(UInt16.self, at: offset)) == limit, count >= 1, count <= limit else { throw damaged }
        var checksum = try block.checksum(0..<(offset + 8 * count), seed: directory.seed)
        let tail = try block.slice((offset + 8 * limit)..<(offset + 8 * limit + 4))
        checksum = try ByteView(tail + [0, 0, 0, 0]).checksum(0..<8, seed: checksum)
        guard try block.get(UInt32.self, at: offset + 8 * limit + 4) == checksum else {
            throw EXT4Error(
                .corrupt, "The checksum of a node of directory \(directory.number.rawValue)'s hash tree is wrong")
        }
        for index in 0..<count {
            let record = offset + 8 * index
            let start = index == 0 ? low : try block.get(UInt32.self, at: record)
            let end = index + 1 < count ? try block.get(UInt32.self, at: record + 8) : high
            let child = Int(try block.get(UInt32.self, at: record + 4) & 0x0FFF_FFFF)
            guard start >= low, end.map({ $0 >= start }) ?? true, child < physical.count,
                reached.insert(child).inserted
            else { throw damaged }
            let below = try reader.readBlock(physical[child])
            guard try reader.isIndexBlock(below, index: UInt64(child), of: directory) == (levels > 0) else {
                throw damaged
            }
            if levels > 0 {
                try walk(
                    below, at: 8, limit: HashTreeShape.nodeLimit, levels: levels - 1, from: start, to: end, directory,
                    physical, &reached)
            } else {
                try checkHashes(below, from: start, to: end, directory)
            }
        }
    }

    /// A lowest bit that is set says that the hash goes on from the leaf before.
    private func checkHashes(
        _ leaf: ByteView, from low: UInt32, to high: UInt32?, _ directory: Inode
    ) throws(EXT4Error) {
        let end = ImageReader.blockSize - DirectoryWriter.tailSize
        try reader.forEachEntry(in: leaf, end: end, of: directory) { entry, _ throws(EXT4Error) in
            let hash = entry.name.withUnsafeBytes { self.reader.hash.hash($0).major }
            let isBelow = high.map { $0 & 1 == 1 ? hash <= $0 : hash < $0 } ?? true
            guard hash >= low & ~1, isBelow else {
                throw EXT4Error(
                    .corrupt, "A name in directory \(directory.number.rawValue) cannot be found by its hash")
            }
        }
    }

    // MARK: - Links

    func checkLinks() {
        for (number, record) in inodes.sorted(by: { $0.key < $1.key }) {
            if record.type == .directory {
                let wanted = 2 + (subdirectories[number] ?? 0)
                // 1 is for directories that once had more than can be counted.
                expect(
                    Int(record.links) == wanted || record.links == 1,
                    "directory \(number) counts \(record.links) links and has \(wanted)")
            } else {
                expect(
                    UInt32(record.links) == record.names && record.names > 0,
                    "inode \(number) counts \(record.links) links and has \(record.names)")
            }
        }
    }

    /// From each directory ".." and its names lead to the root.
    func checkReachability() {
        let root = InodeNumber.root.rawValue
        var reached: Set<UInt32> = [root]
        expect(dotDots[root] == root, "the root directory is not its own parent")
        for number in directories where number != .root {
            expect(
                parents[number.rawValue] == dotDots[number.rawValue],
                "directory \(number.rawValue) names a parent that does not name it")
            var path: [UInt32] = []
            var current = number.rawValue
            while !reached.contains(current), path.count <= directories.count, let parent = parents[current] {
                path.append(current)
                current = parent
            }
            guard reached.contains(current) else {
                note("directory \(number.rawValue) is not below the root")
                continue
            }
            reached.formUnion(path)
        }
    }
}
