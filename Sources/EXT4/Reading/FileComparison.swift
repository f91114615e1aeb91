/// A part of a file: where it stands in the image, or that it is a hole. In bytes.
struct FileSegment {
    let end: UInt64
    /// Of the segment's first byte.
    let physical: UInt64?
    let start: UInt64
}

extension ImageReader {
    /// A file from its first to its last byte, in segments without gaps.
    func segments(of file: Inode) throws(EXT4Error) -> [FileSegment] {
        guard file.size <= ExtentTree.maxFileBlocks * Geometry.blockSize else {
            throw EXT4Error(.corrupt, "Inode \(file.number.rawValue) has a size that cannot be: \(file.size) bytes")
        }
        var segments: [FileSegment] = []
        var position: UInt64 = 0
        func append(upTo end: UInt64, physical: UInt64?) {
            guard end > position else { return }
            segments.append(FileSegment(end: end, physical: physical, start: position))
            position = end
        }
        try forEachExtent(of: file) { extent, isWritten throws(EXT4Error) in
            append(upTo: min(extent.logical * Geometry.blockSize, file.size), physical: nil)
            let end = min((extent.logical + extent.count) * Geometry.blockSize, file.size)
            append(upTo: end, physical: isWritten ? extent.physical * Geometry.blockSize : nil)
        }
        append(upTo: file.size, physical: nil)
        return segments
    }
}

/// Compares the bytes of files of two images; holes are zeros.
struct FileComparison {
    private static let pieceSize = 1 << 20
    private let one = Scratch(count: pieceSize)
    private let other = Scratch(count: pieceSize)

    /// Both files have one size.
    func isSame(
        _ file: Inode, in reader: ImageReader, as otherFile: Inode, in otherReader: ImageReader, walk: TreeWalk,
        otherWalk: TreeWalk
    ) throws(EXT4Error) -> Bool {
        let segments = try reader.segments(of: file)
        let otherSegments = try otherReader.segments(of: otherFile)
        try walk.spend(dataBlocks: FileComparison.blocks(segments))
        try otherWalk.spend(dataBlocks: FileComparison.blocks(otherSegments))
        var position: UInt64 = 0
        var (index, otherIndex) = (0, 0)
        while index < segments.count, otherIndex < otherSegments.count {
            let (left, right) = (segments[index], otherSegments[otherIndex])
            let end = min(left.end, right.end)
            while position < end, left.physical != nil || right.physical != nil {
                let count = Int(min(end - position, UInt64(FileComparison.pieceSize)))
                try read(left, at: position, count, of: reader, into: one)
                try read(right, at: position, count, of: otherReader, into: other)
                if compareBytes(one.base, other.base, count) != 0 { return false }
                position += UInt64(count)
            }
            position = end
            if left.end == end { index += 1 }
            if right.end == end { otherIndex += 1 }
        }
        return true
    }

    private static func blocks(_ segments: [FileSegment]) -> UInt64 {
        segments.reduce(0) { sum, segment in
            segment.physical == nil
                ? sum : sum + (segment.end - segment.start).dividedRoundingUp(by: Geometry.blockSize)
        }
    }

    private func read(
        _ segment: FileSegment, at position: UInt64, _ count: Int, of reader: ImageReader, into memory: Scratch
    ) throws(EXT4Error) {
        guard let physical = segment.physical else {
            memory.base.zero(0..<count)
            return
        }
        try reader.read(at: physical + (position - segment.start), into: memory.base, count: count)
    }
}
