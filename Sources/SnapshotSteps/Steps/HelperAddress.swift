import FoundationEssentials

/// Where a sandbox fetches the helper: a URL, with the checksum of what is there as an optional fragment
/// (`https://example.com/snapshot.tar.gz#sha256=…`).
package struct HelperAddress: Hashable, Sendable {
    package let url: String
    /// Of what the URL gives, in lower-case hexadecimal digits.
    package let sha256: String?

    /// - Throws: `usage`, for what is no such URL.
    package init(parsing text: String) throws(SnapshotError) {
        let parts = text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        let url = String(parts[0])
        let isURL = ["https://", "http://"].contains {
            url.lowercased().hasPrefix($0) && url.utf8.count > $0.utf8.count
        }
        guard isURL, url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw SnapshotError(.usage, "--snapshot-binary-url \(text) is no URL: it begins with https:// or http://")
        }
        guard !url.drop(while: { $0 != "/" }).dropFirst(2).prefix(while: { $0 != "/" }).contains("@") else {
            throw SnapshotError(
                .usage, "--snapshot-binary-url holds a password, and would be seen by everybody in the sandbox")
        }
        self.url = url
        guard parts.count == 2 else {
            sha256 = nil
            return
        }
        let digits = parts[1].lowercased()
        guard digits.hasPrefix("sha256="), digits.utf8.count == 71, digits.dropFirst(7).allSatisfy(\.isHexDigit) else {
            throw SnapshotError(.usage, "--snapshot-binary-url: the part behind # must be sha256= and 64 digits")
        }
        sha256 = String(digits.dropFirst(7))
    }

    /// What a release document names: `{"ok": true, "url": "…"}`.
    static func url(inReleaseDocument bytes: [UInt8], from source: String) throws -> String {
        struct Document: Decodable {
            let ok: Bool?
            let url: String?
            let error: String?
        }
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        } catch {
            throw SnapshotError(.helper, "\(source) gave a JSON document that is no release document")
        }
        guard document.ok == true, let url = document.url else {
            throw SnapshotError(
                .helper, "\(source) has no helper to give: \(document.error ?? "it says not why")")
        }
        return try HelperAddress(parsing: url).url
    }
}
