import Foundation
import Glibc
import Synchronization
import TestSupport

@testable import OCI

/// An HTTP server that says exactly what a test wants, byte for byte: also what no server should say.
///
/// One thread for each connection. It listens on a loopback port that the system picks.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        let method: String
        /// Path and query as they came.
        let target: String
        /// Names in lower case.
        let headers: [String: String]
        let body: [UInt8]

        var path: String { String(target.prefix { $0 != "?" }) }
        var query: String { String(target.dropFirst(path.count + 1)) }
        /// The first byte that a Range header asks for.
        var rangeStart: Int? {
            headers["range"].flatMap { Int($0.dropFirst("bytes=".count).prefix { $0 != "-" }) }
        }
    }

    enum Action: Sendable {
        case send([UInt8])
        /// Says nothing more until the client goes or the server stops.
        case stall
        case pause(milliseconds: Int)
        case cut
        /// Ends the connection so that what the client has not taken is lost (RST).
        case reset
    }

    typealias Handler = @Sendable (Request) -> [Action]

    private struct State {
        var requests: [Request] = []
        var connections: Set<Int32> = []
        var isStopped = false
    }

    let port: Int
    private let listener: Int32
    private let state = Mutex(State())
    private let handler: Handler

    init(_ handler: @escaping Handler) throws {
        self.handler = handler
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> Int32 in
                guard bind(listener, address, length) == 0, listen(listener, 64) == 0 else { return -1 }
                return getsockname(listener, address, &length)
            }
        }
        port = Int(UInt16(bigEndian: address.sin_port))
        guard result == 0 else { throw Command.Failure(description: "no port to listen on: \(errno)") }
        Thread { [self] in accept() }.start()
    }

    var host: String { "127.0.0.1:\(port)" }
    var requests: [Request] { state.withLock { $0.requests } }

    func requests(to path: String) -> [Request] { requests.filter { $0.path == path } }

    /// Whether no client is connected any more, at the latest after some seconds.
    func isLeftAlone() async throws -> Bool {
        let end = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < end {
            if state.withLock({ $0.connections.isEmpty }) { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    func stop() {
        state.withLock { state in
            guard !state.isStopped else { return }
            state.isStopped = true
            for connection in state.connections { shutdown(connection, Int32(SHUT_RDWR)) }
            shutdown(listener, Int32(SHUT_RDWR))
        }
    }

    private func accept() {
        while true {
            let connection = Glibc.accept(listener, nil, nil)
            let goesOn = state.withLock { state in
                guard !state.isStopped, connection >= 0 else { return false }
                state.connections.insert(connection)
                return true
            }
            guard goesOn else {
                if connection >= 0 { close(connection) }
                close(listener)
                return
            }
            Thread { [self] in
                serve(connection)
                state.withLock { _ = $0.connections.remove(connection) }
                close(connection)
            }.start()
        }
    }

    private func serve(_ connection: Int32) {
        var buffer: [UInt8] = []
        while let request = read(connection, &buffer) {
            state.withLock { $0.requests.append(request) }
            for action in handler(request) {
                switch action {
                case .send(let bytes):
                    guard send(connection, bytes) else { return }
                case .stall:
                    // The client sends nothing after its request, so this returns when it goes.
                    var byte: UInt8 = 0
                    _ = recv(connection, &byte, 1, 0)
                    return
                case .pause(let milliseconds):
                    usleep(UInt32(milliseconds) * 1000)
                case .cut:
                    return
                case .reset:
                    var atOnce = linger(l_onoff: 1, l_linger: 0)
                    setsockopt(connection, SOL_SOCKET, SO_LINGER, &atOnce, socklen_t(MemoryLayout<linger>.size))
                    return
                }
            }
        }
    }

    private func send(_ connection: Int32, _ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.send(connection, buffer.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    private func read(_ connection: Int32, _ buffer: inout [UInt8]) -> Request? {
        func more() -> Bool {
            var piece = [UInt8](repeating: 0, count: 65536)
            let count = recv(connection, &piece, piece.count, 0)
            guard count > 0 else { return false }
            buffer += piece[..<count]
            return true
        }
        let separator = Array("\r\n\r\n".utf8)
        var end: Int?
        while true {
            end = buffer.indices.first { buffer[$0...].starts(with: separator) }
            if end != nil { break }
            guard more() else { return nil }
        }
        guard let end else { return nil }
        let lines = String(decoding: buffer[..<end], as: UTF8.self).components(separatedBy: "\r\n")
        buffer.removeFirst(end + 4)
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        while buffer.count < length {
            guard more() else { return nil }
        }
        let body = Array(buffer[..<length])
        buffer.removeFirst(length)
        let words = lines[0].split(separator: " ")
        guard words.count == 3 else { return nil }
        return Request(method: String(words[0]), target: String(words[1]), headers: headers, body: body)
    }
}

extension [ScriptedServer.Action] {
    /// A whole answer. A `Content-Length` among the headers replaces the true one.
    static func answer(
        _ status: Int, _ headers: [String: String] = [:], body: [UInt8] = []
    ) -> [ScriptedServer.Action] {
        [.send(head(status, headers, length: body.count) + body)]
    }

    static func head(_ status: Int, _ headers: [String: String], length: Int?) -> [UInt8] {
        var text = "HTTP/1.1 \(status) Status\r\n"
        if let length, !headers.keys.contains(where: { $0.lowercased() == "content-length" }) {
            text += "Content-Length: \(length)\r\n"
        }
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        return [UInt8]((text + "\r\n").utf8)
    }

    /// An error in the form of the distribution specification.
    static func error(_ status: Int, _ code: String, _ message: String, _ headers: [String: String] = [:]) -> Self {
        .answer(
            status, headers.merging(["Content-Type": "application/json"]) { $1 },
            body: [UInt8](#"{"errors":[{"code":"\#(code)","message":"\#(message)"}]}"#.utf8))
    }
}

/// What a well-behaved registry with one repository `acme/app` says; tests wrap it to misbehave.
struct FakeRegistry: Sendable {
    let image: ImageFixture
    var tags: [String: Descriptor] = [:]
    var extra: [Digest: [UInt8]] = [:]

    init(_ image: ImageFixture) {
        self.image = image
        tags["v1"] = image.manifest
    }

    func handle(_ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
        let parts = request.path.split(separator: "/").map(String.init)
        guard parts.count == 5, parts[0] == "v2", parts[1] == "acme", parts[2] == "app" else {
            return .error(404, "NAME_UNKNOWN", "repository name not known to registry")
        }
        let tagged = tags[parts[4]]
        let bytes = (try? Digest(parsing: tagged?.digest.description ?? parts[4])).flatMap {
            image.blobs[$0] ?? extra[$0]
        }
        guard let bytes else {
            return parts[3] == "manifests"
                ? .error(404, "MANIFEST_UNKNOWN", "manifest unknown") : .error(404, "BLOB_UNKNOWN", "blob unknown")
        }
        if parts[3] == "manifests" {
            let isIndex = String(decoding: bytes, as: UTF8.self).contains("\"manifests\"")
            let type = tagged?.mediaType ?? (isIndex ? MediaType.ociIndex : .ociManifest)
            return .answer(
                200,
                ["Content-Type": type.rawValue, "Docker-Content-Digest": Digest.sha256(of: bytes).description],
                body: bytes)
        }
        return Self.blob(bytes, request)
    }

    /// A blob, or the part of it that the request asks for.
    static func blob(_ bytes: [UInt8], _ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
        guard let start = request.rangeStart else { return .answer(200, body: bytes) }
        return .answer(
            206, ["Content-Range": "bytes \(start)-\(bytes.count - 1)/\(bytes.count)"], body: Array(bytes[start...]))
    }
}
