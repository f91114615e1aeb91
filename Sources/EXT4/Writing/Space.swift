/// Hands out the blocks of the image in ascending order, without knowing how large it will be: everything behind the
/// front of group 0 except the fronts of the backup groups.
struct Space {
    private(set) var next: UInt64 = Geometry.frontBlocks
    /// Where the next front begins that is to be left out.
    private var nextFront: UInt64 = Geometry.blocksPerGroup
    /// Blocks that were handed out and given back.
    private var discarded: [Range<UInt64>] = []

    /// At least one block and at most `count`, in one piece.
    mutating func take(upTo count: UInt64) throws(EXT4Error) -> Range<UInt64> {
        if next == nextFront {
            next += Geometry.frontBlocks
            let group = Geometry.nextBackup(after: nextFront / Geometry.blocksPerGroup)
            nextFront = group * Geometry.blocksPerGroup
        }
        let end = min(next + count, nextFront)
        guard end <= Geometry.maxBlockCount else {
            throw EXT4Error(.tooLarge, "The content takes more than \(Geometry.maxBlockCount) blocks of 4 KiB (8 TiB)")
        }
        defer { next = end }
        return next..<end
    }

    /// One block.
    mutating func take() throws(EXT4Error) -> UInt64 {
        try take(upTo: 1).lowerBound
    }

    /// `count` blocks as a file's data, in as few extents as there can be.
    mutating func takeFile(blocks count: UInt64) throws(EXT4Error) -> FileData {
        var data = FileData()
        var logical: UInt64 = 0
        while logical < count {
            let run = try take(upTo: count - logical)
            data.append(Extent(logical: logical, physical: run.lowerBound, count: UInt64(run.count)))
            logical += UInt64(run.count)
        }
        data.size = count * Geometry.blockSize
        return data
    }

    /// What was handed out last is handed out again next; anything else stays free.
    mutating func giveBack(_ range: Range<UInt64>) {
        if range.upperBound == next {
            next = range.lowerBound
        } else {
            discarded.append(range)
        }
    }

    /// What is free in a file system of this geometry, before anything that the finish adds: what was given back, what
    /// the fronts turned out not to need, and all that is behind the last block handed out. Nil if that is past its end.
    func free(in geometry: Geometry) -> FreeBlocks? {
        guard next <= geometry.blockCount else { return nil }
        var ranges = discarded
        var group: UInt64 = 0
        var tail = next
        while group < geometry.groupCount {
            let start = group * Geometry.blocksPerGroup
            let head = start + geometry.headBlocks(of: group)
            if start < next {
                ranges.append(head..<min(start + Geometry.frontBlocks, geometry.blockCount))
            } else {
                ranges.append(tail..<start)
                tail = head
            }
            group = Geometry.nextBackup(after: group)
        }
        guard tail <= geometry.blockCount else { return nil }
        ranges.append(tail..<geometry.blockCount)
        return FreeBlocks(ranges)
    }
}

/// Free ranges in ascending order, none of them empty, no two adjacent.
struct FreeBlocks {
    private(set) var ranges: [Range<UInt64>] = []

    init(_ unordered: [Range<UInt64>]) {
        for range in unordered.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
            if let last = ranges.last, last.upperBound >= range.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                ranges.append(range)
            }
        }
    }

    var count: UInt64 {
        ranges.reduce(0) { $0 + UInt64($1.count) }
    }

    /// The first place where `count` blocks fit in one piece.
    mutating func take(_ count: UInt64) -> UInt64? {
        guard let index = ranges.firstIndex(where: { UInt64($0.count) >= count }) else { return nil }
        return takePrefix(of: index, count: count).lowerBound
    }

    /// `count` blocks in one piece, or in several of at least `smallest` each.
    mutating func take(_ count: UInt64, smallest: UInt64) -> FileData? {
        var data = FileData()
        data.size = count * Geometry.blockSize
        if let start = take(count) {
            data.append(Extent(logical: 0, physical: start, count: count))
            return data
        }
        var logical: UInt64 = 0
        while logical < count {
            let rest = count - logical
            guard let index = ranges.firstIndex(where: { UInt64($0.count) >= min(smallest, rest) }) else { return nil }
            let piece = takePrefix(of: index, count: min(rest, UInt64(ranges[index].count)))
            data.append(Extent(logical: logical, physical: piece.lowerBound, count: UInt64(piece.count)))
            logical += UInt64(piece.count)
        }
        return data
    }

    private mutating func takePrefix(of index: Int, count: UInt64) -> Range<UInt64> {
        let range = ranges[index]
        let middle = range.lowerBound + count
        if middle == range.upperBound {
            ranges.remove(at: index)
        } else {
            ranges[index] = middle..<range.upperBound
        }
        return range.lowerBound..<middle
    }
}
