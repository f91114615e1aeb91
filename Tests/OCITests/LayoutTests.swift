import Foundation
import Logging
import TestSupport
import Testing

@testable import OCI

@Suite("OCI layouts")
struct LayoutTests {
    let amd64 = Platform(os: "linux", architecture: "amd64")
    let temporary: TemporaryDirectory
    let directory: String
    let layout: LayoutWriter

    init() throws {
        temporary = try TemporaryDirectory()
        directory = "\(temporary.path)/layout"
        layout = try LayoutWriter(directory)
    }

    private func resolve(_ suffix: String = "", platform: Platform? = nil) async throws -> ResolvedImage {
        let reference = try ImageReference(parsing: "oci:\(directory)\(suffix)")
        return try await source().resolve(reference, platform: platform ?? amd64)
    }

    private func source() -> any ImageSource {
        LayoutSource(directory: directory, logger: Logger(label: "test"))
    }

    private func image(
        _ seed: UInt64, _ options: ImageFixture.Options = .init(), layers: Int = 2
    ) throws -> ImageFixture {
        let image = try ImageFixture(layers: (0..<layers).map { noise(5000, seed: seed + UInt64($0)) }, options)
        try layout.add(image)
        return image
    }

    @Test("a layout with one image resolves without a tag, and its layers read back whole")
    func single() async throws {
        let image = try image(1)
        try layout.writeIndex([image.manifest])
        let resolved = try await resolve()
        #expect(resolved.reference.description == "oci:\(directory)@\(image.manifest.digest)")
        #expect(resolved.manifestDigest == image.manifest.digest)
        #expect(resolved.indexDigest == nil)
        #expect(resolved.platform == amd64)
        #expect(resolved.created == 1_716_401_892)
        #expect(resolved.configBytes == image.blobs[image.config.digest])
        #expect(resolved.layers.map(\.diffID) == image.diffIDs)
        #expect(resolved.layers.map(\.descriptor.digest) == image.layers.map(\.digest))
        for layer in resolved.layers {
            let bytes = try await readAll(try source().openLayer(layer.descriptor), piece: 999)
            #expect(Digest.sha256(of: bytes) == layer.descriptor.digest)
        }
    }

    @Test("a tag names one of several images, and without a tag the names are listed")
    func tags() async throws {
        let first = try image(1)
        let second = try image(100)
        try layout.writeIndex([first.manifest.tagged("v1"), second.manifest.tagged("v2")])
        #expect(try await resolve(":v2").manifestDigest == second.manifest.digest)
        #expect(try await resolve("@\(first.manifest.digest)").manifestDigest == first.manifest.digest)
        let unnamed = await failure { try await resolve() }
        #expect(unnamed?.message.contains("v1, v2") == true)
        let missing = await failure { try await resolve(":v3") }
        #expect(missing?.code == .notFound)
        #expect(missing?.message.contains("v1, v2") == true)
    }

    @Test("an index gives the image of the platform, and the pinned reference gives it again")
    func platforms() async throws {
        let arm = Platform(os: "linux", architecture: "arm64", variant: "v8")
        var options = ImageFixture.Options()
        let one = try image(1)
        options.platform = arm
        let two = try image(10, options)
        var attestation = try image(20).manifest
        attestation.platform = Platform(os: "unknown", architecture: "unknown")
        let index = try layout.add(
            blob: ImageFixture.index([attestation, two.manifest, one.manifest]), type: .ociIndex)
        try layout.writeIndex([index.tagged("latest")])

        let resolved = try await resolve(":latest", platform: Platform(parsing: "linux/arm64"))
        #expect(resolved.manifestDigest == two.manifest.digest)
        #expect(resolved.indexDigest == index.digest)
        #expect(resolved.platform == arm)
        let again = try await source().resolve(resolved.reference, platform: resolved.platform)
        #expect(again.manifestDigest == two.manifest.digest)
        #expect(again.layers == resolved.layers)
        #expect(try await resolve().manifestDigest == one.manifest.digest)

        let absent = await failure { try await resolve(platform: Platform(parsing: "linux/s390x")) }
        #expect(absent?.code == .noMatchingPlatform)
        #expect(absent?.message.contains("available: linux/arm64/v8, linux/amd64") == true)
        #expect(absent?.message.contains("unknown") == false)
    }

    @Test("a single image for another platform is refused and says for which it is")
    func otherPlatform() async throws {
        var options = ImageFixture.Options()
        options.platform = Platform(os: "linux", architecture: "s390x")
        let image = try image(1, options)
        var entry = image.manifest
        entry.platform = nil
        try layout.writeIndex([entry])
        let error = await failure { try await resolve() }
        #expect(error?.code == .noMatchingPlatform)
        #expect(error?.message.contains("linux/s390x") == true)
    }

    @Test("an index is believed where the config of its image names another platform")
    func lyingConfig() async throws {
        var options = ImageFixture.Options()
        options.announced = Platform(os: "linux", architecture: "arm64")
        let image = try image(1, options)
        try layout.writeIndex([image.manifest])
        let resolved = try await resolve(platform: Platform(parsing: "linux/arm64"))
        #expect(resolved.platform == Platform(os: "linux", architecture: "arm64"))
        let again = try await source().resolve(resolved.reference, platform: resolved.platform)
        #expect(again.manifestDigest == resolved.manifestDigest)
        #expect(again.platform == resolved.platform)
    }

    @Test(
        "layers of every supported type are told apart",
        arguments: [
            (MediaType.ociLayer, LayerCompression.none), (.ociLayerGzip, .gzip), (.ociLayerZstd, .zstd),
            (.dockerLayer, .none), (.dockerLayerGzip, .gzip), (.dockerLayerZstd, .zstd),
        ])
    func layerTypes(type: MediaType, compression: LayerCompression) async throws {
        var options = ImageFixture.Options()
        options.layerTypes = [type]
        options.manifestType = .dockerManifest
        options.configType = .dockerConfig
        try layout.writeIndex([try image(1, options, layers: 1).manifest])
        #expect(try await resolve().layers.map(\.compression) == [compression])
    }

    @Test(
        "a layer of zstd:chunked is one of zstd, and layers that name other places to get them from are not asked there"
    )
    func chunkedAndURLs() async throws {
        let image = try image(1, layers: 1)
        var entry = try #require(try object(image.layers[0]) as? [String: Any])
        entry["mediaType"] = MediaType.ociLayerZstd.rawValue
        entry["annotations"] = ["io.github.containers.zstd-chunked.manifest-position": "1:2:3:1"]
        entry["urls"] = ["http://127.0.0.1:1/layer"]
        let manifest = try layout.add(
            blob: json(["schemaVersion": 2, "config": try object(image.config), "layers": [entry]]),
            type: .ociManifest)
        try layout.writeIndex([manifest])
        let resolved = try await resolve()
        #expect(resolved.layers.map(\.compression) == [.zstd])
        #expect(try await readAll(try source().openLayer(resolved.layers[0].descriptor)).count == 5000)
    }

    @Test("documents beyond their limits are refused, which can be raised")
    func documentLimits() async throws {
        let image = try image(1)
        try layout.writeIndex([image.manifest])
        var limits = DocumentLimits()
        for (name, path) in [
            (DocumentLimits.Name.configBytes, \DocumentLimits.configBytes), (.manifestBytes, \.manifestBytes),
        ] {
            limits[keyPath: path] = 100
            let source = LayoutSource(directory: directory, limits: limits, logger: Logger(label: "test"))
            let error = await failure {
                try await source.resolve(ImageReference(parsing: "oci:\(directory)"), platform: amd64)
            }
            #expect(error?.code == .tooLarge)
            #expect(error?.exceeded == name)
            limits = DocumentLimits()
        }
    }

    @Test(
        "layers that cannot be used are refused by number and type",
        arguments: [
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
            ("application/vnd.acme.thing", "no layer of a container image"),
        ])
    func unusableLayers(type: String, reason: String) async throws {
        var options = ImageFixture.Options()
        options.layerTypes = [.ociLayerGzip, MediaType(rawValue: type)]
        try layout.writeIndex([try image(1, options).manifest])
        let error = await failure { try await resolve() }
        #expect(error?.code == .unsupportedMediaType)
        #expect(error?.message.contains("layer 2 of 2") == true)
        #expect(error?.message.contains(reason) == true)
    }

    @Test("an artifact is not taken for an image")
    func artifact() async throws {
        var options = ImageFixture.Options()
        options.configType = MediaType(rawValue: "application/vnd.cncf.helm.config.v1+json")
        try layout.writeIndex([try image(1, options).manifest])
        let error = await failure { try await resolve() }
        #expect(error?.code == .unsupportedMediaType)
        #expect(error?.message.contains("helm") == true)
    }

    @Test("a config that names fewer layers than the manifest is refused")
    func layerCount() async throws {
        var options = ImageFixture.Options()
        options.diffIDCount = 1
        try layout.writeIndex([try image(1, options).manifest])
        #expect(await failure { try await resolve() }?.code == .invalidManifest)
    }

    @Test("a blob with a changed byte is refused at its end and at no read says that all is well")
    func damagedBlob() async throws {
        let image = try image(1)
        try layout.writeIndex([image.manifest])
        let layer = try #require(image.layers.first)
        var bytes = try #require(image.blobs[layer.digest])
        bytes[17] ^= 1
        try layout.write(bytes, "blobs/sha256/\(layer.digest.hex)")
        let error = await failure { try await readAll(try source().openLayer(layer)) }
        #expect(error?.code == .digestMismatch)
        #expect(error?.message.contains(layer.digest.hex) == true)
    }

    @Test("a blob of another size than its descriptor is refused before it is read", arguments: [4999, 5001])
    func sizes(size: Int) throws {
        let image = try image(1)
        let layer = try #require(image.layers.first)
        try layout.write(noise(size, seed: 1), "blobs/sha256/\(layer.digest.hex)")
        #expect { try source().openLayer(layer) } throws: { ($0 as? OCIError)?.code == .sizeMismatch }
    }

    @Test("a manifest with a changed byte is refused")
    func damagedManifest() async throws {
        let image = try image(1)
        try layout.writeIndex([image.manifest])
        try layout.write(
            image.manifestBytes.map { $0 == 0x3a ? 0x3b : $0 }, "blobs/sha256/\(image.manifest.digest.hex)")
        #expect(await failure { try await resolve() }?.code == .digestMismatch)
        #expect(await failure { try await resolve("@\(image.manifest.digest)") }?.code == .digestMismatch)
    }

    @Test(
        "a blob that is a symbolic link, a directory or a fifo is not read", arguments: ["link", "directory", "fifo"])
    func irregularBlobs(kind: String) throws {
        let image = try image(1)
        let layer = try #require(image.layers.first)
        let path = "\(directory)/blobs/sha256/\(layer.digest.hex)"
        try FileManager.default.moveItem(atPath: path, toPath: "\(temporary.path)/outside")
        switch kind {
        case "link": #expect(symlink("\(temporary.path)/outside", path) == 0)
        case "directory": #expect(mkdir(path, 0o755) == 0)
        default: #expect(mkfifo(path, 0o644) == 0)
        }
        #expect { try source().openLayer(layer) } throws: { ($0 as? OCIError)?.code == .invalidLayout }
    }

    @Test("a blob directory that leads out of the layout is not followed")
    func linkedDirectory() throws {
        let image = try image(1)
        try FileManager.default.moveItem(atPath: "\(directory)/blobs", toPath: "\(temporary.path)/blobs")
        #expect(symlink("\(temporary.path)/blobs", "\(directory)/blobs") == 0)
        let layer = try #require(image.layers.first)
        #expect { try source().openLayer(layer) } throws: { ($0 as? OCIError)?.code == .invalidLayout }
    }

    @Test("a directory that is no layout says what is missing")
    func noLayout() async throws {
        try FileManager.default.removeItem(atPath: "\(directory)/oci-layout")
        let error = await failure { try await resolve() }
        #expect(error?.code == .invalidLayout)
        #expect(error?.message.contains("oci-layout") == true)
        try FileManager.default.removeItem(atPath: directory)
        #expect(await failure { try await resolve() }?.code == .invalidLayout)
    }

    @Test("a layout of a later major version is refused")
    func laterVersion() async throws {
        try layout.write(Array(#"{"imageLayoutVersion":"2.0.0"}"#.utf8), "oci-layout")
        try layout.writeIndex([try image(1).manifest])
        #expect(await failure { try await resolve() }?.code == .invalidLayout)
    }

    @Test("a missing layer is named")
    func missingLayer() throws {
        let image = try image(1)
        let layer = try #require(image.layers.last)
        try FileManager.default.removeItem(atPath: "\(directory)/blobs/sha256/\(layer.digest.hex)")
        #expect { try source().openLayer(layer) } throws: { error in
            (error as? OCIError)?.code == .notFound && "\(error)".contains(layer.digest.hex)
        }
    }

    @Test("a closed reader says so, and closing twice is harmless")
    func closing() async throws {
        let image = try image(1)
        let reader = try source().openLayer(try #require(image.layers.first))
        reader.close()
        reader.close()
        #expect(await failure { try await readAll(reader) }?.code == .cancelled)
    }

    @Test("indexes in a circle end with an error")
    func nestedIndexes() async throws {
        var entry = try image(1).manifest
        for _ in 0..<6 {
            entry = try layout.add(blob: ImageFixture.index([entry]), type: .ociIndex)
        }
        try layout.writeIndex([entry])
        #expect(await failure { try await resolve() }?.code == .invalidManifest)
    }
}
