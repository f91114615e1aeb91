import Foundation
import GRDB
import Glibc
import Synchronization

/// The writing connection, and the rules under which it commits and checkpoints. Belongs to the writer's thread.
///
/// SQLite 3.7.0 to 3.51.2 can corrupt a database when a checkpoint overlaps the commit of another connection that
/// resets the write-ahead log (https://sqlite.org/wal.html, "the WAL-reset bug"). So no connection checkpoints by
/// itself; each commit holds a lock file shared, and a checkpoint happens only while it is held exclusively.
struct WritingDatabase: Sendable {
    private let queue: DatabaseQueue
    private let gate: FileLock
    private let configuration: StoreConfiguration
    private let metrics: StoreMetrics
    private let checkpoint = CheckpointThreshold()

    private var walPath: String { configuration.path + "-wal" }

    static func open(_ configuration: StoreConfiguration, _ metrics: StoreMetrics) throws -> WritingDatabase {
        try prepareFile(configuration.path)
        try LockProof.check(configuration.path + ".commit.lock")
        let gate = try FileLock.open(configuration.path + ".commit.lock")
        // GRDB makes a small commit when it finds the log empty, so opening counts as a commit.
        guard gate.lock(.shared, patience: configuration.busyTimeout) else { throw StoreErrors.busy(configuration) }
        defer { gate.unlock() }
        let queue = try DatabaseQueue(path: configuration.path, configuration: settings(configuration))
        try queue.inDatabase { db in
            // GRDB's set-up of the write-ahead log leaves NORMAL behind, which loses commits at a power cut.
            try db.execute(sql: "PRAGMA synchronous = FULL")
            try verify(db)
            try SchemaMigration.migrate(db)
        }
        return WritingDatabase(queue: queue, gate: gate, configuration: configuration, metrics: metrics)
    }

    /// Runs each operation in a savepoint of one transaction, and commits.
    ///
    /// - Parameter lastCheck: called right before the commit; if it throws, everything is rolled back.
    /// - Returns: the error of each operation that was rolled back alone.
    func transaction(
        _ operations: [@Sendable (Database) throws -> Void], lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        let isLocked = metrics.lockWait { gate.lock(.shared, patience: configuration.busyTimeout) }
        guard isLocked else { throw StoreErrors.busy(configuration) }
        defer { gate.unlock() }
        return try metrics.transaction { try apply(operations, lastCheck) }
    }

    private func apply(
        _ operations: [@Sendable (Database) throws -> Void], _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        try queue.inDatabase { db in
            var errors: [(any Error)?] = []
            try db.inTransaction(.immediate) {
                for operation in operations {
                    do {
                        try db.inSavepoint {
                            try operation(db)
                            return .commit
                        }
                        errors.append(nil)
                    } catch {
                        // Some errors (a full disk, failing I/O) make SQLite end the whole transaction.
                        guard db.isInsideTransaction else { throw error }
                        errors.append(error)
                    }
                }
                try lastCheck()
                return .commit
            }
            return errors
        }
    }

    /// Moves the log into the database once it has grown past its limit, if no other process commits just now.
    func checkpointIfNeeded() {
        let size = fileSize(walPath)
        guard size > checkpoint.threshold(limit: configuration.walLimit) else { return }
        // Far past the limit it is worth waiting for the other processes to pause.
        let patience: Duration = size > configuration.walLimit * 8 ? .seconds(1) : .zero
        guard gate.lock(.exclusive, patience: patience) else { return }
        defer { gate.unlock() }
        let isComplete: Bool
        do {
            isComplete = try metrics.checkpoint { try truncateLog() }
        } catch {
            // Nothing is lost: the log still holds every commit, and the next commit meets the same trouble where it
            // can be reported.
            isComplete = false
        }
        checkpoint.attempted(isComplete: isComplete, size: size, limit: configuration.walLimit)
    }

    /// - Returns: whether the whole log was moved.
    private func truncateLog() throws -> Bool {
        try queue.inDatabase { db in
            // A reader in the way is not waited for: the next commit tries again.
            try db.execute(sql: "PRAGMA busy_timeout = 0")
            let result = Result { try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)") }
            try db.execute(sql: "PRAGMA busy_timeout = \(configuration.busyTimeout.wholeMilliseconds)")
            return try result.get()?[0] == 0
        }
    }

    /// Closes the connection. SQLite checkpoints when the last connection of all processes closes.
    func close() {
        // Without the lock the close is still safe: SQLite checkpoints here only if it can lock out every other
        // connection. With it, no commit even has to wait.
        _ = gate.lock(.exclusive, patience: .milliseconds(100))
        do {
            try queue.close()
        } catch {
            // A connection that cannot be closed is closed by the end of the process; every commit is in the log.
        }
        gate.close()
    }

    func translate(_ error: any Error) -> any Error {
        StoreErrors.translate(error, path: configuration.path)
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
    static func verify(_ db: Database) throws {
        let expected: [(pragma: String, value: String)] = [
            ("synchronous", "2"), ("journal_mode", "wal"), ("wal_autocheckpoint", "0"), ("foreign_keys", "1"),
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

/// How large the log has to be before the next checkpoint is tried.
private final class CheckpointThreshold: Sendable {
    private let next = Mutex<Int?>(nil)

    func threshold(limit: Int) -> Int { next.withLock { $0 } ?? limit }

    /// After a checkpoint that readers kept from finishing, the log may grow by half its limit before the next try.
    func attempted(isComplete: Bool, size: Int, limit: Int) {
        next.withLock { $0 = isComplete ? nil : size + limit / 2 }
    }
}

private func fileSize(_ path: String) -> Int {
    var info = stat()
    return stat(path, &info) == 0 ? Int(info.st_size) : 0
}
