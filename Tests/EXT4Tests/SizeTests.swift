import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("sizes and growth")
struct SizeTests {
    private func fill(_ image: TestImage, files: Int, bytes: Int) throws {
        var generator = SeededGenerator(seed: 21)
        let stored = try (0..<files).map { _ in try image.store(generator.bytes(bytes)) }
        let root = try image.root()
        for (index, data) in stored.enumerated() {
            try image.file("file-\(index)", data, in: root)
        }
    }

    @Test("an image of 10 GiB takes little space on disk and has groups that nobody needs to initialise")
    func sparse() throws {
        let image = try TestImage(size: 10 << 30)
        try fill(image, files: 10, bytes: 100_000)
        let summary = try image.finishAndCheck()
        print("10 GiB: \(summary), on disk \(try TestImage.allocated(image.path))")
        #expect(summary.imageSize == 10 << 30)
        #expect(summary.blockCount == 10 << 18)
        #expect(summary.inodeCount == 655_360)
        // The resize inode's 1022 blocks name the backup groups and are most of it, as with mke2fs.
        #expect(try TestImage.allocated(image.path) < 8 << 20)
        let all = try run(["dumpe2fs", image.path]).output
        #expect(all.components(separatedBy: "BLOCK_UNINIT").count - 1 > 60)
        #expect(all.components(separatedBy: "INODE_UNINIT").count - 1 == 79)
        #expect(all.components(separatedBy: "ITABLE_ZEROED").count - 1 == 80)
        #expect(all.contains("Total journal size:       64M\n"))
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            let status = try run(["dd", "if=/dev/urandom", "of=\(point)/new", "bs=1M", "count=300"]).status
            #expect(status == 0)
            for index in 0..<200 { #expect(mkdir("\(point)/directory-\(index)", 0o755) == 0) }
        }
        try TestImage.check(copy)
    }

    @Test("a size that is too small is refused with the size that is enough, to the block")
    func tooSmall() throws {
        func attempt(_ size: UInt64) throws -> EXT4Error.Code? {
            let image = try TestImage(size: size)
            try fill(image, files: 300, bytes: 100_000)
            do throws(EXT4Error) {
                _ = try image.writer.finish()
            } catch {
                return error.code
            }
            try TestImage.check(image.path)
            return nil
        }
        guard case .sizeTooSmall(let needed) = try attempt(16 << 20) else {
            Issue.record("16 MiB were enough for 30 MB")
            return
        }
        print("30 MB of files need \(needed) bytes")
        #expect(needed > 30_000_000 && needed < 40_000_000)
        #expect(try attempt(needed) == nil)
        #expect(try attempt(needed + 5000) == nil)
        #expect(try attempt(needed - 4096) == .sizeTooSmall(needed: needed))
        guard case .sizeTooSmall(let again) = try attempt(0) else {
            Issue.record("0 bytes were enough")
            return
        }
        #expect(again == needed)
    }

    /// Trees that guessing gets wrong: all is in inodes, or in one directory, or in the ends of blocks.
    enum Crowd: String, CaseIterable {
        case smallFiles, oneDirectory, emptyFiles

        func write(to image: TestImage) throws {
            var stored: [FileData] = []
            if self == .smallFiles { stored = try (0..<30_000).map { try image.store([UInt8($0 & 0xFF)]) } }
            let root = try image.root()
            switch self {
            case .smallFiles:
                for (index, data) in stored.enumerated() { try image.file("small-\(index)", data, in: root) }
            case .oneDirectory:
                let file = try image.file("file", in: root)
                // 65,000 names a file are the most that there can be.
                let others = try (0..<4).map { try image.file("other-\($0)", in: root) }
                let directory = try image.directory("directory", in: root)
                for index in 0..<200_000 {
                    let child = index < 60_000 ? file : others[index % 4]
                    try image.writer.addEntry(
                        parent: directory, name: Array("a name of some length \(index)".utf8), child: child)
                }
            case .emptyFiles:
                for outer in 0..<200 {
                    let directory = try image.directory("directory-\(outer)", in: root)
                    for inner in 0..<1000 { try image.file("empty-\(inner)", in: directory) }
                }
            }
        }
    }

    @Test("the size that is named is the smallest one, for trees that guessing gets wrong", arguments: Crowd.allCases)
    func edge(crowd: Crowd) throws {
        func attempt(_ size: UInt64) throws -> EXT4Error.Code? {
            let image = try TestImage(size: size)
            try crowd.write(to: image)
            do throws(EXT4Error) {
                _ = try image.writer.finish()
            } catch {
                return error.code
            }
            try TestImage.check(image.path)
            let report = try TestImage.reading(image.path) { try $0.verify() }
            #expect(report.isSound, "\(report.problems)")
            return nil
        }
        guard case .sizeTooSmall(let needed) = try attempt(8 << 20) else {
            Issue.record("8 MiB were enough for \(crowd)")
            return
        }
        #expect(try attempt(needed) == nil)
        #expect(try attempt(needed - 4096) == .sizeTooSmall(needed: needed))
        let free = try TestImage()
        try crowd.write(to: free)
        let summary = try free.finishAndCheck()
        print("\(crowd): \(needed) bytes are needed; without --size \(summary)")
        #expect(summary.freeBlocks >= max(summary.blockCount / 20, 4096))
        #expect(summary.imageSize >= needed)
    }

    @Test("no size below the one that is named would do", arguments: [91, 92] as [UInt64])
    func smallestSize(seed: UInt64) throws {
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<12 {
            var space = Space()
            let blocks = UInt64.random(in: 1...120_000, using: &generator)
            var taken: UInt64 = 0
            while taken < blocks { taken += UInt64(try space.take(upTo: blocks - taken).count) }
            let inodes = UInt32.random(in: 11...150_000, using: &generator)
            let needed = try #require(Layout.neededSize(space: space, usedInodes: inodes))
            let below = stride(from: space.next, to: needed / 4096, by: 1).first {
                Layout.ofSize($0 * 4096, space: space, usedInodes: inodes) != nil
            }
            #expect(below == nil, "\(blocks) blocks and \(inodes) inodes: \(needed / 4096) named, \(below ?? 0) do")
            #expect(Layout.ofSize(needed, space: space, usedInodes: inodes) != nil)
        }
    }

    @Test("images of many sizes around the borders of groups please e2fsck")
    func borders() throws {
        var count = 0
        for blocks in [
            2048, 2049, 5000, 32767, 32768, 32769, 32800, 33000, 34000, 65536, 65537, 66000, 98304, 98305, 131_000,
        ] {
            let image = try TestImage(size: UInt64(blocks) * 4096 + 17)
            try fill(image, files: 3, bytes: 10_000)
            let summary = try image.finishAndCheck()
            #expect(summary.blockCount <= blocks)
            #expect(try TestImage.checkFreeBlocks(image.path) == Int(summary.freeBlocks))
            count += 1
        }
        print("\(count) sizes")
    }

    @Test("an image of 1 TiB pleases e2fsck, and what is past the largest image is refused")
    func large() throws {
        let image = try TestImage(size: 1 << 40)
        try fill(image, files: 3, bytes: 5000)
        let summary = try image.finishAndCheck()
        print("1 TiB: \(summary), on disk \(try TestImage.allocated(image.path))")
        #expect(summary.imageSize == 1 << 40)
        let largest = Geometry.maxBlockCount * Geometry.blockSize
        #expect(throws: EXT4Error.self) { try TestImage(size: largest + 1) }
    }

    @Test("many small inodes get an image with room for them")
    func manyInodes() throws {
        let image = try TestImage()
        let root = try image.root()
        for outer in 0..<100 {
            let directory = try image.directory("directory-\(outer)", in: root)
            for inner in 0..<1000 { try image.file("file-\(inner)", in: directory) }
        }
        let summary = try image.finishAndCheck()
        print("100,000 empty files: \(summary)")
        #expect(summary.usedInodes == 100_111)
        #expect(Int(summary.inodeCount) >= 100_111 + 5000)
    }

    @Test("resize2fs grows an unmounted image four times and a thousand times", arguments: [4, 1024])
    func growOffline(factor: UInt64) throws {
        let image = try TestImage()
        try fill(image, files: 20, bytes: 50_000)
        let summary = try image.finishAndCheck()
        let copy = try image.copy()
        try #require(truncate(copy, off_t(summary.imageSize * factor)) == 0)
        let result = try run(["resize2fs", "-f", copy])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        try TestImage.check(copy)
        let header = try run(["dumpe2fs", "-h", copy]).output
        #expect(header.contains("Block count:              \(summary.blockCount * factor)\n"))
        #expect(header.contains("resize_inode"))
    }

    @Test("resize2fs shrinks an image as far as it can and grows it again")
    func shrink() throws {
        let image = try TestImage(size: 2 << 30)
        try fill(image, files: 500, bytes: 30_000)
        let summary = try image.finishAndCheck()
        let copy = try image.copy()
        #expect(try run(["resize2fs", "-f", "-M", copy]).status == 0)
        try TestImage.check(copy)
        let shrunk = try TestImage.reading(copy) { $0.information.blockCount }
        #expect(shrunk < summary.blockCount / 4)
        #expect(try run(["resize2fs", "-f", copy, "1G"]).status == 0)
        try TestImage.check(copy)
    }

    /// The kernel lets nobody grow a mounted file system without this capability, which containers often lack.
    private static let mayGrowMounted: Bool = {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.starts(with: "CapEff:") } ?? ""
        let capabilities = UInt64(line.split(separator: "\t").last ?? "", radix: 16) ?? 0
        let resource: UInt64 = 24
        return capabilities >> resource & 1 == 1
    }()

    @Test(
        "a mounted image grows four times and a hundred times",
        .enabled(if: mayGrowMounted, "growing a mounted file system takes CAP_SYS_RESOURCE"), arguments: [4, 100])
    func growOnline(factor: UInt64) throws {
        let image = try TestImage()
        try fill(image, files: 20, bytes: 50_000)
        let summary = try image.finishAndCheck()
        let copy = try image.copy()
        try #require(truncate(copy, off_t(summary.imageSize * factor)) == 0)
        try TestImage.mounted(copy, readOnly: false) { point, device in
            let result = try run(["resize2fs", device])
            #expect(result.status == 0, "\(result.output)\(result.errors)")
            let status = try run(["dd", "if=/dev/urandom", "of=\(point)/new", "bs=1M", "count=40"]).status
            #expect(status == 0)
        }
        try TestImage.check(copy)
        let blocks = summary.blockCount * factor
        let header = try run(["dumpe2fs", "-h", copy]).output
        let line = header.split(separator: "\n").first { $0.starts(with: "Block count:") } ?? ""
        let grown = UInt64(line.split(separator: " ").last ?? "") ?? 0
        // The kernel leaves out a last group that would be too small.
        #expect(grown <= blocks && grown + 32768 > blocks)
    }
}
