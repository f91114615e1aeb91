import CLinux
import Glibc
import Synchronization

/// Between the thread that serves a command and the task that listens to it: progress one way, back-pressure and
/// cancelling the other.
final class CommandExchange: CommandWatch {
    /// With so many bytes waiting for the task, the thread takes no more from the command.
    private static let capacity = 128 << 10

    private struct State {
        var queue: [CommandProgress] = []
        var waiting = 0
        var isEnded = false
        var isCancelled = false
        var listener: CheckedContinuation<CommandProgress?, Never>?

        mutating func append(_ progress: CommandProgress) {
            waiting += progress.count
            switch (queue.last, progress) {
            case (.output(let before)?, .output(let bytes)): queue[queue.count - 1] = .output(before + bytes)
            case (.errors(let before)?, .errors(let bytes)): queue[queue.count - 1] = .errors(before + bytes)
            default: queue.append(progress)
            }
        }
    }

    private let state = Mutex(State())
    private let bell: Pipe

    var readEnd: Int32 { bell.read.raw }

    init() throws(SandboxError) {
        bell = try Pipe()
        setNonBlocking(bell.read.raw)
        setNonBlocking(bell.write.raw)
    }

    /// Makes the thread look again. One unread byte is enough, so a full pipe is no loss.
    func ring() {
        var byte: UInt8 = 0
        _ = retrying { write(bell.write.raw, &byte, 1) }
    }

    func cancel() {
        state.withLock { $0.isCancelled = true }
        ring()
    }

    // MARK: The thread

    func isCancelled() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 512)
        while retrying({ read(bell.read.raw, &bytes, bytes.count) }) == bytes.count {}
        return state.withLock { $0.isCancelled }
    }

    var hasRoom: Bool { state.withLock { $0.waiting < Self.capacity } }

    func put(_ progress: CommandProgress) {
        let listener = state.withLock { state -> CheckedContinuation<CommandProgress?, Never>? in
            if let listener = state.listener.take() { return listener }
            state.append(progress)
            return nil
        }
        listener?.resume(returning: progress)
    }

    /// The listener hears the end once it has taken everything.
    func end() {
        let listener = state.withLock { state in
            state.isEnded = true
            return state.listener.take()
        }
        listener?.resume(returning: nil)
    }

    // MARK: The task

    /// - Returns: `nil` when the thread is done; soon after a cancel, too.
    func next() async -> CommandProgress? {
        await withCheckedContinuation { continuation in
            var hasRoomAgain = false
            let ready = state.withLock { state -> (Bool, CommandProgress?) in
                if !state.queue.isEmpty {
                    let wasFull = state.waiting >= Self.capacity
                    let first = state.queue.removeFirst()
                    state.waiting -= first.count
                    hasRoomAgain = wasFull && state.waiting < Self.capacity
                    return (true, first)
                }
                if !state.isEnded { state.listener = continuation }
                return (state.isEnded, nil)
            }
            if hasRoomAgain { ring() }
            if ready.0 { continuation.resume(returning: ready.1) }
        }
    }
}

extension CommandProgress {
    fileprivate var count: Int {
        switch self {
        case .started: 0
        case .output(let bytes), .errors(let bytes): bytes.count
        }
    }
}
