import Foundation

/// JSON as the store keeps it: UTF-8 text with sorted keys, so that equal values have equal text.
enum Payload {
    /// To make one takes as long as to encode a small value.
    private static let encoder: JSONEncoder = {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }()

    static func encode(_ value: some Encodable) throws -> String {
        String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func decode<T: Decodable>(_ type: T.Type, from text: String) throws -> T {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    /// Encodes what the engine itself writes, none of which can fail to encode short of a defect; then the text says so.
    static func text(of value: some Encodable) -> String {
        do {
            return try encode(value)
        } catch {
            return #"{"unencodable":true}"#
        }
    }

    /// SHA-256 of the text in hexadecimal.
    static func hash(_ text: String) -> String {
        SHA256.hexadecimal(of: Array(text.utf8))
    }

    /// At most `limit` bytes of the text, cut between characters, with an ellipsis where something is missing.
    static func excerpt(_ text: String, limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var result = ""
        var bytes = 0
        for character in text {
            bytes += character.utf8.count
            guard bytes <= limit - 3 else { break }
            result.append(character)
        }
        return result + "…"
    }
}

extension Failure {
    /// An error as it is kept. The message comes from the error's description, so an error must not describe a secret.
    init(_ kind: Kind, _ error: any Error, step: String? = nil) {
        let payload: String?
        if let encodable = error as? any Encodable, let text = try? Payload.encode(encodable),
            text.utf8.count <= 16 << 10
        {
            // Without it the error merely cannot be decoded again; its message is still there.
            payload = text
        } else {
            payload = nil
        }
        self.init(
            kind: kind, type: String(reflecting: Swift.type(of: error)),
            message: Payload.excerpt(String(describing: error), limit: 4096), step: step, payload: payload)
    }
}
