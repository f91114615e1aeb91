import CZstd
import Files
import Glibc
package import OCI

/// A chunk ready to be sent.
package struct PackedChunk: Sendable {
    package let chunk: Chunk
    /// The blob: one zstd frame (RFC 8878) that states its size.
    package let blob: [UInt8]
}

/// So much at a time is read, compressed, decompressed and written.
private let pieceSize = 1 << 20

/// The largest blob that so many bytes can become.
func largestBlob(of size: Int) -> Int { ZSTD_compressBound(size) }

/// Compresses one stretch of a file, holes as zeros. Blocks; takes the memory of the compressed bytes, which depend on
/// nothing but the stretch's and on libzstd.
///
/// - Parameter descriptor: A file that somebody keeps open; many may read it at once.
/// - Returns: nil when all of it is zeros.
package func packChunk(of descriptor: Int32, path: String, range: Range<Int>) throws -> PackedChunk? {
    var ranges = DataRanges(of: descriptor, path: path, from: range.lowerBound, size: range.upperBound)
    guard var data = try ranges.next() else { return nil }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceSize, alignment: 4096)
    defer { buffer.deallocate() }
    var isZero = true
    var failure: (any Error)?
    var content = DigestHasher(algorithm: .sha256)
    // What is not written to is no memory: the system gives pages as they are touched.
    let blob = [UInt8](unsafeUninitializedCapacity: largestBlob(of: range.count)) { output, filled in
        do {
            let compressor = try Compressor(size: range.count)
            var position = range.lowerBound
            while position < range.upperBound {
                let count = min(pieceSize, range.upperBound - position)
                let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                while data.upperBound <= position, let next = try ranges.next() { data = next }
                if data.upperBound <= position || data.lowerBound >= position + count {
                    piece.initializeMemory(as: UInt8.self, repeating: 0)
                } else {
                    guard try OpenFile.read(descriptor, path, into: piece, at: position) == count else {
                        throw ArtifactError(.changed, "\(path) became shorter while it was read")
                    }
                    isZero = isZero && isAllZeros(UnsafeRawBufferPointer(piece))
                }
                position += count
                content.update(UnsafeRawBufferPointer(piece))
                try compressor.add(
                    UnsafeRawBufferPointer(piece), isLast: position == range.upperBound,
                    to: UnsafeMutableRawBufferPointer(output), &filled)
            }
        } catch {
            failure = error
            filled = 0
        }
    }
    if let failure { throw failure }
    guard !isZero else { return nil }
    let chunk = Chunk(
        offset: range.lowerBound, size: range.count, content: content.finalize(), blob: .sha256(of: blob),
        blobSize: Int64(blob.count))
    return PackedChunk(chunk: chunk, blob: blob)
}

private func isAllZeros(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
    return bytes[0] == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
}

private final class Compressor {
    /// zstd's own default: above it, an image takes much longer to shrink little more.
    private static let level: Int32 = 3
    private let context: OpaquePointer

    init(size: Int) throws(ArtifactError) {
        guard let context = ZSTD_createCCtx() else { throw .zstdMemory }
        self.context = context
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1)
        ZSTD_CCtx_setPledgedSrcSize(context, UInt64(size))
    }

    deinit { ZSTD_freeCCtx(context) }

    func add(
        _ bytes: UnsafeRawBufferPointer, isLast: Bool, to output: UnsafeMutableRawBufferPointer, _ filled: inout Int
    ) throws(ArtifactError) {
        var source = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: filled)
        while true {
            let left = ZSTD_compressStream2(context, &target, &source, isLast ? ZSTD_e_end : ZSTD_e_continue)
            guard ZSTD_isError(left) == 0 else { throw .zstdMemory }
            // There is room for all: the output has the size of the worst case.
            if isLast ? left == 0 : source.pos == source.size { break }
        }
        filled = target.pos
    }
}

extension ArtifactError {
    fileprivate static var zstdMemory: ArtifactError {
        ArtifactError(.resources, "zstd has no memory left to work with")
    }
}

/// Decompresses a chunk from its verified blob to its place in a file, whose bytes there are zero already. Blocks.
///
/// Blocks of zeros are not written, so that they stay holes. On return the bytes are those that the chunk's digest
/// names; after an error anything may stand in the chunk's place, and nothing outside of it.
///
/// - Parameter received: told how many bytes of the blob came.
package func unpackChunk(
    _ chunk: Chunk, from blob: any BlobReader, into descriptor: Int32, path: String, received: (Int) -> Void
) throws {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceSize + pieceSize / 4, alignment: 4096)
    defer { memory.deallocate() }
    let output = UnsafeMutableRawBufferPointer(rebasing: memory[..<pieceSize])
    let input = UnsafeMutableRawBufferPointer(rebasing: memory[pieceSize...])
    let decompressor = try Decompressor(chunk)
    var content = DigestHasher(algorithm: chunk.content.algorithm)
    var position = 0
    var filled = 0
    func flush() throws(FileError) {
        let piece = UnsafeRawBufferPointer(rebasing: output[..<filled])
        content.update(piece)
        try writeData(piece, to: descriptor, path: path, at: chunk.offset + position)
        position += filled
        filled = 0
    }
    while true {
        let count = try blob.read(into: input)
        if count == 0 { break }
        received(count)
        var rest = UnsafeRawBufferPointer(rebasing: input[..<count])
        while true {
            let (consumed, produced) = try decompressor.decode(
                rest, into: UnsafeMutableRawBufferPointer(rebasing: output[filled...]))
            rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
            filled += produced
            guard filled <= chunk.size - position else {
                throw ArtifactError(
                    .invalidArtifact, "the chunk at \(chunk.offset) unpacks to more than the \(chunk.size) bytes stated"
                )
            }
            let isFull = filled == output.count
            if isFull { try flush() }
            if rest.isEmpty, !isFull { break }
        }
    }
    try flush()
    guard position == chunk.size, decompressor.isAtBoundary else {
        throw ArtifactError(
            .invalidArtifact, "the chunk at \(chunk.offset) unpacks to \(position) bytes instead of \(chunk.size)")
    }
    guard content.finalize() == chunk.content else {
        throw ArtifactError(
            .damaged, "the chunk at \(chunk.offset) has other bytes than its digest \(chunk.content) names")
    }
}

private final class Decompressor {
    /// 8 MiB of window, four times what we compress with: memory is for many chunks at once.
    private static let largestWindow: Int32 = 23
    private let context: OpaquePointer
    private let offset: Int
    private(set) var isAtBoundary = true

    init(_ chunk: Chunk) throws(ArtifactError) {
        guard let context = ZSTD_createDCtx() else { throw .zstdMemory }
        self.context = context
        offset = chunk.offset
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.largestWindow)
    }

    deinit { ZSTD_freeDCtx(context) }

    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(ArtifactError) -> (consumed: Int, produced: Int) {
        if isAtBoundary, input.isEmpty { return (0, 0) }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let status = ZSTD_decompressStream(context, &target, &source)
        guard ZSTD_isError(status) == 0 else {
            throw ArtifactError(
                .invalidArtifact,
                "the chunk at \(offset) is no zstd data that can be read (\(String(cString: ZSTD_getErrorName(status))))"
            )
        }
        isAtBoundary = status == 0
        return (source.pos, target.pos)
    }
}

/// Writes what is not zero, by blocks of the file.
private func writeData(
    _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, path: String, at offset: Int
) throws(FileError) {
    let block = 4096
    var start = 0
    while start < bytes.count {
        let end = min(bytes.count, start + block)
        guard !isAllZeros(UnsafeRawBufferPointer(rebasing: bytes[start..<end])) else {
            start = end
            continue
        }
        var dataEnd = end
        while dataEnd < bytes.count {
            let next = min(bytes.count, dataEnd + block)
            if isAllZeros(UnsafeRawBufferPointer(rebasing: bytes[dataEnd..<next])) { break }
            dataEnd = next
        }
        try OpenFile.write(
            descriptor, path, UnsafeRawBufferPointer(rebasing: bytes[start..<dataEnd]), at: offset + start)
        start = dataEnd
    }
}
