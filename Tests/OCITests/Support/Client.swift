import Logging

@testable import OCI

/// A client with short waits, which is shut down however the body ends.
func withSources<Value>(
    credentials: any CredentialStore = .none, cache: BlobCache? = nil,
    _ change: (inout RegistryOptions) -> Void = { _ in },
    _ body: (ImageSources) async throws -> Value
) async throws -> Value {
    var options = RegistryOptions()
    options.retries.firstDelay = .milliseconds(2)
    options.retries.longestDelay = .milliseconds(20)
    options.timeouts.connect = .seconds(5)
    change(&options)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let sources = ImageSources(options: options, credentials: credentials, cache: cache, logger: logger)
    do {
        let value = try await body(sources)
        await sources.shutdown()
        return value
    } catch {
        await sources.shutdown()
        throw error
    }
}

extension ImageSources {
    func resolve(_ text: String, platform: String = "linux/amd64") async throws -> ResolvedImage {
        let reference = try ImageReference(parsing: text)
        return try await source(for: reference).resolve(reference, platform: Platform(parsing: platform))
    }

    /// Resolves and reads every layer; the digests of what was read, which are small enough to be compared in a test.
    func pull(_ text: String) async throws -> [Digest] {
        let image = try await resolve(text)
        let source = source(for: image.reference)
        var layers: [Digest] = []
        for layer in image.layers {
            layers.append(.sha256(of: try await readAll(try source.openLayer(layer.descriptor))))
        }
        return layers
    }
}

/// Runs `body` with a scripted server, which is stopped however it ends.
func withServer<Value>(
    _ handler: @escaping ScriptedServer.Handler, _ body: (ScriptedServer) async throws -> Value
) async throws -> Value {
    let server = try ScriptedServer(handler)
    defer { server.stop() }
    return try await body(server)
}

/// One set of credentials for one host.
struct FixedCredentials: CredentialStore {
    let host: String
    let value: Credentials

    func credentials(forRegistry host: String) async throws(OCIError) -> Credentials? {
        host == self.host ? value : nil
    }
}
