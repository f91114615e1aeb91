/// A media type of the OCI image specification or of Docker's image manifest, version 2, schema 2.
package struct MediaType: RawRepresentable, Hashable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    package init(from decoder: any Decoder) throws {
        rawValue = try decoder.singleValueContainer().decode(String.self)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    package var description: String { rawValue }

    package static let ociManifest = MediaType(rawValue: "application/vnd.oci.image.manifest.v1+json")
    package static let ociIndex = MediaType(rawValue: "application/vnd.oci.image.index.v1+json")
    package static let ociConfig = MediaType(rawValue: "application/vnd.oci.image.config.v1+json")
    package static let ociLayer = MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar")
    package static let ociLayerGzip = MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar+gzip")
    package static let ociLayerZstd = MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar+zstd")
    package static let dockerManifest = MediaType(rawValue: "application/vnd.docker.distribution.manifest.v2+json")
    package static let dockerIndex = MediaType(rawValue: "application/vnd.docker.distribution.manifest.list.v2+json")
    package static let dockerConfig = MediaType(rawValue: "application/vnd.docker.container.image.v1+json")
    package static let dockerLayer = MediaType(rawValue: "application/vnd.docker.image.rootfs.diff.tar")
    package static let dockerLayerGzip = MediaType(rawValue: "application/vnd.docker.image.rootfs.diff.tar.gzip")
    package static let dockerLayerZstd = MediaType(rawValue: "application/vnd.docker.image.rootfs.diff.tar.zstd")
    /// What a snapshot of ours is, as an artifact.
    package static let snapshot = MediaType(rawValue: "application/vnd.snapwf.rootfs.v1")
    package static let snapshotChunk = MediaType(rawValue: "application/vnd.snapwf.rootfs.ext4.chunk.v1+zstd")
    static let dockerSchema1 = MediaType(rawValue: "application/vnd.docker.distribution.manifest.v1+json")
    static let dockerSchema1Signed = MediaType(rawValue: "application/vnd.docker.distribution.manifest.v1+prettyjws")

    package var isManifest: Bool { self == .ociManifest || self == .dockerManifest }
    package var isIndex: Bool { self == .ociIndex || self == .dockerIndex }
    package var isImageConfig: Bool { self == .ociConfig || self == .dockerConfig }
    var isSchema1: Bool { self == .dockerSchema1 || self == .dockerSchema1Signed }

    /// A media type as an HTTP header gives it: parameters dropped, lower case, nil when empty.
    init?(header: String) {
        let essence = header.prefix { $0 != ";" }.trimmingBlanks()
        guard !essence.isEmpty else { return nil }
        rawValue = essence.lowercased()
    }
}

/// How a layer's tar archive is compressed.
package enum LayerCompression: String, Sendable, Hashable, Codable {
    case none
    case gzip
    case zstd

    /// The compression that a layer's media type states; nil for a type that is no layer of a container image.
    package init?(_ mediaType: MediaType) {
        switch mediaType {
        case .ociLayer, .dockerLayer: self = .none
        case .ociLayerGzip, .dockerLayerGzip: self = .gzip
        case .ociLayerZstd, .dockerLayerZstd: self = .zstd
        default: return nil
        }
    }

    /// The compression that the first bytes of a blob show (gzip RFC 1952, zstd RFC 8878 with its skippable frames);
    /// `none` for anything else. Four bytes suffice.
    package init(firstBytes: some Collection<UInt8>) {
        let head = Array(firstBytes.prefix(4))
        if head.starts(with: [0x1f, 0x8b]) {
            self = .gzip
        } else if head.count == 4, head == [0x28, 0xb5, 0x2f, 0xfd] {
            self = .zstd
        } else if head.count == 4, head[0] & 0xf0 == 0x50, head[1...] == [0x2a, 0x4d, 0x18] {
            self = .zstd
        } else {
            self = .none
        }
    }
}
