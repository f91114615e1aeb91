package import HelperInterface
package import Logging
import OCI
package import Sandbox

/// What the snapshot workflow works with: everything that is not recorded in the run.
package struct SnapshotEnvironment: Sendable {
    package var state: StateDirectory
    package var owner: String
    package var catalog: Catalog
    package var provider: any SandboxProvider
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
        self.helperPath = helperPath
        self.variables = variables
        self.logger = logger
        self.onProgress = onProgress
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
