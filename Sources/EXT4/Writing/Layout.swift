/// Where everything stands that the finish adds behind the content: a pure decision from the size and from what the
/// content took. Nothing here needs to be in its own group, since flex_bg lets bitmaps and tables stand anywhere.
struct Layout {
    let geometry: Geometry
    /// The double-indirect block of the resize inode.
    let resizeBlock: UInt64
    let journal: FileData
    /// The extent tree's node of a journal in more pieces than fit into its inode.
    let journalNode: UInt64?
    /// One for each group.
    private(set) var blockBitmaps: [UInt64] = []
    private(set) var inodeBitmaps: [UInt64] = []
    private(set) var tables: [UInt64] = []
    let free: FreeBlocks

    /// Nil where it does not fit.
    init?(blockCount: UInt64, space: Space, usedInodes: UInt32) {
        guard let geometry = Geometry(blockCount: blockCount, usedInodes: usedInodes),
            var free = space.free(in: geometry), let resizeBlock = free.take(1)
        else { return nil }
        let groupCount = Int(geometry.groupCount)
        for first in stride(from: 0, to: groupCount, by: Geometry.groupsPerFlex) {
            let groups = first..<min(first + Geometry.groupsPerFlex, groupCount)
            for _ in groups {
                guard let block = free.take(1) else { return nil }
                blockBitmaps.append(block)
            }
            for _ in groups {
                guard let block = free.take(1) else { return nil }
                inodeBitmaps.append(block)
            }
            for _ in groups {
                guard let start = free.take(geometry.tableBlocks) else { return nil }
                tables.append(start)
            }
        }
        // 340 pieces are what one node of the extent tree has room for.
        let smallest = max(geometry.journalBlocks / 256, 1)
        guard let journal = free.take(geometry.journalBlocks, smallest: smallest) else { return nil }
        if ExtentTree.needsNodes(journal) {
            guard let node = free.take(1) else { return nil }
            journalNode = node
        } else {
            journalNode = nil
        }
        self.geometry = geometry
        self.resizeBlock = resizeBlock
        self.journal = journal
        self.free = free
    }

    /// The layout for a size that was asked for. Like mke2fs it leaves out a last group too small to be one.
    static func ofSize(_ size: UInt64, space: Space, usedInodes: UInt32) -> Layout? {
        let blocks = min(size / Geometry.blockSize, Geometry.maxBlockCount)
        if let layout = Layout(blockCount: blocks, space: space, usedInodes: usedInodes) {
            return layout
        }
        let whole = blocks - blocks % Geometry.blocksPerGroup
        return Layout(blockCount: whole, space: space, usedInodes: usedInodes)
    }

    /// The smallest size in bytes that ``ofSize(_:space:usedInodes:)`` takes.
    static func neededSize(space: Space, usedInodes: UInt32) -> UInt64? {
        let blocks = smallest(from: space.next) {
            ofSize($0 * Geometry.blockSize, space: space, usedInodes: usedInodes) != nil
        }
        return blocks.map { $0 * Geometry.blockSize }
    }

    /// The smallest layout in whole MiB that leaves a twentieth free, 16 MiB at least.
    static func smallest(space: Space, usedInodes: UInt32) -> Layout? {
        let blocksPerMiB: UInt64 = 256
        func layout(_ mebibytes: UInt64) -> Layout? {
            let blocks = mebibytes * blocksPerMiB
            guard let layout = Layout(blockCount: blocks, space: space, usedInodes: usedInodes),
                layout.free.count >= max(blocks.dividedRoundingUp(by: 20), 16 * blocksPerMiB)
            else { return nil }
            return layout
        }
        return smallest(from: space.next / blocksPerMiB) { layout($0) != nil }.flatMap(layout)
    }

    /// The smallest number from `start` on that is accepted; exact as far as acceptance is monotonic, which it is but
    /// for the sizes whose last group would be too small.
    private static func smallest(from start: UInt64, accepts: (UInt64) -> Bool) -> UInt64? {
        var rejected = start == 0 ? 0 : start - 1
        var step: UInt64 = 1
        var accepted = rejected + step
        while !accepts(accepted) {
            guard accepted <= Geometry.maxBlockCount else { return nil }
            rejected = accepted
            step *= 2
            accepted += step
        }
        while accepted - rejected > 1 {
            let middle = rejected + (accepted - rejected) / 2
            if accepts(middle) {
                accepted = middle
            } else {
                rejected = middle
            }
        }
        return accepted
    }
}
