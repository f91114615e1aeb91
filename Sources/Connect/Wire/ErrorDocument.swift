internal import SwiftProtobuf

extension ConnectError {
    /// A server's words are cut there: they are shown to people.
    private static let longestMessage = 8 << 10

    /// Reads an error as JSON: `{"code", "message", "details": [{"type", "value"}]}`. Nil when it is none.
    init?(json bytes: [UInt8]) {
        guard let document = try? Google_Protobuf_Struct(jsonUTF8Bytes: bytes) else { return nil }
        self.init(document)
    }

    /// An object without a code that is known is no error of the protocol.
    fileprivate init?(_ document: Google_Protobuf_Struct) {
        guard let code = document.fields["code"].flatMap({ Code(rawValue: $0.stringValue) }) else { return nil }
        self.init(code, Self.shown(document.fields["message"]?.stringValue ?? ""))
        details = (document.fields["details"]?.listValue.values ?? []).compactMap { value in
            let fields = value.structValue.fields
            guard let type = fields["type"]?.stringValue, !type.isEmpty,
                let bytes = fields["value"].flatMap({ Base64.decode($0.stringValue) })
            else { return nil }
            return Detail(type: type, value: bytes)
        }
    }

    /// The error as the object that goes over the wire.
    fileprivate var document: Google_Protobuf_Struct {
        var document = Google_Protobuf_Struct()
        document.fields["code"] = Google_Protobuf_Value(stringValue: code.rawValue)
        if !message.isEmpty { document.fields["message"] = Google_Protobuf_Value(stringValue: message) }
        if !details.isEmpty {
            let list = details.map { detail in
                Google_Protobuf_Value(
                    structValue: Google_Protobuf_Struct(fields: [
                        "type": Google_Protobuf_Value(stringValue: detail.type),
                        "value": Google_Protobuf_Value(stringValue: Base64.encode(detail.value)),
                    ]))
            }
            document.fields["details"] = Google_Protobuf_Value(listValue: Google_Protobuf_ListValue(values: list))
        }
        return document
    }

    func json() -> [UInt8] { Self.bytes(document) }

    fileprivate static func bytes(_ document: Google_Protobuf_Struct) -> [UInt8] {
        // Strings and objects of them: there is nothing in it that JSON cannot hold.
        (try? document.jsonUTF8Bytes()) ?? Array(#"{"code":"internal"}"#.utf8)
    }

    /// Foreign words without control characters, cut at a limit.
    static func shown(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(longestMessage) {
            let isPlain = scalar == "\n" || scalar == "\t" || scalar.properties.generalCategory != .control
            kept.append(isPlain ? scalar : " ")
        }
        return String(kept)
    }
}

/// The last message of every stream: JSON with an error, or without.
enum EndOfStream {
    /// The error of the call, or nil for its success.
    static func parse(_ bytes: [UInt8]) throws(ConnectError) -> ConnectError? {
        guard let document = try? Google_Protobuf_Struct(jsonUTF8Bytes: bytes) else {
            throw ConnectError(.internal, "the stream's end is not written as JSON")
        }
        guard let error = document.fields["error"], error.kind != nil, error.kind != .nullValue(.nullValue) else {
            return nil
        }
        var fields = error.structValue
        // What it cannot name is an error all the same.
        if fields.fields["code"].flatMap({ ConnectError.Code(rawValue: $0.stringValue) }) == nil {
            fields.fields["code"] = Google_Protobuf_Value(stringValue: ConnectError.Code.unknown.rawValue)
        }
        return ConnectError(fields)
    }

    static func encode(_ error: ConnectError?) -> [UInt8] {
        var document = Google_Protobuf_Struct()
        if let error { document.fields["error"] = Google_Protobuf_Value(structValue: error.document) }
        return ConnectError.bytes(document)
    }
}
