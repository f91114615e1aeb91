internal import Glibc

/// A file, or the stretch of an archive that holds one. Reading it moves no position, so many may read at once.
struct StoredFile: Sendable {
    let file: SharedFile
    /// Where its first byte stands.
    let offset: Int64
    let size: Int64

    init(_ file: SharedFile, offset: Int64 = 0, size: Int64) {
        self.file = file
        self.offset = offset
        self.size = size
    }

    /// Fills the front of a buffer from `position` on; 0 at the end only. What lies behind the file is never read.
    func read(
        into base: UnsafeMutableRawPointer, count: Int, at position: Int64, name: String
    ) throws(OCIError) -> Int {
        let wanted = Int(min(Int64(count), max(0, size - position)))
        guard wanted > 0 else { return 0 }
        let read = retryingInterrupts { pread(file.descriptor, base, wanted, off_t(offset + position)) }
        guard read >= 0 else { throw OCIError(.ioFailure, "\(name) cannot be read: \(describe(errno: errno))") }
        return read
    }

    func readAll(limit: Int, name: String) throws(OCIError) -> [UInt8] {
        guard size <= Int64(limit) else {
            throw OCIError(.tooLarge, "\(name) has \(size) bytes; at most \(limit) are read")
        }
        return try bytes(0..<Int(size), name: name)
    }

    /// Bytes that must be there.
    func bytes(_ range: Range<Int>, name: String) throws(OCIError) -> [UInt8] {
        var failure: OCIError?
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, filled in
            do throws(OCIError) {
                while filled < range.count, let base = buffer.baseAddress {
                    let count = try read(
                        into: base + filled, count: range.count - filled,
                        at: Int64(range.lowerBound + filled), name: name)
                    guard count > 0 else {
                        throw OCIError(.sizeMismatch, "\(name) became shorter while it was read")
                    }
                    filled += count
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }
}

/// An open file with several readers; closed when the last of them lets go.
final class SharedFile: Sendable {
    let descriptor: Int32

    /// Takes the descriptor over.
    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}
