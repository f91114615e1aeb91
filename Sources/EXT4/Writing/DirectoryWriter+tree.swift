/// The shape of a hash tree: pure arithmetic.
struct HashTreeShape: Equatable {
    /// The root has "." and ".." and eight bytes of its own in front; both kinds end with an eight-byte checksum.
    static let rootLimit = 507
    static let nodeLimit = 510

    let leaves: Int
    /// Nodes between the root and the leaves; none where the root is enough.
    let nodes: Int

    /// Nil where two levels are not enough; a third one takes the feature largedir.
    init?(leaves: Int) {
        self.leaves = leaves
        nodes = leaves <= HashTreeShape.rootLimit ? 0 : (leaves + HashTreeShape.nodeLimit - 1) / HashTreeShape.nodeLimit
        guard nodes <= HashTreeShape.rootLimit else { return nil }
    }

    var blocks: Int { 1 + nodes + leaves }
}

extension DirectoryWriter {
    private struct Leaf {
        /// Of the first entry, with the lowest bit set where the leaf before ends with the same hash.
        let hash: UInt32
        /// In `sorted`.
        let first: Int
    }

    /// half_md4; that names are unsigned bytes is a flag in the superblock.
    static let hashVersion: UInt8 = 1

    /// Writes `sorted` as root, nodes and leaves, in this order.
    func writeTree(
        _ number: InodeNumber, parent: InodeNumber, space: inout Space
    ) throws(EXT4Error) -> FileData {
        let leaves = cutIntoLeaves()
        guard let shape = HashTreeShape(leaves: leaves.count) else {
            throw EXT4Error(
                .tooLarge,
                "A directory of \(sorted.count) names takes \(leaves.count) blocks, more than a hash tree of two levels has"
            )
        }
        let data = try space.takeFile(blocks: UInt64(shape.blocks))
        var target = BlockCursor(data)
        block.clear()
        putDotsOfRoot(number, parent: parent)
        block.base.put(DirectoryWriter.hashVersion, at: 24 + 4)
        block.base.put(UInt8(8), at: 24 + 5)
        block.base.put(UInt8(shape.nodes == 0 ? 0 : 1), at: 24 + 6)
        if shape.nodes == 0 {
            putIndex(leaves[...], firstBlock: 1, at: 32, limit: HashTreeShape.rootLimit)
        } else {
            let starts = stride(from: 0, to: leaves.count, by: HashTreeShape.nodeLimit).map { leaves[$0] }
            putIndex(starts[...], firstBlock: 1, at: 32, limit: HashTreeShape.rootLimit)
        }
        try output.write(block, at: target.next())
        if shape.nodes > 0 {
            for start in stride(from: 0, to: leaves.count, by: HashTreeShape.nodeLimit) {
                let part = leaves[start..<min(start + HashTreeShape.nodeLimit, leaves.count)]
                block.clear()
                // An unused entry that takes up the block hides it from what knows no hash trees.
                block.base.put(UInt16(DirectoryWriter.blockSize), at: 4)
                putIndex(part, firstBlock: 1 + shape.nodes + start, at: 8, limit: HashTreeShape.nodeLimit)
                try output.write(block, at: target.next())
            }
        }
        for (index, leaf) in leaves.enumerated() {
            let end = index + 1 < leaves.count ? leaves[index + 1].first : sorted.count
            try writeLeaf(leaf.first..<end, at: target.next())
        }
        return data
    }

    private func cutIntoLeaves() -> [Leaf] {
        var leaves: [Leaf] = []
        var used = DirectoryWriter.leafRoom
        for (index, entry) in sorted.enumerated() {
            let name = list.name(of: list.entries[Int(entry.position)])
            let size = DirectoryWriter.recordSize(nameCount: name.count)
            if used + size > DirectoryWriter.leafRoom {
                let continues = index > 0 && sorted[index - 1].hash.major == entry.hash.major
                leaves.append(Leaf(hash: entry.hash.major | (continues ? 1 : 0), first: index))
                used = 0
            }
            used += size
        }
        return leaves
    }

    private func writeLeaf(_ range: Range<Int>, at offset: UInt64) throws(EXT4Error) {
        block.clear()
        var next = 0
        var last = 0
        for index in range {
            last = next
            next += put(list.entries[Int(sorted[index].position)], at: next)
        }
        finishLeaf(lastRecord: last)
        try output.write(block, at: offset)
    }

    /// Puts hash and block of each child; the first one's hash is implied and its place taken by limit and count.
    private func putIndex(_ children: ArraySlice<Leaf>, firstBlock: Int, at offset: Int, limit: Int) {
        for (index, child) in children.enumerated() {
            block.base.put(child.hash, at: offset + 8 * index)
            block.base.put(UInt32(firstBlock + index), at: offset + 8 * index + 4)
        }
        block.base.put(UInt16(limit), at: offset)
        block.base.put(UInt16(children.count), at: offset + 2)
        // The checksum covers what is in use, and its own record with a zero in its place.
        var sum = Checksum(inodeSeed)
        sum.update(block.base, offset + 8 * children.count)
        sum.update(UInt64(0))
        block.base.put(sum.value, at: offset + 8 * limit + 4)
    }
}

/// Walks the blocks of a file in order.
struct BlockCursor {
    private let data: FileData
    private var extent = -1
    private var current: Extent

    init(_ data: FileData) {
        self.data = data
        current = data.first ?? Extent(logical: 0, physical: 0, count: 0)
    }

    /// The byte offset in the image of the next block. There must be one.
    mutating func next() -> UInt64 {
        if current.count == 0 {
            extent += 1
            current = data.rest[extent]
        }
        defer {
            current.physical += 1
            current.count -= 1
        }
        return current.physical * Geometry.blockSize
    }
}
