import Foundation
import SwiftProtobuf
import TestSupport
import Testing

@testable import Connect

@Suite("A server's calls and connections", .timeLimit(.minutes(2)))
struct ServerLifeTests {
    @Test("a call that takes longer than its caller allows is cancelled and says so", arguments: [false, true])
    func deadline(isStream: Bool) async throws {
        let log = EchoLog()
        try await withServer(.echo(log)) { address in
            let method = isStream ? "WaitStream" : "Wait"
            let type = isStream ? "application/connect+proto" : "application/proto"
            let answer = try await RawConnection.exchange(
                port: address.port,
                [
                    rawRequest(
                        "POST /test.Echo/\(method) HTTP/1.1", type: type, fields: ["Connect-Timeout-Ms: 50"],
                        body: isStream ? RawAnswer.envelope(0, []) : [])
                ])
            #expect(answer.hasPrefix(isStream ? "HTTP/1.1 200 " : "HTTP/1.1 504 "))
            #expect(answer.contains(#""code":"deadline_exceeded""#))
        }
        #expect(log.all == ["started", "cancelled"])
    }

    @Test("a handler is cancelled when its caller goes away", arguments: [false, true])
    func gone(isStream: Bool) async throws {
        let log = EchoLog()
        try await withServer(.echo(log)) { address in
            let method = isStream ? "WaitStream" : "Wait"
            let type = isStream ? "application/connect+proto" : "application/proto"
            let connection = try await RawConnection.open(port: address.port)
            try await connection.send(
                rawRequest(
                    "POST /test.Echo/\(method) HTTP/1.1", type: type, body: isStream ? RawAnswer.envelope(0, []) : []))
            try await log.wait(for: "started")
            connection.close()
            try await log.wait(for: "cancelled")
        }
    }

    @Test("a connection serves one call after the other, whatever became of the last one")
    func keepAlive() async throws {
        try await withServer(.echo()) { address in
            let connection = try await RawConnection.open(port: address.port)
            func request(_ method: String, _ type: String, _ body: [UInt8]) -> [UInt8] {
                let head =
                    "POST /test.Echo/\(method) HTTP/1.1\r\nHost: x\r\nContent-Type: \(type)\r\n"
                    + "Content-Length: \(body.count)\r\n\r\n"
                return Array(head.utf8) + body
            }
            let stream = RawAnswer.envelope(0, try Number(1).serializedBytes() as [UInt8])
            // All at once: they are answered in order.
            try await connection.send(
                request("Echo", "application/proto", try RawAnswer.message("first"))
                    + request("Fail", "application/proto", try RawAnswer.message("not_found"))
                    + request("Count", "application/connect+proto", stream)
                    + request("Nothing", "text/plain", Array("ignored".utf8))
                    + request("Refuse", "application/connect+proto", stream + stream)
                    + rawRequest(body: try RawAnswer.message("last")))
            let answers = try await connection.rest()
            let statuses = answers.matches(of: #/HTTP/1\.1 ([0-9]+) /#).map { String($0.1) }
            #expect(statuses == ["200", "404", "200", "501", "200", "200"])
            #expect(answers.contains("first") && answers.contains("message 0") && answers.contains("last"))
        }
    }

    @Test("a connection without a request is closed after a while")
    func silence() async throws {
        try await withServer(
            .echo(),
            adjust: {
                $0.stallLimit = .milliseconds(100)
                $0.idleLimit = .milliseconds(100)
            }
        ) { address in
            let silent = try await RawConnection.open(port: address.port)
            #expect(try await silent.rest().isEmpty)
            let half = try await RawConnection.open(port: address.port)
            try await half.send(Array(rawRequest().prefix(40)))
            _ = try await half.rest()
            let preface = try await RawConnection.open(port: address.port)
            try await preface.send(Array("PRI * HTTP/2.0\r\n\r\n".utf8))
            _ = try await preface.rest()
        }
    }

    @Test("a reader that takes nothing is given up, and its handler cancelled")
    func slowReader() async throws {
        var router = ConnectRouter.echo()
        let log = EchoLog()
        router.serverStream(EchoMethods.count) { _, _, sink in
            // Nothing that gzip could make small.
            let noise = String(decoding: (0..<1 << 20).map { _ in UInt8.random(in: 32...126) }, as: UTF8.self)
            do {
                while true { try await sink.send(Text(noise)) }
            } catch {
                log.note("\(error)")
                throw error
            }
        }
        try await withServer(router, adjust: { $0.stallLimit = .milliseconds(200) }) { address in
            try await withClient(address) { client in
                _ = await failure {
                    try await client.serverStream(EchoMethods.count, Number(1)) { stream in
                        _ = try await stream.next()
                        try await log.wait(for: "canceled: the caller has gone")
                    }
                }
            }
        }
        #expect(log.all == ["canceled: the caller has gone"])
    }

    @Test("a server that stops lets calls end, and cancels those that do not")
    func stop() async throws {
        let log = EchoLog()
        let error = try await withServer(.echo(log), adjust: { $0.grace = .milliseconds(200) }) { address in
            let task = Task {
                try await withClient(address) { client in
                    await failure { _ = try await client.unary(EchoMethods.wait, Text("x")) }
                }
            }
            try await log.wait(for: "started")
            return task
        }.value
        #expect(log.all == ["started", "cancelled"])
        #expect(error?.code == .unavailable, "\(String(describing: error))")
    }

    @Test("a socket is for its owner, is not taken from a living server, and replaces a dead one's")
    func socketFile() async throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/api"
        try await withServer(.echo(), address: .unix(path: path)) { address in
            var status = stat()
            #expect(lstat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            let second = await failure { try await withServer(.echo(), address: .unix(path: path)) { _ in } }
            #expect(second?.code == .alreadyExists)
            try await withClient(address) { client in
                let answer = try await client.unary(EchoMethods.echo, Text("x"))
                #expect(answer.value == "x")
            }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
        // What a killed server leaves behind.
        let dead = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(dead, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        close(dead)
        try await withServer(.echo(), address: .unix(path: path)) { _ in }
        // A file that is no socket is somebody's.
        try directory.write(Array("precious".utf8), to: "api")
        let refused = await failure { try await withServer(.echo(), address: .unix(path: path)) { _ in } }
        #expect(refused?.code == .alreadyExists)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "precious")
    }

    @Test("a port that is taken is said to be")
    func takenPort() async throws {
        try await withServer(.echo()) { address in
            let error = await failure {
                try await withServer(.echo(), address: .tcp(host: "127.0.0.1", port: address.port)) { _ in }
            }
            #expect(error?.message.contains("cannot listen at 127.0.0.1:\(address.port)") == true)
        }
    }
}
