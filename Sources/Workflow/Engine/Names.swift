/// What names may look like.
enum Names {
    static func check(_ name: String, what: String) throws {
        let bytes = name.utf8
        // Besides those of ASCII there are U+0080 to U+009F.
        let hasControls =
            bytes.contains { $0 < 0x20 || $0 == 0x7f }
            || zip(bytes, bytes.dropFirst()).contains { $0 == 0xc2 && $1 < 0xa0 }
        guard !bytes.isEmpty, bytes.count <= 200, !hasControls else {
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
