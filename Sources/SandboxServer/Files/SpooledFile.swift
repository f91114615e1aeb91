import Connect
import Files
import Glibc
import Synchronization

/// A file of this host that holds what is on its way into a sandbox. It has no name that anybody else could open, and
/// goes away with its owner, or with the process.
final class SpooledFile: Sendable {
    /// A larger one does not go through here.
    private static let limit = 16 << 30

    private let descriptor: Int32
    private let size = Mutex(0)

    /// Only for this process.
    var path: String { "/proc/self/fd/\(descriptor)" }

    init() throws(ConnectError) {
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        // O_TMPFILE (open(2)), which Swift does not import because its value is an expression.
        descriptor = open(folder, O_RDWR | O_CLOEXEC | 0o20000000 | O_DIRECTORY, 0o600)
        guard descriptor >= 0 else {
            throw ConnectError(.internal, "the server cannot make a temporary file; look at its TMPDIR")
        }
    }

    deinit { close(descriptor) }

    /// Blocks.
    func append(_ bytes: [UInt8]) throws(ConnectError) {
        guard !bytes.isEmpty else { return }
        let offset = size.withLock { size in
            defer { size += bytes.count }
            return size
        }
        guard offset + bytes.count <= Self.limit else {
            throw ConnectError(.resourceExhausted, "the file is larger than \(Self.limit) bytes")
        }
        do throws(FileError) {
            var written = 0
            while written < bytes.count {
                written += try retryingInterrupts("write a spooled file") {
                    // There is an address, for there are bytes.
                    bytes.withUnsafeBytes {
                        pwrite(descriptor, $0.baseAddress! + written, $0.count - written, off_t(offset + written))
                    }
                }
            }
        } catch {
            throw ConnectError(
                error.isOutOfSpace ? .resourceExhausted : .internal,
                "the server cannot keep a file that is on its way; look at the space in its TMPDIR")
        }
    }
}
