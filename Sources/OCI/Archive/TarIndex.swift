/// Where the files of a tar archive lie in it: read once, header by header, so that they can be read in place.
///
/// Names are paths from the archive's root without `.` and doubled slashes. Of two entries with one name the later
/// counts. A name that leads upwards makes the archive invalid; a link is followed to where it leads inside of the
/// archive and nowhere else.
///
/// The converter's reader of layers is another one: it would bring its errors and limits, and more than names and sizes.
struct TarIndex: Sendable {
    enum Entry: Sendable, Hashable {
        case file(offset: Int64, size: Int64)
        /// To another path of the archive.
        case link(String)
        /// Nothing that can be read, and why.
        case other(String)
    }

    /// An archive of an image has one entry for each blob; more than this is none.
    private static let mostEntries = 200_000
    /// Bytes of all names together.
    private static let mostNameBytes = 32 << 20
    private static let longestExtension: Int64 = 1 << 20
    /// Links that lead to links.
    private static let mostLinks = 16

    private var entries: [String: Entry] = [:]

    /// Reads the headers of the whole archive.
    ///
    /// - Parameter name: the archive, for messages.
    init(_ archive: StoredFile, name: String) throws(OCIError) {
        guard archive.size > 0 else { throw OCIError(.invalidArchive, "\(name) is empty") }
        var reader = Reader(archive: archive, name: name)
        var nameBytes = 0
        while let (path, entry) = try reader.next() {
            nameBytes += path.utf8.count
            guard entries.count < Self.mostEntries, nameBytes <= Self.mostNameBytes else {
                throw OCIError(.invalidArchive, "\(name) has so many entries that it is no archive of an image")
            }
            entries[path] = entry
        }
    }

    func contains(_ path: String) -> Bool { entries[path] != nil }

    /// What stands at `path` after following links; nil when there is nothing.
    func entry(at path: String) -> Entry? {
        var path = path
        for _ in 0...Self.mostLinks {
            guard case .link(let target)? = entries[path] else { return entries[path] }
            path = target
        }
        return .other("is a link in a circle")
    }

    /// Says at once what is wrong with bytes that do not even begin as a tar archive does.
    static func check(firstBytes head: [UInt8], name: String) throws(OCIError) {
        guard !head.isEmpty else { throw OCIError(.invalidArchive, "\(name) is empty") }
        let compressed: [(tool: String, magic: [UInt8])] = [
            ("gzip", [0x1f, 0x8b]), ("zstd", [0x28, 0xb5, 0x2f, 0xfd]), ("xz", [0xfd, 0x37, 0x7a, 0x58]),
        ]
        if let tool = compressed.first(where: { head.starts(with: $0.magic) })?.tool {
            throw OCIError(
                .invalidArchive,
                "\(name) is compressed as a whole, and must be read from several places: "
                    + "decompress it with \(tool) -dc FILE | snapshot pull - …")
        }
        guard head.count >= TarHeader.size else {
            throw OCIError(.invalidArchive, "\(name) is no tar archive: it has \(head.count) bytes")
        }
        let header = TarHeader(Array(head.prefix(TarHeader.size)))
        guard header.isZero || header.hasValidChecksum else {
            throw OCIError(.invalidArchive, "\(name) is no tar archive")
        }
    }

    /// The path from the archive's root; nil when it leads out of it.
    ///
    /// - Parameter directory: where a relative target of a symbolic link begins; only there may it lead upwards.
    static func normalised(_ path: String, from directory: [Substring]? = nil) -> String? {
        var parts = path.hasPrefix("/") ? [] : directory ?? []
        for part in path.split(separator: "/") where part != "." {
            guard part == ".." else {
                parts.append(part)
                continue
            }
            guard directory != nil, parts.popLast() != nil else { return nil }
        }
        return parts.joined(separator: "/")
    }
}

extension TarIndex {
    /// Goes from header to header.
    private struct Reader {
        let archive: StoredFile
        let name: String
        private var position: Int64 = 0

        init(archive: StoredFile, name: String) {
            self.archive = archive
            self.name = name
        }

        /// What extension headers say of the next entry.
        private struct Extension {
            var path: String?
            var linkTarget: String?
            var size: Int64?
            var isSparse = false
        }

        /// The next entry; nil at the end of the archive.
        mutating func next() throws(OCIError) -> (path: String, entry: Entry)? {
            var extensions = Extension()
            while let header = try readHeader() {
                switch header.typeFlag {
                case UInt8(ascii: "x"):
                    try read(records: try readExtension(header), into: &extensions)
                case UInt8(ascii: "g"):
                    _ = try readExtension(header)
                case UInt8(ascii: "L"):
                    extensions.path = text(try readExtension(header))
                case UInt8(ascii: "K"):
                    extensions.linkTarget = text(try readExtension(header))
                default:
                    return try entry(header, extensions)
                }
            }
            return nil
        }

        private mutating func entry(
            _ header: TarHeader, _ extensions: Extension
        ) throws(OCIError) -> (path: String, entry: Entry) {
            let raw = extensions.path ?? header.path
            guard raw.utf8.count <= 4096, let path = TarIndex.normalised(raw) else {
                throw corrupt("its entry \(excerpt(raw)) leads out of it")
            }
            let target = extensions.linkTarget ?? header.linkTarget
            switch header.typeFlag {
            case UInt8(ascii: "1"):
                let target = TarIndex.normalised(target)
                return (path, target.map { .link($0) } ?? .other("is a link out of the archive"))
            case UInt8(ascii: "2"):
                let directory = Array(path.split(separator: "/").dropLast())
                // An absolute target means the root of a machine, not of the archive.
                let target = target.hasPrefix("/") ? nil : TarIndex.normalised(target, from: directory)
                return (path, target.map { .link($0) } ?? .other("is a link out of the archive"))
            case UInt8(ascii: "3"), UInt8(ascii: "4"), UInt8(ascii: "6"):
                return (path, .other("is no regular file"))
            case UInt8(ascii: "5"):
                return (path, .other("is a directory"))
            case let flag:
                guard let size = extensions.size ?? header.payloadSize else {
                    throw corrupt("its entry \(excerpt(raw)) has no size")
                }
                let offset = position
                try skip(size, "its entry \(excerpt(raw))")
                let isFile = flag == 0 || flag == UInt8(ascii: "0") || flag == UInt8(ascii: "7")
                guard isFile, !extensions.isSparse else { return (path, .other("is stored in a form of its own")) }
                return (path, .file(offset: offset, size: size))
            }
        }

        /// nil at the end: two blocks of zeros, or the end of the file between two entries.
        private mutating func readHeader() throws(OCIError) -> TarHeader? {
            if position == archive.size { return nil }
            guard let header = try readBlock() else { throw truncated("a header") }
            if header.isZero {
                guard position < archive.size else { return nil }
                guard try readBlock()?.isZero == true else {
                    throw corrupt("a lone block of zeros stands between its entries")
                }
                return nil
            }
            guard header.hasValidChecksum else { throw corrupt("a header's checksum does not match") }
            return header
        }

        private mutating func readBlock() throws(OCIError) -> TarHeader? {
            guard archive.size - position >= Int64(TarHeader.size) else { return nil }
            let start = Int(position)
            position += Int64(TarHeader.size)
            return TarHeader(try archive.bytes(start..<(start + TarHeader.size), name: name))
        }

        private mutating func readExtension(_ header: TarHeader) throws(OCIError) -> [UInt8] {
            guard let size = header.payloadSize, size <= TarIndex.longestExtension else {
                throw corrupt("an extension header has no size, or one of more than \(TarIndex.longestExtension) bytes")
            }
            let start = Int(position)
            try skip(size, "an extension header")
            return try archive.bytes(start..<(start + Int(size)), name: name)
        }

        /// Goes behind a payload and what pads it to whole blocks. The last padding may be missing.
        private mutating func skip(_ size: Int64, _ what: String) throws(OCIError) {
            guard size <= archive.size - position else { throw truncated(what) }
            let padding = (Int64(TarHeader.size) - size % Int64(TarHeader.size)) % Int64(TarHeader.size)
            position = min(position + size + padding, archive.size)
        }

        /// Records of `length key=value\n` (POSIX.1-2017 pax, "pax Header Block").
        private func read(records body: [UInt8], into extensions: inout Extension) throws(OCIError) {
            var rest = body[...]
            while !rest.isEmpty {
                let digits = rest.prefix { (0x30...0x39).contains($0) }
                guard (1...7).contains(digits.count), rest.dropFirst(digits.count).first == 0x20 else {
                    throw corrupt("an extended header is malformed")
                }
                let length = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
                let record = rest.prefix(length)
                guard record.count == length, length > digits.count + 1, record.last == 0x0a else {
                    throw corrupt("an extended header is malformed")
                }
                rest = rest.dropFirst(length)
                let pair = record.dropFirst(digits.count + 1).dropLast()
                guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else {
                    throw corrupt("an extended header is malformed")
                }
                let key = String(decoding: pair[..<equals], as: UTF8.self)
                let value = String(decoding: pair[pair.index(after: equals)...], as: UTF8.self)
                switch key {
                case "path": extensions.path = value
                case "linkpath": extensions.linkTarget = value
                case "size":
                    guard let size = Int64(value), size >= 0 else { throw corrupt("an entry's size is no number") }
                    extensions.size = size
                case let key where key.hasPrefix("GNU.sparse."): extensions.isSparse = true
                default: break
                }
            }
        }

        private func text(_ bytes: [UInt8]) -> String {
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }

        private func truncated(_ what: String) -> OCIError {
            OCIError(.invalidArchive, "\(name) is truncated: it ends in the middle of \(what)")
        }

        private func corrupt(_ why: String) -> OCIError {
            OCIError(.invalidArchive, "\(name) is corrupt: \(why)")
        }
    }
}
