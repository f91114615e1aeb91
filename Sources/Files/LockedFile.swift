import Glibc
import Synchronization

/// An open file with a `flock` on it. The kernel lets go of the lock when the last process that holds the descriptor
/// dies, by whatever means; a child that inherits the descriptor holds it on.
package final class LockedFile: Sendable {
    package enum Mode: Sendable { case shared, exclusive }

    package let path: String
    private let open: Mutex<Int32?>

    private init(path: String, descriptor: Int32) {
        self.path = path
        open = Mutex(descriptor)
    }

    deinit { close() }

    /// Opens the file, makes it with mode 0600 where it is missing, and takes the lock. Blocks the thread.
    ///
    /// - Parameter patience: how long to wait for those in the way.
    /// - Returns: `nil` when somebody is still in the way. The file that is returned is the one that has the name.
    package static func take(
        _ path: String, _ mode: Mode, patience: Duration = .zero
    ) throws(FileError) -> LockedFile? {
        let deadline = ContinuousClock.now + patience
        var pause: UInt32 = 500
        while true {
            if let file = try attempt(path, mode) { return file }
            guard ContinuousClock.now < deadline else { return nil }
            usleep(pause)
            pause = min(pause * 2, 20_000)
        }
    }

    private static func attempt(_ path: String, _ mode: Mode) throws(FileError) -> LockedFile? {
        // Who removes the file does so with the lock: what was opened before has no name any more, and is opened anew.
        for _ in 0..<100 {
            let flags = O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC
            let descriptor = try retryingInterrupts("open \(path)") { Glibc.open(path, flags, 0o600) }
            let file = LockedFile(path: path, descriptor: descriptor)
            let operation = (mode == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB
            do {
                try retryingInterrupts("lock \(path)") { flock(descriptor, operation) }
            } catch {
                guard error.errno == EWOULDBLOCK else { throw error }
                return nil
            }
            if file.isNamed { return file }
        }
        return nil
    }

    /// Whether the path still names this very file.
    package var isNamed: Bool {
        guard let descriptor else { return false }
        var mine = stat()
        var theirs = stat()
        guard fstat(descriptor, &mine) == 0, lstat(path, &theirs) == 0 else { return false }
        return mine.st_ino == theirs.st_ino && mine.st_dev == theirs.st_dev
    }

    /// `nil` once it is closed. Close-on-exec is set; who hands it to a child clears that in the child.
    package var descriptor: Int32? { open.withLock { $0 } }

    /// Lets go of the lock, unless another process holds the same descriptor. Safe to call twice.
    package func close() {
        open.withLock { descriptor in
            if let open = descriptor { Glibc.close(open) }
            descriptor = nil
        }
    }
}
