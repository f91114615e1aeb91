/// Extent trees (kernel documentation, "ext4: The Contents of inode.i_block"): the root with up to four records stands in
/// the inode, nodes of a block hold 340 and a checksum.
enum ExtentTree {
    private static let magic: UInt16 = 0xF30A
    private static let headerSize = 12
    private static let recordSize = 12
    private static let recordsInInode = 4
    private static let recordsInNode = 340
    private static let checksumOffset = headerSize + recordsInNode * recordSize
    /// Longer ones are kept for extents that are allocated and not written yet.
    static let maxExtentBlocks: UInt64 = 32768
    /// Logical block numbers have 32 bits and the last one stands for "none".
    static let maxFileBlocks = UInt64(UInt32.max)

    /// Records on disk; a run longer than one record can say takes several.
    private static func recordCount(_ data: FileData) -> Int {
        var count: UInt64 = 0
        data.forEachExtent { count += $0.count.dividedRoundingUp(by: maxExtentBlocks) }
        return Int(count)
    }

    static func needsNodes(_ data: FileData) -> Bool {
        recordCount(data) > recordsInInode
    }

    /// Writes the 60 bytes of an inode's i_block, and the nodes below it to blocks that `allocate` gives. Returns how
    /// many blocks that were.
    static func write(
        _ data: FileData, root: UnsafeMutableRawPointer, seed: UInt32, node: Scratch, output: BlockOutput,
        allocate: () throws(EXT4Error) -> UInt64
    ) throws(EXT4Error) -> UInt64 {
        let count = recordCount(data)
        if count <= recordsInInode {
            putHeader(root, count: count, max: recordsInInode, depth: 0)
            var offset = headerSize
            forEachRecord(data) { record in
                putExtent(record, root + offset)
                offset += recordSize
            }
            return 0
        }
        var writer = NodeWriter(seed: seed, node: node, output: output)
        var level = try writer.writeLeaves(data, allocate: allocate)
        var depth: UInt16 = 1
        while level.count > recordsInInode {
            level = try writer.writeIndex(level, depth: depth, allocate: allocate)
            depth += 1
        }
        putHeader(root, count: level.count, max: recordsInInode, depth: depth)
        for (index, child) in level.enumerated() {
            putIndex(child, root + headerSize + index * recordSize)
        }
        return writer.nodeCount
    }

    /// A node as its parent names it.
    private struct Child {
        let logical: UInt32
        let block: UInt64
    }

    private struct NodeWriter {
        let seed: UInt32
        let node: Scratch
        let output: BlockOutput
        var nodeCount: UInt64 = 0

        init(seed: UInt32, node: Scratch, output: BlockOutput) {
            self.seed = seed
            self.node = node
            self.output = output
        }

        mutating func writeLeaves(
            _ data: FileData, allocate: () throws(EXT4Error) -> UInt64
        ) throws(EXT4Error) -> [Child] {
            var children: [Child] = []
            var count = 0
            var firstLogical: UInt32 = 0
            node.clear()
            try forEachRecord(data) { record throws(EXT4Error) in
                if count == recordsInNode {
                    children.append(try finish(firstLogical, count: count, depth: 0, allocate: allocate))
                    count = 0
                }
                if count == 0 {
                    firstLogical = UInt32(truncatingIfNeeded: record.logical)
                }
                putExtent(record, node.base + headerSize + count * recordSize)
                count += 1
            }
            children.append(try finish(firstLogical, count: count, depth: 0, allocate: allocate))
            return children
        }

        mutating func writeIndex(
            _ below: [Child], depth: UInt16, allocate: () throws(EXT4Error) -> UInt64
        ) throws(EXT4Error) -> [Child] {
            var children: [Child] = []
            for start in stride(from: 0, to: below.count, by: recordsInNode) {
                let part = below[start..<min(start + recordsInNode, below.count)]
                for (index, child) in part.enumerated() {
                    putIndex(child, node.base + headerSize + index * recordSize)
                }
                let first = below[start].logical
                children.append(try finish(first, count: part.count, depth: depth, allocate: allocate))
            }
            return children
        }

        private mutating func finish(
            _ logical: UInt32, count: Int, depth: UInt16, allocate: () throws(EXT4Error) -> UInt64
        ) throws(EXT4Error) -> Child {
            putHeader(node.base, count: count, max: recordsInNode, depth: depth)
            var sum = Checksum(seed)
            sum.update(node.base, checksumOffset)
            node.base.put(sum.value, at: checksumOffset)
            let block = try allocate()
            try output.write(node, at: block * Geometry.blockSize)
            node.clear()
            nodeCount += 1
            return Child(logical: logical, block: block)
        }
    }

    private static func forEachRecord<E: Error>(
        _ data: FileData, _ body: (Extent) throws(E) -> Void
    ) throws(E) {
        try data.forEachExtent { extent throws(E) in
            var rest = extent
            while rest.count > 0 {
                let count = min(rest.count, maxExtentBlocks)
                try body(Extent(logical: rest.logical, physical: rest.physical, count: count))
                rest.logical += count
                rest.physical += count
                rest.count -= count
            }
        }
    }

    private static func putHeader(_ at: UnsafeMutableRawPointer, count: Int, max: Int, depth: UInt16) {
        at.put(magic, at: 0)
        at.put(UInt16(count), at: 2)
        at.put(UInt16(max), at: 4)
        at.put(depth, at: 6)
        at.put(UInt32(0), at: 8)
    }

    private static func putExtent(_ extent: Extent, _ at: UnsafeMutableRawPointer) {
        at.put(UInt32(truncatingIfNeeded: extent.logical), at: 0)
        at.put(UInt16(truncatingIfNeeded: extent.count), at: 4)
        at.put(UInt16(truncatingIfNeeded: extent.physical >> 32), at: 6)
        at.put(UInt32(truncatingIfNeeded: extent.physical), at: 8)
    }

    private static func putIndex(_ child: Child, _ at: UnsafeMutableRawPointer) {
        at.put(child.logical, at: 0)
        at.put(UInt32(truncatingIfNeeded: child.block), at: 4)
        at.put(UInt16(truncatingIfNeeded: child.block >> 32), at: 8)
        at.put(UInt16(0), at: 10)
    }
}
