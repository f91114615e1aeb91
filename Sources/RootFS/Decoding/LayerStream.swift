import Crypto

/// The decompressed bytes of one layer, hashed as they pass.
///
/// Pull-based. A consumer reads straight from the decompressor's buffer: `window` is valid until the next call of any
/// function here. What runs beside it, reading and inflating ahead and hashing behind, is up to the execution.
final class LayerStream {
    private let layer: Layer
    private let budget: Budget
    private let pieces: any DecodedPieces
    private(set) var decompressedBytes: UInt64 = 0
    /// Decompressed bytes that nobody has consumed yet.
    private(set) var window = UnsafeRawBufferPointer(start: nil, count: 0)

    /// A ratio says nothing of a small layer: a few zero blocks compress to almost nothing.
    private static let ratioMatters: UInt64 = 64 << 20

    /// Opens the layer, unless it was before its turn.
    init(
        _ layer: Layer, budget: Budget, execution: Execution, ahead: PiecesAhead? = nil
    ) throws(RootFSError) {
        self.layer = layer
        self.budget = budget
        if execution.inflatesAhead,
            let ahead = ahead ?? PiecesAhead(layer, execution: execution, waitingBytes: 0)
        {
            ahead.begin()
            pieces = ahead
            return
        }
        let decoder = try LayerDecoder(layer, execution: execution)
        pieces = (execution.hashesBehind ? HashedPieces(decoder) : nil) ?? DirectPieces(decoder)
    }

    /// Makes `window` hold at least one byte; false at the end of the stream.
    func fill() throws(RootFSError) -> Bool {
        if !window.isEmpty { return true }
        guard let (bytes, compressedBytes) = try pieces.next() else { return false }
        decompressedBytes += UInt64(bytes.count)
        try budget.spend(decompressedBytes: bytes.count)
        let ratio = max(1, budget.limits.inflationRatio)
        if decompressedBytes > Self.ratioMatters, decompressedBytes / ratio > compressedBytes {
            throw RootFSError(
                exceeding: .inflationRatio,
                "the data inflates to more than \(ratio) times its size, which is the limit")
        }
        window = bytes
        return true
    }

    /// Marks the first bytes of the window as used. `count` is at most the window's size.
    func consume(_ count: Int) {
        window = UnsafeRawBufferPointer(rebasing: window[count...])
    }

    /// Calls `body` with the next `count` bytes, piece by piece, straight from the decompressor's buffer.
    func read(
        _ count: UInt64, _ body: (UnsafeRawBufferPointer) throws(RootFSError) -> Void
    ) throws(RootFSError) {
        var left = count
        while left > 0 {
            guard try fill() else { throw RootFSError(.archive, "the archive is truncated: \(left) bytes are missing") }
            let size = Int(min(left, UInt64(window.count)))
            try body(UnsafeRawBufferPointer(rebasing: window[..<size]))
            consume(size)
            left -= UInt64(size)
        }
    }

    /// Passes over so many bytes, or over what there is before the end of the stream.
    func skip(atMost count: UInt64) throws(RootFSError) {
        var left = count
        while left > 0, try fill() {
            let size = Int(min(left, UInt64(window.count)))
            consume(size)
            left -= UInt64(size)
        }
    }

    /// Copies up to `buffer.count` bytes and returns how many there were before the end of the stream.
    func copy(into buffer: inout [UInt8]) throws(RootFSError) -> Int {
        var filled = 0
        while filled < buffer.count, try fill() {
            let size = min(buffer.count - filled, window.count)
            buffer.withUnsafeMutableBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: bytes[filled...]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: window[..<size]))
            }
            consume(size)
            filled += size
        }
        return filled
    }

    /// Reads to the end, so that the digest covers everything, and compares it.
    ///
    /// Returns whether there was a digest to compare.
    func finish() throws(RootFSError) -> Bool {
        while try fill() { consume(window.count) }
        guard let expected = layer.diffID else { return false }
        let found = pieces.digest()
        guard found.elementsEqual(expected) else {
            throw RootFSError(
                .digest,
                "the decompressed archive is sha256:\(hexadecimal(found)), but the image config names sha256:"
                    + "\(hexadecimal(expected)) (diffID); the layer is damaged or belongs to another image")
        }
        return true
    }
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits: [Character] = Array("0123456789abcdef")
    return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}
