import HTTPTypes
import SwiftProtobuf
import Testing

@testable import Connect

@Suite("What a server makes of requests", .timeLimit(.minutes(2)))
struct ServerProtocolTests {
    private func ask(_ requests: [[UInt8]], router: ConnectRouter = .echo()) async throws -> [String] {
        try await withServer(router) { address in
            var answers: [String] = []
            for request in requests {
                answers.append(try await RawConnection.exchange(port: address.port, [request]))
            }
            return answers
        }
    }

    private func ask(_ request: [UInt8], router: ConnectRouter = .echo()) async throws -> String {
        try await ask([request], router: router).first ?? ""
    }

    /// The bytes behind the head of an answer with one chunk or a length.
    private func stream(_ payloads: [[UInt8]]) -> [UInt8] { payloads.flatMap { RawAnswer.envelope(0, $0) } }

    @Test(
        "requests that are none of the protocol get HTTP's own answers",
        arguments: [
            ("GET /test.Echo/Echo HTTP/1.1", "application/proto", 405), ("PUT /test.Echo/Echo HTTP/1.1", "x/y", 405),
            ("GET /nothing HTTP/1.1", "x/y", 404), ("GET /healthz HTTP/1.1", "x/y", 200),
            ("GET /healthz?now HTTP/1.1", "x/y", 200), ("POST /test.Echo/Echo HTTP/1.1", "text/plain", 415),
            ("POST /test.Echo/Echo HTTP/1.1", "application/connect+proto", 415),
            ("POST /test.Echo/Count HTTP/1.1", "application/proto", 415),
            ("POST /test.Echo/Echo HTTP/1.1", "application/grpc", 415),
            ("POST /test.Echo/Nothing HTTP/1.1", "application/proto", 501), ("POST / HTTP/1.1", "text/html", 501),
            ("POST /../../etc/passwd HTTP/1.1", "application/json", 501), ("no request at all", "x/y", 400),
        ])
    func foreign(line: String, type: String, status: Int) async throws {
        let answer = try await ask(rawRequest(line, type: type))
        #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(answer)")
        if status == 405 { #expect(answer.lowercased().contains("\r\nallow: post\r\n")) }
        if status == 415 { #expect(answer.lowercased().contains("\r\naccept-post: application/")) }
        if status == 501 { #expect(answer.contains(#""code":"unimplemented""#)) }
    }

    @Test("an error has the status of its code, JSON whatever the codec, and details in base64")
    func errors() async throws {
        let codes = ConnectError.Code.allCases
        for type in ["application/proto", "application/json"] {
            let answers = try await ask(
                try codes.map { code in
                    let text = Text(code.rawValue)
                    let body: [UInt8] =
                        type == "application/json" ? try text.jsonUTF8Bytes() : try text.serializedBytes()
                    return rawRequest("POST /test.Echo/Fail HTTP/1.1", type: type, body: body)
                })
            for (code, answer) in zip(codes, answers) {
                #expect(answer.hasPrefix("HTTP/1.1 \(code.httpStatus) "), "\(answer)")
                #expect(answer.lowercased().contains("\r\ncontent-type: application/json\r\n"))
                #expect(answer.contains(#""code":"\#(code.rawValue)""#))
                #expect(answer.contains(#""message":"it is \#(code.rawValue)""#))
                #expect(answer.contains(#""value":"AAH+/w""#))
                #expect(answer.lowercased().contains("\r\nretry-after: 7\r\n") == (code == .resourceExhausted))
            }
        }
    }

    @Test("an error that is none of the protocol's is told to nobody")
    func unexpected() async throws {
        let answer = try await ask(
            rawRequest("POST /test.Echo/Fail HTTP/1.1", body: try Text("no code").serializedBytes()))
        #expect(answer.hasPrefix("HTTP/1.1 500 "))
        #expect(answer.contains(#""code":"internal""#))
        #expect(!answer.contains("hunter2"))
    }

    @Test("headers are checked: version, timeout, compression")
    func headers() async throws {
        let cases: [([String], String)] = [
            (["Connect-Protocol-Version: 2"], "invalid_argument"), (["Connect-Timeout-Ms: 1s"], "invalid_argument"),
            (["Connect-Timeout-Ms: 12345678901"], "invalid_argument"), (["Connect-Timeout-Ms: -1"], "invalid_argument"),
            (["Content-Encoding: br"], "unimplemented"), (["Content-Encoding: gzip"], ""),
            (["Connect-Protocol-Version: 1", "Connect-Timeout-Ms: 9999999999", "Content-Encoding: identity"], ""),
        ]
        for (fields, code) in cases {
            let answer = try await ask(rawRequest(fields: fields))
            if code.isEmpty {
                #expect(answer.hasPrefix("HTTP/1.1 200 "), "\(fields) \(answer)")
            } else {
                #expect(answer.contains(#""code":"\#(code)""#), "\(fields) \(answer)")
            }
        }
        // The same of a stream is told in the stream.
        let answer = try await ask(
            rawRequest(
                "POST /test.Echo/Count HTTP/1.1", type: "application/connect+proto",
                fields: ["Connect-Content-Encoding: br"]))
        #expect(answer.hasPrefix("HTTP/1.1 200 "))
        #expect(answer.contains(#""code":"unimplemented""#))
    }

    @Test("the messages of a request may be cut anywhere")
    func cuts() async throws {
        let body = stream([try RawAnswer.message("one"), [], try RawAnswer.message("two")])
        try await withServer(.echo()) { address in
            for type in ["application/connect+proto"] {
                let request = rawRequest("POST /test.Echo/Join HTTP/1.1", type: type, body: body)
                for cut in stride(from: request.count - body.count - 3, to: request.count, by: 1) {
                    let answer = try await RawConnection.exchange(
                        port: address.port, [Array(request[..<cut]), Array(request[cut...])])
                    #expect(answer.contains("one  two"), "\(cut)")
                }
                let answer = try await RawConnection.exchange(port: address.port, request.map { [$0] })
                #expect(answer.contains("one  two"))
            }
        }
    }

    @Test("defects of a request's messages are errors")
    func defects() async throws {
        let one = try Number(1).serializedBytes() as [UInt8]
        let gzip = ["Connect-Content-Encoding: gzip"]
        let bomb = try Gzip.compress([UInt8](repeating: 0, count: 16 << 20))
        let cases: [(String, [UInt8], [String], String)] = [
            ("no message", [], [], "unimplemented"), ("two messages", stream([one, one]), [], "unimplemented"),
            ("compressed", RawAnswer.envelope(1, try Gzip.compress(one)), gzip, ""),
            ("compressed without saying how", RawAnswer.envelope(1, try Gzip.compress(one)), [], "internal"),
            ("no gzip in it", RawAnswer.envelope(1, one), gzip, "invalid_argument"),
            ("a bomb", RawAnswer.envelope(1, bomb), gzip, "resource_exhausted"),
            ("an end of stream", RawAnswer.end(), [], "invalid_argument"),
            ("unknown flags", RawAnswer.envelope(64, one), [], "internal"),
            ("half a message", RawAnswer.envelope(0, one).dropLast(), [], "invalid_argument"),
            ("half a head", [0, 0, 0], [], "invalid_argument"),
            ("beyond all bounds", [0, 255, 255, 255, 255], [], "resource_exhausted"),
            ("no message of the type", RawAnswer.envelope(0, [0xff]), [], "invalid_argument"),
        ]
        for (name, body, fields, code) in cases {
            let answer = try await ask(
                rawRequest(
                    "POST /test.Echo/Count HTTP/1.1", type: "application/connect+proto", fields: fields, body: body))
            #expect(answer.hasPrefix("HTTP/1.1 200 "), "\(name): \(answer)")
            #expect(answer.contains("\"error\"") == !code.isEmpty, "\(name): \(answer)")
            if !code.isEmpty { #expect(answer.contains(#""code":"\#(code)""#), "\(name): \(answer)") }
        }
    }

    @Test("a unary message beyond the limit is refused, compressed or not")
    func tooLarge() async throws {
        var router = ConnectRouter.echo()
        router.messageLimit = 1000
        let large = try RawAnswer.message(String(repeating: "x", count: 1001))
        let fits = try RawAnswer.message(String(repeating: "x", count: 900))
        let answers = try await ask(
            [
                rawRequest(body: large), rawRequest(fields: ["Content-Encoding: gzip"], body: try Gzip.compress(large)),
                rawRequest(body: [UInt8](repeating: 7, count: 100_000)), rawRequest(body: fits),
            ], router: router)
        for answer in answers.dropLast() { #expect(answer.contains(#""code":"resource_exhausted""#), "\(answer)") }
        #expect(answers.last?.hasPrefix("HTTP/1.1 200 ") == true)
    }

    @Test("a request that breaks off never reaches its handler, wherever it does")
    func brokenOff() async throws {
        let log = EchoLog()
        let message = try RawAnswer.message("abcdef")
        let chunked =
            Array(
                ("POST /test.Echo/Once HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\n"
                    + "Transfer-Encoding: chunked\r\n\r\n8\r\n").utf8) + message + Array("\r\n0\r\n\r\n".utf8)
        let plain = rawRequest("POST /test.Echo/Once HTTP/1.1", body: message)
        try await withServer(.echo(log)) { address in
            for request in [chunked, plain] {
                for length in 1..<request.count {
                    let connection = try await RawConnection.open(port: address.port)
                    try await connection.send(Array(request[..<length]))
                    connection.close()
                    _ = try await connection.rest()
                }
            }
        }
        #expect(log.all.isEmpty)
    }

    @Test("whoever is not let in is refused before a byte of the body is awaited")
    func authentication() async throws {
        let log = EchoLog()
        var router = ConnectRouter.echo(log)
        router.authenticator = { headers in
            guard headers[.authorization] == "Bearer right" else {
                throw ConnectError(.unauthenticated, "give a token with --token")
            }
        }
        let message = try RawAnswer.message("x")
        let head = ["Authorization: Bearer wrong"]
        let answers = try await ask(
            [
                rawRequest(fields: ["Authorization: Bearer right"], body: message),
                rawRequest(fields: head, body: message),
                rawRequest(body: message), rawRequest("POST /no/such HTTP/1.1", body: message),
                rawRequest("GET /healthz HTTP/1.1"),
            ], router: router)
        #expect(answers.map { String($0.prefix(12)) } == [200, 401, 401, 401, 200].map { "HTTP/1.1 \($0)" })
        #expect(log.all == ["echo"])
        let streamed = try await ask(
            rawRequest("POST /test.Echo/Count HTTP/1.1", type: "application/connect+json"), router: router)
        #expect(streamed.hasPrefix("HTTP/1.1 200 "))
        #expect(streamed.contains(#""code":"unauthenticated""#))
        try await withServer(router) { address in
            let connection = try await RawConnection.open(port: address.port)
            let request = rawRequest(body: [UInt8](repeating: 1, count: 1000))
            try await connection.send(request.dropLast(1000))
            // The answer comes although the body does not.
            while !connection.soFar.contains("give a token") { try await Task.sleep(for: .milliseconds(5)) }
            connection.close()
        }
    }

    @Test("a head beyond the limit is refused")
    func longHead() async throws {
        let answer = try await ask(rawRequest(fields: ["X-Long: " + String(repeating: "x", count: 100_000)]))
        #expect(answer.hasPrefix("HTTP/1.1 400 ") || answer.isEmpty, "\(answer.prefix(100))")
    }
}
