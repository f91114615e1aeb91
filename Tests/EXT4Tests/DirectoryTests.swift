import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("directories")
struct DirectoryTests {
    private func names(in path: String) throws -> Set<[UInt8]> {
        let directory = try #require(opendir(path))
        defer { closedir(directory) }
        var names: Set<[UInt8]> = []
        var count = 0
        while let entry = readdir(directory) {
            // The name begins 19 bytes into the record.
            let start = UnsafeRawPointer(entry) + 19
            names.insert(
                Array(UnsafeRawBufferPointer(start: start, count: strlen(start.assumingMemoryBound(to: CChar.self)))))
            count += 1
        }
        #expect(names.count == count, "a name was listed twice")
        names.remove(Array(".".utf8))
        names.remove(Array("..".utf8))
        return names
    }

    /// Names of all bytes but the two that cannot be, from short to the longest.
    private func rawNames(_ count: Int, seed: UInt64, length: ClosedRange<Int>) -> [[UInt8]] {
        var generator = SeededGenerator(seed: seed)
        var names: Set<[UInt8]> = []
        while names.count < count {
            let bytes = generator.bytes(Int.random(in: length, using: &generator)).map {
                $0 == 0 || $0 == UInt8(ascii: "/") ? 0xFF : $0
            }
            if bytes != Array(".".utf8), bytes != Array("..".utf8) { names.insert(bytes) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    @Test("directories of 1 to 100,000 names are found name by name", arguments: [1, 2, 200, 5_000, 100_000])
    func many(count: Int) throws {
        let image = try TestImage()
        let root = try image.root()
        let directory = try image.directory("directory", in: root)
        for index in 0..<count {
            try image.file("some-name-of-a-file-\(index)", in: directory)
        }
        try image.finishAndCheck()
        let dump = try image.debugfs("stat /directory")
        #expect(dump.contains("Flags: 0x81000") == (count >= 200))
        try image.mounted { point in
            let listed = try names(in: point + "/directory")
            #expect(listed.count == count)
            var missing = 0
            for index in 0..<count {
                var status = stat()
                if lstat("\(point)/directory/some-name-of-a-file-\(index)", &status) != 0 { missing += 1 }
            }
            #expect(missing == 0, "\(missing) of \(count) names are not found")
            var status = stat()
            #expect(lstat("\(point)/directory/no-such-name", &status) != 0)
        }
    }

    @Test("names of 255 bytes and of bytes that are no UTF-8 are found, in lists and in trees of two levels")
    func raw() throws {
        let image = try TestImage()
        let root = try image.root()
        let sets = [
            rawNames(40, seed: 11, length: 1...60), rawNames(8000, seed: 12, length: 255...255),
            rawNames(3000, seed: 13, length: 1...255),
        ]
        for (index, set) in sets.enumerated() {
            let directory = try image.directory("set-\(index)", in: root)
            for name in set {
                let number = try image.writer.addInode(
                    Attributes(mode: 0o100644, modified: TestImage.time), .file(FileData()))
                try image.writer.addEntry(parent: directory, name: name, child: number)
            }
        }
        try image.finishAndCheck()
        #expect(try image.debugfs("htree_dump /set-1").contains("Indirect levels: 1"))
        try image.mounted { point in
            for (index, set) in sets.enumerated() {
                let path = "\(point)/set-\(index)"
                let listed = try names(in: path)
                #expect(listed == Set(set))
                let missing = set.count { name in
                    var status = stat()
                    return withPath(Array("\(path)/".utf8) + name) { lstat($0, &status) } != 0
                }
                #expect(missing == 0)
            }
        }
    }

    @Test("a mounted image takes new names in its hash trees and gives up old ones")
    func changed() throws {
        let image = try TestImage()
        let root = try image.root()
        let directory = try image.directory("directory", in: root)
        for index in 0..<20_000 {
            try image.file("name-\(index)", in: directory)
        }
        try image.finishAndCheck()
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            for index in 0..<3000 {
                #expect(unlink("\(point)/directory/name-\(index * 3)") == 0)
                let descriptor = open("\(point)/directory/new-\(index)", O_CREAT | O_WRONLY, 0o600)
                #expect(descriptor >= 0)
                close(descriptor)
            }
            #expect(mkdir(point + "/directory/sub", 0o755) == 0)
        }
        try TestImage.check(copy)
    }

    @Test("subdirectories are counted, and past 64,998 no longer")
    func subdirectories() throws {
        let image = try TestImage()
        let root = try image.root()
        let few = try image.directory("few", in: root)
        for index in 0..<3 { try image.directory("\(index)", in: few) }
        let most = try image.directory("most", in: root)
        for index in 0..<64_998 { try image.directory("\(index)", in: most) }
        let tooMany = try image.directory("too-many", in: root)
        for index in 0..<64_999 { try image.directory("\(index)", in: tooMany) }
        try image.finishAndCheck()
        try image.mounted { point in
            for (name, links) in [("few", 5), ("most", 65_000), ("too-many", 1)] {
                var status = stat()
                #expect(lstat("\(point)/\(name)", &status) == 0)
                #expect(Int(status.st_nlink) == links)
            }
        }
    }

    @Test("hard links share an inode; 65,000 names are possible and one more is refused")
    func hardLinks() throws {
        let image = try TestImage()
        let data = try image.store(Array("shared".utf8))
        let root = try image.root()
        let names = try image.directory("names", in: root)
        let file = try image.file("first", data, in: root)
        for index in 1..<65_000 {
            try image.writer.addEntry(parent: names, name: Array("\(index)".utf8), child: file)
        }
        #expect(throws: EXT4Error.self) {
            try image.writer.addEntry(parent: names, name: Array("65000".utf8), child: file)
        }
        let link = try image.add("link", .symlink(target: Array("first".utf8)), mode: 0o120777, in: root)
        try image.writer.addEntry(parent: names, name: Array("link".utf8), child: link)
        try image.finishAndCheck()
        try image.mounted { point in
            var status = stat()
            #expect(lstat(point + "/first", &status) == 0)
            #expect(status.st_nlink == 65_000)
            let number = status.st_ino
            #expect(lstat(point + "/names/64999", &status) == 0)
            #expect(status.st_ino == number)
            #expect(lstat(point + "/link", &status) == 0)
            #expect(status.st_nlink == 2)
        }
    }

    @Test("a tree of the caller's own lost+found gets no second one")
    func ownLostAndFound() throws {
        let image = try TestImage()
        let root = try image.root()
        let own = try image.directory("lost+found", in: root, mode: 0o700)
        try image.file("inside", in: own)
        let summary = try image.finishAndCheck()
        #expect(summary.usedInodes == 12)
        try image.mounted { point in
            let listed = try names(in: point)
            #expect(listed == [Array("lost+found".utf8)])
        }
    }

    @Test("the shape of a hash tree ends at two levels")
    func shape() {
        #expect(HashTreeShape(leaves: 507)?.nodes == 0)
        #expect(HashTreeShape(leaves: 508)?.nodes == 1)
        #expect(HashTreeShape(leaves: 511)?.nodes == 2)
        #expect(HashTreeShape(leaves: 507 * 510)?.nodes == 507)
        #expect(HashTreeShape(leaves: 507 * 510 + 1) == nil)
    }

    @Test("the hash is the one that debugfs computes")
    func hash() throws {
        var seed = Array(repeating: "00", count: 16)
        let hash = DirectoryHash(seed: TestImage.seed)
        seed = TestImage.seed.map { String($0, radix: 16) }
        let text =
            [seed[0..<4], seed[4..<6], seed[6..<8], seed[8..<10], seed[10..<16]].map { $0.joined() }
            .joined(separator: "-")
        for length in [1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 200, 255] {
            let name = String((0..<length).map { Character(Unicode.Scalar(UInt8(97 + $0 % 26))) })
            let output = try run(["debugfs", "-R", "dx_hash -h half_md4 -s \(text) \(name)"]).output
            let value = Array(name.utf8).withUnsafeBytes { hash.hash($0) }
            let expected = "0x\(String(value.major, radix: 16)) (minor 0x\(String(value.minor, radix: 16)))"
            #expect(output.contains(expected), "\(output) is not \(expected)")
        }
    }
}
