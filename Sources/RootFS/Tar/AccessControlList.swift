/// A POSIX access control list (acl(5)), read from the text that tars carry or from the kernel's binary form.
struct AccessControlList: Equatable {
    /// In the order in which the kernel wants them (posix_acl_xattr.h, ACL_USER_OBJ … ACL_OTHER).
    enum Tag: UInt16, Comparable {
        case owner = 0x01
        case user = 0x02
        case owningGroup = 0x04
        case group = 0x08
        case mask = 0x10
        case other = 0x20

        static func < (left: Tag, right: Tag) -> Bool { left.rawValue < right.rawValue }
    }

    struct Entry: Equatable {
        var tag: Tag
        /// Read 4, write 2, execute 1.
        var permissions: UInt16
        /// Of a user or a group; undefined for the others.
        var id: UInt32
    }

    private(set) var entries: [Entry]

    private static let version: UInt32 = 2
    private static let undefined = UInt32.max

    /// nil when the list breaks the rules of acl(5): one entry of each base class, a mask where somebody is named,
    /// nobody named twice.
    private init?(_ unordered: [Entry]) {
        let sorted = unordered.sorted { ($0.tag, $0.id) < ($1.tag, $1.id) }
        func count(_ tag: Tag) -> Int { sorted.count { $0.tag == tag } }
        let isNamed = count(.user) + count(.group) > 0
        guard count(.owner) == 1, count(.owningGroup) == 1, count(.other) == 1,
            count(.mask) == 1 || (count(.mask) == 0 && !isNamed),
            zip(sorted, sorted.dropFirst()).allSatisfy({ ($0.tag, $0.id) != ($1.tag, $1.id) })
        else { return nil }
        entries = sorted
    }

    /// The text of a `SCHILY.acl` record: entries separated by commas or newlines, each
    /// `tag:name:permissions`, and after it the numeric id where star or libarchive wrote it.
    ///
    /// nil when the text is malformed, or names somebody without a number: whose number that is, only the machine
    /// knew that wrote the archive.
    init?(text: [UInt8]) {
        var found: [Entry] = []
        for line in text.split(whereSeparator: { $0 == UInt8(ascii: ",") || $0 == 0x0A }) {
            let content = line.prefix { $0 != UInt8(ascii: "#") }.filter { $0 != 0x20 && $0 != 0x09 }
            if content.isEmpty { continue }
            guard let entry = Self.entry(text: content) else { return nil }
            found.append(entry)
        }
        self.init(found)
    }

    private static func entry(text: [UInt8]) -> Entry? {
        var fields = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        if fields.first.map({ $0.elementsEqual("default".utf8) || $0.elementsEqual("d".utf8) }) ?? false {
            fields.removeFirst()
        }
        guard (2...4).contains(fields.count) else { return nil }
        // "mask:rwx" and "other:rwx" are short for "mask::rwx" and "other::rwx".
        if fields.count == 2 { fields.insert([], at: 1) }
        guard let permissions = permissions(fields[2]) else { return nil }
        let id = fields.count == 4 && !fields[3].isEmpty ? decimal(fields[3]) : decimal(fields[1])
        let isNamed = !fields[1].isEmpty || (fields.count == 4 && !fields[3].isEmpty)
        let tag: Tag
        switch String(decoding: fields[0], as: UTF8.self) {
        case "user", "u": tag = isNamed ? .user : .owner
        case "group", "g": tag = isNamed ? .group : .owningGroup
        case "mask", "m": tag = .mask
        case "other", "o": tag = .other
        default: return nil
        }
        guard tag == .user || tag == .group else {
            return Entry(tag: tag, permissions: permissions, id: undefined)
        }
        guard let number = id, let known = UInt32(exactly: number), known != undefined else { return nil }
        return Entry(tag: tag, permissions: permissions, id: known)
    }

    private static func permissions(_ text: ArraySlice<UInt8>) -> UInt16? {
        var bits: UInt16 = 0
        for letter in text {
            switch letter {
            case UInt8(ascii: "r"): bits |= 4
            case UInt8(ascii: "w"): bits |= 2
            case UInt8(ascii: "x"): bits |= 1
            case UInt8(ascii: "-"): break
            default: return nil
            }
        }
        return bits
    }

    /// The value of `system.posix_acl_*` as user space sees it (kernel: posix_acl_xattr.h); nil when it is malformed.
    init?(binary: [UInt8]) {
        guard binary.count >= 4, (binary.count - 4).isMultiple(of: 8) else { return nil }
        func word(_ start: Int, _ size: Int) -> UInt32 {
            (0..<size).reduce(0) { $0 | UInt32(binary[start + $1]) << UInt32(8 * $1) }
        }
        guard word(0, 4) == Self.version else { return nil }
        var found: [Entry] = []
        for start in stride(from: 4, to: binary.count, by: 8) {
            guard let tag = Tag(rawValue: UInt16(word(start, 2))), word(start + 2, 2) <= 7 else { return nil }
            let isNamed = tag == .user || tag == .group
            let id = isNamed ? word(start + 4, 4) : Self.undefined
            guard !isNamed || id != Self.undefined else { return nil }
            found.append(Entry(tag: tag, permissions: UInt16(word(start + 2, 2)), id: id))
        }
        self.init(found)
    }

    /// Whether it says no more than a file's mode does. The kernel stores no such access list.
    var isMinimal: Bool { entries.count == 3 }

    /// The permission bits of the mode that goes with the list: the mask stands for the group where there is one
    /// (acl(5), "Correspondence between ACL entries and file permission bits").
    var mode: UInt16 {
        let group: Tag = entries.contains { $0.tag == .mask } ? .mask : .owningGroup
        return entries.reduce(0) { mode, entry in
            switch entry.tag {
            case .owner: mode | entry.permissions << 6
            case group: mode | entry.permissions << 3
            case .other: mode | entry.permissions
            default: mode
            }
        }
    }

    /// Takes over what chmod(2) sets (kernel: posix_acl_chmod).
    mutating func adopt(mode: UInt16) {
        let hasMask = entries.contains { $0.tag == .mask }
        for index in entries.indices {
            switch entries[index].tag {
            case .owner: entries[index].permissions = mode >> 6 & 7
            case .owningGroup where !hasMask: entries[index].permissions = mode >> 3 & 7
            case .mask: entries[index].permissions = mode >> 3 & 7
            case .other: entries[index].permissions = mode & 7
            default: break
            }
        }
    }

    /// The version 2 binary form.
    var binary: [UInt8] {
        var bytes: [UInt8] = []
        func append(_ value: UInt32, _ size: Int) {
            for shift in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * shift))) }
        }
        append(Self.version, 4)
        for entry in entries {
            append(UInt32(entry.tag.rawValue), 2)
            append(UInt32(entry.permissions), 2)
            append(entry.id, 4)
        }
        return bytes
    }
}
