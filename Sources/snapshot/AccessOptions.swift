import ArgumentParser
import Files
import Glibc
import HelperInterface
import OCI

/// How to reach a registry, and as whom.
struct AccessOptions: ParsableArguments {
    @Option(help: "Credentials, in the form of docker's config.json. Default: docker's own.")
    var credsFile: String?

    @Flag(help: .hidden)
    var removeCredsFile = false

    @Option(name: .customLong("plain-http"), help: "A registry host that is spoken to without TLS. May be repeated.")
    var plainHTTPHosts: [String] = []

    @Option(
        name: .customLong("tls"),
        help: "A registry on this machine that is spoken to with TLS; others here are not. May be repeated.")
    var tlsHosts: [String] = []

    @Option(help: "A PEM file of certificates to trust besides the system's.")
    var caFile: String?

    var options: RegistryOptions {
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(plainHTTPHosts)
        options.tlsHosts = Set(tlsHosts)
        options.caFile = caFile
        options.proxyEnvironment = environment()
        options.userAgent = Version.userAgent
        return options
    }

    /// A file that is to be removed is read here, once.
    func credentialStore(for reference: ImageReference) async throws -> any CredentialStore {
        guard let credsFile else { return .dockerConfig(environment: environment()) }
        let store = DockerConfigCredentials.file(credsFile)
        guard removeCredsFile, let host = reference.registryHost else { return store }
        let credentials = try await store.credentials(forRegistry: host)
        try retryingInterrupts("remove the credentials file \(credsFile)") { unlink(credsFile) }
        return FixedCredentials(credentials, forRegistry: host)
    }
}
