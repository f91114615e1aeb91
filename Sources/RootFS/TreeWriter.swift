import EXT4

/// Writes the merged tree's inodes and names into the image, in an order that depends on the names alone.
struct TreeWriter {
    let inodes: InodeTable
    let writer: ImageWriter
    /// Of directories that no layer names.
    let impliedDirectory: Attributes
    private(set) var summary = Counts()

    struct Counts {
        var directories = 0
        var files = 0
        var otherInodes = 0
        var hardLinks = 0
    }

    init(inodes: InodeTable, writer: ImageWriter, impliedDirectory: Attributes) {
        self.inodes = inodes
        self.writer = writer
        self.impliedDirectory = impliedDirectory
    }

    /// A directory's entries get their inodes together, sorted by the bytes of their names; then each of its
    /// directories follows with all that is below it.
    mutating func write(_ tree: MergedTree) throws(RootFSError) {
        let root = try addInode(tree[MergedTree.Paths.root].state)
        var work = [(node: MergedTree.Paths.root, number: root)]
        while let (directory, parent) = work.popLast() {
            let children = tree.paths.children(of: directory)
                .filter { tree[$0].state != .nothing }
                .map { (node: $0, name: tree.paths.name(of: $0)) }
                .sorted { $0.name.lexicographicallyPrecedes($1.name) }
            var directories: [(node: MergedTree.Paths.NodeID, number: InodeNumber)] = []
            for child in children {
                do {
                    let number = try addInode(tree[child.node].state)
                    let name = Array(child.name)
                    try output { () throws(EXT4Error) in
                        try writer.addEntry(parent: parent, name: name, child: number)
                    }
                    if tree.isDirectory(tree[child.node].state) { directories.append((child.node, number)) }
                } catch {
                    throw error.located(layer: nil, entry: printable(tree.paths.path(of: child.node)))
                }
            }
            work.append(contentsOf: directories.reversed())
        }
    }

    private mutating func addInode(_ state: MergedNode.State) throws(RootFSError) -> InodeNumber {
        guard case .inode(let id) = state else {
            summary.directories += 1
            return try add(impliedDirectory, .directory)
        }
        if let number = inodes[id].number {
            summary.hardLinks += 1
            return number
        }
        let number = try add(inodes[id].attributes, try content(of: inodes[id]))
        inodes[id].number = number
        return number
    }

    private mutating func content(of inode: Inode) throws(RootFSError) -> Content {
        switch inode.body {
        case .directory:
            summary.directories += 1
            return .directory
        case .written(let data):
            summary.files += 1
            return .file(data)
        case .symbolicLink(let target):
            summary.otherInodes += 1
            return .symlink(target: target)
        case .characterDevice(let major, let minor):
            summary.otherInodes += 1
            return .characterDevice(major: major, minor: minor)
        case .blockDevice(let major, let minor):
            summary.otherInodes += 1
            return .blockDevice(major: major, minor: minor)
        case .fifo:
            summary.otherInodes += 1
            return .fifo
        case .held, .pending, .alias, .free:
            throw RootFSError(.output, "the merged tree shows a file whose bytes were left out; this is a defect")
        }
    }

    private func add(_ attributes: Attributes, _ content: Content) throws(RootFSError) -> InodeNumber {
        try output { () throws(EXT4Error) in try writer.addInode(attributes, content) }
    }
}
