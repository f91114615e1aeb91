import Glibc

/// What a real overlayfs makes of layers: each is extracted into a directory of its own, with its whiteouts in the form
/// that overlayfs knows, and the directories are mounted over each other.
final class Oracle {
    static let timestamp = 1_500_000_000
    private static let whiteoutPrefix = Array(".wh.".utf8)
    private static let opaqueMarker = Array(".wh..wh..opq".utf8)

    private let workspace: Path
    private let mountPoint: Path
    /// The bottom one first.
    private var layers: [Path] = []
    /// The lowest layer that can be seen: overlayfs does not know an opaque root.
    private var lowest = 0

    init(in workspace: Path) throws {
        self.workspace = workspace
        mountPoint = workspace / "merged".utf8
        try make(mountPoint)
        try make(workspace / "empty".utf8)
    }

    private func make(_ directory: Path) throws {
        try withPath(directory) { _ = try check(mkdir($0, 0o755), "mkdir") }
    }

    /// Mounts the layers up to now; a body that is called with nil when there are none.
    private func withMerged<Value>(_ body: (Path?) throws -> Value) throws -> Value {
        let visible = layers[min(lowest, layers.count)...]
        guard !visible.isEmpty else { return try body(nil) }
        // overlayfs wants two lower directories where there is no upper one.
        let stack = visible.reversed() + [workspace / "empty".utf8]
        let options = stack.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ":")
        return try withMount("overlay", at: mountPoint, options: "lowerdir=\(options)") { try body(mountPoint) }
    }

    /// What the layers show, with the mount points that a conversion adds.
    func merged() throws -> TreeSnapshot {
        var tree = try withMerged { try TreeSnapshot($0 ?? workspace / "empty".utf8) }
        if layers.isEmpty { tree.nodes[[]] = Self.directory(0o755) }
        for name in ["proc", "sys", "dev", "run", "tmp"] where tree.nodes[Array(name.utf8)] == nil {
            tree.nodes[Array(name.utf8)] = Self.directory(name == "tmp" ? 0o1777 : 0o755)
        }
        return tree
    }

    private static func directory(_ mode: UInt32) -> TreeSnapshot.Node {
        TreeSnapshot.Node(mode: S_IFDIR | mode, uid: 0, gid: 0, seconds: timestamp, nanoseconds: 0, xattrs: [:])
    }

    /// Extracts a layer on top of the others. Returns the members that could be: an archive of those is to be
    /// converted.
    @discardableResult
    func add(_ members: [Member]) throws -> [Member] {
        let directory = workspace / "layer-\(layers.count)".utf8
        try make(directory)
        let isRootOpaque = members.contains { $0.path == Self.opaqueMarker }
        let accepted = try withMerged { lower in
            let extraction = Extraction(into: directory, lower: lower, layers: layers)
            let extracted = try members.filter { try extraction.add($0) }
            // Where a mark lies behind a symlink of its own layer, overlayfs cannot say what it means.
            let accepted = extracted.filter { !extraction.isBehindSymlink($0) }
            try extraction.finish()
            return accepted
        }
        if isRootOpaque { lowest = layers.count }
        layers.append(directory)
        return accepted
    }

    /// One layer on its way into a directory.
    private final class Extraction {
        let root: Path
        let lower: Path?
        let layers: [Path]
        /// Directories of this layer and what they are to be like at the end; nil: implied.
        var directories: [Path: Member?] = [[]: nil]
        var marks: [Member] = []
        var whiteouts: Set<Path> = []
        var opaque: Set<Path> = []
        /// Inodes of lower layers that have a name here.
        var foreign: Set<ino_t> = []

        init(into root: Path, lower: Path?, layers: [Path]) {
            self.root = root
            self.lower = lower
            self.layers = layers
        }

        /// False when the member cannot be extracted here.
        func add(_ member: Member) throws -> Bool {
            if member.name.starts(with: Oracle.whiteoutPrefix) {
                marks.append(member)
                return true
            }
            if member.path.isEmpty || member.path == Array("./".utf8) {
                directories[[]] = member
                return true
            }
            let path = root / member.path
            var source: Path?
            if case .hardLink(let target) = member.kind {
                source = linkSource(target)
                guard let source, source != path, !isDirectory(source) else { return false }
                // A link below its own target: making the directory replaces that.
                guard !member.path.starts(with: target + [UInt8(ascii: "/")]) else { return false }
            }
            guard try makeDirectories(member.parent) else { return false }
            if let old = status(path) {
                let isKept = old.st_mode & S_IFMT == S_IFDIR && member.kind == .directory
                // A link into what it replaces.
                if let source, source.starts(with: path + [UInt8(ascii: "/")]) { return false }
                if !isKept { remove(member.path) }
            }
            switch member.kind {
            case .directory:
                if status(path) == nil { try make(path) }
                directories[member.path] = member
                return true
            case .file(let content): try write(content, in: member.storedRanges, to: path)
            case .symlink(let target):
                try withPath(target) { target in
                    try withPath(path) { _ = try check(symlink(target, $0), "symlink") }
                }
            case .hardLink:
                let from = source ?? []
                try withPath(from) { from in
                    try withPath(path) { _ = try check(link(from, $0), "link") }
                }
                // An inode of another layer keeps what it is.
                let isOwn = from.starts(with: root + [UInt8(ascii: "/")])
                let inode = status(from)?.st_ino ?? 0
                if !isOwn { foreign.insert(inode) }
                if foreign.contains(inode) { return true }
            case .character(let major, let minor): try makeNode(path, S_IFCHR, major, minor)
            case .block(let major, let minor): try makeNode(path, S_IFBLK, major, minor)
            case .fifo: try makeNode(path, S_IFIFO, 0, 0)
            }
            try setAttributes(of: path, member)
            return true
        }

        private func make(_ path: Path) throws {
            try withPath(path) { _ = try check(mkdir($0, 0o755), "mkdir") }
        }

        private func makeNode(_ path: Path, _ type: mode_t, _ major: UInt64, _ minor: UInt64) throws {
            let device = (major & 0xFFF) << 8 | (minor & 0xFF) | (minor & ~0xFF) << 12
            try withPath(path) { _ = try check(mknod($0, type | 0o600, dev_t(device)), "mknod") }
        }

        private func remove(_ path: Path) {
            removeTree(root / path)
            directories = directories.filter { $0.key != path && !$0.key.starts(with: path + [UInt8(ascii: "/")]) }
        }

        private func prefixes(of path: Path) -> [Path] {
            path.indices.filter { path[$0] == UInt8(ascii: "/") }.map { Array(path[..<$0]) }
                + (path.isEmpty ? [] : [path])
        }

        private func makeDirectories(_ path: Path) throws -> Bool {
            for prefix in prefixes(of: path) {
                if status(root / prefix) == nil {
                    try make(root / prefix)
                    directories[prefix] = .some(nil)
                } else if !isDirectory(root / prefix) {
                    return false
                }
            }
            return true
        }

        /// The file that a hard link means: this layer's, or the one that the lower layers show, in the topmost layer
        /// that has it.
        private func linkSource(_ target: Path) -> Path? {
            if prefixes(of: target).dropLast().contains(where: {
                status(root / $0) != nil && !isDirectory(root / $0)
            }) {
                return nil
            }
            if let own = status(root / target) {
                // A hard link to a whiteout is left to a test of its own.
                let isWhiteout = own.st_mode & S_IFMT == S_IFCHR && own.st_rdev == 0
                return isWhiteout ? nil : root / target
            }
            guard lowerStatus(target) != nil else { return nil }
            return layers.last { status($0 / target) != nil }.map { $0 / target }
        }

        /// What the lower layers show at a path, symlinks on the way to it not followed.
        private func lowerStatus(_ path: Path) -> stat? {
            guard let lower, prefixes(of: path).dropLast().allSatisfy({ isDirectory(lower / $0) }) else { return nil }
            return status(lower / path)
        }

        private func isLowerDirectory(_ path: Path) -> Bool {
            lowerStatus(path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
        }

        private func setAttributes(of path: Path, _ member: Member) throws {
            let isSymlink = status(path).map { $0.st_mode & S_IFMT == S_IFLNK } ?? false
            try withPath(path) { _ = try check(lchown($0, uid_t(member.uid), gid_t(member.gid)), "lchown") }
            for (name, value) in member.xattrs { try setXattr(path, name, value) }
            // Runtimes set attributes and then permissions; tars set lists that are text after them.
            if !member.isAccessListText { try setAccessLists(of: path, member) }
            if !isSymlink { try withPath(path) { _ = try check(chmod($0, mode_t(member.mode)), "chmod") } }
            if member.isAccessListText { try setAccessLists(of: path, member) }
            try setTime(of: path, Int(member.seconds), Int(member.nanoseconds))
        }

        private func setAccessLists(of path: Path, _ member: Member) throws {
            if let list = member.access { try setXattr(path, "system.posix_acl_access", list.attribute) }
            if let list = member.inherited { try setXattr(path, "system.posix_acl_default", list.attribute) }
        }

        private func setTime(of path: Path, _ seconds: Int, _ nanoseconds: Int) throws {
            let time = timespec(tv_sec: seconds, tv_nsec: nanoseconds)
            try withPath(path) {
                _ = try check(utimensat(AT_FDCWD, $0, [time, time], AT_SYMLINK_NOFOLLOW), "utimensat")
            }
        }

        func isBehindSymlink(_ mark: Member) -> Bool {
            guard mark.name.starts(with: Oracle.whiteoutPrefix) else { return false }
            return prefixes(of: mark.parent).contains { prefix in
                status(root / prefix).map { $0.st_mode & S_IFMT == S_IFLNK } ?? false
            }
        }

        /// Puts the whiteouts in, and then sets what directories are like.
        func finish() throws {
            marks = marks.filter { !isBehindSymlink($0) }
            for mark in marks {
                if mark.name == Oracle.opaqueMarker {
                    opaque.insert(mark.parent)
                } else {
                    whiteouts.insert(target(of: mark))
                }
            }
            for mark in marks { try apply(mark) }
            for path in directories.keys.sorted(by: { $0.count < $1.count }) {
                if let member = directories[path] ?? nil {
                    try setAttributes(of: root / path, member)
                } else {
                    try setImplied(path)
                }
            }
        }

        private func target(of mark: Member) -> Path {
            let name = Array(mark.name.dropFirst(Oracle.whiteoutPrefix.count))
            return mark.parent.isEmpty ? name : mark.parent / name
        }

        /// Whether this layer's marks take the lower layers' directory away.
        private func deletesLower(_ path: Path) -> Bool {
            let ancestors = [[]] + prefixes(of: path)
            return ancestors.contains { whiteouts.contains($0) }
                || ancestors.contains { $0 != path && opaque.contains($0) }
        }

        private func apply(_ mark: Member) throws {
            guard lower != nil else { return }
            let isThere = isLowerDirectory(mark.parent) && !deletesLower(mark.parent)
            guard isThere || isDirectory(root / mark.parent) else { return }
            let target = target(of: mark)
            if mark.name == Oracle.opaqueMarker {
                guard try makeDirectories(mark.parent) else { return }
                try setXattr(root / mark.parent, "trusted.overlay.opaque", Array("y".utf8))
                return
            }
            if isDirectory(root / target) {
                try setXattr(root / target, "trusted.overlay.opaque", Array("y".utf8))
            } else if status(root / target) == nil, lowerStatus(target) != nil {
                guard try makeDirectories(mark.parent) else { return }
                try makeNode(root / target, S_IFCHR, 0, 0)
            }
        }

        /// An implied directory is as the lower one, unless this layer deletes that.
        private func setImplied(_ path: Path) throws {
            if !deletesLower(path), isLowerDirectory(path), let lower, let old = lowerStatus(path) {
                try withPath(root / path) { _ = try check(lchown($0, old.st_uid, old.st_gid), "lchown") }
                for (name, value) in try xattrs(of: lower / path) {
                    try setXattr(root / path, String(decoding: name, as: UTF8.self), value)
                }
                try withPath(root / path) { _ = try check(chmod($0, old.st_mode & 0o7777), "chmod") }
                try setTime(of: root / path, old.st_mtim.tv_sec, old.st_mtim.tv_nsec)
            } else {
                try setTime(of: root / path, Oracle.timestamp, 0)
            }
        }
    }
}
