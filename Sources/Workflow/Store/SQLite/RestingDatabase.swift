import Foundation
import GRDB
import Glibc

/// A database that nobody has open: all of it is in its one file, and that file has not changed for a while.
///
/// SQLite can read one in write-ahead mode only after it has made a log and its index beside it, and a connection that
/// cannot write cannot take them away again. Told that the file is immutable it makes and locks nothing. That is a
/// promise about the future, so the file is looked at again after the reading: if it has changed, what was read may be
/// half of the past and half of the present, and counts for nothing.
struct RestingDatabase: Equatable {
    /// Longer than the ticks of any file system's times, so that a change from now on shows in them.
    private static let rest: Int64 = 2

    private let path: String
    private let inode: UInt
    private let size: Int
    private let modified: Int
    private let nanoseconds: Int

    /// - Returns: `nil` unless the database rests.
    init?(_ path: String) {
        // The log first: it goes only after all of it was moved into the file.
        for suffix in ["-wal", "-journal"] where access(path + suffix, F_OK) == 0 { return nil }
        var info = stat()
        var now = timespec()
        // By another name, or behind a symbolic link, it would have its log elsewhere.
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFREG, info.st_nlink == 1,
            clock_gettime(CLOCK_REALTIME, &now) == 0,
            Int64(now.tv_sec) - Int64(info.st_mtim.tv_sec) > Self.rest
        else { return nil }
        self.path = path
        inode = UInt(info.st_ino)
        size = Int(info.st_size)
        modified = info.st_mtim.tv_sec
        nanoseconds = info.st_mtim.tv_nsec
    }

    /// What `body` read or how it failed; `nil` if that counts for nothing.
    func read<T>(_ settings: Configuration, _ body: (Database) throws -> T) -> Result<T, any Error>? {
        guard let address else { return nil }
        let queue: DatabaseQueue
        do {
            queue = try DatabaseQueue(path: address, configuration: settings)
        } catch {
            // A SQLite that is built without URIs finds no such file. Whatever else it is, the usual way meets it, too.
            return nil
        }
        let result = Result { try queue.read(body) }
        return RestingDatabase(path) == self ? result : nil
    }

    /// https://sqlite.org/uri.html
    private var address: String? {
        var kept = CharacterSet.alphanumerics
        kept.insert(charactersIn: "/-._~")
        return path.addingPercentEncoding(withAllowedCharacters: kept).map { "file:\($0)?immutable=1" }
    }
}
