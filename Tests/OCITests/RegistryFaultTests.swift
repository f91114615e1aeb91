import Foundation
import Logging
import Proxies
import Synchronization
import Testing

@testable import OCI

@Suite("Registries that misbehave")
struct RegistryFaultTests {
    private let image: ImageFixture
    private let registry: FakeRegistry

    init() throws {
        image = try ImageFixture(layers: [noise(5000, seed: 1)])
        registry = FakeRegistry(image)
    }

    /// Resolves `acme/app:v1` at a server that answers `answer`, or as a good registry where that is nil.
    private func resolve(
        _ name: String = "acme/app:v1", _ change: (inout RegistryOptions) -> Void = { _ in },
        answer: @escaping @Sendable (ScriptedServer.Request) -> [ScriptedServer.Action]?
    ) async throws -> (requests: [ScriptedServer.Request], error: OCIError?) {
        let registry = registry
        return try await withServer {
            answer($0) ?? registry.handle($0)
        } _: { server in
            try await withSources(credentials: .none, change) { sources in
                let error = await failure { try await sources.resolve("\(server.host)/\(name)") }
                return (server.requests, error)
            }
        }
    }

    /// Answers with `actions` to the first `count` requests.
    private func first(
        _ count: Int, _ actions: [ScriptedServer.Action]
    ) -> @Sendable (ScriptedServer.Request) -> [ScriptedServer.Action]? {
        let left = Counter(count)
        return { _ in left.take() ? actions : nil }
    }

    @Test("a registry that fails for a moment is asked again", arguments: [500, 502, 503, 504, 429, 408])
    func transient(status: Int) async throws {
        let (requests, error) = try await resolve(answer: first(3, .answer(status, ["Retry-After": "0"])))
        #expect(error == nil)
        #expect(requests.count == 5)
    }

    @Test("a connection that is cut before or in the answer is made again")
    func cut() async throws {
        #expect(try await resolve(answer: first(2, [.cut])).error == nil)
        let half = [ScriptedServer.Action].head(200, [:], length: 1000) + [0x7b]
        #expect(try await resolve(answer: first(2, [.send(half), .cut])).error == nil)
    }

    @Test("a registry that goes on failing is given up with its status and words")
    func persistent() async throws {
        let (requests, error) = try await resolve { _ in .error(503, "UNAVAILABLE", "down for maintenance") }
        #expect(requests.count == 6)
        #expect(error?.code == .serverError)
        #expect(error?.isRetryable == true)
        #expect(error?.message.contains("503") == true)
        #expect(error?.message.contains("UNAVAILABLE: down for maintenance") == true)
        #expect(error?.message.contains("6 tries") == true)
    }

    @Test("an error whose text never comes is an error all the same")
    func stalledError() async throws {
        let (requests, error) = try await resolve("acme/app:v1") { options in
            options.timeouts.head = .seconds(1)
            options.retries.attempts = 2
        } answer: { _ in
            [.send([ScriptedServer.Action].head(503, [:], length: 100)), .stall]
        }
        #expect(error?.code == .serverError)
        #expect(requests.count == 2)
    }

    @Test("a Retry-After beyond patience is told to the caller instead of waited for")
    func longRetryAfter() async throws {
        let (requests, error) = try await resolve { _ in
            .error(429, "TOOMANYREQUESTS", "rate limit", ["Retry-After": "21600"])
        }
        #expect(requests.count == 1)
        #expect(error?.code == .tooManyRequests)
        #expect(error?.isRetryable == true)
        #expect(error?.message.contains("21600 s") == true)
    }

    @Test("errors that will not go away are not asked for again", arguments: [400, 403, 404, 405, 410])
    func permanent(status: Int) async throws {
        let (requests, error) = try await resolve { _ in .error(status, "DENIED", "requested\\u001b[31m access denied")
        }
        #expect(requests.count == 1)
        #expect(error?.code == [403: .denied, 404: .notFound][status] ?? .invalidResponse)
        #expect(error?.isRetryable == false)
        #expect(error?.message.contains("DENIED: requested") == true)
        #expect(error?.message.contains("\u{1b}") == false)
    }

    @Test("a repository that does not exist is told apart from a tag that does not")
    func unknownName() async throws {
        let (_, error) = try await resolve("acme/other:v1") { _ in nil }
        #expect(error?.code == .notFound)
        #expect(error?.message.contains("no repository acme/other in") == true)
    }

    @Test("a manifest larger than the limit is refused, whether it is announced or not")
    func hugeManifest() async throws {
        let (requests, announced) = try await resolve { _ in
            [.send([ScriptedServer.Action].head(200, [:], length: 5 << 20)), .stall]
        }
        #expect(announced?.code == .tooLarge)
        #expect(requests.count == 1)
        let piece = [UInt8]("100000\r\n".utf8) + [UInt8](repeating: 0x20, count: 1 << 20) + [13, 10]
        let endless = try await resolve { _ in
            [.send([ScriptedServer.Action].head(200, ["Transfer-Encoding": "chunked"], length: nil))]
                + [ScriptedServer.Action](repeating: .send(piece), count: 100)
        }
        #expect(endless.error?.code == .tooLarge)
    }

    @Test("a manifest that trickles is given up in the end")
    func trickle() async throws {
        let bytes = image.manifestBytes
        let (_, error) = try await resolve("acme/app:v1") { options in
            options.timeouts.document = .milliseconds(300)
            options.retries.attempts = 2
        } answer: { _ in
            [.send([ScriptedServer.Action].head(200, [:], length: bytes.count))]
                + bytes.flatMap { [.send([$0]), .pause(milliseconds: 10)] }
        }
        #expect(error?.code == .timedOut)
        #expect(error?.message.contains("manifest v1") == true)
    }

    @Test("a manifest with another digest than asked for is refused")
    func wrongManifest() async throws {
        let other = try ImageFixture(layers: [noise(10, seed: 9)]).manifestBytes
        let type = ["Content-Type": MediaType.ociManifest.rawValue]
        let (_, pinned) = try await resolve("acme/app@\(image.manifest.digest)") { _ in
            .answer(200, type, body: other)
        }
        #expect(pinned?.code == .digestMismatch)
        let header = type.merging(["Docker-Content-Digest": image.manifest.digest.description]) { $1 }
        let (_, tagged) = try await resolve { _ in .answer(200, header, body: other) }
        #expect(tagged?.code == .digestMismatch)
    }

    @Test("a config with other bytes, or too large a one, is refused")
    func wrongConfig() async throws {
        let config = image.config
        let (_, error) = try await resolve { request in
            request.path.hasSuffix("\(config.digest)") ? .answer(200, body: noise(Int(config.size), seed: 1)) : nil
        }
        #expect(error?.code == .digestMismatch)
        var large = config
        large.size = 1 << 40
        let manifest = try json([
            "schemaVersion": 2, "mediaType": MediaType.ociManifest.rawValue, "config": try object(large), "layers": [],
        ])
        let (requests, tooLarge) = try await resolve { _ in
            .answer(200, ["Content-Type": MediaType.ociManifest.rawValue], body: manifest)
        }
        #expect(tooLarge?.code == .tooLarge)
        #expect(requests.count == 1)
    }

    @Test("an index is never read as a manifest, nor a manifest as an index")
    func confusion() async throws {
        let manifest = image.manifestBytes
        let index = try ImageFixture.index([image.manifest])
        for (bytes, type) in [(manifest, MediaType.ociIndex), (index, .ociManifest), (index, .dockerIndex)] {
            let (_, error) = try await resolve { _ in .answer(200, ["Content-Type": type.rawValue], body: bytes) }
            #expect(error?.code == .invalidManifest)
        }
        var lie = image.manifest
        lie.mediaType = .dockerManifest
        let lying = try ImageFixture.index([lie])
        let (_, error) = try await resolve { request in
            request.path.hasSuffix("/v1")
                ? .answer(200, ["Content-Type": MediaType.ociIndex.rawValue], body: lying) : nil
        }
        #expect(error?.code == .invalidManifest)
    }

    @Test("a descriptor with a wrong size of the manifest is refused")
    func wrongManifestSize() async throws {
        var entry = image.manifest
        entry.size += 1
        let index = try ImageFixture.index([entry])
        let (_, error) = try await resolve { request in
            request.path.hasSuffix("/v1")
                ? .answer(200, ["Content-Type": MediaType.ociIndex.rawValue], body: index) : nil
        }
        #expect(error?.code == .sizeMismatch)
    }

    @Test("an image of schema 1 says what to do about it")
    func schema1() async throws {
        let body = Array(#"{"schemaVersion":1,"name":"acme/app","fsLayers":[],"history":[]}"#.utf8)
        let (_, error) = try await resolve { _ in
            .answer(200, ["Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"], body: body)
        }
        #expect(error?.code == .unsupportedMediaType)
        #expect(error?.message.contains("push the image again") == true)
    }

    @Test("a web page instead of a manifest is refused")
    func webPage() async throws {
        let (_, error) = try await resolve { _ in
            .answer(200, ["Content-Type": "text/html; charset=utf-8"], body: Array("<html>sign in</html>".utf8))
        }
        #expect(error?.code == .unsupportedMediaType || error?.code == .invalidManifest)
    }

    @Test("an answer that is no HTTP is a failed connection")
    func noHTTP() async throws {
        let (_, error) = try await resolve { _ in [.send(Array("SSH-2.0-OpenSSH_9.2\r\n\r\n".utf8)), .cut] }
        #expect(error?.code == .unreachable)
    }

    @Test("nothing is sent after a shutdown")
    func afterShutdown() async throws {
        let registry = registry
        try await withServer {
            registry.handle($0)
        } _: { server in
            try await withSources { sources in
                await sources.shutdown()
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .cancelled)
                #expect(server.requests.isEmpty)
            }
        }
    }

    @Test("sources that are dropped without a shutdown do no harm")
    func forgottenShutdown() async throws {
        let registry = registry
        try await withServer {
            registry.handle($0)
        } _: { server in
            let reference = try ImageReference(parsing: "\(server.host)/acme/app:v1")
            let source = ImageSources(logger: .init(label: "test")).source(for: reference)
            let resolved = try await source.resolve(reference, platform: Platform(parsing: "linux/amd64"))
            #expect(resolved.manifestDigest == image.manifest.digest)
        }
    }

    @Test("a cancelled task stops waiting for the registry")
    func cancellation() async throws {
        try await withServer { _ in
            [.stall]
        } _: { server in
            try await withSources { sources in
                let task = Task { await failure { try await sources.resolve("\(server.host)/acme/app:v1") } }
                while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
                task.cancel()
                #expect(await task.value?.code == .cancelled)
                #expect(try await server.isLeftAlone())
            }
        }
    }
}

@Suite("Redirects and proxies")
struct RedirectTests {
    private let registry: FakeRegistry
    private let layer: Descriptor

    init() throws {
        registry = FakeRegistry(try ImageFixture(layers: [noise(50_000, seed: 1)]))
        layer = registry.image.layers[0]
    }

    /// A registry with a password that sends blobs to `location`.
    private func redirecting(to location: String) -> ScriptedServer.Handler {
        let registry = registry
        let layer = layer
        return { request in
            guard request.headers["authorization"] != nil else {
                return .error(401, "UNAUTHORIZED", "no", ["WWW-Authenticate": "Basic realm=\"x\""])
            }
            guard request.path.hasSuffix("/blobs/\(layer.digest)") else { return registry.handle(request) }
            return .answer(307, ["Location": location])
        }
    }

    private func pull(_ server: ScriptedServer) async throws -> OCIError? {
        let credentials = FixedCredentials(host: server.host, value: Credentials(username: "ann", password: "pw"))
        return try await withSources(credentials: credentials) { sources in
            await failure {
                let layers = try await sources.pull("\(server.host)/acme/app:v1")
                #expect(layers == [layer.digest])
            }
        }
    }

    @Test("the password stays with the registry when storage elsewhere has the blob, also when it breaks")
    func elsewhere() async throws {
        let bytes = try #require(registry.image.blobs[layer.digest])
        let breaks = Counter(1)
        try await withServer { request in
            if breaks.take() {
                return [.send([ScriptedServer.Action].head(200, [:], length: bytes.count) + bytes.prefix(777)), .cut]
            }
            return FakeRegistry.blob(bytes, request)
        } _: { storage in
            try await withServer(redirecting(to: "http://\(storage.host)/data?signature=s3cret")) { server in
                let error = try await pull(server)
                #expect(error == nil)
                #expect(storage.requests.map(\.rangeStart) == [nil, 777])
                #expect(storage.requests.allSatisfy { $0.headers["authorization"] == nil })
                #expect(storage.requests.allSatisfy { $0.target == "/data?signature=s3cret" })
            }
        }
    }

    @Test("a redirect back to the registry does not bring the password back")
    func thereAndBack() async throws {
        let home = Mutex("")
        let bytes = try #require(registry.image.blobs[layer.digest])
        try await withServer { _ in
            .answer(302, ["Location": "http://\(home.withLock { $0 })/open"])
        } _: { storage in
            let handler = redirecting(to: "http://\(storage.host)/data")
            try await withServer { request in
                request.path == "/open" ? .answer(200, body: bytes) : handler(request)
            } _: { server in
                home.withLock { $0 = server.host }
                let error = try await pull(server)
                #expect(error == nil)
                #expect(server.requests(to: "/open").map { $0.headers["authorization"] } == [nil])
            }
        }
    }

    @Test("a redirect within the registry, also a relative one, keeps the password")
    func within() async throws {
        let bytes = try #require(registry.image.blobs[layer.digest])
        let handler = redirecting(to: "/moved/blob")
        try await withServer { request in
            request.path == "/moved/blob" ? .answer(200, body: bytes) : handler(request)
        } _: { server in
            let error = try await pull(server)
            #expect(error == nil)
            #expect(
                server.requests(to: "/moved/blob").allSatisfy {
                    $0.headers["authorization"]?.hasPrefix("Basic ") == true
                })
        }
    }

    @Test("storage that refuses a signed address is reported without the signature")
    func secretAddress() async throws {
        try await withServer { _ in
            .error(403, "DENIED", "expired")
        } _: { storage in
            try await withServer(redirecting(to: "http://u:pw@\(storage.host)/data?signature=s3cret")) { server in
                let error = try await pull(server)
                #expect(error?.code == .denied)
                #expect(error.map { !"\($0) \($0.cause.map { "\($0)" } ?? "")".contains("s3cret") } == true)
                #expect(storage.requests.allSatisfy { $0.headers["authorization"] == nil })
            }
        }
    }

    @Test("a redirect out of encryption is refused unless the host is allowed to do without")
    func downgrade() throws {
        var options = RegistryOptions()
        options.plainHTTPHosts = ["cache.lan"]
        let transport = RegistryTransport(options: options, logger: .init(label: "test"))
        let secure = try #require(WebAddress("https://ghcr.io/v2/acme/app/blobs/x"))
        #expect(throws: RequestFailure.self) {
            try transport.target(ofRedirect: "http://ghcr.io/data?signature=s3cret", from: secure)
        }
        #expect(try transport.target(ofRedirect: "http://cache.lan/data", from: secure).text == "http://cache.lan/data")
        #expect(try transport.target(ofRedirect: "//b.io/data?x=1", from: secure).text == "https://b.io/data?x=1")
        #expect(try transport.target(ofRedirect: "../y", from: secure).text == "https://ghcr.io/v2/acme/app/y")
    }

    @Test("no address crashes the reader or keeps user info")
    func addresses() {
        var generator = SplitMix(state: 99)
        let alphabet = Array("https://ann:pw@[::1]:80/%2fé?#&=x.\\ \n".unicodeScalars)
        let base = WebAddress("https://ghcr.io/v2/")
        var readable = 0
        for _ in 0..<20_000 {
            var text = Bool.random(using: &generator) ? "http://" : ""
            for _ in 0..<Int.random(in: 0...20, using: &generator) {
                text.unicodeScalars.append(alphabet[Int.random(in: 0..<alphabet.count, using: &generator)])
            }
            guard let address = WebAddress(text, relativeTo: base) else { continue }
            readable += 1
            if address.origin.host.contains("@") || address.redacted.contains("?")
                || !(1...65535).contains(address.origin.port)
            {
                Issue.record("\(text) was read as \(address)")
            }
        }
        print("random addresses: 20000 with seed 99, \(readable) readable")
        #expect(readable > 1000)
    }

    @Test("redirects in a circle or to nowhere end with an error")
    func badRedirects() async throws {
        for location in ["/v2/acme/app/blobs/\(layer.digest)", "ftp://example.org/", "http://"] {
            try await withServer(redirecting(to: location)) { server in
                let error = try await pull(server)
                #expect(error?.code == .invalidResponse, "\(location)")
            }
        }
    }

    @Test("a proxy from the environment is asked to connect, with its password, and the registry never sees that")
    func proxy() async throws {
        let registry = registry
        try await withServer { request in
            request.method == "CONNECT"
                ? [.send(Array("HTTP/1.1 200 Connected\r\n\r\n".utf8))] : registry.handle(request)
        } _: { server in
            try await withSources { options in
                options.plainHTTPHosts = ["registry.invalid"]
                options.proxyEnvironment = ["http_proxy": "http://ann:p%40ss@\(server.host)"]
            } _: { sources in
                let layers = try await sources.pull("registry.invalid/acme/app:v1")
                #expect(layers == [layer.digest])
            }
            let connects = server.requests.filter { $0.method == "CONNECT" }
            #expect(!connects.isEmpty)
            #expect(connects.allSatisfy { $0.target == "registry.invalid:80" })
            let expected = "Basic \(Data("ann:p@ss".utf8).base64EncodedString())"
            #expect(connects.allSatisfy { $0.headers["proxy-authorization"] == expected })
            let others = server.requests.filter { $0.method != "CONNECT" }
            #expect(others.allSatisfy { $0.headers["proxy-authorization"] == nil })
        }
    }

    @Test(
        "the proxy variables decide as in curl and Go",
        arguments: [
            ("https://ghcr.io/", ["https_proxy": "http://p:3128"], "p:3128"),
            ("https://ghcr.io/", ["HTTPS_PROXY": "p:3128"], "p:3128"),
            ("https://ghcr.io/", ["http_proxy": "http://p:3128"], nil),
            ("http://ghcr.io/", ["http_proxy": "http://p"], "p:80"),
            ("https://ghcr.io/", ["https_proxy": "http://p:1", "no_proxy": "example.org, .io"], nil),
            ("https://ghcr.io/", ["https_proxy": "http://p:1", "NO_PROXY": "ghcr.io:443"], nil),
            ("https://ghcr.io/", ["https_proxy": "http://p:1", "no_proxy": "ghcr.io:80,cr.io"], "p:1"),
            ("https://ghcr.io/", ["https_proxy": "http://p:1", "no_proxy": "*"], nil),
            ("https://localhost/", ["https_proxy": "http://p:1"], nil),
            ("https://[fd00::5]/", ["https_proxy": "http://p:1", "no_proxy": "fd00::5"], nil),
            ("https://[fd00::5]:5000/", ["https_proxy": "http://p:1", "no_proxy": "[fd00::5]:5000"], nil),
            ("https://[fd00::5]/", ["https_proxy": "http://p:1", "no_proxy": "[fd00::5]:5000,fd00::"], "p:1"),
            ("https://ghcr.io/", ["https_proxy": ""], nil),
        ] as [(String, [String: String], String?)])
    func proxyChoice(address: String, environment: [String: String], proxy: String?) throws {
        let origin = try #require(WebAddress(address)).origin
        let found = try ProxyVariables(environment)
            .proxy(forHost: origin.host, port: origin.port, isEncrypted: origin.isEncrypted)
        #expect(found.map { "\($0.host):\($0.port)" } == proxy)
    }

    @Test(
        "a proxy that is none is an error, not a direct connection",
        arguments: ["socks5://p:1", "http://p:x", "http://"])
    func badProxy(value: String) async throws {
        try await withSources { options in
            options.proxyEnvironment = ["https_proxy": value]
        } _: { sources in
            _ = await #expect {
                try await sources.pull("ghcr.invalid/acme/app:v1")
            } throws: {
                ($0 as? OCIError)?.code == .invalidConfiguration
            }
        }
    }

    @Test("only loopback hosts and those named are spoken to without TLS")
    func plainHTTP() {
        var options = RegistryOptions()
        options.plainHTTPHosts = ["registry.lan:5000", "other.lan"]
        options.tlsHosts = ["localhost:8443"]
        let addresses = [
            "docker.io": "https://registry-1.docker.io/", "ghcr.io": "https://ghcr.io/",
            "localhost:5000": "http://localhost:5000/", "localhost:8443": "https://localhost:8443/",
            "127.0.0.1:1": "http://127.0.0.1:1/", "[::1]:5000": "http://[::1]:5000/",
            "registry.lan:5000": "http://registry.lan:5000/", "registry.lan": "https://registry.lan/",
            "other.lan:99": "http://other.lan:99/", "127.0.0.1.example.org": "https://127.0.0.1.example.org/",
        ]
        for (host, address) in addresses {
            #expect(options.address(ofRegistry: host)?.text == address)
        }
    }
}

@Suite("Retries")
struct RetryPolicyTests {
    @Test("waits double up to the bound, and the server's wish comes first")
    func delays() {
        let policy = RetryPolicy()
        #expect(policy.delay(afterFailures: 1, retryAfter: nil, random: 1) == .milliseconds(250))
        #expect(policy.delay(afterFailures: 3, retryAfter: nil, random: 1) == .seconds(1))
        #expect(policy.delay(afterFailures: 3, retryAfter: nil, random: 0) == .zero)
        #expect(policy.delay(afterFailures: 1_000_000, retryAfter: nil, random: 1) == .seconds(20))
        #expect(policy.delay(afterFailures: 1, retryAfter: .seconds(7), random: 0) == .seconds(7))
        #expect(policy.delay(afterFailures: 2, retryAfter: .seconds(7), random: 1) == .milliseconds(7500))
    }
}

/// Gives out so many yeses.
final class Counter: Sendable {
    private let left: Mutex<Int>
    init(_ count: Int) { left = Mutex(count) }

    func take() -> Bool {
        left.withLock { left in
            left -= 1
            return left >= 0
        }
    }
}
