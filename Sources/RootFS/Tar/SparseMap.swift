/// Where the stored bytes of a file stand in it. Everything between is a hole.
struct SparseMap: Equatable {
    struct Segment: Equatable {
        var offset: UInt64
        var length: UInt64
    }

    /// In order, without overlap, none of length zero.
    let segments: [Segment]
    /// The file's size.
    let size: UInt64
    /// The sum of the segments' lengths.
    let stored: UInt64

    /// A file without holes.
    init(plain size: UInt64) {
        segments = size == 0 ? [] : [Segment(offset: 0, length: size)]
        self.size = size
        stored = size
    }

    /// Checks a map as an archive gives it: ordered, inside the file, and for just as many bytes as are stored.
    init(_ raw: [Segment], size: UInt64, stored: UInt64) throws(RootFSError) {
        var kept: [Segment] = []
        var end: UInt64 = 0
        var sum: UInt64 = 0
        for segment in raw {
            let (segmentEnd, overflow) = segment.offset.addingReportingOverflow(segment.length)
            guard !overflow, segment.offset >= end, segmentEnd <= size else {
                throw RootFSError(
                    .archive, "the sparse map is out of order or reaches past the file's size of \(size) bytes")
            }
            end = segmentEnd
            guard segment.length > 0 else { continue }
            sum += segment.length
            kept.append(segment)
        }
        guard sum == stored else {
            throw RootFSError(.archive, "the sparse map describes \(sum) bytes, but \(stored) are stored")
        }
        segments = kept
        self.size = size
        self.stored = stored
    }
}
