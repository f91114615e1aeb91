import Foundation
import Testing

@testable import OCI

@Suite("Image references")
struct ImageReferenceTests {
    static let digest = "sha256:" + String(repeating: "ab", count: 32)

    @Test(
        "what people write becomes the full name",
        arguments: [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("acme/app", "docker.io/acme/app:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/acme/app:1", "docker.io/acme/app:1"),
            ("docker://alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/acme/app:1.2", "ghcr.io/acme/app:1.2"),
            ("ghcr.io/acme/app:1.2@\(digest)", "ghcr.io/acme/app:1.2@\(digest)"),
            ("ghcr.io/acme/app@\(digest)", "ghcr.io/acme/app@\(digest)"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("127.0.0.1:5000/a/b/c/d:v1", "127.0.0.1:5000/a/b/c/d:v1"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("GHCR.io/acme/app", "ghcr.io/acme/app:latest"),
            ("registry.example/a__b/c-d--e/f.g:Tag_1", "registry.example/a__b/c-d--e/f.g:Tag_1"),
            ("docker://oci:5000/app", "docker://oci:5000/app:latest"),
            ("oci:/images/app", "oci:/images/app"),
            ("oci:images/app:1.2", "oci:images/app:1.2"),
            ("oci:dir:docker.io/library/alpine:latest", "oci:dir:docker.io/library/alpine:latest"),
            ("oci:dir@\(digest)", "oci:dir@\(digest)"),
            ("oci:dir:v1@\(digest)", "oci:dir:v1@\(digest)"),
            ("oci:user@host/dir", "oci:user@host/dir"),
            ("oci-archive:/images/app.tar", "oci-archive:/images/app.tar"),
            ("oci-archive:app.tar:1.2@\(digest)", "oci-archive:app.tar:1.2@\(digest)"),
            ("docker-archive:app.tar", "docker-archive:app.tar"),
            ("docker-archive:app.tar:acme/app:1.2", "docker-archive:app.tar:acme/app:1.2"),
            ("docker-archive:app.tar@\(digest)", "docker-archive:app.tar@\(digest)"),
            ("-", "-"),
        ])
    func normalisation(written: String, full: String) throws {
        let reference = try ImageReference(parsing: written)
        #expect(reference.description == full)
        #expect(try ImageReference(parsing: reference.description) == reference)
    }

    @Test(
        "what is no reference is refused with a reason",
        arguments: [
            ("", "empty"), ("Alpine", "lower case"), ("Acme/app", "acme/app"), ("ghcr.io/Acme/app", "acme/app"),
            ("alpine:", "tag"),
            ("alpine:-x", "tag"), ("alpine:\(String(repeating: "x", count: 129))", "tag"),
            ("alpine@sha256:abc", "64"), ("alpine@md5:abc", "sha512"),
            ("alpine@\(digest.uppercased())", "sha512"),
            ("a//b", "lower case letters"), ("ghcr.io/", "lower case letters"), ("a..b/c", "host"),
            ("ghcr.io/a..b", "lower case letters"), ("ghcr.io/a___b", "lower case letters"),
            ("-a", "lower case letters"),
            ("https://ghcr.io/acme/app", "without https://"), ("dir:app", "docker-archive:FILE"),
            ("docker-archive:", "docker-archive:FILE"), ("oci-archive:app.tar:", "oci-archive:FILE"),
            ("--", "lower case"),
            ("host:99999/app", "host"), ("al pine", "lower case letters"), ("a\u{1b}[31m", "control"),
            ("oci:", "oci:DIR"), ("oci:dir:", "oci:DIR"), ("oci:dir@sha256:12", "64"),
            (String(repeating: "ab", count: 32), "image id"), ("x/" + String(repeating: "a", count: 260), "255"),
            ("alpine/../../etc:1", "lower case letters"), ("ghcr.io/a/./b", "lower case letters"),
        ])
    func refusal(written: String, reason: String) {
        #expect {
            try ImageReference(parsing: written)
        } throws: { error in
            guard let error = error as? OCIError else { return false }
            return error.code == .invalidReference && error.message.contains(reason)
                && !error.message.unicodeScalars.contains { $0.value == 0x1b }
        }
    }

    @Test(
        "a password in a reference is not repeated",
        arguments: [
            "https://ann:s3cret@ghcr.io/acme/app", "ann:s3cret@ghcr.io/acme/app",
            "docker://ann:s3cret@ghcr.io/acme/app:1",
            "docker-daemon:ann:s3cret@ghcr.io/acme",
        ])
    func passwords(written: String) async {
        let error = await failure { try ImageReference(parsing: written) }
        #expect(error?.code == .invalidReference)
        #expect(error?.message.contains("s3cret") == false)
        #expect(error?.message.contains("ghcr.io") == true)
    }

    @Test("what can be read can be read again, whatever it is")
    func roundTrips() {
        var generator = SplitMix(state: 4711)
        let parts = [
            "a", "b1", ".", "/", ":", "@", "-", "_", "oci:", "oci-archive:", "docker-archive:", "docker://",
            "localhost", "[::1]", "5000", "A", "é", " ",
            Self.digest,
        ]
        var readable = 0
        for _ in 0..<30_000 {
            let text = (0..<Int.random(in: 1...7, using: &generator)).map { _ in
                parts[Int.random(in: 0..<parts.count, using: &generator)]
            }.joined()
            guard let reference = try? ImageReference(parsing: text) else { continue }
            readable += 1
            if (try? ImageReference(parsing: reference.description)) != reference {
                Issue.record("\(text) was read as \(reference), which is read as something else")
            }
        }
        print("random references: 30000 with seed 4711, \(readable) readable")
        #expect(readable > 1000)
    }

    @Test("a reference is stored as its text")
    func coding() throws {
        let references = [
            try ImageReference(parsing: "oci:dir:v1@\(Self.digest)"), try ImageReference(parsing: "alpine"),
        ]
        let data = try JSONEncoder().encode(references)
        #expect(String(decoding: data, as: UTF8.self).contains("\"oci:dir:v1@\(Self.digest)\""))
        #expect(try JSONDecoder().decode([ImageReference].self, from: data) == references)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([ImageReference].self, from: Data(#"["A"]"#.utf8))
        }
    }

    @Test("pinning keeps the tag for people and replaces an older digest")
    func pinning() throws {
        let digest = Digest.sha256(of: [1, 2, 3])
        let tagged = try ImageReference(parsing: "ghcr.io/acme/app:1.2@\(Self.digest)").pinned(to: digest)
        #expect(tagged.description == "ghcr.io/acme/app:1.2@\(digest)")
        #expect(tagged.registryHost == "ghcr.io")
        let layout = try ImageReference(parsing: "oci:dir").pinned(to: digest)
        #expect(layout.description == "oci:dir@\(digest)")
        #expect(layout.registryHost == nil)
        let archive = try ImageReference(parsing: "docker-archive:app.tar:acme/app:1").pinned(to: digest)
        #expect(archive.description == "docker-archive:app.tar:acme/app:1@\(digest)")
        #expect(archive.digest == digest && archive.tag == "acme/app:1")
        #expect(try ImageReference(parsing: "-").pinned(to: digest).digest == nil)
    }
}

@Suite("Digests, platforms and times")
struct SmallValueTests {
    @Test("a digest is computed as sha256sum and sha512sum do")
    func digests() throws {
        // The empty string's digests are printed in FIPS 180-4's examples and everywhere else.
        #expect(
            Digest.sha256(of: []).description
                == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        let long = Digest.of(Array("abc".utf8), algorithm: .sha512)
        #expect(long.hex.hasPrefix("ddaf35a193617abacc417349ae204131"))
        #expect(try Digest(parsing: long.description) == long)
    }

    @Test("a digest made in pieces is the digest of the whole")
    func pieces() {
        let bytes = noise(10_000, seed: 3)
        var hasher = DigestHasher(algorithm: .sha256)
        bytes[..<1].withUnsafeBytes { hasher.update($0) }
        bytes[1...].withUnsafeBytes { hasher.update($0) }
        #expect(hasher.finalize() == .sha256(of: bytes))
    }

    @Test(
        "a platform runs what is written for it and what is older",
        arguments: [
            ("linux/amd64", "linux/amd64", 0), ("linux/amd64", "linux/x86_64", 0), ("linux/arm64", "linux/arm64/v8", 0),
            ("linux/arm64/v8", "linux/arm64", 0), ("linux/arm/v7", "linux/arm/v6", 1), ("linux/arm", "linux/arm/v5", 2),
            ("linux/amd64/v3", "linux/amd64", 2), ("linux/amd64", "linux/amd64/v2", nil),
            ("linux/arm/v6", "linux/arm/v7", nil), ("linux/amd64", "linux/arm64", nil),
            ("linux/amd64", "windows/amd64", nil),
            ("linux/riscv64", "linux/riscv64", 0),
        ] as [(String, String, Int?)])
    func distances(asked: String, offered: String, distance: Int?) throws {
        #expect(try Platform(parsing: asked).distance(toOffer: Platform(parsing: offered)) == distance)
    }

    @Test(
        "a platform that is none is refused", arguments: ["linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", ""])
    func badPlatforms(text: String) {
        #expect(throws: OCIError.self) { try Platform(parsing: text) }
    }

    @Test(
        "dates of configs and headers are read to the second",
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("2024-05-22T18:18:12.052034407Z", 1_716_401_892),
            ("2024-02-29T23:59:59+02:00", 1_709_243_999), ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("2000-03-01T00:00:00-00:30", 951_870_600), ("yesterday", nil), ("2024-13-01T00:00:00Z", nil),
            ("2024-05-22T18:18:12", nil), ("2024-05-22T18:18:12.Z", nil),
        ] as [(String, Int64?)])
    func dates(text: String, seconds: Int64?) {
        #expect(secondsSinceEpoch(rfc3339: text) == seconds)
    }

    @Test("a date of HTTP is read")
    func httpDate() {
        #expect(secondsSinceEpoch(httpDate: "Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777)
        #expect(secondsSinceEpoch(httpDate: "soon") == nil)
    }

    @Test("the first bytes tell the compression")
    func sniffing() {
        #expect(LayerCompression(firstBytes: [0x1f, 0x8b, 8, 0]) == .gzip)
        #expect(LayerCompression(firstBytes: [0x28, 0xb5, 0x2f, 0xfd]) == .zstd)
        #expect(LayerCompression(firstBytes: [0x50, 0x2a, 0x4d, 0x18]) == .zstd)
        #expect(LayerCompression(firstBytes: Array("etc/".utf8)) == LayerCompression.none)
        #expect(LayerCompression(firstBytes: []) == LayerCompression.none)
    }

    @Test("no print of credentials shows the secret")
    func redaction() {
        for credentials in [
            Credentials(username: "ann", password: "s3cret"), Credentials(.identityToken("s3cret")),
            Credentials(.registryToken("s3cret")),
        ] {
            var dumped = ""
            dump(credentials, to: &dumped)
            #expect(!"\(credentials) \(String(reflecting: credentials)) \(dumped)".contains("s3cret"))
        }
    }
}
