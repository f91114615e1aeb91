import EXT4

/// What PAX records (and GNU long names) say of the entries that follow.
///
/// A global header's values stand for every entry until another replaces them; an entry's own come on top. An empty
/// value takes back what a global header said (POSIX.1-2017 pax, "pax Extended Header Keyword Precedence").
struct ExtendedHeader {
    /// The four ways in which GNU tar stores sparse files, but for the one of its old format (GNU tar manual,
    /// "Storing Sparse Files").
    struct Sparse {
        var major: UInt64?
        var minor: UInt64?
        var realSize: UInt64?
        var name: [UInt8]?
        /// Version 0.0 repeats a pair of records for each segment, 0.1 has one list.
        var numbers: [UInt64] = []
        var hasMap = false
    }

    var path: [UInt8]?
    var linkTarget: [UInt8]?
    var size: UInt64?
    var uid: UInt64?
    var gid: UInt64?
    var modified: Timestamp?
    var deviceMajor: UInt64?
    var deviceMinor: UInt64?
    var accessACL: [UInt8]?
    var defaultACL: [UInt8]?
    /// Raw values win over the encoded ones of libarchive, which writes both.
    var xattrs: [[UInt8]: [UInt8]] = [:]
    var encodedXattrs: [[UInt8]: [UInt8]] = [:]
    var sparse: Sparse?

    /// In the order of their names.
    var allXattrs: [ExtendedAttribute] {
        if xattrs.isEmpty, encodedXattrs.isEmpty { return [] }
        return encodedXattrs.merging(xattrs) { _, raw in raw }
            .map { ExtendedAttribute(name: $0.key, value: $0.value) }
            .sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private static let rawXattr = Array("SCHILY.xattr.".utf8)
    private static let encodedXattr = Array("LIBARCHIVE.xattr.".utf8)
    private static let sparsePrefix = Array("GNU.sparse.".utf8)

    mutating func apply(_ record: PAXRecord, limits: Limits) throws(RootFSError) {
        let value = record.value
        if record.key.starts(with: Self.rawXattr) {
            xattrs[Array(record.key.dropFirst(Self.rawXattr.count))] = value
            return
        }
        if record.key.starts(with: Self.encodedXattr) {
            let name = try percentDecoded(record.key.dropFirst(Self.encodedXattr.count))
            encodedXattrs[name] = try base64Decoded(value)
            return
        }
        if record.key.starts(with: Self.sparsePrefix) {
            try applySparse(record, limits: limits)
            return
        }
        // Keys are few and ASCII; another one, whatever its bytes, matches none of these.
        let key = String(decoding: record.key, as: UTF8.self)
        switch key {
        case "path": path = value.isEmpty ? nil : value
        case "linkpath": linkTarget = value.isEmpty ? nil : value
        case "size": size = try number(value, key)
        case "uid": uid = try number(value, key)
        case "gid": gid = try number(value, key)
        case "SCHILY.devmajor": deviceMajor = try number(value, key)
        case "SCHILY.devminor": deviceMinor = try number(value, key)
        case "SCHILY.acl.access": accessACL = value.isEmpty ? nil : value
        case "SCHILY.acl.default": defaultACL = value.isEmpty ? nil : value
        case "mtime":
            guard !value.isEmpty else {
                modified = nil
                return
            }
            guard let time = paxTime(value) else { throw invalid(value, key) }
            modified = time
        default:
            break
        }
    }

    private mutating func applySparse(_ record: PAXRecord, limits: Limits) throws(RootFSError) {
        var sparse = self.sparse ?? Sparse()
        // Taken out while it changes, so that a long list of records is not copied for each of them.
        self.sparse = nil
        let key = String(decoding: record.key.dropFirst(Self.sparsePrefix.count), as: UTF8.self)
        switch key {
        case "major": sparse.major = try number(record.value, key)
        case "minor": sparse.minor = try number(record.value, key)
        case "name": sparse.name = record.value.isEmpty ? nil : record.value
        case "size", "realsize": sparse.realSize = try number(record.value, key)
        case "numblocks": sparse.hasMap = true
        case "offset", "numbytes":
            // One must follow the other, beginning with the offset.
            let expected = sparse.numbers.count.isMultiple(of: 2) ? "offset" : "numbytes"
            guard key == expected, let value = decimal(record.value) else { throw invalid(record.value, key) }
            sparse.numbers.append(value)
            sparse.hasMap = true
        case "map":
            sparse.numbers.removeAll()
            for text in record.value.split(separator: UInt8(ascii: ",")) {
                guard let value = decimal(text) else { throw invalid(record.value, key) }
                sparse.numbers.append(value)
            }
            sparse.hasMap = true
        default: break
        }
        guard sparse.numbers.count / 2 <= limits.sparseSegments else {
            throw RootFSError(
                exceeding: .sparseSegments,
                "the sparse map has more than \(limits.sparseSegments) segments, the limit")
        }
        self.sparse = sparse
    }

    private func number(_ value: [UInt8], _ key: String) throws(RootFSError) -> UInt64? {
        if value.isEmpty { return nil }
        guard let number = decimal(value), number <= UInt64(Int64.max) else { throw invalid(value, key) }
        return number
    }

    private func invalid(_ value: [UInt8], _ key: String) -> RootFSError {
        RootFSError(.archive, "a PAX header is malformed: \(key) is \"\(printable(value.prefix(40)))\"")
    }

    /// How many bytes this holds on to, to bound what global headers may pile up.
    var retainedBytes: Int {
        let attributes = xattrs.reduce(0) { $0 + $1.key.count + $1.value.count }
        let encoded = encodedXattrs.reduce(0) { $0 + $1.key.count + $1.value.count }
        let texts = [path, linkTarget, accessACL, defaultACL, sparse?.name].reduce(0) { $0 + ($1?.count ?? 0) }
        return attributes + encoded + texts + (sparse?.numbers.count ?? 0) * 8
    }
}

/// "%41" stands for "A" in the attribute names of libarchive's records.
private func percentDecoded(_ text: some Collection<UInt8>) throws(RootFSError) -> [UInt8] {
    var decoded: [UInt8] = []
    var rest = text[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            decoded.append(byte)
            continue
        }
        guard let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit) else {
            throw RootFSError(.archive, "a PAX header is malformed: an attribute name has a broken % escape")
        }
        decoded.append(high << 4 | low)
    }
    return decoded
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// Base 64 (RFC 4648), with its padding or, as libarchive writes it, without.
private func base64Decoded(_ text: [UInt8]) throws(RootFSError) -> [UInt8] {
    var decoded: [UInt8] = []
    decoded.reserveCapacity(text.count / 4 * 3 + 3)
    var bits: UInt32 = 0
    var count = 0
    let digits = text.prefix { $0 != UInt8(ascii: "=") }
    for byte in digits {
        let digit: UInt8
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): digit = 62
        case UInt8(ascii: "/"): digit = 63
        default: throw RootFSError(.archive, "a PAX header is malformed: an attribute's value is not base 64")
        }
        bits = bits << 6 | UInt32(digit)
        count += 6
        if count >= 8 {
            count -= 8
            decoded.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    guard digits.count % 4 != 1, text.dropFirst(digits.count).allSatisfy({ $0 == UInt8(ascii: "=") }) else {
        throw RootFSError(.archive, "a PAX header is malformed: an attribute's value is not base 64")
    }
    return decoded
}
