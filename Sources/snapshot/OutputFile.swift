import Files
import Glibc
import HelperInterface
import Synchronization
import Threads

/// The file that a pull writes: `<path>.partial` until it is whole, then `<path>`.
///
/// An exclusive lock on the partial file keeps two pulls to one output apart, and goes away with the process. A pull
/// that is killed leaves the partial file, which the next pull to this output truncates and uses again.
struct OutputFile: ~Copyable {
    private let path: String
    private let partial: String
    private let file: OpenFile

    var descriptor: Int32 { file.descriptor }

    init(path: String) throws {
        let partial = path + ".partial"
        let file = try OpenFile(partial, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o644)
        try Self.claim(file)
        self.path = path
        self.partial = partial
        self.file = file
    }

    private static func claim(_ file: borrowing OpenFile) throws(FileError) {
        let descriptor = file.descriptor
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw FileError("write \(file.path), which another pull is writing", errno: errno)
        }
        // Between the open and the lock another pull may have given this very file its final name.
        var named = stat()
        let mine = try file.status()
        guard lstat(file.path, &named) == 0, named.st_ino == mine.st_ino, named.st_dev == mine.st_dev else {
            throw FileError("write \(file.path), which another pull was just finishing; try again", errno: EAGAIN)
        }
        try retryingInterrupts("truncate \(file.path)") { ftruncate(descriptor, 0) }
    }

    /// Empties the file for another conversion.
    func reset() throws(FileError) {
        let descriptor = file.descriptor
        try retryingInterrupts("truncate \(partial)") { ftruncate(descriptor, 0) }
    }

    /// SHA-256 of the whole file in hexadecimal, holes as zeros, and its size. The disk takes the file meanwhile: both
    /// only read it, and neither needs what the other does.
    func checksumAndSync() throws -> (hex: String, size: UInt64) {
        let descriptor = file.descriptor
        let path = file.path
        let failure = Failure()
        let sync = Thread {
            do throws(FileError) {
                try retryingInterrupts("sync \(path)") { fsync(descriptor) }
            } catch {
                failure.value.withLock { $0 = error }
            }
        }
        defer { sync?.join() }
        let result = try sha256(of: file)
        if let sync {
            sync.join()
            if let error = failure.value.withLock({ $0 }) { throw error }
        } else {
            try file.sync()
        }
        return result
    }

    private final class Failure: Sendable {
        let value = Mutex<FileError?>(nil)
    }

    /// Makes the image visible, whose bytes are durable: the sidecar `<path>.json` first, the image last.
    func publish(sidecar: [UInt8]) throws {
        try replaceFile(path + ".json", sidecar, mode: 0o644)
        try renameDurably(partial, to: path)
    }

    /// Removes what a failed pull wrote.
    func discard() {
        unlink(partial)
    }
}
