import EXT4
import Foundation
import Glibc
import Testing

@testable import RootFS

/// Damage of all kinds: whatever comes in, what comes out is an image or an error.
@Suite("Damaged layers")
struct MutationTests {
    /// Layers that use every format there is.
    static let sample: [[UInt8]] = {
        let stack: [[Member]] = [
            [
                .directory("./"), .directory("a", mode: 0o1777), .file("a/x", "content"), .hardLink("a/y", to: "a/x"),
                .symlink("l", to: "a"), .file("l/through", "1"), Member("null", .character(1, 3)), Member("p", .fifo),
                Member("big", .file([UInt8](repeating: 7, count: 5000))),
            ],
            [
                .file("a/x", "upper").with { $0.xattrs = ["user.k": [1, 2], "security.s": [3]] }, .mark("a/.wh.y"),
                .hardLink("big2", to: "big"), .file("b/c/d/e").with { $0.seconds = -7 }, .mark(".wh.big"),
            ],
            [.mark("b/.wh..wh..opq"), .file("b/new", "n"), .file("a/x"), .hardLink("a/z", to: "a/x"), .directory("l")],
        ]
        return stack.map { members in
            TarBuilder.archive { tar in
                tar.pax([("comment", "global"), ("SCHILY.xattr.security.g", "1")], type: "g")
                for member in members { member.write(to: &tar) }
                tar.pax([
                    ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "sparse"),
                    ("GNU.sparse.realsize", "5000"),
                ])
                tar.header(.init(name: Array("s".utf8), size: 522))
                tar.payload(
                    Array("2\n0\n5\n1000\n5\n".utf8) + [UInt8](repeating: 0, count: 499) + Array("0123456789".utf8))
                tar.header(.init(name: Array("L".utf8), type: "L", size: 6, isGNU: true))
                tar.payload(Array("a/long".utf8))
                tar.header(
                    .init(
                        name: Array("o".utf8), type: "S", size: 5, isGNU: true,
                        patches: [
                            386: TarBuilder.field(100, 12) + TarBuilder.field(5, 12), 483: TarBuilder.field(200, 12),
                        ]))
                tar.payload([1, 2, 3, 4, 5])
                tar.pax([("SCHILY.acl.access", "user::rwx,user:5:r,group::r,mask::r,other::-"), ("mtime", "-3.25")])
                tar.file("acl")
            }
        }
    }()

    @Test("the undamaged layers are an image")
    func undamaged() throws {
        #expect(try survives(Self.sample.map { Layer($0, .zstd) }, limits: limits))
    }

    /// True for an image, false for an error of ours.
    private func survives(_ layers: [Layer], limits: Limits, execution: Execution = Execution()) throws -> Bool {
        guard let error = try refusal(layers, limits: limits, execution: execution) else { return true }
        #expect(!error.description.isEmpty)
        return false
    }

    private func run(_ name: String, iterations: Int, _ body: (inout SeededGenerator) throws -> Bool) throws {
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["ROOTFS_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...1_000_000_000)
        var generator = SeededGenerator(state: seed)
        var images = 0
        for _ in 0..<iterations where try body(&generator) { images += 1 }
        print("\(name): \(iterations) from ROOTFS_SEED=\(seed), \(images) images, \(iterations - images) errors")
    }

    private var limits: Limits {
        var limits = Limits()
        limits.decompressedBytes = 8 << 20
        limits.entries = 5_000
        limits.metadataBytes = 1 << 20
        limits.hiddenBytes = 1 << 20
        return limits
    }

    @Test("bytes changed anywhere in an archive give an image or an error")
    func archives() throws {
        let environment = ProcessInfo.processInfo.environment
        let iterations = environment["ROOTFS_MUTATIONS"].flatMap { Int($0) } ?? 600
        try run("mutated archives", iterations: iterations) { generator in
            var layers = Self.sample
            let index = Int.random(in: 0..<layers.count, using: &generator)
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                mutate(&layers[index], &generator)
            }
            if generator.chance(70) { Self.repairSums(&layers[index]) }
            return try survives(layers.map { Layer(stored: $0, .none) }, limits: limits)
        }
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        let block = Int.random(in: 0..<(bytes.count / 512), using: &generator) * 512
        let position = block + Int.random(in: 0..<512, using: &generator)
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: bytes[position] = UInt8.random(in: .min ... .max, using: &generator)
        case 1: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 2: bytes[block + 156] = generator.pick(Array("0123456789xgLKSDX\0".utf8))
        case 3:
            let field = generator.pick([100, 108, 116, 124, 136, 329, 386, 398, 483])
            let value: Int64 = generator.pick([0, 1, 511, 513, 1 << 31, 1 << 33, .max, -1, .min])
            bytes.replaceSubrange((block + field)..<(block + field + 12), with: TarBuilder.field(value, 12))
        case 4: bytes.removeSubrange(block..<(block + 512))
        default: bytes.insert(contentsOf: bytes[block..<(block + 512)], at: block)
        }
        if bytes.count < 512 { bytes += [UInt8](repeating: 0, count: 512) }
    }

    /// Makes every block that was a header one again, so that damage gets past the checksum.
    private static func repairSums(_ bytes: inout [UInt8]) {
        for block in stride(from: 0, to: bytes.count - 511, by: 512) {
            guard bytes[(block + 257)..<(block + 262)].elementsEqual("ustar".utf8) else { continue }
            bytes.replaceSubrange((block + 148)..<(block + 156), with: [UInt8](repeating: 0x20, count: 8))
            let sum = bytes[block..<(block + 512)].reduce(Int64(0)) { $0 + Int64($1) }
            bytes.replaceSubrange((block + 148)..<(block + 156), with: TarBuilder.field(sum, 7) + [0x20])
        }
    }

    @Test("a bit flipped in a compressed layer gives an error")
    func compressed() throws {
        let archive = Self.sample[0]
        let (deflated, compressed) = (gzip(archive), zstd(archive))
        for (compression, stored, decoder) in [
            (Compression.gzip, deflated, GzipDecoder.isal), (.gzip, deflated, .zlib), (.zstd, compressed, .zlib),
        ] {
            var harmless = 0
            try run("bits flipped in \(compression.rawValue)", iterations: 250) { generator in
                var bytes = stored
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^=
                    1 << UInt8.random(in: 0..<8, using: &generator)
                var layer = Layer(archive, compression)
                layer.open = { [bytes] in MemorySource(bytes: bytes[...]) }
                // Some bits of a header mean nothing; the diffID proves then that the data is what it was.
                let isImage = try survives([layer], limits: limits, execution: Execution(gzip: decoder, threads: 4))
                if isImage { harmless += 1 }
                return isImage
            }
            #expect(harmless < 250 / 4)
        }
    }
}
