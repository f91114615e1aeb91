package import HelperInterface
package import Logging
import OCI
package import Sandbox

/// What the snapshot workflow works with: everything that is not recorded in the run.
package struct SnapshotEnvironment: Sendable {
    package var state: StateDirectory
    package var owner: String
    package var catalog: Catalog
    /// What installations know of each other's snapshots, where they share a store.
    package var shared: SharedCatalog?
    /// Where runs push for other machines that were asked for where nobody said where: a registry's repository without a
    /// tag.
    package var sharesTo: String?
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
    /// When durable commands are asked about; nil for what suits the provider.
    package var pacing: CommandPacing?
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

    /// A request with what this machine's settings say where neither the request nor the settings of its author do.
    func completed(_ request: SnapshotRequest) -> SnapshotRequest {
        guard shared != nil, request.push == nil, request.sharesTo == nil, [nil, .catalog].contains(request.register)
        else { return request }
        var request = request
        request.sharesTo = sharesTo
        return request
    }

    /// The long commands of a sandbox.
    func commands(in sandbox: SandboxHandle) -> DurableCommandRunner {
        DurableCommandRunner(provider: provider, sandbox: sandbox.id, pacing: pacing, logger: logger)
    }

    /// Where an image's bytes come from, with the options and credentials of a request.
    func imageSources(for request: SnapshotRequest, cache: BlobCache? = nil) throws -> ImageSources {
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(request.plainHTTPHosts)
        options.caFile = request.caFile
        options.proxyEnvironment = variables
        options.userAgent = Version.userAgent
        return ImageSources(options: options, credentials: credentialStore(for: request), cache: cache, logger: logger)
    }

    func credentialStore(for request: SnapshotRequest) -> any CredentialStore {
        request.credentialsFile.map { .file($0) } ?? .dockerConfig(environment: variables)
    }
}
