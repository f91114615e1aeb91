import Files
import Foundation
import NIOCore
import Synchronization
import Testing

@testable import OCI

/// Answers for one blob that are tried in order; the last one stays. Everything else is as a good registry says.
private final class BlobScript: Sendable {
    typealias Answer = @Sendable ([UInt8], ScriptedServer.Request) -> [ScriptedServer.Action]

    let registry: FakeRegistry
    let layer: Descriptor
    let bytes: [UInt8]
    private let answers: [Answer]
    private let next = Mutex(0)

    init(size: Int = 300_000, _ answers: Answer...) throws {
        bytes = noise(size, seed: 11)
        registry = FakeRegistry(try ImageFixture(layers: [bytes]))
        layer = registry.image.layers[0]
        self.answers = answers
    }

    func handle(_ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
        guard request.path.hasSuffix("/blobs/\(layer.digest)") else { return registry.handle(request) }
        let index = next.withLock { next in
            defer { next += 1 }
            return min(next, answers.count - 1)
        }
        return answers[index](bytes, request)
    }

    /// What a server does that breaks after `count` bytes of what was asked for.
    static func cut(after count: Int) -> Answer {
        { bytes, request in
            let start = request.rangeStart ?? 0
            let headers = start > 0 ? ["Content-Range": "bytes \(start)-\(bytes.count - 1)/\(bytes.count)"] : [:]
            let head = [ScriptedServer.Action].head(start > 0 ? 206 : 200, headers, length: bytes.count - start)
            return [.send(head + bytes[start...].prefix(count)), .cut]
        }
    }

    /// What a server does that says nothing more after `count` bytes.
    static func stall(after count: Int) -> Answer {
        { bytes, _ in
            [.send([ScriptedServer.Action].head(200, [:], length: bytes.count) + bytes.prefix(count)), .stall]
        }
    }

    static let whole: Answer = { FakeRegistry.blob($0, $1) }

    static func chunked(_ body: [UInt8], status: Int = 200) -> [ScriptedServer.Action] {
        let head = [ScriptedServer.Action].head(status, ["Transfer-Encoding": "chunked"], length: nil)
        let size = [UInt8]("\(String(body.count, radix: 16))\r\n".utf8)
        return [.send(head + size + body + [13, 10] + [UInt8]("0\r\n\r\n".utf8))]
    }
}

@Suite("Transfers that go wrong")
struct TransferFaultTests {
    /// Pulls the scripted blob; the requests for it that the server saw, and the error if there was one.
    private func pull(
        _ script: BlobScript, _ change: (inout RegistryOptions) -> Void = { _ in }
    ) async throws -> (requests: [ScriptedServer.Request], error: OCIError?) {
        try await withServer(script.handle) { server in
            try await withSources(credentials: .none, change) { sources in
                let reference = try ImageReference(parsing: "\(server.host)/acme/app:v1")
                let source = sources.source(for: reference)
                var read: [UInt8]?
                let error = await failure {
                    read = try await readAll(try source.openLayer(script.layer), piece: 7777)
                }
                if error == nil { #expect(read.map { Digest.sha256(of: $0) } == script.layer.digest) }
                return (server.requests(to: "/v2/acme/app/blobs/\(script.layer.digest)"), error)
            }
        }
    }

    @Test("a transfer that breaks goes on where it broke")
    func resume() async throws {
        let script = try BlobScript(
            BlobScript.cut(after: 100_000), BlobScript.cut(after: 1), BlobScript.cut(after: 0), BlobScript.whole)
        let (requests, error) = try await pull(script)
        #expect(error == nil)
        // The client may lose what had come but was not taken when the connection broke; it never goes back.
        let starts = requests.map { $0.rangeStart ?? 0 }
        #expect(starts.count == 4)
        #expect(starts == starts.sorted())
        #expect(zip(starts, [0, 100_000, 100_001, 100_001]).allSatisfy { $0 <= $1 })
    }

    @Test("a server that ignores Range is read from the start, and what is known is skipped")
    func ignoredRange() async throws {
        let script = try BlobScript(
            BlobScript.stall(after: 123_456), { bytes, _ in .answer(200, body: bytes) })
        let (requests, error) = try await pull(script) { $0.timeouts.stall = .seconds(1) }
        #expect(error == nil)
        #expect(requests.map(\.rangeStart) == [nil, 123_456])
    }

    @Test("a transfer that breaks without progress is given up, with the number of tries")
    func noProgress() async throws {
        let (requests, error) = try await pull(try BlobScript(BlobScript.cut(after: 10)))
        #expect(requests.count == 6)
        #expect(error?.code == .unreachable)
        #expect(error?.message.contains("given up after 6 tries") == true)
    }

    @Test("a transfer that breaks again and again but makes progress is not given up")
    func progress() async throws {
        let script = try BlobScript(size: 12 << 20, BlobScript.cut(after: 1_000_000))
        let (requests, error) = try await pull(script)
        #expect(error == nil)
        #expect(requests.count >= 13)
    }

    @Test("a server that sends another part than asked for is refused")
    func wrongPart() async throws {
        let script = try BlobScript(BlobScript.stall(after: 1000)) { bytes, _ in
            .answer(206, ["Content-Range": "bytes 2000-2999/\(bytes.count)"], body: Array(bytes[2000..<3000]))
        }
        let (_, error) = try await pull(script) { $0.timeouts.stall = .seconds(1) }
        #expect(error?.code == .invalidResponse)
    }

    @Test("a changed byte is found at the end, and nothing is asked for again")
    func wrongDigest() async throws {
        let script = try BlobScript { bytes, _ in
            var changed = bytes
            changed[changed.count / 2] ^= 0x80
            return .answer(200, body: changed)
        }
        let (requests, error) = try await pull(script)
        #expect(error?.code == .digestMismatch)
        #expect(error?.message.contains(script.layer.digest.description) == true)
        #expect(requests.count == 1)
    }

    @Test("a Content-Length that differs from the descriptor is refused at once", arguments: [-1, 1])
    func announcedSize(difference: Int) async throws {
        let script = try BlobScript { bytes, _ in
            .answer(200, body: difference < 0 ? bytes.dropLast() : bytes + [0])
        }
        let (requests, error) = try await pull(script)
        #expect(error?.code == .sizeMismatch)
        #expect(requests.count == 1)
    }

    @Test("a Content-Length that promises more than comes is a broken transfer, not a whole one")
    func lyingLength() async throws {
        let script = try BlobScript { bytes, _ in
            [.send([ScriptedServer.Action].head(200, [:], length: bytes.count) + bytes.dropLast(3)), .cut]
        }
        #expect(try await pull(script).error?.code == .unreachable)
    }

    @Test("a body that ends too early without saying so is asked for again, and in the end refused")
    func shortBody() async throws {
        let once = try BlobScript({ bytes, _ in BlobScript.chunked(Array(bytes.prefix(1000))) }, BlobScript.whole)
        let (requests, error) = try await pull(once)
        #expect(error == nil)
        #expect(requests.map(\.rangeStart) == [nil, 1000])
        let always = try BlobScript { bytes, _ in BlobScript.chunked(Array(bytes.prefix(1000))) }
        #expect(try await pull(always).error?.code == .sizeMismatch)
    }

    @Test("a body that is longer than the descriptor says is cut off")
    func longBody() async throws {
        let script = try BlobScript { bytes, _ in BlobScript.chunked(bytes + noise(1000, seed: 3)) }
        #expect(try await pull(script).error?.code == .sizeMismatch)
    }

    @Test("a server that stalls in the middle is left, and the rest is asked for anew")
    func stall() async throws {
        let script = try BlobScript(BlobScript.stall(after: 5000), BlobScript.whole)
        let (requests, error) = try await pull(script) { $0.timeouts.stall = .seconds(1) }
        #expect(error == nil)
        #expect(requests.map(\.rangeStart) == [nil, 5000])
    }

    @Test("a server that only stalls ends in a timeout that says so")
    func onlyStalls() async throws {
        let script = try BlobScript(BlobScript.stall(after: 0))
        let (requests, error) = try await pull(script) { options in
            options.timeouts.stall = .milliseconds(100)
            options.retries.attempts = 3
        }
        #expect(error?.code == .timedOut)
        #expect(error?.message.contains("stalled") == true)
        #expect(requests.count == 3)
    }

    @Test("a server that never answers ends in a timeout")
    func noHead() async throws {
        let (requests, error) = try await pull(try BlobScript { _, _ in [.stall] }) { options in
            options.timeouts.head = .seconds(1)
            options.retries.attempts = 2
        }
        #expect(error?.code == .timedOut)
        #expect(requests.count == 2)
    }

    @Test("a transfer has an end even when it never quite stalls")
    func overallDeadline() async throws {
        let script = try BlobScript { bytes, _ in
            [.send([ScriptedServer.Action].head(200, [:], length: bytes.count))]
                + bytes.prefix(2000).flatMap { [.send([$0]), .pause(milliseconds: 20)] }
        }
        let (_, error) = try await pull(script) { $0.timeouts.blob = .milliseconds(500) }
        #expect(error?.code == .timedOut)
    }

    @Test("a reader that pauses longer than the stall limit is not taken for a stalled network")
    func slowReader() async throws {
        let script = try BlobScript(size: 8 << 20, BlobScript.whole)
        try await withServer(script.handle) { server in
            try await withSources(credentials: .none) { options in
                options.timeouts.stall = .seconds(1)
                options.blobWindow = 64 << 10
            } _: { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let reader = try source.openLayer(script.layer)
                try await Task.sleep(for: .milliseconds(2500))
                #expect(Digest.sha256(of: try await readAll(reader)) == script.layer.digest)
                #expect(server.requests.count == 1)
            }
        }
    }

    @Test("closing a reader early ends its connection")
    func closing() async throws {
        let script = try BlobScript(size: 32 << 20, BlobScript.whole)
        try await withServer(script.handle) { server in
            try await withSources { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let reader = try source.openLayer(script.layer)
                let count = try await onOwnThread { () throws(OCIError) -> Int in
                    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
                    defer { buffer.deallocate() }
                    return try reader.read(into: buffer)
                }
                #expect(count > 0)
                reader.close()
                #expect(try await server.isLeftAlone())
                #expect(await failure { try await readAll(reader) }?.code == .cancelled)
            }
        }
    }

    @Test("a reader that is only dropped ends its connection too")
    func dropping() async throws {
        let script = try BlobScript(size: 32 << 20, BlobScript.whole)
        try await withServer(script.handle) { server in
            try await withSources { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                _ = try source.openLayer(script.layer)
                #expect(try await server.isLeftAlone())
            }
        }
    }

    @Test("a shutdown ends a reader that waits")
    func shutdown() async throws {
        let script = try BlobScript(BlobScript.stall(after: 5000))
        try await withServer(script.handle) { server in
            try await withSources { sources in
                let source = sources.source(for: try ImageReference(parsing: "\(server.host)/acme/app:v1"))
                let reader = try source.openLayer(script.layer)
                async let error = failure { try await readAll(reader) }
                while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
                await sources.shutdown()
                #expect(await error != nil)
                let later = await failure { try await readAll(try source.openLayer(script.layer)) }
                #expect(later?.code == .cancelled)
            }
        }
    }

    @Test("what waits for a reader never exceeds the window by more than a piece")
    func window() async throws {
        let pipe = BlobPipe(window: 10_000)
        let pieces = 500
        let producer = Task {
            for number in 0..<pieces {
                guard await pipe.waitForSpace() else { return }
                let piece = ByteBuffer(repeating: UInt8(number % 251), count: 3000)
                _ = pipe.append(piece, at: Int64(number * 3000)) {}
            }
            pipe.finish(.success(()))
        }
        let (total, most) = try await onOwnThread { () throws(OCIError) -> (Int, Int) in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4567, alignment: 1)
            defer { buffer.deallocate() }
            var total = 0
            var most = 0
            while true {
                most = max(most, Int(pipe.received) - total)
                let count = try pipe.read(into: buffer, deadline: .now + .seconds(20))
                if count == 0 { return (total, most) }
                for index in 0..<count where buffer[index] != UInt8((total + index) / 3000 % 251) {
                    throw OCIError(.digestMismatch, "byte \(total + index) is wrong")
                }
                total += count
            }
        }
        await producer.value
        #expect(total == pieces * 3000)
        #expect(most < 13_000)
    }

    @Test("a reader does not wait for ever")
    func readerDeadline() async throws {
        let pipe = BlobPipe(window: 10)
        let error = await failure {
            try await onOwnThread { () throws(OCIError) in
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
                defer { buffer.deallocate() }
                _ = try pipe.read(into: buffer, deadline: .now + .milliseconds(50))
            }
        }
        #expect(error?.code == .timedOut)
    }
}
