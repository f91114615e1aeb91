internal import SwiftProtobuf

/// How messages are written: the two forms that every Connect server must read.
package enum Codec: String, Hashable, Sendable, CaseIterable {
    case proto
    case json

    /// The media type of a unary message.
    var unaryType: String { "application/\(rawValue)" }
    /// The media type of a stream of enveloped messages.
    var streamType: String { "application/connect+\(rawValue)" }

    func contentType(_ kind: MethodKind) -> String { kind == .unary ? unaryType : streamType }

    func encode(_ message: some Message) throws(ConnectError) -> [UInt8] {
        do {
            switch self {
            case .proto: return try message.serializedBytes()
            case .json: return try message.jsonUTF8Bytes()
            }
        } catch {
            throw ConnectError(.internal, "a message of type \(type(of: message).protoMessageName) cannot be written")
        }
    }

    /// Reads a message; fields that nobody knows are passed over.
    func decode<M: Message>(_ bytes: [UInt8], as type: M.Type = M.self) throws(ConnectError) -> M {
        do {
            switch self {
            case .proto:
                return try M(serializedBytes: bytes)
            case .json:
                var options = JSONDecodingOptions()
                options.ignoreUnknownFields = true
                return try M(jsonUTF8Bytes: bytes, options: options)
            }
        } catch {
            throw ConnectError(
                .invalidArgument, "\(bytes.count) bytes are no message \(M.protoMessageName) in the form \(rawValue)")
        }
    }
}

/// The media type of a `Content-Type` header: lower case, without parameters.
func mediaType(_ header: String) -> String {
    var kept = header.prefix { $0 != ";" }
    while kept.last?.isWhitespace == true { kept.removeLast() }
    while kept.first?.isWhitespace == true { kept.removeFirst() }
    return kept.lowercased()
}
