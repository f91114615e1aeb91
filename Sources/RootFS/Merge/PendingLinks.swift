import EXT4

/// Hard links whose target their own layer does not have: each waits for the first lower layer that has the path.
///
/// What a link means is what the path showed in the layers below the link's: upper layers may hide that name by now,
/// the link holds its inode all the same.
final class PendingLinks {
    struct Link {
        /// Held by this list, so that it stays what it is when its names are gone.
        let inode: InodeID
        let target: [ArraySlice<UInt8>]
        let layer: String
        let entry: [UInt8]
    }

    private enum Finding {
        case inode(InodeID)
        case notHere
        case never(String)
    }

    private let inodes: InodeTable
    private var links: [Link] = []
    /// Links of the layer that is being read: they are for the layers below it.
    private var added: [Link] = []
    private var targets: Set<[UInt8]> = []

    init(inodes: InodeTable) {
        self.inodes = inodes
    }

    var isEmpty: Bool { targets.isEmpty }

    /// Whether a link of an upper layer waits for this path.
    func waits(for path: [UInt8]) -> Bool {
        targets.contains(path)
    }

    func add(_ link: Link) {
        inodes.retain(link.inode)
        added.append(link)
    }

    /// Gives the links of upper layers what a layer has for them. A link that this layer keeps from ever finding its
    /// target is an error.
    func settle(with layer: LayerTree) throws(RootFSError) {
        var waiting: [Link] = []
        for link in links {
            switch find(link, in: layer) {
            case .inode(let id):
                inodes.join(link.inode, to: id)
                try inodes.release(link.inode)
            case .notHere:
                waiting.append(link)
            case .never(let reason):
                throw failure(link, reason)
            }
        }
        links = waiting
    }

    /// Takes on the links of the layer that was read and merged, but for those that no visible name needs.
    func finishLayer() throws(RootFSError) {
        for link in added {
            if inodes[link.inode].references > 1 {
                links.append(link)
            } else {
                try inodes.release(link.inode)
            }
        }
        added = []
        targets = Set(links.map { Array($0.target.joined(separator: [UInt8(ascii: "/")])) })
    }

    /// After the bottom layer: whoever still waits, waits in vain.
    func finish() throws(RootFSError) {
        if let link = links.first { throw failure(link, "neither its layer nor one below it has that path") }
    }

    private func failure(_ link: Link, _ reason: String) -> RootFSError {
        let path = printable(Array(link.target.joined(separator: [UInt8(ascii: "/")])))
        return RootFSError(
            .link, "it is a hard link to \"\(path)\", but \(reason)", layer: link.layer, entry: printable(link.entry))
    }

    private func find(_ link: Link, in layer: LayerTree) -> Finding {
        var node = LayerTree.Paths.root
        var isGone = layer[node].isOpaque
        for (index, name) in link.target.enumerated() {
            guard let child = layer.paths.child(of: node, named: name) else {
                return isGone ? .never("a layer below its own deleted that path") : .notHere
            }
            let found = layer[child]
            isGone = isGone || found.hidesLower
            if index == link.target.count - 1 {
                switch found.state {
                case .nothing: return isGone ? .never("a layer below its own deleted that path") : .notHere
                case .inode(let id) where !inodes[id].isDirectory: return .inode(id)
                default: return .never("that is a directory in a lower layer")
                }
            }
            if case .inode(let id) = found.state, !inodes[id].isDirectory {
                return .never("a part of that path is not a directory in a lower layer")
            }
            isGone = isGone || found.isOpaque
            node = child
        }
        return .never("that is the root directory")
    }
}
