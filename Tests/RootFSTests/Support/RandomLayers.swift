import TestSupport

@testable import RootFS

/// How a layer is stored: whatever is in use, and what the formats allow besides.
enum Storage: Sendable, CaseIterable {
    case plain
    case gzip
    case gzipMembers
    case zstd
    case zstdFrames

    func layer(_ archive: [UInt8], name: String) -> Layer {
        let middle = archive.count / 2
        switch self {
        case .plain: return Layer(archive, name: name)
        case .gzip: return Layer(archive, .gzip, name: name)
        case .zstd: return Layer(archive, .zstd, name: name)
        case .gzipMembers:
            let stored = RootFSTests.gzip(Array(archive[..<middle]), level: 1)
            return Layer(archive, .gzip, name: name).stored(
                as: stored + RootFSTests.gzip([]) + RootFSTests.gzip(Array(archive[middle...]), level: 0))
        case .zstdFrames:
            let stored = skippableFrame([1, 2, 3]) + RootFSTests.zstd(Array(archive[..<middle]))
            return Layer(archive, .zstd, name: name).stored(
                as: stored + RootFSTests.zstd(Array(archive[middle...]), level: 1))
        }
    }
}

extension Layer {
    /// The same layer in other bytes.
    func stored(as bytes: [UInt8], pieceSize: Int = .max) -> Layer {
        var copy = self
        copy.open = { MemorySource(bytes: bytes[...], pieceSize: pieceSize) }
        return copy
    }
}

/// Layers, the bottom one first, with how each is stored.
struct LayerStack: Equatable, Sendable, CustomStringConvertible {
    struct Entry: Equatable, Sendable {
        var members: [Member]
        var storage = Storage.plain
    }

    var layers: [Entry]

    var description: String {
        layers.enumerated().map { number, layer in
            "layer \(number), \(layer.storage):\n" + layer.members.map { "  \($0)\n" }.joined()
        }.joined()
    }

    /// Converts it and has overlayfs show it.
    func compare(_ execution: Execution = Execution(), again: Execution? = nil) async throws -> Comparison {
        try await RootFSTests.compare(layers.map(\.members), execution: execution, again: again) { number, archive in
            layers[number].storage.layer(archive, name: "layer-\(number)")
        }
    }
}

/// Layers full of collisions: few names, so that everything happens to everything.
struct RandomLayers {
    private(set) var generator: SeededGenerator
    /// Where some layer has had something that can be linked to.
    private var linkable: [Path] = []

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    private static let names = ["a", "b", "c", "d"].map { Array($0.utf8) }
    private static let strange: [Path] = [
        [UInt8](repeating: 0xFE, count: 255), Array(String(repeating: "n", count: 120).utf8), [0x80, 0xFF],
        Array("tab\tline\n".utf8), Array("\u{e9} \u{65e5}".utf8), Array(".wh".utf8), Array("-".utf8),
    ]

    mutating func stack() -> LayerStack {
        LayerStack(
            layers: (0..<generator.pick([2, 2, 3, 3, 4, 5, 6, 8])).map { _ in
                let members = layer()
                return LayerStack.Entry(members: members, storage: generator.pick(Storage.allCases))
            })
    }

    private mutating func path() -> Path {
        let names = (0..<generator.pick([1, 1, 2, 2, 2, 3, 3, 4])).map { _ in
            generator.chance(4) ? generator.pick(Self.strange) : generator.pick(Self.names)
        }
        return Array(names.joined(separator: [UInt8(ascii: "/")]))
    }

    private mutating func layer() -> [Member] {
        var members: [Member] = generator.chance(30) ? [attributed(.directory("./"))] : []
        for _ in 0..<generator.number(1...14) { members.append(member()) }
        return members
    }

    private mutating func member() -> Member {
        let path = path()
        let slash = path.lastIndex(of: UInt8(ascii: "/"))
        let prefix = slash.map { Array(path[...$0]) } ?? []
        let name = slash.map { Array(path[($0 + 1)...]) } ?? path
        switch generator.number(0...99) {
        case 0..<28:
            linkable.append(path)
            var member = Member(path: path, .file([]))
            if generator.chance(12) {
                member.kind = .file(contentWithHoles())
                member.sparse = generator.pick(SparseFormat.allCases)
            } else {
                member.kind = .file(content())
            }
            return attributed(member)
        case 28..<50: return attributed(Member(path: path, .directory))
        case 50..<57: return attributed(Member(path: path, .symlink(target())))
        case 57..<70:
            let target = linkable.isEmpty || generator.chance(20) ? self.path() : generator.pick(linkable)
            linkable.append(path)
            return attributed(Member(path: path, .hardLink(target)))
        case 70..<84: return spelled(Member(path: prefix + Array(".wh.".utf8) + name, .file([])))
        case 84..<90: return spelled(Member(path: prefix + Array(".wh..wh..opq".utf8), .file([])))
        case 90..<93: return spelled(Member(path: path, .character(0, 0)))
        case 93..<96:
            return attributed(Member(path: path, generator.pick([.character(1, 3), .block(8, 70_000), .fifo])))
        default: return attributed(Member(path: path, .directory, mode: 0o1777))
        }
    }

    private mutating func target() -> Path {
        let long = String(repeating: "t/", count: generator.pick([30, 60, 2000]))
        return Array(generator.pick(["a", "../b", "/c/d", "nowhere", "\u{e9}", long]).utf8)
    }

    private mutating func content() -> [UInt8] {
        let size = generator.pick([0, 1, 10, 511, 512, 513, 4095, 4096, 5000, 20_000])
        let first = generator.byte()
        return (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) &+ first }
    }

    private mutating func contentWithHoles() -> [UInt8] {
        var content: [UInt8] = []
        for _ in 0..<generator.pick([1, 2, 3, 5, 12, 60]) {
            content += [UInt8](repeating: 0, count: 512 * generator.pick([0, 1, 7, 8, 9, 32]))
            content += [UInt8](repeating: generator.byte() | 1, count: 512 * generator.pick([0, 1, 1, 8, 9]))
        }
        return content + [UInt8](repeating: 5, count: generator.pick([0, 0, 1, 100]))
    }

    private mutating func spelled(_ member: Member) -> Member {
        var member = member
        if generator.chance(30) { member.spelling = generator.pick(Spelling.allCases) }
        member.format = generator.pick(TarFormat.allCases)
        return member
    }

    private mutating func attributed(_ plain: Member) -> Member {
        var member = plain.path == Array("./".utf8) ? plain : spelled(plain)
        member.mode = generator.pick([0o644, 0o755, 0o4755, 0o2775, 0o1777, 0o600, 0o000])
        member.uid = generator.pick([0, 0, 1000, 65_536, 4_294_967_294])
        member.gid = generator.pick([0, 0, 1000, 70_000, 4_294_967_294])
        member.seconds = generator.pick([0, 1, -1, -2_000_000_000, 1_700_000_000, 4_294_967_295, 15_000_000_000])
        member.nanoseconds = generator.pick([0, 1, 500_000_000, 999_999_999])
        if let sparse = member.sparse {
            // Each is of one format; Go writes none.
            member.format = sparse == .oldGNU ? .gnu : .pax
        }
        switch member.kind {
        case .file, .directory: addAttributes(to: &member)
        case .hardLink: if generator.chance(20) { addAttributes(to: &member) }
        case .fifo, .block, .character: if generator.chance(20) { addAccessLists(to: &member) }
        case .symlink: if generator.chance(20) { member.xattrs["trusted.link"] = [1] }
        }
        if member.format == .gnu {
            member.nanoseconds = 0
            member.xattrs = [:]
            (member.access, member.inherited) = (nil, nil)
        }
        return member
    }

    private mutating func addAttributes(to member: inout Member) {
        let isLink = if case .hardLink = member.kind { true } else { false }
        // What a link leads to may be of a type that has no such attributes.
        if !isLink {
            if generator.chance(25) { member.xattrs["user.note"] = Array(content().prefix(300)) }
            if generator.chance(3) { member.xattrs["user.big"] = [UInt8](repeating: generator.byte(), count: 2500) }
        }
        if generator.chance(15) { member.xattrs["trusted.key"] = [1, 0, 2] }
        if generator.chance(10) { member.xattrs["security.test"] = Array("label".utf8) }
        if case .file = member.kind, generator.chance(15) {
            // Versions 2 and 3 of capabilities(7); the latter with the root's uid of a user namespace.
            let sets: [UInt8] = [0, generator.byte(), 0, 0] + [UInt8](repeating: 0, count: 12)
            member.xattrs["security.capability"] =
                generator.chance(50) ? [1, 0, 0, 2] + sets : [0, 0, 0, 3] + sets + [0xE8, 3, 0, 0]
        }
        if !isLink, generator.chance(20) { addAccessLists(to: &member) }
    }

    private mutating func addAccessLists(to member: inout Member) {
        member.isAccessListText = generator.chance(50)
        if generator.chance(70) { member.access = accessList() }
        if member.kind == .directory, generator.chance(60) { member.inherited = accessList() }
    }

    private mutating func accessList() -> POSIXAccessList {
        func permissions(_ generator: inout SeededGenerator) -> UInt8 { generator.byte() & 7 }
        var list = POSIXAccessList(
            owner: permissions(&generator), group: permissions(&generator), other: permissions(&generator))
        guard generator.chance(80) else { return list }
        for id in [1, 1000, 70_000, UInt32.max - 1] where generator.chance(40) {
            list.users.append(POSIXAccessList.Named(id: id, permissions: permissions(&generator)))
        }
        for id in [0, 4_000_000_000] as [UInt32] where generator.chance(40) {
            list.groups.append(POSIXAccessList.Named(id: id, permissions: permissions(&generator)))
        }
        list.mask = permissions(&generator)
        return list
    }
}
