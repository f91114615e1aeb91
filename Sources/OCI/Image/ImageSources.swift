package import Logging

/// Gives the source for a reference, and owns the connections behind it.
///
/// Call ``shutdown()`` when no source of it is used any more.
package final class ImageSources: Sendable {
    private let transport: RegistryTransport
    private let credentials: any CredentialStore
    private let logger: Logger

    package init(options: RegistryOptions = .init(), credentials: any CredentialStore = .none, logger: Logger) {
        self.credentials = credentials
        self.logger = logger
        self.transport = RegistryTransport(options: options, logger: logger)
    }

    /// The source for the repository or directory that `reference` names. Nothing is contacted or read yet.
    package func source(for reference: ImageReference) -> any ImageSource {
        switch reference.transport {
        case .layout(let directory, _, _):
            return LayoutSource(directory: directory, logger: logger)
        case .registry(let host, let repository, _, _):
            return RegistrySource(
                host: host, repository: repository, transport: transport, credentials: credentials,
                logger: logger)
        }
    }

    /// Closes all connections; transfers that still run fail. May be called twice.
    package func shutdown() async {
        await transport.shutdown()
    }
}
