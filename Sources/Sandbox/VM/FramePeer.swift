import Glibc
import GuestProtocol

/// One end of a stream of frames: a non-blocking socket, what came in part, and what waits to be sent.
final class FramePeer {
    let descriptor: Int32
    private var decoder = FrameDecoder()
    private var outgoing: [UInt8] = []
    private var sent = 0
    /// Whether the other end is gone.
    private(set) var isClosed = false

    /// - Parameter descriptor: closed with this object.
    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        setNonBlocking(descriptor)
    }

    deinit {
        close(descriptor)
    }

    /// Bytes that wait to be sent.
    var waiting: Int { outgoing.count - sent }

    /// What poll(2) should look for.
    ///
    /// - Parameter reads: whether there is room for what comes.
    func poller(reads: Bool) -> pollfd {
        let events = (reads ? POLLIN : 0) | (waiting > 0 ? POLLOUT : 0)
        return pollfd(fd: isClosed ? -1 : descriptor, events: Int16(events), revents: 0)
    }

    func put(_ frame: Frame) {
        do throws(ProtocolError) {
            try frame.encode(into: &outgoing)
        } catch {
            // Only what is larger than a frame may be fails, and frames that came from a peer are not.
            isClosed = true
        }
    }

    /// Sends as much as the other end takes now.
    func flush() {
        while waiting > 0, !isClosed {
            let count = outgoing.withUnsafeBytes {
                send(descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            if count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) { break }
            guard count > 0 else {
                isClosed = true
                break
            }
            sent += count
        }
        if sent == outgoing.count || sent > 1 << 20 {
            outgoing.removeFirst(sent)
            sent = 0
        }
    }

    /// Reads once, so that one peer does not hold up the others.
    ///
    /// - Returns: whether anything came.
    @discardableResult
    func fill() -> Bool {
        var chunk = [UInt8](repeating: 0, count: 128 << 10)
        let count = retrying { read(descriptor, &chunk, chunk.count) }
        if count > 0 {
            decoder.append(chunk[..<count])
            return true
        }
        if count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) { isClosed = true }
        return false
    }

    func next() -> Frame? { decoder.next() }
}
