import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("file data")
struct DataTests {
    /// Bytes that say where they stand, cheap to make.
    private func pattern(_ count: Int, salt: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: salt)
        let unit = generator.bytes(65521)
        var result: [UInt8] = []
        result.reserveCapacity(count)
        while result.count < count {
            result.append(contentsOf: unit.prefix(count - result.count))
        }
        return result
    }

    @Test("a file of 200 MiB goes around the fronts of the backup groups and reads back whole")
    func large() throws {
        let image = try TestImage()
        let content = pattern(200 << 20, salt: 2)
        let small = try image.store([1, 2, 3])
        let data = try image.store(content, piece: 3_333_333)
        #expect(data.rest.count == 1)
        let root = try image.root()
        try image.file("small", small, in: root)
        try image.file("large", data, in: root)
        let summary = try image.finishAndCheck()
        print("200 MiB: \(summary)")
        #expect(summary.freeBlocks * 20 >= summary.blockCount)
        try image.mounted { point in
            let read = try Data(contentsOf: URL(fileURLWithPath: point + "/large"))
            #expect(read == Data(content))
        }
        #expect(try TestImage.checkFreeBlocks(image.path) == Int(summary.freeBlocks))
    }

    @Test("an image over six groups has copies of its superblock and descriptors that can be opened by themselves")
    func backups() throws {
        let image = try TestImage(size: 700 << 20)
        let data = try image.store(pattern(300 << 20, salt: 3))
        let root = try image.root()
        try image.file("data", data, in: root)
        let summary = try image.finishAndCheck()
        for group in [1, 3, 5] {
            // e2fsck is no judge here: from a copy it takes no group as uninitialised and then expects bitmaps
            // everywhere, of an image of mkfs.ext4 as well.
            let options = ["-h", "-o", "superblock=\(group * 32768)", "-o", "blocksize=4096"]
            let result = try run(["dumpe2fs"] + options + [image.path])
            #expect(result.status == 0)
            #expect(result.output.contains("Free blocks:              \(summary.freeBlocks)\n"))
            #expect(result.output.contains("Checksum:                 0x"))
            #expect(!result.output.contains("EXPECTED"), "the checksum is wrong: \(result.output)")
            #expect(try block(group * 32768 + 1, of: image.path) == block(1, of: image.path))
        }
    }

    private func block(_ number: Int, of path: String) throws -> Data {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(number) * 4096)
        return try #require(try file.read(upToCount: 4096))
    }

    @Test("holes stay holes and read as zeros, wherever they begin and end")
    func holes() throws {
        let image = try TestImage()
        // Runs of data (positive) and holes (negative).
        let shapes: [[Int]] = [
            [-1], [-4096], [-10_000_000], [100, -100], [100, -3996], [100, -3997], [100, -8000, 5], [-4096, 1],
            [-4095, 1], [-1, 4096, -1, 4096], [4096, -4096, 4096], [5000, -123_456, 7777, -1], [-8193, 3, -5, 3],
            [10, -5, 10, -4071, 1], [300_000, -5_000_000_000, 300_000],
        ]
        var stored: [FileData] = []
        for (index, shape) in shapes.enumerated() {
            image.writer.beginFile(expectedSize: 0)
            for run in shape {
                if run < 0 {
                    try image.writer.appendHole(UInt64(-run))
                } else {
                    try image.append(pattern(run, salt: UInt64(index)))
                }
            }
            stored.append(try image.writer.endFile())
        }
        let root = try image.root()
        for (index, data) in stored.enumerated() {
            try image.file("shape-\(index)", data, in: root)
        }
        try image.finishAndCheck()
        try image.mounted { point in
            for (index, shape) in shapes.enumerated() {
                try compare("\(point)/shape-\(index)", shape, salt: UInt64(index), stored[index])
            }
        }
    }

    private func compare(_ path: String, _ shape: [Int], salt: UInt64, _ data: FileData) throws {
        let descriptor = open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var status = stat()
        #expect(fstat(descriptor, &status) == 0)
        #expect(Int(status.st_size) == shape.reduce(0) { $0 + abs($1) })
        #expect(UInt64(status.st_blocks) / 8 >= data.blockCount && UInt64(status.st_blocks) / 8 <= data.blockCount + 1)
        var offset = 0
        for run in shape {
            // Of very long holes the ends are enough.
            let count = min(abs(run), 1 << 20)
            for start in Set([offset, offset + abs(run) - count]) {
                var read = [UInt8](repeating: 0xAA, count: count)
                #expect(pread(descriptor, &read, count, off_t(start)) == count)
                let expected = run < 0 ? [UInt8](repeating: 0, count: count) : pattern(run, salt: salt)
                #expect(read == expected, "\(path) differs in the run of \(run) at \(offset)")
            }
            offset += abs(run)
        }
    }

    @Test("a file of 5,000 separate blocks has an extent tree of two levels")
    func fragmented() throws {
        let image = try TestImage()
        let count = 5000
        image.writer.beginFile(expectedSize: 0)
        for index in 0..<count {
            try image.append(Array(repeating: UInt8(truncatingIfNeeded: index), count: 4096))
            try image.writer.appendHole(4096)
        }
        let data = try image.writer.endFile()
        image.writer.beginFile(expectedSize: 0)
        for index in 0..<1000 {
            try image.append([UInt8(truncatingIfNeeded: index)])
            try image.writer.appendHole(8191)
        }
        let shallow = try image.writer.endFile()
        let root = try image.root()
        try image.file("deep", data, in: root)
        try image.file("shallow", shallow, in: root)
        try image.finishAndCheck()
        let tree = try image.debugfs("dump_extents -n /deep")
        #expect(tree.contains(" 0/ 2 ") && tree.contains(" 1/ 2 "))
        #expect(try image.debugfs("dump_extents -n /shallow").contains(" 0/ 1 "))
        try image.mounted { point in
            let read = [UInt8](try Data(contentsOf: URL(fileURLWithPath: point + "/deep")))
            #expect(read.count == count * 8192)
            for index in 0..<count {
                #expect(read[index * 8192] == UInt8(truncatingIfNeeded: index))
                #expect(read[index * 8192 + 4096] == 0)
            }
        }
    }

    @Test("an extent tree of three levels leads to every extent")
    func threeLevels() throws {
        let directory = try TemporaryDirectory()
        let descriptor = open(directory.path + "/nodes", O_RDWR | O_CREAT, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var data = FileData()
        let count: UInt64 = 470_000
        for index in 0..<count {
            data.append(Extent(logical: 2 * index, physical: 1_000_000 + index, count: 1))
        }
        let output = BlockOutput(descriptor: descriptor, limit: .max)
        let root = Scratch(count: 4096)
        let node = Scratch(count: 4096)
        var next: UInt64 = 0
        let nodes = try ExtentTree.write(data, root: root.base, seed: 0, node: node, output: output) {
            () throws(EXT4Error) in
            next += 1
            return next - 1
        }
        try output.flush()
        #expect(nodes == next)
        #expect(root.base.get(UInt16.self, at: 6) == 3)
        // Walks the tree and expects the extents in order.
        var expected: UInt64 = 0
        func walk(_ bytes: UnsafeMutableRawPointer, depth: UInt16) throws {
            #expect(bytes.get(UInt16.self, at: 6) == depth)
            for index in 0..<Int(bytes.get(UInt16.self, at: 2)) {
                let record = bytes + 12 + 12 * index
                if depth == 0 {
                    let logical = UInt64(record.get(UInt32.self, at: 0))
                    let physical = UInt64(record.get(UInt32.self, at: 8))
                    guard logical == 2 * expected, physical == 1_000_000 + expected else {
                        Issue.record("extent \(expected) is \(logical) at \(physical)")
                        return
                    }
                    expected += 1
                } else {
                    let child = Scratch(count: 4096)
                    let block = record.get(UInt32.self, at: 4)
                    try #require(pread(descriptor, child.base, 4096, off_t(block) * 4096) == 4096)
                    try walk(child.base, depth: depth - 1)
                }
            }
        }
        try walk(root.base, depth: 3)
        #expect(expected == count)
    }

    @Test("a discarded file leaves nothing but zeros and its space free")
    func discard() throws {
        let image = try TestImage()
        var kept: [(String, [UInt8], FileData)] = []
        var generator = SeededGenerator(seed: 5)
        for index in 0..<40 {
            let content = generator.bytes(Int.random(in: 1...300_000, using: &generator))
            let data = try image.store(content)
            if index % 3 == 1 {
                try image.writer.discard(data)
            } else {
                kept.append(("kept-\(index)", content, data))
            }
        }
        // One that was replaced long after.
        let late = kept.remove(at: 4)
        try image.writer.discard(late.2)
        let root = try image.root()
        for (name, _, data) in kept {
            try image.file(name, data, in: root)
        }
        let summary = try image.finishAndCheck()
        #expect(try TestImage.checkFreeBlocks(image.path) == Int(summary.freeBlocks))
        let all = try Data(contentsOf: URL(fileURLWithPath: image.path))
        #expect(all.range(of: Data(late.1.prefix(64))) == nil)
        try image.mounted { point in
            for (name, content, _) in kept {
                let read = try Data(contentsOf: URL(fileURLWithPath: "\(point)/\(name)"))
                #expect(Array(read) == content)
            }
        }
    }

    @Test("the same calls give the same bytes, however the data is cut into pieces")
    func deterministic() throws {
        func make(piece: Int) throws -> TestImage {
            let image = try TestImage()
            let stored = try (0..<30).map { try image.store(pattern($0 * 7919, salt: 9), piece: piece) }
            try image.writer.discard(stored[7])
            let root = try image.root()
            for (index, data) in stored.enumerated() where index != 7 {
                try image.file("file-\(index)", data, in: root)
            }
            try image.finishAndCheck()
            return image
        }
        let one = try make(piece: 1 << 20)
        let other = try make(piece: 1000)
        #expect(try run(["cmp", one.path, other.path]).status == 0)
    }
}
