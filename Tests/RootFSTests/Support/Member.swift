/// An entry of a layer, to be written to an archive and, for comparison, extracted by the kernel.
struct Member: CustomStringConvertible, Equatable, Sendable {
    enum Kind: Equatable, Sendable {
        case file([UInt8])
        case directory
        case symlink(Path)
        case hardLink(Path)
        case character(UInt64, UInt64)
        case block(UInt64, UInt64)
        case fifo
    }

    var path: Path
    var kind: Kind
    var mode: UInt64
    var uid: UInt64 = 0
    var gid: UInt64 = 0
    var seconds: Int64 = 1_600_000_000
    var nanoseconds: Int64 = 0
    var xattrs: [String: [UInt8]] = [:]
    var access: POSIXAccessList?
    var inherited: POSIXAccessList?
    /// How the lists stand in the archive: as text, or as the attribute that the kernel has.
    var isAccessListText = true
    /// How the archive has it.
    var format = TarFormat.pax
    var spelling = Spelling.plain
    /// Where a file is stored with holes.
    var sparse: SparseFormat?

    init(_ path: String, _ kind: Kind, mode: UInt64? = nil) {
        self.init(path: Array(path.utf8), kind, mode: mode)
    }

    init(path: Path, _ kind: Kind, mode: UInt64? = nil) {
        self.path = path
        self.kind = kind
        self.mode = mode ?? (kind == .directory ? 0o755 : 0o644)
    }

    static func file(_ path: String, _ content: String = "") -> Member {
        Member(path, .file(Array(content.utf8)))
    }

    static func directory(_ path: String, mode: UInt64? = nil) -> Member { Member(path, .directory, mode: mode) }

    static func symlink(_ path: String, to target: String) -> Member { Member(path, .symlink(Array(target.utf8))) }

    static func hardLink(_ path: String, to target: String) -> Member { Member(path, .hardLink(Array(target.utf8))) }

    /// A whiteout, by its whole name.
    static func mark(_ path: String) -> Member { Member(path, .file([])) }

    func with(_ change: (inout Member) -> Void) -> Member {
        var copy = self
        change(&copy)
        return copy
    }

    var parent: Path { path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[..<$0]) } ?? [] }
    var name: Path { path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[($0 + 1)...]) } ?? path }

    /// The parts of a file that are stored, in bytes.
    var storedRanges: [Range<Int>] {
        guard case .file(let content) = kind else { return [] }
        return sparse == nil ? [0..<content.count] : storedParts(of: content)
    }

    /// All that differs from what a member has that is just made.
    var description: String {
        let plain = Member(path: path, kind)
        var text = "\(readable(path)) "
        switch kind {
        case .file(let content): text += "file of \(content.count)"
        case .directory: text += "directory"
        case .symlink(let target): text += "-> \(readable(target))"
        case .hardLink(let target): text += "= \(readable(target))"
        default: text += "\(kind)"
        }
        if mode != plain.mode { text += ", mode \(String(mode, radix: 8))" }
        if uid != 0 || gid != 0 { text += ", owner \(uid):\(gid)" }
        if seconds != plain.seconds || nanoseconds != 0 { text += ", time \(seconds) + \(nanoseconds) ns" }
        for (name, value) in xattrs.sorted(by: { $0.key < $1.key }) { text += ", \(name) of \(value.count)" }
        if let access { text += ", ACL \(access.text)" }
        if let inherited { text += ", default ACL \(inherited.text)" }
        if access != nil || inherited != nil, !isAccessListText { text += " as attribute" }
        if format != plain.format { text += ", \(format)" }
        if spelling != plain.spelling { text += ", spelled \(spelling)" }
        if let sparse { text += ", sparse \(sparse) \(storedRanges)" }
        return text
    }
}

/// A path as text; bytes that are none are escaped, long runs of one are counted.
func readable(_ path: Path) -> String {
    var text = ""
    var rest = path[...]
    while let byte = rest.first {
        let run = rest.prefix { $0 == byte }.count
        let shown = (0x21..<0x7F).contains(byte) ? String(UnicodeScalar(byte)) : "\\x" + String(byte, radix: 16)
        text += run > 8 ? "\(shown)*\(run)" : String(repeating: shown, count: run)
        rest = rest.dropFirst(run)
    }
    return text
}

/// A POSIX ACL in both its forms, written here once more and not by what is tested (acl(5), posix_acl_xattr.h).
struct POSIXAccessList: Equatable, Sendable {
    struct Named: Equatable, Sendable {
        var id: UInt32
        var permissions: UInt8
    }

    var owner: UInt8
    /// In ascending order.
    var users: [Named] = []
    var group: UInt8
    var groups: [Named] = []
    /// Must be there where anybody is named.
    var mask: UInt8?
    var other: UInt8

    private static func letters(_ permissions: UInt8) -> String {
        (permissions & 4 != 0 ? "r" : "-") + (permissions & 2 != 0 ? "w" : "-") + (permissions & 1 != 0 ? "x" : "-")
    }

    var text: String {
        var entries = ["user::\(Self.letters(owner))"]
        entries += users.map { "user:\($0.id):\(Self.letters($0.permissions))" }
        entries.append("group::\(Self.letters(group))")
        entries += groups.map { "group:\($0.id):\(Self.letters($0.permissions))" }
        if let mask { entries.append("mask::\(Self.letters(mask))") }
        return (entries + ["other::\(Self.letters(other))"]).joined(separator: ",")
    }

    var attribute: [UInt8] {
        func entry(_ tag: UInt8, _ permissions: UInt8, _ id: UInt32 = .max) -> [UInt8] {
            [tag, 0, permissions, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> ($0 * 8)) }
        }
        var bytes: [UInt8] = [2, 0, 0, 0] + entry(1, owner)
        for user in users { bytes += entry(2, user.permissions, user.id) }
        bytes += entry(4, group)
        for named in groups { bytes += entry(8, named.permissions, named.id) }
        if let mask { bytes += entry(16, mask) }
        return bytes + entry(32, other)
    }
}
