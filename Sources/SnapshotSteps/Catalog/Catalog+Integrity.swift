import Files
import GRDB

extension Catalog {
    /// Reads the whole catalog of a state directory and says what is wrong with it; empty when it is sound, `nil` when
    /// there is none yet. Changes and makes nothing.
    ///
    /// - Throws: `catalogNewerThanProgram`, or `catalog` when it cannot be opened; a retryable one when it will be,
    ///   after somebody has written.
    package static func problems(in state: StateDirectory) async throws -> [String]? {
        let path = state.catalogDatabase
        return try await onOwnThread {
            guard fileExists(path) else { return nil }
            return try CatalogDatabase.problems(path: path)
        }
    }
}

extension CatalogDatabase {
    fileprivate static func problems(path: String) throws(SnapshotError) -> [String]? {
        do {
            return try reading(path) { database in
                try String.fetchAll(database, sql: "PRAGMA integrity_check").filter { $0 != "ok" }
            }
        } catch let error as DatabaseError where [.SQLITE_CORRUPT, .SQLITE_NOTADB].contains(error.resultCode) {
            return [error.message ?? "\(error.resultCode)"]
        } catch {
            throw translated(path, error)
        }
    }

    /// The size of each snapshot's file by its id, read from a database of this or an earlier version without a change.
    static func sizes(path: String) throws(SnapshotError) -> [String: UInt64] {
        do {
            let rows = try reading(path) { try Row.fetchAll($0, sql: "SELECT id, size FROM snapshots") } ?? []
            return Dictionary(rows.map { ($0["id"], UInt64(clamping: $0["size"] as Int64)) }) { $1 }
        } catch {
            throw translated(path, error)
        }
    }

    /// - Returns: `nil` when another process makes the database just now.
    private static func reading<Value>(_ path: String, _ body: (Database) throws -> Value) throws -> Value? {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(10)
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        return try queue.read { database in
            guard try CatalogSchema.isThere(in: database, path: path) else { return nil }
            return try body(database)
        }
    }

    private static func translated(_ path: String, _ error: any Error) -> SnapshotError {
        switch error {
        case let error as SnapshotError: error
        case let error as DatabaseError where error.resultCode == .SQLITE_READONLY:
            // What a killed process half wrote is taken back by the next one that may write.
            SnapshotError(
                .catalog, "\(path) was being written when a process was killed; the next run mends that",
                retryable: true)
        default: failed("read \(path)", error)
        }
    }
}
