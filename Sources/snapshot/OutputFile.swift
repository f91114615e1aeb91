import Files
import Glibc
import HelperInterface

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

    /// SHA-256 of the whole file in hexadecimal, holes as zeros, and its size.
    func checksum() throws -> (hex: String, size: UInt64) {
        try sha256(of: file)
    }

    /// Makes image and sidecar durable, then visible: the sidecar `<path>.json` first, the image last.
    func publish(sidecar: [UInt8]) throws {
        try file.sync()
        try replaceFile(path + ".json", sidecar, mode: 0o644)
        try renameDurably(partial, to: path)
    }

    /// Removes what a failed pull wrote.
    func discard() {
        unlink(partial)
    }
}
