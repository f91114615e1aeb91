import CZlib
import CZstd

/// Compresses into one gzip member.
func gzip(_ bytes: [UInt8], level: Int32 = 6) -> [UInt8] {
    var stream = z_stream()
    deflateInit2_(
        &stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    defer { deflateEnd(&stream) }
    var output = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))) + 64)
    let size = output.count
    var input = bytes
    input.withUnsafeMutableBufferPointer { source in
        output.withUnsafeMutableBufferPointer { target in
            stream.next_in = source.baseAddress
            stream.avail_in = UInt32(source.count)
            stream.next_out = target.baseAddress
            stream.avail_out = UInt32(size)
            deflate(&stream, Z_FINISH)
        }
    }
    return Array(output[..<(size - Int(stream.avail_out))])
}

/// Compresses into one zstd frame.
func zstd(_ bytes: [UInt8], level: Int32 = 3) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
    let size = ZSTD_compress(&output, output.count, bytes, bytes.count, level)
    return Array(output[..<size])
}

/// A frame that says that it needs a window of 2^windowLog bytes.
func zstd(_ bytes: [UInt8], windowLog: Int32) -> [UInt8] {
    let context = ZSTD_createCCtx()
    defer { ZSTD_freeCCtx(context) }
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, windowLog)
    var stored = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count) + 64)
    let size = stored.count
    var end = 0
    bytes.withUnsafeBytes { source in
        stored.withUnsafeMutableBytes { target in
            var output = ZSTD_outBuffer(dst: target.baseAddress, size: size, pos: 0)
            // In two steps, so that the frame does not know its size when it begins.
            for (part, directive) in [(source.count, ZSTD_e_flush), (source.count, ZSTD_e_end)] {
                var input = ZSTD_inBuffer(
                    src: source.baseAddress, size: part, pos: directive == ZSTD_e_end ? part : 0)
                ZSTD_compressStream2(context, &output, &input, directive)
            }
            end = output.pos
        }
    }
    return Array(stored[..<end])
}

/// A frame that a decoder has to skip (RFC 8878, 3.1.2).
func skippableFrame(_ content: [UInt8]) -> [UInt8] {
    let size = UInt32(content.count)
    return [0x50, 0x2A, 0x4D, 0x18] + (0..<4).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) } + content
}

/// What libzstd makes of all frames at once; nil for an error.
func unzstd(_ stored: [UInt8], size: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: size + 1)
    let count = ZSTD_decompress(&bytes, bytes.count, stored, stored.count)
    return ZSTD_isError(count) == 0 ? Array(bytes[..<count]) : nil
}
