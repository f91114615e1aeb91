internal import CZlib

/// The compression that every peer knows (RFC 1952), within bounds.
enum Gzip {
    static let name = "gzip"
    /// Smaller messages do not become smaller.
    static let leastSize = 1024

    /// The window of zlib's default, and 16 for gzip's own header instead of zlib's.
    private static let windowBits = MAX_WBITS + 16
    private static let pieceSize = 64 << 10

    static func compress(_ bytes: [UInt8]) throws(ConnectError) -> [UInt8] {
        var stream = z_stream()
        guard
            deflateInit2_(
                &stream, Z_BEST_SPEED, Z_DEFLATED, windowBits, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw ConnectError(.resourceExhausted, "there is no memory for compression") }
        defer { deflateEnd(&stream) }
        let result = run(&stream, bytes, limit: .max) { deflate(&$0, Z_FINISH) }
        guard result.status == Z_STREAM_END else {
            throw ConnectError(.internal, "a message cannot be compressed (zlib says \(result.status))")
        }
        return result.output
    }

    /// - Parameter limit: the most bytes that may come out, so that a small message cannot become a large one.
    static func decompress(_ bytes: [UInt8], limit: Int) throws(ConnectError) -> [UInt8] {
        if bytes.isEmpty { return [] }
        var stream = z_stream()
        guard inflateInit2_(&stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw ConnectError(.resourceExhausted, "there is no memory for decompression")
        }
        defer { inflateEnd(&stream) }
        let result = run(&stream, bytes, limit: limit) { inflate(&$0, Z_NO_FLUSH) }
        if result.output.count > limit { throw .tooLarge(result.output.count, limit: limit) }
        guard result.status == Z_STREAM_END, stream.avail_in == 0 else {
            throw ConnectError(.invalidArgument, "a message that is marked as compressed is no whole gzip file")
        }
        return result.output
    }

    /// Runs one direction over all of the input; stops at the end, at an error, without progress, and past the limit.
    private static func run(
        _ stream: inout z_stream, _ input: [UInt8], limit: Int,
        step: (inout z_stream) -> Int32
    ) -> (status: Int32, output: [UInt8]) {
        var input = input
        var output: [UInt8] = []
        var status = Z_OK
        let piece = UnsafeMutablePointer<UInt8>.allocate(capacity: pieceSize)
        defer { piece.deallocate() }
        input.withUnsafeMutableBufferPointer { input in
            stream.next_in = input.baseAddress
            stream.avail_in = UInt32(input.count)
            repeat {
                stream.next_out = piece
                stream.avail_out = UInt32(pieceSize)
                status = step(&stream)
                output += UnsafeBufferPointer(start: piece, count: pieceSize - Int(stream.avail_out))
            } while status == Z_OK && output.count <= limit && (stream.avail_out == 0 || stream.avail_in > 0)
            stream.next_in = nil
        }
        return (status, output)
    }
}

/// How bytes are encoded on their way: `Content-Encoding` and `Connect-Content-Encoding`.
enum ContentEncoding: Hashable {
    case identity
    case gzip

    /// Nil for what this side cannot read.
    init?(header: String?) {
        switch header?.lowercased() {
        case nil, "", "identity": self = .identity
        case Gzip.name: self = .gzip
        default: return nil
        }
    }
}
