import EXT4
import Foundation
import Glibc
import TestSupport
import Testing

@testable import RootFS

/// What is larger than most tools expect.
@Suite("Layers at the limits")
struct LimitCaseTests {
    /// A file of one byte and so many hard links to it. Headers that differ in five digits only are not made one by one.
    private static func links(_ count: Int) -> [UInt8] {
        var tar = TarBuilder()
        tar.file("f", [1])
        var template = TarBuilder()
        template.hardLink("d/00000", to: "f")
        let sum = template.bytes[148..<154].reduce(0) { $0 * 8 + Int($1 & 7) }
        tar.bytes.reserveCapacity(512 * (count + 4))
        for index in 0..<count {
            var digits = Array("\(index)".utf8)
            digits = [UInt8](repeating: 0x30, count: 5 - digits.count) + digits
            var block = template.bytes
            block.replaceSubrange(2..<7, with: digits)
            let added = digits.reduce(0) { $0 + Int($1) - 0x30 }
            block.replaceSubrange(148..<155, with: TarBuilder.field(Int64(sum + added), 7))
            tar.bytes += block
        }
        return tar.finished()
    }

    @Test("a file may have 65,000 names, and one more is an error that names the limit and the file")
    func manyLinks() throws {
        try withTemporaryDirectory { directory in
            let image = directory / "image".utf8
            let summary = try convert([Layer(Self.links(64_999))], to: image)
            #expect(summary.hardLinks == 64_999 && summary.files == 1)
            #expect(try complaints(about: image) == [])
        }
        let error = try #require(try refusal([Layer(Self.links(70_000))]))
        #expect("\(error)".contains("65000 names"), "\(error)")
        // The file itself is the last of its names by byte order.
        #expect(error.entry == "d/64999" || error.entry == "f", "\(error)")
    }

    @Test("a sparse file of 6 GiB keeps its holes in each of the four formats", arguments: SparseFormat.allCases)
    func largeSparse(format: SparseFormat) async throws {
        let size = 6 << 30
        let parts = [(0, 512), (5 << 30, 1024), (size - 100, 100)]
        let archive = TarBuilder.archive { tar in
            var header = TarBuilder.Header(name: Array("s".utf8), size: 512 + 1024 + 100)
            var map: [UInt8] = []
            switch format {
            case .oldGNU:
                (header.type, header.isGNU) = ("S", true)
                header.patches[386] = parts.flatMap {
                    TarBuilder.field(Int64($0.0), 12) + TarBuilder.field(Int64($0.1), 12)
                }
                header.patches[483] = TarBuilder.field(Int64(size), 12)
            case .pax00:
                var records = [("GNU.sparse.size", "\(size)"), ("GNU.sparse.numblocks", "3")]
                for (offset, count) in parts {
                    records += [("GNU.sparse.offset", "\(offset)"), ("GNU.sparse.numbytes", "\(count)")]
                }
                tar.pax(records)
            case .pax01:
                let list = parts.map { "\($0.0),\($0.1)" }.joined(separator: ",")
                tar.pax([("GNU.sparse.size", "\(size)"), ("GNU.sparse.name", "s"), ("GNU.sparse.map", list)])
            case .pax10:
                tar.pax([
                    ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "\(size)"),
                    ("GNU.sparse.name", "s"),
                ])
                let text = Array("3\n\(parts.map { "\($0.0)\n\($0.1)\n" }.joined())".utf8)
                map = text + [UInt8](repeating: 0, count: 512 - text.count)
                header.size += 512
            }
            tar.header(header)
            tar.bytes += map
            tar.payload([UInt8](repeating: 7, count: 512 + 1024 + 100))
        }
        try await checkLarge([Layer(archive, .gzip)], size: size, parts: parts, mostBlocks: 3)
    }

    /// Zeros in gzip members of 64 MiB each, made once and read again and again.
    private struct Zeros: LayerSource {
        let head: [UInt8]
        let member: [UInt8]
        let tail: [UInt8]
        var left: Int
        var rest: ArraySlice<UInt8> = []
        var isAtHead = true
        var isAtTail = false

        mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
            if rest.isEmpty {
                if isAtHead {
                    rest = head[...]
                    isAtHead = false
                } else if left > 0 {
                    rest = member[...]
                    left -= 1
                } else if !isAtTail {
                    rest = tail[...]
                    isAtTail = true
                }
            }
            let count = min(rest.count, buffer.count)
            buffer.copyBytes(from: rest.prefix(count))
            rest = rest.dropFirst(count)
            return count
        }
    }

    /// The image takes as much space as the file has zeros, because they are data.
    @Test("a file of more than 4 GiB of zeros comes out of a few MiB of gzip", .enabled(if: TestSize.isLong))
    func largeZeros() async throws {
        let members = 96
        let size = members << 26
        var tar = TarBuilder()
        tar.header(.init(name: Array("s".utf8), size: UInt64(size)))
        let head = gzip(tar.bytes)
        let member = gzip([UInt8](repeating: 0, count: 64 << 20))
        let tail = gzip([UInt8](repeating: 0, count: 1024))
        let layer = Layer(name: "zeros", compression: .gzip, diffID: nil) {
            Zeros(head: head, member: member, tail: tail, left: members)
        }
        try await checkLarge([layer], size: size, parts: [], mostBlocks: size / 4096)
    }

    /// Whether a file "s" has sevens in some parts and zeros elsewhere, and takes no more blocks than it may.
    private func checkLarge(
        _ layers: [Layer], size: Int, parts: [(Int, Int)], mostBlocks: Int
    ) async throws {
        try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                let image = directory / "image".utf8
                try convert(layers, to: image)
                #expect(try complaints(about: image) == [])
                let mountPoint = directory / "mount".utf8
                try withPath(mountPoint) { _ = try check(mkdir($0, 0o755), "mkdir") }
                try withImage(image, at: mountPoint) {
                    let found = try #require(status(mountPoint / "s".utf8))
                    #expect(found.st_size == size)
                    // In units of 512 bytes.
                    #expect(found.st_blocks <= mostBlocks * 8)
                    let descriptor = Int32(
                        try check(withPath(mountPoint / "s".utf8) { open($0, O_RDONLY | O_CLOEXEC) }, "open"))
                    defer { close(descriptor) }
                    for (offset, count) in parts {
                        var bytes = [UInt8](repeating: 0, count: count)
                        #expect(pread(descriptor, &bytes, count, off_t(offset)) == count)
                        #expect(bytes.allSatisfy { $0 == 7 })
                        guard offset > 0 else { continue }
                        #expect(pread(descriptor, &bytes, 1, off_t(offset - 1)) == 1 && bytes[0] == 0)
                    }
                }
            }
        }
    }
}
