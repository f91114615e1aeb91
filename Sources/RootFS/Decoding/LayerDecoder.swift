/// Decompresses one layer, on whichever thread.
final class LayerDecoder {
    private let compression: Compression
    private let input: any LayerInput
    private let decompressor: any Decompressor
    /// What of the last input is still to be decoded.
    private var pending = UnsafeRawBufferPointer(start: nil, count: 0)
    private var inputEnded = false
    /// What failed after bytes that had to be given out first.
    private var failure: RootFSError?
    /// Bytes that were read of the layer.
    private(set) var compressedBytes: UInt64 = 0

    /// Opens the layer and checks what its media type says against its first bytes.
    init(
        _ layer: Layer, execution: Execution, cancellation: Cancellation = Cancellation()
    ) throws(RootFSError) {
        compression = layer.compression
        let ahead = execution.readsAhead ? ReadAhead(layer, cancellation) : nil
        input = if let ahead { ahead } else { try DirectInput(layer, cancellation) }
        switch (layer.compression, execution.gzip) {
        case (.none, _): decompressor = PlainCopy()
        case (.gzip, .isal): decompressor = try ISALDecompressor()
        case (.gzip, .zlib): decompressor = try ZlibDecompressor()
        case (.zstd, _): decompressor = try ZstdDecompressor()
        }
        try readMore()
        try checkFirstBytes()
    }

    private func checkFirstBytes() throws(RootFSError) {
        let found = Compression(firstBytes: pending)
        guard (found ?? .none) == compression else {
            let seen =
                switch found {
                case .some(let compression): "is \(compression.rawValue)"
                case nil where pending.isEmpty: "is empty"
                case nil: "is neither gzip nor zstd"
                }
            let said = compression == .none ? "a plain tar archive" : compression.rawValue
            throw RootFSError(.compression, "the media type says \(said), but the data \(seen) by its first bytes")
        }
    }

    /// Replaces what is pending, all of which was decoded.
    private func readMore() throws(RootFSError) {
        guard let bytes = try input.next() else {
            pending = UnsafeRawBufferPointer(start: nil, count: 0)
            inputEnded = true
            return
        }
        compressedBytes += UInt64(bytes.count)
        pending = bytes
    }

    /// Decodes at least one byte into the buffer and returns how many; 0 only at the end of the layer. Goes on until the
    /// buffer is full, or until more of the layer would have to be waited for.
    func decode(into buffer: UnsafeMutableRawBufferPointer) throws(RootFSError) -> Int {
        if let failure { throw failure }
        var filled = 0
        while filled < buffer.count, filled == 0 || !pending.isEmpty || input.isNextHere {
            do throws(RootFSError) {
                let count = try decodePart(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
                if count == 0 { break }
                filled += count
            } catch {
                // What comes before an error comes first, however the input was cut into pieces.
                failure = error
                if filled == 0 { throw error }
                break
            }
        }
        return filled
    }

    /// Decodes at least one byte; returns 0 only at the end of the layer.
    private func decodePart(into buffer: UnsafeMutableRawBufferPointer) throws(RootFSError) -> Int {
        while true {
            if pending.isEmpty, !inputEnded { try readMore() }
            let (consumed, produced) = try decompressor.decode(pending, into: buffer)
            pending = UnsafeRawBufferPointer(rebasing: pending[consumed...])
            if produced > 0 { return produced }
            if consumed > 0 { continue }
            if inputEnded, pending.isEmpty {
                guard decompressor.isAtBoundary else {
                    throw RootFSError(.compression, "the \(compression.rawValue) data is truncated")
                }
                return 0
            }
            if !pending.isEmpty {
                throw RootFSError(.compression, "the \(compression.rawValue) data is corrupt (no progress)")
            }
        }
    }
}
