/// Where runs are kept.
public struct StoreConfiguration: Sendable {
    /// What the database is.
    enum Place: Sendable {
        /// The file of a SQLite database.
        case file
        case server(PostgresAddress)
    }

    private(set) var place = Place.file
    /// The file of the database; empty where it is a server's.
    var path: String
    /// How long one operation waits for another process before it fails with ``WorkflowError/Code/storeBusy``.
    public var busyTimeout: Duration
    /// How long a lone "done" may wait for company before it is committed.
    public var flushDelay: Duration
    /// How large the write-ahead log grows before it is moved into the database, in bytes.
    public var walLimit: Int
    /// On PostgreSQL: how long a run is held after the last sign of life of its holder, at least a tenth of a second. It is
    /// renewed thrice in that time. Who cannot renew it any more lets go of the run, and nobody else resumes it earlier.
    public var leaseTerm: Duration = .seconds(30)
    /// On PostgreSQL: how long a server that cannot be reached is waited for. Meanwhile runs pause; then they stop with
    /// ``WorkflowError/Code/storeUnavailable`` and can be resumed.
    public var reconnectTimeout: Duration = .seconds(60)
    /// Changes the statements about runs before they are compiled, for tests that take a guard away.
    var rewrite: @Sendable (RunStatement, String) -> String = { $1 }
    /// The same for what claims and lets go of runs on PostgreSQL, by the name of the statement.
    var rewriteClaims: @Sendable (String, String) -> String = { $1 }
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

    /// A PostgreSQL database, version 13 or later, that several machines may share. Its tables are made if they are missing,
    /// in the first schema of the search path.
    ///
    /// It takes libpq, version 14 or later, which is loaded when a store is opened.
    ///
    /// - Parameter address: a connection string as libpq knows it: a URL such as `postgresql://user@host/database` or
    ///   keywords and values. What it leaves out comes from libpq's environment, service file and `.pgpass`; a
    ///   `target_session_attrs` of `read-write` is assumed. It is shown to nobody, as it may hold a password.
    public static func postgres(_ address: String) -> StoreConfiguration {
        var configuration = sqlite(path: "")
        configuration.place = .server(PostgresAddress(address))
        return configuration
    }

    /// The store that a text names: ``postgres(_:)`` for a URL of that kind, else ``sqlite(path:)``.
    public static func named(_ text: String) -> StoreConfiguration {
        PostgresAddress.isURL(text) ? postgres(text) : sqlite(path: text)
    }

    /// Whether the store is a server's, which several machines may share.
    package var isShared: Bool {
        if case .server = place { true } else { false }
    }

    /// Throws where the text that names the store can mean none, before anything is opened.
    package func validate() throws {
        if case .server(let address) = place { _ = try address.name() }
    }

    /// What was given as a store's name, for people: without a password.
    package static func shown(_ text: String) -> String {
        PostgresAddress.isURL(text) ? PostgresAddress.withoutPassword(text) : text
    }
}
