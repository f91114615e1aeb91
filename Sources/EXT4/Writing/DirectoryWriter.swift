/// Writes the blocks of directories (kernel documentation, "ext4: Directory Entries"): a list where one block is
/// enough, otherwise a tree ordered by the hash of the names, since Linux never makes one of a list that is longer.
final class DirectoryWriter {
    struct Result {
        var data: FileData
        var isIndexed: Bool
        var subdirectories: Int
    }

    static let blockSize = Int(Geometry.blockSize)
    /// At the end of each leaf a record that looks like a deleted entry carries the checksum.
    static let tailSize = 12
    static let leafRoom = blockSize - tailSize
    /// "." and ".." take 12 bytes each.
    static let dotsSize = 24
    static let lostAndFoundBlocks: UInt64 = 4

    struct HashedEntry {
        let hash: DirectoryHash.Value
        let position: UInt32
    }

    let list: EntryList
    let inodes: InodeStore
    private let hash: DirectoryHash
    let seed: UInt32
    let output: BlockOutput
    let block = Scratch(count: DirectoryWriter.blockSize)
    /// The entries of the directory at hand in the order of their hashes; kept for its memory.
    var sorted: [HashedEntry] = []
    /// The inode's own seed for checksums.
    var inodeSeed: UInt32 = 0

    init(list: EntryList, inodes: InodeStore, hashSeed: [UInt8], seed: UInt32, output: BlockOutput) {
        self.list = list
        self.inodes = inodes
        self.hash = DirectoryHash(seed: hashSeed)
        self.seed = seed
        self.output = output
    }

    static func recordSize(nameCount: Int) -> Int {
        (8 + nameCount + 3) & ~3
    }

    func write(
        _ number: InodeNumber, parent: InodeNumber, positions: ArraySlice<UInt32>, space: inout Space
    ) throws(EXT4Error) -> Result {
        inodeSeed = Checksum.seed(seed, inode: number)
        var bytes = DirectoryWriter.dotsSize
        var subdirectories = 0
        sorted.removeAll(keepingCapacity: true)
        for position in positions {
            let entry = list.entries[Int(position)]
            let name = list.name(of: entry)
            bytes += DirectoryWriter.recordSize(nameCount: name.count)
            if inodes.type(of: entry.child) == .directory { subdirectories += 1 }
            sorted.append(HashedEntry(hash: hash.hash(name), position: position))
        }
        try sort()
        if bytes <= DirectoryWriter.leafRoom {
            let data = try writeList(number, parent: parent, positions: positions, space: &space)
            return Result(data: data, isIndexed: false, subdirectories: subdirectories)
        }
        let data = try writeTree(number, parent: parent, space: &space)
        return Result(data: data, isIndexed: true, subdirectories: subdirectories)
    }

    /// By hash, and what has the same one by name: so that equal names stand side by side.
    private func sort() throws(EXT4Error) {
        sorted.sort { one, other in
            if one.hash != other.hash { return one.hash < other.hash }
            return compareBytes(name(one), name(other)) < 0
        }
        for index in sorted.indices.dropFirst() where sorted[index].hash == sorted[index - 1].hash {
            let name = name(sorted[index])
            guard compareBytes(name, self.name(sorted[index - 1])) != 0 else {
                let text = String(decoding: name, as: UTF8.self)
                throw EXT4Error(.duplicateName, "Two entries of one directory have the name \"\(text)\"")
            }
        }
    }

    private func name(_ entry: HashedEntry) -> UnsafeRawBufferPointer {
        list.name(of: list.entries[Int(entry.position)])
    }

    private func writeList(
        _ number: InodeNumber, parent: InodeNumber, positions: ArraySlice<UInt32>, space: inout Space
    ) throws(EXT4Error) -> FileData {
        var data = try space.takeFile(blocks: 1)
        if number == .lostAndFound, positions.isEmpty {
            data = try addEmptyBlocks(after: data, space: &space)
        }
        block.clear()
        var offset = putDots(number, parent: parent)
        var last = DirectoryWriter.dotsSize / 2
        for position in positions {
            last = offset
            offset += put(list.entries[Int(position)], at: offset)
        }
        finishLeaf(lastRecord: last)
        try output.write(block, at: (data.first?.physical ?? 0) * Geometry.blockSize)
        return data
    }

    /// `/lost+found` has room before anything is lost, as e2fsck may find no free block when it needs one.
    private func addEmptyBlocks(after first: FileData, space: inout Space) throws(EXT4Error) -> FileData {
        var data = first
        block.clear()
        finishLeaf(lastRecord: 0)
        for logical in 1..<DirectoryWriter.lostAndFoundBlocks {
            let physical = try space.take()
            try output.write(block, at: physical * Geometry.blockSize)
            data.append(Extent(logical: logical, physical: physical, count: 1))
        }
        data.size = DirectoryWriter.lostAndFoundBlocks * Geometry.blockSize
        return data
    }

    /// "." and ".." at the start of the block; returns where the next record goes.
    private func putDots(_ number: InodeNumber, parent: InodeNumber) -> Int {
        let dot = UInt8(ascii: ".")
        let half = DirectoryWriter.dotsSize / 2
        putRecord(number, type: .directory, nameCount: 1, at: 0)
        block.base.put(dot, at: 8)
        putRecord(parent, type: .directory, nameCount: 2, at: half)
        block.base.put(dot, at: half + 8)
        block.base.put(dot, at: half + 9)
        return DirectoryWriter.dotsSize
    }

    func putDotsOfRoot(_ number: InodeNumber, parent: InodeNumber) {
        _ = putDots(number, parent: parent)
        // To everything that knows no hash trees the second record takes up the rest of the block.
        block.base.put(UInt16(DirectoryWriter.blockSize - 12), at: 12 + 4)
    }

    /// Puts an entry into the block; returns its size.
    func put(_ entry: EntryList.Entry, at offset: Int) -> Int {
        let name = list.name(of: entry)
        let type = inodes.type(of: entry.child) ?? .file
        putRecord(entry.child, type: type, nameCount: name.count, at: offset)
        UnsafeMutableRawBufferPointer(start: block.base + offset + 8, count: name.count).copyMemory(from: name)
        return DirectoryWriter.recordSize(nameCount: name.count)
    }

    private func putRecord(_ inode: InodeNumber, type: FileType, nameCount: Int, at offset: Int) {
        block.base.put(inode.rawValue, at: offset)
        block.base.put(UInt16(DirectoryWriter.recordSize(nameCount: nameCount)), at: offset + 4)
        block.base.put(UInt8(nameCount), at: offset + 6)
        block.base.put(type.rawValue, at: offset + 7)
    }

    /// Gives the last record all that is left, and adds the checksum's record.
    func finishLeaf(lastRecord: Int) {
        block.base.put(UInt16(DirectoryWriter.leafRoom - lastRecord), at: lastRecord + 4)
        let tail = DirectoryWriter.leafRoom
        block.base.put(UInt16(DirectoryWriter.tailSize), at: tail + 4)
        block.base.put(UInt8(0xDE), at: tail + 7)
        var sum = Checksum(inodeSeed)
        sum.update(block.base, DirectoryWriter.leafRoom)
        block.base.put(sum.value, at: tail + 8)
    }
}
