import FoundationEssentials
package import OCI

/// A snapshot in a registry, whose documents were read and checked.
package struct FoundArtifact: Sendable {
    /// The reference asked for, pinned to the manifest.
    package let reference: ImageReference
    package let manifestDigest: Digest
    package let manifest: ArtifactManifest
}

extension ArtifactIndex {
    /// nil for what is no index.
    init?(_ document: RegistryContents.Document) {
        guard document.descriptor.mediaType.isIndex,
            let index = try? JSONDecoder().decode(ArtifactIndex.self, from: Data(document.bytes))
        else { return nil }
        self = index
    }

    /// The snapshot for a platform.
    func choose(_ platform: Platform, name: String) throws(ArtifactError) -> Descriptor {
        let snapshots = manifests.filter { $0.artifactType == ArtifactFormat.artifactType }
        if snapshots.isEmpty, manifests.contains(where: { $0.artifactType == nil && !$0.isAttestation }) {
            // Tools from before OCI 1.1 drop the type from an index; then the manifest tells.
            if manifests.count == 1, let only = manifests.first { return only }
            throw .noSnapshot(name, artifactType: nil, config: .ociConfig)
        }
        let ranked = snapshots.compactMap { entry in
            entry.platform.flatMap { platform.distance(toOffer: $0) }.map { ($0, entry) }
        }
        if let best = ranked.min(by: { $0.0 < $1.0 }) { return best.1 }
        let offered = snapshots.prefix(40).compactMap { $0.platform.map { shown("\($0)") } }
        throw ArtifactError(
            .noMatchingPlatform,
            "\(name) has no snapshot for \(platform); it has: \(offered.joined(separator: ", ")). "
                + "Ask for one of them with --platform")
    }
}

/// Finds the snapshot that a reference names, for a platform where there are several.
package func findArtifact(
    _ reference: ImageReference, platform: Platform, in sources: ImageSources
) async throws -> FoundArtifact {
    let contents = try sources.contents(for: reference)
    let name = "\(reference)"
    var document = try await contents.document(reference)
    if document.descriptor.mediaType.isIndex {
        guard let index = ArtifactIndex(document) else {
            throw ArtifactError(.invalidArtifact, "the index of \(name) cannot be read")
        }
        document = try await contents.document(index.choose(platform, name: name))
    }
    let fields = try ArtifactManifest.document(document.bytes, name: name)
    let config = try await contents.config(fields.config)
    let pinned = reference.pinned(to: document.descriptor.digest)
    return FoundArtifact(
        reference: pinned, manifestDigest: document.descriptor.digest,
        manifest: try ArtifactManifest(fields, config: config, reference: "\(pinned)", name: name))
}

/// The same over connections of its own.
package func findArtifact(
    _ reference: ImageReference, platform: Platform, connect: () throws -> ImageSources
) async throws -> FoundArtifact {
    let sources = try connect()
    return try await ending(sources) { try await findArtifact(reference, platform: platform, in: sources) }
}

/// Shuts connections down when `body` is over, however it ends.
func ending<Value: Sendable>(_ sources: ImageSources, _ body: () async throws -> Value) async throws -> Value {
    do {
        let value = try await body()
        await sources.shutdown()
        return value
    } catch {
        await sources.shutdown()
        throw error
    }
}
