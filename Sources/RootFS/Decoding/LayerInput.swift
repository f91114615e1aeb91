import Threads

/// The stored bytes of a layer, piece by piece.
protocol LayerInput: AnyObject {
    /// The next bytes, valid until the next call; nil at the end. The first piece has four bytes at least, unless the
    /// layer is shorter: enough to tell how it is compressed.
    func next() throws(RootFSError) -> UnsafeRawBufferPointer?

    /// Whether the next bytes are there, so that nobody has to wait for them.
    var isNextHere: Bool { get }
}

/// Reads a layer on the thread that decodes it.
final class DirectInput: LayerInput {
    private var source: any LayerSource
    private let buffer: UnsafeMutableRawBufferPointer
    private var isFirst = true

    init(_ layer: Layer, _ cancellation: Cancellation) throws(RootFSError) {
        source = try opened(layer, cancellation)
        buffer = .allocate(byteCount: 128 << 10, alignment: 64)
    }

    deinit {
        buffer.deallocate()
    }

    /// Nobody knows before the source was asked.
    var isNextHere: Bool { false }

    func next() throws(RootFSError) -> UnsafeRawBufferPointer? {
        let count = try fill(buffer, from: &source, atLeast: isFirst ? 4 : 1)
        isFirst = false
        return count == 0 ? nil : UnsafeRawBufferPointer(rebasing: buffer[..<count])
    }
}

/// Reads a layer on a thread of its own, ahead of who decodes it: a blob is hashed as it is read, and what comes from
/// the network comes while other bytes are decoded.
final class ReadAhead: LayerInput {
    private let ring: BufferRing<Void>
    private let failure: Monitor<RootFSError?>
    private let cancellation: Cancellation
    private let thread: Thread
    private var isHolding = false

    /// nil where the system has no thread or no memory left.
    init?(_ layer: Layer, _ cancellation: Cancellation) {
        guard let ring = BufferRing<Void>(buffers: 8, size: 256 << 10) else { return nil }
        let failure = Monitor<RootFSError?>(nil)
        let thread = Thread {
            do throws(RootFSError) {
                try Self.read(layer, into: ring, cancellation)
            } catch {
                failure.update { $0 = error }
            }
            ring.finish()
        }
        guard let thread else { return nil }
        self.ring = ring
        self.failure = failure
        self.cancellation = cancellation
        self.thread = thread
        cancellation.onCancel { ring.close() }
    }

    /// Whoever reads no further, after an error say, must not wait for a network.
    deinit {
        cancellation.cancel()
        thread.join()
    }

    var isNextHere: Bool { ring.waiting() > (isHolding ? 1 : 0) }

    func next() throws(RootFSError) -> UnsafeRawBufferPointer? {
        if isHolding { ring.release() }
        isHolding = false
        if let (bytes, _) = ring.receive() {
            isHolding = true
            return bytes
        }
        if let error = failure.update({ $0 }) { throw error }
        return nil
    }

    private static func read(
        _ layer: Layer, into ring: BufferRing<Void>, _ cancellation: Cancellation
    ) throws(RootFSError) {
        var source = try opened(layer, cancellation)
        while let buffer = ring.next() {
            let count = try fill(buffer, from: &source, atLeast: buffer.count)
            if count > 0 { ring.send(count, ()) }
            if count < buffer.count { return }
        }
    }
}

private func opened(_ layer: Layer, _ cancellation: Cancellation) throws(RootFSError) -> any LayerSource {
    do {
        let source = try layer.open()
        if let action = source.cancellation { cancellation.onCancel(action) }
        return source
    } catch {
        throw RootFSError(.source, "cannot be opened", cause: error)
    }
}

/// Fills the front of a buffer; less than `minimum` only at the end of the source.
private func fill(
    _ buffer: UnsafeMutableRawBufferPointer, from source: inout any LayerSource, atLeast minimum: Int
) throws(RootFSError) -> Int {
    var filled = 0
    while filled < minimum {
        let space = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
        let count: Int
        do {
            count = try source.read(into: space)
        } catch {
            throw RootFSError(.source, "cannot be read", cause: error)
        }
        guard (0...space.count).contains(count) else {
            throw RootFSError(.source, "the source returned \(count) bytes for a buffer of \(space.count)")
        }
        if count == 0 { break }
        filled += count
    }
    return filled
}
