package import Logging

/// Gives the source for a reference, and owns the connections behind it.
///
/// Call ``shutdown()`` when no source of it is used any more.
package final class ImageSources: Sendable {
    private let transport: RegistryTransport
    /// Mirrors are a help: they are not waited for as long.
    private let mirrorTransport: RegistryTransport
    private let trust = MirrorTrust()
    private let credentials: any CredentialStore
    private let cache: BlobCache?
    private let temporaryDirectory: String
    private let logger: Logger

    /// - Parameters:
    ///   - cache: where layers of registries are kept; nil for nowhere.
    ///   - temporaryDirectory: where an archive on standard input is kept, in an unlinked file.
    package init(
        options: RegistryOptions = .init(), credentials: any CredentialStore = .none, cache: BlobCache? = nil,
        temporaryDirectory: String = "/tmp", logger: Logger
    ) {
        self.temporaryDirectory = temporaryDirectory
        self.credentials = credentials
        self.cache = cache
        self.logger = logger
        transport = RegistryTransport(options: options, logger: logger)
        var brief = options
        brief.retries.attempts = min(brief.retries.attempts, 2)
        mirrorTransport = RegistryTransport(options: brief, logger: logger)
    }

    /// The source for the repository, directory or archive that `reference` names. Nothing is contacted or read yet.
    package func source(for reference: ImageReference) -> any ImageSource {
        let limits = transport.options.documents
        switch reference.transport {
        case .layout(let directory, _, _):
            return LayoutSource(directory: directory, limits: limits, logger: logger)
        case .archive(let format, let file, _, _):
            return ArchiveSource(.file(file, format), limits: limits, logger: logger)
        case .standardInput:
            return ArchiveSource(
                .standardInput(StandardInput(directory: temporaryDirectory)), limits: limits, logger: logger)
        case .registry(let host, let repository, _, _):
            let mirrors = transport.options.mirrors.filter { $0.origin == host }
            return RegistrySource(
                mirrors: mirrors.map {
                    self.repository($0.prefix + repository, host: $0.host, transport: mirrorTransport)
                },
                origin: self.repository(repository, host: host, transport: transport),
                trust: trust, cache: cache, logger: logger)
        }
    }

    /// With the credentials of its own host, whomever it stands in for.
    private func repository(
        _ name: String, host: String, access: RepositoryAccess = .pull, transport: RegistryTransport
    ) -> RegistryRepository {
        RegistryRepository(
            host: host, repository: name, transport: transport,
            authorizer: RegistryAuthorizer(
                host: host, repository: name, access: access, transport: transport, store: credentials,
                logger: logger),
            logger: logger)
    }

    /// The documents of a repository as they are, for what is no container image; nothing is contacted yet.
    ///
    /// - Throws: `invalidReference` for what is in no registry.
    package func contents(for reference: ImageReference) throws(OCIError) -> RegistryContents {
        RegistryContents(repository: try repository(of: reference, access: .pull))
    }

    /// Where to push; nothing is contacted yet.
    ///
    /// - Throws: `invalidReference` for what is in no registry.
    package func destination(for reference: ImageReference) throws(OCIError) -> RegistryDestination {
        RegistryDestination(repository: try repository(of: reference, access: .push))
    }

    private func repository(
        of reference: ImageReference, access: RepositoryAccess
    ) throws(OCIError) -> RegistryRepository {
        guard case .registry(let host, let name, _, _) = reference.transport else {
            throw OCIError(
                .invalidReference,
                "\(printable(reference.description)) is in no registry: write it as registry.example/acme/app:1.2")
        }
        return repository(name, host: host, access: access, transport: transport)
    }

    /// After a failure that wrong bytes can have caused, and with no reader open: removes what is damaged from the
    /// cache, and asks no mirror for layers any more when one may have been the reason. Blocking.
    ///
    /// - Returns: whether another try has other bytes to work with.
    package func setAsideDoubtful() -> Bool {
        let hasRemoved = cache?.removeDamaged() ?? false
        return trust.lose() || hasRemoved
    }

    /// Closes all connections; transfers that still run fail. May be called twice.
    package func shutdown() async {
        await transport.shutdown()
        await mirrorTransport.shutdown()
    }
}
