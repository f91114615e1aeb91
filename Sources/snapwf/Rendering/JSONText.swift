import FoundationEssentials

/// JSON as this program prints it: sorted keys, ISO times, slashes as they are.
enum JSONText {
    /// A document over several lines.
    static func document(_ value: some Encodable) -> String { text(value, [.prettyPrinted]) }
    /// A document on one line.
    static func line(_ value: some Encodable) -> String { text(value, []) }

    private static func text(_ value: some Encodable, _ formatting: JSONEncoder.OutputFormatting) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = formatting.union([.sortedKeys, .withoutEscapingSlashes])
        encoder.dateEncodingStrategy = .iso8601
        do {
            return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
        } catch {
            // All documents are made of strings, numbers and booleans; this cannot be reached.
            return "{\"schema\":1,\"error\":{\"message\":\"the document could not be encoded\"}}\n"
        }
    }
}
