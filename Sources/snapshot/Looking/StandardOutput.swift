import Files
import Glibc
import HelperInterface

/// Standard output for much: gathered, and every failure is an error. ``flush()`` comes last.
final class StandardOutput {
    private var gathered: [UInt8] = []
    private static let size = 64 << 10

    func write(_ text: String) throws {
        try write(text.utf8)
    }

    func line(_ text: String) throws {
        try write(text.utf8)
        try write(CollectionOfOne(UInt8(ascii: "\n")))
    }

    func write(_ bytes: some Sequence<UInt8>) throws {
        gathered += bytes
        if gathered.count >= StandardOutput.size { try flush() }
    }

    /// Goes past what is gathered, which is written first.
    func writeLarge(_ bytes: UnsafeRawBufferPointer) throws {
        try flush()
        try StandardOutput.writeFully(bytes)
    }

    func flush() throws {
        try gathered.withUnsafeBytes { try StandardOutput.writeFully($0) }
        gathered.removeAll(keepingCapacity: true)
    }

    private static func writeFully(_ bytes: UnsafeRawBufferPointer) throws {
        var written = 0
        while written < bytes.count {
            do {
                written += try retryingInterrupts("write standard output") {
                    Glibc.write(1, bytes.baseAddress.map { $0 + written }, bytes.count - written)
                }
            } catch {
                // Whoever reads has a pipe that must be waited for: only then can this happen.
                guard error.errno == EAGAIN else { throw LookFailure(error.description, .failed) }
                var ready = pollfd(fd: 1, events: Int16(POLLOUT), revents: 0)
                _ = poll(&ready, 1, 1000)
            }
        }
    }
}
