import Files
import Glibc
import HelperInterface

/// Where snapwf keeps what must outlive it: one directory, readable by its owner alone.
package struct StateDirectory: Sendable {
    package let path: String

    package var workflowDatabase: String { path + "/workflow.db" }
    package var catalogDatabase: String { path + "/catalog.db" }
    /// Held while a directory of the store becomes visible or goes.
    package var catalogLock: String { path + "/catalog.lock" }
    package var snapshots: String { path + "/snapshots" }
    package var sandboxes: String { path + "/sandboxes" }
    /// Virtual machines, a directory each.
    package var machines: String { path + "/machines" }
    /// What virtual machines need and can be made again.
    package var machineCache: String { path + "/machine-cache" }
    /// What commands in the background said (`snapwf run --detach`).
    package var detachedLogs: String { path + "/detached" }
    package var captures: String { path + "/captures" }
    private var ownerFile: String { path + "/owner" }

    /// Makes and checks nothing: for reading what may be there.
    package init(reading path: String) {
        self.path = path
    }

    /// Makes what is missing and checks that it can be written.
    ///
    /// - Throws: `SnapshotError.stateDirectory` naming the path, why, and the variable that moves it.
    package init(opening path: String) throws(SnapshotError) {
        guard path.hasPrefix("/") else {
            throw SnapshotError(.stateDirectory, "the state directory must be an absolute path, not \"\(path)\"")
        }
        self.path = path
        do {
            try makeDirectories(path, mode: 0o700)
            try makeDirectories(snapshots, mode: 0o700)
            try makeDirectories(sandboxes, mode: 0o700)
        } catch {
            throw Self.unusable(path, error.description)
        }
        guard access(path, R_OK | W_OK | X_OK) == 0 else {
            throw Self.unusable(path, String(cString: strerror(errno)))
        }
    }

    private static func unusable(_ path: String, _ why: String) -> SnapshotError {
        SnapshotError(
            .stateDirectory,
            """
            the state directory \(path) cannot be used: \(why). \
            Make it writable, or name another one: SNAPWF_HOME=/path snapwf …
            """)
    }

    /// Removes what commands in the background said that have said nothing more for so long.
    package func removeDetachedLogs(olderThan age: Duration) throws {
        let oldest = millisecondsNow() - Int64(age / .milliseconds(1))
        for name in try directoryNames(detachedLogs) {
            let path = detachedLogs + "/" + name
            var status = stat()
            if lstat(path, &status) == 0, Int64(status.st_mtim.tv_sec) * 1000 < oldest { unlink(path) }
        }
    }

    /// This installation's id, made at the first use: what tells its sandboxes from other people's.
    package func owner() throws(SnapshotError) -> String {
        do {
            if let text = try readFile(ownerFile, limit: 64) {
                let owner = String(decoding: text, as: UTF8.self).filter { !$0.isWhitespace }
                guard owner.count == 36 else {
                    throw Self.unusable(path, "\(ownerFile) does not hold a UUID")
                }
                return owner
            }
            // Two first uses at once: the hard link lets one of them win, and both read the winner's.
            let fresh = randomUUID()
            let temporary = ownerFile + ".\(fresh)"
            try writeFile(temporary, Array("\(fresh)\n".utf8), mode: 0o600)
            let linked = link(temporary, ownerFile)
            let failure = errno
            unlink(temporary)
            guard linked == 0 || failure == EEXIST else {
                throw Self.unusable(path, String(cString: strerror(failure)))
            }
            try syncDirectory(path)
        } catch let error as SnapshotError {
            throw error
        } catch {
            throw Self.unusable(path, "\(error)")
        }
        return try owner()
    }

    private func randomUUID() -> String {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        return uuidText(bytes)
    }
}
