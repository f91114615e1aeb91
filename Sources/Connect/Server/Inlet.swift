internal import HummingbirdCore
internal import NIOCore

/// The messages of a request's body, one after the other, within bounds.
final class Inlet {
    /// Runs on another executor than its caller, which waits for it: one task at a time has it all the same.
    private nonisolated(unsafe) var body: RequestBody.AsyncIterator
    private var parser: EnvelopeParser
    private let encoding: ContentEncoding
    private let limit: Int
    private var hasEnded = false

    init(_ body: RequestBody, encoding: ContentEncoding, limit: Int) {
        self.body = body.makeAsyncIterator()
        self.encoding = encoding
        self.limit = limit
        parser = EnvelopeParser(limit: limit)
    }

    /// The next message, decompressed; nil at the proper end.
    func next() async throws -> [UInt8]? {
        while true {
            if let envelope = try parser.next() { return try payload(of: envelope) }
            if hasEnded { return nil }
            if let piece = try await piece() {
                parser.append(piece)
            } else {
                hasEnded = true
                if parser.hasRest {
                    throw ConnectError(.invalidArgument, "the request ends in the middle of a message")
                }
            }
        }
    }

    /// The one message of a request that has exactly one.
    func only() async throws -> [UInt8] {
        guard let message = try await next() else {
            throw ConnectError(.unimplemented, "the request holds no message, and there must be one")
        }
        guard try await next() == nil else {
            throw ConnectError(.unimplemented, "the request holds more than one message")
        }
        return message
    }

    private func piece() async throws(ConnectError) -> ByteBuffer? {
        do {
            return try await body.next()
        } catch {
            throw .brokenOff
        }
    }

    private func payload(of envelope: Envelope) throws(ConnectError) -> [UInt8] {
        guard !envelope.isEndOfStream else {
            throw ConnectError(.invalidArgument, "a request's message has the flag of a response's last one")
        }
        guard envelope.isCompressed else { return envelope.payload }
        guard encoding == .gzip else {
            throw ConnectError(.internal, "a message is compressed, but Connect-Content-Encoding does not say how")
        }
        return try Gzip.decompress(envelope.payload, limit: limit)
    }
}

extension RequestBody {
    /// All of the body, decompressed.
    func whole(_ encoding: ContentEncoding, limit: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        var pieces = makeAsyncIterator()
        while true {
            let next: ByteBuffer?
            do {
                next = try await pieces.next()
            } catch {
                throw ConnectError.brokenOff
            }
            guard let piece = next else { break }
            guard piece.readableBytes <= limit - bytes.count else {
                throw ConnectError.tooLarge(bytes.count + piece.readableBytes, limit: limit)
            }
            bytes += piece.readableBytesView
        }
        return encoding == .gzip ? try Gzip.decompress(bytes, limit: limit) : bytes
    }
}

extension ConnectError {
    /// Nobody is there to read it.
    fileprivate static var brokenOff: ConnectError { ConnectError(.canceled, "the request broke off") }
}
