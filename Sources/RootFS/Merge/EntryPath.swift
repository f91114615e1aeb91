/// A path of an archive taken apart: what is left when `.`, doubled and trailing slashes, and a leading one are gone.
///
/// A leading slash is dropped as tar extractors do. A `..` is refused: what it would mean depends on symlinks.
struct EntryPath {
    let components: [ArraySlice<UInt8>]

    /// Linux: PATH_MAX counts the final NUL, and an archive may spell a path relative to its root.
    static let maximumLength = 4096
    /// Linux: NAME_MAX.
    static let maximumName = 255

    init(_ raw: [UInt8], limits: Limits) throws(RootFSError) {
        guard raw.count <= Self.maximumLength else {
            throw RootFSError(
                .name, "the path has \(raw.count) bytes; a path of Linux has at most \(Self.maximumLength)")
        }
        guard !raw.contains(0) else {
            throw RootFSError(.name, "the path \"\(printable(raw))\" holds a NUL byte")
        }
        let parts = Self.parts(raw)
        guard parts.count <= limits.depth else {
            throw RootFSError(exceeding: .depth, "the path is \(parts.count) names deep; the limit is \(limits.depth)")
        }
        for part in parts {
            guard !Self.isParent(part) else {
                throw RootFSError(
                    .name, "the path \"\(printable(raw))\" has a \"..\", which could lead out of the root")
            }
            // A whiteout's own name is never a file's.
            let length = Whiteout.isPrefix(of: part) ? part.count - Whiteout.prefix.count : part.count
            guard length <= Self.maximumName else {
                throw RootFSError(
                    .name, "a name of the path has \(length) bytes; a name has at most \(Self.maximumName)")
            }
        }
        components = parts
    }

    private static func parts(_ raw: [UInt8]) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        parts.reserveCapacity(8)
        var start = 0
        while start < raw.count {
            let end = raw[start...].firstIndex(of: UInt8(ascii: "/")) ?? raw.count
            let part = raw[start..<end]
            if !part.isEmpty, !(part.count == 1 && part.first == UInt8(ascii: ".")) { parts.append(part) }
            start = end + 1
        }
        return parts
    }

    private static func isParent(_ part: ArraySlice<UInt8>) -> Bool {
        part.count == 2 && part.first == UInt8(ascii: ".") && part.last == UInt8(ascii: ".")
    }
}

/// What a name says of lower layers (OCI image specification, layer.md, "Whiteouts").
enum Whiteout: Equatable {
    /// `.wh.name`: the name is gone from the layers below.
    case name(ArraySlice<UInt8>)
    /// `.wh..wh..opq`: all of the directory's names are gone from the layers below.
    case opaque
    /// Bookkeeping of aufs that old images carry: `.wh..wh.plnk`, `.wh..wh.orph`, `.wh..wh.aufs`.
    case aufs

    static let prefix = Array(".wh.".utf8)
    /// Whether a name begins like a whiteout.
    static func isPrefix(of name: ArraySlice<UInt8>) -> Bool {
        name.first == UInt8(ascii: ".") && name.starts(with: prefix)
    }

    static let metadataPrefix = Array(".wh..wh.".utf8)
    private static let opaqueMarker = Array(".wh..wh..opq".utf8)

    /// nil for an ordinary name.
    init?(_ name: ArraySlice<UInt8>) throws(RootFSError) {
        guard Self.isPrefix(of: name) else { return nil }
        if name.starts(with: Self.metadataPrefix) {
            self = name.elementsEqual(Self.opaqueMarker) ? .opaque : .aufs
            return
        }
        let hidden = name.dropFirst(Self.prefix.count)
        guard !hidden.isEmpty, !hidden.elementsEqual(".".utf8), !hidden.elementsEqual("..".utf8) else {
            throw RootFSError(.name, "the whiteout \"\(printable(name))\" does not say what it hides")
        }
        self = .name(hidden)
    }
}
