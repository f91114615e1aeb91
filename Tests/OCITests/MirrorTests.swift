import Foundation
import Logging
import TestSupport
import Testing

@testable import OCI

@Suite("Mirrors")
struct MirrorTests {
    private let bytes = noise(300_000, seed: 31)
    private let registry: FakeRegistry
    private let layer: Descriptor

    init() throws {
        registry = FakeRegistry(try ImageFixture(layers: [bytes]))
        layer = registry.image.layers[0]
    }

    /// A mirror that has the registry's images below `prefix`, unless `change` says otherwise.
    private func mirrored(
        _ prefix: String = "",
        _ change: @escaping @Sendable (ScriptedServer.Request) -> [ScriptedServer.Action]? = { _ in nil }
    ) -> ScriptedServer.Handler {
        let registry = registry
        return { request in
            if let answer = change(request) { return answer }
            guard request.target.hasPrefix("/v2/\(prefix)") else { return .error(404, "NAME_UNKNOWN", "no") }
            return registry.handle(request.at("/v2/" + request.target.dropFirst("/v2/\(prefix)".count)))
        }
    }

    private func pull(
        _ origin: ScriptedServer, _ mirrors: [String], credentials: any CredentialStore = .none, suffix: String = ":v1"
    ) async throws -> (image: ResolvedImage, layer: [UInt8]) {
        let mirrors = try mirrors.map { try RegistryMirror(parsing: "\(origin.host)=\($0)") }
        return try await withSources(credentials: credentials, { $0.mirrors = mirrors }) { sources in
            let image = try await sources.resolve("\(origin.host)/acme/app\(suffix)")
            let source = sources.source(for: image.reference)
            return (image, try await readAll(try source.openLayer(layer), piece: 7777))
        }
    }

    private func expectWhole(
        _ origin: ScriptedServer, _ mirrors: [String], credentials: any CredentialStore = .none,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let found = try await pull(origin, mirrors, credentials: credentials).layer
        #expect(found == bytes, sourceLocation: sourceLocation)
    }

    @Test("a mirror gives everything, and the registry itself is not asked", arguments: ["", "hub/copy/"])
    func mirrorFirst(prefix: String) async throws {
        try await withServer(registry.handle) { origin in
            try await withServer(mirrored(prefix)) { mirror in
                let (image, read) = try await pull(origin, ["\(mirror.host)/\(prefix)"])
                #expect(read == bytes)
                #expect(image.reference.description == "\(origin.host)/acme/app:v1@\(registry.image.manifest.digest)")
                #expect(origin.requests.isEmpty)
                #expect(mirror.requests.count == 3)
                _ = try await pull(origin, ["\(mirror.host)/\(prefix)"], suffix: "@\(registry.image.manifest.digest)")
                #expect(origin.requests.isEmpty)
            }
        }
    }

    private static func failing(_ status: Int) -> [ScriptedServer.Action] {
        status == 0 ? [.cut] : .error(status, "NO", "no")
    }

    @Test("a mirror that has nothing, fails or is not there is passed over", arguments: [404, 403, 500, 0])
    func fallback(status: Int) async throws {
        try await withServer(registry.handle) { origin in
            try await withServer(mirrored("", { _ in Self.failing(status) })) { mirror in
                try await withServer(mirrored("", { _ in Self.failing(404) })) { other in
                    try await expectWhole(origin, [mirror.host, other.host, "127.0.0.1:1"])
                    // Not once more for each layer, however long it takes to fail.
                    #expect((1...2).contains(mirror.requests.count))
                    #expect(other.requests.count == 1)
                    #expect(origin.requests.count == 3)
                }
            }
        }
    }

    @Test(
        "a mirror that has the image but not the layer, or only its beginning, is followed by the registry",
        arguments: [-1, 0, 123_456])
    func brokenLayer(count: Int) async throws {
        let (layer, bytes) = (layer, bytes)
        try await withServer(registry.handle) { origin in
            let handler = mirrored("") { request in
                guard request.path.hasSuffix("\(layer.digest)") else { return nil }
                guard count >= 0, request.rangeStart == nil else { return .error(404, "BLOB_UNKNOWN", "no") }
                return [.send([ScriptedServer.Action].head(200, [:], length: bytes.count) + bytes.prefix(count)), .cut]
            }
            try await withServer(handler) { mirror in
                try await expectWhole(origin, [mirror.host])
                let asked = origin.requests(to: "/v2/acme/app/blobs/\(layer.digest)")
                #expect(asked.count == 1)
                #expect((asked.first?.rangeStart ?? 0) <= max(0, count))
                #expect(origin.requests.count == 1)
            }
        }
    }

    @Test("a mirror gets its own credentials and never those of the registry it stands in for")
    func credentials() async throws {
        let challenge = ["WWW-Authenticate": #"Basic realm="x""#]
        let registry = registry
        let closed: ScriptedServer.Handler = { request in
            request.headers["authorization"] == nil
                ? .error(401, "UNAUTHORIZED", "who are you", challenge) : registry.handle(request)
        }
        try await withServer(closed) { origin in
            try await withServer(closed) { mirror in
                let own = FixedCredentials(host: origin.host, value: Credentials(username: "ann", password: "origin"))
                try await expectWhole(origin, [mirror.host], credentials: own)
                #expect(!mirror.requests.isEmpty)
                #expect(mirror.requests.allSatisfy { $0.headers["authorization"] == nil })
                let asked = origin.requests.count
                let others = FixedCredentials(
                    host: mirror.host, value: Credentials(username: "bob", password: "mirror"))
                try await expectWhole(origin, [mirror.host], credentials: others)
                #expect(origin.requests.count == asked)
                let expected = "Basic \(Data("bob:mirror".utf8).base64EncodedString())"
                #expect(mirror.requests.contains { $0.headers["authorization"] == expected })
            }
        }
    }

    @Test("a mirror that gives another manifest than the digest names is passed over")
    func wrongManifest() async throws {
        let other = try ImageFixture(layers: [noise(10, seed: 1)])
        try await withServer(registry.handle) { origin in
            let handler = mirrored("") { request in
                request.path.contains("/manifests/") ? .answer(200, body: other.manifestBytes) : nil
            }
            try await withServer(handler) { mirror in
                let image = try await pull(origin, [mirror.host], suffix: "@\(registry.image.manifest.digest)").image
                #expect(image.manifestDigest == registry.image.manifest.digest)
            }
        }
    }

    @Test("a mirror that gives wrong bytes is refused, and after that not asked for layers any more")
    func wrongBytes() async throws {
        let (layer, wrong) = (layer, bytes.map { $0 ^ 1 })
        let handler = mirrored("") { request in
            request.path.hasSuffix("\(layer.digest)") ? FakeRegistry.blob(wrong, request) : nil
        }
        try await withServer(registry.handle) { origin in
            try await withServer(handler) { mirror in
                let entry = try RegistryMirror(parsing: "\(origin.host)=\(mirror.host)")
                try await withSources({ $0.mirrors = [entry] }) { sources in
                    let source = sources.source(for: try ImageReference(parsing: "\(origin.host)/acme/app:v1"))
                    let error = await failure { try await readAll(try source.openLayer(layer)) }
                    #expect(error?.code == .digestMismatch)
                    #expect(error?.message.contains(mirror.host) == true)
                    #expect(sources.setAsideDoubtful())
                    #expect(try await readAll(try source.openLayer(layer)) == bytes)
                    #expect(!sources.setAsideDoubtful())
                }
            }
        }
    }

    @Test("without a doubtful mirror there is nothing to set aside")
    func nothingDoubtful() async throws {
        try await withServer(registry.handle) { origin in
            try await withServer(mirrored()) { mirror in
                let entry = try RegistryMirror(parsing: "\(origin.host)=\(mirror.host)")
                try await withSources({ $0.mirrors = [entry] }) { sources in
                    let source = sources.source(for: try ImageReference(parsing: "\(origin.host)/acme/app:v1"))
                    #expect(try await readAll(try source.openLayer(layer)) == bytes)
                    #expect(!sources.setAsideDoubtful())
                }
            }
        }
    }

    @Test("what goes through a mirror is cached by digest like anything else")
    func cached() async throws {
        let temporary = try TemporaryDirectory()
        try await withServer(registry.handle) { origin in
            try await withServer(mirrored()) { mirror in
                let entry = try RegistryMirror(parsing: "\(origin.host)=\(mirror.host)")
                for _ in 0..<2 {
                    let cache = try BlobCache(directory: temporary.path, logger: .init(label: "test"))
                    try await withSources(cache: cache, { $0.mirrors = [entry] }) { sources in
                        let source = sources.source(for: try ImageReference(parsing: "\(origin.host)/acme/app:v1"))
                        #expect(try await readAll(try source.openLayer(layer)) == bytes)
                    }
                }
                #expect(mirror.requests.count == 1)
                #expect(origin.requests.isEmpty)
            }
        }
    }

    @Test("a mirror is written as host=host with a path or without")
    func parsing() throws {
        let plain = try RegistryMirror(parsing: "index.docker.io=Mirror.example")
        #expect(plain.origin == "docker.io" && plain.host == "mirror.example" && plain.prefix.isEmpty)
        let deep = try RegistryMirror(parsing: "ghcr.io=localhost:5000/a/b/")
        #expect(deep.origin == "ghcr.io" && deep.host == "localhost:5000" && deep.prefix == "a/b/")
    }

    @Test(
        "what is no mirror is refused with the form",
        arguments: [
            "", "a.io", "=b.io", "a.io=", "a.io=https://b.io", "a.io=b.io/UPPER", "a.io=b.io/a//b", "a.io=b.io/..",
            "a b=c",
        ])
    func badMirrors(text: String) async {
        let error = await failure { try RegistryMirror(parsing: text) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("docker.io=mirror.example") == true)
    }
}

extension ScriptedServer.Request {
    /// The same request for another place.
    func at(_ target: String) -> Self {
        Self(method: method, target: target, headers: headers, body: body)
    }
}
