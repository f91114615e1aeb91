import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

/// An image with every structure, to be damaged where checksums would hide it.
enum DamagedImage {
    /// A part of an image that a checksum covers.
    struct Structure {
        let name: String
        /// In bytes.
        let range: Range<Int>
        /// What its checksum starts from.
        var seed: UInt32 = 0
    }

    /// An image with every structure, and where these are.
    static func sample() throws -> (image: TestImage, structures: [Structure]) {
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
        try image.add("slow", .symlink(target: [UInt8](repeating: 0x61, count: 200)), mode: 0o120777, in: root)
        try image.add("fast", .symlink(target: Array("data".utf8)), mode: 0o120777, in: root)
        try image.add("null", .characterDevice(major: 1, minor: 3), mode: 0o020666, in: root)
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

    /// Makes the checksums of a structure right again, where it has one of its own.
    static func repair(_ structure: Structure, _ descriptor: Int32) throws {
        let start = structure.range.lowerBound / 4096 * 4096
        let count = (structure.range.upperBound + 4095) / 4096 * 4096 - start
        let memory = Scratch(count: count)
        try check(pread(descriptor, memory.base, count, off_t(start)), count)
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
        try check(pwrite(descriptor, memory.base, count, off_t(start)), count)
    }

    private static func repairInode(_ inode: UnsafeMutableRawPointer, number: UInt32, _ seed: UInt32) {
        inode.put(UInt16(0), at: InodeField.checksumLow)
        inode.put(UInt16(0), at: InodeField.checksumHigh)
        var sum = Checksum(seed)
        sum.update(number)
        sum.update(inode.get(UInt32.self, at: InodeField.generation))
        sum.update(inode, 256)
        inode.put(UInt16(truncatingIfNeeded: sum.value), at: InodeField.checksumLow)
        inode.put(UInt16(truncatingIfNeeded: sum.value >> 16), at: InodeField.checksumHigh)
    }

    private static func check(_ count: Int, _ wanted: Int) throws {
        guard count == wanted else { throw FuzzRun.Failure("the image's file cannot be read or written") }
    }
}
