import Foundation
import Glibc
import Synchronization

/// The lock files of runs: `<db>.locks/<run id>.lock`. Whoever holds the `flock` on one executes the run.
final class RunLocks: Sendable {
    private let directory: String
    private let held = Mutex<[RunID: FileLock]>([:])

    /// The directory is made when the first run is claimed.
    init(directory: String) {
        self.directory = directory
    }

    private func path(of id: RunID) -> String { "\(directory)/\(id).lock" }

    /// Takes the run's lock.
    ///
    /// - Returns: `false` if somebody holds it, this process included.
    func take(_ id: RunID) throws(SystemError) -> Bool {
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw SystemError(call: "mkdir", path: directory, code: errno)
        }
        let path = path(of: id)
        // Its last holder may unlink the file between our open and our flock: then we hold the lock of a file that
        // nobody else will ever find, and have to begin again. Each round needs another process to do so.
        for _ in 0..<100 {
            let lock = try FileLock.open(path)
            let code = lock.attempt(.exclusive)
            if code == EWOULDBLOCK { return false }
            guard code == 0 else { throw SystemError(call: "flock", path: path, code: code) }
            guard lock.isStill(at: path) else { continue }
            held.withLock { $0[id] = lock }
            return true
        }
        return false
    }

    /// Lets the run go, and removes the file if nobody will need it again.
    func letGo(_ id: RunID, removing: Bool) {
        guard let lock = held.withLock({ $0.removeValue(forKey: id) }) else { return }
        if removing {
            // While it is held, so that nobody can have taken it. A file left behind is harmless.
            _ = unlink(path(of: id))
        }
        lock.close()
    }

    /// Lets every run go, leaving the files as a crash would.
    func letGoAll() {
        let locks = held.withLock { held in
            defer { held = [:] }
            return Array(held.values)
        }
        for lock in locks { lock.close() }
    }

    /// Whether anybody holds the run. Looking takes a shared lock for a moment, so claims try more than once.
    func isHeld(_ id: RunID) -> Bool {
        if held.withLock({ $0[id] != nil }) { return true }
        do {
            let lock = try FileLock.open(path(of: id), creating: false)
            defer { lock.close() }
            return !lock.tryLock(.shared)
        } catch {
            // No file: nobody holds it. A file we may not open: somebody else's, and we cannot say that it is free.
            return error.code != ENOENT
        }
    }
}
