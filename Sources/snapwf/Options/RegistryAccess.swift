import ArgumentParser
import FoundationEssentials
import HelperInterface
import Logging
import OCI
import SnapshotSteps

/// How the verbs about snapshots reach a registry, and as whom.
struct RegistryAccess: ParsableArguments {
    @Option(help: "Credentials, in the form of docker's config.json. Default: docker's own.")
    var credsFile: String?

    @Option(name: .customLong("plain-http"), help: "A registry host that is spoken to without TLS. May be repeated.")
    var plainHTTPHosts: [String] = []

    @Option(
        name: .customLong("tls"),
        help: "A registry on this machine that is spoken to with TLS; others here are not. May be repeated.")
    var tlsHosts: [String] = []

    @Option(help: "A PEM file of certificates to trust besides the system's.")
    var caFile: String?

    func sources(cache: BlobCache? = nil, attempts: Int? = nil, logger: Logger) -> ImageSources {
        let variables = ProcessInfo.processInfo.environment
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(plainHTTPHosts)
        options.tlsHosts = Set(tlsHosts)
        options.caFile = caFile
        options.proxyEnvironment = variables
        options.userAgent = Version.userAgent
        if let attempts { options.retries.attempts = attempts }
        let credentials: any CredentialStore =
            if let credsFile { DockerConfigCredentials.file(credsFile) } else { .dockerConfig(environment: variables) }
        return ImageSources(options: options, credentials: credentials, cache: cache, logger: logger)
    }
}

/// Errors of registries and artifacts in the terms of the other verbs.
@MainActor
func inSnapshotTerms<Value>(_ body: @MainActor () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch {
        throw SnapshotError.translating(error)
    }
}
