import Crypto
import EXT4
import Glibc

extension TreeSnapshot {
    /// What our own reader shows of an image, as the kernel would show it; without /lost+found.
    init(_ reader: ImageReader) throws {
        var found: [(path: Path, inode: Inode)] = []
        var work: [(path: Path, inode: Inode)] = [([], try reader.inode(reader.root))]
        while let (path, inode) = work.popLast() {
            found.append((path, inode))
            guard inode.isDirectory else { continue }
            for entry in try reader.entries(of: inode) where !path.isEmpty || entry.name != Array("lost+found".utf8) {
                work.append((path.isEmpty ? entry.name : path / entry.name, try reader.inode(entry.inode)))
            }
        }
        var links: [InodeNumber: Path] = [:]
        for (path, inode) in found.sorted(by: { $0.path.lexicographicallyPrecedes($1.path) }) {
            var node = try Self.node(inode, reader)
            if !inode.isDirectory {
                node.firstLink = links[inode.number] ?? path
                links[inode.number] = node.firstLink
            }
            nodes[path] = node
        }
    }

    private static func node(_ inode: Inode, _ reader: ImageReader) throws -> Node {
        var node = Node(
            mode: UInt32(inode.mode), uid: inode.uid, gid: inode.gid, seconds: Int(inode.modified.seconds),
            nanoseconds: Int(inode.modified.nanoseconds), xattrs: [:])
        for xattr in try reader.extendedAttributes(of: inode) { node.xattrs[xattr.name] = xattr.value }
        if inode.isFile {
            node.size = Int(inode.size)
            (node.digest, node.data) = try content(of: inode, reader)
        }
        if inode.isSymlink { node.target = try reader.target(of: inode) }
        if let (major, minor) = inode.device {
            node.device = UInt(minor & 0xFF | major << 8 | (minor & ~0xFF) << 12)
        }
        return node
    }

    private static func content(of inode: Inode, _ reader: ImageReader) throws -> ([UInt8], [Range<Int>]) {
        var hash = SHA256()
        var data: [Range<Int>] = []
        var position = 0
        try reader.read(inode) { piece throws(EXT4Error) in
            switch piece {
            case .data(let bytes):
                hash.update(bufferPointer: bytes)
                appendBlocks(position..<(position + bytes.count), to: &data)
                position += bytes.count
            case .hole(let count):
                let zeros = [UInt8](repeating: 0, count: 1 << 16)
                var rest = Int(count)
                while rest > 0 {
                    hash.update(data: zeros[..<min(rest, zeros.count)])
                    rest -= min(rest, zeros.count)
                }
                position += Int(count)
            }
        }
        return (Array(hash.finalize()), data)
    }
}
