extension ImageReader {
    /// An inode's extended attributes with their full names, ACLs in the form of the system call.
    package func extendedAttributes(of inode: Inode) throws(EXT4Error) -> [ExtendedAttribute] {
        var result: [ExtendedAttribute] = []
        let start = 128 + Int(try inode.bytes.get(UInt16.self, at: InodeField.extraSize))
        if start > 128, start + 4 <= Geometry.inodeSize,
            try inode.bytes.get(UInt32.self, at: start) == XattrEncoder.magic
        {
            let tail = ByteView(try inode.bytes.slice((start + 4)..<Geometry.inodeSize))
            try decode(tail, entries: 0, checkHashes: false, of: inode, into: &result)
        }
        if inode.attributeBlock != 0 {
            let block = try attributeBlock(inode.attributeBlock)
            try decode(block, entries: XattrEncoder.headerSize, checkHashes: true, of: inode, into: &result)
        }
        return result
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
        into result: inout [ExtendedAttribute]
    ) throws(EXT4Error) {
        func damaged(_ what: String) -> EXT4Error {
            EXT4Error(.corrupt, "An extended attribute of inode \(inode.number.rawValue) \(what)")
        }
        var offset = start
        while offset + 4 <= bytes.count, try bytes.get(UInt32.self, at: offset) != 0 {
            let nameCount = Int(try bytes.get(UInt8.self, at: offset))
            let index = try bytes.get(UInt8.self, at: offset + 1)
            let valueOffset = Int(try bytes.get(UInt16.self, at: offset + 2))
            let valueCount = Int(try bytes.get(UInt32.self, at: offset + 8))
            guard try bytes.get(UInt32.self, at: offset + 4) == 0 else {
                throw damaged("is in an inode of its own, which this reader does not know")
            }
            guard valueCount <= bytes.count else { throw damaged("has a value past the end of its block") }
            let name = try bytes.slice((offset + 16)..<(offset + 16 + nameCount))
            let value =
                valueCount == 0 ? [] : try bytes.slice(valueOffset..<(valueOffset + valueCount))
            if checkHashes {
                let hash = try bytes.get(UInt32.self, at: offset + 12)
                guard
                    XattrEncoder.hash(name: name[...], value: value, signed: true) == hash
                        || XattrEncoder.hash(name: name[...], value: value, signed: false) == hash
                else { throw damaged("has a wrong hash") }
            }
            guard let attribute = XattrEncoder.decode(index: index, name: name, value: value) else {
                throw damaged("has a namespace or an ACL that this reader does not know")
            }
            result.append(attribute)
            offset += (16 + nameCount + 3) & ~3
        }
    }
}
