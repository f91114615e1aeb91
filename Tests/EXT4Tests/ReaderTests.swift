import Foundation
import Glibc
import Testing

@testable import EXT4

extension TestImage {
    static func reading<R>(_ path: String, _ body: (ImageReader) throws -> R) throws -> R {
        let descriptor = open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        return try body(try ImageReader(fileDescriptor: descriptor))
    }
}

extension RandomTree {
    /// Compares the tree with what our own reader shows of it.
    func compare(with reader: ImageReader) throws {
        for (index, node) in nodes.enumerated() {
            var names: [[UInt8]] = []
            var current = index
            while current != 0 {
                names.insert(nodes[current].names[0].name, at: 0)
                current = nodes[current].names[0].parent
            }
            let inode = try #require(try reader.inode(at: names), "node \(index) is missing")
            #expect(inode.mode == node.attributes.mode && inode.uid == node.attributes.uid)
            #expect(inode.gid == node.attributes.gid && inode.modified == node.attributes.modified)
            let attributes = try reader.extendedAttributes(of: inode)
            #expect(Set(attributes) == Set(node.attributes.xattrs), "attributes of node \(index)")
            switch node.kind {
            case .file(let runs):
                var content = SeededGenerator(seed: node.contentSeed)
                let wanted = runs.flatMap { $0 < 0 ? [UInt8](repeating: 0, count: -$0) : content.bytes($0) }
                #expect(try bytes(of: inode, reader) == wanted, "content of node \(index)")
            case .symlink(let target): #expect(try reader.target(of: inode) == target)
            case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
                #expect(inode.device?.major == major && inode.device?.minor == minor)
            case .directory:
                let expected = nodes.reduce(into: Set<[UInt8]>()) { set, child in
                    for name in child.names where name.parent == index { set.insert(name.name) }
                }
                let listed = try reader.entries(of: inode).map(\.name)
                #expect(Set(listed).subtracting([Array("lost+found".utf8)]) == expected)
            case .fifo, .socket: break
            }
        }
    }

    private func bytes(of inode: Inode, _ reader: ImageReader) throws -> [UInt8] {
        var result: [UInt8] = []
        try reader.read(inode) { piece in
            switch piece {
            case .data(let bytes): result.append(contentsOf: bytes)
            case .hole(let count): result.append(contentsOf: repeatElement(0, count: Int(count)))
            }
        }
        return result
    }
}

@Suite("reading and verifying")
struct ReaderTests {
    @Test("our reader shows of a random tree what was asked for", arguments: [7, 8] as [UInt64])
    func random(seed: UInt64) throws {
        print("random tree: seed \(seed), 300 nodes")
        let tree = RandomTree(seed: seed, count: 300)
        let image = try TestImage()
        try tree.write(to: image)
        let summary = try image.finishAndCheck()
        try TestImage.reading(image.path) { reader in
            try tree.compare(with: reader)
            #expect(reader.information.blockCount == summary.blockCount)
            #expect(reader.information.freeBlocks == summary.freeBlocks)
            let report = try reader.verify()
            #expect(report.inodes == Int(summary.usedInodes))
            #expect(report.usedBlocks == summary.blockCount - summary.freeBlocks)
        }
    }

    @Test("an image that Linux changed and resize2fs grew is sound to our reader")
    func changedByLinux() throws {
        let tree = RandomTree(seed: 9, count: 300)
        let image = try TestImage()
        try tree.write(to: image)
        let summary = try image.finishAndCheck()
        let copy = try image.copy()
        try #require(truncate(copy, off_t(summary.imageSize * 20)) == 0)
        let resized = try run(["resize2fs", "-f", copy])
        #expect(resized.status == 0)
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            for index in 0..<500 {
                let descriptor = open("\(point)/new-file-with-a-name-\(index)", O_CREAT | O_WRONLY, 0o600)
                #expect(descriptor >= 0 && write(descriptor, "content", 7) == 7)
                close(descriptor)
            }
            let status = try run(["setfattr", "-n", "user.\u{fc}", "-v", String(repeating: "v", count: 900), point])
                .status
            #expect(status == 0)
        }
        try TestImage.reading(copy) { reader in
            let report = try reader.verify(freeBlocksReadZero: false)
            #expect(report.isSound, "\(report.problems)")
            #expect(try reader.entries(of: reader.inode(reader.root)).count > 500)
        }
    }

    /// A part of an image that a checksum covers.
    private struct Structure {
        let name: String
        /// In bytes.
        let range: Range<Int>
        /// What its checksum starts from.
        var seed: UInt32 = 0
    }

    /// An image with every structure, and where these are.
    private func sample() throws -> (image: TestImage, structures: [Structure]) {
        let image = try TestImage()
        image.writer.beginFile(expectedSize: 0)
        for _ in 0..<400 {
            try image.append([1])
            try image.writer.appendHole(8191)
        }
        let fragmented = try image.writer.endFile()
        let data = try image.store([1, 2, 3])
        let root = try image.root()
        let value = [UInt8](repeating: 5, count: 900)
        try image.file("data", data, in: root, xattrs: [ExtendedAttribute(name: Array("user.x".utf8), value: value)])
        try image.file("fragmented", fragmented, in: root)
        let indexed = try image.directory("indexed", in: root)
        for index in 0..<300 { try image.file("name-\(index)", in: indexed) }
        try image.finishAndCheck()
        return try TestImage.reading(image.path) { reader in
            var structures = [
                Structure(name: "superblock", range: 1024..<2048),
                Structure(name: "descriptor", range: 4096..<(4096 + 64), seed: reader.seed),
            ]
            func add(_ name: String, _ block: UInt64, _ bytes: Range<Int> = 0..<4096, seed: UInt32 = reader.seed) {
                let start = Int(block) * 4096
                let range = (start + bytes.lowerBound)..<(start + bytes.upperBound)
                structures.append(Structure(name: name, range: range, seed: seed))
            }
            add("block bitmap", reader.groups[0].blockBitmap)
            add("inode bitmap", reader.groups[0].inodeBitmap)
            add("inodes", reader.groups[0].table, (10 * 256)..<(310 * 256))
            let inode = try #require(try reader.inode(at: [Array("fragmented".utf8)]))
            try reader.forEachExtent(of: inode, node: { add("extent node", $0, seed: inode.seed) }, { _, _ in })
            let attributes = try #require(try reader.inode(at: [Array("data".utf8)]))
            add("extended attributes", attributes.attributeBlock)
            let directory = try #require(try reader.inode(at: [Array("indexed".utf8)]))
            try reader.forEachBlock(of: directory) { index, block, bytes throws(EXT4Error) in
                let count = Int(try bytes.get(UInt16.self, at: 34))
                if index == 0 {
                    add("hash tree", block, 0..<(32 + 8 * count), seed: directory.seed)
                } else {
                    add("directory", block, seed: directory.seed)
                }
            }
            return (image, structures)
        }
    }

    @Test("a bit that flips in any structure is found")
    func flippedBits() throws {
        let (image, structures) = try sample()
        let copy = try image.copy()
        let descriptor = open(copy, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var generator = SeededGenerator(seed: 41)
        var flips = 0
        for structure in structures {
            for _ in 0..<6 {
                let offset = off_t(Int.random(in: structure.range, using: &generator))
                let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
                var byte: UInt8 = 0
                try #require(pread(descriptor, &byte, 1, offset) == 1)
                byte ^= bit
                try #require(pwrite(descriptor, &byte, 1, offset) == 1)
                let isSound = try? ImageReader(fileDescriptor: descriptor).verify().isSound
                #expect(isSound != true, "a flipped bit in \(structure.name) at \(offset) was not found")
                byte ^= bit
                try #require(pwrite(descriptor, &byte, 1, offset) == 1)
                flips += 1
            }
        }
        let report = try ImageReader(fileDescriptor: descriptor).verify()
        #expect(report.isSound, "\(report.problems)")
        print("\(flips) flipped bits in \(structures.count) structures")
    }

    /// Recomputed checksums let damage through to the code behind them.
    @Test("damage of any kind ends in an error, not in a crash")
    func fuzz() throws {
        let (image, structures) = try sample()
        let original = try Data(contentsOf: URL(fileURLWithPath: image.path))
        let copy = try image.copy()
        let descriptor = open(copy, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var generator = SeededGenerator(seed: 43)
        var outcomes = (sound: 0, damaged: 0, refused: 0)
        for _ in 0..<200 {
            let structure = structures[Int.random(in: 0..<structures.count, using: &generator)]
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                let offset = Int.random(in: structure.range, using: &generator)
                let interesting: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &generator)]
                let value = interesting[Int.random(in: 0..<interesting.count, using: &generator)]
                let count = min(Int.random(in: 1...4, using: &generator), structure.range.upperBound - offset)
                #expect(pwrite(descriptor, [UInt8](repeating: value, count: count), count, off_t(offset)) == count)
            }
            repair(structure, descriptor)
            do throws(EXT4Error) {
                let reader = try ImageReader(fileDescriptor: descriptor)
                if try reader.verify().isSound {
                    outcomes.sound += 1
                    // What we overlook must be nothing to e2fsck either, such as another owner or time.
                    let judge = try? run(["e2fsck", "-fn", copy])
                    #expect(judge?.status == 0, "\(structure.name): \(judge?.output ?? "")")
                } else {
                    outcomes.damaged += 1
                }
                try walkAll(reader)
                try walkTree(reader)
            } catch {
                outcomes.refused += 1
            }
            let start = structure.range.lowerBound / 4096 * 4096
            let whole = original[start..<((structure.range.upperBound + 4095) / 4096 * 4096)]
            #expect(whole.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(start)) } == whole.count)
        }
        print("fuzz with seed 43: \(outcomes)")
        #expect(outcomes.damaged > 0)
        let report = try ImageReader(fileDescriptor: descriptor).verify()
        #expect(report.isSound, "\(report.problems)")
    }

    /// As `ls -R` and `diff` do it.
    private func walkTree(_ reader: ImageReader) throws(EXT4Error) {
        do {
            try TreeComparison(old: reader, new: reader).run { difference in
                Issue.record("an image differs from itself at \(printableName(difference.path))")
            }
            _ = try reader.inode(atPath: Array("/indexed/name-17".utf8), followsLast: true)
        } catch let error as EXT4Error {
            throw error
        } catch {
            Issue.record(error)
        }
    }

    private func walkAll(_ reader: ImageReader) throws(EXT4Error) {
        for number in 1...min(reader.information.inodeCount, 330) {
            do throws(EXT4Error) {
                let inode = try reader.inode(InodeNumber(number))
                if inode.isDirectory { _ = try reader.entries(of: inode) }
                if inode.isSymlink { _ = try reader.target(of: inode) }
                _ = try reader.extendedAttributes(of: inode)
                if inode.isFile, inode.size < 1 << 24 { try reader.read(inode) { _ throws(EXT4Error) in } }
            } catch {
                guard error.code == .corrupt || error.code == .misuse else { throw error }
            }
        }
    }

    /// Makes the checksums of a structure right again, where it has one of its own.
    private func repair(_ structure: Structure, _ descriptor: Int32) {
        let start = structure.range.lowerBound / 4096 * 4096
        let count = (structure.range.upperBound + 4095) / 4096 * 4096 - start
        let memory = Scratch(count: count)
        #expect(pread(descriptor, memory.base, count, off_t(start)) == count)
        var sum = Checksum(structure.seed)
        let block = memory.base
        switch structure.name {
        case "superblock":
            sum = Checksum()
            sum.update(block + 1024, 1020)
            block.put(sum.value, at: 2044)
        case "descriptor":
            block.put(UInt16(0), at: 0x1E)
            sum.update(UInt32(0))
            sum.update(block, 64)
            block.put(UInt16(truncatingIfNeeded: sum.value), at: 0x1E)
        case "inodes":
            for index in 0..<300 { repairInode(block + (10 + index) * 256, number: UInt32(11 + index), structure.seed) }
        case "extent node":
            sum.update(block, 4092)
            block.put(sum.value, at: 4092)
        case "extended attributes":
            XattrEncoder.putChecksum(block, number: UInt64(start / 4096), seed: structure.seed)
        case "hash tree":
            let inUse = min(Int(block.get(UInt16.self, at: 34)), 507)
            sum.update(block, 32 + 8 * inUse)
            sum.update(UInt64(0))
            block.put(sum.value, at: 4092)
        case "directory":
            sum.update(block, 4084)
            block.put(sum.value, at: 4092)
        default: return
        }
        #expect(pwrite(descriptor, memory.base, count, off_t(start)) == count)
    }

    private func repairInode(_ inode: UnsafeMutableRawPointer, number: UInt32, _ seed: UInt32) {
        inode.put(UInt16(0), at: InodeField.checksumLow)
        inode.put(UInt16(0), at: InodeField.checksumHigh)
        var sum = Checksum(seed)
        sum.update(number)
        sum.update(inode.get(UInt32.self, at: InodeField.generation))
        sum.update(inode, 256)
        inode.put(UInt16(truncatingIfNeeded: sum.value), at: InodeField.checksumLow)
        inode.put(UInt16(truncatingIfNeeded: sum.value >> 16), at: InodeField.checksumHigh)
    }

    @Test("a file that is no image, or only a part of one, is refused")
    func noImage() throws {
        let directory = try TemporaryDirectory()
        for (name, count) in [("empty", 0), ("short", 1500), ("zeros", 1 << 20)] {
            let path = "\(directory.path)/\(name)"
            try Data(count: count).write(to: URL(fileURLWithPath: path))
            #expect(throws: EXT4Error.self) { try TestImage.reading(path) { _ in } }
        }
        let image = try TestImage()
        _ = try image.root()
        let summary = try image.finishAndCheck()
        try #require(truncate(image.path, off_t(summary.imageSize - 4096)) == 0)
        #expect(throws: EXT4Error.self) { try TestImage.reading(image.path) { _ in } }
    }
}
