import Testing

@testable import RootFS

@Suite("Decompression")
struct DecodingTests {
    static let archive = TarBuilder.archive { tar in
        for index in 0..<40 {
            tar.file("file-\(index)", (0..<(index * 997)).map { UInt8(truncatingIfNeeded: $0 &* (index + 3)) })
        }
    }

    @Test("an archive reads the same plain, as gzip and as zstd, in pieces of any size", arguments: [1, 7, 4096, .max])
    func roundTrip(pieceSize: Int) throws {
        for compression in [Compression.none, .gzip, .zstd] {
            // Ahead of the decoder pieces are put together, so that small ones only take time there.
            for way in ways where pieceSize > 7 || way.threads == 1 {
                let entries = try readEntries(
                    Layer(Self.archive, compression, pieceSize: pieceSize), execution: way)
                #expect(entries.count == 40)
                #expect(entries.last?.content.count == 39 * 997)
            }
        }
    }

    @Test("gzip members in a row are one stream", arguments: ways)
    func members(way: Execution) throws {
        let cut = Self.archive.count / 3
        let stored = gzip(Array(Self.archive[..<cut])) + gzip([]) + gzip(Array(Self.archive[cut...]))
        #expect(try readEntries(Layer(stored: stored, .gzip, pieceSize: 11), execution: way).count == 40)
    }

    @Test("zstd frames in a row are one stream, and skippable ones are skipped")
    func frames() throws {
        let cut = Self.archive.count / 3
        let stored =
            skippableFrame([1, 2, 3]) + zstd(Array(Self.archive[..<cut])) + skippableFrame([])
            + zstd(Array(Self.archive[cut...])) + skippableFrame(Array(repeating: 9, count: 100_000))
        for pieceSize in [1, 1000, .max] {
            #expect(try readEntries(Layer(stored: stored, .zstd, pieceSize: pieceSize)).count == 40)
        }
    }

    @Test("garbage after the end of the compressed data is an error", arguments: [[0], [0x1F], Array("more".utf8)])
    func trailingGarbage(garbage: [UInt8]) {
        for (compression, stored) in [(Compression.gzip, gzip(Self.archive)), (.zstd, zstd(Self.archive))] {
            for way in ways {
                let error = failure { () throws(RootFSError) in
                    _ = try readEntries(Layer(stored: stored + garbage, compression), execution: way)
                }
                #expect(error?.code == .compression, "\(compression): \(String(describing: error))")
            }
        }
    }

    @Test("compressed data that is cut off anywhere is an error", arguments: ways)
    func truncation(way: Execution) {
        var refused = 0
        for (compression, stored) in [(Compression.gzip, gzip(Self.archive)), (.zstd, zstd(Self.archive))] {
            for end in stride(from: 0, to: stored.count, by: max(1, stored.count / 150)) {
                let error = failure { () throws(RootFSError) in
                    _ = try readEntries(Layer(stored: Array(stored[..<end]), compression), execution: way)
                }
                #expect(error?.code == .compression, "\(compression) cut at \(end): \(String(describing: error))")
                refused += 1
            }
        }
        print("truncations refused: \(refused)")
    }

    @Test("what the media type says must be what the first bytes say", arguments: ways)
    func mislabelled(way: Execution) {
        for said in [Compression.none, .gzip, .zstd] {
            for stored in [Compression.none, .gzip, .zstd] where stored != said {
                var layer = Layer(Self.archive, stored)
                layer.compression = said
                let error = failure { () throws(RootFSError) in _ = try readEntries(layer, execution: way) }
                #expect(error?.code == .compression)
                #expect(error?.message.contains("media type") == true)
            }
        }
    }

    @Test("an archive that is not the one of the diffID is an error that names both digests", arguments: ways)
    func diffID(way: Execution) {
        var layer = Layer(Self.archive, .gzip)
        layer.diffID = [UInt8](repeating: 0xAB, count: 32)
        let error = failure { () throws(RootFSError) in _ = try readEntries(layer, execution: way) }
        #expect(error?.code == .digest)
        #expect(error?.message.contains("sha256:abababab") == true)
    }

    @Test("the diffID covers what follows the end of the archive", arguments: ways)
    func bytesAfterTheEnd(way: Execution) throws {
        let padded = Self.archive + [UInt8](repeating: 0, count: 8192) + Array("trailer".utf8)
        #expect(try readEntries(Layer(padded, .zstd), execution: way).count == 40)
    }

    @Test("data that inflates beyond the ratio of the limits is refused, and so is too much of it", arguments: ways)
    func bombs(way: Execution) {
        let zeros = [UInt8](repeating: 0, count: 100 << 20)
        let error = failure { () throws(RootFSError) in
            let stream = try LayerStream(
                Layer(stored: zstd(zeros), .zstd), budget: Budget(Limits()), execution: way)
            _ = try stream.finish()
        }
        #expect(error?.code == .limit)
        #expect(error?.message.contains("inflates") == true)
        var limits = Limits()
        limits.decompressedBytes = 10_000
        let tooMuch = failure { () throws(RootFSError) in
            _ = try readEntries(Layer(Self.archive), limits: limits, execution: way)
        }
        #expect(tooMuch?.code == .limit)
    }

    @Test("zstd that needs more memory than a decoder must have is refused by that name")
    func largeWindow() throws {
        #expect(try readEntries(Layer(stored: zstd(Self.archive, windowLog: 27), .zstd)).count == 40)
        let error = failure { () throws(RootFSError) in
            _ = try readEntries(Layer(stored: zstd(Self.archive, windowLog: 28), .zstd))
        }
        #expect(error?.code == .limit)
        #expect(error?.message.contains("128 MiB") == true)
    }

    @Test("the error of a source reaches the caller with its cause", arguments: ways)
    func sourceError(way: Execution) {
        struct Broken: LayerSource {
            struct Cut: Error {}
            mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { throw Cut() }
        }
        let layer = Layer(name: "broken", compression: .none, diffID: nil, open: { Broken() })
        let error = failure { () throws(RootFSError) in _ = try readEntries(layer, execution: way) }
        #expect(error?.code == .source)
        #expect(error?.cause is Broken.Cut)
    }
}
