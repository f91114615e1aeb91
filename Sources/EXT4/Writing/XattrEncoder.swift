/// Extended attributes in their two places on disk (kernel documentation, "ext4: Extended Attributes"): behind the
/// extra fields of the inode as long as there is room, the others sorted in one block. Values that find no room there
/// get inodes of their own (the feature ea_inode), the largest ones first.
struct XattrEncoder {
    /// The inode that holds a value, and the hash of that.
    struct ValueInode {
        let number: InodeNumber
        let hash: UInt32
    }

    private struct Attribute {
        /// What stands for the namespace.
        let index: UInt8
        /// Without the namespace.
        let name: ArraySlice<UInt8>
        let value: [UInt8]
        var isOutside = false
        var inode: ValueInode?

        init(index: UInt8, name: ArraySlice<UInt8>, value: [UInt8]) {
            self.index = index
            self.name = name
            self.value = value
        }

        var entrySize: Int { (16 + name.count + 3) & ~3 }
        var valueSize: Int { isOutside ? 0 : (value.count + 3) & ~3 }
    }

    /// What Linux takes (XATTR_SIZE_MAX).
    static let maxValueSize = 65536

    static let magic: UInt32 = 0xEA02_0000
    static let headerSize = 32
    private static let blockSize = Int(Geometry.blockSize)
    static let checksumOffset = 16
    static let referencesOffset = 4

    private static let namespaces: [(prefix: [UInt8], index: UInt8)] = [
        (Array("user.".utf8), 1), (Array("trusted.".utf8), 4), (Array("security.".utf8), 6),
        (Array("system.".utf8), 7),
    ]

    private var inInode: [Attribute] = []
    private var inBlock: [Attribute] = []

    init(_ attributes: [ExtendedAttribute]) throws(EXT4Error) {
        var all: [Attribute] = []
        all.reserveCapacity(attributes.count)
        for attribute in attributes {
            all.append(try XattrEncoder.encode(attribute))
        }
        // The order the kernel searches a block by: namespace, length of the name, name.
        all.sort { ($0.index, $0.name.count) < ($1.index, $1.name.count) || XattrEncoder.sameLengthBefore($0, $1) }
        for (one, next) in zip(all, all.dropFirst()) where one.index == next.index && one.name == next.name {
            let name = String(decoding: one.name, as: UTF8.self)
            throw EXT4Error(.invalidExtendedAttribute, "The extended attribute \(name) is there twice")
        }
        // Four bytes for the magic number, four for the end of the list.
        var room = InodeStore.tailSize - 8
        for attribute in all {
            let size = attribute.entrySize + attribute.valueSize
            if size <= room {
                inInode.append(attribute)
                room -= size
            } else {
                inBlock.append(attribute)
            }
        }
        var blockSize = inBlock.reduce(XattrEncoder.headerSize + 4) { $0 + $1.entrySize + $1.valueSize }
        while blockSize > XattrEncoder.blockSize {
            guard let largest = inBlock.indices.max(by: { inBlock[$0].valueSize < inBlock[$1].valueSize }),
                inBlock[largest].valueSize > 0
            else {
                throw EXT4Error(
                    .invalidExtendedAttribute,
                    "The names of the extended attributes take \(blockSize) bytes; they must fit into a block of 4096")
            }
            blockSize -= inBlock[largest].valueSize
            inBlock[largest].isOutside = true
        }
    }

    /// Has each value that needs an inode of its own stored by `store`.
    mutating func placeValues(_ store: ([UInt8]) throws(EXT4Error) -> ValueInode) throws(EXT4Error) {
        for index in inBlock.indices where inBlock[index].isOutside {
            inBlock[index].inode = try store(inBlock[index].value)
        }
    }

    private static func sameLengthBefore(_ one: Attribute, _ other: Attribute) -> Bool {
        one.index == other.index && one.name.count == other.name.count && one.name.lexicographicallyPrecedes(other.name)
    }

    private static func encode(_ attribute: ExtendedAttribute) throws(EXT4Error) -> Attribute {
        func refused(_ why: String) -> EXT4Error {
            let name = String(decoding: attribute.name, as: UTF8.self)
            return EXT4Error(.invalidExtendedAttribute, "The extended attribute \"\(name)\" \(why)")
        }
        if attribute.name == Array("system.posix_acl_access".utf8) {
            guard let value = PosixACL.onDisk(attribute.value) else { throw refused("is no valid ACL") }
            return Attribute(index: 2, name: [], value: value)
        }
        if attribute.name == Array("system.posix_acl_default".utf8) {
            guard let value = PosixACL.onDisk(attribute.value) else { throw refused("is no valid ACL") }
            return Attribute(index: 3, name: [], value: value)
        }
        for (prefix, index) in namespaces where attribute.name.starts(with: prefix) {
            let name = attribute.name.dropFirst(prefix.count)
            guard (1...255).contains(name.count), !name.contains(0) else {
                throw refused("must have a name of 1 to 255 bytes after its namespace, none of them zero")
            }
            guard attribute.value.count <= maxValueSize else {
                throw refused("has a value of \(attribute.value.count) bytes; Linux takes \(maxValueSize)")
            }
            return Attribute(index: index, name: name, value: attribute.value)
        }
        throw refused("is in no namespace that ext4 knows (user, trusted, security, system)")
    }

    var hasTail: Bool { !inInode.isEmpty }
    var hasBlock: Bool { !inBlock.isEmpty }

    /// Fills the end of an inode, which must be zero. Values are placed from its end on; their offsets count from the
    /// first entry.
    func writeTail(_ tail: UnsafeMutableRawPointer) {
        tail.put(XattrEncoder.magic, at: 0)
        XattrEncoder.write(inInode, to: tail, entries: 4, end: InodeStore.tailSize, offsetsFrom: 4)
    }

    /// Fills a block, which must be zero, but for the checksum.
    func writeBlock(_ block: UnsafeMutableRawPointer) {
        block.put(XattrEncoder.magic, at: 0)
        block.put(UInt32(1), at: XattrEncoder.referencesOffset)
        block.put(UInt32(1), at: 8)
        var hash: UInt32 = 0
        for attribute in inBlock {
            hash = hash << 16 ^ hash >> 16 ^ XattrEncoder.hash(attribute)
        }
        block.put(hash, at: 12)
        XattrEncoder.write(
            inBlock, to: block, entries: XattrEncoder.headerSize, end: XattrEncoder.blockSize, offsetsFrom: 0)
    }

    /// The checksum covers the block's number and all of the block with a zero in its own place.
    static func putChecksum(_ block: UnsafeMutableRawPointer, number: UInt64, seed: UInt32) {
        block.put(UInt32(0), at: checksumOffset)
        var sum = Checksum(seed)
        sum.update(number)
        sum.update(block, blockSize)
        block.put(sum.value, at: checksumOffset)
    }

    private static func write(
        _ attributes: [Attribute], to target: UnsafeMutableRawPointer, entries: Int, end: Int, offsetsFrom base: Int
    ) {
        var entry = entries
        var value = end
        for attribute in attributes {
            value -= attribute.valueSize
            target.put(UInt8(attribute.name.count), at: entry)
            target.put(attribute.index, at: entry + 1)
            target.put(attribute.valueSize == 0 ? 0 : UInt16(value - base), at: entry + 2)
            target.put(attribute.inode?.number.rawValue ?? 0, at: entry + 4)
            target.put(UInt32(attribute.value.count), at: entry + 8)
            target.put(hash(attribute), at: entry + 12)
            target.put(attribute.name, at: entry + 16)
            if !attribute.isOutside { target.put(attribute.value, at: value) }
            entry += attribute.entrySize
        }
    }

    /// Older kernels and tools on x86 hash names as signed characters, newer ones as unsigned and accept the older
    /// result as well: signed is what all of them take.
    private static func hash(_ attribute: Attribute) -> UInt32 {
        hash(name: attribute.name, value: hashed(attribute.value, attribute.inode?.hash), signed: true)
    }

    /// What stands for the value in an entry's hash: the value, or where that has an inode of its own, its hash.
    static func hashed(_ value: [UInt8], _ inodeHash: UInt32?) -> [UInt8] {
        guard let inodeHash else { return value }
        return (0..<4).map { UInt8(truncatingIfNeeded: inodeHash >> (8 * $0)) }
    }

    static func hash(name: ArraySlice<UInt8>, value: [UInt8], signed: Bool) -> UInt32 {
        var hash: UInt32 = 0
        for byte in name {
            let word = signed ? UInt32(bitPattern: Int32(Int8(bitPattern: byte))) : UInt32(byte)
            hash = hash << 5 ^ hash >> 27 ^ word
        }
        for start in stride(from: 0, to: value.count, by: 4) {
            var word: UInt32 = 0
            for index in start..<min(start + 4, value.count) {
                word |= UInt32(value[index]) << UInt32(8 * (index - start))
            }
            hash = hash << 16 ^ hash >> 16 ^ word
        }
        return hash
    }

    /// What `getxattr(2)` would show; nil for what this package does not know.
    static func decode(index: UInt8, name: [UInt8], value: [UInt8]) -> ExtendedAttribute? {
        if let space = namespaces.first(where: { $0.index == index }) {
            return name.isEmpty ? nil : ExtendedAttribute(name: space.prefix + name, value: value)
        }
        guard index == 2 || index == 3, name.isEmpty, let acl = PosixACL.fromDisk(value) else { return nil }
        let name = index == 2 ? "system.posix_acl_access" : "system.posix_acl_default"
        return ExtendedAttribute(name: Array(name.utf8), value: acl)
    }
}

/// POSIX access control lists: the system call's form (version 2) has eight bytes an entry, ext4's (version 1) leaves
/// out the id where the tag has none.
enum PosixACL {
    private static let namedTags: Set<UInt16> = [0x02, 0x08]
    private static let plainTags: Set<UInt16> = [0x01, 0x04, 0x10, 0x20]

    /// Nil where it is no ACL of version 2.
    static func onDisk(_ value: [UInt8]) -> [UInt8]? {
        guard value.count >= 4, (value.count - 4) % 8 == 0, value[0..<4] == [2, 0, 0, 0] else { return nil }
        var result: [UInt8] = [1, 0, 0, 0]
        for start in stride(from: 4, to: value.count, by: 8) {
            let tag = UInt16(value[start]) | UInt16(value[start + 1]) << 8
            result += value[start..<(start + 4)]
            if namedTags.contains(tag) {
                result += value[(start + 4)..<(start + 8)]
            } else if !plainTags.contains(tag) {
                return nil
            }
        }
        return result
    }

    /// Nil where it is no ACL of version 1.
    static func fromDisk(_ value: [UInt8]) -> [UInt8]? {
        guard value.count >= 4, value[0..<4] == [1, 0, 0, 0] else { return nil }
        var result: [UInt8] = [2, 0, 0, 0]
        var offset = 4
        while offset < value.count {
            guard offset + 4 <= value.count else { return nil }
            let tag = UInt16(value[offset]) | UInt16(value[offset + 1]) << 8
            result += value[offset..<(offset + 4)]
            offset += 4
            if namedTags.contains(tag) {
                guard offset + 4 <= value.count else { return nil }
                result += value[offset..<(offset + 4)]
                offset += 4
            } else if plainTags.contains(tag) {
                result += [0xFF, 0xFF, 0xFF, 0xFF]
            } else {
                return nil
            }
        }
        return result
    }
}
