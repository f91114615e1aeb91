import HelperInterface
import OCI

/// What a reference meant when the run began: pinned for the run's whole life.
struct Resolution: Codable, Sendable {
    /// The image by digest.
    var image: String
    var manifestDigest: String
    var platform: String
    var key: String
    /// Bytes of the compressed layers.
    var layerBytes: UInt64
    /// The snapshot, when the catalog had it already: nothing is left to do.
    var cached: RegisteredSnapshot?
    /// Of a snapshot that is here: whether other machines can fetch it, as far as was known.
    var isShared: Bool?
}

/// Reference → digest, platform, snapshot key. Only reads, so it may be repeated.
struct ResolveStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest

    func run() async throws -> Resolution {
        try await translatingErrors {
            let reference = try ImageReference(parsing: request.image)
            let sources = try environment.imageSources(for: request)
            do {
                let resolution = try await resolve(reference, from: sources)
                await sources.shutdown()
                return resolution
            } catch {
                await sources.shutdown()
                throw error
            }
        }
    }

    private func resolve(_ reference: ImageReference, from sources: ImageSources) async throws -> Resolution {
        let platform = try Platform(parsing: request.platform)
        let image = try await sources.source(for: reference).resolve(reference, platform: platform)
        let key = SnapshotKey(
            manifestDigest: image.manifestDigest.description, platform: image.platform.description, size: request.size,
            verity: request.verity, sourceDateEpoch: request.sourceDateEpoch)
        let asksCatalog = !request.ignoresCatalog && [nil, .catalog].contains(request.register)
        let cached = !asksCatalog ? nil : try await environment.catalog.snapshot(forKey: key.hex)
        var isShared: Bool?
        if cached != nil, let shared = environment.shared {
            let places = try await shared.snapshot(forKey: key.hex)?.places ?? []
            isShared = places.contains { request.isSharing($0.reference) }
        }
        return Resolution(
            image: image.reference.description, manifestDigest: image.manifestDigest.description,
            platform: image.platform.description, key: key.hex,
            layerBytes: image.layers.reduce(0) { $0 &+ UInt64(clamping: $1.descriptor.size) },
            cached: cached.map { RegisteredSnapshot($0, warnings: []) }, isShared: isShared)
    }
}
