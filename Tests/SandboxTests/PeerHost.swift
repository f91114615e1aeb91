import Connect
import Files
import Foundation
import Glibc
import Synchronization
import Testing

@testable import Sandbox

/// One process of the independent peer for all tests of a process; each test takes an organisation of its own in it.
///
/// It ends, with everything in it, when this process does: its standard input ends then.
final class PeerHost: Sendable {
    let url: String
    private let port: UInt16
    private let state: String
    /// Held open for as long as this process lives.
    private let lifeline: FileHandle

    static let shared = Task { try await onOwnThread { try PeerHost() } }

    static var python: String { variable("SNAPWF_PEER_PYTHON") ?? "\(root)/.build-peer-python/bin/python" }
    private static var program: String { variable("SNAPWF_PEER") ?? "\(root)/Tests/Peer/peer.py" }
    private static var root: String { #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() }
    /// Whether the peer can run here at all.
    static var isThere: Bool { access(python, X_OK) == 0 && access(program, R_OK) == 0 && getuid() == 0 }

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    private init() throws {
        var template = Array("/tmp/snapwf-peer-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SandboxError.system(errno, "make a test directory") }
        state = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let process = Process()
        let (output, input) = (Foundation.Pipe(), Foundation.Pipe())
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The state is removed when the peer has ended, whoever is left to do it.
        process.arguments = [
            "-c", "\"$1\" \"$2\" --state \"$3\" --listen 127.0.0.1:0 --lifeline; rm -rf \"$3\"", "sh", Self.python,
            Self.program, state,
        ]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        lifeline = input.fileHandleForWriting
        var line: [UInt8] = []
        while !line.contains(10) {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw SandboxError(.unavailable, "the peer did not start") }
            line += data
        }
        let told = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any]
        url = try #require(told?["url"] as? String)
        port = try #require(url.split(separator: ":").last.flatMap { UInt16($0) })
    }

    /// POST /_control.
    @discardableResult
    func control(_ document: [String: Any]) async throws -> [String: Any] {
        let body = try JSONSerialization.data(withJSONObject: document)
        let answer = try await onOwnThread { try self.post(Array(body)) }
        let object = try JSONSerialization.jsonObject(with: answer) as? [String: Any] ?? [:]
        if let error = object["error"] { throw SandboxError(.invalidArgument, "the peer says: \(error)") }
        return object
    }

    private func post(_ body: [UInt8]) throws -> Data {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw SandboxError.system(errno, "make a socket") }
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, size) }
        }
        guard result == 0 else { throw SandboxError.system(errno, "connect to the peer") }
        let head = "POST /_control HTTP/1.1\r\nhost: peer\r\nconnection: close\r\ncontent-length: \(body.count)\r\n\r\n"
        var rest = (Array(head.utf8) + body)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(socket, $0.baseAddress, $0.count) }
            guard count > 0 else { throw SandboxError.system(errno, "write to the peer") }
            rest = rest.dropFirst(count)
        }
        var answer = Data()
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(socket, &buffer, buffer.count)
            guard count > 0 else { break }
            answer.append(contentsOf: buffer[..<count])
        }
        guard let end = answer.firstRange(of: Data("\r\n\r\n".utf8)) else {
            throw SandboxError(.unavailable, "the peer's answer is cut")
        }
        return answer[end.upperBound...]
    }

    /// The journal's lines of an organisation.
    func journal(_ organization: String) throws -> [[String: Any]] {
        try String(contentsOfFile: state + "/journal", encoding: .utf8).split(separator: "\n").compactMap { line in
            try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        }.filter { $0["org"] as? String == organization }
    }
}

/// What one test sees of the peer: an organisation, and a provider that asks for it.
struct PeerWorld {
    let host: PeerHost
    let organization: String
    let provider: DepotProvider

    /// Runs a test in an organisation of its own, and then looks for what it left.
    static func with(
        settings: [String: Any] = [:], configure: (inout DepotProvider.Configuration) -> Void = { _ in },
        _ body: (PeerWorld) async throws -> Void
    ) async throws {
        let host = try await PeerHost.shared.value
        let organization = "org-" + randomName(12)
        try await host.control(["org": organization, "settings": ["kill_seconds": 0.01].merging(settings) { $1 }])
        var configuration = DepotProvider.Configuration(url: host.url, organization: organization)
        configuration.listingLag = .milliseconds(200)
        configuration.pollPause = .milliseconds(20)
        configuration.retry.firstDelay = .milliseconds(10)
        configure(&configuration)
        let world = PeerWorld(host: host, organization: organization, provider: try DepotProvider(configuration))
        var failure: (any Error)?
        do { try await body(world) } catch { failure = error }
        try await world.clear(["mode": "normal", "list_loop": false, "missing": [String]()])
        for info in try await world.provider.list() where info.state.isAlive { try await world.provider.kill(info.id) }
        await world.provider.shutdown()
        if let failure { throw failure }
    }

    func rules(_ rules: [String: Any]...) async throws {
        try await host.control(["org": organization, "rules": rules])
    }

    func act(_ what: String, on id: SandboxID) async throws {
        try await host.control(["org": organization, "act": [["sandbox": id.rawValue, "do": what]]])
    }

    func settings(_ settings: [String: Any]) async throws {
        try await host.control(["org": organization, "settings": settings])
    }

    func clear(_ settings: [String: Any] = [:]) async throws {
        try await host.control(["org": organization, "clear": true, "settings": settings])
    }

    /// How often something happened: `call`, `created`, `ended`, `kill`, `command` …
    func count(_ event: String, _ method: String? = nil) throws -> Int {
        try host.journal(organization).count { line in
            line["event"] as? String == event && (method == nil || line["method"] as? String == method)
        }
    }

    func living() async throws -> Int {
        try #require(try await host.control(["org": organization])["living"] as? Int)
    }
}
