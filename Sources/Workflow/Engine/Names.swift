/// What names may look like.
enum Names {
    static func check(_ name: String, what: String) throws {
        let bytes = name.utf8
        let isPrintable = name.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard !bytes.isEmpty, bytes.count <= 200, isPrintable else {
            throw WorkflowError(
                .invalidName,
                "a \(what) name has 1 to 200 bytes and no control characters; this one has \(bytes.count) bytes: "
                    + "'\(Payload.excerpt(name, limit: 60))'")
        }
    }

    static func checkEvent(_ kind: String) throws {
        try check(kind, what: "event kind")
        let reserved = ["run.", "step.", "sleep.", "resource."]
        guard kind.utf8.count <= 100, !reserved.contains(where: kind.hasPrefix) else {
            throw WorkflowError(
                .invalidName,
                "the event kind '\(kind)' is over 100 bytes or begins with one of the engine's prefixes "
                    + reserved.joined(separator: " ") + ": choose another")
        }
    }

    /// A key for the outside that no other step or resource has: 26 + 1 + 24 characters of letters, digits and `-`.
    static func idempotencyKey(run: RunID, kind: String, scope: String, name: String) -> String {
        "\(run)-\(Payload.hash("\(kind)\n\(scope)\n\(name)").prefix(24))"
    }
}
