internal import Glibc

/// Field offsets of an on-disk inode (kernel documentation, "ext4: Index Nodes").
enum InodeField {
    static let mode = 0x00
    static let uid = 0x02
    static let sizeLow = 0x04
    static let accessTime = 0x08
    static let changeTime = 0x0C
    static let modificationTime = 0x10
    static let gid = 0x18
    static let linksCount = 0x1A
    static let blocksLow = 0x1C
    static let flags = 0x20
    static let block = 0x28
    static let generation = 0x64
    static let fileACLLow = 0x68
    static let sizeHigh = 0x6C
    static let blocksHigh = 0x74
    static let fileACLHigh = 0x76
    static let uidHigh = 0x78
    static let gidHigh = 0x7A
    static let checksumLow = 0x7C
    static let extraSize = 0x80
    static let checksumHigh = 0x82
    static let changeTimeExtra = 0x84
    static let modificationTimeExtra = 0x88
    static let accessTimeExtra = 0x8C
    static let creationTime = 0x90
    static let creationTimeExtra = 0x94
    /// Where the extra fields end and extended attributes begin.
    static let attributes = 0xA0
    static let blockSize = 60
    static let extraFields: UInt16 = 32
    static let flagExtents: UInt32 = 0x8_0000
    static let flagIndex: UInt32 = 0x1000
    /// The inode holds the value of an extended attribute. How many entries name it stands in the change time (the upper
    /// 32 bits) and in the version, its hash in the access time.
    static let flagValue: UInt32 = 0x20_0000
    static let version = 0x24
}

/// All inodes of the image in their on-disk form, in memory without the part that only inodes with extended attributes
/// use: 160 bytes each.
final class InodeStore {
    /// What an inode has room for after its extra fields.
    static let tailSize = Geometry.inodeSize - InodeField.attributes
    private static let slotSize = InodeField.attributes
    /// ext4's inode numbers have 32 bits; far fewer fit into the largest image.
    static let maxCount = 1 << 30

    private var slots: UnsafeMutableRawPointer
    private var capacity: Int
    /// The highest number in use.
    private(set) var count: Int
    /// For each inode 0, or one more than the number of its tail in `tails`.
    private var tailIndex: [UInt32]
    private var tails: [UInt8] = []

    init() {
        capacity = 4096
        slots = .allocate(byteCount: capacity * InodeStore.slotSize, alignment: 16)
        slots.zero(0..<(capacity * InodeStore.slotSize))
        count = Int(InodeNumber.lostAndFound.rawValue)
        tailIndex = Array(repeating: 0, count: count)
    }

    deinit {
        slots.deallocate()
    }

    /// A new inode, all zero. Pointers got before are invalid after this.
    func add() throws(EXT4Error) -> InodeNumber {
        guard count < InodeStore.maxCount else {
            throw EXT4Error(.tooLarge, "The tree has more than \(InodeStore.maxCount) inodes")
        }
        if count == capacity {
            let grown = UnsafeMutableRawPointer.allocate(
                byteCount: 2 * capacity * InodeStore.slotSize, alignment: 16)
            grown.copyMemory(from: slots, byteCount: capacity * InodeStore.slotSize)
            grown.zero((capacity * InodeStore.slotSize)..<(2 * capacity * InodeStore.slotSize))
            slots.deallocate()
            slots = grown
            capacity *= 2
        }
        count += 1
        tailIndex.append(0)
        return InodeNumber(UInt32(count))
    }

    func contains(_ number: InodeNumber) -> Bool {
        (1...count).contains(Int(number.rawValue))
    }

    /// The first 160 bytes of an inode. The number must be one that ``contains(_:)``.
    subscript(number: InodeNumber) -> UnsafeMutableRawPointer {
        slots + (Int(number.rawValue) - 1) * InodeStore.slotSize
    }

    func setTail(_ tail: UnsafeRawBufferPointer, of number: InodeNumber) {
        tails.append(contentsOf: tail)
        tailIndex[Int(number.rawValue) - 1] = UInt32(tails.count / InodeStore.tailSize)
    }

    func type(of number: InodeNumber) -> FileType? {
        FileType(mode: self[number].get(UInt16.self, at: InodeField.mode))
    }

    /// Sets both halves of a size in bytes.
    func setSize(_ size: UInt64, of number: InodeNumber) {
        self[number].put(UInt32(truncatingIfNeeded: size), at: InodeField.sizeLow)
        self[number].put(UInt32(truncatingIfNeeded: size >> 32), at: InodeField.sizeHigh)
    }

    /// Sets the number of blocks of 4 KiB that an inode owns; the field counts sectors of 512 bytes in 48 bits.
    func setBlocks(_ blocks: UInt64, of number: InodeNumber) {
        let sectors = blocks * (Geometry.blockSize / 512)
        self[number].put(UInt32(truncatingIfNeeded: sectors), at: InodeField.blocksLow)
        self[number].put(UInt16(truncatingIfNeeded: sectors >> 32), at: InodeField.blocksHigh)
    }

    func blocks(of number: InodeNumber) -> UInt64 {
        let low = UInt64(self[number].get(UInt32.self, at: InodeField.blocksLow))
        let high = UInt64(self[number].get(UInt16.self, at: InodeField.blocksHigh))
        return (high << 32 | low) / (Geometry.blockSize / 512)
    }

    /// Owner, times, mode and what every inode of ours has.
    func setAttributes(
        mode: UInt16, uid: UInt32, gid: UInt32, time: Timestamp, of number: InodeNumber
    ) {
        let inode = self[number]
        inode.put(mode, at: InodeField.mode)
        inode.put(UInt16(truncatingIfNeeded: uid), at: InodeField.uid)
        inode.put(UInt16(truncatingIfNeeded: uid >> 16), at: InodeField.uidHigh)
        inode.put(UInt16(truncatingIfNeeded: gid), at: InodeField.gid)
        inode.put(UInt16(truncatingIfNeeded: gid >> 16), at: InodeField.gidHigh)
        inode.put(InodeField.extraFields, at: InodeField.extraSize)
        // The seconds' low 32 bits are signed; two bits of the extra field count what is left of multiples of 2^32.
        let seconds = min(max(time.seconds, Timestamp.earliest.seconds), Timestamp.latest.seconds)
        let low = Int32(truncatingIfNeeded: seconds)
        let epoch = UInt32(truncatingIfNeeded: (seconds - Int64(low)) >> 32) & 3
        let extra = time.nanoseconds << 2 | epoch
        for field in [
            InodeField.accessTime, InodeField.changeTime, InodeField.modificationTime, InodeField.creationTime,
        ] {
            inode.put(low, at: field)
        }
        for field in [
            InodeField.accessTimeExtra, InodeField.changeTimeExtra, InodeField.modificationTimeExtra,
            InodeField.creationTimeExtra,
        ] {
            inode.put(extra, at: field)
        }
    }

    /// Writes the used inodes of a group to its table with their checksums; what follows them stays a hole. Returns
    /// how many inodes are in use there, counted up to the last one, and how many directories.
    func writeTable(
        at block: UInt64, first: Int, perGroup: Int, seed: UInt32, batch: Scratch, output: BlockOutput
    ) throws(EXT4Error) -> (inodes: Int, directories: Int) {
        let last = min(first + perGroup - 1, count)
        guard first <= last else { return (0, 0) }
        var directories = 0
        var offset = block * Geometry.blockSize
        var filled = 0
        batch.clear()
        for index in first...last {
            let number = InodeNumber(UInt32(index))
            let target = batch.base + filled
            target.copyMemory(from: self[number], byteCount: InodeStore.slotSize)
            copyTail(of: index, to: target + InodeField.attributes)
            if type(of: number) == .directory { directories += 1 }
            putChecksum(target, number, seed: seed)
            filled += Geometry.inodeSize
            if filled == batch.count {
                try output.write(batch, at: offset)
                offset += UInt64(filled)
                filled = 0
            }
        }
        // To the end of the last block, so that a following table is in sequence.
        let padded = filled.roundedUpToBlock
        batch.base.zero(filled..<padded)
        try output.write(UnsafeRawBufferPointer(start: batch.base, count: padded), at: offset)
        return (last - first + 1, directories)
    }

    private func copyTail(of index: Int, to target: UnsafeMutableRawPointer) {
        let tail = tailIndex[index - 1]
        if tail == 0 {
            target.zero(0..<InodeStore.tailSize)
            return
        }
        let start = (Int(tail) - 1) * InodeStore.tailSize
        tails.withUnsafeBytes { bytes in
            UnsafeMutableRawBufferPointer(start: target, count: InodeStore.tailSize)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + InodeStore.tailSize)]))
        }
    }

    private func putChecksum(_ inode: UnsafeMutableRawPointer, _ number: InodeNumber, seed: UInt32) {
        // An inode that nobody uses stays all zero; the ten reserved ones have checksums as mke2fs gives them.
        if number == .lostAndFound, inode.get(UInt16.self, at: InodeField.mode) == 0 { return }
        inode.put(UInt16(0), at: InodeField.checksumLow)
        inode.put(UInt16(0), at: InodeField.checksumHigh)
        var sum = Checksum(Checksum.seed(seed, inode: number))
        sum.update(inode, Geometry.inodeSize)
        inode.put(UInt16(truncatingIfNeeded: sum.value), at: InodeField.checksumLow)
        if inode.get(UInt16.self, at: InodeField.extraSize) >= 4 {
            inode.put(UInt16(truncatingIfNeeded: sum.value >> 16), at: InodeField.checksumHigh)
        }
    }
}

extension Int {
    fileprivate var roundedUpToBlock: Int {
        (self + 4095) & ~4095
    }
}

/// The types of `st_mode`, with the number each has in a directory entry.
package enum FileType: UInt8, Sendable {
    case file = 1
    case directory = 2
    case characterDevice = 3
    case blockDevice = 4
    case fifo = 5
    case socket = 6
    case symlink = 7

    init?(mode: UInt16) {
        switch mode & 0xF000 {
        case 0x8000: self = .file
        case 0x4000: self = .directory
        case 0x2000: self = .characterDevice
        case 0x6000: self = .blockDevice
        case 0x1000: self = .fifo
        case 0xC000: self = .socket
        case 0xA000: self = .symlink
        default: return nil
        }
    }
}
