import CZstd

/// Zstandard (RFC 8878). Frames in a row are one stream and skippable frames are skipped, which is all that it takes
/// to read zstd:chunked.
final class ZstdDecompressor: Decompressor {
    private let context: OpaquePointer
    private(set) var isAtBoundary = true

    init() throws(RootFSError) {
        guard let context = ZSTD_createDCtx() else {
            throw RootFSError(.compression, "zstd could not be set up: out of memory")
        }
        self.context = context
        // 2^27 = 128 MiB: the largest window that a decoder must expect without being told (zstd.h); it bounds memory.
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27)
    }

    deinit {
        ZSTD_freeDCtx(context)
    }

    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int) {
        if isAtBoundary, input.isEmpty { return (0, 0) }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let status = ZSTD_decompressStream(context, &target, &source)
        guard ZSTD_isError(status) == 0 else {
            if isAtBoundary, ZSTD_getErrorCode(status) == ZSTD_error_prefix_unknown {
                throw RootFSError(.compression, "there is garbage after the end of the zstd data")
            }
            if ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge {
                throw RootFSError(
                    .limit, "the zstd data needs a window of more than 128 MiB to decode; compress it without --long")
            }
            throw RootFSError(
                .compression, "the zstd data is corrupt (\(String(cString: ZSTD_getErrorName(status))))")
        }
        // 0: a frame is decoded and flushed; the next call starts another one (zstd.h, ZSTD_decompressStream).
        isAtBoundary = status == 0
        return (source.pos, target.pos)
    }
}
