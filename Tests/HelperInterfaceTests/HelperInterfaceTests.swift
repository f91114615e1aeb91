import Foundation
import Testing

@testable import HelperInterface

struct SnapshotKeyTests {
    private let digest = "sha256:" + String(repeating: "ab", count: 32)

    @Test("the key of an image never changes: snapshots made long ago are found again")
    func golden() {
        let key = SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil)
        #expect(key.hex == "cd5ea382ef9c247770ad8ef139154132253c00bbe14b5f8854e75285eb77be91")
        #expect(key.snapshotID == "snap-" + key.hex.prefix(16))
    }

    @Test("digest, platform, size, verity and a date each make another key")
    func parts() {
        let keys = [
            SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil),
            SnapshotKey(manifestDigest: digest, platform: "linux/arm64", size: nil),
            SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: 1 << 30),
            SnapshotKey(manifestDigest: digest + "0", platform: "linux/amd64", size: nil),
            SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil, verity: true),
            SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil, sourceDateEpoch: 0),
            SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil, verity: true, sourceDateEpoch: 0),
        ]
        #expect(Set(keys).count == 7)
        #expect(Set(keys.map(\.uuid)).count == 7)
        #expect(Set(keys.map(\.hashSeed)).count == 7)
        #expect(Set(keys.map(\.veritySalt)).count == 7 && keys.allSatisfy { $0.veritySalt.count == 32 })
    }

    @Test("UUID and hash seed are 16 bytes of version 8")
    func uuid() {
        let key = SnapshotKey(manifestDigest: digest, platform: "linux/amd64", size: nil)
        for uuid in [key.uuid, key.hashSeed] {
            #expect(uuid.count == 16 && uuid[6] >> 4 == 8 && uuid[8] >> 6 == 2)
        }
        #expect(uuidText(key.uuid).count == 36)
    }
}

struct ByteCountTests {
    @Test(
        "numbers of bytes are read as people write them",
        arguments: [
            ("1", 1), ("4096", 4096), ("10GiB", 10 << 30), ("512M", 512 << 20), ("1.5k", 1536), ("2GB", 2_000_000_000),
            ("1TiB", 1 << 40), ("7b", 7),
        ] as [(String, UInt64)])
    func valid(text: String, bytes: UInt64) {
        #expect(parseByteCount(text) == bytes)
    }

    @Test(
        "nonsense, zero and what no disk holds are refused",
        arguments: ["", "0", "-1", "GiB", "1e9", "10 GiB", "1QiB", "nan", "inf", "9999999999TiB", "1..5k", "٣"])
    func invalid(text: String) {
        #expect(parseByteCount(text) == nil)
    }

    @Test("sizes are told with three digits")
    func told() {
        #expect(byteCountText(0) == "0 B")
        #expect(byteCountText(1023) == "1023 B")
        #expect(byteCountText(1536) == "1.5 KiB")
        #expect(byteCountText(10 << 30) == "10 GiB")
        #expect(byteCountText(.max) == "16 EiB")
    }
}

struct SourceDateEpochTests {
    @Test("a date is a number of seconds from 1970 to 2310; not set and empty are no date")
    func parse() throws {
        #expect(try SourceDateEpoch.parse(nil) == nil && SourceDateEpoch.parse("") == nil)
        #expect(try SourceDateEpoch.parse("0") == 0 && SourceDateEpoch.parse("10737418239") == 10_737_418_239)
        for text in ["-1", "+1", "1.5", " 1", "0x10", "now", "10737418240", "99999999999999999999"] {
            #expect(throws: SourceDateEpoch.Invalid.self) { try SourceDateEpoch.parse(text) }
        }
    }
}

struct HelperEventTests {
    @Test("what the helper says is understood by the workflow")
    func roundTrip() throws {
        let result = PullResult(
            output: "/work/x", sha256: "00", size: .max, uuid: "u", key: "k", image: "i", manifestDigest: "d",
            platform: "p", entries: 3, layerBytes: 4, warnings: ["\u{1B}[31mred"], config: "{\"a\":\"\\n\"}")
        var other = result
        other.sourceDateEpoch = 7
        other.verity = VerityResult(
            VeritySuperblock(uuid: Array(0..<16), salt: [1], dataBlocks: 9), rootHash: "ab")
        let events: [HelperEvent] = [
            .result(other),
            .progress(PullProgress(phase: .layers, bytes: 1, total: 2)), .warning("w"),
            .failure(HelperFailure(code: "c", message: "m\nn", isRetryable: true)), .result(result),
        ]
        for event in events {
            let line = try JSONEncoder().encode(event)
            #expect(!line.contains(UInt8(ascii: "\n")), "one event is one line")
            #expect(try JSONDecoder().decode(HelperEvent.self, from: line) == event)
        }
    }

    @Test("the arguments of a pull hold the reference last, behind --, and no credentials")
    func arguments() {
        let arguments = PullArguments(
            reference: "--evil", output: "/work/x", platform: "linux/amd64", size: 5, credentialsFile: "/s/c",
            plainHTTPHosts: ["a", "b"], caFile: "/ca")
        #expect(arguments.argv.suffix(2) == ["--", "--evil"])
        #expect(arguments.argv.contains("--remove-creds-file") && !arguments.argv.contains("--verity"))
        var withTree = arguments
        withTree.verity = true
        #expect(withTree.argv.contains("--verity") && withTree.argv.suffix(2) == ["--", "--evil"])
    }
}
