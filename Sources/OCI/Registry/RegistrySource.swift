internal import Logging

/// Images in one repository of a registry, or in that of a mirror.
struct RegistrySource: ImageSource {
    /// Asked before the registry itself, in order.
    let mirrors: [RegistryRepository]
    let origin: RegistryRepository
    let trust: MirrorTrust
    let cache: BlobCache?
    let logger: Logger

    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage {
        guard case .registry(let host, let name, let tag, let digest) = reference.transport,
            host == origin.host, name == origin.repository
        else {
            throw OCIError(.invalidReference, "\(reference) is not in the repository \(origin.name)")
        }
        let selector: RegistryDocuments.Selector = digest.map { .digest($0) } ?? .tag(tag ?? "latest")
        for mirror in mirrors {
            do throws(OCIError) {
                return try await resolve(reference, selector, platform: platform, at: mirror)
            } catch {
                if error.code == .cancelled { throw error }
                trust.passOver(mirror)
                logger.warning(
                    "a mirror does not give an image; the next registry is asked",
                    metadata: ["mirror": "\(mirror.name)", "image": "\(reference)", "why": "\(error.message)"])
            }
        }
        return try await resolve(reference, selector, platform: platform, at: origin)
    }

    private func resolve(
        _ reference: ImageReference, _ selector: RegistryDocuments.Selector, platform: Platform,
        at repository: RegistryRepository
    ) async throws(OCIError) -> ResolvedImage {
        let documents = RegistryDocuments(repository: repository)
        let document = try await documents.manifest(selector)
        return try await ImageResolution(reference: reference, platform: platform, store: documents, logger: logger)
            .resolve(document)
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        guard let cache else { return transfer(layer, continuing: nil) }
        return try CachingBlobReader(layer, cache: cache) { transfer(layer, continuing: $0) }
    }

    private func transfer(_ layer: Descriptor, continuing verifier: BlobVerifier?) -> any BlobReader {
        guard !mirrors.isEmpty else {
            return RegistryBlobReader(layer, repository: origin, continuing: verifier)
        }
        return MirroredBlobReader(
            layer, mirrors: mirrors, origin: origin, trust: trust, continuing: verifier, logger: logger)
    }
}
