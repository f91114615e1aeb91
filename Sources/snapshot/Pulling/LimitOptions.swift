import ArgumentParser
import HelperInterface
import OCI
import RootFS

private let usual = Limits()
private let usualDocuments = DocumentLimits()

/// What an image may ask of a conversion: one flag for each limit.
struct LimitOptions: ParsableArguments {
    @Option(
        name: .customLong("limit-bytes"),
        help: help("All layers together, decompressed.", bytes: usual.decompressedBytes))
    var bytes: ByteCount?

    @Option(name: .customLong("limit-layers"), help: help("Layers of the image.", count: usual.layers))
    var layers: Int?

    @Option(name: .customLong("limit-entries"), help: help("Paths of all layers together.", count: usual.entries))
    var entries: Int?

    @Option(
        name: .customLong("limit-metadata"),
        help: help("Names and attributes of all layers together, held in memory.", bytes: UInt64(usual.metadataBytes)))
    var metadata: ByteCount?

    @Option(name: .customLong("limit-depth"), help: help("Names in one path.", count: usual.depth))
    var depth: Int?

    @Option(
        name: .customLong("limit-header"),
        help: help("One extension header of a layer's archive.", bytes: UInt64(usual.extensionBytes)))
    var header: ByteCount?

    @Option(
        name: .customLong("limit-sparse-segments"),
        help: help("Stretches of data in one sparse file.", count: usual.sparseSegments))
    var sparseSegments: Int?

    @Option(
        name: .customLong("limit-inflation"),
        help: help("Decompressed bytes for each compressed byte of a layer.", count: Int(usual.inflationRatio)))
    var inflation: Int?

    @Option(
        name: .customLong("limit-hidden"),
        help: help("Replaced files of one layer that are kept aside on disk.", bytes: usual.hiddenBytes))
    var hidden: ByteCount?

    @Option(
        name: .customLong("limit-manifest"),
        help: help("A manifest or an index.", bytes: UInt64(usualDocuments.manifestBytes)))
    var manifest: ByteCount?

    @Option(
        name: .customLong("limit-config"),
        help: help("The image's configuration.", bytes: UInt64(usualDocuments.configBytes)))
    var config: ByteCount?

    mutating func validate() throws {
        let counts: [(Limits.Name, Int?, Int)] = [
            (.layers, layers, 1 << 20), (.entries, entries, Int(Int32.max) - 1), (.depth, depth, 4096),
            (.sparseSegments, sparseSegments, 1 << 30), (.inflationRatio, inflation, 1 << 40),
        ]
        for (name, value, most) in counts {
            guard let value, !(1...most).contains(value) else { continue }
            throw ValidationError("\(name.flag) \(value) must be from 1 to \(most)")
        }
        let sizes: [(String, ByteCount?, UInt64)] = [
            (Limits.Name.metadataBytes.flag, metadata, UInt64(UInt32.max)),
            (Limits.Name.extensionBytes.flag, header, 1 << 30),
            (DocumentLimits.Name.manifestBytes.flag, manifest, 1 << 30),
            (DocumentLimits.Name.configBytes.flag, config, 1 << 30),
        ]
        for (flag, value, most) in sizes {
            guard let value, value.bytes > most else { continue }
            throw ValidationError("\(flag) must be at most \(byteCountText(most)): it is held in memory")
        }
    }

    var limits: Limits {
        var limits = Limits()
        if let bytes { limits.decompressedBytes = bytes.bytes }
        if let layers { limits.layers = layers }
        if let entries { limits.entries = entries }
        if let metadata { limits.metadataBytes = Int(metadata.bytes) }
        if let depth { limits.depth = depth }
        if let header { limits.extensionBytes = Int(header.bytes) }
        if let sparseSegments { limits.sparseSegments = sparseSegments }
        if let inflation { limits.inflationRatio = UInt64(inflation) }
        if let hidden { limits.hiddenBytes = hidden.bytes }
        return limits
    }

    var documents: DocumentLimits {
        var documents = DocumentLimits()
        if let manifest { documents.manifestBytes = Int(manifest.bytes) }
        if let config { documents.configBytes = Int(config.bytes) }
        return documents
    }
}

private func help(_ what: String, bytes: UInt64) -> ArgumentHelp {
    ArgumentHelp("\(what) Default: \(byteCountText(bytes)).", valueName: "size")
}

private func help(_ what: String, count: Int) -> ArgumentHelp {
    ArgumentHelp("\(what) Default: \(count).", valueName: "count")
}

extension Limits.Name {
    /// The flag that raises the limit.
    var flag: String {
        switch self {
        case .decompressedBytes: "--limit-bytes"
        case .layers: "--limit-layers"
        case .entries: "--limit-entries"
        case .metadataBytes: "--limit-metadata"
        case .depth: "--limit-depth"
        case .extensionBytes: "--limit-header"
        case .sparseSegments: "--limit-sparse-segments"
        case .inflationRatio: "--limit-inflation"
        case .hiddenBytes: "--limit-hidden"
        }
    }
}

extension DocumentLimits.Name {
    /// The flag that raises the limit.
    var flag: String {
        switch self {
        case .manifestBytes: "--limit-manifest"
        case .configBytes: "--limit-config"
        }
    }
}
