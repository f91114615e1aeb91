/// An entry of a layer, to be written to an archive and, for comparison, extracted by the kernel.
struct Member: CustomStringConvertible, Sendable {
    enum Kind: Equatable, Sendable {
        case file([UInt8])
        case directory
        case symlink(String)
        case hardLink(String)
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

    init(_ path: String, _ kind: Kind, mode: UInt64? = nil) {
        self.path = Array(path.utf8)
        self.kind = kind
        self.mode = mode ?? (kind == .directory ? 0o755 : 0o644)
    }

    static func file(_ path: String, _ content: String = "") -> Member {
        Member(path, .file(Array(content.utf8)))
    }

    static func directory(_ path: String, mode: UInt64? = nil) -> Member { Member(path, .directory, mode: mode) }

    static func symlink(_ path: String, to target: String) -> Member { Member(path, .symlink(target)) }

    static func hardLink(_ path: String, to target: String) -> Member { Member(path, .hardLink(target)) }

    /// A whiteout, by its whole name.
    static func mark(_ path: String) -> Member { Member(path, .file([])) }

    func with(_ change: (inout Member) -> Void) -> Member {
        var copy = self
        change(&copy)
        return copy
    }

    var parent: Path { path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[..<$0]) } ?? [] }
    var name: Path { path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[($0 + 1)...]) } ?? path }

    var description: String {
        let name = String(decoding: path, as: UTF8.self)
        switch kind {
        case .file(let content): return "\(name) file(\(content.count))"
        case .directory: return "\(name)/ mode \(String(mode, radix: 8))"
        default: return "\(name) \(kind)"
        }
    }

    /// Writes the member as PAX has it.
    func write(to tar: inout TarBuilder) {
        var records: [(String, [UInt8])] = []
        if path.count > 100 { records.append(("path", path)) }
        if nanoseconds != 0 || seconds < 0 {
            records.append(("mtime", Array(Self.decimal(seconds, nanoseconds).utf8)))
        }
        for (name, value) in xattrs.sorted(by: { $0.key < $1.key }) { records.append(("SCHILY.xattr.\(name)", value)) }
        var header = TarBuilder.Header(name: path, mode: mode, uid: uid, gid: gid, mtime: max(seconds, 0))
        var content: [UInt8] = []
        switch kind {
        case .file(let bytes):
            content = bytes
            header.size = UInt64(bytes.count)
        case .directory: header.type = "5"
        case .symlink(let target), .hardLink(let target):
            header.type = if case .symlink = kind { "2" } else { "1" }
            header.link = Array(target.utf8)
            if header.link.count > 100 { records.append(("linkpath", header.link)) }
        case .character(let major, let minor):
            header.type = "3"
            (header.major, header.minor) = (major, minor)
        case .block(let major, let minor):
            header.type = "4"
            (header.major, header.minor) = (major, minor)
        case .fifo: header.type = "6"
        }
        if !records.isEmpty { tar.pax(records) }
        tar.header(header)
        tar.payload(content)
    }

    private static func decimal(_ seconds: Int64, _ nanoseconds: Int64) -> String {
        let isNegative = seconds < 0 && nanoseconds > 0
        let whole = isNegative ? -(seconds + 1) : abs(seconds)
        let fraction = String(isNegative ? 1_000_000_000 - nanoseconds : nanoseconds)
        let sign = seconds < 0 ? "-" : ""
        return "\(sign)\(whole).\(String(repeating: "0", count: 9 - fraction.utf8.count))\(fraction)"
    }
}

extension TarBuilder {
    static func archive(_ members: [Member]) -> [UInt8] {
        archive { tar in
            for member in members { member.write(to: &tar) }
        }
    }
}
