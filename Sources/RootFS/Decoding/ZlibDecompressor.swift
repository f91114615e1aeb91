import CZlib

/// Gzip (RFC 1952) by zlib. Several members in a row are one stream, as every container runtime reads them.
final class ZlibDecompressor: Decompressor {
    /// zlib keeps a pointer back to the structure, so that it must not move.
    private let stream: UnsafeMutablePointer<z_stream>
    private(set) var isAtBoundary = true
    private var members = 0

    init() throws(RootFSError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15: the largest window; 16 more: a gzip header and trailer are expected and checked (zlib.h, inflateInit2).
        let status = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else {
            throw RootFSError(.compression, "zlib could not be set up (\(status))")
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int) {
        if isAtBoundary {
            guard let first = input.first else { return (0, 0) }
            guard first == 0x1F else {
                throw RootFSError(.compression, "there is garbage after the end of the gzip data")
            }
            guard inflateReset(stream) == Z_OK else {
                throw RootFSError(.compression, "zlib could not start a gzip member")
            }
            isAtBoundary = false
        }
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: Bytef.self))
        stream.pointee.avail_in = UInt32(clamping: input.count)
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: Bytef.self)
        stream.pointee.avail_out = UInt32(clamping: output.count)
        let offered = (input: stream.pointee.avail_in, output: stream.pointee.avail_out)
        let status = inflate(stream, Z_NO_FLUSH)
        switch status {
        case Z_OK, Z_BUF_ERROR:
            break
        case Z_STREAM_END:
            isAtBoundary = true
            members += 1
        default:
            let reason = stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(status)"
            throw RootFSError(.compression, "the gzip data is corrupt (\(reason), member \(members + 1))")
        }
        return (Int(offered.input - stream.pointee.avail_in), Int(offered.output - stream.pointee.avail_out))
    }
}
