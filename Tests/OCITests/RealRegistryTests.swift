import Foundation
import TestSupport
import Testing

@testable import OCI

@Suite("A real registry")
struct RealRegistryTests {
    /// Two platforms, with layers of some megabytes, as a layout.
    private func layout(in directory: String) throws -> (amd64: ImageFixture, arm64: ImageFixture, index: Digest) {
        let layout = try LayoutWriter(directory)
        let amd64 = try ImageFixture(layers: [noise(3_000_001, seed: 1), noise(77, seed: 2), noise(9_000_000, seed: 3)])
        var options = ImageFixture.Options()
        options.platform = Platform(os: "linux", architecture: "arm64", variant: "v8")
        let arm64 = try ImageFixture(layers: [noise(1000, seed: 4)], options)
        try layout.add(amd64)
        try layout.add(arm64)
        let index = try layout.add(blob: ImageFixture.index([arm64.manifest, amd64.manifest]), type: .ociIndex)
        try layout.writeIndex([index.tagged("multi"), amd64.manifest.tagged("single")])
        return (amd64, arm64, index.digest)
    }

    @Test("what skopeo pushed anonymously is pulled byte for byte, by tag, by digest and by platform")
    func anonymous() async throws {
        let temporary = try TemporaryDirectory()
        let images = try layout(in: "\(temporary.path)/layout")
        let registry = try await RealRegistry(.anonymous)
        defer { registry.stop() }
        try await registry.push(layout: "\(temporary.path)/layout", tag: "multi", to: "acme/app:multi", all: true)
        try await registry.push(layout: "\(temporary.path)/layout", tag: "single", to: "acme/app:single")
        // What skopeo makes of it as a layout is read as well.
        try await Command.run(
            "skopeo",
            [
                "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false",
                "--src-no-creds",
                "docker://\(registry.host)/acme/app:multi", "oci:\(temporary.path)/copy:multi",
            ])
        try await withSources { sources in
            let image = try await sources.resolve("oci:\(temporary.path)/copy:multi")
            #expect(image.manifestDigest == images.amd64.manifest.digest)
            #expect(image.indexDigest == images.index)
            let layers = try await sources.pull("oci:\(temporary.path)/copy@\(image.manifestDigest)")
            #expect(layers == images.amd64.layers.map(\.digest))
        }
        try await withSources { sources in
            let name = "\(registry.host)/acme/app"
            let resolved = try await sources.resolve("\(name):multi")
            #expect(resolved.manifestDigest == images.amd64.manifest.digest)
            #expect(resolved.indexDigest == images.index)
            #expect(resolved.reference.description == "\(name):multi@\(images.amd64.manifest.digest)")
            #expect(try await sources.resolve(resolved.reference.description).layers == resolved.layers)
            let arm = try await sources.resolve("\(name):multi", platform: "linux/arm64")
            #expect(arm.manifestDigest == images.arm64.manifest.digest)
            let layers = try await sources.pull("\(name):single")
            #expect(layers == images.amd64.layers.map(\.digest))

            let missing = await failure { try await sources.resolve("\(name):1.3") }
            #expect(missing?.code == .notFound)
            #expect(missing?.message.contains("no tag 1.3 in \(name)") == true)
            #expect(missing?.message.contains("skopeo list-tags docker://\(name)") == true)
            #expect(missing?.message.contains("MANIFEST_UNKNOWN") == true)
            let platform = await failure { try await sources.resolve("\(name):multi", platform: "linux/riscv64") }
            #expect(platform?.message.contains("available: linux/arm64/v8, linux/amd64") == true)
            let gone = await failure { try await sources.resolve("\(name)@\(Digest.sha256(of: [9]))") }
            #expect(gone?.code == .notFound)
        }
    }

    @Test("a registry with passwords takes those of docker login, and says what to do without or with wrong ones")
    func password() async throws {
        let temporary = try TemporaryDirectory()
        let images = try layout(in: "\(temporary.path)/layout")
        let registry = try await RealRegistry(.password(user: "ann", password: "s3:cret"))
        defer { registry.stop() }
        try await registry.push(
            layout: "\(temporary.path)/layout", tag: "single", to: "acme/app:v1", credentials: "ann:s3:cret")
        let name = "\(registry.host)/acme/app:v1"

        func config(_ password: String) throws -> String {
            let auth = Data("ann:\(password)".utf8).base64EncodedString()
            try temporary.write(try json(["auths": [registry.host: ["auth": auth]]]), to: "config.json")
            return temporary.path
        }
        let environment = ["DOCKER_CONFIG": try config("s3:cret")]
        try await withSources(credentials: .dockerConfig(environment: environment)) { sources in
            let layers = try await sources.pull(name)
            #expect(layers == images.amd64.layers.map(\.digest))
        }
        try await withSources(credentials: .file("\(temporary.path)/config.json")) { sources in
            let resolved = try await sources.resolve(name)
            #expect(resolved.manifestDigest == images.amd64.manifest.digest)
        }
        try await withSources { sources in
            let error = await failure { try await sources.resolve(name) }
            #expect(error?.code == .unauthorized)
            #expect(error?.message.contains("no credentials for \(registry.host)") == true)
            #expect(error?.message.contains("docker login \(registry.host)") == true)
        }
        _ = try config("wrong")
        try await withSources(credentials: .dockerConfig(environment: environment)) { sources in
            let error = await failure { try await sources.resolve(name) }
            #expect(error?.code == .unauthorized)
            #expect(error?.message.contains("refused the credentials for \(registry.host)") == true)
            #expect(error?.message.contains("wrong") == false)
        }
    }

    @Test("a registry with a certificate of an own CA is trusted with the CA file only")
    func certificates() async throws {
        let temporary = try TemporaryDirectory()
        let images = try layout(in: "\(temporary.path)/layout")
        func path(_ name: String) -> String { "\(temporary.path)/\(name)" }
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        try await Command.run(
            "openssl",
            ["req", "-x509", "-subj", "/CN=Test CA", "-days", "2", "-keyout", path("ca.key"), "-out", path("ca.pem")]
                + curve)
        try await Command.run(
            "openssl", ["req", "-subj", "/CN=localhost", "-keyout", path("key.pem"), "-out", path("request")] + curve)
        try temporary.write("subjectAltName=DNS:localhost,IP:127.0.0.1".utf8, to: "extensions")
        try await Command.run(
            "openssl",
            [
                "x509", "-req", "-in", path("request"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-days", "2",
                "-extfile", path("extensions"), "-out", path("cert.pem"),
            ])
        let registry = try await RealRegistry(.anonymous, certificate: (path("cert.pem"), path("key.pem")))
        defer { registry.stop() }
        try await registry.push(layout: path("layout"), tag: "single", to: "acme/app:v1")
        let name = "localhost:\(registry.port)/acme/app:v1"

        try await withSources { options in
            options.tlsHosts = ["localhost"]
            options.caFile = path("ca.pem")
        } _: { sources in
            let resolved = try await sources.resolve(name)
            #expect(resolved.manifestDigest == images.amd64.manifest.digest)
        }
        try await withSources {
            $0.tlsHosts = ["localhost:\(registry.port)"]
        } _: { sources in
            let error = await failure { try await sources.resolve(name) }
            #expect(error?.code == .unreachable)
            #expect(error?.isRetryable == false)
            #expect(error?.message.contains("not trusted") == true, "\(String(describing: error))")
        }
        try await withSources { options in
            options.tlsHosts = ["localhost"]
            options.caFile = path("request")
        } _: { sources in
            #expect(await failure { try await sources.resolve(name) }?.code == .invalidConfiguration)
        }
    }

    @Test("a registry that speaks plain HTTP where TLS is wanted is told apart from one that is not there")
    func noTLS() async throws {
        let registry = try await RealRegistry(.anonymous)
        let name = "127.0.0.1:\(registry.port)/acme/app:v1"
        try await withSources {
            $0.tlsHosts = ["127.0.0.1"]
        } _: { sources in
            let error = await failure { try await sources.resolve(name) }
            #expect(error?.code == .unreachable)
            #expect(error?.message.contains("does not speak TLS") == true, "\(String(describing: error))")
        }
        try await registry.stopAndWait()
        try await withSources { sources in
            let error = await failure { try await sources.resolve(name) }
            #expect(error?.code == .unreachable)
            #expect(error?.isRetryable == true)
            #expect(error?.message.contains("refused") == true, "\(String(describing: error))")
            #expect(error?.message.contains("6 tries") == true)
        }
    }

    @Test("a host that no name service knows is named")
    func unknownHost() async throws {
        try await withSources { sources in
            let error = await failure { try await sources.resolve("registry.invalid/acme/app:v1") }
            #expect(error?.code == .unreachable)
            #expect(error?.message.contains("registry.invalid") == true, "\(String(describing: error))")
            #expect(error?.message.contains("DNS") == true, "\(String(describing: error))")
        }
    }
}
