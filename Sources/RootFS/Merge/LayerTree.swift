import EXT4

/// What one layer says of its paths: the tree that its archive describes, apart from all other layers.
///
/// Symlinks of the layer itself are followed where they stand in the middle of an entry's path, inside the root, as
/// the container runtimes do; those of other layers are not, because a layer is extracted on its own.
final class LayerTree {
    /// How the layers above look at a path of this layer.
    enum Reach: Equatable {
        /// Nothing of this path or below it can be seen.
        case hidden
        /// No upper layer has the path.
        case fresh
        /// Upper layers have this node for it: a directory, or only marks for lower layers.
        case merged(MergedTree.Paths.NodeID)
    }

    struct Node {
        var state = MergedNode.State.nothing
        /// `.wh.name` stands beside it: the lower layers' is gone.
        var isWhiteout = false
        /// The node itself is a character device 0/0, the whiteout of overlayfs.
        var isDevice = false
        /// `.wh..wh..opq` stands in it: the lower layers' children are gone.
        var isOpaque = false
        var depth: Int32 = 0
        var reach: Reach

        /// Whether the path is gone from the lower layers whatever this layer has there itself.
        var hidesLower: Bool { isWhiteout || isDevice }
    }

    typealias Paths = PathTree<Node>

    /// Where the directories of a path led to.
    enum Resolution {
        case node(Paths.NodeID)
        /// This part of the path is neither a directory nor a symlink.
        case blocked(Paths.NodeID)
        /// Symlinks that lead to each other, or too many of them.
        case endless
        /// The layer knows the first part only: its last node, and the names that should be below it.
        case missing(below: Paths.NodeID, [ArraySlice<UInt8>])
    }

    private(set) var paths: Paths
    let number: Int32
    private let merged: MergedTree
    private let inodes: InodeTable
    private let budget: Budget
    /// The directory that was asked for last, unless symlinks led there: most entries follow one of the same directory.
    private var lastDirectory: (components: ArraySlice<ArraySlice<UInt8>>, node: Paths.NodeID)?
    private var followedSymlinks = 0

    /// Symlinks on the way to one name, as in Linux (MAXSYMLINKS).
    private static let maximumSymlinks = 40

    init(number: Int32, merged: MergedTree, inodes: InodeTable, budget: Budget) {
        self.number = number
        self.merged = merged
        self.inodes = inodes
        self.budget = budget
        paths = Paths(root: Node(state: .impliedDirectory, reach: .merged(MergedTree.Paths.root)))
    }

    subscript(node: Paths.NodeID) -> Node {
        get { paths[node] }
        _modify { yield &paths[node] }
    }

    /// Whether a node belongs to the bookkeeping of aufs, which only serves as a target of hard links.
    func isReserved(_ node: Paths.NodeID) -> Bool {
        paths[node].depth == 1 && paths.name(of: node).starts(with: Whiteout.prefix)
    }

    /// Whether a file at this node is part of the image, as far as the upper layers are concerned.
    func isVisible(_ node: Paths.NodeID) -> Bool {
        switch paths[node].reach {
        case .hidden: false
        case .fresh: true
        case .merged(let above): merged[above].state == .nothing
        }
    }

    /// Follows directories and symlinks from the root.
    func resolve(_ components: ArraySlice<ArraySlice<UInt8>>) throws(RootFSError) -> Resolution {
        var work = Array(components.reversed())
        var node = Paths.root
        var missing: [ArraySlice<UInt8>] = []
        var symlinks = 0
        while let name = work.popLast() {
            // Only a symlink's target can have these two.
            if name.elementsEqual(".".utf8) { continue }
            if name.elementsEqual("..".utf8) {
                if missing.popLast() == nil { node = paths.parent(of: node) ?? Paths.root }
                continue
            }
            guard missing.isEmpty, let child = paths.child(of: node, named: name) else {
                missing.append(name)
                continue
            }
            guard case .inode(let id) = paths[child].state, !inodes[id].isDirectory else {
                if paths[child].isDevice { return .blocked(child) }
                node = child
                continue
            }
            guard case .symbolicLink(let target) = inodes[id].body else { return .blocked(child) }
            symlinks += 1
            followedSymlinks += 1
            guard symlinks <= Self.maximumSymlinks else { return .endless }
            // Bounds the work that an archive can ask for by sending each of its entries through long symlinks.
            try budget.spend(entries: 0, metadataBytes: target.count)
            if target.first == UInt8(ascii: "/") { node = Paths.root }
            work.append(contentsOf: target.split(separator: UInt8(ascii: "/")).reversed())
        }
        return missing.isEmpty ? .node(node) : .missing(below: node, missing)
    }

    /// The node of a directory's path; directories that nobody named yet are implied.
    func directory(_ components: ArraySlice<ArraySlice<UInt8>>) throws(RootFSError) -> Paths.NodeID {
        if let lastDirectory, lastDirectory.components == components { return lastDirectory.node }
        let before = followedSymlinks
        let node = try findDirectory(components)
        lastDirectory = followedSymlinks == before ? (components, node) : nil
        return node
    }

    private func findDirectory(
        _ components: ArraySlice<ArraySlice<UInt8>>
    ) throws(RootFSError) -> Paths.NodeID {
        switch try resolve(components) {
        case .blocked(let node):
            throw RootFSError(
                .archive, "its parent \"\(printable(paths.path(of: node)))\" is not a directory in this layer")
        case .endless:
            throw RootFSError(.name, "its path leads through more than \(Self.maximumSymlinks) symlinks of this layer")
        case .node(let node):
            return node
        case .missing(var node, let names):
            for name in names {
                node = try add(name, to: node)
                paths[node].state = .impliedDirectory
            }
            return node
        }
    }

    /// The node of a name in a directory of this layer, with whatever it holds.
    func node(_ name: ArraySlice<UInt8>, in directory: Paths.NodeID) throws(RootFSError) -> Paths.NodeID {
        if let known = paths.child(of: directory, named: name) { return known }
        return try add(name, to: directory)
    }

    private func add(_ name: ArraySlice<UInt8>, to parent: Paths.NodeID) throws(RootFSError) -> Paths.NodeID {
        let depth = paths[parent].depth + 1
        guard depth <= budget.limits.depth else {
            throw RootFSError(
                exceeding: .depth, "the path is more than \(budget.limits.depth) names deep, the limit")
        }
        try budget.spend(metadataBytes: name.count)
        let isBookkeeping = depth == 1 && name.starts(with: Whiteout.metadataPrefix)
        // Entries are checked before they come here, but the target of a symlink may have any name.
        guard name.count <= EntryPath.maximumName, isBookkeeping || !Whiteout.isPrefix(of: name) else {
            throw RootFSError(.name, "the path leads through \"\(printable(name))\", which no directory can be called")
        }
        let reach = isBookkeeping ? .hidden : merged.reach(number, parent: paths[parent].reach, name: name)
        return paths.addChild(of: parent, named: name, Node(depth: depth, reach: reach))
    }

    /// Sets what a directory entry says; a directory that is there keeps its names.
    func setDirectory(_ node: Paths.NodeID, _ attributes: Attributes) throws(RootFSError) {
        let kept = merged.isDirectory(paths[node].state) ? node : try cleared(node)
        let old = paths[kept].state
        paths[kept].state = .inode(inodes.add(attributes, .directory))
        if case .inode(let id) = old { try inodes.release(id) }
    }

    /// Takes away what the layer had at a path so far, with everything below: a later entry of the same name replaces
    /// it. Returns the node that stands for the path from now on.
    func cleared(_ node: Paths.NodeID) throws(RootFSError) -> Paths.NodeID {
        let fresh = Node(depth: paths[node].depth, reach: paths[node].reach)
        if paths[node].state == .nothing, !paths.hasChildren(node) {
            paths[node] = fresh
            return node
        }
        // What is taken away may be a part of its path.
        lastDirectory = nil
        var work = [node]
        while let next = work.popLast() {
            if case .inode(let id) = paths[next].state {
                paths[next].state = .nothing
                try inodes.release(id)
            }
            work.append(contentsOf: paths.children(of: next))
        }
        guard paths.hasChildren(node) else {
            paths[node] = fresh
            return node
        }
        try budget.spend(metadataBytes: 0)
        return paths.replace(node, with: fresh)
    }

    /// Marks a path, or the inside of a directory, as gone from the lower layers. Where the layer itself has something
    /// else than a directory in the way, there is nothing to hide: everything below that is gone already.
    func mark(
        _ directory: ArraySlice<ArraySlice<UInt8>>, whiteout name: ArraySlice<UInt8>?
    ) throws(RootFSError) {
        var node: Paths.NodeID
        switch try resolve(directory) {
        case .blocked, .endless: return
        case .node(let found): node = found
        case .missing(let last, let names):
            // A mark makes no directory.
            node = last
            for name in names { node = try add(name, to: node) }
        }
        if let name {
            paths[try self.node(name, in: node)].isWhiteout = true
        } else {
            paths[node].isOpaque = true
        }
    }

    /// Gives up all names of this layer; inodes that the merged tree did not take over are gone.
    func release() throws(RootFSError) {
        var work = [Paths.root]
        while let node = work.popLast() {
            if case .inode(let id) = paths[node].state { try inodes.release(id) }
            work.append(contentsOf: paths.children(of: node))
        }
    }
}
