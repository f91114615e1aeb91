import Crypto
import Glibc

/// All that a process can see of a tree: what two mounts are compared by.
struct TreeSnapshot: Sendable {
    struct Node: Equatable, Sendable {
        var mode: UInt32
        var uid: UInt32
        var gid: UInt32
        var seconds: Int
        var nanoseconds: Int
        /// Of a device.
        var device: UInt = 0
        /// Of a file.
        var size: Int = 0
        var digest: [UInt8] = []
        /// Where it has data and no holes, in whole blocks.
        var data: [Range<Int>] = []
        /// Of a symlink.
        var target: Path = []
        var xattrs: [Path: [UInt8]]
        /// The first path, by bytes, that has the same inode; empty for a directory.
        var firstLink: Path = []

        /// The properties that differ, with both values.
        func difference(from wanted: Node) -> String {
            zip(Mirror(reflecting: self).children, Mirror(reflecting: wanted).children).compactMap { found, wanted in
                let (new, old) = ("\(found.value)", "\(wanted.value)")
                return new == old ? nil : "\(found.label ?? ""): \(new.prefix(300)) instead of \(old.prefix(300))"
            }.joined(separator: ", ")
        }
    }

    /// By path from the root, which is the empty path itself.
    var nodes: [Path: Node] = [:]

    /// The same tree as tools show it that do not know of holes.
    var withoutHoles: TreeSnapshot {
        var copy = self
        for path in nodes.keys { copy.nodes[path]?.data = [] }
        return copy
    }

    init() {}

    init(_ root: Path) throws {
        var links: [UInt: Path] = [:]
        var work: [Path] = [[]]
        var found: [(Path, stat)] = []
        while let path = work.popLast() {
            // An overlay lists a whiteout of a name that no lower layer has, but has no file for it.
            guard let status = status(root / path) else { continue }
            found.append((path, status))
            guard status.st_mode & S_IFMT == S_IFDIR else { continue }
            for name in try names(in: root / path) { work.append(path.isEmpty ? name : path / name) }
        }
        for (path, status) in found.sorted(by: { $0.0.lexicographicallyPrecedes($1.0) }) {
            var node = Node(
                mode: status.st_mode, uid: status.st_uid, gid: status.st_gid, seconds: status.st_mtim.tv_sec,
                nanoseconds: status.st_mtim.tv_nsec, xattrs: try xattrs(of: root / path))
            switch status.st_mode & S_IFMT {
            case S_IFREG:
                node.size = status.st_size
                let descriptor = Int32(try check(withPath(root / path) { open($0, O_RDONLY | O_CLOEXEC) }, "open"))
                defer { close(descriptor) }
                node.digest = Array(SHA256.hash(data: try contents(of: descriptor)))
                node.data = try dataRanges(of: descriptor, size: node.size)
            case S_IFLNK: node.target = try readLink(root / path)
            case S_IFCHR, S_IFBLK: node.device = status.st_rdev
            default: break
            }
            if status.st_mode & S_IFMT != S_IFDIR {
                node.firstLink = links[status.st_ino] ?? path
                links[status.st_ino] = node.firstLink
            }
            nodes[path] = node
        }
    }

    /// What differs from another tree, a line for each path.
    func differences(from expected: TreeSnapshot) -> [String] {
        Set(nodes.keys).union(expected.nodes.keys).sorted { $0.lexicographicallyPrecedes($1) }.compactMap { path in
            let name = String(decoding: path, as: UTF8.self)
            switch (nodes[path], expected.nodes[path]) {
            case (let found?, let wanted?): return found == wanted ? nil : "/\(name): \(found.difference(from: wanted))"
            case (nil, .some(let wanted)): return "/\(name) is missing: \(wanted)"
            case (.some, nil): return "/\(name) should not be there"
            case (nil, nil): return nil
            }
        }
    }
}

/// The bytes of a file whose name may be no text.
func contents(_ path: Path) throws -> [UInt8] {
    let descriptor = Int32(try check(withPath(path) { open($0, O_RDONLY | O_CLOEXEC) }, "open"))
    defer { close(descriptor) }
    return try contents(of: descriptor)
}

func contents(of descriptor: Int32) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = try check(read(descriptor, &buffer, buffer.count), "read")
        if count == 0 { return bytes }
        bytes += buffer[..<count]
    }
}
