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
        do {
            try CatalogSchema.migrate(queue, path: path)
        } catch let error as SnapshotError {
            throw error
        } catch {
            throw Self.failed("bring \(path) up to date", error)
        }
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

    func read<Value>(
        _ what: String, _ body: (Database) throws -> Value
    ) throws(SnapshotError) -> Value {
        do { return try queue.read(body) } catch { throw Self.failed(what, error) }
    }

    func write<Value>(
        _ what: String, _ body: (Database) throws -> Value
    ) throws(SnapshotError) -> Value {
        do { return try queue.write(body) } catch let error as SnapshotError {
            throw error
        } catch {
            throw Self.failed(what, error)
        }
    }
}
