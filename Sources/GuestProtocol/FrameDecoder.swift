/// Finds the frames in a stream of bytes, whatever else is in it.
///
/// What is no frame is skipped: a header that is not whole byte by byte, a payload with a wrong checksum as a whole, for
/// which ``Frame/resynchronization`` has made room. Time is linear in the bytes; what is kept is less than a frame and
/// what was given last.
package struct FrameDecoder: Sendable {
    private var buffer: [UInt8] = []
    private var position = 0
    /// The checksum of a payload that is still incomplete need not be looked at, nor its header again.
    private var pending: Header?
    /// How many bytes were skipped so far.
    package private(set) var skipped = 0

    package init() {}

    private struct Header: Sendable {
        var kind: UInt16
        var nonce: UInt64
        var id: UInt32
        var length: Int
        var payloadChecksum: UInt32
    }

    /// Takes what was read. Give pieces of at most some hundred KiB, and call ``next()`` until it has nothing.
    package mutating func append(_ bytes: some Sequence<UInt8>) {
        if position > 0 {
            buffer.removeFirst(position)
            position = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next whole frame, of any nonce, or `nil` when more bytes are needed.
    package mutating func next() -> Frame? {
        while true {
            guard let header = pending ?? findHeader() else { return nil }
            let end = position + Frame.headerLength + header.length
            guard end <= buffer.count else {
                pending = header
                return nil
            }
            pending = nil
            let payload = buffer[(position + Frame.headerLength)..<end]
            let isWhole = Frame.checksum(payload) == header.payloadChecksum
            if !isWhole { skipped += end - position }
            position = end
            if isWhole {
                return Frame(kind: header.kind, nonce: header.nonce, id: header.id, payload: Array(payload))
            }
        }
    }

    /// Moves to the next header that is whole, or as far as no header can begin.
    private mutating func findHeader() -> Header? {
        let start = position
        defer { skipped += position - start }
        while position + Frame.headerLength <= buffer.count {
            if let header = header(at: position) { return header }
            position += 1
            // Most of what is skipped is a resynchronization's zeros.
            while position < buffer.count, buffer[position] != UInt8(truncatingIfNeeded: Frame.magic) { position += 1 }
        }
        return nil
    }

    private func header(at start: Int) -> Header? {
        var reader = PayloadReader(buffer[start..<(start + Frame.headerLength)])
        guard let magic = try? reader.number(UInt32.self), magic == Frame.magic,
            let kind = try? reader.number(UInt16.self), let zero = try? reader.number(UInt16.self), zero == 0,
            let nonce = try? reader.number(UInt64.self), let id = try? reader.number(UInt32.self),
            let length = try? reader.number(UInt32.self), length <= UInt32(Frame.maximumPayload),
            let payloadChecksum = try? reader.number(UInt32.self),
            let checksum = try? reader.number(UInt32.self),
            checksum == Frame.checksum(buffer[start..<(start + Frame.headerLength - 4)])
        else { return nil }
        return Header(kind: kind, nonce: nonce, id: id, length: Int(length), payloadChecksum: payloadChecksum)
    }
}
