import Foundation
import SwiftProtobuf
import TestSupport
import Testing

@testable import Connect

/// A CA of its own, and a certificate that it signed for `localhost`.
struct Certificates {
    let directory: TemporaryDirectory
    var ca: String { "\(directory.path)/ca.pem" }
    var tls: ConnectServerConfiguration.TLS {
        .init(certificateFile: "\(directory.path)/server.pem", keyFile: "\(directory.path)/server.key")
    }

    init() async throws {
        directory = try TemporaryDirectory()
        let base = directory.path
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        try await Command.run(
            "openssl",
            ["req", "-x509", "-days", "2", "-subj", "/CN=Test CA", "-keyout", "\(base)/ca.key", "-out", ca] + key)
        try await Command.run(
            "openssl",
            ["req", "-subj", "/CN=localhost", "-keyout", "\(base)/server.key", "-out", "\(base)/server.csr"] + key)
        try directory.write(Array("subjectAltName=DNS:localhost,IP:127.0.0.1\n".utf8), to: "names")
        try await Command.run(
            "openssl",
            [
                "x509", "-req", "-days", "2", "-in", "\(base)/server.csr", "-CA", ca, "-CAkey", "\(base)/ca.key",
                "-CAcreateserial", "-extfile", "\(base)/names", "-out", "\(base)/server.pem",
            ])
    }
}

@Suite("TLS, HTTP/2, and curl as a judge", .timeLimit(.minutes(2)))
struct EncryptedTests {
    @Test("every kind of call goes over TLS, where HTTP/2 is negotiated", arguments: Way.all.prefix(4))
    func http2(way: Way) async throws {
        let certificates = try await Certificates()
        let log = EchoLog()
        try await withServer(.echo(log), adjust: { $0.tls = certificates.tls }) { address in
            #expect(address.isEncrypted)
            try await withClient(
                address,
                adjust: {
                    $0.caFile = certificates.ca
                    $0.codec = way.codec
                    $0.compressesRequests = way.compresses
                }
            ) { client in
                let large = Text(String(repeating: "large ", count: 200_000))
                let answer = try await client.unary(EchoMethods.echo, large)
                #expect(answer == large)
                let error = await failure { _ = try await client.unary(EchoMethods.fail, Text("not_found")) }
                #expect(error?.code == .notFound)
                #expect(error?.details == [.init(type: "test.Detail", value: [0, 1, 254, 255])])
                let count = try await client.serverStream(EchoMethods.count, Number(500)) { stream in
                    var count = 0
                    while try await stream.next() != nil { count += 1 }
                    return count
                }
                #expect(count == 500)
                let failed = await failure {
                    try await client.serverStream(EchoMethods.failAfter, Number(3)) { stream in
                        while try await stream.next() != nil {}
                    }
                }
                #expect(failed?.message == "after 3")
                let joined = try await client.clientStream(EchoMethods.join) { sink in
                    for _ in 0..<100 { try await sink.send(Text("ab")) }
                }
                #expect(joined.value.utf8.count == 299)
                let refused = await failure {
                    _ = try await client.clientStream(EchoMethods.refuse) { sink in
                        while true { try await sink.send(large) }
                    }
                }
                #expect(refused?.message == "one was enough")
                _ = try await client.serverStream(EchoMethods.waitStream, Text("x")) { try await $0.next() }
                try await log.wait(for: "cancelled")
            }
        }
    }

    @Test("a server that refuses a large message before it has come does no harm over HTTP/2")
    func earlyRefusal() async throws {
        let certificates = try await Certificates()
        var router = ConnectRouter.echo()
        router.authenticator = { _ in throw ConnectError(.unauthenticated, "go away") }
        try await withServer(router, adjust: { $0.tls = certificates.tls }) { address in
            for _ in 0..<20 {
                try await withClient(address, adjust: { $0.caFile = certificates.ca }) { client in
                    let text = Text(String(repeating: "x", count: 4 << 20))
                    let error = await failure { _ = try await client.unary(EchoMethods.once, text) }
                    // The refusal, or that the connection ended while it was still sending.
                    #expect(
                        error?.code == .unauthenticated || error?.code == .unavailable, "\(String(describing: error))")
                }
            }
        }
    }

    @Test("a certificate of an unknown CA is refused, and the error says what to do")
    func unknownCA() async throws {
        let certificates = try await Certificates()
        try await withServer(.echo(), adjust: { $0.tls = certificates.tls }) { address in
            try await withClient(address) { client in
                let error = await failure { _ = try await client.unary(EchoMethods.once, Text("x")) }
                #expect(error?.code == .unavailable)
                #expect(error?.isAmbiguous == false)
                #expect(error?.isUntrusted == true, "\(String(describing: error))")
            }
            let plain = try ServerAddress("http://127.0.0.1:\(address.port)")
            try await withClient(plain, adjust: { $0.retry.attempts = 1 }) { client in
                let error = await failure { _ = try await client.unary(EchoMethods.once, Text("x")) }
                #expect(error?.code == .unavailable)
            }
        }
        try await withServer(.echo()) { address in
            let encrypted = try ServerAddress("https://127.0.0.1:\(address.port)")
            try await withClient(encrypted) { client in
                let error = await failure { _ = try await client.unary(EchoMethods.once, Text("x")) }
                #expect(error?.message.contains("does not speak TLS") == true, "\(String(describing: error))")
            }
        }
    }

    @Test("curl gets the same answers over HTTP/1.1 and HTTP/2, with TLS and without, and over a socket")
    func curl() async throws {
        let certificates = try await Certificates()
        for (tls, flags, version) in [
            (false, ["--http1.1"], "1.1"), (false, ["--http2-prior-knowledge"], "2"), (true, ["--http1.1"], "1.1"),
            (true, ["--http2"], "2"),
        ] {
            try await withServer(.echo(), adjust: { if tls { $0.tls = certificates.tls } }) { address in
                func curl(_ path: String, _ arguments: [String]) async throws -> String {
                    let output = try await Command.run(
                        "curl",
                        ["--silent", "--show-error", "--cacert", certificates.ca, "--noproxy", "*"] + flags + [
                            "--write-out", " %{http_version} %{http_code} %{content_type}",
                        ] + arguments + ["\(address)/\(path)"])
                    return String(decoding: output, as: UTF8.self)
                }
                let json = ["--header", "Content-Type: application/json"]
                let healthy = try await curl("healthz", [])
                #expect(healthy == "ok\n \(version) 200 text/plain")
                let echoed = try await curl("test.Echo/Echo", json + ["--data", "\"hello\""])
                #expect(echoed == "\"hello\" \(version) 200 application/json")
                let failed = try await curl("test.Echo/Fail", json + ["--data", "\"aborted\""])
                #expect(failed.contains("\"code\":\"aborted\"") && failed.hasSuffix(" \(version) 409 application/json"))
                let late = try await curl(
                    "test.Echo/Wait", json + ["--header", "Connect-Timeout-Ms: 20", "--data", "\"x\""])
                #expect(late.contains("deadline_exceeded") && late.contains(" \(version) 504 "))
            }
        }
    }

    @Test("whoever leaves an HTTP/2 stream cancels its handler, with the connection or without")
    func leftStream() async throws {
        let log = EchoLog()
        try await withServer(.echo(log)) { address in
            let slow = [
                "curl", "--silent", "--http2-prior-knowledge", "--noproxy", "*", "--max-time", "0.5", "--header",
                "Content-Type: application/json", "--data", "\"x\"", "\(address)/test.Echo/Wait",
            ]
            await #expect(throws: Command.Failure.self) { try await Command.run("env", slow) }
            try await log.wait(for: "cancelled")
        }
    }
}
