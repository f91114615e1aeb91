import NIOCore
import Testing

@testable import Connect

@Suite("The forms of the protocol")
struct WireTests {
    @Test("envelopes are found however the bytes are cut")
    func envelopes() throws {
        let envelopes = [
            Envelope(flags: 0, payload: []), Envelope(flags: 1, payload: [1, 2, 3]), Envelope(flags: 2, payload: [4]),
        ]
        let bytes = envelopes.flatMap { Array($0.encoded().readableBytesView) }
        for size in 1...bytes.count {
            var parser = EnvelopeParser(limit: 3)
            var found: [Envelope] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                parser.append(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
                while let envelope = try parser.next() { found.append(envelope) }
            }
            #expect(found == envelopes)
            #expect(!parser.hasRest)
        }
    }

    @Test("an envelope beyond the limit is refused by its head alone")
    func limit() throws {
        var parser = EnvelopeParser(limit: 3)
        parser.append(ByteBuffer(bytes: [0, 0, 0, 0, 4]))
        #expect(throws: ConnectError.self) { try parser.next() }
        var unknown = EnvelopeParser(limit: 3)
        unknown.append(ByteBuffer(bytes: [8, 0, 0, 0, 0]))
        #expect(throws: ConnectError.self) { try unknown.next() }
    }

    @Test("gzip gives back what went in, and refuses what is more, less or none")
    func gzip() throws {
        for size in [0, 1, 1000, 300_000] {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 * $0 >> 3) }
            let compressed = try Gzip.compress(bytes)
            #expect(try Gzip.decompress(compressed, limit: size) == bytes)
            #expect(throws: ConnectError.self) { try Gzip.decompress(compressed.dropLast(), limit: size) }
            #expect(throws: ConnectError.self) { try Gzip.decompress(compressed + [0], limit: size) }
            if size > 0 { #expect(throws: ConnectError.self) { try Gzip.decompress(compressed, limit: size - 1) } }
        }
        #expect(try Gzip.decompress([], limit: 0) == [])
        #expect(throws: ConnectError.self) { try Gzip.decompress([0x78, 0x9c, 3, 0, 0, 0, 0, 1], limit: 10) }
    }

    @Test("a small message that becomes a large one is stopped at the limit")
    func bomb() throws {
        let bomb = try Gzip.compress([UInt8](repeating: 0, count: 64 << 20))
        #expect(bomb.count < 1 << 20)
        #expect { try Gzip.decompress(bomb, limit: 1 << 20) } throws: {
            ($0 as? ConnectError)?.code == .resourceExhausted
        }
    }

    @Test("base64 is written without padding, and read with or without, in either alphabet (RFC 4648, 10)")
    func base64() {
        let cases = [
            ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ]
        for (plain, text) in cases {
            let padding = String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
            #expect(Base64.encode(Array(plain.utf8)) == text)
            #expect(Base64.decode(text) == Array(plain.utf8))
            #expect(Base64.decode(text + padding) == Array(plain.utf8))
        }
        #expect(Base64.decode("-_8") == [0xfb, 0xff])
        #expect(Base64.decode("+/8") == [0xfb, 0xff])
        for wrong in ["A", "AAAAA", "A A=", "====", "Zg===", "ä"] { #expect(Base64.decode(wrong) == nil, "\(wrong)") }
    }

    @Test("a timeout is one to ten digits of milliseconds, rounded up")
    func timeouts() throws {
        #expect(TimeoutHeader.text(.zero) == "1")
        #expect(TimeoutHeader.text(.microseconds(1500)) == "2")
        #expect(TimeoutHeader.text(.seconds(90)) == "90000")
        #expect(TimeoutHeader.text(.seconds(1 << 40)) == "9999999999")
        #expect(try TimeoutHeader.parse("0") == .zero)
        #expect(try TimeoutHeader.parse("9999999999") == .milliseconds(9_999_999_999))
        for wrong in ["", "-1", "+1", "1.5", "12345678901", "1s", " 1", "٣"] {
            #expect(throws: ConnectError.self, "\(wrong)") { try TimeoutHeader.parse(wrong) }
        }
    }

    @Test("errors survive their way through JSON", arguments: ConnectError.Code.allCases)
    func errors(code: ConnectError.Code) throws {
        let error = ConnectError(
            code, "a \"message\" with\nlines and ü",
            details: [.init(type: "a.B", value: [0, 255]), .init(type: "c", value: [])])
        let parsed = try #require(ConnectError(json: error.json()))
        #expect(parsed.code == code && parsed.message == error.message && parsed.details == error.details)
        let ended = try #require(try EndOfStream.parse(EndOfStream.encode(error)))
        #expect(ended.code == code && ended.message == error.message && ended.details == error.details)
        #expect(try EndOfStream.parse(EndOfStream.encode(nil)) == nil)
    }

    @Test("what is no error is not taken for one")
    func noErrors() {
        for text in ["", "{}", "[]", "null", #"{"code":5}"#, #"{"code":"fine"}"#, #"{"code":"internal""#] {
            #expect(ConnectError(json: Array(text.utf8)) == nil, "\(text)")
        }
    }

    @Test("deep JSON and control characters of a server do no harm")
    func hostileJSON() throws {
        let deep = String(repeating: #"{"a":"#, count: 100_000)
        #expect(ConnectError(json: Array(deep.utf8)) == nil)
        let escape = #"{"code":"internal","message":"a\u001b[31mb\u0000c"}"#
        #expect(try #require(ConnectError(json: Array(escape.utf8))).message == "a [31mb c")
    }

    @Test("the form of a request is told by its media type")
    func mediaTypes() {
        #expect(mediaType(" Application/JSON ; charset=utf-8") == "application/json")
        #expect(IncomingCall.Form("application/proto")?.isStream == false)
        #expect(IncomingCall.Form("application/connect+json")?.isStream == true)
        for other in ["", "application/grpc", "application/connect+", "application/connect+xml", "text/plain"] {
            #expect(IncomingCall.Form(other) == nil)
        }
    }
}
