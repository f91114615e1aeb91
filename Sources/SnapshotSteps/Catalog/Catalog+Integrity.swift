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
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(10)
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            return try queue.read { database in
                // Another process makes it just now.
                guard try database.tableExists("grdb_migrations") else { return nil }
                guard try !migrator.hasBeenSuperseded(database) else { throw newer(path) }
                return try String.fetchAll(database, sql: "PRAGMA integrity_check").filter { $0 != "ok" }
            }
        } catch let error as SnapshotError {
            throw error
        } catch let error as DatabaseError where [.SQLITE_CORRUPT, .SQLITE_NOTADB].contains(error.resultCode) {
            return [error.message ?? "\(error.resultCode)"]
        } catch let error as DatabaseError where error.resultCode == .SQLITE_READONLY {
            // What a killed process half wrote is taken back by the next one that may write.
            throw SnapshotError(
                .catalog, "\(path) was being written when a process was killed; the next run mends that",
                retryable: true)
        } catch {
            throw failed("read \(path)", error)
        }
    }
}
