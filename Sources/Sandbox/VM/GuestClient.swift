import Glibc
package import GuestProtocol
import Synchronization

/// A connection to a sandbox's shim, for one command or one file. Its end cancels what was begun.
struct GuestClient: ~Copyable {
    static let number: UInt32 = 1

    let peer: FramePeer

    /// - Throws: code `unavailable` when no shim listens (any more): look whether the sandbox is over.
    init(_ directory: SandboxDirectory) throws(SandboxError) {
        guard let socket = try UnixSocket.connect(SandboxDirectory.socketName, in: directory.path) else {
            throw SandboxError(.unavailable, "nobody answers for the sandbox in \(directory.path)")
        }
        let raw = fcntl(socket.raw, F_DUPFD_CLOEXEC, 3)
        guard raw >= 0 else { throw .system(errno, "duplicate a socket") }
        peer = FramePeer(raw)
    }

    func put(_ message: HostMessage) {
        peer.put(message.frame(nonce: 0, id: Self.number))
    }

    /// The next message from the guest; `nil` when there is none yet.
    func next() throws(SandboxError) -> GuestMessage? {
        guard let frame = peer.next() else { return nil }
        do throws(ProtocolError) {
            return try GuestMessage(frame)
        } catch {
            throw SandboxError(.incompatible, "the guest's agent does not follow the protocol: \(error.message)")
        }
    }
}

/// Why a conversation with the guest ended before its last answer.
enum GuestTrouble: Sendable {
    /// The shim closed the connection: most likely the sandbox is over.
    case gone
    case timedOut
    case cancelled
    case failed(GuestFailure)
    case tooMuchOutput
}

/// How a conversation ended.
enum GuestEnd: Sendable {
    case exited(CommandEnd)
    case done
    case trouble(GuestTrouble)
}

/// What else a running command can be told.
package final class GuestControl: Sendable {
    private let state = Mutex<(size: TerminalSize?, signals: [Int32], bell: (@Sendable () -> Void)?)>((nil, [], nil))

    package init() {}

    /// The terminal has another size now.
    package func resize(_ size: TerminalSize) {
        state.withLock { state in
            state.size = size
            return state.bell
        }?()
    }

    /// Sends a signal to the command's process group.
    package func signal(_ number: Int32) {
        state.withLock { state in
            // More than a few that nobody took are one too many.
            if state.signals.count < 16 { state.signals.append(number) }
            return state.bell
        }?()
    }

    func open(_ bell: @escaping @Sendable () -> Void) {
        state.withLock { $0.bell = bell }
    }

    func take() -> [HostMessage] {
        state.withLock { state in
            let messages = (state.size.map { [HostMessage.resize($0)] } ?? []) + state.signals.map { .signal($0) }
            state.size = nil
            state.signals = []
            return messages
        }
    }
}

/// Begins something in the guest, feeds it, takes what it says, and ends it at its deadline or when it is cancelled.
/// Blocks its thread.
struct GuestConversation: ~Copyable {
    private let client: GuestClient
    private var feed: CommandInput
    private let watch: any CommandWatch
    private let sink: CommandSink
    private let control: GuestControl?
    private var isFeeding: Bool
    private var window = SendWindow()
    private var received = [ReceiveWindow(), ReceiveWindow()]
    /// What was handed to a listener that has no room: credit for it comes later.
    private var owed = [0, 0]
    private(set) var gathered: [[UInt8]] = [[], []]

    init(
        _ client: consuming GuestClient, _ begin: HostMessage, input feed: consuming CommandInput, feeds: Bool,
        watch: any CommandWatch, sink: CommandSink, control: GuestControl? = nil
    ) {
        self.client = client
        self.feed = feed
        self.watch = watch
        self.sink = sink
        self.control = control
        isFeeding = feeds
        self.client.put(begin)
    }

    struct Outcome: Sendable {
        var end: GuestEnd
        var output: [UInt8]
        var errors: [UInt8]
    }

    /// Goes on to the end; the connection is closed afterwards, and what still runs is cancelled by that.
    ///
    /// - Parameter deadline: `nil` for none.
    consuming func finish(deadline: Duration?) throws(SandboxError) -> Outcome {
        let limit = deadline.map { SteadyClock.now() + $0 }
        let end = try pump(until: limit)
        feed.close()
        return Outcome(end: end, output: gathered[0], errors: gathered[1])
    }

    private mutating func pump(until limit: Duration?) throws(SandboxError) -> GuestEnd {
        while true {
            for message in control?.take() ?? [] { client.put(message) }
            try send()
            giveCredit()
            client.peer.flush()
            var milliseconds: Int64 = 60_000
            if let limit {
                let rest = limit - SteadyClock.now()
                guard rest > .zero else { return .trouble(.timedOut) }
                milliseconds = min(rest.wholeMilliseconds + 1, milliseconds)
            }
            var pollers = [
                client.peer.poller(reads: true), pollfd(fd: watch.readEnd, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&pollers, nfds_t(pollers.count), Int32(clamping: milliseconds))
            if count < 0 && errno != EINTR { throw .system(errno, "wait for a guest") }
            if count <= 0 { continue }
            if pollers[1].revents != 0 && watch.isCancelled() { return .trouble(.cancelled) }
            if pollers[0].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 { client.peer.fill() }
            while let message = try client.next() {
                if let end = accept(message) { return end }
            }
            if client.peer.isClosed { return .trouble(.gone) }
        }
    }

    /// Sends what there is of the input, as far as there is credit.
    private mutating func send() throws(SandboxError) {
        while isFeeding {
            // The end needs no credit.
            switch try feed.next() {
            case .nothingYet: return
            case .end:
                client.put(.inputEnd)
                isFeeding = false
            case .bytes(let bytes):
                guard window.piece > 0 else { return }
                let piece = bytes.prefix(window.piece)
                client.put(.input(Array(piece)))
                window.sent(piece.count)
                feed.consumed(piece.count)
            }
        }
    }

    /// - Returns: the end, when that was the last message.
    private mutating func accept(_ message: GuestMessage) -> GuestEnd? {
        switch message {
        case .started(_):
            if case .pass(let exchange) = sink { exchange.put(.started) }
        case .output(let channel, let bytes):
            if !take(channel, bytes) { return .trouble(.tooMuchOutput) }
        case .inputCredit(let count):
            // More than was ever owed is the guest's own affair: nothing is lost by it.
            _ = window.credit(count)
        case .inputClosed:
            feed.close()
            isFeeding = false
        case .exited(let end): return .exited(end)
        case .done: return .done
        case .failed(let failure): return .trouble(.failed(failure))
        case .hello, .pong, .status: break
        }
        return nil
    }

    /// - Returns: whether it stayed within the limit.
    private mutating func take(_ channel: GuestChannel, _ bytes: [UInt8]) -> Bool {
        let index = channel == .output ? 0 : 1
        _ = received[index].received(bytes.count)
        owed[index] += bytes.count
        switch sink {
        case .pass(let exchange):
            exchange.put(channel == .output ? .output(bytes) : .errors(bytes))
            return true
        case .gather(let limit):
            gathered[index] += bytes
            return gathered[index].count <= (index == 0 ? limit : max(limit, CommandSink.leastErrorLimit))
        }
    }

    /// A listener that has no room holds the command back: it gets no credit until there is some.
    private mutating func giveCredit() {
        if case .pass(let exchange) = sink, !exchange.hasRoom { return }
        for (index, channel) in [GuestChannel.output, .errors].enumerated() where owed[index] > 0 {
            if let credit = received[index].passedOn(owed[index]) { client.put(.credit(channel, credit)) }
            owed[index] = 0
        }
    }
}
