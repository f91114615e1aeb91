import Glibc

/// A file on its way: `<path>.partial` until it is whole, then `<path>`.
///
/// An exclusive lock on the partial file keeps two writers of one path apart, and goes away with the process. A writer
/// that is killed leaves the partial file, which the next one truncates and uses again.
package struct PartialFile: ~Copyable {
    package let file: OpenFile
    private let path: String

    /// - Throws: also where another process writes to the same path just now.
    package init(for path: String, mode: UInt32 = 0o644) throws(FileError) {
        let file = try OpenFile(path + ".partial", O_RDWR | O_CREAT | O_NOFOLLOW, mode: mode)
        try Self.claim(file)
        self.path = path
        self.file = file
    }

    /// The same, and waits for another writer. Blocks the thread.
    ///
    /// - Parameter patience: for how long.
    package init(for path: String, mode: UInt32, patience: Duration) throws(FileError) {
        let deadline = ContinuousClock.now + patience
        while true {
            do throws(FileError) {
                self = try PartialFile(for: path, mode: mode)
                return
            } catch {
                guard error.errno == EAGAIN, ContinuousClock.now < deadline else { throw error }
                usleep(5_000)
            }
        }
    }

    private static func claim(_ file: borrowing OpenFile) throws(FileError) {
        let descriptor = file.descriptor
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw FileError("write \(file.path), which another process is writing", errno: errno)
        }
        // Between the open and the lock another process may have given this very file its final name.
        var named = stat()
        let mine = try file.status()
        guard lstat(file.path, &named) == 0, named.st_ino == mine.st_ino, named.st_dev == mine.st_dev else {
            throw FileError("write \(file.path), which another process was just finishing; try again", errno: EAGAIN)
        }
        try retryingInterrupts("truncate \(file.path)") { ftruncate(descriptor, 0) }
    }

    /// Gives the file its name, durably; its bytes have to be durable already. The lock is held meanwhile, or another
    /// writer could begin anew with what is renamed here.
    package func publish() throws(FileError) {
        try renameDurably(file.path, to: path)
    }

    /// Removes what was written.
    package func discard() {
        unlink(file.path)
    }
}
