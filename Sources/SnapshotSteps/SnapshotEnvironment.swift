package import HelperInterface
package import Logging
import OCI
package import Sandbox

/// What the snapshot workflow works with: everything that is not recorded in the run.
package struct SnapshotEnvironment: Sendable {
    package var state: StateDirectory
    package var owner: String
    package var catalog: Catalog
    /// Of the place that is worked at: this machine, until ``at(_:)`` says otherwise.
    package var provider: any SandboxProvider
    /// How the providers of other places are made.
    package var providers: ProviderOfPlace
    /// The helper that came with this program.
    package var helperPath: String
    /// The process's environment variables: proxies, docker's configuration.
    package var variables: [String: String]
    package var logger: Logger
    /// Called as the helper tells how far it is; must return at once.
    package var onProgress: @Sendable (PullProgress) -> Void
    /// Called at named points within steps, so that a test can die exactly there.
    package var probe: @Sendable (String) -> Void = { _ in }

    package init(
        state: StateDirectory, owner: String, catalog: Catalog, provider: any SandboxProvider, helperPath: String,
        variables: [String: String], logger: Logger, onProgress: @escaping @Sendable (PullProgress) -> Void = { _ in }
    ) {
        self.state = state
        self.owner = owner
        self.catalog = catalog
        self.provider = provider
        self.providers = { place in
            guard place == .local else { throw SnapshotError(.usage, "there is no provider for \(place) here") }
            return provider
        }
        self.helperPath = helperPath
        self.variables = variables
        self.logger = logger
        self.onProgress = onProgress
    }

    /// The same, with the provider of a place.
    func at(_ place: SandboxPlace) throws -> SnapshotEnvironment {
        var environment = self
        if place != .local { environment.provider = try providers(place) }
        return environment
    }

    /// Where an image's bytes come from, with the options and credentials of a request.
    func imageSources(for request: SnapshotRequest) throws -> ImageSources {
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(request.plainHTTPHosts)
        options.caFile = request.caFile
        options.proxyEnvironment = variables
        options.userAgent = Version.userAgent
        return ImageSources(options: options, credentials: credentialStore(for: request), logger: logger)
    }

    func credentialStore(for request: SnapshotRequest) -> any CredentialStore {
        request.credentialsFile.map { .file($0) } ?? .dockerConfig(environment: variables)
    }
}
