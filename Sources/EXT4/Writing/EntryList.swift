/// All names of the tree in the order they were given, without an allocation for each.
final class EntryList {
    struct Entry {
        let parent: InodeNumber
        let child: InodeNumber
        fileprivate let nameStart: UInt32
        fileprivate let nameCount: UInt8
    }

    private(set) var entries: [Entry] = []
    private var names: UnsafeMutableRawPointer
    private var capacity = 1 << 16
    private var count = 0

    init() {
        names = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        names.deallocate()
    }

    func append(parent: InodeNumber, name: [UInt8], child: InodeNumber) throws(EXT4Error) {
        guard (1...255).contains(name.count), !name.contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") }),
            name != [UInt8(ascii: ".")], name != [UInt8(ascii: "."), UInt8(ascii: ".")]
        else {
            throw EXT4Error(
                .invalidName,
                "\"\(String(decoding: name, as: UTF8.self))\" is no name: 1 to 255 bytes without a slash or a zero byte, "
                    + "and neither . nor ..")
        }
        guard count + name.count <= Int(UInt32.max), entries.count < Int(UInt32.max) else {
            throw EXT4Error(.tooLarge, "The names of the tree take more than 4 GiB")
        }
        if count + name.count > capacity {
            let grown = UnsafeMutableRawPointer.allocate(byteCount: 2 * capacity, alignment: 16)
            grown.copyMemory(from: names, byteCount: count)
            names.deallocate()
            names = grown
            capacity *= 2
        }
        names.put(name, at: count)
        entries.append(
            Entry(parent: parent, child: child, nameStart: UInt32(count), nameCount: UInt8(name.count)))
        count += name.count
    }

    /// Valid until the next ``append(parent:name:child:)``.
    func name(of entry: Entry) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: names + Int(entry.nameStart), count: Int(entry.nameCount))
    }

    /// The positions of all entries, ordered by parent; those of inode n are `order[starts[n] ..< starts[n + 1]]`, in
    /// the order they were given.
    func byParent(inodeCount: Int) -> (order: [UInt32], starts: [UInt32]) {
        var starts = [UInt32](repeating: 0, count: inodeCount + 2)
        for entry in entries {
            starts[Int(entry.parent.rawValue) + 1] += 1
        }
        for index in 1..<starts.count {
            starts[index] += starts[index - 1]
        }
        var next = starts
        var order = [UInt32](repeating: 0, count: entries.count)
        for (position, entry) in entries.enumerated() {
            let parent = Int(entry.parent.rawValue)
            order[Int(next[parent])] = UInt32(position)
            next[parent] += 1
        }
        return (order, starts)
    }
}

/// Whether two runs of bytes are equal, or in which order they come.
func compareBytes(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Int {
    for (left, right) in zip(one, other) where left != right {
        return left < right ? -1 : 1
    }
    return one.count - other.count
}
