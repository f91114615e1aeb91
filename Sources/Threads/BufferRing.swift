internal import Synchronization

/// A bounded queue of bytes from one thread to another, made of buffers that are used over and over.
///
/// One thread fills buffers and sends them, each with a note; another takes them in the same order and gives them back.
/// There may be several such receivers, each of which gets everything. Any side may end it. Nothing is copied and, once
/// the ring is there, nothing allocated.
package final class BufferRing<Note: Sendable>: Sendable {
    private struct State: Sendable {
        var sent = 0
        /// For each receiver.
        var released: [Int]
        /// For each buffer how many bytes it was sent with, and the note.
        var contents: [(count: Int, note: Note)?]
        /// The sender sends no more.
        var isFinished = false
        /// A receiver takes no more.
        var isClosed = false

        /// How many buffers are not back from everybody.
        var pending: Int {
            var pending = 0
            for count in released { pending = max(pending, sent - count) }
            return pending
        }
    }

    /// One after the other in one piece of memory. A buffer is the sender's until it is sent and the receivers' until all
    /// have released it, and the monitor's lock lies between: that is why nobody reads what another writes. (The sender may
    /// still read what it sent, until it asks for the next buffer.)
    private nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    private let monitor: Monitor<State>
    private let capacity: Int
    package let bufferSize: Int

    /// - Parameters:
    ///   - buffers: at least 2, so that the sides do not wait for each other.
    ///   - size: of one buffer, in bytes.
    package init(buffers: Int, size: Int, receivers: Int = 1) {
        capacity = max(2, buffers)
        bufferSize = size
        memory = .allocate(byteCount: capacity * size, alignment: 4096)
        monitor = Monitor(
            State(
                released: Array(repeating: 0, count: receivers), contents: Array(repeating: nil, count: capacity)))
    }

    deinit {
        memory.deallocate()
    }

    private func buffer(_ number: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory + (number % capacity) * bufferSize, count: bufferSize)
    }

    // MARK: The sender's side

    /// Blocks until there is a buffer to fill; nil when the receiver has gone. The same one until it is sent.
    package func next() -> UnsafeMutableRawBufferPointer? {
        let number: Int? = monitor.wait { state -> Int?? in
            if state.isClosed { return .some(nil) }
            return state.pending < capacity ? .some(state.sent) : nil
        }
        return number.map(buffer)
    }

    /// Hands over the first `count` bytes of the buffer that `next` gave.
    package func send(_ count: Int, _ note: Note) {
        monitor.update { state in
            state.contents[state.sent % capacity] = (count, note)
            state.sent += 1
        }
    }

    /// Nothing more comes.
    package func finish() {
        monitor.update { $0.isFinished = true }
    }

    // MARK: The receiver's side

    /// Blocks until there are bytes, which stay until they are released; nil at the end, or when the ring was closed.
    ///
    /// - Parameter receiver: counted from 0.
    package func receive(_ receiver: Int = 0) -> (bytes: UnsafeRawBufferPointer, note: Note)? {
        let found: (Int, Int, Note)? = monitor.wait { state -> (Int, Int, Note)?? in
            if state.isClosed { return .some(nil) }
            let number = state.released[receiver]
            guard number < state.sent else { return state.isFinished ? .some(nil) : nil }
            return state.contents[number % capacity].map { .some((number, $0.count, $0.note)) }
        }
        guard let (number, count, note) = found else { return nil }
        return (UnsafeRawBufferPointer(rebasing: buffer(number)[..<count]), note)
    }

    /// Gives back the buffer that `receive` gave.
    package func release(_ receiver: Int = 0) {
        monitor.update { $0.released[receiver] += 1 }
    }

    /// Ends the ring at once: what is under way is dropped, and both sides hear of it. From any thread.
    package func close() {
        monitor.update { $0.isClosed = true }
    }
}
