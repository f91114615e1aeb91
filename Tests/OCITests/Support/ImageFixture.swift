import Files
import Foundation

@testable import OCI

/// The blobs of an image made on the spot. Layers are arbitrary bytes: nothing here unpacks them.
struct ImageFixture: Sendable {
    private(set) var blobs: [Digest: [UInt8]] = [:]
    let manifest: Descriptor
    let config: Descriptor
    let layers: [Descriptor]
    let diffIDs: [Digest]

    var manifestBytes: [UInt8] { blobs[manifest.digest] ?? [] }

    struct Options {
        var platform: Platform? = Platform(os: "linux", architecture: "amd64")
        /// What the index says, where it differs from the config.
        var announced: Platform?
        var layerTypes: [MediaType] = []
        var manifestType = MediaType.ociManifest
        var configType = MediaType.ociConfig
        var created: String? = "2024-05-22T18:18:12.052034407Z"
        var annotations: [String: String]?
        var diffIDCount: Int?
        /// What the config says that the layers unpack to; made up when nil.
        var diffIDs: [Digest]?
    }

    init(layers contents: [[UInt8]], _ options: Options = Options()) throws {
        layers = contents.enumerated().map { index, bytes in
            Descriptor(
                mediaType: index < options.layerTypes.count ? options.layerTypes[index] : .ociLayerGzip,
                digest: .sha256(of: bytes), size: Int64(bytes.count))
        }
        diffIDs = options.diffIDs ?? contents.map { .sha256(of: Array("uncompressed".utf8) + $0.prefix(16)) }
        let named = diffIDs + Array(repeating: .sha256(of: [1]), count: 10)
        var document: [String: Any] = [
            "config": ["Env": ["PATH=/bin"]],
            "rootfs": [
                "type": "layers",
                "diff_ids": named.prefix(options.diffIDCount ?? diffIDs.count).map(\.description),
            ],
        ]
        if let created = options.created { document["created"] = created }
        if let platform = options.platform {
            document["os"] = platform.os
            document["architecture"] = platform.architecture
            if let variant = platform.variant { document["variant"] = variant }
        }
        let configBytes = try json(document)
        config = Descriptor(
            mediaType: options.configType, digest: .sha256(of: configBytes), size: Int64(configBytes.count))
        let manifestBytes = try json([
            "schemaVersion": 2, "mediaType": options.manifestType.rawValue, "config": try object(config),
            "layers": try layers.map(object),
        ])
        manifest = Descriptor(
            mediaType: options.manifestType, digest: .sha256(of: manifestBytes), size: Int64(manifestBytes.count),
            platform: options.announced ?? options.platform, annotations: options.annotations)
        for bytes in contents + [configBytes, manifestBytes] { blobs[.sha256(of: bytes)] = bytes }
    }

    /// An index over descriptors, as bytes.
    static func index(_ entries: [Descriptor], type: MediaType = .ociIndex) throws -> [UInt8] {
        try json(["schemaVersion": 2, "mediaType": type.rawValue, "manifests": try entries.map(object)])
    }
}

func json(_ value: Any) throws -> [UInt8] {
    [UInt8](try JSONSerialization.data(withJSONObject: value, options: [.sortedKeys]))
}

func object(_ descriptor: Descriptor) throws -> Any {
    try JSONSerialization.jsonObject(with: JSONEncoder().encode(descriptor))
}

/// Bytes that no compressor makes smaller, the same for the same seed.
func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        withUnsafeBytes(of: state) { bytes.append(contentsOf: $0) }
    }
    return Array(bytes.prefix(count))
}

/// Writes an OCI image layout.
struct LayoutWriter {
    let directory: String

    init(_ directory: String) throws {
        self.directory = directory
        try FileManager.default.createDirectory(
            atPath: "\(directory)/blobs/sha256", withIntermediateDirectories: true)
        try write(Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), "oci-layout")
    }

    func write(_ bytes: [UInt8], _ name: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
    }

    func add(_ image: ImageFixture) throws {
        for (digest, bytes) in image.blobs { try write(bytes, "blobs/sha256/\(digest.hex)") }
    }

    func add(blob bytes: [UInt8], type: MediaType) throws -> Descriptor {
        let digest = Digest.sha256(of: bytes)
        try write(bytes, "blobs/sha256/\(digest.hex)")
        return Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count))
    }

    func writeIndex(_ entries: [Descriptor]) throws {
        try write(try ImageFixture.index(entries), "index.json")
    }
}

extension Descriptor {
    func tagged(_ tag: String) -> Descriptor {
        var copy = self
        copy.annotations = ["org.opencontainers.image.ref.name": tag]
        return copy
    }
}

/// Reads a blob to its end on a thread of its own, in pieces of `piece` bytes.
func readAll(_ reader: any BlobReader, piece: Int = 100_000) async throws(OCIError) -> [UInt8] {
    try await onOwnThread { () throws(OCIError) -> [UInt8] in
        defer { reader.close() }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: piece, alignment: 16)
        defer { buffer.deallocate() }
        var bytes: [UInt8] = []
        while true {
            let count = try reader.read(into: buffer)
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }
}

/// The error that `body` throws; nil when it does not.
func failure<Value>(_ body: () async throws -> Value) async -> OCIError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? OCIError
    }
}
