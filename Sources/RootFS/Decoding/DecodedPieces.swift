import Crypto
import Synchronization
import Threads

/// A layer's decompressed bytes, piece by piece, and their digest.
protocol DecodedPieces: AnyObject {
    /// The next bytes, valid until the next call, and how many bytes of the layer were read for all so far; nil at the end.
    func next() throws(RootFSError) -> (bytes: UnsafeRawBufferPointer, compressedBytes: UInt64)?

    /// SHA-256 of all bytes; after `next` returned nil.
    func digest() -> SHA256.Digest
}

/// Large, because handing one over may wake two threads.
private let pieceSize = 1 << 20

/// Decompressed and hashed on the thread that uses the bytes.
final class DirectPieces: DecodedPieces {
    private let decoder: LayerDecoder
    private let buffer: UnsafeMutableRawBufferPointer
    private var hash = SHA256()

    init(_ decoder: LayerDecoder) {
        self.decoder = decoder
        buffer = .allocate(byteCount: pieceSize, alignment: 64)
    }

    deinit {
        buffer.deallocate()
    }

    func next() throws(RootFSError) -> (bytes: UnsafeRawBufferPointer, compressedBytes: UInt64)? {
        let count = try decoder.decode(into: buffer)
        guard count > 0 else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        hash.update(bufferPointer: bytes)
        return (bytes, decoder.compressedBytes)
    }

    func digest() -> SHA256.Digest { hash.finalize() }
}

/// Decompressed on the thread that uses the bytes, and hashed on another.
final class HashedPieces: DecodedPieces {
    private let decoder: LayerDecoder
    private let ring: BufferRing<UInt64>
    private let hash: HashBehind

    /// nil where the system has no thread or no memory left.
    init?(_ decoder: LayerDecoder) {
        guard let ring = BufferRing<UInt64>(buffers: 4, size: pieceSize), let hash = HashBehind(ring, receiver: 0)
        else { return nil }
        self.decoder = decoder
        self.ring = ring
        self.hash = hash
    }

    func next() throws(RootFSError) -> (bytes: UnsafeRawBufferPointer, compressedBytes: UInt64)? {
        // Nobody closes the ring before this object is gone.
        guard let buffer = ring.next() else { return nil }
        let count = try decoder.decode(into: buffer)
        guard count > 0 else { return nil }
        ring.send(count, decoder.compressedBytes)
        return (UnsafeRawBufferPointer(rebasing: buffer[..<count]), decoder.compressedBytes)
    }

    func digest() -> SHA256.Digest {
        ring.finish()
        return hash.digest()
    }
}

/// Decompressed on one thread, hashed on another, and used on a third; all but the use begins at once.
final class PiecesAhead: DecodedPieces {
    private let ring: BufferRing<UInt64>
    private let hash: HashBehind
    private let failure: Monitor<RootFSError?>
    private let cancellation: Cancellation
    private let thread: Thread
    private var isHolding = false

    /// Buffers for a layer that is being merged. 16 MiB: the inflater goes on for some 20 ms while the scheduler gives
    /// the cores to the others.
    private static let buffersInUse = 16

    /// nil where the system has no thread or no memory left.
    ///
    /// - Parameter waitingBytes: decompressed bytes that may wait before ``begin()``.
    init?(_ layer: Layer, execution: Execution, waitingBytes: Int) {
        let failure = Monitor<RootFSError?>(nil)
        let cancellation = Cancellation()
        guard
            let ring = BufferRing<UInt64>(
                buffers: max(Self.buffersInUse, waitingBytes / pieceSize), size: pieceSize, receivers: 2),
            let hash = HashBehind(ring, receiver: 1)
        else { return nil }
        ring.limit(to: waitingBytes / pieceSize)
        let thread = Thread {
            do throws(RootFSError) {
                let decoder = try LayerDecoder(layer, execution: execution, cancellation: cancellation)
                while let buffer = ring.next() {
                    let count = try decoder.decode(into: buffer)
                    if count == 0 { break }
                    ring.send(count, decoder.compressedBytes)
                }
            } catch {
                failure.update { $0 = error }
            }
            ring.finish()
        }
        guard let thread else { return nil }
        self.ring = ring
        self.hash = hash
        self.failure = failure
        self.cancellation = cancellation
        self.thread = thread
    }

    deinit {
        cancel()
        thread.join()
    }

    /// Has the threads end soon. Nothing can be read any more.
    func cancel() {
        ring.close()
        cancellation.cancel()
    }

    /// The layer is merged from now on.
    func begin() {
        ring.limit(to: Self.buffersInUse)
    }

    func next() throws(RootFSError) -> (bytes: UnsafeRawBufferPointer, compressedBytes: UInt64)? {
        if isHolding { ring.release() }
        isHolding = false
        if let (bytes, compressedBytes) = ring.receive() {
            isHolding = true
            return (bytes, compressedBytes)
        }
        if let error = failure.update({ $0 }) { throw error }
        return nil
    }

    func digest() -> SHA256.Digest { hash.digest() }
}

/// Hashes all that goes through a ring, on a thread of its own.
final class HashBehind {
    private final class Result: Sendable {
        let hash = Mutex(SHA256())
    }

    private let ring: BufferRing<UInt64>
    private let result = Result()
    private let thread: Thread

    /// nil where the system has no thread left.
    init?(_ ring: BufferRing<UInt64>, receiver: Int) {
        let result = result
        let thread = Thread {
            var hash = SHA256()
            while let (bytes, _) = ring.receive(receiver) {
                hash.update(bufferPointer: bytes)
                ring.release(receiver)
            }
            let done = hash
            result.hash.withLock { $0 = done }
        }
        guard let thread else { return nil }
        self.ring = ring
        self.thread = thread
    }

    deinit {
        ring.close()
        thread.join()
    }

    /// Waits for the end of the ring, which its sender has announced or soon will.
    func digest() -> SHA256.Digest {
        thread.join()
        return result.hash.withLock { $0.finalize() }
    }
}
