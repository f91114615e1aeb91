import Foundation
import Glibc
import Testing

@testable import EXT4

/// Images whose checksums are right and whose tree is none: whoever walks it must come to an end.
@Suite("hostile images")
struct HostileImageTests {
    /// Changes an inode and makes its checksum right again.
    private func change(
        _ path: [String], of image: TestImage, _ body: (UnsafeMutableRawPointer) -> Void
    ) throws {
        let descriptor = open(image.path, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let reader = try ImageReader(fileDescriptor: descriptor)
        let inode = try #require(try reader.inode(at: path.map { Array($0.utf8) }))
        let number = inode.number.rawValue
        let memory = Scratch(count: 256)
        memory.base.put(inode.bytes.bytes, at: 0)
        body(memory.base)
        memory.base.put(UInt16(0), at: InodeField.checksumLow)
        memory.base.put(UInt16(0), at: InodeField.checksumHigh)
        var sum = Checksum(reader.seed)
        sum.update(number)
        sum.update(memory.base.get(UInt32.self, at: InodeField.generation))
        sum.update(memory.base, 256)
        memory.base.put(UInt16(truncatingIfNeeded: sum.value), at: InodeField.checksumLow)
        memory.base.put(UInt16(truncatingIfNeeded: sum.value >> 16), at: InodeField.checksumHigh)
        let offset = reader.groups[0].table * 4096 + UInt64(number - 1) * 256
        try #require(pwrite(descriptor, memory.base, 256, off_t(offset)) == 256)
    }

    /// Makes an entry of a directory of one block name another inode, as the directory it is.
    private func redirect(_ name: String, in directory: [String], of image: TestImage, to target: UInt32) throws {
        let descriptor = open(image.path, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let reader = try ImageReader(fileDescriptor: descriptor)
        let inode = try #require(try reader.inode(at: directory.map { Array($0.utf8) }))
        let block = Scratch(count: 4096)
        var number: UInt64 = 0
        try reader.forEachBlock(of: inode) { _, physical, bytes throws(EXT4Error) in
            number = physical
            block.base.put(bytes.bytes, at: 0)
            try reader.forEachEntry(in: bytes, end: 4084, of: inode) { entry, offset throws(EXT4Error) in
                if entry.name == Array(name.utf8) {
                    block.base.put(target, at: offset)
                    block.base.put(FileType.directory.rawValue, at: offset + 7)
                }
            }
        }
        var sum = Checksum(inode.seed)
        sum.update(block.base, 4084)
        block.base.put(sum.value, at: 4092)
        try #require(pwrite(descriptor, block.base, 4096, off_t(number * 4096)) == 4096)
    }

    /// Every verb ends, in time, with an error that says what is wrong, and `verify` finds it.
    private func expectDamage(_ image: TestImage, saying words: String, list: Bool = true) throws {
        let verified = try SnapshotProgram.run("verify", image.path)
        #expect(verified.status == 5, "\(verified)")
        for arguments in [["ls", "-R", image.path], ["diff", image.path, image.path]] where list {
            let refused = try SnapshotProgram.run(arguments)
            #expect(refused.status == 5, "\(arguments): \(refused)")
            #expect(refused.errors.contains(words), "\(arguments): \(refused.errors)")
        }
    }

    private func tree() throws -> TestImage {
        let image = try TestImage()
        let data = try image.store([UInt8](repeating: 1, count: 20_000))
        let root = try image.root()
        let one = try image.directory("one", in: root)
        let two = try image.directory("two", in: one)
        try image.directory("three", in: two)
        try image.file("file", data, in: two)
        try image.add("link", .symlink(target: Array("target".utf8)), mode: 0o120777, in: two)
        try image.finishAndCheck()
        return image
    }

    @Test("a directory that contains itself, or the root")
    func loops() throws {
        for (target, words) in [(["one"], "more than one name"), ([], "more than one name")] {
            let image = try tree()
            let number = try TestImage.reading(image.path) { reader in
                try #require(try reader.inode(at: target.map { Array($0.utf8) })).number.rawValue
            }
            try redirect("three", in: ["one", "two"], of: image, to: number)
            try expectDamage(image, saying: words)
        }
    }

    @Test("an entry that names an inode which is not in use")
    func unused() throws {
        let image = try tree()
        try redirect("three", in: ["one", "two"], of: image, to: 900)
        try expectDamage(image, saying: "not in use")
    }

    @Test("a directory whose blocks are one block over and over")
    func repeatedBlock() throws {
        let image = try tree()
        try change(["one", "two"], of: image) { inode in
            let block = inode + InodeField.block
            let physical = block.get(UInt32.self, at: 12 + 8)
            block.put(UInt16(4), at: 2)
            for index in 0..<4 {
                block.put(UInt32(index), at: 12 + 12 * index)
                block.put(UInt32(1), at: 12 + 12 * index + 4)
                block.put(physical, at: 12 + 12 * index + 8)
            }
            inode.put(UInt32(4 * 4096), at: InodeField.sizeLow)
        }
        try expectDamage(image, saying: "has a block twice")
    }

    @Test("a file of a size that cannot be, and one of as many bytes as can be, all of them holes")
    func sizes() throws {
        let image = try tree()
        try change(["one", "two", "file"], of: image) { $0.put(UInt32.max, at: InodeField.sizeHigh) }
        let refused = try SnapshotProgram.run("cat", image.path, "/one/two/file")
        #expect(refused.status == 5 && refused.errors.contains("cannot be"), "\(refused)")
        try expectDamage(image, saying: "cannot be", list: false)
        let compared = try SnapshotProgram.run("diff", image.path, image.path)
        #expect(compared.status == 5 && compared.errors.contains("cannot be"), "\(compared)")
        try change(["one", "two", "file"], of: image) { $0.put(UInt32(0xFFF), at: InodeField.sizeHigh) }
        let same = try SnapshotProgram.run("diff", image.path, image.path)
        #expect(same.status == 0, "\(same)")
    }

    @Test("an inode with a flag of AFS, which is a feature that no image of ours has")
    func foreignFlag() throws {
        let image = try tree()
        try change(["one", "two", "file"], of: image) { inode in
            inode.put(inode.get(UInt32.self, at: InodeField.flags) | 0x2000, at: InodeField.flags)
        }
        let problems = try TestImage.reading(image.path) { try $0.verify().problems }
        #expect(problems.contains { $0.contains("flags of features") }, "\(problems)")
        let judge = try run(["e2fsck", "-fn", image.path])
        #expect(judge.status == 4 && judge.output.contains("imagic"), "\(judge)")
    }

    @Test("a superblock that speaks of 8 TiB in a file of holes costs no memory to speak of")
    func sparse() throws {
        let image = try TestImage(size: 8000 << 30)
        _ = try image.root()
        _ = try image.writer.finish()
        // Address space, of which the program itself takes the most.
        let verified = try run([
            "bash", "-c", "ulimit -v 1500000; exec timeout 60 \"$0\" verify \"$1\"", SnapshotProgram.path, image.path,
        ])
        #expect(verified.status == 0, "\(verified)")
    }
}
