/// A name in a directory.
package struct DirectoryEntry: Sendable, Hashable {
    package let name: [UInt8]
    package let inode: InodeNumber
    /// As the entry says it: the number of a `FileType`.
    let type: UInt8
}

extension ImageReader {
    /// The most names that are read of one directory, so that no image fills the memory: about 300 MiB of it.
    static let maxNames = 1 << 22

    /// The names in a directory in the order of its blocks, without "." and "..".
    package func entries(of directory: Inode) throws(EXT4Error) -> [DirectoryEntry] {
        try entries(of: directory) { _ throws(EXT4Error) in }
    }

    /// The same, and tells of each of its blocks before that is read.
    func entries(
        of directory: Inode, block visit: (_ number: UInt64) throws(EXT4Error) -> Void
    ) throws(EXT4Error) -> [DirectoryEntry] {
        var entries: [DirectoryEntry] = []
        try forEachBlock(of: directory) { index, number, block throws(EXT4Error) in
            try visit(number)
            guard entries.count <= ImageReader.maxNames else {
                throw EXT4Error(
                    .unsupported,
                    "Directory \(directory.number.rawValue) has more than \(ImageReader.maxNames) names")
            }
            guard try !isIndexBlock(block, index: index, of: directory) else { return }
            try checkLeaf(block, of: directory)
            try forEachEntry(in: block, end: ImageReader.blockSize - DirectoryWriter.tailSize, of: directory) {
                entry, _ throws(EXT4Error) in
                if entry.name != [0x2E], entry.name != [0x2E, 0x2E] {
                    entries.append(entry)
                }
            }
        }
        return entries
    }

    /// The inode at a path of names from the root on; nil where there is none. Symlinks are not followed.
    package func inode(at path: [[UInt8]]) throws(EXT4Error) -> Inode? {
        var current = try inode(root)
        for name in path {
            guard current.isDirectory,
                let entry = try entries(of: current).first(where: { $0.name == name })
            else { return nil }
            current = try inode(entry.inode)
        }
        return current
    }

    static let largestDirectory = UInt64(HashTreeShape.rootLimit * HashTreeShape.nodeLimit * 2)

    /// The blocks of a directory in order, each with its number in the image. A directory has no holes.
    func forEachBlock(
        of directory: Inode, _ body: (_ index: UInt64, _ number: UInt64, _ block: ByteView) throws(EXT4Error) -> Void
    ) throws(EXT4Error) {
        let blocks = directory.size / Geometry.blockSize
        guard directory.isDirectory, directory.size % Geometry.blockSize == 0, blocks > 0,
            blocks <= ImageReader.largestDirectory
        else {
            throw EXT4Error(
                .corrupt, "Inode \(directory.number.rawValue) is no directory, or one of \(directory.size) bytes")
        }
        var next: UInt64 = 0
        // A block that stands in it twice would let a small image name things without end.
        var seen: Set<UInt64> = []
        try forEachExtent(of: directory) { extent, isWritten throws(EXT4Error) in
            guard extent.logical == next, isWritten, extent.logical + extent.count <= blocks else {
                throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) has holes, or blocks past its end")
            }
            for index in 0..<extent.count {
                guard seen.insert(extent.physical + index).inserted else {
                    throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) has a block twice")
                }
                try body(next, extent.physical + index, try readBlock(extent.physical + index))
                next += 1
            }
        }
        guard next == blocks else {
            throw EXT4Error(.corrupt, "Directory \(directory.number.rawValue) lacks blocks")
        }
    }

    /// The root of a hash tree, or a node of it: to everything else a block without entries.
    func isIndexBlock(_ block: ByteView, index: UInt64, of directory: Inode) throws(EXT4Error) -> Bool {
        guard directory.flags & InodeField.flagIndex != 0 else { return false }
        if index == 0 { return true }
        let first = try block.get(UInt32.self, at: 0)
        let size = try block.get(UInt16.self, at: 4)
        return first == 0 && size == UInt16(ImageReader.blockSize)
    }

    /// The record at the end of a leaf that has its checksum.
    func checkLeaf(_ block: ByteView, of directory: Inode) throws(EXT4Error) {
        let tail = ImageReader.blockSize - DirectoryWriter.tailSize
        guard try block.get(UInt32.self, at: tail) == 0,
            try block.get(UInt32.self, at: tail + 4) == 0xDE00_0000 | UInt32(DirectoryWriter.tailSize),
            try block.get(UInt32.self, at: tail + 8) == block.checksum(0..<tail, seed: directory.seed)
        else {
            throw EXT4Error(
                .corrupt, "The checksum of a block of directory \(directory.number.rawValue) is wrong")
        }
    }

    /// The entries in use of a block, with their offsets.
    func forEachEntry(
        in block: ByteView, end: Int, of directory: Inode,
        _ body: (DirectoryEntry, _ offset: Int) throws(EXT4Error) -> Void
    ) throws(EXT4Error) {
        let damaged = EXT4Error(
            .corrupt, "A block of directory \(directory.number.rawValue) has an entry that cannot be")
        var offset = 0
        while offset < end {
            let size = Int(try block.get(UInt16.self, at: offset + 4))
            let nameCount = Int(try block.get(UInt8.self, at: offset + 6))
            guard size >= 12, size % 4 == 0, offset + size <= end, 8 + nameCount <= size else { throw damaged }
            let inode = try block.get(UInt32.self, at: offset)
            if inode != 0 {
                let name = try block.slice((offset + 8)..<(offset + 8 + nameCount))
                guard nameCount > 0, !name.contains(0), !name.contains(UInt8(ascii: "/")),
                    inode <= information.inodeCount
                else { throw damaged }
                let type = try block.get(UInt8.self, at: offset + 7)
                try body(DirectoryEntry(name: name, inode: InodeNumber(inode), type: type), offset)
            }
            offset += size
        }
    }
}
