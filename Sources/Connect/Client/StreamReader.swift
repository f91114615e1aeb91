internal import NIOCore
internal import NIOHTTP1

/// The messages of a stream that comes, and its end.
///
/// A class, because a stream is one however many hold it; used by one task at a time.
final class StreamReader {
    private enum State {
        case head
        case messages(ContentEncoding)
        case ended
        case failed(CallFailure)
    }

    private let exchange: Exchange
    private let configuration: ConnectClientConfiguration
    private var parser: EnvelopeParser
    private var state = State.head

    init(_ exchange: Exchange, _ configuration: ConnectClientConfiguration) {
        self.exchange = exchange
        self.configuration = configuration
        parser = EnvelopeParser(limit: configuration.messageLimit)
    }

    /// Whether the server has said all: success, or the error that `next()` threw.
    var hasEnded: Bool {
        switch state {
        case .head, .messages: false
        case .ended: true
        case .failed(let failure): failure.isAnswer
        }
    }

    /// Reads the head of the answer and finds out whether it is a stream at all.
    func open() async throws(CallFailure) {
        let answer = UnaryAnswer(configuration)
        let head = try await exchange.head()
        let type = mediaType(head.headers.first(name: "content-type") ?? "")
        guard head.status == .ok else { throw try await answer.failure(exchange, head, type) }
        guard type == configuration.codec.streamType else { throw answer.foreign(head, type) }
        guard let encoding = ContentEncoding(header: head.headers.first(name: "connect-content-encoding")) else {
            throw Self.broken("the stream is compressed in a way that was not asked for")
        }
        state = .messages(encoding)
    }

    /// The bytes of the next message, decompressed; nil after the end, which must have come.
    func next() async throws(CallFailure) -> [UInt8]? {
        switch state {
        case .head: try await open()
        case .messages: break
        case .ended: return nil
        case .failed(let failure): throw failure
        }
        do throws(CallFailure) {
            let message = try await read()
            if message == nil { state = .ended }
            return message
        } catch {
            state = .failed(error)
            throw error
        }
    }

    private func read() async throws(CallFailure) -> [UInt8]? {
        guard case .messages(let encoding) = state else { return nil }
        while true {
            if let envelope = try envelope() {
                let payload = try payload(of: envelope, encoding)
                guard envelope.isEndOfStream else { return payload }
                try await finish(payload)
                return nil
            }
            guard let piece = try await exchange.next() else {
                throw CallFailure(
                    ConnectError(
                        .unavailable,
                        "the answer of \(configuration.address) broke off: the end of the stream did not come",
                        isAmbiguous: true), isPassing: true)
            }
            parser.append(piece)
        }
    }

    private func envelope() throws(CallFailure) -> Envelope? {
        do throws(ConnectError) {
            return try parser.next()
        } catch {
            throw CallFailure(error.ambiguous)
        }
    }

    private func payload(of envelope: Envelope, _ encoding: ContentEncoding) throws(CallFailure) -> [UInt8] {
        guard envelope.isCompressed else { return envelope.payload }
        guard encoding == .gzip else { throw Self.broken("a message is compressed, but the stream's head says no way") }
        do throws(ConnectError) {
            return try Gzip.decompress(envelope.payload, limit: configuration.messageLimit)
        } catch {
            throw Self.broken(error.message)
        }
    }

    /// After the stream's end: nothing may follow. A connection that breaks there has done its work.
    private func finish(_ payload: [UInt8]) async throws(CallFailure) {
        let error: ConnectError?
        do throws(ConnectError) {
            error = try EndOfStream.parse(payload)
        } catch {
            throw Self.broken(error.message)
        }
        var rest = parser.hasRest
        do throws(CallFailure) {
            while !rest, let piece = try await exchange.next() { rest = piece.readableBytes > 0 }
        } catch {
            if error.error.code == .canceled || error.error.code == .deadlineExceeded { exchange.close() }
        }
        if rest { throw Self.broken("bytes follow the end of the stream") }
        guard var error else { return }
        error.message = exchange.secrets.redacted(error.message)
        error.isAmbiguous = error.code.leavesEffectOpen
        var failure = CallFailure(error, isPassing: error.code == .unavailable)
        failure.isAnswer = true
        throw failure
    }

    private static func broken(_ why: String) -> CallFailure {
        CallFailure(ConnectError(.internal, why, isAmbiguous: true))
    }
}
