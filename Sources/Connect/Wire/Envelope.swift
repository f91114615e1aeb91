internal import NIOCore

/// One message of a stream: a byte of flags, four bytes of length (big endian), the payload.
struct Envelope: Hashable, Sendable {
    static let headerSize = 5
    static let compressedFlag: UInt8 = 1
    static let endOfStreamFlag: UInt8 = 2

    var flags: UInt8
    var payload: [UInt8]

    /// A message, compressed where that may be and helps.
    init(_ message: [UInt8], compresses: Bool) throws(ConnectError) {
        let compressed = compresses && message.count >= Gzip.leastSize ? try Gzip.compress(message) : nil
        if let compressed, compressed.count < message.count {
            flags = Self.compressedFlag
            payload = compressed
        } else {
            flags = 0
            payload = message
        }
    }

    init(flags: UInt8, payload: [UInt8]) {
        self.flags = flags
        self.payload = payload
    }

    var isCompressed: Bool { flags & Self.compressedFlag != 0 }
    var isEndOfStream: Bool { flags & Self.endOfStreamFlag != 0 }

    /// The bytes on the wire. The payload must have fewer than 2³² bytes: whoever makes it has checked a smaller limit.
    func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Self.headerSize + payload.count)
        buffer.writeInteger(flags)
        buffer.writeInteger(UInt32(truncatingIfNeeded: payload.count))
        buffer.writeBytes(payload)
        return buffer
    }
}

/// Finds the envelopes in the pieces that a body comes in, however it is cut. A value, without input or output.
///
/// Keeps at most one envelope that is within the limit, and the piece it came with.
struct EnvelopeParser {
    let limit: Int
    private var buffer = ByteBuffer()

    /// - Parameter limit: the most bytes of one payload, as it comes (compressed).
    init(limit: Int) { self.limit = limit }

    /// Whether bytes are left which are no whole envelope yet.
    var hasRest: Bool { buffer.readableBytes > 0 }

    mutating func append(_ piece: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = piece
        } else {
            buffer.discardReadBytes()
            buffer.writeImmutableBuffer(piece)
        }
    }

    /// The next envelope, or nil until more has come.
    mutating func next() throws(ConnectError) -> Envelope? {
        guard let flags = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self),
            let length = buffer.getInteger(at: buffer.readerIndex + 1, as: UInt32.self)
        else { return nil }
        guard flags & ~(Envelope.compressedFlag | Envelope.endOfStreamFlag) == 0 else {
            throw ConnectError(.internal, "a message of the stream has flags that are not known (\(flags))")
        }
        guard length <= limit else { throw .tooLarge(Int(length), limit: limit) }
        guard buffer.readableBytes >= Envelope.headerSize + Int(length) else { return nil }
        buffer.moveReaderIndex(forwardBy: Envelope.headerSize)
        return Envelope(flags: flags, payload: buffer.readBytes(length: Int(length)) ?? [])
    }
}

extension ConnectError {
    static func tooLarge(_ size: Int, limit: Int) -> ConnectError {
        ConnectError(.resourceExhausted, "a message of \(size) bytes is larger than the limit of \(limit)")
    }
}
