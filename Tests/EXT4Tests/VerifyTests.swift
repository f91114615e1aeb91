import Foundation
import Glibc
import Testing

@testable import EXT4

@Suite("snapshot verify and inspect")
struct VerifyTests {
    private func sample() throws -> TestImage {
        let image = try TestImage(label: "a label")
        try RandomTree(seed: 81, count: 100).write(to: image)
        try image.finishAndCheck()
        return image
    }

    private func flip(_ path: String, at offset: Int) throws {
        let descriptor = open(path, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        try #require(pread(descriptor, &byte, 1, off_t(offset)) == 1)
        byte ^= 4
        try #require(pwrite(descriptor, &byte, 1, off_t(offset)) == 1)
    }

    @Test("a sound image ends with 0, a damaged one with 5 and the place of the damage")
    func damage() throws {
        let image = try sample()
        let sound = try SnapshotProgram.run("verify", image.path)
        #expect(sound.status == 0 && sound.output.hasPrefix("\(image.path): sound\n"), "\(sound)")
        let document = try SnapshotProgram.object(try SnapshotProgram.run("verify", "--json", image.path).output)
        #expect(document["sound"] as? Bool == true && document["problemCount"] as? Int == 0)
        #expect(document["freeBlocksReadZero"] as? Bool == true)

        let (table, bitmap) = try TestImage.reading(image.path) {
            (Int($0.groups[0].table) * 4096, Int($0.groups[0].inodeBitmap) * 4096)
        }
        for (offset, words) in [
            (1024 + 0x70, "superblock's checksum"), (4096 + 8, "group descriptor 0"),
            (table + 256 * 11 + 4, "checksum of inode 12"), (bitmap, "inode bitmap of group 0"),
        ] {
            let copy = try image.copy()
            try flip(copy, at: offset)
            let bad = try SnapshotProgram.run("verify", copy)
            #expect(bad.status == 5 && bad.output.contains(words), "\(words): \(bad)")
            let json = try SnapshotProgram.run("verify", "--json", copy)
            #expect(json.status == 5)
            let document = try SnapshotProgram.object(json.output)
            let problems = try #require(document["problems"] as? [String])
            #expect(document["sound"] as? Bool == false && problems.contains { $0.contains(words) })
        }
    }

    /// Whether the image is sound with a superblock that has other bytes somewhere and a right checksum: nil if it is,
    /// else what is said of it.
    private func verdict(_ path: String, _ bytes: [UInt8], at offset: Int) throws -> String? {
        let descriptor = open(path, O_RDWR)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try #require(pwrite(descriptor, bytes, bytes.count, off_t(1024 + offset)) == bytes.count)
        try DamagedImage.repair(DamagedImage.Structure(name: "superblock", range: 1024..<2048), descriptor)
        do throws(EXT4Error) {
            let report = try ImageReader(fileDescriptor: descriptor).verify()
            return report.isSound ? nil : report.problems.joined(separator: "\n")
        } catch {
            return error.message
        }
    }

    @Test("a superblock that e2fsck refuses is refused, by the field that is wrong")
    func superblock() throws {
        let image = try sample()
        for (offset, bytes, words) in [
            (0x14, [1, 0, 0, 0], "first data block"), (0x18, [7, 0, 0, 0], "1024 << 7 bytes"),
            (0x1C, [1, 0, 0, 0], "cluster's size"), (0x1C, [3, 0, 0, 0], "cluster's size"),
            (0x20, [7, 0, 0, 0], "blocks in a group"), (0x24, [0, 0x40, 0, 0], "clusters in a group"),
            (0x28, [0, 0, 0, 0], "count of inodes"), (0x4C, [2, 0, 0, 0], "revision"),
            (0x58, [0, 0], "inodes of so many bytes"), (0x58, [0xFF, 0], "inodes of so many bytes"),
            (0xCE, [1, 4], "1025 blocks for descriptors"), (0xFE, [32, 0], "group descriptors"),
            (0x15C, [3, 0], "3 bytes of extra fields"), (0x15C, [132, 0], "132 bytes"), (0x15E, [6, 0], "6 bytes"),
            (0x174, [32], "2^32 groups"), (0x174, [255], "2^255 groups"), (0x175, [0], "kind of checksums"),
        ] as [(Int, [UInt8], String)] {
            let copy = try image.copy()
            let verdict = try verdict(copy, bytes, at: offset)
            #expect(verdict?.contains(words) == true, "\(offset) \(bytes): \(verdict ?? "sound")")
            // For some of these it ends with 0, though it would have changed something.
            let judge = try run(["e2fsck", "-fn", copy])
            #expect(judge.status != 0 || judge.output.contains("? no"), "\(offset) \(bytes): \(judge)")
            unlink(copy)
        }
    }

    @Test("a superblock with the least and the most that e2fsck accepts is accepted")
    func superblockBounds() throws {
        let image = try sample()
        for (offset, bytes) in [
            (0x15C, [0, 0]), (0x15C, [4, 0]), (0x15C, [128, 0]), (0x15E, [0, 0]), (0x174, [0]), (0x174, [31]),
        ] as [(Int, [UInt8])] {
            let copy = try image.copy()
            let verdict = try verdict(copy, bytes, at: offset)
            #expect(verdict == nil, "\(offset) \(bytes): \(verdict ?? "")")
            let judge = try run(["e2fsck", "-fn", copy])
            #expect(judge.status == 0 && !judge.output.contains("? no"), "\(offset) \(bytes): \(judge)")
            unlink(copy)
        }
    }

    @Test("the superblock of an image of mke2fs is accepted, with the least and the most that it makes")
    func foreignSuperblock() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/foreign"
        for arguments in [
            [], ["-G", "1"], ["-G", "1073741824"], ["-E", "resize=4294967295"], ["-i", "1048576"], ["-N", "60000"],
        ] {
            unlink(path)
            let common = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit"]
            let made = try run(common + arguments + [path, "256M"])
            try #require(made.status == 0, "\(made.errors)")
            let inodes = try TestImage.reading(path) { $0.information.inodeCount }
            #expect(inodes > 0, "\(arguments)")
        }
    }

    @Test("an image that Linux has written to is sound, whatever is left in free blocks")
    func mounted() throws {
        let image = try sample()
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            let written = try run(["sh", "-c", "head -c 2000000 /dev/urandom > $0/f; sync; rm $0/f", point])
            #expect(written.status == 0)
        }
        let sound = try SnapshotProgram.run("verify", copy)
        #expect(sound.status == 0 && sound.output.contains("mounted read-write"), "\(sound)")
    }

    @Test("what is no image is refused with the reason, and nothing waits for a fifo")
    func noImage() throws {
        let directory = try TemporaryDirectory()
        let (empty, fifo) = (directory.path + "/empty", directory.path + "/fifo")
        try Data().write(to: URL(fileURLWithPath: empty))
        try #require(mkfifo(fifo, 0o600) == 0)
        for verb in [["verify"], ["ls"], ["cat", "", "/x"], ["inspect"]] {
            for (path, status, words) in [
                (empty, 5, "has 0 bytes"), (fifo, 64, "no regular file"), (directory.path, 64, "is a directory"),
                ("/dev/null", 64, "no regular file"), (directory.path + "/none", 3, "No such file"),
                ("/etc/passwd", 5, "image"),
            ] as [(String, Int32, String)] {
                let arguments = verb.count == 1 ? verb + [path] : [verb[0], path, verb[2]]
                let refused = try SnapshotProgram.run(arguments)
                #expect(refused.status == status, "\(arguments): \(refused)")
                #expect((refused.errors + refused.output).contains(words), "\(arguments): \(refused)")
            }
        }
    }

    @Test("images of mke2fs: what is readable is read, what is not is named")
    func foreign() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/foreign"
        func make(_ arguments: [String]) throws {
            unlink(path)
            let made = try run(
                ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", "/etc/apt"] + arguments + [path, "64M"])
            try #require(made.status == 0, "\(made.errors)")
        }
        for (arguments, words) in [
            (["-b", "1024"], "blocks of 1024 bytes"), (["-I", "512"], "inodes of so many bytes"),
            (["-O", "^metadata_csum"], "metadata_csum"), (["-O", "^64bit"], "64bit"),
            (["-O", "^extent,^64bit"], "extent"),
            (["-O", "inline_data"], "inline_data"), (["-O", "bigalloc"], "bigalloc"), (["-O", "encrypt"], "encrypt"),
            (["-O", "meta_bg,^resize_inode"], "meta_bg"),
        ] {
            try make(arguments)
            for verb in ["verify", "ls", "inspect"] {
                let refused = try SnapshotProgram.run(verb, path)
                #expect(refused.status == 5 && refused.errors.contains(words), "\(arguments): \(refused)")
            }
        }
        try make(["-O", "metadata_csum,64bit,metadata_csum_seed,quota"])
        let listed = try SnapshotProgram.run("ls", "-R", "--json", path)
        #expect(listed.status == 0, "\(listed.errors)")
        let expected = try run(["sh", "-c", "find /etc/apt -mindepth 1 | wc -l"]).output
        let count = Int(expected.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
        #expect(try SnapshotProgram.objects(listed.output).count == count + 1)
        let unknown = try SnapshotProgram.run("verify", path)
        #expect(unknown.status == 5 && unknown.errors.contains("metadata_csum_seed"), "\(unknown)")
    }

    @Test("inspect shows what dumpe2fs shows")
    func inspect() throws {
        let image = try sample()
        let document = try SnapshotProgram.object(try SnapshotProgram.run("inspect", "--json", image.path).output)
        var header: [Substring: String] = [:]
        for line in try image.header().split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { header[parts[0]] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        for (field, name) in [
            ("blockCount", "Block count"), ("freeBlocks", "Free blocks"), ("inodeCount", "Inode count"),
            ("freeInodes", "Free inodes"), ("blockSize", "Block size"), ("mounts", "Mount count"),
        ] {
            #expect((document[field] as? Int).map { "\($0)" } == header[name[...]], "\(field)")
        }
        #expect(document["uuid"] as? String == header["Filesystem UUID"] && document["label"] as? String == "a label")
        #expect((document["features"] as? [String])?.joined(separator: " ") == header["Filesystem features"])
        let journal = (document["journalSize"] as? Int ?? 0) >> 10
        #expect(header["Total journal size"] == "\(journal)k")
        #expect(document["made"] as? String == "2023-11-14T22:13:20Z" && document["verity"] == nil)
        let text = try SnapshotProgram.run("inspect", image.path).output
        #expect(text.contains("never read-write") && text.contains("a label"), "\(text)")
    }
}
