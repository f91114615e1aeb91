import Foundation
import Glibc
import TestSupport
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

    @Test("a bit that flips in any structure is found")
    func flippedBits() throws {
        let (image, structures) = try DamagedImage.sample()
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
