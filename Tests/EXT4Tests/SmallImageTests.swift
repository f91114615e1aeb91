import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("small images")
struct SmallImageTests {
    @Test("an image of an empty tree has a root and lost+found and pleases e2fsck")
    func empty() throws {
        let image = try TestImage(label: "empty")
        _ = try image.root()
        let summary = try image.finishAndCheck()
        print("empty image: \(summary)")
        #expect(summary.usedInodes == 11)
        #expect(summary.freeBlocks >= 4096)
        let header = try image.header()
        #expect(header.contains("Filesystem volume name:   empty\n"))
        #expect(header.contains("Filesystem UUID:          10111213-1415-1617-1819-1a1b1c1d1e1f\n"))
        #expect(header.contains("Filesystem state:         clean\n"))
        let features = header.split(separator: "\n").first { $0.starts(with: "Filesystem features:") } ?? ""
        let expected =
            "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file "
            + "huge_file dir_nlink extra_isize metadata_csum"
        #expect(features.split(separator: " ").dropFirst(2) == expected.split(separator: " ")[...])
        try image.mounted { point in
            let names = try FileManager.default.contentsOfDirectory(atPath: point)
            #expect(names == ["lost+found"])
            var status = stat()
            #expect(stat(point + "/lost+found", &status) == 0)
            #expect(status.st_size == 16384)
            #expect(status.st_mode == 0o040700)
            #expect(status.st_ino == 11)
        }
    }

    @Test("files of sizes around block boundaries read back as they were written")
    func sizes() throws {
        let image = try TestImage()
        var generator = SeededGenerator(seed: 1)
        let sizes = [0, 1, 511, 4095, 4096, 4097, 8191, 8192, 8193, 65536, 131_071, 131_072, 1_048_577, 3_000_001]
        let contents = sizes.map { generator.bytes($0) }
        var stored: [FileData] = []
        for (index, content) in contents.enumerated() {
            stored.append(try image.store(content, piece: [1 << 20, 100, 4096, 200_000][index % 4]))
        }
        let root = try image.root()
        let sub = try image.directory("sub", in: root)
        for (size, data) in zip(sizes, stored) {
            try image.file("file-\(size)", data, in: sub)
        }
        try image.finishAndCheck()
        try image.mounted { point in
            for (size, content) in zip(sizes, contents) {
                let read = try Data(contentsOf: URL(fileURLWithPath: "\(point)/sub/file-\(size)"))
                #expect(Array(read) == content, "the file of \(size) bytes differs")
            }
        }
    }

    @Test("symlinks of every length keep their targets")
    func symlinks() throws {
        let image = try TestImage()
        let root = try image.root()
        let lengths = [1, 4, 58, 59, 60, 61, 100, 255, 1000, 4094, 4095]
        for length in lengths {
            let target = Array(String(repeating: "t", count: length).utf8)
            try image.add("link-\(length)", .symlink(target: target), mode: 0o120777, in: root)
        }
        try image.finishAndCheck()
        try image.mounted { point in
            for length in lengths {
                let target = readLink(Array("\(point)/link-\(length)".utf8))
                #expect(target == Array(repeating: UInt8(ascii: "t"), count: length))
            }
        }
    }
}
