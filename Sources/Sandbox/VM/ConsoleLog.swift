import Glibc
import GuestProtocol

/// What a guest says on its console, kept within a bound: two files of at most 256 KiB each, and the last words at hand.
struct ConsoleLog: ~Copyable {
    static let fileLimit = 256 << 10
    /// Room for all that a kernel says of its panic: the words themselves come first, and the stack after them.
    private static let lastWords = 16 << 10

    private let directory: SandboxDirectory
    private var file: Descriptor
    private var written = 0
    private(set) var tail: [UInt8] = []

    init(_ directory: SandboxDirectory) throws(SandboxError) {
        self.directory = directory
        file = try Descriptor.open(directory.consolePath, O_WRONLY | O_CREAT | O_TRUNC)
    }

    /// A log that cannot be written is no reason to end a guest: the last words are kept all the same.
    mutating func append(_ bytes: ArraySlice<UInt8>) {
        tail = Array((tail + bytes).suffix(Self.lastWords))
        var rest = bytes
        while !rest.isEmpty {
            if written >= Self.fileLimit { turn() }
            let raw = file.raw
            let piece = rest.prefix(Self.fileLimit - written)
            let count = retrying { piece.withUnsafeBytes { write(raw, $0.baseAddress, $0.count) } }
            guard count > 0 else { return }
            written += count
            rest = rest.dropFirst(count)
        }
    }

    private mutating func turn() {
        written = 0
        guard rename(directory.consolePath, directory.olderConsolePath) == 0 else {
            _ = ftruncate(file.raw, 0)
            _ = lseek(file.raw, 0, SEEK_SET)
            return
        }
        do throws(SandboxError) {
            file = try Descriptor.open(directory.consolePath, O_WRONLY | O_CREAT | O_TRUNC)
        } catch {
            _ = ftruncate(file.raw, 0)
            _ = lseek(file.raw, 0, SEEK_SET)
        }
    }
}

/// What the last words on a guest's console say of its end.
struct GuestEpitaph: Sendable {
    /// - Parameters:
    ///   - console: the end of what the guest said.
    ///   - status: QEMU's exit code, or 128 + n; `nil` when it was ended from here.
    ///   - complaint: what QEMU said itself.
    static func reason(console: [UInt8], status: Int32, complaint: String) -> String {
        let lines = lines(console, most: .max)
        if let panic = lines.last(where: { $0.contains("Kernel panic") }) {
            return "its kernel panicked: \(panic)"
        }
        if let words = lines.last(where: { $0.contains(GuestPort.lastWords) }) {
            return words
        }
        guard status == 0 else {
            let signal = status > 128 ? " (signal \(status - 128))" : ""
            return "QEMU ended with \(status)\(signal)\(complaint.isEmpty ? "" : ": \(complaint)")"
        }
        let words = lines.last.map { "; its last words: \($0)" } ?? ""
        return "it powered off\(words)\(complaint.isEmpty ? "" : "; QEMU says: \(complaint)")"
    }

    /// The last lines as people can read them, without control characters.
    static func lines(_ console: [UInt8], most: Int = 40) -> [String] {
        console.split { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }.suffix(most).map { line in
            String(decoding: line.filter { $0 >= 0x20 && $0 != 0x7F }.prefix(400), as: UTF8.self).trimmed
        }.filter { !$0.isEmpty }
    }
}
