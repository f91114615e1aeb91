import Foundation
import GRDB
import Glibc

/// The writing connection, and the rules under which it commits and checkpoints. Belongs to the writer's thread.
///
/// SQLite 3.7.0 to 3.51.2 can corrupt a database when a checkpoint overlaps the commit of another connection that
/// resets the write-ahead log (https://sqlite.org/wal.html, "the WAL-reset bug"). So no connection checkpoints by
/// itself; each commit holds a lock file shared, and a checkpoint happens only while it is held exclusively.
final class WritingDatabase: CommitBackend {
    private let queue: DatabaseQueue
    private let session: WriteSession
    private let log: WriteAheadLog
    private let gate: FileLock
    private let configuration: StoreConfiguration
    private let metrics: StoreMetrics

    /// Opens the database, makes it if it is missing, and brings its schema up to date.
    init(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) throws {
        self.configuration = configuration
        self.metrics = metrics
        try Self.prepareFile(configuration.path)
        try LockProof.check(configuration.path + ".commit.lock")
        let gate = try FileLock.open(configuration.path + ".commit.lock")
        self.gate = gate
        defer { gate.unlock() }
        do {
            // GRDB makes a small commit when it finds the log empty, so opening counts as a commit.
            (queue, session, log) = try Self.open(configuration, gate, .shared)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
            // Of two processes that turn a new database to write-ahead logging at once, SQLite tells one so at once,
            // whatever the busy time-out: both read, and each waits for the other to stop. So: one at a time.
            gate.unlock()
            (queue, session, log) = try Self.open(configuration, gate, .exclusive)
        }
    }

    private static func open(
        _ configuration: StoreConfiguration, _ gate: FileLock, _ mode: FileLock.Mode
    ) throws -> (DatabaseQueue, WriteSession, WriteAheadLog) {
        guard gate.lock(mode, patience: configuration.busyTimeout) else { throw StoreErrors.busy(configuration) }
        let queue = try DatabaseQueue(path: configuration.path, configuration: settings(configuration))
        return try queue.inDatabase { db in
            // GRDB's set-up of the write-ahead log leaves NORMAL behind, which loses commits at a power cut.
            try db.execute(sql: "PRAGMA synchronous = \(configuration.synchronous.rawValue)")
            try verify(db, configuration.synchronous)
            try SchemaMigration.migrate(db)
            let session = try WriteSession(db, rewrite: configuration.rewrite)
            return (queue, session, try WriteAheadLog(db, limit: configuration.walLimit))
        }
    }

    /// Runs the operations in one transaction, and commits.
    ///
    /// - Parameter lastCheck: called right before the commit; if it throws, everything is rolled back.
    /// - Returns: the error of each operation that was rolled back alone; empty when there is none.
    func transaction(
        _ operations: [SQLiteOperation], lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        let isLocked = metrics.lockWait { gate.lock(.shared, patience: configuration.busyTimeout) }
        guard isLocked else { throw StoreErrors.busy(configuration) }
        defer { gate.unlock() }
        return try metrics.transaction {
            try queue.inDatabase { _ in
                do {
                    try session.together(operations, lastCheck: lastCheck)
                    return []
                } catch let failure as WriteSession.OperationFailure {
                    // Hardly ever does one fail. Then it is found out which, and the others are not made to suffer.
                    guard operations.count > 1 else { return [failure.cause] }
                    return try session.oneByOne(operations, lastCheck: lastCheck)
                }
            }
        }
    }

    func translate(_ error: any Error) -> any Error { StoreErrors.translate(error, path: configuration.path) }

    /// Moves the log into the database once it has grown past its limit, if no other process commits just now.
    func tidy() {
        guard log.isDue, gate.lock(.exclusive, patience: log.isOverdue ? .seconds(1) : .zero) else { return }
        defer { gate.unlock() }
        do {
            try metrics.checkpoint { try queue.inDatabase { try log.checkpoint($0) } }
        } catch {
            // Nothing is lost: the log still holds every commit, and the next commit meets the same trouble where it
            // can be reported.
            log.attempted(isComplete: false)
        }
    }

    /// Closes the connection. SQLite checkpoints when the last connection of all processes closes.
    func close(isCutOff: Bool) {
        // Without the lock the close is still safe: SQLite checkpoints here only if it can lock out every other
        // connection. With it, no commit even has to wait.
        _ = gate.lock(.exclusive, patience: .milliseconds(100))
        do {
            queue.inDatabase { db in
                session.finalize()
                log.finalize(db)
            }
            try queue.close()
        } catch {
            // A connection that cannot be closed is closed by the end of the process; every commit is in the log.
        }
        gate.close()
    }

    /// Makes directory and file so that only their owner can read them; SQLite gives its side files the same mode.
    ///
    /// The file is made without being opened: closing a descriptor of a database drops every lock that the process
    /// has on it (https://sqlite.org/howtocorrupt.html, "POSIX advisory locks").
    private static func prepareFile(_ path: String) throws {
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        do {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw WorkflowError(
                .storeNotWritable, "cannot make the directory \(directory) for the store: choose another or make it",
                cause: error)
        }
        if mknod(path, S_IFREG | 0o600, 0) != 0, errno != EEXIST {
            throw SystemError(call: "mknod", path: path, code: errno)
        }
    }

    private static func settings(_ store: StoreConfiguration) -> Configuration {
        var settings = Configuration()
        settings.label = "workflow"
        settings.journalMode = .wal
        settings.busyMode = .timeout(Double(store.busyTimeout.wholeMilliseconds) / 1000)
        settings.prepareDatabase { db in
            try db.execute(sql: "PRAGMA wal_autocheckpoint = 0")
            try db.execute(sql: "PRAGMA mmap_size = 0")
        }
        return settings
    }

    /// Reads back what durability hangs on.
    static func verify(_ db: Database, _ synchronous: StoreConfiguration.Synchronous = .full) throws {
        let expected: [(pragma: String, value: String)] = [
            ("synchronous", "\(synchronous.rawValue)"), ("journal_mode", "wal"), ("wal_autocheckpoint", "0"),
            ("foreign_keys", "1"),
        ]
        for (pragma, value) in expected {
            let actual = try text(of: pragma, db)
            guard actual == value else {
                throw WorkflowError(
                    .storeFailed,
                    "SQLite did not accept PRAGMA \(pragma) = \(value) (it is \(actual)), "
                        + "so commits would not be safe: the store must be on a local filesystem")
            }
        }
    }
}

/// What the connection answers when asked for a pragma.
private func text(of pragma: String, _ db: Database) throws -> String {
    switch try DatabaseValue.fetchOne(db, sql: "PRAGMA \(pragma)")?.storage {
    case .int64(let value): String(value)
    case .string(let value): value
    default: "unset"
    }
}
