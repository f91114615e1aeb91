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
        let parts = raw.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual([UInt8(ascii: ".")]) }
        guard parts.count <= limits.depth else {
            throw RootFSError(exceeding: .depth, "the path is \(parts.count) names deep; the limit is \(limits.depth)")
        }
        for part in parts {
            guard !part.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")]) else {
                throw RootFSError(
                    .name, "the path \"\(printable(raw))\" has a \"..\", which could lead out of the root")
            }
            // A whiteout's own name is never a file's.
            let length = part.starts(with: Whiteout.prefix) ? part.count - Whiteout.prefix.count : part.count
            guard length <= Self.maximumName else {
                throw RootFSError(
                    .name, "a name of the path has \(length) bytes; a name has at most \(Self.maximumName)")
            }
        }
        components = parts
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
    static let metadataPrefix = Array(".wh..wh.".utf8)
    private static let opaqueMarker = Array(".wh..wh..opq".utf8)

    /// nil for an ordinary name.
    init?(_ name: ArraySlice<UInt8>) throws(RootFSError) {
        guard name.starts(with: Self.prefix) else { return nil }
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
