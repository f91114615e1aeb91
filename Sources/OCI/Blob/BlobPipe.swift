internal import NIOCore
internal import Threads

/// A bounded queue of bytes from an asynchronous transfer to one blocking reader.
///
/// The transfer suspends while the window is full; the reader sleeps on a condition variable while it is empty.
final class BlobPipe: Sendable {
    private struct State: Sendable {
        var chunks: [ByteBuffer] = []
        /// The first chunk that is not read yet; what lies before it is dropped now and then.
        var head = 0
        var buffered = 0
        var received: Int64 = 0
        var end: Result<Void, OCIError>?
        var isClosed = false
        var waitingForSpace: CheckedContinuation<Void, Never>?

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waitingForSpace = nil }
            return waitingForSpace
        }
    }

    private let window: Int
    private let monitor: Monitor<State>

    /// - Parameters:
    ///   - window: bytes that may wait; one piece more than that may come in.
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
            await withCheckedContinuation { continuation in
                let mayGoOn = monitor.update { state in
                    if state.isClosed || state.buffered < window { return true }
                    state.waitingForSpace = continuation
                    return false
                }
                if mayGoOn { continuation.resume() }
            }
        } onCancel: {
            monitor.update { $0.takeWaiter() }?.resume()
        }
        return !isClosed && !Task.isCancelled
    }

    /// Adds a piece, whether there is room or not; false when the reader has gone.
    func append(_ chunk: ByteBuffer) -> Bool {
        monitor.update { state in
            guard !state.isClosed else { return false }
            guard chunk.readableBytes > 0 else { return true }
            state.chunks.append(chunk)
            state.buffered += chunk.readableBytes
            state.received += Int64(chunk.readableBytes)
            return true
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
        let taken: Result<(Int, CheckedContinuation<Void, Never>?), OCIError>? = monitor.wait(until: deadline) {
            state in
            if state.isClosed { return .failure(OCIError(.cancelled, "the transfer was closed")) }
            if state.buffered == 0 {
                return state.end.map { end in end.map { (0, nil) } }
            }
            let count = Self.drain(&state, into: buffer)
            return .success((count, state.buffered < window ? state.takeWaiter() : nil))
        }
        guard let taken else { throw OCIError(.timedOut, "no more bytes came before the deadline") }
        let (count, waiter) = try taken.get()
        waiter?.resume()
        return count
    }

    /// The reader has gone: drops what is buffered and lets the transfer end.
    func close() {
        monitor.update { state in
            state.isClosed = true
            state.chunks = []
            state.head = 0
            state.buffered = 0
            return state.takeWaiter()
        }?.resume()
    }

    private static func drain(_ state: inout State, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        var filled = 0
        while filled < buffer.count, state.head < state.chunks.count {
            let count = state.chunks[state.head].readWithUnsafeReadableBytes { bytes in
                let part = UnsafeRawBufferPointer(rebasing: bytes.prefix(buffer.count - filled))
                UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]).copyMemory(from: part)
                return part.count
            }
            filled += count
            if state.chunks[state.head].readableBytes == 0 {
                state.chunks[state.head] = ByteBuffer()
                state.head += 1
            }
        }
        if state.head == state.chunks.count {
            state.chunks.removeAll(keepingCapacity: true)
            state.head = 0
        } else if state.head >= 256 {
            state.chunks.removeFirst(state.head)
            state.head = 0
        }
        state.buffered -= filled
        return filled
    }
}
