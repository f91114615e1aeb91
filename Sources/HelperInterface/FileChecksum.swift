import Crypto
package import Files
import Glibc
import Synchronization
import Threads

/// SHA-256 of a whole file in hexadecimal, holes as zeros, and its size in bytes. Blocks.
///
/// Only data is read, on a thread of its own where there is one, so that reading costs no time beside the hash. The
/// file's offset moves.
package func sha256(of file: borrowing OpenFile) throws(FileError) -> (hex: String, size: UInt64) {
    let reader = PieceReader(
        descriptor: file.descriptor, path: file.path, size: Int(try file.status().st_size))
    var hash = PieceHash()
    if let pieces = PiecesAhead(reader) {
        while let (bytes, piece) = pieces.ring.receive() {
            hash.update(bytes, piece)
            pieces.ring.release()
        }
        try pieces.finish()
    } else {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: PieceReader.size, alignment: 4096)
        defer { buffer.deallocate() }
        try reader.read(into: { buffer }) { count, piece in
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]), piece)
        }
    }
    return (hexadecimal(hash.finish()), UInt64(reader.size))
}

private enum Piece {
    case data
    /// So many zeros, of which nothing is in the buffer.
    case hole(Int)
}

private struct PieceHash {
    private var hash = SHA256()
    private let zeros = [UInt8](repeating: 0, count: 256 << 10)

    mutating func update(_ bytes: UnsafeRawBufferPointer, _ piece: Piece) {
        switch piece {
        case .data:
            hash.update(bufferPointer: bytes)
        case .hole(var left):
            zeros.withUnsafeBytes { zeros in
                while left > 0 {
                    let count = min(left, zeros.count)
                    hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: zeros[..<count]))
                    left -= count
                }
            }
        }
    }

    func finish() -> SHA256.Digest { hash.finalize() }
}

/// Reads a file in order, without its holes.
private struct PieceReader {
    static let size = 1 << 20

    let descriptor: Int32
    let path: String
    let size: Int

    /// Ends early when `buffer` gives nil.
    func read(
        into buffer: () -> UnsafeMutableRawBufferPointer?, _ body: (Int, Piece) -> Void
    ) throws(FileError) {
        var ranges = DataRanges(of: descriptor, path: path, size: size)
        var position = 0
        while let range = try ranges.next() {
            if range.lowerBound > position {
                guard buffer() != nil else { return }
                body(0, .hole(range.lowerBound - position))
            }
            position = range.lowerBound
            while position < range.upperBound {
                guard let space = buffer() else { return }
                let wanted = min(space.count, range.upperBound - position)
                let piece = UnsafeMutableRawBufferPointer(rebasing: space[..<wanted])
                let count = try OpenFile.read(descriptor, path, into: piece, at: position)
                guard count == wanted else {
                    throw FileError("read \(path), which became shorter", errno: EIO)
                }
                body(count, .data)
                position += count
            }
        }
        if position < size, buffer() != nil { body(0, .hole(size - position)) }
    }
}

/// Reads a file on a thread of its own, ahead of who hashes it.
private final class PiecesAhead {
    private final class Failure: Sendable {
        let value = Mutex<FileError?>(nil)
    }

    let ring: BufferRing<Piece>
    private let failure: Failure
    private let thread: Thread

    /// nil where the system has no thread or no memory left.
    init?(_ reader: PieceReader) {
        guard let ring = BufferRing<Piece>(buffers: 4, size: PieceReader.size) else { return nil }
        let failure = Failure()
        let thread = Thread {
            do throws(FileError) {
                try reader.read(into: { ring.next() }) { count, piece in ring.send(count, piece) }
            } catch {
                failure.value.withLock { $0 = error }
            }
            ring.finish()
        }
        guard let thread else { return nil }
        self.ring = ring
        self.failure = failure
        self.thread = thread
    }

    deinit {
        ring.close()
        thread.join()
    }

    func finish() throws(FileError) {
        thread.join()
        if let error = failure.value.withLock({ $0 }) { throw error }
    }
}
