import FoundationEssentials
package import HelperInterface
package import OCI

/// The manifest of a snapshot, as it is pushed and as it was read.
///
/// The same image gives the same bytes, so that a repeated push finds what it made.
package struct ArtifactManifest: Sendable {
    /// What `snapshot pull` said of the image; its `output` means nothing here.
    package let image: PullResult
    /// By offset, without overlaps.
    package let chunks: [Chunk]

    package init(image: PullResult, chunks: [Chunk]) {
        self.image = image
        self.chunks = chunks
    }

    package var config: Descriptor {
        let bytes = Array(image.config.utf8)
        return Descriptor(mediaType: .ociConfig, digest: .sha256(of: bytes), size: Int64(bytes.count))
    }

    struct Document: Codable {
        var schemaVersion: Int
        var mediaType: MediaType?
        var artifactType: String?
        var config: Descriptor
        var layers: [Descriptor]
        var subject: Descriptor?
        var annotations: [String: String]?
    }

    /// The document, and what points to it.
    package func encoded() throws -> (descriptor: Descriptor, bytes: [UInt8]) {
        let document = Document(
            schemaVersion: 2, mediaType: .ociManifest, artifactType: ArtifactFormat.artifactType, config: config,
            layers: chunks.map(\.descriptor), subject: try subject(), annotations: annotations())
        let bytes = try encodeDocument(document)
        guard bytes.count <= ArtifactFormat.largestManifest else {
            throw ArtifactError(
                .tooLarge,
                "the image has \(chunks.count) chunks with data; a manifest that names so many is larger than the "
                    + "\(byteCountText(UInt64(ArtifactFormat.largestManifest))) that registries take")
        }
        let descriptor = Descriptor(
            mediaType: .ociManifest, digest: .sha256(of: bytes), size: Int64(bytes.count),
            platform: try Platform(parsing: image.platform), artifactType: ArtifactFormat.artifactType)
        return (descriptor, bytes)
    }

    /// The manifest of the image that the snapshot was made of.
    private func subject() throws -> Descriptor? {
        guard let type = image.manifestType, let size = image.manifestSize, size >= 0 else { return nil }
        return Descriptor(
            mediaType: MediaType(rawValue: type), digest: try Digest(parsing: image.manifestDigest), size: size)
    }

    private func annotations() -> [String: String] {
        typealias Name = ArtifactFormat.Annotation
        var all = [
            Name.size: "\(image.size)", Name.sha256: image.sha256, Name.uuid: image.uuid, Name.key: image.key,
            Name.platform: image.platform, Name.entries: "\(image.entries)", Name.layerBytes: "\(image.layerBytes)",
            Name.baseDigest: image.manifestDigest,
        ]
        all[Name.baseName] = Self.publicName(image)
        all[Name.sourceDateEpoch] = image.sourceDateEpoch.map { "\($0)" }
        if let verity = image.verity {
            all[Name.verityRootHash] = verity.rootHash
            all[Name.veritySalt] = verity.salt
            all[Name.verityUUID] = verity.uuid
            all[Name.verityDataBlocks] = "\(verity.dataBlocks)"
            all[Name.verityHashOffset] = "\(verity.hashOffset)"
        }
        return all
    }

    /// A path of this machine is nobody's business elsewhere: only a registry's name, without the digest; and not that of
    /// the artifact which a snapshot came in, where its image's name was not told.
    private static func publicName(_ image: PullResult) -> String? {
        guard let reference = try? ImageReference(parsing: image.image), reference.registryHost != nil,
            reference.digest?.description == image.manifestDigest
        else { return nil }
        return reference.description.split(separator: "@").first.map(String.init)
    }
}

/// The index over the snapshots of one tag: one manifest a platform.
struct ArtifactIndex: Codable {
    var schemaVersion = 2
    var mediaType: MediaType? = .ociIndex
    var manifests: [Descriptor]

    init(manifests: [Descriptor]) {
        self.manifests = manifests
    }

    func encoded() throws -> (descriptor: Descriptor, bytes: [UInt8]) {
        let bytes = try encodeDocument(self)
        return (Descriptor(mediaType: .ociIndex, digest: .sha256(of: bytes), size: Int64(bytes.count)), bytes)
    }

    /// This one's snapshot in place of that for its platform; those for others stay.
    func replacing(with manifest: Descriptor) -> ArtifactIndex {
        var kept = manifests.filter { $0.platform != manifest.platform && $0.digest != manifest.digest }
        kept.append(manifest)
        return ArtifactIndex(
            manifests: kept.sorted { "\($0.platform?.description ?? "")" < "\($1.platform?.description ?? "")" })
    }

    var holdsSnapshotsOnly: Bool {
        !manifests.isEmpty
            && manifests.allSatisfy { $0.artifactType == ArtifactFormat.artifactType && $0.platform != nil }
    }
}

func encodeDocument(_ document: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(document))
}
