import EXT4

/// Names an inode of the conversion, whichever layer it is from.
struct InodeID: Hashable {
    var index: Int32
}

/// What a layer, or the merged tree, has at a path.
struct Inode {
    enum Body {
        case directory
        /// A file whose bytes are in the image.
        case written(FileData)
        /// A file that upper layers hide; its bytes wait in case that a hard link needs them.
        case held(HiddenPayloads.Held)
        case symbolicLink(target: [UInt8])
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
        case fifo
        /// A hard link to a path of a lower layer that is still to be read.
        case pending
        /// A hard link that found its inode.
        case alias(InodeID)
        /// Nobody's: to be used again.
        case free
    }

    var attributes: Attributes
    var body: Body
    /// Names in the layer that is being read and in the merged tree.
    var references = 0
    /// In the image, once it is there.
    var number: InodeNumber?

    var isDirectory: Bool {
        if case .directory = body { return true }
        return false
    }
}

/// All inodes of a conversion, counted by their names. One that loses its last name is freed, and its bytes leave the
/// image.
final class InodeTable {
    private let writer: ImageWriter
    private var inodes: [Inode] = []
    private var free: [InodeID] = []

    init(writer: ImageWriter) {
        self.writer = writer
    }

    /// The inode behind an identifier, whatever links it went through.
    func resolve(_ id: InodeID) -> InodeID {
        var current = id
        while case .alias(let target) = inodes[Int(current.index)].body { current = target }
        return current
    }

    subscript(id: InodeID) -> Inode {
        get { inodes[Int(resolve(id).index)] }
        _modify { yield &inodes[Int(resolve(id).index)] }
    }

    /// Adds an inode with one name.
    func add(_ attributes: Attributes, _ body: Inode.Body) -> InodeID {
        let inode = Inode(attributes: attributes, body: body, references: 1)
        if let id = free.popLast() {
            inodes[Int(id.index)] = inode
            return id
        }
        inodes.append(inode)
        return InodeID(index: Int32(inodes.count - 1))
    }

    func retain(_ id: InodeID) {
        self[id].references += 1
    }

    /// Takes a name away, and with the last one the inode and its bytes in the image.
    func release(_ id: InodeID) throws(RootFSError) {
        let target = resolve(id)
        self[target].references -= 1
        guard self[target].references == 0 else { return }
        let body = self[target].body
        // Aliases stay as they are, so that an identifier that somebody still holds never means another inode.
        self[target].body = .free
        self[target].attributes.xattrs = []
        free.append(target)
        if case .written(let data) = body {
            try output { () throws(EXT4Error) in try writer.discard(data) }
        }
    }

    /// Makes a pending hard link one more identifier of the inode that it found, with all its names.
    func join(_ pending: InodeID, to target: InodeID) {
        let source = resolve(pending)
        let target = resolve(target)
        guard source != target else { return }
        self[target].references += self[source].references
        inodes[Int(source.index)].body = .alias(target)
    }
}

/// Runs a call of the image writer and says what its failure means here.
func output<Value>(_ body: () throws(EXT4Error) -> Value) throws(RootFSError) -> Value {
    do {
        return try body()
    } catch {
        throw RootFSError(.output, "the image cannot be written", cause: error)
    }
}
