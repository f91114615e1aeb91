import Foundation
import Glibc
import Testing

@testable import Files
@testable import HelperInterface

struct VerityTests {
    private let salt: [UInt8] = Array(0..<32)
    private let uuid: [UInt8] = Array(16..<32)

    private func tool(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, output)
    }

    /// A file of so many blocks, part of it random, part zeros, part holes.
    private func data(_ path: String, blocks: Int) throws {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try #require(ftruncate(descriptor, off_t(blocks * 4096)) == 0)
        for block in 0..<blocks where block % 1000 < 3 || block == blocks - 1 {
            for index in 0..<4096 {
                bytes[index] =
                    block % 1000 == 2 ? 0 : UInt8(truncatingIfNeeded: index &* 31 &+ block &* 17 &+ index >> 8)
            }
            try #require(pwrite(descriptor, bytes, 4096, off_t(block * 4096)) == 4096)
        }
    }

    @Test(
        "superblock and tree are, byte by byte, those of veritysetup, which verifies them",
        arguments: [1, 2, 127, 128, 129, 1024, 1025, 16_384, 16_385])
    func tree(blocks: Int) throws {
        let directory = NSTemporaryDirectory() + "verity-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (ours, theirs) = (directory + "/ours", directory + "/theirs")
        try data(ours, blocks: blocks)
        try FileManager.default.copyItem(atPath: ours, toPath: theirs)

        let superblock = VeritySuperblock(uuid: uuid, salt: salt, dataBlocks: UInt64(blocks))
        let file = try OpenFile(ours, O_RDWR)
        let tree = VerityTree(superblock)
        let root = try tree.write(to: file)
        let format = try tool([
            "veritysetup", "format", theirs, theirs, "--hash-offset=\(blocks * 4096)", "--data-blocks=\(blocks)",
            "--salt=\(hexadecimal(salt))", "--uuid=\(uuidText(uuid))",
        ])
        try #require(format.status == 0, "\(format.output)")
        #expect(format.output.contains(root), "\(root): \(format.output)")
        #expect(try tool(["cmp", ours, theirs]).status == 0)
        let verified = try tool(["veritysetup", "verify", ours, ours, root, "--hash-offset=\(blocks * 4096)"])
        #expect(verified.status == 0, "\(verified.output)")
        #expect(try tree.verify(file) == VerityTree.Finding(root: root, firstBadBlock: nil))

        // One bit in the last block of data, then one in the tree.
        for offset in [blocks * 4096 - 1, Int(superblock.end) - 4095] {
            var byte: UInt8 = 0
            try #require(pread(file.descriptor, &byte, 1, off_t(offset)) == 1)
            byte ^= 1
            try #require(pwrite(file.descriptor, &byte, 1, off_t(offset)) == 1)
            let finding = try tree.verify(file)
            if blocks > 1 {
                #expect(finding.firstBadBlock != nil)
                if offset < blocks * 4096 { #expect(finding.firstBadBlock == UInt64(blocks - 1)) }
            } else if offset < 4096 {
                #expect(finding.root != root)
            }
            byte ^= 1
            try #require(pwrite(file.descriptor, &byte, 1, off_t(offset)) == 1)
        }
    }

    @Test("a superblock is read back; what is none, or of another kind, is none")
    func superblock() {
        let superblock = VeritySuperblock(uuid: uuid, salt: salt, dataBlocks: 12345)
        let bytes = superblock.bytes
        #expect(bytes.count == 512 && VeritySuperblock(bytes) == superblock)
        for offset in [0, 8, 12, 32, 40, 64, 68, 79, 81] {
            var changed = bytes
            changed[offset] ^= 0x80
            #expect(VeritySuperblock(changed) == nil, "\(offset)")
        }
        #expect(VeritySuperblock([]) == nil && VeritySuperblock(Array(repeating: 0, count: 512)) == nil)
    }
}
