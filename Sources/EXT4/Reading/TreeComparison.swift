/// A name at which two trees differ.
package struct TreeDifference: Sendable {
    /// What of an entry can differ, in the order in which it is told.
    package enum Aspect: String, Sendable, CaseIterable {
        case type, mode, owner, mtime, size, content, target, device, xattrs, hardlinks
    }

    /// From the root on, with a slash in front.
    package let path: [UInt8]
    /// The entry of the first tree; nil where only the second has it.
    package let old: Inode?
    /// The entry of the second tree; nil where only the first has it.
    package let new: Inode?
    /// What of both differs; empty where there is only one.
    package let aspects: [Aspect]
}

/// Walks two images side by side, in the order of names, and tells where they differ. What is below a directory that
/// only one of them has is told name by name.
///
/// Both may be damaged: whatever they say, the walk ends, and its memory is bounded by what they really hold.
package final class TreeComparison {
    private let old: Side
    private let new: Side
    private let files = FileComparison()
    /// Pairs of files that were found to be the same, or not: a hard link needs no second look.
    private var compared: [Pair: Bool] = [:]
    /// Counts the names of both trees together, so that a name has one number.
    private var position = 0

    private struct Pair: Hashable {
        let old: UInt32
        let new: UInt32
    }

    private final class Side {
        let reader: ImageReader
        let walk: TreeWalk
        /// For each inode of several names where it was met first.
        var firstNames: [UInt32: Int] = [:]

        init(_ reader: ImageReader) {
            self.reader = reader
            walk = TreeWalk(reader)
        }

        /// Where the hard links of an inode begin.
        func firstName(of inode: Inode, at position: Int) -> Int {
            guard !inode.isDirectory, inode.links > 1 else { return position }
            if let known = firstNames[inode.number.rawValue] { return known }
            firstNames[inode.number.rawValue] = position
            return position
        }
    }

    /// A directory that is being walked, in one tree or in both.
    private struct Level {
        let path: [UInt8]
        let old: [DirectoryEntry]
        let new: [DirectoryEntry]
        var nextOld = 0
        var nextNew = 0

        init(path: [UInt8], old: [DirectoryEntry], new: [DirectoryEntry]) {
            self.path = path
            self.old = old
            self.new = new
        }

        var isDone: Bool { nextOld == old.count && nextNew == new.count }

        /// The next name, and who has it.
        mutating func next() -> (old: DirectoryEntry?, new: DirectoryEntry?)? {
            let one = nextOld < old.count ? old[nextOld] : nil
            let other = nextNew < new.count ? new[nextNew] : nil
            guard one != nil || other != nil else { return nil }
            var (takesOld, takesNew) = (one != nil, other != nil)
            if let one, let other {
                takesOld = !other.name.lexicographicallyPrecedes(one.name)
                takesNew = !one.name.lexicographicallyPrecedes(other.name)
            }
            if takesOld { nextOld += 1 }
            if takesNew { nextNew += 1 }
            return (takesOld ? one : nil, takesNew ? other : nil)
        }
    }

    package init(old: ImageReader, new: ImageReader) {
        self.old = Side(old)
        self.new = Side(new)
    }

    /// - Throws: what reading throws, and what `tell` throws.
    package func run(_ tell: (TreeDifference) throws -> Void) throws {
        let roots = (try old.reader.inode(old.reader.root), try new.reader.inode(new.reader.root))
        try compare(roots.0, roots.1, path: [UInt8(ascii: "/")], tell)
        var levels = [try level(roots.0, roots.1, path: [], depth: 0)]
        while let (one, other) = levels[levels.count - 1].next() {
            let name = one?.name ?? other?.name ?? []
            let path = levels[levels.count - 1].path + [UInt8(ascii: "/")] + name
            let inodes = (
                try one.map { entry throws(EXT4Error) in try old.walk.inode(of: entry) },
                try other.map { entry throws(EXT4Error) in try new.walk.inode(of: entry) }
            )
            try compare(inodes.0, inodes.1, path: path, tell)
            if inodes.0?.isDirectory == true || inodes.1?.isDirectory == true {
                levels.append(try level(inodes.0, inodes.1, path: path, depth: levels.count))
            }
            while levels.count > 1, levels[levels.count - 1].isDone { levels.removeLast() }
        }
    }

    private func level(_ one: Inode?, _ other: Inode?, path: [UInt8], depth: Int) throws(EXT4Error) -> Level {
        Level(path: path, old: try entries(one, old, depth), new: try entries(other, new, depth))
    }

    private func entries(_ inode: Inode?, _ side: Side, _ depth: Int) throws(EXT4Error) -> [DirectoryEntry] {
        guard let inode, inode.isDirectory else { return [] }
        return try side.walk.entries(of: inode, depth: depth)
    }

    private func compare(
        _ one: Inode?, _ other: Inode?, path: [UInt8], _ tell: (TreeDifference) throws -> Void
    ) throws {
        position += 1
        let firsts = (
            one.map { old.firstName(of: $0, at: position) }, other.map { new.firstName(of: $0, at: position) }
        )
        var aspects: [TreeDifference.Aspect] = []
        if let one, let other {
            aspects = try differences(one, other)
            if firsts.0 != firsts.1 { aspects.append(.hardlinks) }
            if aspects.isEmpty { return }
        }
        try tell(TreeDifference(path: path, old: one, new: other, aspects: aspects))
    }

    private func differences(_ one: Inode, _ other: Inode) throws(EXT4Error) -> [TreeDifference.Aspect] {
        var aspects: [TreeDifference.Aspect] = []
        let isSameType = one.type == other.type
        if !isSameType { aspects.append(.type) }
        if one.mode & 0o7777 != other.mode & 0o7777 { aspects.append(.mode) }
        if one.uid != other.uid || one.gid != other.gid { aspects.append(.owner) }
        if one.modified != other.modified { aspects.append(.mtime) }
        if isSameType, one.isFile {
            if one.size != other.size {
                aspects += [.size, .content]
            } else if try !haveSameContent(one, other) {
                aspects.append(.content)
            }
        }
        if isSameType, one.isSymlink, try old.reader.target(of: one) != new.reader.target(of: other) {
            aspects.append(.target)
        }
        if isSameType, one.device?.major != other.device?.major || one.device?.minor != other.device?.minor {
            aspects.append(.device)
        }
        let attributes = (
            try old.reader.extendedAttributes(of: one), try new.reader.extendedAttributes(of: other)
        )
        if Set(attributes.0) != Set(attributes.1) { aspects.append(.xattrs) }
        return aspects
    }

    private func haveSameContent(_ one: Inode, _ other: Inode) throws(EXT4Error) -> Bool {
        let pair = Pair(old: one.number.rawValue, new: other.number.rawValue)
        let hasSeveralNames = one.links > 1 || other.links > 1
        if hasSeveralNames, let known = compared[pair] { return known }
        let isSame = try files.isSame(
            one, in: old.reader, as: other, in: new.reader, walk: old.walk, otherWalk: new.walk)
        if hasSeveralNames { compared[pair] = isSame }
        return isSame
    }
}
