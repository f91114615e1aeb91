import Files
import Foundation
import Glibc
import Logging
import Synchronization
import TestSupport
import Testing

@testable import OCI

@Suite("The cache of layers")
struct CacheTests {
    private let temporary: TemporaryDirectory
    private let bytes = noise(400_000, seed: 21)
    private let registry: FakeRegistry
    private let layer: Descriptor

    init() throws {
        temporary = try TemporaryDirectory()
        registry = FakeRegistry(try ImageFixture(layers: [bytes]))
        layer = registry.image.layers[0]
    }

    private var directory: String { "\(temporary.path)/cache" }
    private var blob: String { "\(directory)/blobs/sha256/\(layer.digest.hex)" }
    private var target: String { "/v2/acme/app/blobs/\(layer.digest)" }

    private func cache() throws -> BlobCache {
        try BlobCache(directory: directory, logger: .init(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    }

    /// Reads the layer through a cache object of its own, as another process would.
    private func read(
        _ server: ScriptedServer, _ cache: BlobCache? = nil,
        _ body: (any BlobReader) async throws -> [UInt8] = { try await readAll($0, piece: 7777) }
    ) async throws -> [UInt8] {
        let cache = try cache ?? self.cache()
        return try await withSources(cache: cache) { sources in
            let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
            return try await body(try source.openLayer(layer))
        }
    }

    private func expectWhole(
        _ server: ScriptedServer, _ cache: BlobCache? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let found = try await read(server, cache)
        #expect(found == bytes, sourceLocation: sourceLocation)
    }

    private func starts(_ server: ScriptedServer) -> [Int?] { server.requests(to: target).map(\.rangeStart) }

    private func plant(_ bytes: [UInt8], _ name: String) throws {
        _ = try cache()
        try Data(bytes).write(to: URL(fileURLWithPath: name))
    }

    @Test("a layer is fetched once, lies there by its digest, and is not asked for again")
    func once() async throws {
        try await withServer(registry.handle) { server in
            for _ in 0..<3 { try await expectWhole(server) }
            #expect(starts(server) == [nil])
        }
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: blob))) == bytes)
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/blobs/sha256") == [layer.digest.hex])
    }

    @Test("a read that was given up leaves its part, and the next one asks for the rest")
    func goesOn() async throws {
        try await withServer(registry.handle) { server in
            _ = try await read(server) { reader in
                let head = try await readSome(reader, 100_000)
                reader.close()
                return head
            }
            let part = try Data(contentsOf: URL(fileURLWithPath: blob + ".partial"))
            #expect([UInt8](part) == Array(bytes.prefix(part.count)))
            #expect(part.count >= 100_000 && part.count < bytes.count)
            try await expectWhole(server)
            #expect(starts(server) == [nil, part.count])
        }
        #expect(!FileManager.default.fileExists(atPath: blob + ".partial"))
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: blob))) == bytes)
    }

    @Test("a part of any length is gone on with, also none and all of it", arguments: [0, 1, 399_999, 400_000])
    func parts(count: Int) async throws {
        try plant(Array(bytes.prefix(count)), blob + ".partial")
        try await withServer(registry.handle) { server in
            try await expectWhole(server)
            #expect(starts(server) == (count == 0 ? [nil] : count == bytes.count ? [] : [count]))
        }
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: blob))) == bytes)
    }

    @Test("a part with wrong bytes is found, removed and fetched anew", arguments: [5000, 400_000, 500_000])
    func damagedPart(count: Int) async throws {
        var part = count > bytes.count ? noise(count, seed: 5) : Array(bytes.prefix(count))
        part[17] ^= 1
        try plant(part, blob + ".partial")
        try await withServer(registry.handle) { server in
            if count <= bytes.count {
                let error = await failure { try await read(server) }
                #expect(error?.code == .digestMismatch)
                #expect(error?.isRetryable == true)
                #expect(!FileManager.default.fileExists(atPath: blob + ".partial"))
            }
            try await expectWhole(server)
        }
    }

    @Test("a whole blob with a wrong byte is found, removed and fetched anew; one of another size at once")
    func damagedBlob() async throws {
        var damaged = bytes
        damaged[399_000] ^= 1
        try plant(damaged, blob)
        try await withServer(registry.handle) { server in
            let error = await failure { try await read(server) }
            #expect(error?.code == .digestMismatch)
            #expect(error?.isRetryable == true)
            try await expectWhole(server)
            try await expectWhole(server)
            #expect(starts(server) == [nil])
            try plant(Array(bytes.dropLast()), blob)
            try await expectWhole(server)
            #expect(starts(server) == [nil, nil])
        }
    }

    /// A gzip decoder notices damage long before the digest does, and stops reading.
    @Test("after a failure the cache removes what it gave and cannot prove, and nothing else")
    func removal() async throws {
        try await withServer(registry.handle) { server in
            func readHead(_ cache: BlobCache) async throws {
                _ = try await read(server, cache) { reader in
                    let head = try await readSome(reader, 10)
                    reader.close()
                    return head
                }
            }
            var damaged = bytes
            damaged[3] ^= 1
            for name in [blob, blob + ".partial"] {
                try plant(Array(damaged.dropLast(name == blob ? 0 : 1)), name)
                let cache = try cache()
                try await readHead(cache)
                #expect(cache.removeDamaged())
                #expect(!FileManager.default.fileExists(atPath: name))
                #expect(!cache.removeDamaged())
            }
            try plant(bytes, blob)
            let sound = try cache()
            try await readHead(sound)
            #expect(!sound.removeDamaged())
            #expect(FileManager.default.fileExists(atPath: blob))
        }
    }

    @Test("a reader that was closed frees its part at once, not only when the last one lets go of it")
    func freed() async throws {
        try plant(Array(bytes.prefix(100_000)), blob + ".partial")
        try await withServer(registry.handle) { server in
            // In the part, and in the transfer of what follows it.
            for count in [10, 200_000] {
                _ = try await read(server) { reader in
                    let head = try await readSome(reader, count)
                    #expect(throws: FileError.self) { try PartialBlob(path: blob, size: layer.size) }
                    reader.close()
                    let free = try #require(try PartialBlob(path: blob, size: layer.size))
                    #expect(free.existing >= max(count, 100_000))
                    let error = await failure { try await readSome(reader, 1) }
                    #expect(error?.code == .cancelled)
                    return head
                }
            }
        }
    }

    @Test("who does not get the lock on a part streams without it, and harms nothing")
    func locked() async throws {
        try plant([], blob)
        try FileManager.default.removeItem(atPath: blob)
        let holder = try #require(try PartialBlob(path: blob, size: layer.size))
        try bytes[..<1000].withUnsafeBytes { (buffer) throws in try holder.write(buffer, at: 0) }
        try await withServer(registry.handle) { server in
            try await expectWhole(server)
            #expect(starts(server) == [nil])
            #expect(try Data(contentsOf: URL(fileURLWithPath: blob + ".partial")).count == 1000)
            try bytes[1000...].withUnsafeBytes { (buffer) throws in try holder.write(buffer, at: 1000) }
            try holder.publish()
            try await expectWhole(server)
            #expect(starts(server) == [nil])
        }
    }

    @Test("many readers of one blob at the same time all get it, and one of them leaves it behind")
    func together() async throws {
        try await withServer(registry.handle) { server in
            try await withSources(cache: cache()) { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let readers = try (0..<8).map { _ in try source.openLayer(layer) }
                try await withThrowingTaskGroup(of: [UInt8].self) { group in
                    for reader in readers { group.addTask { try await readAll(reader, piece: 5000) } }
                    for try await read in group { #expect(read == bytes) }
                }
            }
        }
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: blob))) == bytes)
        #expect(!FileManager.default.fileExists(atPath: blob + ".partial"))
    }

    @Test("a registry that gives wrong bytes leaves nothing in the cache")
    func wrongBytes() async throws {
        let layer = layer
        let wrong = bytes.map { $0 ^ 1 }
        let registry = registry
        try await withServer({ request in
            request.path.hasSuffix("/blobs/\(layer.digest)")
                ? FakeRegistry.blob(wrong, request) : registry.handle(request)
        }) { server in
            let error = await failure { try await read(server) }
            #expect(error?.code == .digestMismatch)
            #expect(error?.isRetryable == false)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/blobs/sha256") == [])
    }

    @Test("a full disk is told once and is no reason to fail", .enabled(if: geteuid() == 0))
    func fullDisk() async throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try await Command.run("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", directory])
        let warnings = Mutex<[String]>([])
        do {
            let logger = Logger(
                label: "test", factory: { _ in Recorder(warnings: { text in warnings.withLock { $0.append(text) } }) })
            let cache = try BlobCache(directory: directory, logger: logger)
            try await withServer(registry.handle) { server in
                for _ in 0..<2 { try await expectWhole(server, cache) }
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/blobs/sha256") == [])
            #expect(warnings.withLock { $0.count } == 1)
            #expect(warnings.withLock { $0.first }?.contains("cache") == true)
        } catch {
            try await Command.run("umount", [directory])
            throw error
        }
        try await Command.run("umount", [directory])
    }

    @Test("what cannot be a cache is refused by name")
    func noDirectory() async throws {
        try temporary.write([], to: "file")
        let error = await failure { try BlobCache(directory: "\(temporary.path)/file", logger: .init(label: "test")) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("\(temporary.path)/file") == true)
    }

    @Test("a symbolic link in the place of a blob is not followed")
    func links() async throws {
        try plant([], blob)
        try FileManager.default.removeItem(atPath: blob)
        try temporary.write(bytes, to: "elsewhere")
        for name in [blob, blob + ".partial"] { #expect(symlink("\(temporary.path)/elsewhere", name) == 0) }
        try await withServer(registry.handle) { server in
            try await expectWhole(server)
            #expect(starts(server) == [nil])
        }
    }
}

/// Reads at least `count` bytes on a thread of its own.
func readSome(_ reader: any BlobReader, _ count: Int) async throws(OCIError) -> [UInt8] {
    try await onOwnThread { () throws(OCIError) -> [UInt8] in
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
        defer { buffer.deallocate() }
        var bytes: [UInt8] = []
        while bytes.count < count {
            let read = try reader.read(into: buffer)
            if read == 0 { return bytes }
            bytes += buffer[..<read]
        }
        return bytes
    }
}

/// Passes on what is warned of.
struct Recorder: LogHandler {
    let warnings: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    init(warnings: @escaping @Sendable (String) -> Void) { self.warnings = warnings }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { warnings("\(event.message) \(event.metadata ?? [:])") }
}
