import Files
import Foundation
import Logging
import Synchronization
import Testing

@testable import OCI

/// Sends half of each blob, waits a moment and ends the connection, as servers do with one on which nothing moves.
/// Whoever asks again gets what is missing.
private final class ImpatientRegistry: Sendable {
    let registry: FakeRegistry
    private let end: ScriptedServer.Action
    private let asked = Mutex<Set<String>>([])

    init(blobs: Int, end: ScriptedServer.Action) throws {
        registry = FakeRegistry(try ImageFixture(layers: (0..<blobs).map { noise(600_000, seed: UInt64($0 + 1)) }))
        self.end = end
    }

    var layers: [Descriptor] { registry.image.layers }

    func handle(_ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
        guard let layer = layers.first(where: { request.path.hasSuffix("/blobs/\($0.digest)") }),
            let bytes = registry.image.blobs[layer.digest],
            asked.withLock({ $0.insert(request.path).inserted })
        else { return registry.handle(request) }
        let head = [ScriptedServer.Action].head(200, [:], length: bytes.count)
        return [.send(head + bytes.prefix(bytes.count / 2)), .pause(milliseconds: 300), end]
    }
}

@Suite("Transfers that nobody reads yet")
struct WaitingTransferTests {
    @Test(
        "blobs opened together wait for their reader longer than a network may stall and a server keeps connections",
        arguments: [ScriptedServer.Action.cut, .reset])
    func openedEarly(end: ScriptedServer.Action) async throws {
        let registry = try ImpatientRegistry(blobs: 8, end: end)
        try await withServer(registry.handle) { server in
            try await withSources { options in
                options.timeouts.stall = .seconds(1)
                options.blobWindow = 64 << 10
            } _: { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let readers = try registry.layers.map { try source.openLayer($0) }
                try await Task.sleep(for: .milliseconds(2500))
                for (layer, reader) in zip(registry.layers, readers).reversed() {
                    #expect(Digest.sha256(of: try await readAll(reader)) == layer.digest)
                    let starts = server.requests(to: "/v2/acme/app/blobs/\(layer.digest)").map { $0.rangeStart ?? 0 }
                    #expect(starts.count >= 2)
                    #expect(starts == starts.sorted())
                }
            }
        }
    }

    @Test("blobs are read at the same time, each by its own thread")
    func together() async throws {
        let blobs = (0..<8).map { noise(3_000_000, seed: UInt64($0 + 1)) }
        let registry = FakeRegistry(try ImageFixture(layers: blobs))
        try await withServer(registry.handle) { server in
            try await withSources {
                $0.blobWindow = 64 << 10
            } _: { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let readers = try registry.image.layers.map { try source.openLayer($0) }
                let found = try await withThrowingTaskGroup(of: (Int, Digest).self) { group in
                    for (number, reader) in readers.enumerated() {
                        group.addTask { (number, .sha256(of: try await readAll(reader))) }
                    }
                    return try await group.reduce(into: [Int: Digest]()) { $0[$1.0] = $1.1 }
                }
                #expect(registry.image.layers.enumerated().allSatisfy { found[$0] == $1.digest })
            }
        }
    }

    @Test("a transfer without a reader stops at its window")
    func stopsAtWindow() async throws {
        let bytes = noise(8 << 20, seed: 5)
        let registry = FakeRegistry(try ImageFixture(layers: [bytes]))
        try await withServer(registry.handle) { server in
            let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let transport = RegistryTransport(options: RegistryOptions(), logger: logger)
            let repository = RegistryRepository(
                host: server.host, repository: "acme/app", transport: transport,
                authorizer: RegistryAuthorizer(
                    host: server.host, repository: "acme/app", transport: transport, store: .none, logger: logger),
                logger: logger)
            let window = 128 << 10
            let pipe = BlobPipe(window: window)
            let transfer = BlobTransfer(registry.image.layers[0], name: "blob", repository: repository, pipe: pipe)
            async let end: Void = transfer.run()
            // What counts is memory, of which a piece may hold more than its bytes: it may stop before `window` bytes.
            let received = try await standstill(of: pipe)
            #expect(received > 0)
            #expect(pipe.received < bytes.count)
            // One piece more than the window, and no piece is larger than this.
            #expect(pipe.received <= window + 256 << 10)
            pipe.close()
            await end
            #expect(try await server.isLeftAlone())
            await transport.shutdown()
        }
    }

    /// Waits until something has come and then nothing for a while; the bytes received by then.
    private func standstill(of pipe: BlobPipe) async throws -> Int64 {
        let end = ContinuousClock.now + .seconds(30)
        var before: Int64 = 0
        while ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(300))
            let received = pipe.received
            if received > 0, received == before { return received }
            before = received
        }
        Issue.record("the transfer went on for half a minute with \(pipe.received) bytes")
        return pipe.received
    }
}
