internal import Glibc

/// The parts of a file that hold data, in order; between them are holes, which read as zeros.
///
/// Where the file system cannot tell, all of it counts as data.
package struct DataRanges {
    // SEEK_DATA and SEEK_HOLE of lseek(2).
    private static let seekData: Int32 = 3
    private static let seekHole: Int32 = 4

    private let descriptor: Int32
    private let path: String
    private let size: Int
    private var position: Int

    /// - Parameters:
    ///   - descriptor: Stays open meanwhile, and nobody else uses its offset.
    ///   - path: For messages.
    ///   - start: Where to begin.
    ///   - size: Where to stop: the file's size, or less.
    package init(of descriptor: Int32, path: String, from start: Int = 0, size: Int) {
        self.descriptor = descriptor
        self.path = path
        self.size = size
        position = start
    }

    /// nil when there is nothing but a hole until the end, or nothing at all.
    package mutating func next() throws(FileError) -> Range<Int>? {
        guard position < size else { return nil }
        let start = lseek(descriptor, position, Self.seekData)
        if start < 0 {
            if errno == ENXIO { return nil }
            guard errno == EINVAL || errno == EOPNOTSUPP else { throw FileError("read \(path)", errno: errno) }
            defer { position = size }
            return position..<size
        }
        guard start < size else { return nil }
        let descriptor = descriptor
        let end = try retryingInterrupts("read \(path)") { lseek(descriptor, start, Self.seekHole) }
        position = min(end, size)
        return start..<position
    }
}
