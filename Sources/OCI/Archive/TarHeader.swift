/// One header block of the tar archive that an image is shipped in (POSIX.1-2017 pax, "ustar Interchange Format"; GNU
/// tar manual, "Basic Tar Format").
///
/// Only what an index needs: RootFS, which this module does not know, reads the layers within.
struct TarHeader {
    static let size = 512

    /// Always `size` bytes.
    let bytes: ArraySlice<UInt8>

    init(_ block: [UInt8]) { bytes = block[...] }

    var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    var typeFlag: UInt8 { bytes[156] }

    var linkTarget: String { text(157..<257) }

    var path: String {
        let name = text(0..<100)
        guard bytes[257..<263].elementsEqual("ustar\0".utf8) else { return name }
        let prefix = text(345..<500)
        return prefix.isEmpty ? name : "\(prefix)/\(name)"
    }

    /// nil when the field is no number, or a negative one.
    var payloadSize: Int64? { number(124..<136) }

    /// Whether the header's sum fits: else it is no header. Historic tars summed signed bytes.
    var hasValidChecksum: Bool {
        guard let recorded = number(148..<156) else { return false }
        var unsigned: Int64 = 0
        var signed: Int64 = 0
        for (index, byte) in bytes.enumerated() {
            let counted = (148..<156).contains(index) ? UInt8(ascii: " ") : byte
            unsigned += Int64(counted)
            signed += Int64(Int8(bitPattern: counted))
        }
        return recorded == unsigned || recorded == signed
    }

    private func text(_ field: Range<Int>) -> String {
        String(decoding: bytes[field].prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Octal digits between blanks, or base 256 where the first bit is set.
    private func number(_ field: Range<Int>) -> Int64? {
        let raw = bytes[field]
        if bytes[field.lowerBound] & 0x80 != 0 {
            // Nine bytes or more hold what 64 bits cannot, unless the first ones are zero; a set second bit is a sign.
            guard bytes[field.lowerBound] & 0x7f == 0, raw.dropLast(8).dropFirst().allSatisfy({ $0 == 0 }) else {
                return nil
            }
            return Int64(exactly: raw.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        }
        let isBlank: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0 }
        let digits = raw.drop(while: isBlank).prefix { !isBlank($0) }
        guard digits.allSatisfy({ (0x30...0x37).contains($0) }), raw[digits.endIndex...].allSatisfy(isBlank),
            digits.count <= 12
        else { return nil }
        return digits.reduce(0) { $0 << 3 | Int64($1 - 0x30) }
    }
}
