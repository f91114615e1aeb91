import Foundation
import Glibc

/// The proof that the file system of a store keeps locks. Some say that they took one and keep nobody else out; on
/// them two processes would execute one run at once.
enum LockProof {
    /// Shows that two descriptors of the same file keep each other out: some system calls, and no file of its own.
    ///
    /// The lock file is one that other processes hold shared for moments. The exclusive lock is only asked for while a
    /// shared one is held, so that it is in nobody's way.
    ///
    /// - Parameter creating: whether the lock file is made if it is missing.
    static func check(_ path: String, creating: Bool = true) throws {
        let holder = try FileLock.open(path, creating: creating)
        let rival = try FileLock.open(path, creating: creating)
        defer {
            rival.close()
            holder.close()
        }
        switch holder.attempt(.shared) {
        case 0: break
        case EWOULDBLOCK: return  // another process is kept from us, so locks are kept
        case let code: throw refusal(path, "flock: \(String(cString: strerror(code)))")
        }
        switch rival.attempt(.exclusive) {
        case EWOULDBLOCK: return
        case 0: throw refusal(path, "two descriptors got a lock that excludes the other")
        case let code: throw refusal(path, "flock: \(String(cString: strerror(code)))")
        }
    }

    private static func refusal(_ path: String, _ reason: String) -> WorkflowError {
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        return WorkflowError(
            .locksNotKept,
            "the file system of \(directory) (\(fileSystem(of: directory))) does not keep file locks (\(reason)), so two "
                + "processes could execute one run at once: put the store on a local file system, such as ext4, xfs, "
                + "btrfs or tmpfs")
    }

    /// The type of the file system by the kernel's table of mounts (proc_pid_mountinfo(5)): of the mounts that the
    /// directory lies under, the one with the longest path, and of several there the last.
    private static func fileSystem(of directory: String) -> String {
        guard let table = FileManager.default.contents(atPath: "/proc/self/mountinfo") else { return "of unknown type" }
        var best: (point: Substring, type: Substring)?
        for line in String(decoding: table, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 4, let dash = fields.dropFirst(6).firstIndex(of: "-"), dash + 1 < fields.count else {
                continue
            }
            let point = fields[4]
            let isAbove = point == "/" || directory == point || directory.hasPrefix(point + "/")
            if isAbove, point.utf8.count >= best?.point.utf8.count ?? 0 { best = (point, fields[dash + 1]) }
        }
        return best.map { String($0.type) } ?? "of unknown type"
    }
}
