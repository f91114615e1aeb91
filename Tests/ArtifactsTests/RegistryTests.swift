import Files
import Foundation
import HelperInterface
import Logging
import OCI
import TestSupport
import Testing

@testable import Artifacts

/// The judges are the distribution's own registry, skopeo and sha256sum.
@Suite("Snapshots in a real registry", .serialized)
struct RegistryTests {
    @Test(
        "a snapshot goes through a registry with a password and comes back the same, holes included; wrong ones are named"
    )
    func password() async throws {
        let world = try await World(.password(user: "ann", password: "s3:cret"))
        defer { world.registry.stop() }
        let credentials = FixedCredentials(
            Credentials(username: "ann", password: "s3:cret"), forRegistry: world.registry.host)
        let pushed = try await world.push("acme/fs:v1", credentials: credentials)
        #expect(pushed.chunks == 3)
        #expect(pushed.skipped == 0)
        #expect(pushed.bytesSent >= pushed.bytes)
        #expect(pushed.reference == "\(world.registry.host)/acme/fs:v1@\(pushed.digest)")
        #expect(!fileExists(world.stateFile))

        let result = try await world.pull("acme/fs:v1", credentials: credentials)
        #expect(try await sha256sum(world.output) == world.image.sha256)
        #expect(result.config == world.image.config)
        #expect(result.verity == world.image.verity)
        let (before, after) = (try blocks(world.file), try blocks(world.output))
        // The file system's own blocks for the extents may differ.
        #expect(after <= before + 64, "\(after) blocks of 512 bytes, \(before) in the original")
        #expect(!fileExists(world.output + ".download"))

        let wrong = FixedCredentials(Credentials(username: "ann", password: "no"), forRegistry: world.registry.host)
        for credentials in [wrong, FixedCredentials(nil, forRegistry: world.registry.host)] {
            let error = await #expect(throws: OCIError.self) {
                try await world.push("acme/fs:v1", credentials: credentials)
            }
            #expect(error?.code == .unauthorized)
            #expect(error?.message.contains("docker login \(world.registry.host)") == true)
        }
    }

    @Test("a repeated push sends nothing and ends with the same digest; one of a changed image sends what changed")
    func repeated() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let first = try await world.push("acme/fs:v1")
        let second = try await world.push("acme/fs:v1")
        #expect(second.bytesSent == 0)
        #expect(second.skipped == second.chunks)
        #expect(second.digest == first.digest)
        #expect(second.manifestDigest == first.manifestDigest)

        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: world.file))
        try handle.seek(toOffset: 1000)
        try handle.write(contentsOf: Data([1, 2, 3]))
        try handle.close()
        try await world.describe()
        let third = try await world.push("acme/fs:v2")
        #expect(third.chunks - third.skipped == 1)
        #expect(third.bytesSent < third.bytes)
        try await world.pull("acme/fs:v2")
        #expect(try await sha256sum(world.output) == world.image.sha256)
    }

    @Test("a file that is not what its document says is not pushed under the tag")
    func changed() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        try makeFile(world.file, size: Int(world.image.size), data: [(0, [1])])
        let error = await #expect(throws: ArtifactError.self) { try await world.push("acme/fs:v1") }
        #expect(error?.code == .changed)
        let missing = await #expect(throws: OCIError.self) { try await world.find("acme/fs:v1") }
        #expect(missing?.code == .notFound)
        try makeFile(world.file, size: 4096, data: [(0, [1])])
        #expect(await #expect(throws: ArtifactError.self) { try await world.push("acme/fs:v1") }?.code == .changed)
    }

    @Test("skopeo reads it, copies it to another registry and back, and the sha256 is the same")
    func skopeo() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let other = try await RealRegistry(.anonymous)
        defer { other.stop() }
        let pushed = try await world.push("acme/fs:v1")
        let inspected = try await Command.run(
            "skopeo",
            [
                "inspect", "--tls-verify=false", "--override-arch", "arm64", "--override-variant", "v8", "--no-creds",
                "docker://\(world.registry.host)/acme/fs:v1",
            ])
        let document = try #require(try JSONSerialization.jsonObject(with: Data(inspected)) as? [String: Any])
        #expect(document["Digest"] as? String == pushed.digest)
        #expect((document["Layers"] as? [String])?.count == 3)

        func copy(_ source: String, _ destination: String) async throws {
            try await Command.run(
                "skopeo",
                [
                    "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
                    "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds", "docker://\(source)",
                    "docker://\(destination)",
                ])
        }
        try await copy("\(world.registry.host)/acme/fs:v1", "\(other.host)/there/fs:copied")
        try await copy("\(other.host)/there/fs:copied", "\(world.registry.host)/back/fs:again")
        let artifact = try await world.pull("back/fs:again")
        #expect(try await sha256sum(world.output) == world.image.sha256)
        #expect(artifact.image == world.image.image)
    }

    @Test("over TLS with a certificate of an own CA, with its CA file only")
    func encrypted() async throws {
        let temporary = try TemporaryDirectory()
        let files = try await certificate(in: temporary)
        let world = try await World(certificate: (files.certificate, files.key))
        defer { world.registry.stop() }
        var options = RegistryOptions()
        options.tlsHosts = ["127.0.0.1"]
        options.caFile = files.authority
        try await world.push("acme/fs:v1", options: options)
        try await world.pull("acme/fs:v1", options: options)
        #expect(try await sha256sum(world.output) == world.image.sha256)
        options.caFile = nil
        let error = await #expect(throws: OCIError.self) { try await world.push("acme/fs:v1", options: options) }
        #expect(error?.message.contains("not trusted") == true)
    }

    @Test("snapshots for two platforms share a tag; each platform gets its own, a third one is told which there are")
    func platforms() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let arm = try await world.push("acme/fs:v1")
        world.image.platform = "linux/amd64"
        world.image.config = #"{"architecture":"amd64","os":"linux"}"#
        let amd = try await world.push("acme/fs:v1")
        #expect(arm.digest != amd.digest)
        for (platform, pushed) in [("linux/arm64", arm), ("linux/amd64", amd)] {
            let found = try await world.find("acme/fs:v1", platform: platform)
            #expect(found.manifestDigest.description == pushed.manifestDigest)
        }
        let error = await #expect(throws: ArtifactError.self) {
            try await world.find("acme/fs:v1", platform: "linux/riscv64")
        }
        #expect(error?.code == .noMatchingPlatform)
        #expect(error?.message.contains("linux/amd64, linux/arm64/v8") == true)
        // Again, as a repeated push of one of two platforms.
        #expect(try await world.push("acme/fs:v1").digest == amd.digest)
    }

    @Test("an image is not pulled as a snapshot, nor a snapshot as an image: each says what it is")
    func kinds() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let image = Array(#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.utf8)
        let config = Descriptor(mediaType: .ociConfig, digest: .sha256(of: image), size: Int64(image.count))
        let manifest =
            Array(
                #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociManifest)","config":{"mediaType":"\#(config.mediaType)","#
                    .utf8
            ) + Array(#""digest":"\#(config.digest)","size":\#(config.size)},"layers":[]}"#.utf8)
        let descriptor = Descriptor(
            mediaType: .ociManifest, digest: .sha256(of: manifest), size: Int64(manifest.count))
        try await world.connected { sources in
            let destination = try sources.destination(for: world.reference("acme/app:v1"))
            try await destination.upload(image, config)
            try await destination.put(manifest, descriptor, tag: "v1")
        }
        let error = await #expect(throws: ArtifactError.self) { try await world.find("acme/app:v1") }
        #expect(error?.code == .notASnapshot)
        #expect(error?.message.contains("snapwf run") == true)

        let pushed = try await world.push("acme/fs:v1")
        for name in ["acme/fs:v1", "acme/fs@\(pushed.manifestDigest)"] {
            let error = try await world.connected { sources in
                let reference = try world.reference(name)
                return await #expect(throws: OCIError.self) {
                    try await sources.source(for: reference).resolve(reference, platform: .host)
                }
            }
            #expect(error?.code == .unsupportedMediaType)
            #expect(error?.message.contains("snapwf snapshots pull") == true, "\(String(describing: error))")
        }
        // What stood under the tag was an image: pushed over, it is a snapshot.
        try await world.push("acme/app:v1")
        try await world.find("acme/app:v1", platform: "linux/arm64")
    }

    @Test("a download that finds other bytes on its disk than it noted begins anew and says why")
    func damagedDisk() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let pushed = try await world.push("acme/fs:v1")
        // As a download that was killed after its first chunk left it, on a disk that lost the bytes.
        let directory = world.output + ".download"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try makeFile(directory + "/image", size: Int(world.image.size), data: [])
        try Data("download 1 \(pushed.manifestDigest) \(world.image.size)\n0\n".utf8)
            .write(to: URL(fileURLWithPath: directory + "/journal"))
        let error = await #expect(throws: ArtifactError.self) { try await world.pull("acme/fs:v1") }
        #expect(error?.code == .damaged)
        #expect(!fileExists(world.output))
        try await world.pull("acme/fs:v1")
        #expect(try await sha256sum(world.output) == world.image.sha256)
    }

    @Test("of two downloads to one file, and of two pushes of one, the second says that the first is at it")
    func two() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let pushed = try await world.push("acme/fs:v1")
        let state = try PullState(for: world.output, identity: pushed.manifestDigest, size: Int(world.image.size))
        let error = await #expect(throws: FileError.self) { try await world.pull("acme/fs:v1") }
        #expect(error?.description.contains("another download") == true)
        withExtendedLifetime(state) {}
    }
}

/// An image of three chunks with data between holes, and a registry.
private final class World: @unchecked Sendable {
    // One test changes it, between its calls.
    var image: PullResult
    let registry: RealRegistry
    private let directory: TemporaryDirectory

    var file: String { "\(directory.path)/image" }
    var output: String { "\(directory.path)/output" }
    var stateFile: String { "\(directory.path)/state" }

    init(_ access: RealRegistry.Access = .anonymous, certificate: (String, String)? = nil) async throws {
        directory = try TemporaryDirectory()
        registry = try await RealRegistry(access, certificate: certificate)
        let size = (5 * 64 << 20) + 12345
        image = sampleResult(size: UInt64(size))
        try makeFile(
            file, size: size,
            data: [
                (0, noise(9_000_000, seed: 1)), ((64 << 20) - 4096, noise(4096, seed: 4)),
                ((128 << 20) + 777, noise(20_000_000, seed: 2)), (size - 5, [1, 2, 3, 4, 5]),
            ])
        try await describe()
    }

    /// The result document for the file as it is.
    func describe() async throws {
        image.sha256 = try await sha256sum(file)
    }

    func reference(_ name: String) throws -> ImageReference {
        try ImageReference(parsing: "\(registry.host)/\(name)")
    }

    func connected<Value>(
        credentials: any CredentialStore = .none, options: RegistryOptions = RegistryOptions(),
        _ body: (ImageSources) async throws -> Value
    ) async throws -> Value {
        let sources = connect(nil, credentials, options)
        do {
            let value = try await body(sources)
            await sources.shutdown()
            return value
        } catch {
            await sources.shutdown()
            throw error
        }
    }

    private func connect(
        _ cache: BlobCache?, _ credentials: any CredentialStore, _ options: RegistryOptions
    ) -> ImageSources {
        ImageSources(options: options, credentials: credentials, cache: cache, logger: silent)
    }

    private var silent: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }

    @discardableResult
    func push(
        _ name: String, credentials: any CredentialStore = .none, options: RegistryOptions = RegistryOptions()
    ) async throws -> PushResult {
        let push = SnapshotPush(file: file, image: image, reference: try reference(name), stateFile: stateFile)
        return try await connected(credentials: credentials, options: options) { try await push.run(with: $0) }
    }

    @discardableResult
    func pull(
        _ name: String, credentials: any CredentialStore = .none, options: RegistryOptions = RegistryOptions()
    ) async throws -> PullResult {
        let artifact = try await findArtifact(
            try reference(name), platform: try Platform(parsing: "linux/arm64"),
            connect: { connect(nil, credentials, options) })
        return try await SnapshotDownload(artifact, output: output, logger: silent)
            .run { connect($0, credentials, options) }
    }

    @discardableResult
    func find(_ name: String, platform: String = "linux/amd64") async throws -> FoundArtifact {
        let platform = try Platform(parsing: platform)
        let reference = try reference(name)
        return try await connected { try await findArtifact(reference, platform: platform, in: $0) }
    }
}

private func sha256sum(_ path: String) async throws -> String {
    String(decoding: try await Command.run("sha256sum", [path]).prefix(64), as: UTF8.self)
}

private func blocks(_ path: String) throws -> Int { try OpenFile(path, O_RDONLY).status().st_blocks }

private func certificate(
    in directory: TemporaryDirectory
) async throws -> (authority: String, certificate: String, key: String) {
    func path(_ name: String) -> String { "\(directory.path)/\(name)" }
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    try await Command.run(
        "openssl",
        ["req", "-x509", "-subj", "/CN=Test CA", "-days", "2", "-keyout", path("ca.key"), "-out", path("ca.pem")]
            + curve)
    try await Command.run(
        "openssl", ["req", "-subj", "/CN=localhost", "-keyout", path("key.pem"), "-out", path("request")] + curve)
    try directory.write("subjectAltName=DNS:localhost,IP:127.0.0.1".utf8, to: "extensions")
    try await Command.run(
        "openssl",
        [
            "x509", "-req", "-in", path("request"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-days", "2",
            "-extfile", path("extensions"), "-out", path("cert.pem"),
        ])
    return (path("ca.pem"), path("cert.pem"), path("key.pem"))
}
