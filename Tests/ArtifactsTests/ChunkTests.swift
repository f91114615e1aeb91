import CZstd
import Files
import Foundation
import Glibc
import OCI
import TestSupport
import Testing

@testable import Artifacts

@Suite("Chunks")
struct ChunkTests {
    @Test("a stretch of a file comes back as it was, with its zeros as holes, and gives the same blob each time")
    func roundTrip() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/file"
        // Data, a hole of 3 MiB, data that ends off a block, written zeros, a last piece.
        let size = 9_437_185
        try makeFile(path, size: size, data: [(0, noise(1_000_001, seed: 1)), (4 << 20, noise(5000, seed: 2))])
        try makeFile("\(path)-zeros", size: 1 << 20, data: [(0, [UInt8](repeating: 0, count: 1 << 20))])
        let file = try OpenFile(path, O_RDONLY)
        let range = 4096..<size
        let first = try #require(try packChunk(of: file.descriptor, path: path, range: range))
        let second = try #require(try packChunk(of: file.descriptor, path: path, range: range))
        #expect(first.blob == second.blob)
        #expect(first.chunk == second.chunk)
        #expect(Digest.sha256(of: first.blob) == first.chunk.blob)
        #expect(ZSTD_getFrameContentSize(first.blob, first.blob.count) == UInt64(range.count))

        let copy = "\(directory.path)/copy"
        try makeFile(
            copy, size: size, data: [(0, Array(try Data(contentsOf: URL(fileURLWithPath: path)).prefix(4096)))])
        let output = try OpenFile(copy, O_RDWR)
        try unpackChunk(
            first.chunk, from: BytesReader(first.blob, piece: 1000), into: output.descriptor, path: copy
        ) { _ in }
        #expect(try Data(contentsOf: URL(fileURLWithPath: copy)) == Data(contentsOf: URL(fileURLWithPath: path)))
        #expect(try output.status().st_blocks * 512 < 1_100_000)
    }

    @Test("what is all zeros, as a hole or written, is no chunk")
    func zeros() throws {
        let directory = try TemporaryDirectory()
        for data in [[], [(0, [UInt8](repeating: 0, count: 3 << 20))]] {
            let path = "\(directory.path)/file"
            try makeFile(path, size: 4 << 20, data: data)
            let file = try OpenFile(path, O_RDONLY)
            #expect(try packChunk(of: file.descriptor, path: path, range: 0..<4 << 20) == nil)
        }
        let path = "\(directory.path)/last"
        try makeFile(path, size: 4 << 20, data: [((4 << 20) - 1, [1])])
        let file = try OpenFile(path, O_RDONLY)
        #expect(try packChunk(of: file.descriptor, path: path, range: 0..<4 << 20) != nil)
        #expect(try packChunk(of: file.descriptor, path: path, range: 0..<(4 << 20) - 1) == nil)
    }

    @Test(
        "a blob that is not what its chunk says is an error, and nothing is written beyond the chunk",
        arguments: ["bomb", "short", "digest", "garbage", "cut", "tail", "window", "empty"])
    func hostile(what: String) throws {
        let size = 3 << 20
        let content = noise(size, seed: 7)
        var blob = compress(content)
        var digest = Digest.sha256(of: content)
        switch what {
        case "bomb": blob = compress(content + [UInt8](repeating: 0, count: 200 << 20))
        case "short": blob = compress(content.dropLast())
        case "digest": digest = .sha256(of: [1])
        case "garbage": blob = noise(1000, seed: 3)
        case "cut": blob.removeLast(10)
        case "tail": blob += [1, 2, 3, 4, 5]
        case "window": blob = compress(content, window: 27)
        default: blob = []
        }
        let chunk = Chunk(
            offset: 4096, size: size, content: digest, blob: .sha256(of: blob), blobSize: Int64(blob.count))
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/file"
        try makeFile(path, size: size + 8192, data: [(0, [9]), (size + 8191, [9])])
        let file = try OpenFile(path, O_RDWR)
        #expect(throws: ArtifactError.self) {
            try unpackChunk(chunk, from: BytesReader(blob), into: file.descriptor, path: path) { _ in }
        }
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(bytes.count == size + 8192)
        #expect(bytes.first == 9 && bytes.last == 9)
        #expect(bytes.suffix(4096).dropLast().allSatisfy { $0 == 0 })
    }
}

/// A file with data here and there and holes between.
func makeFile(_ path: String, size: Int, data: [(Int, [UInt8])]) throws {
    try Data().write(to: URL(fileURLWithPath: path))
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    try handle.truncate(atOffset: UInt64(size))
    for (offset, bytes) in data {
        try handle.seek(toOffset: UInt64(offset))
        try handle.write(contentsOf: Data(bytes))
    }
}

/// Bytes that no compressor makes smaller.
func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        while filled < count {
            var word = generator.next()
            for _ in 0..<min(8, count - filled) {
                buffer[filled] = UInt8(truncatingIfNeeded: word)
                word >>= 8
                filled += 1
            }
        }
    }
}

/// What a foreign tool may have made of it.
func compress(_ bytes: some Collection<UInt8>, window: Int32 = 0) -> [UInt8] {
    let input = Array(bytes)
    return [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(input.count)) { output, filled in
        let context = ZSTD_createCCtx()
        defer { ZSTD_freeCCtx(context) }
        if window > 0 {
            ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window)
            // Without the size, the window is what was asked for.
            ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0)
        }
        input.withUnsafeBytes { bytes in
            var source = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
            var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
            if window > 0 { _ = ZSTD_compressStream2(context, &target, &source, ZSTD_e_flush) }
            _ = ZSTD_compressStream2(context, &target, &source, ZSTD_e_end)
            filled = target.pos
        }
    }
}

/// A blob in memory, in pieces. It verifies nothing.
final class BytesReader: BlobReader, @unchecked Sendable {
    // One thread reads it.
    private var rest: ArraySlice<UInt8>
    private let piece: Int

    init(_ bytes: [UInt8], piece: Int = 1 << 20) {
        rest = bytes[...]
        self.piece = piece
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        let count = min(piece, buffer.count, rest.count)
        buffer.copyBytes(from: rest.prefix(count))
        rest.removeFirst(count)
        return count
    }

    func close() {}
}
