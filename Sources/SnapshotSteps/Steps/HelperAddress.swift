import FoundationEssentials

/// Where a sandbox fetches the helper: a URL, with a checksum as an optional fragment
/// (`https://example.com/snapshot.tar.gz#sha256=…`).
///
/// The checksum is that of the program, or of the archive of it, to which the URL leads: of what the URL gives or, when
/// that is a release document, of what the document leads to. Where several URLs on the way have one, each must hold.
/// The text of a document is not checked: a document may change while the helper that it names stays the same.
package struct HelperAddress: Hashable, Sendable {
    /// May hold a signature: never for a message, a log or an argument.
    package let url: String
    /// In lower-case hexadecimal digits.
    package let sha256: String?

    /// Reads the value of `--snapshot-binary-url`, which is stored with the run and shown: it has no query, for there
    /// signatures are.
    ///
    /// - Throws: `usage`, for what is no such URL.
    package init(parsing text: String) throws(SnapshotError) {
        try self.init(text, namedBy: "--snapshot-binary-url", code: .usage)
        guard !url.contains("?") else {
            throw SnapshotError(
                .usage,
                "--snapshot-binary-url \(self) has a query: it may be a signature, and the URL is stored with the run. "
                    + "Give the URL of a release document, which may name one with a query, or a URL without a query")
        }
    }

    /// - Parameters:
    ///   - source: what holds the text, for messages.
    ///   - code: of the errors.
    private init(_ text: String, namedBy source: String, code: SnapshotError.Code) throws(SnapshotError) {
        let parts = text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        let url = String(parts[0])
        let isURL = ["https://", "http://"].contains {
            url.lowercased().hasPrefix($0) && url.utf8.count > $0.utf8.count
        }
        // Quotes and backslashes are no characters of URLs (RFC 3986) and mean something in curl's configuration.
        guard isURL, url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }) else {
            throw SnapshotError(
                code, "\(source): \(Self.withoutQueries(text)) is no URL: it begins with https:// or http://")
        }
        let authority = url.drop { $0 != "/" }.dropFirst(2).prefix { $0 != "/" && $0 != "?" }
        guard !authority.contains("@") else {
            throw SnapshotError(code, "\(source) holds a password, and would be seen by everybody in the sandbox")
        }
        self.url = url
        guard parts.count == 2 else {
            sha256 = nil
            return
        }
        let fragment = parts[1].lowercased()
        let digits = fragment.dropFirst(7)
        guard fragment.hasPrefix("sha256="), digits.utf8.count == 64,
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else {
            throw SnapshotError(code, "\(source): the part behind # must be sha256= and 64 digits")
        }
        sha256 = String(digits)
    }

    /// What a release document names: `{"ok": true, "url": "…"}`. Its URL may have a query, and a checksum.
    ///
    /// - Throws: `helper`, when it names none.
    static func inReleaseDocument(
        _ bytes: [UInt8], from source: HelperAddress
    ) throws(SnapshotError) -> HelperAddress {
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
        return try HelperAddress(url, namedBy: "the URL in the release document of \(source)", code: .helper)
    }

    /// A text with every URL in it cut at its query.
    static func withoutQueries(_ text: String) -> String {
        text.split(separator: " ", omittingEmptySubsequences: false).map { word in
            word.contains("://") ? word.prefix { $0 != "?" } : word
        }.joined(separator: " ")
    }
}

extension HelperAddress: CustomStringConvertible {
    /// For messages: without the query and the checksum.
    package var description: String { Self.withoutQueries(url) }
}
