import NIOCore
import SwiftProtobuf

@testable import Connect

/// Answers as bytes, well formed or not.
enum RawAnswer {
    static func http(_ status: Int, _ type: String, _ body: [UInt8], _ extra: [String] = []) -> [UInt8] {
        let head = ["HTTP/1.1 \(status) Something", "Content-Type: \(type)", "Content-Length: \(body.count)"] + extra
        return Array((head.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body
    }

    static func http(_ status: Int, _ type: String, _ body: String, _ extra: [String] = []) -> [UInt8] {
        http(status, type, Array(body.utf8), extra)
    }

    static func message(_ text: String) throws -> [UInt8] { try Text(text).serializedBytes() }

    static func unary(_ text: String) throws -> [UInt8] { http(200, "application/proto", try message(text)) }

    static func envelope(_ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
        Array(Envelope(flags: flags, payload: payload).encoded().readableBytesView)
    }

    static func end(_ json: String = "{}") -> [UInt8] { envelope(2, Array(json.utf8)) }

    /// A stream in one chunk for each of its parts.
    static func stream(_ parts: [[UInt8]], _ extra: [String] = [], type: String = "application/connect+proto")
        -> [UInt8]
    {
        let head = ["HTTP/1.1 200 OK", "Content-Type: \(type)", "Transfer-Encoding: chunked"] + extra
        let chunks = parts.filter { !$0.isEmpty }.flatMap { part in
            Array((String(part.count, radix: 16) + "\r\n").utf8) + part + Array("\r\n".utf8)
        }
        return Array((head.joined(separator: "\r\n") + "\r\n\r\n").utf8) + chunks + Array("0\r\n\r\n".utf8)
    }
}
