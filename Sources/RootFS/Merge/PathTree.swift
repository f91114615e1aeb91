/// Paths as a tree of names, with a value at each.
///
/// Nodes lie in one array and names in another, because an image has hundreds of thousands of them; a hash table finds
/// a name in its directory. The table's seed is the process's own, so that no archive can be made to collide.
struct PathTree<Value> {
    typealias NodeID = Int32

    private struct Node {
        var parent: NodeID
        var firstChild: NodeID
        var nextSibling: NodeID
        var nameStart: UInt32
        var nameCount: UInt16
        /// No longer found by name: another node took its place.
        var isDetached: Bool
        var value: Value
    }

    private static var none: NodeID { -1 }
    static var root: NodeID { 0 }

    private var nodes: [Node] = []
    private var names: [UInt8] = []
    private var buckets: [NodeID]

    init(root value: Value) {
        buckets = Array(repeating: Self.none, count: 64)
        nodes.append(
            Node(
                parent: Self.none, firstChild: Self.none, nextSibling: Self.none, nameStart: 0, nameCount: 0,
                isDetached: false, value: value))
    }

    subscript(node: NodeID) -> Value {
        get { nodes[Int(node)].value }
        _modify { yield &nodes[Int(node)].value }
    }

    func name(of node: NodeID) -> ArraySlice<UInt8> {
        let start = Int(nodes[Int(node)].nameStart)
        return names[start..<(start + Int(nodes[Int(node)].nameCount))]
    }

    /// nil for the root.
    func parent(of node: NodeID) -> NodeID? {
        node == Self.root ? nil : nodes[Int(node)].parent
    }

    func hasChildren(_ node: NodeID) -> Bool {
        nodes[Int(node)].firstChild != Self.none
    }

    /// The children of a node, the newest first.
    func children(of node: NodeID) -> some Sequence<NodeID> {
        sequence(state: nodes[Int(node)].firstChild) { (next: inout NodeID) -> NodeID? in
            while next != Self.none {
                let current = next
                next = nodes[Int(current)].nextSibling
                if !nodes[Int(current)].isDetached { return current }
            }
            return nil
        }
    }

    /// The names from the root to a node, with slashes between.
    func path(of node: NodeID) -> [UInt8] {
        var chain: [NodeID] = []
        var current = node
        while current != Self.root {
            chain.append(current)
            current = nodes[Int(current)].parent
        }
        return Array(chain.reversed().map { name(of: $0) }.joined(separator: [UInt8(ascii: "/")]))
    }

    func child(of parent: NodeID, named name: ArraySlice<UInt8>) -> NodeID? {
        let found = buckets[slot(parent, name)]
        return found == Self.none ? nil : found
    }

    /// Adds a name that the directory does not have.
    mutating func addChild(of parent: NodeID, named name: ArraySlice<UInt8>, _ value: Value) -> NodeID {
        if nodes.count * 2 >= buckets.count { grow() }
        let start = names.count
        names.append(contentsOf: name)
        let node = append(parent: parent, nameStart: UInt32(start), nameCount: UInt16(name.count), value)
        buckets[slot(parent, name)] = node
        return node
    }

    /// Puts a fresh node without children in the place of one, which keeps its own.
    mutating func replace(_ node: NodeID, with value: Value) -> NodeID {
        let old = nodes[Int(node)]
        let slot = slot(old.parent, name(of: node))
        nodes[Int(node)].isDetached = true
        buckets[slot] = append(
            parent: old.parent, nameStart: old.nameStart, nameCount: old.nameCount, value)
        return buckets[slot]
    }

    private mutating func append(
        parent: NodeID, nameStart: UInt32, nameCount: UInt16, _ value: Value
    ) -> NodeID {
        let node = NodeID(nodes.count)
        nodes.append(
            Node(
                parent: parent, firstChild: Self.none, nextSibling: nodes[Int(parent)].firstChild,
                nameStart: nameStart, nameCount: nameCount, isDetached: false, value: value))
        nodes[Int(parent)].firstChild = node
        return node
    }

    /// Where a name stands in the table, or would stand: linear probing, the table never more than half full.
    private func slot(_ parent: NodeID, _ name: ArraySlice<UInt8>) -> Int {
        var hasher = Hasher()
        hasher.combine(parent)
        name.withUnsafeBytes { hasher.combine(bytes: $0) }
        var slot = hasher.finalize() & (buckets.count - 1)
        while buckets[slot] != Self.none {
            let node = buckets[slot]
            if nodes[Int(node)].parent == parent, self.name(of: node).elementsEqual(name) { break }
            slot = (slot + 1) & (buckets.count - 1)
        }
        return slot
    }

    private mutating func grow() {
        let old = buckets
        buckets = Array(repeating: Self.none, count: old.count * 2)
        for node in old where node != Self.none {
            buckets[slot(nodes[Int(node)].parent, name(of: node))] = node
        }
    }
}
