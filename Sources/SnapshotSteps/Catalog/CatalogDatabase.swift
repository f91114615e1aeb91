import CatalogMigrations
import GRDB
import Glibc

/// The catalog's rows. All calls block; ``Catalog`` makes them from a thread of its own.
///
/// One connection with a rollback journal: rows are few and written seldom, and readers of another process wait at
/// most for one short commit.
struct CatalogDatabase: Sendable {
    private let queue: DatabaseQueue

    /// Opens the database, makes it when it is missing, and brings its schema up to date.
    init(path: String) throws(SnapshotError) {
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL")
        }
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
        } catch {
            throw Self.failed("open \(path)", error)
        }
        chmod(path, 0o600)
        let migrator = Self.migrator
        do {
            let isNewer = try queue.read { try migrator.hasBeenSuperseded($0) }
            guard !isNewer else { throw Self.newer(path) }
            do {
                try migrator.migrate(queue)
            } catch {
                // At the first use of two processes the other one may have been faster; what it did is seen now.
                try migrator.migrate(queue)
            }
        } catch let error as SnapshotError {
            throw error
        } catch {
            throw Self.failed("bring \(path) up to date", error)
        }
    }

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        for (identifier, sql) in CatalogMigrations.all {
            migrator.registerMigration(identifier) { try $0.execute(sql: sql) }
        }
        return migrator
    }

    static func newer(_ path: String) -> SnapshotError {
        SnapshotError(
            .catalogNewerThanProgram,
            """
            \(path) was written by a newer version of snapwf. Upgrade snapwf, or use another state directory: \
            SNAPWF_HOME=/path snapwf …
            """)
    }

    static func failed(_ what: String, _ error: any Error) -> SnapshotError {
        let resultCode = (error as? DatabaseError)?.resultCode
        let code: SnapshotError.Code = resultCode == .SQLITE_FULL ? .diskFull : .catalog
        let isRetryable = resultCode == .SQLITE_BUSY || resultCode == .SQLITE_FULL
        return SnapshotError(code, "the catalog could not \(what): \(error)", retryable: isRetryable)
    }

    func snapshot(key: String) throws(SnapshotError) -> Snapshot? {
        try read("look up a snapshot") { database in
            try Row.fetchOne(database, sql: "SELECT * FROM snapshots WHERE key = ?", arguments: [key])
                .map(Snapshot.init(row:))
        }
    }

    func snapshots() throws(SnapshotError) -> [Snapshot] {
        try read("list the snapshots") { database in
            try Row.fetchAll(database, sql: "SELECT * FROM snapshots ORDER BY created_at, id").map(Snapshot.init(row:))
        }
    }

    /// Adds a row, or brings the one that has the key up to date.
    func insert(_ snapshot: Snapshot) throws(SnapshotError) {
        try write("add a snapshot") { database in
            try database.execute(
                sql: """
                    INSERT INTO snapshots (key, id, image, manifest_digest, platform, sha256, uuid, size, entries,
                        config, run_id, created_at, last_used_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
                        sha256 = excluded.sha256, uuid = excluded.uuid, size = excluded.size,
                        entries = excluded.entries, config = excluded.config, run_id = excluded.run_id,
                        created_at = excluded.created_at
                    """,
                arguments: [
                    snapshot.key, snapshot.id, snapshot.image, snapshot.manifestDigest, snapshot.platform,
                    snapshot.sha256, snapshot.uuid, Int64(clamping: snapshot.size), snapshot.entries, snapshot.config,
                    snapshot.runID, snapshot.createdAt, snapshot.lastUsedAt,
                ])
        }
    }

    func remove(key: String) throws(SnapshotError) {
        try write("remove a snapshot") { database in
            try database.execute(sql: "DELETE FROM snapshots WHERE key = ?", arguments: [key])
        }
    }

    func touch(key: String, at time: Int64) throws(SnapshotError) {
        try write("note the use of a snapshot") { database in
            try database.execute(
                sql: "UPDATE snapshots SET last_used_at = max(last_used_at, ?) WHERE key = ?", arguments: [time, key])
        }
    }

    private func read<Value>(
        _ what: String, _ body: (Database) throws -> Value
    ) throws(SnapshotError) -> Value {
        do { return try queue.read(body) } catch { throw Self.failed(what, error) }
    }

    private func write(_ what: String, _ body: (Database) throws -> Void) throws(SnapshotError) {
        do { try queue.write(body) } catch { throw Self.failed(what, error) }
    }
}

extension Snapshot {
    /// The path is not in the row, so that a store may be moved: ``Catalog`` fills it in.
    fileprivate init(row: Row) throws {
        self.init(
            id: row["id"], key: row["key"], path: "", image: row["image"], manifestDigest: row["manifest_digest"],
            platform: row["platform"], sha256: row["sha256"], uuid: row["uuid"],
            size: UInt64(clamping: row["size"] as Int64), entries: row["entries"], config: row["config"],
            runID: row["run_id"], createdAt: row["created_at"], lastUsedAt: row["last_used_at"])
    }
}
