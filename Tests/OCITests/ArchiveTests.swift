import Foundation
import Glibc
import Logging
import TestSupport
import Testing

@testable import OCI

@Suite("Archives")
struct ArchiveTests {
    let temporary: TemporaryDirectory
    private let file: String

    init() throws {
        temporary = try TemporaryDirectory()
        file = "\(temporary.path)/image.tar"
    }

    private func resolve(_ text: String, platform: String = "linux/amd64") async throws -> ResolvedImage {
        let reference = try ImageReference(parsing: text)
        return try await source(reference).resolve(reference, platform: Platform(parsing: platform))
    }

    private func source(_ reference: ImageReference) throws -> any ImageSource {
        guard case .archive(let format, let file, _, _) = reference.transport else { throw POSIXError(.EINVAL) }
        return ArchiveSource(.file(file, format), logger: Logger(label: "test"))
    }

    /// Writes the archive and resolves it.
    private func resolve(_ format: String, _ archive: [UInt8], _ suffix: String = "") async throws -> ResolvedImage {
        try temporary.write(archive, to: "image.tar")
        return try await resolve("\(format):\(file)\(suffix)")
    }

    private func layers(_ image: ResolvedImage) async throws -> [[UInt8]] {
        let source = try source(image.reference)
        var layers: [[UInt8]] = []
        for layer in image.layers {
            layers.append(try await readAll(try source.openLayer(layer.descriptor), piece: 999))
        }
        return layers
    }

    // MARK: OCI

    @Test("an archive that tar made of a layout gives what the layout gives")
    func madeByTar() async throws {
        let image = try ImageFixture(layers: [noise(5000, seed: 1), noise(700_001, seed: 2)])
        let layout = try LayoutWriter("\(temporary.path)/layout")
        try layout.add(image)
        try layout.writeIndex([image.manifest.tagged("v1")])
        for format in ["ustar", "gnu", "pax"] {
            // Names as ./index.json, of directories too.
            try await Command.run("tar", ["--format=\(format)", "-C", layout.directory, "-cf", file, "."])
            for suffix in ["", ":v1", "@\(image.manifest.digest)"] {
                let resolved = try await resolve("oci-archive:\(file)\(suffix)")
                #expect(resolved.manifestDigest == image.manifest.digest)
                #expect(try await layers(resolved).map { Digest.sha256(of: $0) } == image.layers.map(\.digest))
            }
        }
        let missing = await failure { try await resolve("oci-archive:\(file):v2") }
        #expect(missing?.code == .notFound)
        #expect(missing?.message.contains("v1") == true)
    }

    @Test("a blob with a changed byte is refused, and so is one of another size")
    func damagedBlob() async throws {
        let image = try ImageFixture(layers: [noise(5000, seed: 1)])
        let layer = image.layers[0]
        let archive = try image.layoutArchive().whole
        let resolved = try await resolve("oci-archive", archive)
        let place = try #require(archive.firstRange(of: noise(5000, seed: 1))?.lowerBound)
        var damaged = archive
        damaged[place + 4000] ^= 1
        try temporary.write(damaged, to: "image.tar")
        #expect(await failure { try await layers(resolved) }?.code == .digestMismatch)
        var larger = layer
        larger.size += 1
        #expect(await failure { try source(resolved.reference).openLayer(larger) }?.code == .sizeMismatch)
    }

    @Test("long names in PAX and GNU headers are read, and of two entries with one name the later counts")
    func names() async throws {
        let image = try ImageFixture(layers: [noise(5000, seed: 1)])
        let directory = String(repeating: "d", count: 150)
        var archive = TarArchive()
        archive.extend([("path", "./index.json"), ("size", "3")])
        archive.add("short", [1, 2, 3])
        archive.append(try image.layoutArchive().bytes)
        archive.extend([("path", "\(directory)/x")])
        archive.add("short", [4])
        #expect(try await resolve("oci-archive", archive.whole).manifestDigest == image.manifest.digest)
        let index = try ArchiveFile.open(file).index
        #expect(index.contains("\(directory)/x"))
        #expect(!index.contains("short"))
    }

    @Test("an archive that ends anywhere too early is an error, and never more than the file is read")
    func truncation() async throws {
        let image = try ImageFixture(layers: [noise(3000, seed: 1)])
        let archive = try image.layoutArchive()
        // What pads the last file to a whole block may be missing.
        for length in stride(from: 0, to: archive.bytes.count - 511, by: 97) {
            let error = await failure {
                let image = try await resolve("oci-archive", Array(archive.whole.prefix(length)))
                return try await layers(image)
            }
            if error == nil { Issue.record("\(length) of \(archive.bytes.count) bytes pass for the whole") }
        }
        // Only the end mark is missing: everything that was asked for is proven.
        #expect(try await resolve("oci-archive", archive.bytes).manifestDigest == image.manifest.digest)
    }

    @Test("no mutation of an archive crashes the reader or passes for the image")
    func mutations() async throws {
        let image = try ImageFixture(layers: [noise(2000, seed: 1)])
        let archive = try image.layoutArchive().whole
        var generator = SplitMix(state: 99)
        var refused = 0
        for _ in 0..<3000 {
            var changed = archive
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                // Headers and documents are small; most of the archive is the layer.
                changed[Int.random(in: 0..<changed.count, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            do {
                let resolved = try await resolve("oci-archive", changed)
                if try await layers(resolved) != [noise(2000, seed: 1)] { Issue.record("other bytes pass") }
            } catch {
                refused += 1
            }
        }
        print("mutated archives: 3000 with seed 99, \(refused) refused")
        #expect(refused > 1000)
    }

    @Test(
        "what is no archive says so, and what to do",
        arguments: [
            ([], "is empty"), ([0x1f, 0x8b, 8, 0, 0], "gzip -dc"), ([0x28, 0xb5, 0x2f, 0xfd, 0], "zstd -dc"),
            (Array("hello".utf8), "no tar archive"), (noise(2000, seed: 3), "no tar archive"),
            (TarArchive.endMark, "holds no image"),
        ] as [([UInt8], String)])
    func noArchive(bytes: [UInt8], reason: String) async throws {
        for format in ["oci-archive", "docker-archive"] {
            let error = await failure { try await resolve(format, bytes) }
            #expect(error?.code == .invalidArchive)
            #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
        }
    }

    @Test("a missing file, a directory and a fifo are told apart")
    func noFile() async throws {
        let missing = await failure { try await resolve("oci-archive:\(file)") }
        #expect(missing?.code == .notFound)
        #expect(missing?.message.contains(file) == true)
        let directory = await failure { try await resolve("oci-archive:\(temporary.path)") }
        #expect(directory?.message.contains("oci:DIR") == true)
        #expect(mkfifo(file, 0o600) == 0)
        #expect(await failure { try await resolve("docker-archive:\(file)") }?.message.contains("pipe it in") == true)
    }

    @Test("each kind of archive names the other when it is that")
    func otherKind() async throws {
        let image = try ImageFixture(layers: [noise(100, seed: 1)])
        let asDocker = await failure { try await resolve("docker-archive", try image.layoutArchive().whole) }
        #expect(asDocker?.message.contains("write oci-archive:") == true)
        let asOCI = await failure { try await resolve("oci-archive", try docker([("a:1", image)]).whole) }
        #expect(asOCI?.message.contains("write docker-archive:") == true)
    }

    // MARK: Links

    @Test("an entry that leads upwards makes the archive invalid", arguments: ["../index.json", "a/../../b", ".."])
    func upwards(name: String) async throws {
        var archive = try ImageFixture(layers: [noise(100, seed: 1)]).layoutArchive()
        archive.add(name, [1])
        let error = await failure { try await resolve("oci-archive", archive.whole) }
        #expect(error?.code == .invalidArchive)
        #expect(error?.message.contains("leads out") == true)
    }

    @Test(
        "a link leads nowhere but to an entry of the archive",
        arguments: [
            ("2", "/etc/passwd"), ("2", "../../../../etc/passwd"), ("2", "../../../index.json"), ("2", "nothing"),
            ("1", "../index.json"), ("1", "nothing"), ("2", "self"),
        ] as [(Character, String)])
    func badLinks(type: Character, target: String) async throws {
        let image = try ImageFixture(layers: [noise(100, seed: 1)])
        let layer = image.layers[0].digest.hex
        var archive = try image.layoutArchive()
        archive.add("blobs/sha256/\(layer)", type: type, link: target == "self" ? layer : target)
        try temporary.write(archive.whole, to: "image.tar")
        let resolved = try await resolve("oci-archive:\(file)")
        let error = await failure { try await layers(resolved) }
        #expect(error?.code == .invalidArchive || error?.code == .notFound)
    }

    // MARK: docker save

    /// What docker save wrote for years: a directory for each layer, a config by its digest, a list of images.
    private func docker(
        _ images: [(name: String?, image: ImageFixture)], entries: (Int) -> String = { "layer\($0)/layer.tar" }
    ) throws -> TarArchive {
        var archive = TarArchive()
        var list: [[String: Any]] = []
        for (name, image) in images {
            let config = "\(image.config.digest.hex).json"
            archive.add(config, try #require(image.blobs[image.config.digest]))
            var names: [String] = []
            for layer in image.layers {
                let entry = "\(image.config.digest.hex.prefix(6))-\(entries(names.count))"
                archive.add(entry, try #require(image.blobs[layer.digest]))
                names.append(entry)
            }
            var item: [String: Any] = ["Config": config, "Layers": names]
            if let name { item["RepoTags"] = [name] }
            list.append(item)
        }
        archive.add("manifest.json", try json(list))
        return archive
    }

    @Test("what docker save wrote is read, and has the same digest however its layers are stored and called")
    func dockerSave() async throws {
        let plain = [Array("first".utf8), Array("second".utf8)]
        let packed = [[0x1f, 0x8b, 8, 0] + plain[0], [0x28, 0xb5, 0x2f, 0xfd] + plain[1]]
        var options = ImageFixture.Options()
        options.diffIDs = plain.map { .sha256(of: $0) }
        let one = try ImageFixture(layers: plain, options)
        let other = try ImageFixture(layers: packed, options)
        #expect(one.config.digest == other.config.digest)

        let first = try await resolve("docker-archive", try docker([("acme/app:1", one)]).whole)
        #expect(first.layers.map(\.compression) == [.none, .none])
        #expect(first.layers.map(\.diffID) == options.diffIDs)
        #expect(first.configBytes == one.blobs[one.config.digest])
        #expect(try await layers(first) == plain)
        let second = try await resolve("docker-archive", try docker([(nil, other)], entries: { "x\($0)" }).whole)
        #expect(second.layers.map(\.compression) == [.gzip, .zstd])
        #expect(try await layers(second) == packed)
        #expect(first.manifestDigest == second.manifestDigest)
        #expect(try await resolve(second.reference.description).manifestDigest == first.manifestDigest)

        options.diffIDs = plain.reversed().map { .sha256(of: $0) }
        let third = try ImageFixture(layers: plain, options)
        #expect(
            try await resolve("docker-archive", try docker([(nil, third)]).whole).manifestDigest
                != first.manifestDigest)
        #expect(
            Digest.sha256(of: DockerArchive.canonicalManifest(config: one.config.digest, diffIDs: one.diffIDs))
                == first.manifestDigest)
    }

    @Test("layers that docker save stored once and linked are read under each of their names")
    func linkedLayers() async throws {
        let bytes = Array("the layer".utf8)
        var options = ImageFixture.Options()
        options.diffIDs = Array(repeating: .sha256(of: bytes), count: 4)
        let image = try ImageFixture(layers: Array(repeating: bytes, count: 4), options)
        var archive = TarArchive()
        archive.add("\(image.config.digest.hex).json", try #require(image.blobs[image.config.digest]))
        archive.add("b/layer.tar", type: "2", link: "../a/layer.tar")
        archive.add("a/layer.tar", bytes)
        archive.add("c/layer.tar", type: "1", link: "a/layer.tar")
        archive.add("d.tar", type: "2", link: "b/layer.tar")
        archive.add(
            "manifest.json",
            try json([
                [
                    "Config": "\(image.config.digest.hex).json",
                    "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar", "d.tar"],
                ]
            ]))
        let resolved = try await resolve("docker-archive", archive.whole)
        #expect(try await layers(resolved) == Array(repeating: bytes, count: 4))
    }

    @Test("an image of several is named as docker shows it, and without a name they are listed")
    func dockerNames() async throws {
        let one = try ImageFixture(layers: [noise(100, seed: 1)])
        let two = try ImageFixture(layers: [noise(100, seed: 2)])
        let archive = try docker([("alpine:latest", one), ("ghcr.io/acme/app:1", two)]).whole
        let first = try await resolve("docker-archive", archive, ":alpine")
        #expect(first.config.digest == one.config.digest)
        #expect(
            try await resolve("docker-archive:\(file):docker.io/library/alpine:latest").manifestDigest
                == first.manifestDigest)
        #expect(try await resolve("docker-archive:\(file):ghcr.io/acme/app:1").config.digest == two.config.digest)
        #expect(try await resolve("docker-archive:\(file)@\(first.manifestDigest)").config.digest == one.config.digest)
        for suffix in ["", ":busybox", "@\(one.config.digest)"] {
            let error = await failure { try await resolve("docker-archive:\(file)\(suffix)") }
            #expect(error?.code == (suffix.isEmpty ? .invalidReference : .notFound))
            if !suffix.hasPrefix("@") { #expect(error?.message.contains("alpine:latest, ghcr.io/acme/app:1") == true) }
        }
    }

    @Test("what docker save writes today is read as the layout that it is")
    func todaysDockerSave() async throws {
        let image = try ImageFixture(layers: [noise(5000, seed: 1)])
        var entry = image.manifest
        entry.annotations = [
            "io.containerd.image.name": "docker.io/acme/app:1", "org.opencontainers.image.ref.name": "1",
        ]
        var archive = try image.layoutArchive(entry)
        archive.add(
            "manifest.json",
            try json([
                [
                    "Config": "blobs/sha256/\(image.config.digest.hex)", "RepoTags": ["acme/app:1"],
                    "Layers": image.layers.map { "blobs/sha256/\($0.digest.hex)" },
                ]
            ]))
        for suffix in ["", ":acme/app:1", ":1", "@\(image.manifest.digest)"] {
            let resolved = try await resolve("docker-archive", archive.whole, suffix)
            #expect(resolved.manifestDigest == image.manifest.digest)
            #expect(try await layers(resolved) == [noise(5000, seed: 1)])
        }
        #expect(try await resolve("oci-archive:\(file)").manifestDigest == image.manifest.digest)
        #expect(await failure { try await resolve("docker-archive:\(file):acme/other") }?.code == .notFound)
    }

    @Test("an archive of docker save that contradicts itself is refused")
    func dockerContradictions() async throws {
        let image = try ImageFixture(layers: [noise(100, seed: 1)])
        let config = try #require(image.blobs[image.config.digest])
        let name = "\(image.config.digest.hex).json"
        func error(_ config: [UInt8], _ list: Any) async throws -> OCIError? {
            var archive = TarArchive()
            archive.add(name, config)
            archive.add("l", noise(100, seed: 1))
            archive.add("manifest.json", try json(list))
            let bytes = archive.whole
            return await failure { try await resolve("docker-archive", bytes) }
        }
        #expect(try await error(config, [["Config": name, "Layers": ["l"]]]) == nil)
        #expect(try await error(config + [10], [["Config": name, "Layers": ["l"]]])?.code == .digestMismatch)
        #expect(try await error(config, [["Config": name, "Layers": ["l", "l"]]])?.code == .invalidManifest)
        #expect(try await error(config, [["Config": name, "Layers": ["m"]]])?.code == .invalidArchive)
        #expect(try await error(config, [["Config": name, "Layers": ["../l"]]])?.code == .invalidArchive)
        #expect(try await error(config, [["Config": "other", "Layers": ["l"]]])?.code == .invalidArchive)
        #expect(try await error(config, [["Layers": ["l"]]])?.code == .invalidManifest)
        #expect(try await error(config, [] as [String])?.code == .notFound)
    }

    @Test("an image for another platform is refused")
    func dockerPlatform() async throws {
        try temporary.write(try docker([(nil, ImageFixture(layers: [[1]]))]).whole, to: "image.tar")
        let error = await failure { try await resolve("docker-archive:\(file)", platform: "linux/s390x") }
        #expect(error?.code == .noMatchingPlatform)
    }

    @Test("skopeo's archives of one image hold its bytes")
    func skopeo() async throws {
        try temporary.write(Array("something to pack\n".utf8), to: "a")
        let plain = try await Command.run("tar", ["-C", temporary.path, "-c", "a"])
        let layer = try await Command.run("gzip", ["-nc"], input: plain)
        var options = ImageFixture.Options()
        options.diffIDs = [.sha256(of: plain)]
        let image = try ImageFixture(layers: [layer], options)
        let layout = try LayoutWriter("\(temporary.path)/layout")
        try layout.add(image)
        try layout.writeIndex([image.manifest.tagged("v1")])
        for (kind, suffix) in [("oci-archive", ":v1"), ("docker-archive", ":acme/app:1")] {
            try await Command.run(
                "skopeo",
                [
                    "--insecure-policy", "copy", "--quiet", "oci:\(layout.directory):v1",
                    "\(kind):\(temporary.path)/\(kind).tar\(suffix)",
                ])
            let resolved = try await resolve("\(kind):\(temporary.path)/\(kind).tar\(suffix)")
            #expect(resolved.layers.map(\.diffID) == options.diffIDs)
            #expect(try await layers(resolved) == [kind == "oci-archive" ? layer : plain])
            if kind == "oci-archive" { #expect(resolved.manifestDigest == image.manifest.digest) }
        }
    }

    // MARK: Standard input

    private func resolve(input: Int32, stallLimit: Duration = .seconds(30)) async throws -> (
        ResolvedImage, any ImageSource
    ) {
        let standardInput = StandardInput(descriptor: input, directory: temporary.path, stallLimit: stallLimit)
        let source = ArchiveSource(.standardInput(standardInput), logger: Logger(label: "test"))
        let reference = try ImageReference(parsing: "-")
        return (try await source.resolve(reference, platform: Platform(parsing: "linux/amd64")), source)
    }

    @Test("an archive of either kind comes through a pipe, and leaves nothing behind", arguments: ["oci", "docker"])
    func standardInput(kind: String) async throws {
        let bytes = noise(3_000_000, seed: 4)
        let image = try ImageFixture(layers: [bytes])
        let archive = kind == "oci" ? try image.layoutArchive().whole : try docker([("a:1", image)]).whole
        let (input, _) = try pipe(giving: archive)
        defer { close(input) }
        let (resolved, source) = try await resolve(input: input)
        #expect(resolved.config.digest == image.config.digest)
        #expect(resolved.reference.description == "-")
        #expect(try await readAll(try source.openLayer(resolved.layers[0].descriptor)) == bytes)
        #expect(try FileManager.default.contentsOfDirectory(atPath: temporary.path) == [])
    }

    @Test("a file on standard input is read where it is")
    func redirected() async throws {
        let image = try ImageFixture(layers: [noise(5000, seed: 1)])
        try temporary.write(try image.layoutArchive().whole, to: "image.tar")
        let input = open(file, O_RDONLY)
        defer { close(input) }
        let standardInput = StandardInput(descriptor: input, directory: "/nowhere")
        let source = ArchiveSource(.standardInput(standardInput), logger: Logger(label: "test"))
        let resolved = try await source.resolve(.init(parsing: "-"), platform: .init(parsing: "linux/amd64"))
        #expect(resolved.manifestDigest == image.manifest.digest)
    }

    @Test("standard input that holds no archive says so")
    func badInput() async throws {
        let cases: [([UInt8], String)] = [
            ([], "is empty"), ([0x1f, 0x8b, 8], "gzip -dc"), (Array("no such image".utf8), "no tar archive"),
            (Array(try ImageFixture(layers: [noise(5000, seed: 1)]).layoutArchive().whole.prefix(5000)), "truncated"),
        ]
        for (bytes, reason) in cases {
            let (input, _) = try pipe(giving: bytes)
            let error = await failure { try await resolve(input: input) }
            #expect(error?.code == .invalidArchive)
            #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
            close(input)
        }
    }

    @Test("a terminal is not waited for, and neither is a pipe into which nothing comes")
    func silence() async throws {
        let main = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        defer { close(main) }
        var locked: Int32 = 0
        var number: Int32 = -1
        // TIOCSPTLCK and TIOCGPTN of ioctl_tty(2), which are macros that Swift does not see.
        #expect(ioctl(main, 0x4004_5431, &locked) == 0)
        #expect(ioctl(main, 0x8004_5430, &number) == 0)
        let terminal = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        #expect(isatty(terminal) == 1)
        defer { close(terminal) }
        let error = await failure { try await resolve(input: terminal) }
        #expect(error?.code == .invalidReference)
        #expect(error?.message.contains("terminal") == true)

        let (input, _) = try pipe(giving: [], ending: false)
        defer { close(input) }
        #expect(await failure { try await resolve(input: input, stallLimit: .milliseconds(600)) }?.code == .timedOut)
    }
}
