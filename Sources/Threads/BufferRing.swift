internal import Glibc

/// A bounded queue of bytes from one thread to another, made of buffers that are used over and over.
///
/// One thread fills buffers and sends them, each with a note; another takes them in the same order and gives them back.
/// There may be several such receivers, each of which gets everything. Any side may end it. Nothing is copied and, once
/// the ring is there, nothing allocated. The buffer that came back last is filled next, while it is in the processor's
/// cache; so a ring takes as much memory as bytes have ever waited in it, and gives it back when it goes.
package final class BufferRing<Note: Sendable>: Sendable {
    private struct State: Sendable {
        var sent = 0
        /// For each receiver.
        var released: [Int]
        /// For each that was sent and is not back: which buffer, how many bytes, and the note.
        var contents: [(buffer: Int, count: Int, note: Note)?]
        /// Buffers that are back from everybody, the last one at the end.
        var free: [Int] = []
        /// Buffers from this one on were never filled.
        var fresh = 0
        /// The one that the sender fills.
        var filling: Int?
        /// How many may be on their way.
        var limit: Int
        /// The sender sends no more.
        var isFinished = false
        /// A receiver takes no more.
        var isClosed = false

        /// How many buffers everybody has given back.
        var returned: Int {
            var returned = sent
            for count in released { returned = min(returned, count) }
            return returned
        }

        mutating func take() -> Int {
            if let buffer = free.popLast() { return buffer }
            defer { fresh += 1 }
            return fresh
        }
    }

    /// One after the other in one piece of memory. A buffer is the sender's until it is sent and the receivers' until all
    /// have released it, and the monitor's lock lies between: that is why nobody reads what another writes. (The sender may
    /// still read what it sent, until it asks for the next buffer.)
    private nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    private let monitor: Monitor<State>
    private let capacity: Int
    package let bufferSize: Int

    /// nil where the system has no memory left.
    ///
    /// - Parameters:
    ///   - buffers: at least 2, so that the sides do not wait for each other.
    ///   - size: of one buffer, in bytes.
    package init?(buffers: Int, size: Int, receivers: Int = 1) {
        capacity = max(2, buffers)
        bufferSize = size
        // Not malloc's: it may keep what is freed, and what was never touched must cost nothing.
        guard
            let memory = mmap(
                nil, capacity * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            memory != MAP_FAILED
        else { return nil }
        self.memory = memory
        var state = State(
            released: Array(repeating: 0, count: receivers), contents: Array(repeating: nil, count: capacity),
            limit: capacity)
        state.free.reserveCapacity(capacity)
        monitor = Monitor(state)
    }

    deinit {
        munmap(memory, capacity * bufferSize)
    }

    private func buffer(_ number: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory + number * bufferSize, count: bufferSize)
    }

    /// From now on at most so many buffers may be on their way; those that are stay. At least 2, at most as many as there
    /// are. From any thread.
    package func limit(to buffers: Int) {
        monitor.update { $0.limit = min(max(2, buffers), capacity) }
    }

    // MARK: The sender's side

    /// Blocks until there is a buffer to fill; nil when the receiver has gone. The same one until it is sent.
    package func next() -> UnsafeMutableRawBufferPointer? {
        let number: Int? = monitor.wait { state -> Int?? in
            if state.isClosed { return .some(nil) }
            if state.filling == nil, state.sent - state.returned < state.limit { state.filling = state.take() }
            return state.filling.map { .some($0) }
        }
        return number.map(buffer)
    }

    /// Hands over the first `count` bytes of the buffer that `next` gave.
    package func send(_ count: Int, _ note: Note) {
        monitor.update { state in
            guard let buffer = state.filling else { return }
            state.contents[state.sent % capacity] = (buffer, count, note)
            state.filling = nil
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
            return state.contents[number % capacity].map { .some(($0.buffer, $0.count, $0.note)) }
        }
        guard let (number, count, note) = found else { return nil }
        return (UnsafeRawBufferPointer(rebasing: buffer(number)[..<count]), note)
    }

    /// How many buffers were sent and not yet released.
    package func waiting(_ receiver: Int = 0) -> Int {
        monitor.wait { $0.sent - $0.released[receiver] }
    }

    /// Gives back the buffer that `receive` gave.
    package func release(_ receiver: Int = 0) {
        monitor.update { state in
            let before = state.returned
            state.released[receiver] += 1
            guard state.returned > before, let content = state.contents[before % capacity] else { return }
            state.contents[before % capacity] = nil
            state.free.append(content.buffer)
        }
    }

    /// Ends the ring at once: what is under way is dropped, and both sides hear of it. From any thread.
    package func close() {
        monitor.update { $0.isClosed = true }
    }
}
