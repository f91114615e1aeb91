/// The bytes of a layer as they are stored: compressed, in order.
///
/// Opened, read and let go on one thread, which need not be the one that converts.
package protocol LayerSource {
    /// Reads at least one byte into the buffer and returns how many; 0 only at the verified end.
    ///
    /// Blocks. A source that checks its blob's digest throws instead of returning 0 when the digest differs.
    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int

    /// Makes a read that is under way, and any later one, throw soon. It may be called from any thread, also when the
    /// source is gone. nil for a source that never waits for long.
    var cancellation: (@Sendable () -> Void)? { get }
}

extension LayerSource {
    package var cancellation: (@Sendable () -> Void)? { nil }
}

/// How a layer's tar archive is stored.
package enum Compression: String, Sendable {
    case none
    case gzip
    case zstd

    /// What the first bytes of a stream say; nil when they fit neither gzip (RFC 1952) nor zstd (RFC 8878).
    init?(firstBytes bytes: UnsafeRawBufferPointer) {
        if bytes.count >= 2, bytes[0] == 0x1F, bytes[1] == 0x8B {
            self = .gzip
            return
        }
        guard bytes.count >= 4 else { return nil }
        switch (bytes[0], bytes[1], bytes[2], bytes[3]) {
        case (0x28, 0xB5, 0x2F, 0xFD), (0x50...0x5F, 0x2A, 0x4D, 0x18):
            self = .zstd
        default:
            return nil
        }
    }
}

/// One layer of an image: what it is called, how it is stored, what it must decompress to.
package struct Layer: Sendable {
    /// Names the layer in messages: its digest.
    package var name: String
    /// What the media type says. Checked against the first bytes.
    package var compression: Compression
    /// SHA-256 of the decompressed archive, 32 bytes, as the image config names it; nil: not checked.
    package var diffID: [UInt8]?
    /// Opens the layer. Called once at most, and on a thread of the layer's own where layers are decoded ahead of their
    /// turn: perhaps while upper ones are still read, one of which may fail.
    package var open: @Sendable () throws -> any LayerSource

    package init(
        name: String, compression: Compression, diffID: [UInt8]?,
        open: @escaping @Sendable () throws -> any LayerSource
    ) {
        self.name = name
        self.compression = compression
        self.diffID = diffID
        self.open = open
    }
}
