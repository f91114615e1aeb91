import WorkflowPostgresMigrations

/// Brings the schema up to date, and refuses one that is newer than this program.
enum PostgresMigration {
    /// What the advisory lock of all that migrate is called; the second half is the schema.
    private static let lock = 0x736e_6170

    static func migrate(_ connection: PostgresConnection) throws {
        // Mostly nothing is to be done: then no lock is taken. Each change is a transaction of its own.
        while try pending(connection) > 0 {
            try connection.script("BEGIN")
            do {
                try migrateInTransaction(connection)
                try connection.script("COMMIT")
            } catch {
                // Where the connection is gone, so is the transaction.
                try? connection.script("ROLLBACK")
                throw error
            }
        }
    }

    /// Makes the next change, and leaves the transaction open.
    static func migrateInTransaction(_ connection: PostgresConnection) throws {
        try connection.run("SELECT pg_advisory_xact_lock($1::integer, hashtext(current_schema()))", ["\(lock)"])
        try connection.script(
            """
            CREATE TABLE IF NOT EXISTS workflow_migrations (
                position   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                identifier text NOT NULL UNIQUE
            )
            """)
        // Another process may have been faster.
        let count = try pending(connection)
        guard count > 0 else { return }
        let all = WorkflowPostgresMigrations.all
        let migration = all[all.count - count]
        try connection.script(migration.sql)
        try connection.run("INSERT INTO workflow_migrations (identifier) VALUES ($1)", [migration.identifier])
    }

    /// Throws unless the schema is the one that this program reads.
    static func requireCurrent(_ connection: PostgresConnection, name: String) throws {
        guard try isThere(connection) else {
            throw WorkflowError(
                .noStore, "there is no store in the \(name) yet: start a run, which makes it, or correct the address")
        }
        let missing = try pending(connection)
        guard missing > 0 else { return }
        let all = WorkflowPostgresMigrations.all
        throw WorkflowError(
            .storeNeedsMigration,
            "the store in the \(name) lacks the schema change '\(all[all.count - missing].identifier)', and whoever only "
                + "reads changes nothing: open it with an engine of this version once, and it is brought up to date")
    }

    private static func isThere(_ connection: PostgresConnection) throws -> Bool {
        try connection.run("SELECT to_regclass('workflow_migrations') IS NOT NULL AS there").first?.flag("there")
            ?? false
    }

    /// How many of the changes are missing.
    private static func pending(_ connection: PostgresConnection) throws -> Int {
        let known = WorkflowPostgresMigrations.all.map(\.identifier)
        guard try isThere(connection) else { return known.count }
        let rows = try connection.run("SELECT identifier FROM workflow_migrations ORDER BY position").rows
        return try SchemaVersion.missing(applied: try rows.map { try $0.needText("identifier") }, known: known)
    }
}
