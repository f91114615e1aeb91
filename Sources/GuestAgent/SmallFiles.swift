import CGuest
import Glibc

/// Files of the initramfs, of `/proc` and of `/sys`, and small ones of the root.
enum SmallFiles {
    private static let limit = 1 << 20

    /// Up to a MiB; `nil` when there is no such file or it cannot be read.
    static func read(_ path: String) -> [UInt8]? {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        return raw < 0 ? nil : read(Descriptor(raw))
    }

    /// The same below a root, out of which no symbolic link leads.
    static func read(_ path: String, in root: Descriptor) -> [UInt8]? {
        // Whatever stands there: a FIFO must not hold the agent.
        let raw = cguest_open_in_root(root.raw, path, O_RDONLY | O_NONBLOCK, 0)
        return raw < 0 ? nil : read(Descriptor(raw))
    }

    private static func read(_ file: Descriptor) -> [UInt8]? {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while bytes.count < limit {
            let count = Glibc.read(file.raw, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        return bytes
    }

    static func text(_ path: String) -> String? {
        read(path).map { String(decoding: $0, as: UTF8.self) }
    }

    static func lines(_ path: String) -> [String] {
        (text(path) ?? "").split(separator: "\n").map(String.init)
    }

    static func write(_ path: String, _ text: String) throws(SystemError) {
        let raw = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard raw >= 0 else { throw SystemError(errno, "open \(path)") }
        let file = Descriptor(raw)
        let bytes = Array(text.utf8)
        guard Glibc.write(file.raw, bytes, bytes.count) == bytes.count else {
            throw SystemError(errno, "write \(path)")
        }
    }
}
