import Files
import FoundationEssentials
import Glibc
import SnapshotSteps

/// The images that `--batch` names: a line each, a reference or a JSON object with the image and flags of its own. Empty
/// lines and those that begin with `#` are nobody's.
struct BatchFile {
    struct Line {
        /// From 1.
        let number: Int
        let entry: BatchEntry
    }

    /// As messages call it.
    let name: String
    let lines: [Line]

    /// In bytes, the whole and one line.
    static let largest = 1 << 20
    static let longestLine = 16 << 10

    /// Reads a file, or standard input for `-`.
    ///
    /// - Throws: `usage` that names the line: it is taken whole or not at all.
    static func read(_ path: String) async throws -> BatchFile {
        let isInput = path == "-"
        let name = isInput ? "standard input" : path
        let bytes = try await onOwnThread { () throws -> [UInt8]? in
            isInput ? try readInput() : try readFile(Places.absolutePath(path), limit: largest + 1)
        }
        guard let bytes else { throw SnapshotError(.usage, "--batch \(path): there is no such file") }
        guard bytes.count <= largest else {
            throw SnapshotError(.usage, "\(name) has more than \(largest >> 20) MiB: submit it in parts")
        }
        return try BatchFile(bytes, name: name)
    }

    private static func readInput() throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count <= largest {
            let count = Glibc.read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileError("read standard input", errno: errno) }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return bytes
    }

    init(_ bytes: [UInt8], name: String) throws {
        self.name = name
        var lines: [Line] = []
        // A byte order mark, which some editors write.
        let bytes = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
        for (index, piece) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated()
        {
            let number = index + 1
            guard piece.count <= Self.longestLine else { throw Self.refusal(number, name, "it is too long") }
            guard let text = String(validating: piece, as: UTF8.self) else {
                throw Self.refusal(number, name, "it is no UTF-8")
            }
            let words = text.trimming(while: \.isWhitespace)
            if words.isEmpty || words.hasPrefix("#") { continue }
            guard lines.count < BatchRequest.largest else {
                throw Self.refusal(
                    number, name, "a batch has at most \(BatchRequest.largest) images: submit the rest as another")
            }
            do {
                lines.append(Line(number: number, entry: try BatchEntry(parsing: words)))
            } catch {
                throw Self.refusal(number, name, error.why)
            }
        }
        guard !lines.isEmpty else { throw SnapshotError(.usage, "\(name) names no image") }
        self.lines = lines
    }

    /// An error about a line, in the words of a message.
    static func refusal(_ number: Int, _ name: String, _ why: String) -> SnapshotError {
        SnapshotError(.usage, "line \(number) of \(name): \(why)")
    }
}

extension String {
    func trimming(while isLeftOut: (Character) -> Bool) -> String {
        String(String(drop(while: isLeftOut).reversed()).drop(while: isLeftOut).reversed())
    }
}
