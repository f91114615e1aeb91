/// Where runs are kept.
public struct StoreConfiguration: Sendable {
    /// The file of the database.
    var path: String
    /// How long one operation waits for another process before it fails with ``WorkflowError/Code/storeBusy``.
    public var busyTimeout: Duration
    /// How long a lone "done" may wait for company before it is committed.
    public var flushDelay: Duration
    /// How large the write-ahead log grows before it is moved into the database, in bytes.
    public var walLimit: Int
    /// Changes the statements about runs before they are compiled, for tests that take a guard away.
    var rewrite: @Sendable (RunStatement, String) -> String = { $1 }
    /// When SQLite makes a commit durable. Anything but `full` loses commits; tests show that they would notice.
    package var synchronous = Synchronous.full

    /// The values of `PRAGMA synchronous` that tests compare.
    package enum Synchronous: Int, Sendable, Hashable {
        /// Only at checkpoints.
        case normal = 1
        /// At every commit.
        case full = 2
    }

    /// A SQLite database on this machine, made if it is missing: the file with mode 0600, its directory with 0700.
    ///
    /// Beside it live `<path>-wal`, `<path>-shm`, `<path>.commit.lock` and the directory `<path>.locks`.
    /// The file must be on a local filesystem.
    public static func sqlite(path: String) -> StoreConfiguration {
        StoreConfiguration(
            path: path, busyTimeout: .seconds(10), flushDelay: .milliseconds(3), walLimit: 1 << 20)
    }
}
