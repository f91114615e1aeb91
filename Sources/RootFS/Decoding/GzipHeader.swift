import CZlib

/// The header of a gzip member (RFC 1952, 2.3), taken byte by byte as they come. Takes and refuses what zlib does.
struct GzipHeader {
    private enum Part: Int {
        case fixed
        case extraLength
        case extra
        case name
        case comment
        case checksum
        case end
    }

    private enum Flag {
        static let checksum: UInt8 = 1 << 1
        static let extra: UInt8 = 1 << 2
        static let name: UInt8 = 1 << 3
        static let comment: UInt8 = 1 << 4
        static let reserved: UInt8 = 0xE0
    }

    private static let fixedSize = 10

    private var part = Part.fixed
    /// Bytes of the part that were read.
    private var position = 0
    private var flags: UInt8 = 0
    /// A number of two bytes that is being read.
    private var number = 0
    private var crc = crc32(0, nil, 0)

    /// Takes bytes up to the end of the header; returns how many, and whether the end is reached.
    mutating func read(_ input: UnsafeRawBufferPointer) throws(RootFSError) -> (consumed: Int, isComplete: Bool) {
        var consumed = 0
        while part != .end, consumed < input.count {
            try accept(input[consumed])
            consumed += 1
        }
        return (consumed, part == .end)
    }

    private mutating func accept(_ byte: UInt8) throws(RootFSError) {
        var byte = byte
        let sum = crc
        crc = crc32(crc, &byte, 1)
        switch part {
        case .fixed:
            try acceptFixed(byte)
        case .extraLength:
            number |= Int(byte) << (8 * position)
            if position == 1 { advance() }
        case .extra:
            if position == number - 1 { advance() }
        case .name, .comment:
            if byte == 0 { advance() }
        case .checksum:
            // Of all bytes of the header before it: the lower half of their CRC-32.
            guard byte == UInt8(truncatingIfNeeded: number >> (8 * position)) else {
                throw Self.corrupt("header crc mismatch")
            }
            crc = sum
            if position == 1 { advance() }
        case .end:
            return
        }
        position += 1
    }

    private mutating func acceptFixed(_ byte: UInt8) throws(RootFSError) {
        switch position {
        case 0: guard byte == 0x1F else { throw Self.corrupt("incorrect header check") }
        case 1: guard byte == 0x8B else { throw Self.corrupt("incorrect header check") }
        case 2: guard byte == 8 else { throw Self.corrupt("unknown compression method") }
        case 3:
            guard byte & Flag.reserved == 0 else { throw Self.corrupt("unknown header flags set") }
            flags = byte
        case Self.fixedSize - 1: advance()
        default: break
        }
    }

    /// Goes on to the next part that the flags say is there.
    private mutating func advance() {
        let length = number
        number = 0
        // What accept adds for the byte that ended the part.
        position = -1
        while let next = Part(rawValue: part.rawValue + 1) {
            part = next
            switch part {
            case .fixed, .extraLength: if flags & Flag.extra != 0 { return }
            case .extra:
                number = length
                if flags & Flag.extra != 0, number > 0 { return }
            case .name: if flags & Flag.name != 0 { return }
            case .comment: if flags & Flag.comment != 0 { return }
            case .checksum:
                number = Int(crc & 0xFFFF)
                if flags & Flag.checksum != 0 { return }
            case .end: return
            }
        }
    }

    private static func corrupt(_ reason: String) -> RootFSError {
        RootFSError(.compression, "the gzip data is corrupt (\(reason))")
    }
}
