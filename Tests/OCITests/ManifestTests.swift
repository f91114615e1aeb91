import Testing

@testable import OCI

@Suite("Manifests and indexes")
struct ManifestTests {
    static let descriptor =
        #"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:\#(String(repeating: "a", count: 64))","size":2}"#

    private func content(_ text: String, as type: MediaType?) throws -> ManifestDocument.Content {
        let bytes = Array(text.utf8)
        return try ManifestDocument(bytes: bytes, digest: .sha256(of: bytes), declaredType: type).content(
            named: "image")
    }

    @Test("a document without a type of its own is what it was announced as, or what it holds")
    func untyped() throws {
        let manifest = #"{"schemaVersion":2,"config":\#(Self.descriptor),"layers":[\#(Self.descriptor)]}"#
        for type in [MediaType.ociManifest, .dockerManifest, MediaType(rawValue: "application/json"), nil] {
            guard case .manifest(_, let layers) = try content(manifest, as: type) else {
                Issue.record("read as an index when announced as \(String(describing: type))")
                continue
            }
            #expect(layers.count == 1)
        }
        let index = #"{"schemaVersion":2,"manifests":[\#(Self.descriptor)]}"#
        guard case .index(let entries) = try content(index, as: nil) else {
            Issue.record("an index was read as a manifest")
            return
        }
        #expect(entries.count == 1)
    }

    @Test(
        "a document that contradicts its type, or itself, is refused",
        arguments: [
            (#"{"schemaVersion":2,"manifests":[]}"#, MediaType.ociManifest, OCIError.Code.invalidManifest),
            (#"{"schemaVersion":2,"config":\#(descriptor),"layers":[]}"#, .ociIndex, .invalidManifest),
            (#"{"schemaVersion":2,"manifests":[],"config":\#(descriptor),"layers":[]}"#, .ociIndex, .invalidManifest),
            (#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, .ociManifest, .invalidManifest),
            (
                #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
                .ociManifest,
                .invalidManifest
            ),
            (#"{"schemaVersion":2,"config":\#(descriptor)}"#, .ociManifest, .invalidManifest),
            (#"{"schemaVersion":2}"#, .ociManifest, .invalidManifest),
            (#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#, .dockerSchema1Signed, .unsupportedMediaType),
            (#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#, .ociManifest, .unsupportedMediaType),
            (#"{"schemaVersion":3}"#, .ociManifest, .unsupportedMediaType),
            ("<html>", .ociManifest, .invalidManifest), ("[]", .ociManifest, .invalidManifest),
            (String(repeating: "[", count: 100_000), .ociManifest, .invalidManifest),
            (#"{"schemaVersion":2,"config":{},"layers":[]}"#, .ociManifest, .invalidManifest),
            (
                #"{"schemaVersion":2,"config":\#(descriptor.replacing("\"size\":2", with: "\"size\":-2")),"layers":[]}"#,
                .ociManifest, .invalidManifest
            ),
            (
                #"{"schemaVersion":2,"config":\#(descriptor.replacing("\"size\":2", with: "\"size\":1e30")),"layers":[]}"#,
                .ociManifest, .invalidManifest
            ),
            (
                #"{"schemaVersion":2,"config":\#(descriptor.replacing("sha256:a", with: "sha256:/")),"layers":[]}"#,
                .ociManifest, .invalidManifest
            ),
            (#"{"schemaVersion":2}"#, MediaType(rawValue: "text/html"), .unsupportedMediaType),
        ])
    func contradictions(text: String, type: MediaType, code: OCIError.Code) {
        #expect {
            try content(text, as: type)
        } throws: { error in
            (error as? OCIError)?.code == code
        }
    }

    @Test("an error in a document says where it is")
    func place() {
        let text = #"{"schemaVersion":2,"config":\#(Self.descriptor),"layers":[\#(Self.descriptor),{"digest":"x"}]}"#
        #expect {
            try content(text, as: .ociManifest)
        } throws: { error in
            "\(error)".contains("layers") && "\(error)".contains("[1]")
        }
    }

    @Test("no mutation of a manifest crashes the reader")
    func mutations() throws {
        let image = try ImageFixture(layers: [noise(10, seed: 1), noise(20, seed: 2)])
        let index = try ImageFixture.index([image.manifest, image.manifest])
        var generator = SplitMix(state: 20_241_123)
        var refused = 0
        let rounds = 4000
        for round in 0..<rounds {
            var bytes = round.isMultiple(of: 2) ? image.manifestBytes : index
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: at)
                default: bytes = Array(bytes[..<at])
                }
                if bytes.isEmpty { bytes = [0] }
            }
            do {
                _ = try ManifestDocument(bytes: bytes, digest: .sha256(of: bytes), declaredType: nil)
                    .content(named: "image")
            } catch {
                refused += 1
                #expect(!error.message.isEmpty)
            }
        }
        print("mutated manifests: \(rounds) with seed 20241123, \(refused) refused")
        #expect(refused > rounds / 2)
    }
}

/// A small generator with a seed, for tests that must repeat.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
