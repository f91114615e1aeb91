import Testing

@testable import SnapshotSteps

struct HelperAddressTests {
    private static let sum = String(repeating: "0123456789abcdef", count: 4)

    private func document(_ text: String) throws -> HelperAddress {
        let source = try HelperAddress(parsing: "https://example.com/release.json")
        return try HelperAddress.inReleaseDocument(Array(text.utf8), from: source)
    }

    @Test("a URL, with and without a checksum")
    func wellFormed() throws {
        let plain = try HelperAddress(parsing: "https://example.com/a/snapshot")
        #expect(plain.url == "https://example.com/a/snapshot" && plain.sha256 == nil)
        let pinned = try HelperAddress(parsing: "HTTP://example.com/snapshot#sha256=" + Self.sum.uppercased())
        #expect(pinned.url == "HTTP://example.com/snapshot" && pinned.sha256 == Self.sum)
    }

    @Test(
        "what is no such URL is refused as wrong usage",
        arguments: [
            "", "https://", "ftp://example.com/x", "https://example.com/a b", "https://example.com/ä",
            "https://example.com/\"x\"", "https://example.com/\\x", "https://me:secret@example.com/x",
            "https://example.com/x#", "https://example.com/x#md5=0", "https://example.com/x#sha256=0",
            "https://example.com/x#sha256=" + sum + "0", "https://example.com/x#sha256=g" + sum.dropFirst(),
            // 64 bytes of hexadecimal digits, but not of ASCII's.
            "https://example.com/x#sha256=0" + String(repeating: "\u{FF11}", count: 21),
        ])
    func malformed(_ text: String) {
        let error = #expect(throws: SnapshotError.self) { try HelperAddress(parsing: text) }
        #expect(error?.code == .usage && error?.isRetryable == false)
    }

    @Test(
        "a query is refused where it would be stored, and not repeated",
        arguments: ["https://example.com/x?signature=sesame", "https://example.com?sesame", "ftp://host/x?sesame"])
    func queryInTheOption(_ text: String) throws {
        let error = try #require(throws: SnapshotError.self) { try HelperAddress(parsing: text) }
        #expect(error.code == .usage && !error.message.contains("sesame"), "\(error)")
    }

    @Test("a release document's URL keeps its query and its checksum, and is described without them")
    func documentWithQuery() throws {
        let address = try document(
            #"{"ok":true,"url":"https:\/\/cdn.example.com\/x.tar.gz?signature=sesame#sha256=\#(Self.sum)"}"#)
        #expect(address.url == "https://cdn.example.com/x.tar.gz?signature=sesame")
        #expect(address.sha256 == Self.sum)
        #expect("\(address)" == "https://cdn.example.com/x.tar.gz")
    }

    @Test(
        "a release document without a usable URL is the document's fault, and no signature of it is repeated",
        arguments: [
            ("{", "no release document"), (#"{"ok":true}"#, "no helper"), (#"{"url":"https://host/x"}"#, "no helper"),
            (#"{"ok":false,"error":"not today"}"#, "not today"), (#"{"ok":true,"url":7}"#, "no release document"),
            (#"{"ok":true,"url":"ftp://host/x?sesame"}"#, "no URL"),
            (#"{"ok":true,"url":"https://me:sesame@host/x"}"#, "password"),
            (#"{"ok":true,"url":"https://host/x?sesame#sha256=0"}"#, "64 digits"),
        ])
    func badDocument(_ text: String, _ saying: String) throws {
        let error = try #require(throws: SnapshotError.self) { try document(text) }
        #expect(error.code == .helper && error.message.contains(saying), "\(error)")
        #expect(error.message.contains("https://example.com/release.json") && !error.message.contains("sesame"))
    }

    @Test("URLs in what a client said are cut at their queries")
    func redaction() {
        let said = "wget: cannot fetch https://host/x?signature=sesame now? http://host/y"
        #expect(HelperAddress.withoutQueries(said) == "wget: cannot fetch https://host/x now? http://host/y")
    }
}
