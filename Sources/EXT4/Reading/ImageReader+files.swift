/// A part of a file, in order.
package enum FilePiece {
    /// Valid during the call that it is handed to.
    case data(UnsafeRawBufferPointer)
    /// Zeros that take no space, in bytes.
    case hole(UInt64)
}

extension ImageReader {
    /// A node of an extent tree where it is not in the inode.
    typealias NodeVisitor = (_ block: UInt64) throws(EXT4Error) -> Void
    typealias ExtentVisitor = (_ extent: Extent, _ isWritten: Bool) throws(EXT4Error) -> Void

    /// Goes through an inode's extent tree in order. Each node must keep to the part of the file that its parent gives
    /// it, so that even a tree that leads back to itself ends.
    func forEachExtent(
        of inode: Inode, node: NodeVisitor = { _ throws(EXT4Error) in }, _ body: ExtentVisitor
    ) throws(EXT4Error) {
        guard inode.hasExtents else {
            if inode.isFile || inode.isDirectory || (inode.isSymlink && !inode.isFastSymlink) {
                throw EXT4Error(
                    .corrupt, "Inode \(inode.number.rawValue) has no extents; this reader knows no other form")
            }
            return
        }
        let root = ByteView(try inode.bytes.slice(InodeField.block..<(InodeField.block + InodeField.blockSize)))
        let depth = Int(try root.get(UInt16.self, at: 6))
        var floor: UInt64 = 0
        try walk(root, inode, depth: depth, limit: ExtentTree.maxFileBlocks, &floor, node, body)
    }

    private func walk(
        _ bytes: ByteView, _ inode: Inode, depth: Int, limit: UInt64, _ floor: inout UInt64, _ visitNode: NodeVisitor,
        _ body: ExtentVisitor
    ) throws(EXT4Error) {
        let damaged = EXT4Error(.corrupt, "The extent tree of inode \(inode.number.rawValue) is damaged")
        let count = Int(try bytes.get(UInt16.self, at: 2))
        let room = Int(try bytes.get(UInt16.self, at: 4))
        guard try bytes.get(UInt16.self, at: 0) == 0xF30A, Int(try bytes.get(UInt16.self, at: 6)) == depth,
            depth <= 5, count <= room, room == (bytes.count - 12) / 12, count > 0 || depth == 0
        else { throw damaged }
        for index in 0..<count {
            let offset = 12 + 12 * index
            let logical = UInt64(try bytes.get(UInt32.self, at: offset))
            guard logical >= floor else { throw damaged }
            if depth == 0 {
                let stored = UInt64(try bytes.get(UInt16.self, at: offset + 4))
                let isWritten = stored <= ExtentTree.maxExtentBlocks
                let length = isWritten ? stored : stored - ExtentTree.maxExtentBlocks
                let physical =
                    UInt64(try bytes.get(UInt16.self, at: offset + 6)) << 32
                    | UInt64(try bytes.get(UInt32.self, at: offset + 8))
                guard length > 0, logical + length <= limit, physical > 0,
                    physical + length <= information.blockCount
                else { throw damaged }
                try body(Extent(logical: logical, physical: physical, count: length), isWritten)
                floor = logical + length
            } else {
                let block =
                    UInt64(try bytes.get(UInt16.self, at: offset + 8)) << 32
                    | UInt64(try bytes.get(UInt32.self, at: offset + 4))
                let next =
                    index + 1 < count ? UInt64(try bytes.get(UInt32.self, at: offset + 12)) : limit
                guard next > logical, next <= limit else { throw damaged }
                let child = try readBlock(block)
                guard
                    try child.checksum(0..<(ImageReader.blockSize - 4), seed: inode.seed)
                        == child.get(UInt32.self, at: ImageReader.blockSize - 4)
                else {
                    throw EXT4Error(
                        .corrupt, "The checksum of an extent node of inode \(inode.number.rawValue) is wrong")
                }
                try visitNode(block)
                floor = max(floor, logical)
                try walk(child, inode, depth: depth - 1, limit: next, &floor, visitNode, body)
                floor = max(floor, logical + 1)
            }
        }
    }

    /// Hands out a file's bytes in order, in pieces of at most 1 MiB and holes of any size.
    package func read(
        _ inode: Inode, _ body: (FilePiece) throws(EXT4Error) -> Void
    ) throws(EXT4Error) {
        guard inode.isFile || inode.isSymlink || inode.isDirectory else {
            throw EXT4Error(.misuse, "Inode \(inode.number.rawValue) has no content to read")
        }
        guard inode.size <= ExtentTree.maxFileBlocks * Geometry.blockSize else {
            throw EXT4Error(.corrupt, "Inode \(inode.number.rawValue) has a size that cannot be: \(inode.size) bytes")
        }
        let buffer = Scratch(count: Int(max(min(inode.size, 1 << 20), 1)))
        var position: UInt64 = 0
        try forEachExtent(of: inode) { extent, isWritten throws(EXT4Error) in
            let start = min(extent.logical * Geometry.blockSize, inode.size)
            let end = min((extent.logical + extent.count) * Geometry.blockSize, inode.size)
            if start > position {
                try body(.hole(start - position))
                position = start
            }
            guard isWritten else {
                if end > position { try body(.hole(end - position)) }
                position = max(position, end)
                return
            }
            while position < end {
                let count = Int(min(end - position, UInt64(buffer.count)))
                let offset = extent.physical * Geometry.blockSize + (position - start)
                try read(at: offset, into: buffer.base, count: count)
                try body(.data(UnsafeRawBufferPointer(start: buffer.base, count: count)))
                position += UInt64(count)
            }
        }
        if position < inode.size {
            try body(.hole(inode.size - position))
        }
    }

    /// What a symlink points to.
    package func target(of inode: Inode) throws(EXT4Error) -> [UInt8] {
        guard inode.isSymlink, inode.size > 0, inode.size < Geometry.blockSize else {
            throw EXT4Error(.corrupt, "Inode \(inode.number.rawValue) is no symlink, or one of \(inode.size) bytes")
        }
        if inode.isFastSymlink {
            return try inode.bytes.slice(InodeField.block..<(InodeField.block + Int(inode.size)))
        }
        var target: [UInt8] = []
        try read(inode) { piece throws(EXT4Error) in
            switch piece {
            case .data(let bytes): target.append(contentsOf: bytes)
            case .hole:
                throw EXT4Error(.corrupt, "The target of symlink \(inode.number.rawValue) is a hole")
            }
        }
        return target
    }
}
