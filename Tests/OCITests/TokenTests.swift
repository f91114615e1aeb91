import Foundation
import Synchronization
import Testing

@testable import OCI

@Suite("Bearer tokens")
struct TokenTests {
    /// A registry that gives nothing without a token, and a token server behind `/token` on the same port.
    private final class TokenRegistry: Sendable {
        struct State {
            var valid: Set<String> = []
            var issued = 0
        }

        let registry: FakeRegistry
        let state = Mutex(State())
        let expiresIn: Double?
        let challenge: String
        let answerToken: @Sendable (ScriptedServer.Request) -> [ScriptedServer.Action]?

        init(
            expiresIn: Double? = 300,
            challenge: String = #"Bearer realm="http://{host}/token",service="test",scope="repository:acme/app:pull""#,
            answerToken: @escaping @Sendable (ScriptedServer.Request) -> [ScriptedServer.Action]? = { _ in nil }
        ) throws {
            registry = FakeRegistry(try ImageFixture(layers: [noise(5000, seed: 1), noise(6000, seed: 2)]))
            self.expiresIn = expiresIn
            self.challenge = challenge
            self.answerToken = answerToken
        }

        func handle(_ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
            if request.path == "/token" {
                if let answer = answerToken(request) { return answer }
                let token = state.withLock { state in
                    state.issued += 1
                    state.valid.insert("token-\(state.issued)")
                    return "token-\(state.issued)"
                }
                let lifetime = expiresIn.map { #","expires_in":\#($0)"# } ?? ""
                return .answer(200, body: Array(#"{"token":"\#(token)"\#(lifetime)}"#.utf8))
            }
            let given = request.headers["authorization"].map { String($0.dropFirst("Bearer ".count)) } ?? ""
            guard state.withLock({ $0.valid.contains(given) }) else {
                let value = challenge.replacing("{host}", with: request.headers["host"] ?? "")
                return .error(401, "UNAUTHORIZED", "authentication required", ["WWW-Authenticate": value])
            }
            return registry.handle(request)
        }

        func revokeAll() { state.withLock { $0.valid = [] } }
    }

    @Test("a challenge is answered with a token, which is then used for everything")
    func flow() async throws {
        let registry = try TokenRegistry()
        try await withServer(registry.handle) { server in
            let credentials = FixedCredentials(host: server.host, value: Credentials(username: "ann", password: "pw"))
            try await withSources(credentials: credentials) { sources in
                let image = try await sources.resolve("\(server.host)/acme/app:v1")
                let source = sources.source(for: image.reference)
                #expect(image.layers.count == 2)
                for layer in image.layers { _ = try await readAll(try source.openLayer(layer.descriptor)) }
            }
            let asked = server.requests(to: "/token")
            // The second source that was made has tokens of its own.
            #expect(asked.count == 2)
            for request in asked {
                #expect(request.query == "service=test&scope=repository%3Aacme%2Fapp%3Apull")
                #expect(request.headers["authorization"] == "Basic \(Data("ann:pw".utf8).base64EncodedString())")
            }
            // The password goes to the token server only.
            #expect(
                server.requests.allSatisfy {
                    $0.path == "/token" || $0.headers["authorization"]?.hasPrefix("Basic") != true
                })
        }
    }

    @Test("an anonymous token is asked for without credentials")
    func anonymous() async throws {
        let registry = try TokenRegistry(expiresIn: nil)
        try await withServer(registry.handle) { server in
            try await withSources { sources in _ = try await sources.resolve("\(server.host)/acme/app:v1") }
            #expect(server.requests(to: "/token").count == 1)
            #expect(server.requests(to: "/token").allSatisfy { $0.headers["authorization"] == nil })
        }
    }

    @Test("a token that the registry forgot is replaced once")
    func revoked() async throws {
        let registry = try TokenRegistry()
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let reference = try ImageReference(parsing: "\(server.host)/acme/app:v1")
                let source = sources.source(for: reference)
                let image = try await source.resolve(reference, platform: Platform(parsing: "linux/amd64"))
                registry.revokeAll()
                let layer = try #require(image.layers.first)
                _ = try await readAll(try source.openLayer(layer.descriptor))
                #expect(server.requests(to: "/token").count == 2)
            }
        }
    }

    @Test("a token that expires is renewed before it is sent, not after it was refused")
    func expiry() async throws {
        let registry = try TokenRegistry(expiresIn: 0)
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                _ = try await sources.resolve("\(server.host)/acme/app:v1")
            }
            // Manifest (challenged) and config (not challenged again).
            #expect(server.requests(to: "/token").count == 2)
            #expect(server.requests(to: "/v2/acme/app/manifests/v1").count == 2)
            #expect(server.requests(to: "/v2/acme/app/blobs/\(registry.registry.image.config.digest)").count == 1)
        }
    }

    @Test("a token that expires in the middle of a layer is renewed for the rest of it")
    func expiryInTransfer() async throws {
        let registry = try TokenRegistry()
        let bytes = noise(6000, seed: 2)
        let layer = registry.registry.image.layers[1]
        let breaks = Mutex(true)
        let handler: ScriptedServer.Handler = { request in
            let answer = registry.handle(request)
            guard request.path.hasSuffix("\(layer.digest)"), request.headers["authorization"] != nil,
                breaks.withLock({ breaks in
                    defer { breaks = false }
                    return breaks
                })
            else { return answer }
            registry.revokeAll()
            return [.send([ScriptedServer.Action].head(200, [:], length: bytes.count) + bytes.prefix(4000)), .cut]
        }
        try await withServer(handler) { server in
            try await withSources { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                #expect(try await readAll(try source.openLayer(layer)) == bytes)
            }
            let asked = server.requests(to: "/v2/acme/app/blobs/\(layer.digest)")
            #expect(
                asked.map { $0.headers["authorization"] } == [
                    nil, "Bearer token-1", "Bearer token-1", "Bearer token-2",
                ])
        }
    }

    @Test("a challenge without a scope is answered with the one of this repository")
    func defaultScope() async throws {
        let registry = try TokenRegistry(challenge: #"Bearer realm="http://{host}/token""#)
        try await withServer(registry.handle) { server in
            try await withSources { sources in _ = try await sources.resolve("\(server.host)/acme/app:v1") }
            #expect(server.requests(to: "/token").map(\.query) == ["scope=repository%3Aacme%2Fapp%3Apull"])
        }
    }

    @Test("many transfers that need a token at the same time share one")
    func shared() async throws {
        let registry = try TokenRegistry()
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let reference = try ImageReference(parsing: "\(server.host)/acme/app:v1")
                let source = sources.source(for: reference)
                let image = try await source.resolve(reference, platform: Platform(parsing: "linux/amd64"))
                registry.revokeAll()
                let readers = try (0..<12).map { try source.openLayer(image.layers[$0 % 2].descriptor) }
                for (index, reader) in readers.enumerated() {
                    #expect(try await readAll(reader).count == [5000, 6000][index % 2])
                }
                #expect(server.requests(to: "/token").count == 2)
            }
        }
    }

    @Test("an identity token is exchanged in a form, never in an address")
    func identityToken() async throws {
        let registry = try TokenRegistry { request in
            request.method == "POST" ? .answer(200, body: Array(#"{"access_token":"token-0"}"#.utf8)) : nil
        }
        registry.state.withLock { _ = $0.valid.insert("token-0") }
        try await withServer(registry.handle) { server in
            let credentials = FixedCredentials(host: server.host, value: Credentials(.identityToken("refresh&me")))
            try await withSources(credentials: credentials) { sources in
                _ = try await sources.resolve("\(server.host)/acme/app:v1")
            }
            let asked = server.requests(to: "/token")
            #expect(asked.count == 1)
            let form = String(decoding: asked.first?.body ?? [], as: UTF8.self)
            #expect(form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh%26me"))
            #expect(asked.first?.query == "")
        }
    }

    @Test(
        "a token server that refuses ends in words about credentials",
        arguments: [401, 403])
    func refused(status: Int) async throws {
        let registry = try TokenRegistry { _ in .error(status, "DENIED", "requested access to the resource is denied") }
        try await withServer(registry.handle) { server in
            let credentials = FixedCredentials(
                host: server.host, value: Credentials(username: "ann", password: "s3cret"))
            try await withSources(credentials: credentials) { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .unauthorized)
                #expect(error?.message.contains("refused the credentials for \(server.host)") == true)
                #expect(error?.message.contains("DENIED: requested access") == true)
                #expect(error?.message.contains("s3cret") == false)
            }
            try await withSources { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.message.contains("does not exist or is private") == true)
            }
            // No retries: a wrong password does not become right, and some registries lock accounts.
            #expect(server.requests(to: "/token").count == 2)
        }
    }

    @Test("a registry that refuses every token is asked twice, not for ever")
    func neverContent() async throws {
        let registry = try TokenRegistry { _ in .answer(200, body: Array(#"{"token":"useless"}"#.utf8)) }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .unauthorized)
                #expect(error?.message.contains("UNAUTHORIZED: authentication required") == true)
            }
            #expect(server.requests(to: "/v2/acme/app/manifests/v1").count == 2)
        }
    }

    @Test(
        "what is no token is refused without showing it",
        arguments: ["{}", #"{"token":""}"#, #"{"token":"se\r\ncret"}"#, #"{"token":17}"#, "<html>secret</html>"])
    func noToken(body: String) async throws {
        let registry = try TokenRegistry { _ in .answer(200, body: Array(body.utf8)) }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .invalidResponse)
                #expect(error?.message.contains("cret") == false)
            }
        }
    }

    @Test("a token answer without end is cut off")
    func hugeToken() async throws {
        let registry = try TokenRegistry { _ in
            let head = [ScriptedServer.Action].head(200, ["Transfer-Encoding": "chunked"], length: nil)
            let chunk = [UInt8]("10000\r\n".utf8) + [UInt8](repeating: 0x20, count: 65536) + [13, 10]
            return [.send(head)] + [ScriptedServer.Action](repeating: .send(chunk), count: 40)
        }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                #expect(await failure { try await sources.resolve("\(server.host)/acme/app:v1") }?.code == .tooLarge)
            }
        }
    }

    @Test("a token server that fails for a moment is asked again")
    func flaky() async throws {
        let failures = Mutex(2)
        let registry = try TokenRegistry { _ in
            failures.withLock { left in
                left -= 1
                return left >= 0 ? .answer(503) : nil
            }
        }
        try await withServer(registry.handle) { server in
            try await withSources { sources in _ = try await sources.resolve("\(server.host)/acme/app:v1") }
            #expect(server.requests(to: "/token").count == 3)
        }
    }

    @Test("credentials never go to a token server without encryption elsewhere")
    func plainRealm() async throws {
        let registry = try TokenRegistry(challenge: #"Bearer realm="http://auth.example.org/token""#)
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .invalidResponse)
                #expect(error?.message.contains("not encrypted") == true)
            }
        }
    }

    @Test("an authentication that is not known is named", arguments: [#"Negotiate YII="#, "Digest realm=\"x\""])
    func otherSchemes(challenge: String) async throws {
        let registry = try TokenRegistry(challenge: challenge)
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let error = await failure { try await sources.resolve("\(server.host)/acme/app:v1") }
                #expect(error?.code == .unauthorized)
                #expect(error?.message.contains(challenge.split(separator: " ")[0].lowercased()) == true)
            }
        }
    }
}

@Suite("Challenges")
struct ChallengeTests {
    @Test(
        "challenges are read as RFC 9110 writes them",
        arguments: [
            (#"Basic realm="x""#, [Challenge(scheme: "basic", parameters: ["realm": "x"])]),
            (
                #"Bearer realm="https://a/b?c=d",service="s, t",scope="repository:a:pull,push""#,
                [
                    Challenge(
                        scheme: "bearer",
                        parameters: ["realm": "https://a/b?c=d", "service": "s, t", "scope": "repository:a:pull,push"])
                ]
            ),
            (
                #"Negotiate abc==, Basic realm="a\"b", BEARER Realm=x , error=invalid_token"#,
                [
                    Challenge(scheme: "negotiate", parameters: [:]),
                    Challenge(scheme: "basic", parameters: ["realm": "a\"b"]),
                    Challenge(scheme: "bearer", parameters: ["realm": "x", "error": "invalid_token"]),
                ]
            ),
            ("Negotiate", [Challenge(scheme: "negotiate", parameters: [:])]),
            (#"Basic realm="unfinished"#, [Challenge(scheme: "basic", parameters: ["realm": "unfinished"])]),
            ("", []), (",,, ", []), ("=", []),
        ])
    func parsing(header: String, challenges: [Challenge]) {
        #expect(Challenge.parse([header]) == challenges)
    }

    @Test("no header crashes or hangs the reader")
    func noise() {
        var generator = SplitMix(state: 7)
        let alphabet = Array("Bearer realm=\"x\",\\ =/;\t\u{7f}é".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
                alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
            }
            if Challenge.parse([String(decoding: bytes, as: UTF8.self)]).count > 40 { Issue.record("\(bytes)") }
        }
    }
}
