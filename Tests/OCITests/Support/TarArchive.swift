import Foundation
import Glibc

@testable import OCI

/// Writes a tar archive entry by entry, also such as no archiver would write.
struct TarArchive {
    private(set) var bytes: [UInt8] = []

    static let endMark = [UInt8](repeating: 0, count: 1024)

    /// The archive with its end mark.
    var whole: [UInt8] { bytes + Self.endMark }

    mutating func add(_ name: String, _ content: [UInt8]) {
        append(header(name, type: "0", size: content.count))
        append(padded(content))
    }

    mutating func add(_ name: String, type: Character, link: String = "") {
        append(header(name, type: type, size: 0, link: link))
    }

    /// A PAX extended header for the entry that follows.
    mutating func extend(_ records: [(String, String)]) {
        let body = records.flatMap { key, value in
            var length = key.utf8.count + value.utf8.count + 3
            while "\(length)".utf8.count + key.utf8.count + value.utf8.count + 3 != length { length += 1 }
            return Array("\(length) \(key)=\(value)\n".utf8)
        }
        append(header("pax", type: "x", size: body.count))
        append(padded(body))
    }

    mutating func append(_ raw: [UInt8]) { bytes += raw }

    private func padded(_ content: [UInt8]) -> [UInt8] {
        content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    private func header(_ name: String, type: Character, size: Int, link: String = "") -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
        }
        let octal = String(size, radix: 8)
        put(name, at: 0)
        put("0000644", at: 100)
        put(String(repeating: "0", count: 11 - octal.count) + octal, at: 124)
        put(String(type), at: 156)
        put(link, at: 157)
        put("ustar\u{0}00", at: 257)
        put("        ", at: 148)
        let sum = String(block.reduce(0) { $0 + Int($1) }, radix: 8)
        put(String(repeating: "0", count: 6 - sum.count) + sum + "\u{0} ", at: 148)
        return block
    }
}

extension ImageFixture {
    /// The image as the files of a layout, in an archive.
    func layoutArchive(_ tagged: Descriptor? = nil) throws -> TarArchive {
        var archive = TarArchive()
        archive.add("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
        archive.add("index.json", try ImageFixture.index([tagged ?? manifest]))
        for (digest, bytes) in blobs.sorted(by: { $0.key.hex < $1.key.hex }) {
            archive.add("blobs/sha256/\(digest.hex)", bytes)
        }
        return archive
    }
}

/// A pipe whose reading end gives `bytes` and then ends.
func pipe(giving bytes: [UInt8], ending: Bool = true) throws -> (input: Int32, writer: Thread) {
    var ends: [Int32] = [0, 0]
    guard Glibc.pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
    let output = ends[1]
    let writer = Thread {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { write(output, $0.baseAddress.map { $0 + sent }, bytes.count - sent) }
            guard count > 0 else { break }
            sent += count
        }
        if ending { close(output) }
    }
    writer.start()
    return (ends[0], writer)
}
