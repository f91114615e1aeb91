/// What an image may ask of a conversion. Each is a refusal with a clear error, never a slow death.
///
/// The defaults are far above the largest images in use and far below what harms a machine.
package struct Limits: Sendable {
    /// Names a limit to whoever can raise it.
    package enum Name: Sendable, Hashable, CaseIterable {
        case decompressedBytes
        case layers
        case entries
        case metadataBytes
        case depth
        case extensionBytes
        case sparseSegments
        case inflationRatio
        case hiddenBytes
    }

    /// Bytes of all decompressed layers together.
    package var decompressedBytes: UInt64 = 1 << 40
    /// Layers of an image; overlayfs takes no more than 500 either.
    package var layers: Int = 500
    /// Paths of all layers together, counting directories that are only implied.
    package var entries: Int = 4_000_000
    /// Bytes of names, link targets and extended attributes of all layers together: what is held in memory.
    package var metadataBytes: Int = 512 << 20
    /// Components of one path.
    package var depth: Int = 1024
    /// Bytes of one extension header (PAX records, GNU long names).
    package var extensionBytes: Int = 1 << 20
    /// Data segments of one sparse file.
    package var sparseSegments: Int = 1_000_000
    /// Decompressed bytes for each compressed byte of a layer. Deflate cannot pass 1032; zstd can.
    package var inflationRatio: UInt64 = 2_000
    /// Payloads of hidden files that wait for a hard link of their own layer, for one layer, in a temporary file.
    package var hiddenBytes: UInt64 = 64 << 30

    package init() {}
}

/// What has been spent of the limits that count over all layers.
final class Budget {
    let limits: Limits
    private var decompressedBytes: UInt64 = 0
    private var entries = 0
    private var metadataBytes = 0

    init(_ limits: Limits) {
        // Paths are numbered in 31 bits and their names placed in 32.
        var limits = limits
        limits.entries = min(limits.entries, Int(Int32.max) - 1)
        limits.metadataBytes = min(limits.metadataBytes, Int(UInt32.max))
        self.limits = limits
    }

    func spend(decompressedBytes count: Int) throws(RootFSError) {
        decompressedBytes += UInt64(count)
        guard decompressedBytes <= limits.decompressedBytes else {
            throw RootFSError(
                exceeding: .decompressedBytes,
                "the layers decompress to more than \(limits.decompressedBytes) bytes, the limit for an image")
        }
    }

    /// Counts a path that is held in memory from now on, with `bytes` of names and attributes.
    func spend(entries count: Int = 1, metadataBytes bytes: Int) throws(RootFSError) {
        entries += count
        metadataBytes += bytes
        guard entries <= limits.entries else {
            throw RootFSError(
                exceeding: .entries, "the layers name more than \(limits.entries) paths, the limit for an image")
        }
        guard metadataBytes <= limits.metadataBytes else {
            throw RootFSError(
                exceeding: .metadataBytes,
                "names and attributes take more than \(limits.metadataBytes) bytes, the limit for an image")
        }
    }
}
