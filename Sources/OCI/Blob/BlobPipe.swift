internal import NIOCore
internal import Threads

/// A bounded queue of bytes from a transfer to one blocking reader.
///
/// The transfer hears when it has to pause and when it may go on; the reader sleeps on a condition variable while the queue
/// is empty. What was full is filled again only when half of it is free, so that neither side is woken for each piece.
final class BlobPipe: Sendable {
    enum Appended: Sendable, Equatable {
        case room
        /// It was taken, but nothing more should come before the transfer is told.
        case full
        /// The reader has gone.
        case closed
    }

    private struct Chunk: Sendable {
        var bytes: ByteBuffer
        /// Bytes of memory that go when this goes. A network that brings little at a time leaves much of a buffer empty.
        let weight: Int
    }

    private struct State: Sendable {
        var chunks: [Chunk] = []
        /// The first chunk that is not read yet; what lies before it is dropped now and then.
        var head = 0
        /// Bytes of memory of what is not read yet.
        var held = 0
        var received: Int64 = 0
        var end: Result<Void, OCIError>?
        var isClosed = false
        /// Told once, when there is room again or the reader has gone.
        var waiter: (@Sendable () -> Void)?

        mutating func takeWaiter() -> (@Sendable () -> Void)? {
            defer { waiter = nil }
            return waiter
        }
    }

    private let window: Int
    private let monitor: Monitor<State>

    /// - Parameters:
    ///   - window: bytes of memory that may wait; one piece more than that may come in.
    ///   - received: the offset at which the transfer begins.
    init(window: Int, received: Int64 = 0) {
        self.window = max(1, window)
        monitor = Monitor(State(received: received))
    }

    // MARK: The transfer's side

    /// Bytes received so far: the offset at which a broken transfer goes on.
    var received: Int64 { monitor.update { $0.received } }

    var isClosed: Bool { monitor.update { $0.isClosed } }

    /// Suspends until there is room; false when the reader has gone.
    func waitForSpace() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let mayGoOn = monitor.update { state in
                    if state.isClosed || state.held < window { return true }
                    state.waiter = { continuation.resume() }
                    return false
                }
                if mayGoOn { continuation.resume() }
            }
        } onCancel: {
            monitor.update { $0.takeWaiter() }?()
        }
        return !isClosed && !Task.isCancelled
    }

    /// Adds what is new of a piece that begins at `offset` of the blob, whether there is room or not.
    ///
    /// - Parameter whenRoom: called once, on any thread, if this returns `full`; perhaps before it returns.
    func append(_ piece: ByteBuffer, at offset: Int64, whenRoom: @escaping @Sendable () -> Void) -> Appended {
        monitor.update { state in
            guard !state.isClosed else { return .closed }
            var bytes = piece
            // At most the piece, and nothing where it stands further on than it should, which nobody asks for.
            bytes.moveReaderIndex(forwardBy: Int(min(max(0, state.received - offset), Int64(bytes.readableBytes))))
            if bytes.readableBytes > 0 {
                let chunk = Chunk(bytes: bytes, weight: max(bytes.readableBytes, bytes.storageCapacity))
                state.chunks.append(chunk)
                state.held += chunk.weight
                state.received += Int64(bytes.readableBytes)
            }
            guard state.held >= window else { return .room }
            state.waiter = whenRoom
            return .full
        }
    }

    /// No more bytes come; only the first call counts.
    func finish(_ result: Result<Void, OCIError>) {
        monitor.update { state in
            if state.end == nil { state.end = result }
        }
    }

    // MARK: The reader's side

    /// Blocks until there are bytes; 0 at the end. Throws what the transfer failed with after the bytes before it.
    func read(into buffer: UnsafeMutableRawBufferPointer, deadline: ContinuousClock.Instant) throws(OCIError) -> Int {
        let size = buffer.count
        typealias Taken = (chunks: [ByteBuffer], waiter: (@Sendable () -> Void)?)
        let taken: Result<Taken, OCIError>? = monitor.wait(until: deadline) { state in
            if state.isClosed { return .failure(OCIError(.cancelled, "the transfer was closed")) }
            if state.head == state.chunks.count {
                return state.end.map { end in end.map { ([], nil) } }
            }
            let chunks = Self.take(upTo: size, from: &state)
            return .success((chunks, state.held <= window / 2 ? state.takeWaiter() : nil))
        }
        guard let taken else { throw OCIError(.timedOut, "no more bytes came before the deadline") }
        let (chunks, waiter) = try taken.get()
        waiter?()
        // Without the lock: the event loop does not wait for this.
        var filled = 0
        for chunk in chunks {
            chunk.withUnsafeReadableBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]).copyMemory(from: bytes)
            }
            filled += chunk.readableBytes
        }
        return filled
    }

    /// The reader has gone: drops what is buffered and lets the transfer end.
    func close() {
        monitor.update { state in
            state.isClosed = true
            state.chunks = []
            state.head = 0
            state.held = 0
            return state.takeWaiter()
        }?()
    }

    /// The next bytes, `size` at most.
    private static func take(upTo size: Int, from state: inout State) -> [ByteBuffer] {
        var taken: [ByteBuffer] = []
        var left = size
        while left > 0, state.head < state.chunks.count {
            let count = min(left, state.chunks[state.head].bytes.readableBytes)
            if let part = state.chunks[state.head].bytes.readSlice(length: count) { taken.append(part) }
            left -= count
            guard state.chunks[state.head].bytes.readableBytes == 0 else { break }
            state.held -= state.chunks[state.head].weight
            state.chunks[state.head].bytes = ByteBuffer()
            state.head += 1
        }
        if state.head == state.chunks.count {
            state.chunks.removeAll(keepingCapacity: true)
            state.head = 0
        } else if state.head >= 256 {
            state.chunks.removeFirst(state.head)
            state.head = 0
        }
        return taken
    }
}
