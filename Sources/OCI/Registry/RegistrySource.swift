internal import Logging

/// Images in one repository of a registry.
struct RegistrySource: ImageSource {
    private let repository: RegistryRepository
    private let logger: Logger

    init(
        host: String, repository: String, transport: RegistryTransport, credentials: any CredentialStore,
        logger: Logger
    ) {
        self.logger = logger
        self.repository = RegistryRepository(
            host: host, repository: repository, transport: transport,
            authorizer: RegistryAuthorizer(
                host: host, repository: repository, transport: transport, store: credentials, logger: logger),
            logger: logger)
    }

    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage {
        guard case .registry(let host, let name, let tag, let digest) = reference.transport,
            host == repository.host, name == repository.repository
        else {
            throw OCIError(.invalidReference, "\(reference) is not in the repository \(repository.name)")
        }
        let documents = RegistryDocuments(repository: repository)
        let selector: RegistryDocuments.Selector = digest.map { .digest($0) } ?? .tag(tag ?? "latest")
        let document = try await documents.manifest(selector)
        return try await ImageResolution(reference: reference, platform: platform, store: documents, logger: logger)
            .resolve(document)
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        RegistryBlobReader(layer, repository: repository)
    }
}
