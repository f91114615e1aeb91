import CCRC32C

/// What host and guest put around a message on the one byte stream between them.
///
/// | offset | bytes | |
/// | --- | --- | --- |
/// | 0 | 4 | magic |
/// | 4 | 2 | kind of message |
/// | 6 | 2 | zero |
/// | 8 | 8 | nonce of the session, chosen by the host |
/// | 16 | 4 | id of the command or request, chosen by the host |
/// | 20 | 4 | length of the payload |
/// | 24 | 4 | CRC32C of the payload |
/// | 28 | 4 | CRC32C of bytes 0..<28 |
///
/// Numbers are little-endian. This layout, and the hello messages' first four bytes, stay the same in every version.
///
/// Neither end of a virtio-serial port reliably sees the other go, and bytes of an end that went stay queued, perhaps in
/// the middle of a frame. So a connection begins with ``resynchronization``, which fills up any such frame (its checksum
/// is wrong then), and the hello's new nonce makes everything older foreign.
package struct Frame: Hashable, Sendable {
    package var kind: UInt16
    package var nonce: UInt64
    package var id: UInt32
    package var payload: [UInt8]

    package init(kind: UInt16, nonce: UInt64, id: UInt32, payload: [UInt8]) {
        self.kind = kind
        self.nonce = nonce
        self.id = id
        self.payload = payload
    }

    package static let magic: UInt32 = 0x6657_F753
    package static let headerLength = 32
    /// The most bytes that a message's payload has.
    package static let maximumPayload = 256 << 10
    package static let maximumLength = headerLength + maximumPayload

    /// What the host sends before its first hello: as many zeros as a frame can have bytes.
    package static var resynchronization: [UInt8] { [UInt8](repeating: 0, count: maximumLength) }

    /// Appends the frame's bytes.
    ///
    /// - Throws: `tooLarge`; nothing is appended then.
    package func encode(into bytes: inout [UInt8]) throws(ProtocolError) {
        guard payload.count <= Self.maximumPayload else {
            throw ProtocolError(
                .tooLarge, "a message of \(payload.count) bytes is larger than \(Self.maximumPayload)")
        }
        let start = bytes.count
        bytes.reserveCapacity(start + Self.headerLength + payload.count)
        bytes.append(littleEndian: Self.magic)
        bytes.append(littleEndian: kind)
        bytes.append(littleEndian: UInt16(0))
        bytes.append(littleEndian: nonce)
        bytes.append(littleEndian: id)
        bytes.append(littleEndian: UInt32(payload.count))
        bytes.append(littleEndian: Self.checksum(payload[...]))
        bytes.append(littleEndian: Self.checksum(bytes[start...]))
        bytes += payload
    }

    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.withUnsafeBytes { ccrc32c_update(~0, $0.baseAddress, $0.count) }
    }
}

extension [UInt8] {
    mutating func append<Number: FixedWidthInteger>(littleEndian number: Number) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }
}
