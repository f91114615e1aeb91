import EXT4

/// Reads a tar archive entry by entry: ustar, GNU, PAX, star and v7 headers.
///
/// After `next` returned an entry its payload may be read once; what is not read is skipped.
final class TarReader {
    enum Piece {
        case data(UnsafeRawBufferPointer)
        case hole(UInt64)
    }

    private let stream: LayerStream
    private let limits: Limits
    private var block = TarBlock()
    private var global = ExtendedHeader()
    /// Extension headers met since the last entry.
    private var longName: [UInt8]?
    private var longLinkTarget: [UInt8]?
    private var local: [PAXRecord] = []
    /// What is left of the current entry in the archive: payload, then padding to a whole block.
    private var unread: UInt64 = 0
    private var padding: UInt64 = 0
    private var payload = SparseMap(plain: 0)
    /// Whether the archive ended with the two zero blocks that it should end with.
    private(set) var isTerminated = false

    init(_ stream: LayerStream, limits: Limits) {
        self.stream = stream
        self.limits = limits
    }

    /// The next entry; nil at the end of the archive. What follows the end is the caller's to drain.
    func next() throws(RootFSError) -> TarEntry? {
        try skip()
        while try readHeader() {
            switch block.typeFlag {
            case UInt8(ascii: "x"):
                local = try parsePAXRecords(try readExtension())
            case UInt8(ascii: "g"):
                try applyGlobalHeader()
            case UInt8(ascii: "L"):
                longName = try readLongName()
            case UInt8(ascii: "K"):
                longLinkTarget = try readLongName()
            default:
                return try readEntry()
            }
        }
        guard longName == nil, longLinkTarget == nil, local.isEmpty else {
            throw RootFSError(.archive, "the archive is truncated: an extension header is not followed by an entry")
        }
        return nil
    }

    /// Reads the current entry's payload in order: data straight from the decompressor's buffer, and holes.
    func readPayload(_ body: (Piece) throws(RootFSError) -> Void) throws(RootFSError) {
        var position: UInt64 = 0
        for segment in payload.segments {
            if segment.offset > position { try body(.hole(segment.offset - position)) }
            try stream.read(segment.length) { (bytes) throws(RootFSError) in
                unread -= UInt64(bytes.count)
                try body(.data(bytes))
            }
            position = segment.offset + segment.length
        }
        if payload.size > position { try body(.hole(payload.size - position)) }
        payload = SparseMap(plain: 0)
    }

    private func skip() throws(RootFSError) {
        try stream.read(unread) { _ in }
        // A writer that was not closed leaves out the last padding, as it does the end mark.
        try stream.skip(atMost: padding)
        unread = 0
        padding = 0
    }

    /// Reads the next header block; false at the end of the archive.
    private func readHeader() throws(RootFSError) -> Bool {
        var count = try stream.copy(into: &block.bytes)
        if count == 0 { return false }
        guard count == TarBlock.size else { throw truncated("a header") }
        guard block.isZero else {
            try block.checkSum()
            return true
        }
        count = try stream.copy(into: &block.bytes)
        if count == 0 { return false }
        guard count == TarBlock.size else { throw truncated("the end mark") }
        guard block.isZero else {
            throw RootFSError(.archive, "the archive is corrupt: a lone block of zeros stands between its entries")
        }
        isTerminated = true
        return false
    }

    private func truncated(_ what: String) -> RootFSError {
        RootFSError(.archive, "the archive is truncated inside \(what)")
    }

    /// Sets how many bytes of the archive belong to the current header, and how many pad them to a whole block.
    private func expect(_ size: UInt64) {
        unread = size
        padding = (UInt64(TarBlock.size) - size % UInt64(TarBlock.size)) % UInt64(TarBlock.size)
    }

    private func readExtension() throws(RootFSError) -> [UInt8] {
        let size = try block.magnitude(124..<136, "size")
        guard size <= UInt64(clamping: limits.extensionBytes) else {
            throw RootFSError(
                exceeding: .extensionBytes,
                "an extension header has \(size) bytes; the limit is \(limits.extensionBytes)")
        }
        expect(size)
        var body: [UInt8] = []
        body.reserveCapacity(Int(min(size, 64 << 10)))
        try stream.read(size) { (bytes) throws(RootFSError) in body.append(contentsOf: bytes) }
        unread = 0
        try skip()
        return body
    }

    private func readLongName() throws(RootFSError) -> [UInt8] {
        Array(try readExtension().prefix { $0 != 0 })
    }

    private func applyGlobalHeader() throws(RootFSError) {
        for record in try parsePAXRecords(try readExtension()) {
            try global.apply(record, limits: limits)
        }
        guard global.retainedBytes <= limits.extensionBytes else {
            throw RootFSError(
                exceeding: .extensionBytes,
                "the global PAX headers hold more than \(limits.extensionBytes) bytes, the limit")
        }
    }

    private func readEntry() throws(RootFSError) -> TarEntry {
        var header = global
        if let longName { header.path = longName }
        if let longLinkTarget { header.linkTarget = longLinkTarget }
        do {
            for record in local { try header.apply(record, limits: limits) }
            longName = nil
            longLinkTarget = nil
            local = []
            return try entry(header)
        } catch {
            let ownPath = local.last { $0.key.elementsEqual("path".utf8) }?.value
            throw error.located(
                layer: nil, entry: printable(header.sparse?.name ?? ownPath ?? header.path ?? block.path))
        }
    }

    private func entry(_ header: ExtendedHeader) throws(RootFSError) -> TarEntry {
        let kind = try kind(header)
        // Types without a payload have none, whatever their size field says: as Go's archive/tar, which the container
        // runtimes read with, has it.
        let size = kind == .file ? try magnitude(header.size, 124..<136, "size") : 0
        guard size <= UInt64(Int64.max) - 1024 else {
            throw RootFSError(.archive, "the entry's size of \(size) bytes is beyond what an archive can hold")
        }
        expect(size)
        payload = kind == .file ? try sparseMap(header, stored: size) : SparseMap(plain: 0)
        return TarEntry(
            path: header.sparse?.name ?? header.path ?? block.path,
            kind: kind,
            mode: UInt16(truncatingIfNeeded: try block.number(100..<108, "mode")) & 0o7777,
            uid: try owner(header.uid, 108..<116, "uid"),
            gid: try owner(header.gid, 116..<124, "gid"),
            modified: try modified(header),
            xattrs: header.allXattrs,
            accessACL: header.accessACL,
            defaultACL: header.defaultACL,
            payload: payload)
    }

    /// What an extension header says, or else the header block: there the field is not even looked at otherwise.
    private func magnitude(_ value: UInt64?, _ field: Range<Int>, _ name: String) throws(RootFSError) -> UInt64 {
        if let value { return value }
        return try block.magnitude(field, name)
    }

    private func modified(_ header: ExtendedHeader) throws(RootFSError) -> Timestamp {
        if let time = header.modified { return time }
        return Timestamp(seconds: try block.number(136..<148, "modification time"))
    }

    /// 2^32 − 1 means "leave as it is" to chown(2), so no file can belong to it.
    private func owner(_ value: UInt64?, _ field: Range<Int>, _ name: String) throws(RootFSError) -> UInt32 {
        let number = try magnitude(value, field, name)
        guard let id = UInt32(exactly: number), id != .max else {
            throw RootFSError(.unsupported, "the \(name) \(number) is past \(UInt32.max - 1), the largest there is")
        }
        return id
    }

    private func kind(_ header: ExtendedHeader) throws(RootFSError) -> TarEntry.Kind {
        let target = header.linkTarget ?? block.linkTarget
        switch block.typeFlag {
        case 0:
            // Before POSIX a trailing slash was all that told a directory.
            let name = header.path ?? block.path
            return name.last == UInt8(ascii: "/") ? .directory : .file
        case UInt8(ascii: "0"), UInt8(ascii: "7"): return .file
        case UInt8(ascii: "S") where block.format == .gnu: return .file
        case UInt8(ascii: "1"): return .hardLink(target: target)
        case UInt8(ascii: "2"): return .symbolicLink(target: target)
        case UInt8(ascii: "3"):
            let (major, minor) = try device(header)
            return .characterDevice(major: major, minor: minor)
        case UInt8(ascii: "4"):
            let (major, minor) = try device(header)
            return .blockDevice(major: major, minor: minor)
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        case let flag:
            // POSIX would have it read as a file, but containerd, Docker and umoci refuse it, and so no image has it.
            throw RootFSError(
                .unsupported, "the entry is of type \"\(printable(CollectionOfOne(flag)))\", which is no file of Linux")
        }
    }

    private func device(_ header: ExtendedHeader) throws(RootFSError) -> (major: UInt32, minor: UInt32) {
        let major = try magnitude(header.deviceMajor, 329..<337, "device major number")
        let minor = try magnitude(header.deviceMinor, 337..<345, "device minor number")
        // Linux has 12 bits for the major and 20 for the minor number (kernel: kdev_t.h).
        guard major < 1 << 12, minor < 1 << 20 else {
            throw RootFSError(.unsupported, "the device number \(major):\(minor) is beyond what Linux can hold")
        }
        return (UInt32(major), UInt32(minor))
    }

    private func sparseMap(_ header: ExtendedHeader, stored: UInt64) throws(RootFSError) -> SparseMap {
        if block.typeFlag == UInt8(ascii: "S") {
            return try oldGNUSparseMap(stored: stored)
        }
        guard let sparse = header.sparse else { return SparseMap(plain: stored) }
        switch (sparse.major, sparse.minor) {
        case (1, 0):
            return try leadingSparseMap(sparse, stored: stored)
        case (nil, nil), (0, 0), (0, 1):
            guard sparse.hasMap else { return SparseMap(plain: stored) }
            return try SparseMap(
                segments(sparse.numbers), size: try realSize(sparse), stored: stored)
        case (let major, let minor):
            throw RootFSError(
                .unsupported,
                "the file is stored in GNU sparse format \(major ?? 0).\(minor ?? 0); known are 0.0, 0.1 and 1.0")
        }
    }

    private func realSize(_ sparse: ExtendedHeader.Sparse) throws(RootFSError) -> UInt64 {
        guard let size = sparse.realSize else {
            throw RootFSError(.archive, "a sparse file's header does not say how large the file is")
        }
        return size
    }

    private func segments(_ numbers: [UInt64]) throws(RootFSError) -> [SparseMap.Segment] {
        guard numbers.count.isMultiple(of: 2) else {
            throw RootFSError(.archive, "the sparse map ends with an offset that has no length")
        }
        return stride(from: 0, to: numbers.count, by: 2).map {
            SparseMap.Segment(offset: numbers[$0], length: numbers[$0 + 1])
        }
    }

    /// Format 1.0: the map is text in front of the payload, one number a line, padded to whole blocks.
    private func leadingSparseMap(
        _ sparse: ExtendedHeader.Sparse, stored: UInt64
    ) throws(RootFSError) -> SparseMap {
        var numbers: [UInt64] = []
        var expected: UInt64?
        var line: [UInt8] = []
        var text = [UInt8](repeating: 0, count: TarBlock.size)
        while expected.map({ UInt64(numbers.count) < $0 }) ?? true {
            guard unread >= UInt64(TarBlock.size) else {
                throw RootFSError(.archive, "the sparse map is longer than what is stored of the file")
            }
            guard try stream.copy(into: &text) == TarBlock.size else { throw truncated("a sparse map") }
            unread -= UInt64(TarBlock.size)
            for byte in text {
                guard byte == 0x0A else {
                    line.append(byte)
                    continue
                }
                guard let number = decimal(line) else {
                    throw RootFSError(.archive, "the sparse map is corrupt: a line is not a number")
                }
                line.removeAll(keepingCapacity: true)
                guard let count = expected else {
                    guard number <= UInt64(clamping: limits.sparseSegments) else { throw tooManySegments() }
                    expected = number * 2
                    continue
                }
                numbers.append(number)
                if UInt64(numbers.count) == count { break }
            }
            guard line.count <= 20 || expected.map({ UInt64(numbers.count) >= $0 }) ?? false else {
                throw RootFSError(.archive, "the sparse map is corrupt: a line is not a number")
            }
        }
        return try SparseMap(segments(numbers), size: try realSize(sparse), stored: unread)
    }

    /// The old GNU format: four segments in the header, 21 in each block that follows (GNU tar: tar.h, struct sparse).
    private func oldGNUSparseMap(stored: UInt64) throws(RootFSError) -> SparseMap {
        let size = try block.magnitude(483..<495, "sparse file size")
        var found: [SparseMap.Segment] = []
        var extended = block.bytes[482] != 0
        try appendSegments(of: block, at: 386, count: 4, to: &found)
        while extended {
            var extra = TarBlock()
            guard try stream.copy(into: &extra.bytes) == TarBlock.size else { throw truncated("a sparse map") }
            try appendSegments(of: extra, at: 0, count: 21, to: &found)
            extended = extra.bytes[504] != 0
        }
        return try SparseMap(found, size: size, stored: stored)
    }

    private func appendSegments(
        of block: TarBlock, at start: Int, count: Int, to segments: inout [SparseMap.Segment]
    ) throws(RootFSError) {
        for index in 0..<count {
            let field = start + index * 24
            // An empty slot ends the list.
            if block.bytes[field] == 0 { return }
            let offset = try block.magnitude(field..<(field + 12), "sparse offset")
            let length = try block.magnitude((field + 12)..<(field + 24), "sparse length")
            segments.append(SparseMap.Segment(offset: offset, length: length))
            guard segments.count <= limits.sparseSegments else { throw tooManySegments() }
        }
    }

    private func tooManySegments() -> RootFSError {
        RootFSError(
            exceeding: .sparseSegments,
            "the sparse map has more than \(limits.sparseSegments) segments, the limit")
    }
}
