import Synchronization

/// Bytes for a command's standard input that come while it runs: one task writes, the command reads.
package final class CommandFeed: Sendable {
    /// A write waits while so many bytes or more are not yet with the command.
    private static let capacity = 1 << 20

    private struct State {
        var chunks: [ArraySlice<UInt8>] = []
        var waiting = 0
        var isFinished = false
        var isClosed = false
        var writer: CheckedContinuation<Void, Never>?
        var onArrival: (@Sendable () -> Void)?
    }

    /// What a reader finds.
    enum Next {
        case bytes(ArraySlice<UInt8>)
        /// More may come: ``State/onArrival`` tells.
        case nothingYet
        case end
    }

    private let state = Mutex(State())

    package init() {}

    // MARK: The writer

    /// Hands bytes over, and waits until there is room for more.
    ///
    /// - Returns: `false` when nobody reads any more; the bytes are dropped then.
    /// - Throws: `CancellationError` when the task is cancelled; whether the bytes arrive is open then.
    package func write(_ bytes: [UInt8]) async throws -> Bool {
        try Task.checkCancellation()
        let arrival = state.withLock { state -> (@Sendable () -> Void)? in
            guard !state.isClosed, !state.isFinished, !bytes.isEmpty else { return nil }
            state.chunks.append(bytes[...])
            state.waiting += bytes.count
            return state.onArrival
        }
        arrival?()
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    let mayWait = state.waiting >= Self.capacity && !state.isClosed && state.writer == nil
                    guard mayWait, !Task.isCancelled else { return true }
                    state.writer = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            releaseWriter()
        }
        try Task.checkCancellation()
        return state.withLock { !$0.isClosed }
    }

    /// The command sees the end of its input once it has read what was written.
    package func finish() {
        let arrival = state.withLock { state in
            state.isFinished = true
            return state.onArrival
        }
        arrival?()
    }

    // MARK: The reader

    /// - Parameter onArrival: called, from any thread, when there is something new to take.
    func open(onArrival: @escaping @Sendable () -> Void) {
        state.withLock { $0.onArrival = onArrival }
    }

    func next() -> Next {
        state.withLock { state in
            if let first = state.chunks.first { return .bytes(first) }
            return state.isFinished || state.isClosed ? .end : .nothingYet
        }
    }

    /// Counts bytes of the first chunk as taken.
    func consume(_ count: Int) {
        let writer = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard let first = state.chunks.first else { return nil }
            let rest = first.dropFirst(count)
            if rest.isEmpty { state.chunks.removeFirst() } else { state.chunks[0] = rest }
            state.waiting -= first.count - rest.count
            guard state.waiting < Self.capacity else { return nil }
            return state.writer.take()
        }
        writer?.resume()
    }

    /// Nobody reads any more.
    package func close() {
        let writer = state.withLock { state in
            state.isClosed = true
            state.chunks = []
            state.waiting = 0
            state.onArrival = nil
            return state.writer.take()
        }
        writer?.resume()
    }

    private func releaseWriter() {
        state.withLock { $0.writer.take() }?.resume()
    }
}
