internal import CCRC32C
internal import Glibc

/// Writes to the image file in large pieces: what is small is gathered, what is large goes straight from the caller's
/// memory to the file. Offsets are bytes in the image.
final class BlockOutput {
    private let descriptor: Int32
    private let staging = Scratch(count: 1 << 20)
    private var stagedStart: UInt64 = 0
    private var stagedCount = 0
    /// From this size on bytes are written without a copy.
    private static let direct = 128 << 10
    /// Nothing is written at or past this offset: content too large for its image is only counted.
    private let limit: UInt64
    private(set) var written: UInt64 = 0

    init(descriptor: Int32, limit: UInt64) {
        self.descriptor = descriptor
        self.limit = limit
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(EXT4Error) {
        if stagedStart + UInt64(stagedCount) != offset {
            try flush()
            stagedStart = offset
        }
        if bytes.count >= BlockOutput.direct {
            try flush()
            try writeFully(bytes, at: offset)
            stagedStart = offset + UInt64(bytes.count)
            return
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = min(rest.count, staging.count - stagedCount)
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(count))
            UnsafeMutableRawBufferPointer(start: staging.base + stagedCount, count: count).copyMemory(from: piece)
            stagedCount += count
            rest = rest.dropFirst(count)
            if stagedCount == staging.count {
                try flush()
            }
        }
    }

    func write(_ block: Scratch, at offset: UInt64) throws(EXT4Error) {
        try write(block.bytes, at: offset)
    }

    /// Fewer than a block of zeros, to fill one up.
    func writeZeros(_ count: Int, at offset: UInt64) throws(EXT4Error) {
        try write(UnsafeRawBufferPointer(start: BlockOutput.zeros.base, count: count), at: offset)
    }

    // Never written to after it was made, so it may be read from any thread.
    nonisolated(unsafe) private static let zeros = Scratch(count: 4096)

    func flush() throws(EXT4Error) {
        guard stagedCount > 0 else { return }
        let count = stagedCount
        stagedCount = 0
        try writeFully(UnsafeRawBufferPointer(start: staging.base, count: count), at: stagedStart)
        stagedStart += UInt64(count)
    }

    /// Makes a range read as zeros, and gives its space back where the file system can do that.
    func clear(_ range: Range<UInt64>) throws(EXT4Error) {
        if range.lowerBound >= stagedStart, range.upperBound == stagedStart + UInt64(stagedCount) {
            // Not written yet: forgetting it is enough.
            stagedCount = Int(range.lowerBound - stagedStart)
            return
        }
        try flush()
        let range = min(range.lowerBound, limit)..<min(range.upperBound, limit)
        guard !range.isEmpty else { return }
        let failure = cpunch_hole(
            descriptor, Int64(range.lowerBound), Int64(range.upperBound - range.lowerBound))
        if failure == 0 { return }
        guard failure == EOPNOTSUPP || failure == ENOSYS else {
            throw EXT4Error(.io, "Cannot free discarded blocks of the image", errno: failure)
        }
        var offset = range.lowerBound
        while offset < range.upperBound {
            let count = Int(min(range.upperBound - offset, 4096))
            try writeFully(UnsafeRawBufferPointer(start: BlockOutput.zeros.base, count: count), at: offset)
            offset += UInt64(count)
        }
    }

    /// Sets the file's size once everything is written.
    func setSize(_ size: UInt64) throws(EXT4Error) {
        try flush()
        while ftruncate(descriptor, off_t(size)) != 0 {
            guard errno == EINTR else {
                throw EXT4Error(.io, "Cannot set the image's size to \(size) bytes", errno: errno)
            }
        }
    }

    private func writeFully(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(EXT4Error) {
        guard offset < limit else { return }
        let end = min(offset + UInt64(bytes.count), limit)
        var position = offset
        while position < end {
            let start = Int(position - offset)
            let count = pwrite(descriptor, bytes.baseAddress.map { $0 + start }, Int(end - position), off_t(position))
            if count < 0 {
                if errno == EINTR { continue }
                throw EXT4Error(.io, "Cannot write \(end - position) bytes of the image at \(position)", errno: errno)
            }
            guard count > 0 else {
                throw EXT4Error(.io, "The image's file took no more bytes at \(position)")
            }
            position += UInt64(count)
            written += UInt64(count)
        }
    }
}

extension BlockOutput {
    /// Blocks that nothing is written to must read as zeros: only an empty file gives that for certain.
    static func checkEmpty(_ descriptor: Int32) throws(EXT4Error) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw EXT4Error(.io, "Cannot look at the image's file", errno: errno)
        }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_size == 0 else {
            throw EXT4Error(.misuse, "An image is written to a regular file that is empty")
        }
    }
}
