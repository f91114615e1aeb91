import SwiftProtobuf
import Synchronization
import Testing

@testable import Connect

@Suite("What a client makes of answers", .timeLimit(.minutes(2)))
struct ClientAnswerTests {
    /// Calls a server that answers every request alike; what the call gives or throws, and how many requests came.
    private func unary(
        _ answer: [UInt8], _ ending: ScriptedServer.Ending = .close, _ method: Method<Text, Text> = EchoMethods.once,
        adjust: (inout ConnectClientConfiguration) -> Void = { _ in }
    ) async throws -> (result: Result<String, ConnectError>, requests: [String]) {
        try await ScriptedServer.run({ _ in .init(bytes: answer, ending: ending) }) { server, url in
            try await withClient(try ServerAddress(url), adjust: adjust) { client in
                let result: Result<String, ConnectError>
                do throws(ConnectError) {
                    result = .success(try await client.unary(method, Text("question")).value)
                } catch {
                    result = .failure(error)
                }
                return (result, server.requests)
            }
        }
    }

    private func stream(_ answer: [UInt8]) async throws -> (messages: [String], error: ConnectError?) {
        try await ScriptedServer.run({ _ in .init(bytes: answer) }) { _, url in
            try await withClient(try ServerAddress(url)) { client in
                let messages = Mutex<[String]>([])
                let error = await failure {
                    try await client.serverStream(EchoMethods.count, Number(1)) { stream in
                        while let message = try await stream.next() { messages.withLock { $0.append(message.value) } }
                    }
                }
                return (messages.withLock { $0 }, error)
            }
        }
    }

    @Test("a unary request looks as the protocol says")
    func request() async throws {
        let (result, requests) = try await unary(try RawAnswer.unary("answer"))
        #expect(try result.get() == "answer")
        let head = try #require(requests.first).lowercased()
        #expect(head.hasPrefix("post /test.echo/once http/1.1\r\n"))
        #expect(head.contains("\r\ncontent-type: application/proto\r\n"))
        #expect(head.contains("\r\nconnect-protocol-version: 1\r\n"))
        let timeout = try #require(head.firstMatch(of: /connect-timeout-ms: ([0-9]{1,10})\r\n/)?.1)
        #expect(try #require(Int(timeout)) <= 60_000)
    }

    @Test("an error comes with its code, message, details and status", arguments: ConnectError.Code.allCases)
    func errors(code: ConnectError.Code) async throws {
        let body =
            #"{"code":"\#(code.rawValue)","message":"so it is","details":[{"type":"a.B","value":"AAH+/w"}],"x":1}"#
        let (result, requests) = try await unary(
            RawAnswer.http(code.httpStatus, "application/json; charset=utf-8", body), .keep)
        let error = try #require(result.failure)
        #expect(error.code == code)
        #expect(error.message == "so it is")
        #expect(error.details == [.init(type: "a.B", value: [0, 1, 254, 255])])
        #expect(!error.isNotConnect)
        // A call with an effect of its own is repeated only when it certainly had none.
        #expect(requests.count == (code == .resourceExhausted ? 4 : 1))

        let streamed = try await stream(RawAnswer.stream([RawAnswer.end(#"{"error":\#(body),"metadata":{}}"#)]))
        #expect(streamed.error?.code == code)
        #expect(streamed.error?.details == [.init(type: "a.B", value: [0, 1, 254, 255])])
    }

    @Test(
        "an answer that is none of the protocol gets a code by its status",
        arguments: [
            (200, "text/html", ConnectError.Code.unknown), (200, "application/json", .unknown), (204, "", .unknown),
            (302, "text/html", .unknown), (400, "text/plain", .internal), (401, "text/plain", .unauthenticated),
            (403, "text/html", .permissionDenied), (404, "text/plain", .unimplemented), (418, "text/plain", .unknown),
            (429, "text/plain", .unavailable), (500, "text/html", .unknown), (502, "text/html", .unavailable),
            (503, "text/html", .unavailable), (504, "", .unavailable), (404, "application/json", .unimplemented),
        ])
    func foreign(status: Int, type: String, code: ConnectError.Code) async throws {
        let (result, _) = try await unary(RawAnswer.http(status, type, "<html>hello</html>"), .keep)
        let error = try #require(result.failure)
        #expect(error.code == code)
        #expect(error.isNotConnect)
        #expect(error.message.contains("HTTP \(status)"))
        let streamed = try await stream(RawAnswer.http(status, type, "<html>hello</html>"))
        #expect(streamed.error?.code == code)
        if status == 200 || status == 404 { #expect(error.message.contains("no Connect server")) }
    }

    @Test("a unary answer that breaks off at any byte is an error that leaves the effect open")
    func brokenUnary() async throws {
        let whole = try RawAnswer.unary("answer")
        for length in 0..<whole.count {
            let (result, requests) = try await unary(Array(whole.prefix(length)))
            let error = try #require(result.failure, "\(length) bytes")
            #expect(error.isAmbiguous, "\(length) bytes: \(error)")
            #expect(error.code == .unavailable, "\(length) bytes: \(error)")
            #expect(requests.count == 1)
        }
    }

    @Test("a stream that breaks off at any byte before its end is an error after the messages that came")
    func brokenStream() async throws {
        let parts = [RawAnswer.envelope(0, try RawAnswer.message("one")), RawAnswer.envelope(0, []), RawAnswer.end()]
        let whole = RawAnswer.stream(parts)
        for length in 0..<whole.count {
            let (messages, error) = try await stream(Array(whole.prefix(length)))
            // The end has come whole: that the connection breaks behind it changes nothing.
            if length >= whole.count - 7 {
                #expect(error == nil, "\(length) of \(whole.count) bytes")
                #expect(messages == ["one", ""])
            } else {
                let error = try #require(error, "\(length) of \(whole.count) bytes")
                #expect(error.isAmbiguous && error.code == .unavailable, "\(length) bytes: \(error)")
                #expect(["one", ""].starts(with: messages))
            }
        }
    }

    @Test("envelopes may be cut anywhere")
    func cuts() async throws {
        let bytes = RawAnswer.envelope(0, try RawAnswer.message("one")) + RawAnswer.envelope(0, []) + RawAnswer.end()
        for cut in 1..<bytes.count {
            let (messages, error) = try await stream(
                RawAnswer.stream([Array(bytes[..<cut]), Array(bytes[cut...])]))
            #expect(error == nil)
            #expect(messages == ["one", ""])
        }
        let (messages, error) = try await stream(RawAnswer.stream(bytes.map { [$0] }))
        #expect(error == nil)
        #expect(messages == ["one", ""])
    }

    @Test("a stream's defects are errors")
    func defects() async throws {
        let one = RawAnswer.envelope(0, try RawAnswer.message("one"))
        let compressed = RawAnswer.envelope(1, try Gzip.compress(try RawAnswer.message("one")))
        let gzip = ["Connect-Content-Encoding: gzip"]
        let cases: [(String, [UInt8], ConnectError.Code?)] = [
            ("compressed as the head says", RawAnswer.stream([compressed, RawAnswer.end()], gzip), nil),
            ("not compressed though the head says so", RawAnswer.stream([one, RawAnswer.end()], gzip), nil),
            (
                "a compressed end",
                RawAnswer.stream([one, RawAnswer.envelope(3, try Gzip.compress(Array("{}".utf8)))], gzip), nil
            ),
            ("the flag without the head", RawAnswer.stream([compressed, RawAnswer.end()]), .internal),
            ("no gzip in it", RawAnswer.stream([RawAnswer.envelope(1, [1, 2, 3]), RawAnswer.end()], gzip), .internal),
            ("an encoding nobody asked for", RawAnswer.stream([one], ["Connect-Content-Encoding: br"]), .internal),
            ("no end", RawAnswer.stream([one]), .unavailable),
            ("nothing", RawAnswer.stream([]), .unavailable),
            ("a message after the end", RawAnswer.stream([one, RawAnswer.end(), one]), .internal),
            ("a byte after the end", RawAnswer.stream([RawAnswer.end(), [0]]), .internal),
            ("an end that is no JSON", RawAnswer.stream([RawAnswer.envelope(2, [0x7b])]), .internal),
            ("an error without a code", RawAnswer.stream([RawAnswer.end(#"{"error":{}}"#)]), .unknown),
            ("an error of null", RawAnswer.stream([RawAnswer.end(#"{"error":null}"#)]), nil),
            ("unknown flags", RawAnswer.stream([RawAnswer.envelope(4, [])]), .internal),
            ("a length beyond all bounds", RawAnswer.stream([[0, 255, 255, 255, 255]]), .resourceExhausted),
            ("no message of the type", RawAnswer.stream([RawAnswer.envelope(0, [0xff]), RawAnswer.end()]), .internal),
            ("another codec", RawAnswer.stream([one], type: "application/connect+json"), .unknown),
        ]
        for (name, answer, code) in cases {
            let (_, error) = try await stream(answer)
            #expect(error?.code == code, "\(name): \(String(describing: error))")
        }
    }

    @Test("a unary answer's defects are errors")
    func unaryDefects() async throws {
        let message = try RawAnswer.message(String(repeating: "x", count: 100))
        let gzip = ["Content-Encoding: gzip"]
        let bomb = try Gzip.compress([UInt8](repeating: 0, count: 1 << 20))
        let cases: [(String, [UInt8], ConnectError.Code?)] = [
            ("compressed", RawAnswer.http(200, "application/proto", try Gzip.compress(message), gzip), nil),
            ("no gzip in it", RawAnswer.http(200, "application/proto", message, gzip), .internal),
            (
                "half of it",
                RawAnswer.http(200, "application/proto", Array(try Gzip.compress(message).dropLast(4)), gzip),
                .internal
            ),
            ("a bomb", RawAnswer.http(200, "application/proto", bomb, gzip), .internal),
            ("br", RawAnswer.http(200, "application/proto", message, ["Content-Encoding: br"]), .internal),
            ("no message of the type", RawAnswer.http(200, "application/proto", [0xff]), .internal),
            (
                "too large", RawAnswer.http(200, "application/proto", [UInt8](repeating: 0, count: 70_000)),
                .resourceExhausted
            ),
        ]
        for (name, answer, code) in cases {
            let (result, _) = try await unary(answer) { $0.messageLimit = 60_000 }
            #expect(result.failure?.code == code, "\(name): \(result)")
        }
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let error) = self { return error }
        return nil
    }
}
