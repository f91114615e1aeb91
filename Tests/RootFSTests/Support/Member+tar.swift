/// Which writer of archives is imitated.
enum TarFormat: Sendable, CaseIterable {
    /// PAX records for all that ustar cannot hold.
    case pax
    /// Long names in entries of their own, large numbers in base 256.
    case gnu
    /// As Go's archive/tar writes: ustar with a split name where that is enough, else PAX records for just what is not.
    case go
}

/// The ways in which one path is written.
enum Spelling: Sendable, CaseIterable {
    case plain
    case dotted
    case absolute
    case doubled

    func path(_ path: Path) -> Path {
        switch self {
        case .plain: path
        case .dotted: Array("./".utf8) + path
        case .absolute: Array("/".utf8) + path
        case .doubled: Array(path.split(separator: UInt8(ascii: "/")).joined(separator: Array("/.//".utf8)))
        }
    }
}

/// The ways in which GNU tar stores a file with holes (GNU tar manual, "Storing Sparse Files").
enum SparseFormat: Sendable, CaseIterable {
    case oldGNU
    case pax00
    case pax01
    case pax10
}

/// Where a content has blocks of 512 bytes with something in them.
func storedParts(of content: [UInt8]) -> [Range<Int>] {
    var parts: [Range<Int>] = []
    for start in stride(from: 0, to: content.count, by: 512) {
        let block = start..<min(start + 512, content.count)
        guard content[block].contains(where: { $0 != 0 }) else { continue }
        if let last = parts.last, last.upperBound == start {
            parts[parts.count - 1] = last.lowerBound..<block.upperBound
        } else {
            parts.append(block)
        }
    }
    return parts
}

extension Member {
    /// What the entry says that PAX has no header field for.
    private var attributeRecords: [(String, [UInt8])] {
        var records = xattrs.sorted { $0.key < $1.key }.map { ("SCHILY.xattr.\($0.key)", $0.value) }
        for (list, text, name) in [
            (access, "SCHILY.acl.access", "system.posix_acl_access"),
            (inherited, "SCHILY.acl.default", "system.posix_acl_default"),
        ] {
            guard let list else { continue }
            records.append(isAccessListText ? (text, Array(list.text.utf8)) : ("SCHILY.xattr.\(name)", list.attribute))
        }
        return records
    }

    /// Writes the member in its format. The GNU one has no attributes and no fractions of seconds.
    func write(to tar: inout TarBuilder) {
        var header = TarBuilder.Header(name: spelling.path(path), mode: mode, uid: uid, gid: gid, mtime: seconds)
        var content: [UInt8] = []
        switch kind {
        case .file(let bytes): content = bytes
        case .directory:
            header.type = "5"
            // As most writers do.
            if format != .gnu, header.name.last != UInt8(ascii: "/") { header.name.append(UInt8(ascii: "/")) }
        case .symlink(let target): (header.type, header.link) = ("2", target)
        case .hardLink(let target): (header.type, header.link) = ("1", spelling.path(target))
        case .character(let major, let minor): (header.type, header.major, header.minor) = ("3", major, minor)
        case .block(let major, let minor): (header.type, header.major, header.minor) = ("4", major, minor)
        case .fifo: header.type = "6"
        }
        var records = format == .gnu ? [] : attributeRecords
        var map: [UInt8] = []
        if let sparse, case .file = kind {
            map = applySparse(sparse, size: content.count, to: &header, &records)
            content = storedRanges.flatMap { content[$0] }
        }
        // The blocks of an old GNU map belong to the header.
        header.size = UInt64((sparse == .oldGNU ? 0 : map.count) + content.count)
        switch format {
        case .gnu: writeGNU(&header, to: &tar)
        case .pax: writePAX(&header, records, to: &tar)
        case .go: writeGo(&header, records, to: &tar)
        }
        tar.bytes += map
        tar.payload(content)
    }

    private func writeGNU(_ header: inout TarBuilder.Header, to tar: inout TarBuilder) {
        header.isGNU = true
        for (type, text) in [("L" as Character, header.name), ("K", header.link)] where text.count > 100 {
            let size = UInt64(text.count + 1)
            tar.header(TarBuilder.Header(name: Array("././@LongLink".utf8), type: type, size: size, isGNU: true))
            tar.payload(text + [0])
        }
        tar.header(header)
    }

    private func writePAX(
        _ header: inout TarBuilder.Header, _ attributes: [(String, [UInt8])], to tar: inout TarBuilder
    ) {
        var records = attributes
        if header.name.count > 100 { records.append(("path", header.name)) }
        if header.link.count > 100 { records.append(("linkpath", header.link)) }
        if nanoseconds != 0 || seconds < 0 { records.append(timeRecord) }
        header.mtime = max(header.mtime, 0)
        if !records.isEmpty { tar.pax(records) }
        tar.header(header)
    }

    /// Go's `Header.allowedFormats`: a record for each field that ustar cannot hold, and none without need.
    private func writeGo(
        _ header: inout TarBuilder.Header, _ attributes: [(String, [UInt8])], to tar: inout TarBuilder
    ) {
        var records = attributes
        let isASCII = { (text: [UInt8]) in text.allSatisfy { $0 < 0x80 } }
        if header.name.count > 100 || !isASCII(header.name) {
            if isASCII(header.name), records.isEmpty, let cut = ustarCut(header.name) {
                header.patches[345] = Array(header.name[..<cut])
                header.name = Array(header.name[(cut + 1)...])
            } else {
                records.append(("path", header.name))
                header.name = header.name.filter { $0 < 0x80 }
            }
        }
        if header.link.count > 100 || !isASCII(header.link) {
            records.append(("linkpath", header.link))
            header.link = header.link.filter { $0 < 0x80 }
        }
        for (key, value) in [("uid", uid), ("gid", gid)] where value >= 1 << 21 {
            records.append((key, Array("\(value)".utf8)))
        }
        (header.uid, header.gid) = (uid < 1 << 21 ? uid : 0, gid < 1 << 21 ? gid : 0)
        if nanoseconds != 0 || seconds < 0 || seconds >= 1 << 33 {
            records.append(timeRecord)
            header.mtime = 0
        }
        if !records.isEmpty {
            let body = records.sorted { $0.0 < $1.0 }.flatMap { TarBuilder.record(Array($0.0.utf8), $0.1) }
            tar.header(TarBuilder.Header(name: Array("PaxHeaders.0/x".utf8), type: "x", size: UInt64(body.count)))
            tar.payload(body)
        }
        tar.header(header)
    }

    /// Where a name is cut in two so that ustar can hold it.
    private func ustarCut(_ name: [UInt8]) -> Int? {
        name.indices.last {
            $0 > 0 && $0 <= 155 && name[$0] == UInt8(ascii: "/") && (2...101).contains(name.count - $0)
        }
    }

    private var timeRecord: (String, [UInt8]) {
        let isNegative = seconds < 0 && nanoseconds > 0
        let whole = isNegative ? -(seconds + 1) : abs(seconds)
        let digits = String(isNegative ? 1_000_000_000 - nanoseconds : nanoseconds)
        let fraction = nanoseconds == 0 ? "" : "." + String(repeating: "0", count: 9 - digits.utf8.count) + digits
        return ("mtime", Array("\(seconds < 0 ? "-" : "")\(whole)\(fraction)".utf8))
    }

    /// Puts the map of a file's stored parts where the format has it; returns what of it precedes the payload.
    private func applySparse(
        _ format: SparseFormat, size: Int, to header: inout TarBuilder.Header, _ records: inout [(String, [UInt8])]
    ) -> [UInt8] {
        // GNU tar ends a map with an empty part at the end of the file.
        let parts = storedRanges.map { ($0.lowerBound, $0.count) } + [(size, 0)]
        func record(_ key: String, _ value: some CustomStringConvertible) {
            records.append(("GNU.sparse.\(key)", Array("\(value)".utf8)))
        }
        switch format {
        case .oldGNU: return oldGNUMap(parts, size: size, in: &header)
        case .pax00:
            record("size", size)
            record("numblocks", parts.count)
            for (offset, count) in parts {
                record("offset", offset)
                record("numbytes", count)
            }
        case .pax01:
            record("size", size)
            record("numblocks", parts.count)
            record("map", parts.map { "\($0.0),\($0.1)" }.joined(separator: ","))
            records.append(("GNU.sparse.name", header.name))
            header.name = Array("GNUSparseFile.1/x".utf8)
        case .pax10:
            record("major", 1)
            record("minor", 0)
            record("realsize", size)
            records.append(("GNU.sparse.name", header.name))
            header.name = Array("GNUSparseFile.1/x".utf8)
            let text = Array("\(parts.count)\n\(parts.map { "\($0.0)\n\($0.1)\n" }.joined())".utf8)
            return text + [UInt8](repeating: 0, count: (512 - text.count % 512) % 512)
        }
        return []
    }

    private func oldGNUMap(_ parts: [(Int, Int)], size: Int, in header: inout TarBuilder.Header) -> [UInt8] {
        func fields(_ parts: some Sequence<(Int, Int)>) -> [UInt8] {
            parts.flatMap { TarBuilder.field(Int64($0.0), 12) + TarBuilder.field(Int64($0.1), 12) }
        }
        header.type = "S"
        header.patches[386] = fields(parts.prefix(4))
        header.patches[482] = [parts.count > 4 ? 1 : 0]
        header.patches[483] = TarBuilder.field(Int64(size), 12)
        var blocks: [UInt8] = []
        var rest = parts.dropFirst(4)
        while !rest.isEmpty {
            let block = fields(rest.prefix(21))
            rest = rest.dropFirst(21)
            blocks += block + [UInt8](repeating: 0, count: 504 - block.count) + [rest.isEmpty ? 0 : 1]
            blocks += [UInt8](repeating: 0, count: 7)
        }
        return blocks
    }
}

extension TarBuilder {
    static func archive(_ members: [Member]) -> [UInt8] {
        archive { tar in
            for member in members { member.write(to: &tar) }
        }
    }
}
