import CZlib
import Testing

@testable import RootFS

/// Gzip as RFC 1952 has it, and as it comes broken: every decoder must say the same.
@Suite("Gzip")
struct GzipTests {
    /// The decompressed bytes, or the code of the error.
    private enum Outcome: Equatable {
        case bytes([UInt8])
        case failed(RootFSError.Code)
    }

    private func decode(_ stored: [UInt8], _ gzip: GzipDecoder, pieceSize: Int = .max) -> Outcome {
        var bytes: [UInt8] = []
        do throws(RootFSError) {
            let stream = try LayerStream(
                Layer(stored: stored, .gzip, pieceSize: pieceSize), budget: Budget(Limits()),
                execution: Execution(gzip: gzip, threads: 1))
            while try stream.fill() {
                bytes += stream.window
                stream.consume(stream.window.count)
            }
            return .bytes(bytes)
        } catch {
            return .failed(error.code)
        }
    }

    private static let content = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* $0 &>> 7) }

    private static func member(
        flags: UInt8, extra: [UInt8] = [], name: String = "", comment: String = "", damagedSum: Bool = false
    ) -> [UInt8] {
        var header: [UInt8] = [0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 0, 3]
        if flags & 4 != 0 { header += [UInt8(extra.count & 255), UInt8(extra.count >> 8)] + extra }
        if flags & 8 != 0 { header += Array(name.utf8) + [0] }
        if flags & 16 != 0 { header += Array(comment.utf8) + [0] }
        if flags & 2 != 0 {
            let sum = crc32(0, header, UInt32(header.count)) ^ (damagedSum ? 0x100 : 0)
            header += [UInt8(sum & 255), UInt8(sum >> 8 & 255)]
        }
        return header + gzip(content).dropFirst(10)
    }

    @Test("both decoders are here to be compared")
    func bothDecoders() {
        #expect(GzipDecoder.available == [.isal, .zlib])
        #expect(GzipDecoder.fastest.library.contains("libisal.so.2"))
        #expect(GzipDecoder.zlib.library.hasPrefix("zlib 1."))
    }

    @Test("a header may have every part that the format knows", arguments: GzipDecoder.available)
    func headers(gzip: GzipDecoder) {
        for flags in UInt8(0)..<32 {
            for extra in [0, 1, 300] {
                let stored = Self.member(
                    flags: flags, extra: Array(repeating: 0, count: extra), name: "layer.tar", comment: "c")
                for pieceSize in [1, 5, .max] {
                    let same = decode(stored, gzip, pieceSize: pieceSize) == .bytes(Self.content)
                    #expect(same, "flags \(flags), \(extra) extra bytes, pieces of \(pieceSize)")
                }
            }
        }
    }

    @Test("a header with a wrong checksum, method or flag is an error", arguments: GzipDecoder.available)
    func badHeaders(gzip: GzipDecoder) {
        #expect(decode(Self.member(flags: 2, damagedSum: true), gzip) == .failed(.compression))
        for flag in [UInt8(32), 64, 128] {
            #expect(decode(Self.member(flags: flag), gzip) == .failed(.compression))
        }
        var method = Self.member(flags: 0)
        method[2] = 7
        #expect(decode(method, gzip) == .failed(.compression))
        var second = Self.member(flags: 0) + Self.member(flags: 0)
        second[second.count / 2 + 1] = 0x8C
        #expect(decode(second, gzip) == .failed(.compression))
    }

    @Test("a wrong checksum or size at the end of a member is an error", arguments: GzipDecoder.available)
    func badTrailer(gzip: GzipDecoder) {
        let good = Self.member(flags: 0)
        for offset in 1...8 {
            for others in [[], good] {
                var stored = good
                stored[stored.count - offset] ^= 0x10
                #expect(decode(stored + others, gzip) == .failed(.compression), "\(offset) bytes before the end")
            }
        }
    }

    @Test("many small members, empty ones too, are one stream in pieces of any size", arguments: GzipDecoder.available)
    func smallMembers(decoder: GzipDecoder) {
        var stored: [UInt8] = []
        var expected: [UInt8] = []
        for size in [0, 1, 0, 0, 7, 100, 0, 513, 3, 0] {
            let bytes = Array(Self.content[size..<(2 * size)])
            for level in [Int32(0), 1, 9] {
                stored += gzip(bytes, level: level)
                expected += bytes
            }
        }
        for pieceSize in [4, 5, 6, 7, 8, 9, 17, 18, 19, 20, 21, 22, 23, 64, 1000, .max] {
            let same = decode(stored, decoder, pieceSize: pieceSize) == .bytes(expected)
            #expect(same, "pieces of \(pieceSize)")
        }
    }

    @Test("a member that fills a buffer to its last byte ends as any other", arguments: GzipDecoder.available)
    func fullBuffer(decoder: GzipDecoder) {
        for size in [(512 << 10) - 1, 512 << 10, (512 << 10) + 1, 1 << 20] {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 / 3) }
            let stored = gzip(bytes) + gzip([1, 2, 3])
            for pieceSize in [1000, .max] {
                let same = decode(stored, decoder, pieceSize: pieceSize) == .bytes(bytes + [1, 2, 3])
                #expect(same, "\(size) bytes in pieces of \(pieceSize)")
            }
        }
    }
}
