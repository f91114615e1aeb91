/// One 512-byte header block, read as whichever of the tar formats it is in.
///
/// Layouts: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"; star(5).
struct TarBlock {
    static let size = 512

    enum Format {
        case v7
        case ustar
        case star
        case gnu
    }

    /// Always `size` bytes.
    var bytes = [UInt8](repeating: 0, count: size)

    var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    var format: Format {
        if bytes[257..<263].elementsEqual(Self.ustarMagic) {
            return bytes[508..<512].elementsEqual(Self.starMagic) ? .star : .ustar
        }
        return bytes[257..<265].elementsEqual(Self.gnuMagic) ? .gnu : .v7
    }

    private static let ustarMagic = Array("ustar\0".utf8)
    private static let starMagic = Array("tar\0".utf8)
    private static let gnuMagic = Array("ustar  \0".utf8)

    var typeFlag: UInt8 { bytes[156] }

    /// The header's sum must match with its bytes taken as unsigned or, as historic tars did, signed numbers.
    func checkSum() throws(RootFSError) {
        let recorded = try number(148..<156, "checksum")
        // Of each header, so it counts how fast this is: all bytes without a branch, then the field taken for spaces.
        var sum = 0
        var negative = 0
        for byte in bytes {
            sum += Int(byte)
            negative += Int(byte >> 7)
        }
        for byte in bytes[148..<156] {
            sum += 0x20 - Int(byte)
            negative -= Int(byte >> 7)
        }
        let unsigned = Int64(sum)
        let signed = Int64(sum - 256 * negative)
        guard recorded == unsigned || recorded == signed else {
            throw RootFSError(.archive, "the archive is corrupt: a header's checksum does not match")
        }
    }

    /// Bytes of a field up to the first NUL.
    func text(_ field: Range<Int>) -> [UInt8] {
        let end = bytes[field].firstIndex(of: 0) ?? field.upperBound
        return Array(bytes[field.lowerBound..<end])
    }

    /// The path: a name, and before it the prefix where the format has one.
    var path: [UInt8] {
        let prefix: [UInt8] =
            switch format {
            case .ustar: text(345..<500)
            case .star: text(345..<476)
            case .gnu, .v7: []
            }
        let name = text(0..<100)
        return prefix.isEmpty ? name : prefix + [UInt8(ascii: "/")] + name
    }

    var linkTarget: [UInt8] { text(157..<257) }

    /// A number in octal, or in base 256 where the first bit is set (GNU, star; two's complement).
    func number(_ field: Range<Int>, _ name: String) throws(RootFSError) -> Int64 {
        bytes[field.lowerBound] & 0x80 == 0 ? try octal(field, name) : try base256(field, name)
    }

    /// A number that may not be negative.
    func magnitude(_ field: Range<Int>, _ name: String) throws(RootFSError) -> UInt64 {
        let value = try number(field, name)
        guard value >= 0 else { throw RootFSError(.archive, "the header's \(name) is negative (\(value))") }
        return UInt64(value)
    }

    private func octal(_ field: Range<Int>, _ name: String) throws(RootFSError) -> Int64 {
        // Historic tars pad with spaces or NULs at either side.
        let padding: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0 }
        let digits = bytes[field].drop(while: padding).prefix { $0 != 0 }
        var value: Int64 = 0
        var ended = false
        for byte in digits {
            if byte == 0x20 {
                ended = true
                continue
            }
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 8)
            guard !ended, (0x30...0x37).contains(byte), !overflow else {
                throw RootFSError(.archive, "the archive is corrupt: a header's \(name) is not an octal number")
            }
            value = shifted + Int64(byte - 0x30)
        }
        return value
    }

    private func base256(_ field: Range<Int>, _ name: String) throws(RootFSError) -> Int64 {
        let negative = bytes[field.lowerBound] & 0x40 != 0
        var value: Int64 = negative ? -1 : 0
        for (index, byte) in bytes[field].enumerated() {
            // The marker bit stands where the sign would be.
            let digit = index == 0 ? (negative ? byte | 0x80 : byte & 0x7F) : byte
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 256)
            guard !overflow else {
                throw RootFSError(.archive, "the archive is corrupt: a header's \(name) is past 64 bits")
            }
            // The low byte of `shifted` is zero in either sign, so this cannot overflow. A leading 0xFF of a negative
            // number is its sign, already there.
            value = index == 0 && negative ? Int64(Int8(bitPattern: digit)) : shifted | Int64(digit)
        }
        return value
    }
}
