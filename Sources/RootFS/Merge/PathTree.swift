import Glibc

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
        /// Of the parent and the name, so that a table that grows asks nobody again.
        var hash: UInt32
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
                parent: Self.none, firstChild: Self.none, nextSibling: Self.none, nameStart: 0, nameCount: 0, hash: 0,
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
        let found = buckets[slot(parent, name, Self.hash(parent, name))]
        return found == Self.none ? nil : found
    }

    /// Adds a name that the directory does not have.
    mutating func addChild(of parent: NodeID, named name: ArraySlice<UInt8>, _ value: Value) -> NodeID {
        if nodes.count * 2 >= buckets.count { grow() }
        let start = names.count
        names.append(contentsOf: name)
        let hash = Self.hash(parent, name)
        let slot = slot(parent, name, hash)
        let node = append(
            parent: parent, nameStart: UInt32(start), nameCount: UInt16(name.count), hash: hash, value)
        buckets[slot] = node
        return node
    }

    /// Puts a fresh node without children in the place of one, which keeps its own.
    mutating func replace(_ node: NodeID, with value: Value) -> NodeID {
        let old = nodes[Int(node)]
        let slot = slot(old.parent, name(of: node), old.hash)
        nodes[Int(node)].isDetached = true
        buckets[slot] = append(
            parent: old.parent, nameStart: old.nameStart, nameCount: old.nameCount, hash: old.hash, value)
        return buckets[slot]
    }

    private mutating func append(
        parent: NodeID, nameStart: UInt32, nameCount: UInt16, hash: UInt32, _ value: Value
    ) -> NodeID {
        let node = NodeID(nodes.count)
        nodes.append(
            Node(
                parent: parent, firstChild: Self.none, nextSibling: nodes[Int(parent)].firstChild,
                nameStart: nameStart, nameCount: nameCount, hash: hash, isDetached: false, value: value))
        nodes[Int(parent)].firstChild = node
        return node
    }

    private static func hash(_ parent: NodeID, _ name: ArraySlice<UInt8>) -> UInt32 {
        var hasher = Hasher()
        hasher.combine(parent)
        name.withUnsafeBytes { hasher.combine(bytes: $0) }
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    /// Where a name stands in the table, or would stand: linear probing, the table never more than half full.
    private func slot(_ parent: NodeID, _ name: ArraySlice<UInt8>, _ hash: UInt32) -> Int {
        var slot = Int(hash) & (buckets.count - 1)
        while buckets[slot] != Self.none, !isNode(buckets[slot], parent, name, hash) {
            slot = (slot + 1) & (buckets.count - 1)
        }
        return slot
    }

    private func isNode(_ node: NodeID, _ parent: NodeID, _ name: ArraySlice<UInt8>, _ hash: UInt32) -> Bool {
        let found = nodes[Int(node)]
        guard found.hash == hash, found.parent == parent, Int(found.nameCount) == name.count else { return false }
        return names.withUnsafeBytes { names in
            name.withUnsafeBytes { name in
                let known = UnsafeRawBufferPointer(rebasing: names[Int(found.nameStart)...].prefix(name.count))
                guard let left = known.baseAddress, let right = name.baseAddress else { return true }
                return memcmp(left, right, name.count) == 0
            }
        }
    }

    private mutating func grow() {
        let old = buckets
        buckets = Array(repeating: Self.none, count: old.count * 2)
        for node in old where node != Self.none {
            // All that stand in the table are different, so the first free place is theirs.
            var slot = Int(nodes[Int(node)].hash) & (buckets.count - 1)
            while buckets[slot] != Self.none { slot = (slot + 1) & (buckets.count - 1) }
            buckets[slot] = node
        }
    }
}
