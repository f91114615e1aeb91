import Glibc
import GuestProtocol

/// The port to the host: messages in, messages out, both bounded.
final class GuestPortConnection {
    /// While more than this waits to be sent, nothing is read from the host nor from any command.
    private static let sendBound = 512 << 10

    let raw: Int32
    private var decoder = FrameDecoder()
    private var outgoing: [UInt8] = []
    private var buffer = [UInt8](repeating: 0, count: 64 << 10)
    /// Of the session; no message is sent before the first hello.
    private(set) var nonce: UInt64?

    /// - Parameter raw: a non-blocking descriptor.
    init(_ raw: Int32) {
        self.raw = raw
    }

    var hasRoom: Bool { outgoing.count < Self.sendBound }
    var hasOutgoing: Bool { !outgoing.isEmpty }

    /// Begins a session: what was queued for an older one is of no use to anybody.
    func begin(nonce: UInt64) {
        self.nonce = nonce
        // Of what waited a part may be written: that frame is filled up, for a host that has read its beginning.
        outgoing = hasOutgoing ? Frame.resynchronization : []
    }

    func send(_ message: GuestMessage, id: UInt32) {
        guard let nonce else { return }
        do {
            try message.frame(nonce: nonce, id: id).encode(into: &outgoing)
        } catch {
            // Only a text that came from outside can be so long.
            let failure = GuestMessage.failed(GuestFailure(.tooLarge, "an answer is too large to be sent"))
            try? failure.frame(nonce: nonce, id: id).encode(into: &outgoing)
        }
    }

    /// Writes as much as the host takes now.
    func flush() throws(SystemError) {
        var sent = 0
        defer { outgoing.removeFirst(sent) }
        while sent < outgoing.count {
            let count = outgoing[sent...].withUnsafeBytes { write(raw, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            if count < 0 && (errno == EAGAIN || errno == EPIPE) { return }
            guard count > 0 else { throw SystemError(errno, "write to the host's port") }
            sent += count
        }
    }

    /// Reads what there is, at most a buffer.
    ///
    /// - Returns: `false` when no host is there.
    func receive() throws(SystemError) -> Bool {
        let count = read(raw, &buffer, buffer.count)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return true }
        guard count >= 0 else { throw SystemError(errno, "read from the host's port") }
        decoder.append(buffer[..<count])
        return count > 0
    }

    func next() -> Frame? { decoder.next() }
}
