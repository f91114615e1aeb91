import Crypto

/// The decompressed bytes of one layer, hashed as they pass.
///
/// Pull-based and single-threaded. A consumer reads straight from the decompressor's buffer: `window` is valid until
/// the next call of any function here.
final class LayerStream {
    private let layer: Layer
    private let budget: Budget
    private var source: any LayerSource
    /// nil for a layer that is stored plain: the input buffer is the window then.
    private let decompressor: (any Decompressor)?
    private let input: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer
    /// What of `input` is still to be decoded.
    private var pending: Range<Int>
    private var sourceEnded: Bool
    private var hash = SHA256()
    private var compressedBytes: UInt64 = 0
    private(set) var decompressedBytes: UInt64 = 0
    /// Decompressed bytes that nobody has consumed yet.
    private(set) var window = UnsafeRawBufferPointer(start: nil, count: 0)

    private static let inputSize = 128 << 10
    private static let outputSize = 512 << 10
    /// A ratio says nothing of a small layer: a few zero blocks compress to almost nothing.
    private static let ratioMatters: UInt64 = 64 << 20

    /// Opens the layer and checks what its media type says against its first bytes.
    init(_ layer: Layer, budget: Budget) throws(RootFSError) {
        self.layer = layer
        self.budget = budget
        do {
            source = try layer.open()
        } catch {
            throw RootFSError(.source, "cannot be opened", cause: error)
        }
        switch layer.compression {
        case .none: decompressor = nil
        case .gzip: decompressor = try GzipDecompressor()
        case .zstd: decompressor = try ZstdDecompressor()
        }
        let plain = layer.compression == .none
        input = .allocate(byteCount: plain ? Self.outputSize : Self.inputSize, alignment: 64)
        output = .allocate(byteCount: plain ? 0 : Self.outputSize, alignment: 64)
        pending = 0..<0
        sourceEnded = false
        while pending.count < 4, !sourceEnded { try readMore() }
        try checkFirstBytes()
    }

    deinit {
        input.deallocate()
        output.deallocate()
    }

    private func checkFirstBytes() throws(RootFSError) {
        let found = Compression(firstBytes: UnsafeRawBufferPointer(rebasing: input[pending]))
        guard (found ?? .none) == layer.compression else {
            let seen =
                switch found {
                case .some(let compression): "is \(compression.rawValue)"
                case nil where pending.isEmpty: "is empty"
                case nil: "is neither gzip nor zstd"
                }
            let said = layer.compression == .none ? "a plain tar archive" : layer.compression.rawValue
            throw RootFSError(.compression, "the media type says \(said), but the data \(seen) by its first bytes")
        }
    }

    /// Appends to what is pending at the start of the input buffer.
    private func readMore() throws(RootFSError) {
        if pending.isEmpty { pending = 0..<0 }
        let space = UnsafeMutableRawBufferPointer(rebasing: input[pending.upperBound...])
        let count: Int
        do {
            count = try source.read(into: space)
        } catch {
            throw RootFSError(.source, "cannot be read", cause: error)
        }
        guard (0...space.count).contains(count) else {
            throw RootFSError(.source, "the source returned \(count) bytes for a buffer of \(space.count)")
        }
        if count == 0 { sourceEnded = true }
        compressedBytes += UInt64(count)
        pending = pending.lowerBound..<(pending.upperBound + count)
    }

    /// Makes `window` hold at least one byte; false at the end of the stream.
    func fill() throws(RootFSError) -> Bool {
        if !window.isEmpty { return true }
        while true {
            if pending.isEmpty, !sourceEnded { try readMore() }
            let encoded = UnsafeRawBufferPointer(rebasing: input[pending])
            guard let decompressor else {
                pending = 0..<0
                guard !encoded.isEmpty else { return false }
                try accept(encoded)
                return true
            }
            let (consumed, produced) = try decompressor.decode(encoded, into: output)
            pending = (pending.lowerBound + consumed)..<pending.upperBound
            if produced > 0 {
                try accept(UnsafeRawBufferPointer(rebasing: output[..<produced]))
                return true
            }
            if consumed > 0 { continue }
            if sourceEnded, pending.isEmpty {
                guard decompressor.isAtBoundary else {
                    throw RootFSError(.compression, "the \(layer.compression.rawValue) data is truncated")
                }
                return false
            }
            if !pending.isEmpty {
                throw RootFSError(.compression, "the \(layer.compression.rawValue) data is corrupt (no progress)")
            }
        }
    }

    private func accept(_ bytes: UnsafeRawBufferPointer) throws(RootFSError) {
        decompressedBytes += UInt64(bytes.count)
        try budget.spend(decompressedBytes: bytes.count)
        let ratio = max(1, budget.limits.inflationRatio)
        if decompressor != nil, decompressedBytes > Self.ratioMatters, decompressedBytes / ratio > compressedBytes {
            throw RootFSError(.limit, "the data inflates to more than \(ratio) times its size, which is the limit")
        }
        hash.update(bufferPointer: bytes)
        window = bytes
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
        let found = hash.finalize()
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
