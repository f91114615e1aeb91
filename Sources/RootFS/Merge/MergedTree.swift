import EXT4

/// What the layers read so far make of a path, and what of the layers below they hide there.
struct MergedNode {
    enum State: Equatable {
        /// No layer has the path; the node only carries marks.
        case nothing
        /// A directory that layers only imply: the first lower layer that names it gives its attributes.
        case impliedDirectory
        case inode(InodeID)
    }

    var state = State.nothing
    /// Layers below this one cannot show the path or anything under it.
    var hiddenBelow: Int32 = 0
    /// Layers below this one cannot show anything under the path.
    var opaqueBelow: Int32 = 0
}

/// The merged tree, built from the topmost layer down.
///
/// A layer's whiteouts, opaque marks and changes of type are marks for the layers below it, so it cannot matter where
/// in the layer they stand. Layers are numbered from 0, the bottom one.
final class MergedTree {
    typealias Paths = PathTree<MergedNode>

    private(set) var paths = Paths(root: MergedNode(state: .impliedDirectory))
    private let inodes: InodeTable

    init(inodes: InodeTable) {
        self.inodes = inodes
    }

    subscript(node: Paths.NodeID) -> MergedNode {
        paths[node]
    }

    func isDirectory(_ state: MergedNode.State) -> Bool {
        switch state {
        case .nothing: false
        case .impliedDirectory: true
        case .inode(let id): inodes[id].isDirectory
        }
    }

    /// How upper layers look at a name of `layer`, given how they look at its parent.
    func reach(_ layer: Int32, parent: LayerTree.Reach, name: ArraySlice<UInt8>) -> LayerTree.Reach {
        guard case .merged(let node) = parent else { return parent }
        guard paths[node].opaqueBelow <= layer else { return .hidden }
        guard let child = paths.child(of: node, named: name) else { return .fresh }
        let found = paths[child]
        guard found.hiddenBelow <= layer, found.state == .nothing || isDirectory(found.state) else { return .hidden }
        return .merged(child)
    }

    /// Merges a whole layer under what is there. Each name that becomes visible keeps its inode alive.
    func absorb(_ layer: LayerTree) {
        absorb(layer[LayerTree.Paths.root], into: Paths.root, layer.number)
        var work = [(layer: LayerTree.Paths.root, merged: Paths.root)]
        while let (from, into) = work.popLast() {
            guard paths[into].opaqueBelow <= layer.number else { continue }
            for child in layer.paths.children(of: from) where !layer.isReserved(child) {
                let node = layer[child]
                let hasChildren = layer.paths.hasChildren(child)
                guard node.state != .nothing || node.hidesLower || node.isOpaque || hasChildren else { continue }
                let name = layer.paths.name(of: child)
                let target =
                    paths.child(of: into, named: name) ?? paths.addChild(of: into, named: name, MergedNode())
                guard paths[target].hiddenBelow <= layer.number else { continue }
                absorb(node, into: target, layer.number)
                if hasChildren, paths[target].state == .nothing || isDirectory(paths[target].state) {
                    work.append((child, target))
                }
            }
        }
    }

    /// Merges one node that the upper layers do not hide. A mark is for layers below `layer` only, so it does not
    /// matter whether it is set before this layer's own children are merged or after.
    private func absorb(_ node: LayerTree.Node, into target: Paths.NodeID, _ layer: Int32) {
        let isDirectory = isDirectory(node.state)
        switch paths[target].state {
        case .nothing:
            paths[target].state = node.state
            retain(node.state)
        case .impliedDirectory where isDirectory:
            paths[target].state = node.state
            retain(node.state)
        case .impliedDirectory, .inode:
            // A directory over something else: what lies lower than that is gone for good.
            let isSomethingElse = node.state != .nothing && !isDirectory
            if isSomethingElse, self.isDirectory(paths[target].state) {
                paths[target].hiddenBelow = max(paths[target].hiddenBelow, layer)
            }
        }
        if node.hidesLower { paths[target].hiddenBelow = max(paths[target].hiddenBelow, layer) }
        if node.isOpaque { paths[target].opaqueBelow = max(paths[target].opaqueBelow, layer) }
    }

    private func retain(_ state: MergedNode.State) {
        if case .inode(let id) = state { inodes.retain(id) }
    }

    /// Puts a directory into the root unless something has its name.
    func addDirectory(named name: String, _ attributes: Attributes) {
        let bytes = Array(name.utf8)[...]
        let node =
            paths.child(of: Paths.root, named: bytes)
            ?? paths.addChild(of: Paths.root, named: bytes, MergedNode())
        if paths[node].state == .nothing {
            paths[node].state = .inode(inodes.add(attributes, .directory))
        }
    }
}
