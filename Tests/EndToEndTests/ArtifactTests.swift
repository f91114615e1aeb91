import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// `snapshot push` and `snapshot download`, killed as often as it takes to believe them.
    @Suite(.serialized)
    struct Artifacts {
        private static let kills = 20

        @Test("a push killed twenty times goes on where the registry stands: right bytes, less than a tenth sent twice")
        func pushKilled() async throws {
            let image = try SampleImage(megabytes: 192, chunks: 4)
            let directory = try makeTemporaryDirectory("keeping-registry")
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let registry = try await PortedProgram(Programs.fixture("keeping-registry"), [directory])
            let proxy = try await CountingProxy(to: registry.port, rate: 60 << 20)
            let reference = "127.0.0.1:\(proxy.port)/acme/fs:v1"
            let landed = try await killing("a push", of: image.bytes, counting: { proxy.toServer }) {
                try Child(Programs.snapshot, ["push", "--progress", "json", image.path, reference])
            }
            #expect(landed == Self.kills)
            let last = try await Child(Programs.snapshot, ["push", "--progress", "json", image.path, reference]).wait()
            try #require(last.status == 0, "\(last.everything)")
            expectLittleTwice("a push", proxy.toServer, of: image.bytes)
            #expect(image.leftovers == [], "left beside the image")

            let copy = image.directory + "/copy"
            let pulled = try await Child(Programs.snapshot, ["download", "-o", copy, reference]).wait()
            try #require(pulled.status == 0, "\(pulled.everything)")
            #expect(try await sha256sum(copy) == image.sha256)
        }

        @Test("a push to the distribution's registry, which forgets an upload that broke, sends whole chunks but once")
        func pushKilledAtDistribution() async throws {
            let image = try SampleImage(megabytes: 48, chunks: 48)
            let registry = try await RealRegistry(.anonymous)
            defer { registry.stop() }
            let proxy = try await CountingProxy(to: registry.port, rate: 60 << 20)
            let reference = "127.0.0.1:\(proxy.port)/acme/fs:v1"
            let landed = try await killing("a push in small chunks", of: image.bytes, counting: { proxy.toServer }) {
                try Child(Programs.snapshot, ["push", "--progress", "json", image.path, reference])
            }
            #expect(landed == Self.kills)
            let last = try await Child(Programs.snapshot, ["push", "--progress", "json", image.path, reference]).wait()
            try #require(last.status == 0, "\(last.everything)")
            // Three are under way at a time; what a registry has taken is never sent again.
            let most = Self.kills * 3 * (image.bytes / 48)
            print("a push in small chunks: \(proxy.toServer - image.bytes) bytes twice, \(most) at most")
            #expect(proxy.toServer - image.bytes < most)
        }

        @Test("a download killed twenty times goes on where it stood: right bytes, less than a tenth fetched twice")
        func downloadKilled() async throws {
            let image = try SampleImage(megabytes: 192, chunks: 4)
            let registry = try await RealRegistry(.anonymous)
            defer { registry.stop() }
            let pushed = try await Child(Programs.snapshot, ["push", image.path, "\(registry.host)/acme/fs:v1"]).wait()
            try #require(pushed.status == 0, "\(pushed.everything)")
            // Slow enough that the client keeps up on a busy machine: what waits in the kernel's buffers was counted.
            let proxy = try await CountingProxy(to: registry.port, rate: 24 << 20)
            let copy = image.directory + "/copy"
            let arguments = ["download", "--progress", "json", "-o", copy, "127.0.0.1:\(proxy.port)/acme/fs:v1"]
            let landed = try await killing("a download", of: image.bytes, counting: { proxy.toClient }) {
                try Child(Programs.snapshot, arguments)
            }
            #expect(landed == Self.kills)
            #expect(!FileManager.default.fileExists(atPath: copy))
            let last = try await Child(Programs.snapshot, arguments).wait()
            try #require(last.status == 0, "\(last.everything)")
            expectLittleTwice("a download", proxy.toClient, of: image.bytes)
            #expect(try await sha256sum(copy) == image.sha256)
            #expect(!FileManager.default.fileExists(atPath: copy + ".download"))
        }

        @Test("image, run, push; nothing left here; pull, verify: the same snapshot, from the catalog and into it")
        func wholeWay() async throws {
            let registry = try await RealRegistry(.anonymous)
            defer { registry.stop() }
            let reference = "\(registry.host)/acme/fs:v1"
            let first = try Installation()
            let run = try await first.snapwf("run", "oci:\(try await Images.shared.smallLayout())", "-q")
            try #require(run.status == 0, "\(run.everything)")
            let id = run.output.trimmingCharacters(in: .whitespacesAndNewlines)
            let pushed = try await first.snapwf("snapshots", "push", id, reference, "--json")
            try #require(pushed.status == 0, "\(pushed.everything)")
            let shown = try #require(try pushed.json()["pushed"] as? [String: Any])
            let sha256 = try await first.sha256(of: id)

            let second = try Installation()
            let pulled = try await second.snapwf("snapshots", "pull", reference, "--name", "travelled", "-q")
            try #require(pulled.status == 0, "\(pulled.everything)")
            #expect(pulled.output.trimmingCharacters(in: .whitespacesAndNewlines) == id)
            #expect(try await second.sha256(of: "travelled") == sha256)
            let verified = try await second.snapwf("snapshots", "verify", "travelled")
            #expect(verified.status == 0, "\(verified.everything)")
            let inspected = try await second.snapwf("snapshots", "inspect", "travelled", "--json")
            #expect(inspected.output.contains("\(shown["manifestDigest"] ?? "?")"), "\(inspected.everything)")
            // The same from the second installation finds all of it there.
            let again = try await second.snapwf("snapshots", "push", "travelled", reference, "--json")
            let result = try #require(try again.json()["pushed"] as? [String: Any])
            #expect(result["digest"] as? String == shown["digest"] as? String)
            #expect(result["bytesSent"] as? Int == 0)
            let known = try await second.snapwf("snapshots", "pull", reference, "-q")
            #expect(known.output == pulled.output)

            let missing = try await second.snapwf("snapshots", "pull", "\(registry.host)/acme/fs:v2")
            #expect(missing.status == 3, "\(missing.everything)")
            let asImage = try await second.snapwf("run", reference)
            #expect(asImage.status == 5, "\(asImage.everything)")
            #expect(asImage.errors.contains("snapwf snapshots pull"), "\(asImage.everything)")
        }

        /// Starts a program again and again and kills it at random points of its way; how often it was killed.
        ///
        /// The points are those of the bytes that have passed in all: so each kill hits the middle of the work, however
        /// fast the machine is.
        private func killing(
            _ what: String, of bytes: Int, counting: () -> Int, start: () throws -> Child
        ) async throws -> Int {
            var generator = SeededGenerator(seed: TestSize.seed("\(what), killed"))
            let points = (0..<Self.kills).map { _ in generator.number(bytes / 50...bytes / 10 * 9) }.sorted()
            var landed = 0
            for point in points {
                let child = try start()
                // Each start is let come far enough to have begun.
                let mark = max(point, counting() + 1)
                let end = ContinuousClock.now + .seconds(120)
                while child.process.isRunning, counting() < mark {
                    try #require(ContinuousClock.now < end, "\(what) does not go on: \(counting()) of \(mark)")
                    try await Task.sleep(for: .milliseconds(2))
                }
                if child.process.isRunning { landed += 1 }
                child.signal(SIGKILL)
                try await child.wait()
            }
            return landed
        }

        private func expectLittleTwice(_ what: String, _ passed: Int, of bytes: Int) {
            let twice = passed - bytes
            let share = Double(twice) * 100 / Double(bytes)
            print(
                "\(what), killed \(Self.kills) times: \(passed) bytes for \(bytes), \(String(format: "%.1f", share)) % twice"
            )
            #expect(twice >= 0, "fewer bytes passed than the image has: the count is wrong")
            #expect(twice < bytes / 10)
        }
    }
}

extension Installation {
    fileprivate func sha256(of snapshot: String) async throws -> String {
        let path = home + "/exported-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let exported = try await snapwf("snapshots", "export", snapshot, "-o", path)
        try #require(exported.status == 0, "\(exported.everything)")
        return try await sha256sum(path)
    }
}

private func sha256sum(_ path: String) async throws -> String {
    String(try await tool("sha256sum", path).output.prefix(64))
}

/// A file of chunks that hold bytes which no compressor makes smaller, each at its start, with a result document.
private final class SampleImage {
    let directory: String
    /// Of the data, and so nearly of what travels.
    let bytes: Int
    let sha256: String

    var path: String { directory + "/image" }

    /// What is there besides the image, its document and a copy.
    var leftovers: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.filter { !["image", "image.json", "copy"].contains($0) }
    }

    init(megabytes: Int, chunks: Int) throws {
        directory = try makeTemporaryDirectory("artifact")
        bytes = megabytes << 20
        let script = """
            import hashlib, json, os, random, sys
            path, size, chunks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
            noise = random.Random(size)
            with open(path, "wb") as file:
                file.truncate(chunks << 26)
                for chunk in range(chunks):
                    file.seek(chunk << 26)
                    file.write(noise.randbytes(size // chunks))
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            print(digest, end="")
            with open(path + ".json", "w") as file:
                json.dump({"schema": 1, "output": path, "sha256": digest, "size": chunks << 26,
                    "uuid": "00112233-4455-8677-8899-aabbccddeeff", "key": "0b" * 32, "image": "registry.example/a/b:1",
                    "manifestDigest": "sha256:" + "0c" * 32, "platform": "linux/amd64", "entries": 1, "layerBytes": 1,
                    "warnings": [], "config": "{}"}, file)
            """
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", script, directory + "/image", "\(bytes)", "\(chunks)"]
        process.standardOutput = output
        try process.run()
        sha256 = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        try #require(process.terminationStatus == 0 && sha256.count == 64)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}

/// A program that prints the port it listens on.
private final class PortedProgram: Sendable {
    private let child: Child
    let port: Int

    init(_ program: String, _ arguments: [String]) async throws {
        let child = try Child(program, arguments)
        self.child = child
        try await eventually("\(program) listens") { child.outputSoFar.hasSuffix("\n") }
        port = try #require(Int(child.outputSoFar.dropLast()))
    }

    deinit { child.signal(SIGKILL) }
}

/// Between a program and a registry: as fast as it is told, and it counts.
private final class CountingProxy: Sendable {
    private let program: PortedProgram
    private let directory: String
    var port: Int { program.port }

    /// - Parameter rate: bytes a second in each direction.
    init(to port: Int, rate: Int) async throws {
        directory = try makeTemporaryDirectory("proxy")
        program = try await PortedProgram(
            Programs.fixture("counting-proxy"), ["\(port)", "\(rate)", directory + "/counts"])
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    var toServer: Int { count(0) }
    var toClient: Int { count(8) }

    private func count(_ offset: Int) -> Int {
        guard let data = FileManager.default.contents(atPath: directory + "/counts"), data.count == 16 else { return 0 }
        return (0..<8).reduce(0) { $0 | Int(data[offset + $1]) << (8 * $1) }
    }
}
