extension ImageReader {
    /// An inode's extended attributes with their full names, ACLs in the form of the system call.
    package func extendedAttributes(of inode: Inode) throws(EXT4Error) -> [ExtendedAttribute] {
        try attributes(inInode: inode) { _, _ in } + attributes(inBlockOf: inode) { _, _ in }
    }

    /// Tells of each inode that holds a value, with its size in bytes.
    typealias ValueVisitor = (_ inode: InodeNumber, _ size: Int) -> Void

    /// Those that stand in the inode itself.
    func attributes(inInode inode: Inode, value visit: ValueVisitor) throws(EXT4Error) -> [ExtendedAttribute] {
        let start = 128 + Int(try inode.bytes.get(UInt16.self, at: InodeField.extraSize))
        guard start > 128, start + 4 <= Geometry.inodeSize,
            try inode.bytes.get(UInt32.self, at: start) == XattrEncoder.magic
        else { return [] }
        let tail = ByteView(try inode.bytes.slice((start + 4)..<Geometry.inodeSize))
        return try decode(tail, entries: 0, checkHashes: false, of: inode, visit)
    }

    /// Those of its block, which other inodes may have, too.
    func attributes(inBlockOf inode: Inode, value visit: ValueVisitor) throws(EXT4Error) -> [ExtendedAttribute] {
        guard inode.attributeBlock != 0 else { return [] }
        let block = try attributeBlock(inode.attributeBlock)
        return try decode(block, entries: XattrEncoder.headerSize, checkHashes: true, of: inode, visit)
    }

    /// A value that has an inode of its own, and its hash, which is right.
    private func value(in number: InodeNumber, count: Int) throws(EXT4Error) -> (bytes: [UInt8], hash: UInt32) {
        let inode = try inode(number)
        guard features.hasValueInodes, inode.isFile, inode.flags & InodeField.flagValue != 0,
            inode.size == UInt64(count), count <= XattrEncoder.maxValueSize
        else {
            throw EXT4Error(.corrupt, "Inode \(number.rawValue) should hold the value of an attribute and does not")
        }
        var bytes: [UInt8] = []
        try read(inode) { piece throws(EXT4Error) in
            switch piece {
            case .data(let part): bytes.append(contentsOf: part)
            case .hole(let count): bytes.append(contentsOf: repeatElement(0, count: Int(count)))
            }
        }
        let hash = bytes.withUnsafeBytes { Checksum.continued(seed, $0) }
        guard try inode.bytes.get(UInt32.self, at: InodeField.accessTime) == hash else {
            throw EXT4Error(.corrupt, "The hash of the attribute's value in inode \(number.rawValue) is wrong")
        }
        return (bytes, hash)
    }

    /// A block of extended attributes whose checksum is right.
    func attributeBlock(_ number: UInt64) throws(EXT4Error) -> ByteView {
        let block = try readBlock(number)
        guard try block.get(UInt32.self, at: 0) == XattrEncoder.magic, try block.get(UInt32.self, at: 8) == 1 else {
            throw EXT4Error(.corrupt, "Block \(number) should have extended attributes and has not")
        }
        var sum = Checksum(seed)
        sum.update(number)
        let place = XattrEncoder.checksumOffset
        var checksum = try block.checksum(0..<place, seed: sum.value)
        checksum = try ByteView([0, 0, 0, 0]).checksum(0..<4, seed: checksum)
        checksum = try block.checksum((place + 4)..<ImageReader.blockSize, seed: checksum)
        guard try block.get(UInt32.self, at: place) == checksum else {
            throw EXT4Error(.corrupt, "The checksum of the extended attributes in block \(number) is wrong")
        }
        return block
    }

    /// Value offsets count from the start of `bytes` in both places.
    private func decode(
        _ bytes: ByteView, entries start: Int, checkHashes: Bool, of inode: Inode,
        _ visit: ValueVisitor
    ) throws(EXT4Error) -> [ExtendedAttribute] {
        var result: [ExtendedAttribute] = []
        func damaged(_ what: String) -> EXT4Error {
            EXT4Error(.corrupt, "An extended attribute of inode \(inode.number.rawValue) \(what)")
        }
        var offset = start
        while offset + 4 <= bytes.count, try bytes.get(UInt32.self, at: offset) != 0 {
            let nameCount = Int(try bytes.get(UInt8.self, at: offset))
            let index = try bytes.get(UInt8.self, at: offset + 1)
            let valueOffset = Int(try bytes.get(UInt16.self, at: offset + 2))
            let valueCount = Int(try bytes.get(UInt32.self, at: offset + 8))
            let name = try bytes.slice((offset + 16)..<(offset + 16 + nameCount))
            let valueInode = try bytes.get(UInt32.self, at: offset + 4)
            var value: [UInt8] = []
            var valueHash: UInt32?
            if valueInode != 0 {
                (value, valueHash) = try self.value(in: InodeNumber(valueInode), count: valueCount)
                visit(InodeNumber(valueInode), valueCount)
            } else if valueCount > 0 {
                guard valueCount <= bytes.count else { throw damaged("has a value past the end of its block") }
                value = try bytes.slice(valueOffset..<(valueOffset + valueCount))
            }
            if checkHashes || valueInode != 0 {
                let hashed = XattrEncoder.hashed(value, valueHash)
                let hash = try bytes.get(UInt32.self, at: offset + 12)
                guard
                    XattrEncoder.hash(name: name[...], value: hashed, signed: true) == hash
                        || XattrEncoder.hash(name: name[...], value: hashed, signed: false) == hash
                else { throw damaged("has a wrong hash") }
            }
            guard let attribute = XattrEncoder.decode(index: index, name: name, value: value) else {
                throw damaged("has a namespace or an ACL that this reader does not know")
            }
            result.append(attribute)
            offset += (16 + nameCount + 3) & ~3
        }
        return result
    }
}
