import Files
import Glibc

/// Says that a process works on a capture; the kernel lets go of it when that process dies.
final class CaptureLock: Sendable {
    private let descriptor: Int32

    private init(holding descriptor: Int32) { self.descriptor = descriptor }

    /// `nil` when somebody holds it.
    static func take(_ directory: String) throws(FileError) -> CaptureLock? {
        let descriptor = try retryingInterrupts("open \(directory)") {
            open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return CaptureLock(holding: descriptor) }
        let failure = errno
        close(descriptor)
        guard failure == EWOULDBLOCK else { throw FileError("lock \(directory)", errno: failure) }
        return nil
    }

    deinit { close(descriptor) }
}
