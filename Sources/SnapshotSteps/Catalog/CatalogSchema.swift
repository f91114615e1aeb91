import CatalogMigrations
import GRDB

/// Brings the catalog's tables up to date, and knows those of a newer version.
///
/// All steps that are missing are one change, under the lock of the one who writes: of many processes that use a new
/// state directory at once one makes them, and a process that is killed leaves all of them or none. GRDB's own migrator
/// looks before it locks, and makes each step by itself; the table it keeps its books in is the one here, so databases
/// of earlier versions are understood.
enum CatalogSchema {
    typealias Step = (identifier: String, sql: String)

    /// The steps of the schema, oldest first.
    static let steps = CatalogMigrations.all
    private static let books = "grdb_migrations"

    /// - Parameter steps: those to make; others only in tests.
    static func migrate(_ queue: DatabaseQueue, path: String, steps: [Step] = steps) throws {
        // Mostly nothing is to be done: then no lock is taken.
        if try queue.read({ try missing(in: $0, path: path, of: steps) }).isEmpty { return }
        try queue.writeWithoutTransaction { database in
            try database.inTransaction(.immediate) {
                try database.execute(
                    sql: "CREATE TABLE IF NOT EXISTS \(books) (identifier TEXT NOT NULL PRIMARY KEY)")
                // Another process may have been faster, and what was known of the tables is old.
                database.clearSchemaCache()
                for step in try missing(in: database, path: path, of: steps) {
                    try database.execute(sql: step.sql)
                    try database.execute(sql: "INSERT INTO \(books) VALUES (?)", arguments: [step.identifier])
                }
                return .commit
            }
        }
    }

    /// Whether the tables are there: `false` for a file that is empty, as another process makes it just now.
    ///
    /// Throws ``CatalogDatabase/newer(_:)`` where a newer version made them.
    static func isThere(in database: Database, path: String) throws -> Bool {
        try !applied(in: database, path: path).isEmpty
    }

    private static func missing(in database: Database, path: String, of steps: [Step]) throws -> [Step] {
        let applied = try applied(in: database, path: path)
        return steps.filter { !applied.contains($0.identifier) }
    }

    private static func applied(in database: Database, path: String) throws -> Set<String> {
        guard try database.tableExists(books) else { return [] }
        let applied = try String.fetchSet(database, sql: "SELECT identifier FROM \(books)")
        guard applied.isSubset(of: steps.map(\.identifier)) else { throw CatalogDatabase.newer(path) }
        return applied
    }
}
