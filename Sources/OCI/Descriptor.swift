/// A typed, sized, content-addressed pointer (OCI image specification, "Descriptor").
package struct Descriptor: Hashable, Sendable, Codable {
    package var mediaType: MediaType
    package var digest: Digest
    /// In bytes; never negative.
    package var size: Int64
    package var platform: Platform?
    package var annotations: [String: String]?
    package var artifactType: String?

    package init(
        mediaType: MediaType, digest: Digest, size: Int64, platform: Platform? = nil,
        annotations: [String: String]? = nil, artifactType: String? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.platform = platform
        self.annotations = annotations
        self.artifactType = artifactType
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        mediaType = try container.decode(MediaType.self, forKey: .mediaType)
        digest = try container.decode(Digest.self, forKey: .digest)
        size = try container.decode(Int64.self, forKey: .size)
        platform = try container.decodeIfPresent(Platform.self, forKey: .platform)
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations)
        artifactType = try container.decodeIfPresent(String.self, forKey: .artifactType)
        guard size >= 0 else {
            throw DecodingError.dataCorruptedError(
                forKey: .size, in: container, debugDescription: "the size \(size) is negative")
        }
    }

    /// BuildKit hangs attestations into an index as manifests for the platform unknown/unknown; they are no images.
    package var isAttestation: Bool {
        if annotations?["vnd.docker.reference.type"] == "attestation-manifest" { return true }
        return platform?.os == "unknown" && platform?.architecture == "unknown"
    }
}
