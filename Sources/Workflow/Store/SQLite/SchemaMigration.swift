import GRDB
import WorkflowMigrations

/// Brings the schema up to date, and refuses one that is newer than this program.
enum SchemaMigration {
    static func migrate(_ db: Database) throws {
        // Mostly nothing is to be done: then no lock is taken.
        if try pending(db).isEmpty { return }
        try db.inTransaction(.immediate) {
            try db.execute(
                sql: """
                    CREATE TABLE IF NOT EXISTS workflow_migrations (
                        position   INTEGER PRIMARY KEY NOT NULL,
                        identifier TEXT NOT NULL UNIQUE
                    ) STRICT
                    """)
            // Another process may have been faster.
            for migration in try pending(db) {
                try db.execute(sql: migration.sql)
                try db.execute(
                    sql: "INSERT INTO workflow_migrations (identifier) VALUES (?)", arguments: [migration.identifier])
            }
            return .commit
        }
    }

    /// Throws unless the schema is the one that this program reads.
    static func requireCurrent(_ db: Database, path: String) throws {
        guard try db.tableExists("workflow_migrations") else { throw WorkflowError.noStore(path) }
        guard let missing = try pending(db).first else { return }
        throw WorkflowError(
            .storeNeedsMigration,
            "the store \(path) lacks the schema change '\(missing.identifier)', and whoever only reads changes nothing: "
                + "open it with an engine of this version once, and it is brought up to date")
    }

    private static func pending(_ db: Database) throws -> [WorkflowMigrations.Migration] {
        let known = WorkflowMigrations.all
        guard try db.tableExists("workflow_migrations") else { return known }
        let applied = try String.fetchAll(db, sql: "SELECT identifier FROM workflow_migrations ORDER BY position")
        let missing = try SchemaVersion.missing(applied: applied, known: known.map(\.identifier))
        return Array(known.suffix(missing))
    }
}

extension WorkflowError {
    static func noStore(_ path: String) -> WorkflowError {
        WorkflowError(.noStore, "there is no store at \(path) yet: start a run, which makes it, or correct the path")
    }
}
