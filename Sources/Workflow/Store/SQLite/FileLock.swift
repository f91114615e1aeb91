import Foundation
import Glibc
import Synchronization

/// An open file with a `flock` on it. The kernel lets go of the lock when the process dies, by whatever means.
final class FileLock: Sendable {
    enum Mode {
        case shared
        case exclusive
    }

    private let descriptor: Mutex<Int32?>

    private init(descriptor: Int32) {
        self.descriptor = Mutex(descriptor)
    }

    deinit {
        close()
    }

    /// Opens the file and makes it with mode 0600 if it is missing. No lock is taken yet.
    ///
    /// `O_CLOEXEC`: a child that inherited the descriptor would keep the lock alive after this process died.
    static func open(_ path: String, creating: Bool = true) throws(SystemError) -> FileLock {
        let flags = O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0)
        while true {
            let descriptor = Glibc.open(path, flags, 0o600)
            if descriptor >= 0 { return FileLock(descriptor: descriptor) }
            guard errno == EINTR else { throw SystemError(call: "open", path: path, code: errno) }
        }
    }

    /// Takes the lock if nobody is in the way.
    func tryLock(_ mode: Mode) -> Bool { attempt(mode) == 0 }

    /// - Returns: 0, or why the lock could not be taken: `EWOULDBLOCK` if somebody is in the way.
    func attempt(_ mode: Mode) -> Int32 {
        descriptor.withLock { descriptor in
            guard let descriptor else { return EBADF }
            while true {
                if flock(descriptor, (mode == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 { return 0 }
                let code = errno
                guard code == EINTR else { return code }
            }
        }
    }

    /// Takes the lock, trying again for up to `patience`. Blocks the thread.
    func lock(_ mode: Mode, patience: Duration) -> Bool {
        let clock = ContinuousClock()
        let deadline = clock.now.advanced(by: patience)
        var pause: UInt32 = 200
        while !tryLock(mode) {
            guard clock.now < deadline else { return false }
            usleep(pause)
            pause = min(pause * 2, 20_000)
        }
        return true
    }

    func unlock() {
        descriptor.withLock { descriptor in
            guard let descriptor else { return }
            // Unlocking an open descriptor has no failure that could be acted upon; closing it would unlock as well.
            _ = flock(descriptor, LOCK_UN)
        }
    }

    /// Whether the open file is still the one that the path names.
    func isStill(at path: String) -> Bool {
        descriptor.withLock { descriptor in
            guard let descriptor else { return false }
            var mine = stat()
            var theirs = stat()
            guard fstat(descriptor, &mine) == 0, lstat(path, &theirs) == 0 else { return false }
            return mine.st_ino == theirs.st_ino && mine.st_dev == theirs.st_dev
        }
    }

    /// Closes the file, and with it lets go of the lock. Safe to call twice.
    func close() {
        descriptor.withLock { descriptor in
            guard let open = descriptor else { return }
            descriptor = nil
            // On Linux the descriptor is gone even if close reports an error, and nothing was written through it.
            _ = Glibc.close(open)
        }
    }
}

/// A failed system call.
struct SystemError: Error, CustomStringConvertible {
    let call: String
    let path: String
    let code: Int32

    var description: String { "\(call) \(path): \(String(cString: strerror(code)))" }
}
