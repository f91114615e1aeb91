import Foundation
import HelperInterface
import OCI
import Testing

@testable import Artifacts

@Suite("The manifest of a snapshot")
struct ManifestTests {
    private static let chunks = [
        Chunk(offset: 0, size: 64 << 20, content: .sha256(of: [1]), blob: .sha256(of: [2]), blobSize: 1000),
        Chunk(offset: 128 << 20, size: 1000, content: .sha256(of: [3]), blob: .sha256(of: [4]), blobSize: 100),
    ]

    @Test("what was written is read again: sizes, checksums, verity, base image and subject")
    func roundTrip() throws {
        let image = sampleResult(size: (128 << 20) + 1000)
        let written = ArtifactManifest(image: image, chunks: Self.chunks)
        let (descriptor, bytes) = try written.encoded()
        #expect(descriptor.digest == .sha256(of: bytes))
        #expect(descriptor.platform?.description == "linux/arm64/v8")
        #expect(descriptor.artifactType == "application/vnd.snapwf.rootfs.v1")
        #expect(try written.encoded().bytes == bytes)
        let read = try manifest(bytes, image)
        #expect(read.chunks == Self.chunks)
        #expect(read.image == image)
    }

    @Test("a path of this machine does not travel")
    func localName() throws {
        var image = sampleResult(size: (128 << 20) + 1000)
        image.image = "oci:/home/ann/secret@\(image.manifestDigest)"
        let (_, bytes) = try ArtifactManifest(image: image, chunks: Self.chunks).encoded()
        #expect(!String(decoding: bytes, as: UTF8.self).contains("secret"))
        #expect(try manifest(bytes, image).image.image == "the/reference")
    }

    @Test(
        "a document that contradicts the format is refused in words",
        arguments: [
            ("size", "vnd.snapwf.rootfs.size", "0"), ("size", "vnd.snapwf.rootfs.size", "99999999999999999999"),
            ("size", "vnd.snapwf.rootfs.size", "-1"), ("size", "vnd.snapwf.rootfs.size", "1000"),
            ("sha256", "vnd.snapwf.rootfs.sha256", "ABC"), ("uuid", "vnd.snapwf.rootfs.uuid", "../../etc/passwd"),
            ("key", "vnd.snapwf.rootfs.key", String(repeating: "g", count: 64)),
            ("platform", "vnd.snapwf.rootfs.platform", "linux"),
            ("base", "org.opencontainers.image.base.digest", "sha256:1"),
            ("verity", "vnd.snapwf.rootfs.verity.data-blocks", "18446744073709551615"),
            ("missing", "vnd.snapwf.rootfs.uuid", nil), ("missing", "vnd.snapwf.rootfs.verity.salt", nil),
        ] as [(String, String, String?)])
    func annotations(what: String, key: String, value: String?) throws {
        let image = sampleResult(size: (128 << 20) + 1000)
        let error = try refusal(image) { document in
            var annotations = document["annotations"] as? [String: Any] ?? [:]
            annotations[key] = value
            document["annotations"] = annotations
        }
        #expect(error?.code == .invalidArtifact, "\(what)")
    }

    @Test(
        "chunks that overlap, stand apart from their order or outside of the image, or are too large, are refused",
        arguments: [
            (1, "offset", "1048576"), (1, "offset", "134217729"), (1, "size", "1001"), (1, "size", "0"),
            (0, "size", "67108865"), (0, "size", "9223372036854775807"), (1, "offset", "18446744073709551615"),
            (0, "digest", "md5:1"), (0, "offset", ""), (0, "offset", "１"),
        ])
    func chunks(index: Int, key: String, value: String) throws {
        let image = sampleResult(size: (128 << 20) + 1000)
        let error = try refusal(image) { document in
            var layers = document["layers"] as? [[String: Any]] ?? []
            var annotations = layers[index]["annotations"] as? [String: Any] ?? [:]
            annotations["vnd.snapwf.rootfs.chunk.\(key)"] = value
            layers[index]["annotations"] = annotations
            document["layers"] = layers
        }
        #expect(error?.code == .invalidArtifact)
    }

    @Test("a blob larger than its chunk can become is not even asked for; nor is one of another type")
    func blobs() throws {
        let image = sampleResult(size: (128 << 20) + 1000)
        for (key, value) in [
            ("size", 5000 as Any), ("size", 0), ("mediaType", "application/vnd.oci.image.layer.v1.tar"),
        ] {
            let error = try refusal(image) { document in
                var layers = document["layers"] as? [[String: Any]] ?? []
                layers[1][key] = value
                document["layers"] = layers
            }
            #expect(error?.code == .invalidArtifact, "\(key)")
        }
    }

    @Test("an image is told from a snapshot, and from other artifacts")
    func kinds() throws {
        let image = sampleResult(size: (128 << 20) + 1000)
        let plain = try refusal(image) { $0["artifactType"] = nil }
        #expect(plain?.code == .notASnapshot)
        #expect(plain?.message.contains("snapwf run") == true)
        let other = try refusal(image) { $0["artifactType"] = "application/vnd.example" }
        #expect(other?.code == .notASnapshot)
        #expect(other?.message.contains("vnd.example") == true)
    }

    @Test("more chunks than a manifest can name are an error before anything is pushed under a tag")
    func tooMany() {
        let many = (0..<20_000).map { index in
            Chunk(offset: index << 26, size: 1 << 26, content: .sha256(of: [1]), blob: .sha256(of: [2]), blobSize: 9)
        }
        let error = #expect(throws: ArtifactError.self) {
            try ArtifactManifest(image: sampleResult(size: 20_000 << 26), chunks: many).encoded()
        }
        #expect(error?.code == .tooLarge)
    }

    private func manifest(_ bytes: [UInt8], _ image: PullResult) throws -> ArtifactManifest {
        try ArtifactManifest(
            ArtifactManifest.document(bytes, name: "name"), config: Array(image.config.utf8),
            reference: "the/reference",
            name: "name")
    }

    private func refusal(_ image: PullResult, _ change: (inout [String: Any]) -> Void) throws -> ArtifactError? {
        let (_, bytes) = try ArtifactManifest(image: image, chunks: Self.chunks).encoded()
        var document = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        change(&document)
        let changed = Array(try JSONSerialization.data(withJSONObject: document))
        return #expect(throws: ArtifactError.self) { try manifest(changed, image) }
    }
}

func sampleResult(size: UInt64, sha256: String = String(repeating: "0a", count: 32)) -> PullResult {
    let digest = Digest.sha256(of: [42]).description
    var result = PullResult(
        output: "", sha256: sha256, size: size, uuid: "00112233-4455-8677-8899-aabbccddeeff",
        key: String(repeating: "0b", count: 32), image: "registry.example/acme/app:1.2@\(digest)",
        manifestDigest: digest, platform: "linux/arm64/v8", entries: 12, layerBytes: 345, warnings: [],
        config: #"{"architecture":"arm64","os":"linux","config":{"Cmd":["/bin/ü"]}}"#)
    result.manifestType = "application/vnd.oci.image.manifest.v1+json"
    result.manifestSize = 559
    result.sourceDateEpoch = 1_700_000_000
    result.verity = VerityResult(
        rootHash: String(repeating: "0c", count: 32), salt: "0d0e", uuid: "00112233-4455-8677-8899-aabbccddeeff",
        dataBlocks: 10, hashOffset: 40960)
    return result
}
