import GRDB
import GRDBSQLite

/// The write-ahead log of the writing connection: how long it is, and when it is moved into the database.
///
/// A moved log is written again from its beginning. So its file stays as it is: to overwrite blocks that exist costs the
/// disk half of what new ones cost, because a file that grows has to be made known to the file system's own journal at
/// every commit.
final class WriteAheadLog {
    /// Set by SQLite at each commit of this connection.
    private let frames: UnsafeMutablePointer<Int32>
    private let frameSize: Int
    private let limit: Int
    /// How long the log has to be, in bytes, before moving it is tried.
    private var threshold: Int

    /// - Parameter limit: how long the log may become before it is moved, in bytes.
    init(_ db: Database, limit: Int) throws {
        let pageSize = try Int.fetchOne(db, sql: "PRAGMA page_size") ?? 4096
        // A frame is a page with a header of 24 bytes (https://sqlite.org/fileformat2.html, section 4.1).
        frameSize = pageSize + 24
        self.limit = limit
        threshold = limit
        frames = .allocate(capacity: 1)
        frames.initialize(to: 0)
        // What a burst or a slow reader made of the file is given back when it is next written from its beginning.
        try db.execute(sql: "PRAGMA journal_size_limit = \(max(limit, 0))")
        sqlite3_wal_hook(
            db.sqliteConnection,
            { frames, _, _, count in
                frames?.assumingMemoryBound(to: Int32.self).pointee = count
                return SQLITE_OK
            }, frames)
    }

    deinit {
        frames.deallocate()
    }

    /// How long the log is, in bytes.
    var size: Int { Int(frames.pointee) * frameSize }

    /// Whether it is time to move the log.
    var isDue: Bool { size > threshold }

    /// Whether it is worth waiting for others to pause.
    var isOverdue: Bool { size > limit * 8 }

    /// Moves as much of the log as readers allow. Nobody else may commit meanwhile.
    func checkpoint(_ db: Database) throws {
        // PASSIVE waits for nobody.
        let row = try Row.fetchOne(db, sql: "PRAGMA wal_checkpoint(PASSIVE)")
        let isComplete = row.map { $0[1] == $0[2] as Int } ?? false
        attempted(isComplete: isComplete)
    }

    /// After an attempt that readers kept from finishing, the log may grow by half its limit before the next one.
    func attempted(isComplete: Bool) {
        threshold = isComplete ? limit : size + limit / 2
        if isComplete { frames.pointee = 0 }
    }

    /// Before the connection is closed.
    func finalize(_ db: Database) {
        sqlite3_wal_hook(db.sqliteConnection, nil, nil)
    }
}
