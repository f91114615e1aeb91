/// What keeps a walk over the tree of an image that nobody vouches for finite: each directory is entered once, no two
/// share a block, and no more data is read than the image can hold.
///
/// A sound image never meets these bounds; a damaged one ends in `.corrupt`.
package final class TreeWalk {
    private let reader: ImageReader
    private var entered: Set<UInt32> = []
    private var directoryBlocks: Set<UInt64> = []
    private var dataBlocks: UInt64 = 0

    /// Directories below each other; what snapwf converts has at most half as many.
    package static let maxDepth = 2048

    package init(_ reader: ImageReader) {
        self.reader = reader
    }

    /// A directory's names in the order of their bytes, without "." and "..".
    ///
    /// - Parameter depth: how many directories are above it.
    package func entries(of directory: Inode, depth: Int) throws(EXT4Error) -> [DirectoryEntry] {
        guard depth <= TreeWalk.maxDepth else {
            throw EXT4Error(.unsupported, "The tree has more than \(TreeWalk.maxDepth) directories below each other")
        }
        let number = directory.number.rawValue
        guard entered.insert(number).inserted else {
            throw EXT4Error(.corrupt, "Directory \(number) has more than one name")
        }
        let entries = try reader.entries(of: directory) { block throws(EXT4Error) in
            guard self.directoryBlocks.insert(block).inserted else {
                throw EXT4Error(.corrupt, "Directory \(number) shares block \(block) with another one")
            }
        }
        return entries.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    /// The inode that an entry names, which must be in use.
    package func inode(of entry: DirectoryEntry) throws(EXT4Error) -> Inode {
        let inode = try reader.inode(entry.inode)
        guard inode.type != nil, inode.links > 0 else {
            throw EXT4Error(
                .corrupt, "\"\(printableName(entry.name))\" names inode \(entry.inode.rawValue), which is not in use")
        }
        return inode
    }

    /// Counts blocks of files that are going to be read.
    func spend(dataBlocks count: UInt64) throws(EXT4Error) {
        dataBlocks += min(count, reader.information.blockCount + 1)
        guard dataBlocks <= reader.information.blockCount else {
            throw EXT4Error(.corrupt, "Files of the image have more blocks than there are; some must share them")
        }
    }
}
