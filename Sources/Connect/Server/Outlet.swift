internal import NIOCore
internal import SwiftProtobuf
internal import Synchronization

/// Between a handler, which sends, and its connection, which takes: nothing is kept beyond what senders wait for.
final class Outlet: Sendable {
    private struct State {
        var waiting: [(bytes: ByteBuffer, sender: CheckedContinuation<Bool, Never>)] = []
        var taker: CheckedContinuation<Void, Never>?
        /// Nothing more will be sent.
        var isFinished = false
        /// Nothing more will be taken.
        var isBroken = false

        mutating func takeTaker() -> CheckedContinuation<Void, Never>? {
            defer { taker = nil }
            return taker
        }
    }

    /// Messages that were sent, and whoever waits for them to be written.
    struct Batch {
        let bytes: [ByteBuffer]
        fileprivate let senders: [CheckedContinuation<Bool, Never>]

        func written(_ success: Bool) {
            for sender in senders { sender.resume(returning: success) }
        }
    }

    private let codec: Codec
    private let compresses: Bool
    private let state = Mutex(State())

    init(_ codec: Codec, compresses: Bool) {
        self.codec = codec
        self.compresses = compresses
    }

    func send(_ message: some Message) async throws(ConnectError) {
        let bytes = try Envelope(try codec.encode(message), compresses: compresses).encoded()
        let isWritten = await withCheckedContinuation { sender in
            let (isBroken, taker) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
                if state.isBroken || state.isFinished { return (true, nil) }
                state.waiting.append((bytes, sender))
                return (false, state.takeTaker())
            }
            taker?.resume()
            if isBroken { sender.resume(returning: false) }
        }
        if !isWritten { throw ConnectError(.canceled, "the caller has gone") }
    }

    /// All that was sent since; nil when the handler has ended.
    func next() async -> Batch? {
        while true {
            let found: Batch?? = state.withLock { state in
                if !state.waiting.isEmpty {
                    defer { state.waiting = [] }
                    return Batch(bytes: state.waiting.map(\.bytes), senders: state.waiting.map(\.sender))
                }
                return state.isFinished ? .some(nil) : nil
            }
            if let found { return found }
            await withCheckedContinuation { taker in
                let isThere = state.withLock { state in
                    if !state.waiting.isEmpty || state.isFinished { return true }
                    state.taker = taker
                    return false
                }
                if isThere { taker.resume() }
            }
        }
    }

    /// The handler has ended.
    func finish() {
        state.withLock { state in
            state.isFinished = true
            return state.takeTaker()
        }?.resume()
    }

    /// The connection takes nothing more: whoever sends is told.
    func fail() {
        let waiting = state.withLock { state in
            state.isBroken = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for (_, sender) in waiting { sender.resume(returning: false) }
    }
}
