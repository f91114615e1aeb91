import WorkflowPostgresMigrations

/// The changes of a schema, and the table that says which of them were made.
struct PostgresSchema: Sendable {
    let table: String
    /// Oldest first.
    let changes: [(identifier: String, sql: String)]

    /// The engine's own.
    static let store = PostgresSchema(
        table: "workflow_migrations", changes: WorkflowPostgresMigrations.all.map { ($0.identifier, $0.sql) })
}

/// Brings a schema up to date, and refuses one that is newer than this program.
enum PostgresMigration {
    /// What the advisory lock of all that migrate is called; the second half is the schema.
    private static let lock = 0x736e_6170

    /// - Parameter isFirst: whether this process opens the store. One that has had it open goes on beside what a newer one
    ///   added since, also on a new connection.
    static func migrate(
        _ connection: PostgresConnection, _ schema: PostgresSchema = .store, isFirst: Bool = true
    ) throws {
        do {
            // Mostly nothing is to be done: then no lock is taken.
            guard try pending(connection, schema) > 0 else { return }
        } catch let error as WorkflowError where error.code == .storeNewerThanProgram && !isFirst {
            return
        }
        // All changes are one transaction: whoever reads meanwhile sees the old schema or the new one.
        try connection.script("BEGIN")
        do {
            try migrateInTransaction(connection, schema)
            try connection.script("COMMIT")
        } catch {
            // Where the connection is gone, so is the transaction.
            try? connection.script("ROLLBACK")
            throw error
        }
    }

    /// Makes what changes are missing, and leaves the transaction open.
    static func migrateInTransaction(_ connection: PostgresConnection, _ schema: PostgresSchema = .store) throws {
        try connection.run("SELECT pg_advisory_xact_lock($1::integer, hashtext(current_schema()))", ["\(lock)"])
        try connection.script(
            """
            CREATE TABLE IF NOT EXISTS \(schema.table) (
                position   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                identifier text NOT NULL UNIQUE
            )
            """)
        // Another process may have been faster.
        let count = try pending(connection, schema)
        guard count > 0 else { return }
        // They may have to rewrite or index every row there is.
        try connection.run(.unhurried)
        for migration in schema.changes.suffix(count) {
            try connection.script(migration.sql, patience: .seconds(24 * 3600))
            try connection.run("INSERT INTO \(schema.table) (identifier) VALUES ($1)", [migration.identifier])
        }
    }

    /// Throws unless the schema is the one that this program reads.
    static func requireCurrent(
        _ connection: PostgresConnection, name: String, _ schema: PostgresSchema = .store
    ) throws {
        guard try isThere(connection, schema) else {
            throw WorkflowError(
                .noStore, "there is no store in the \(name) yet: start a run, which makes it, or correct the address")
        }
        let missing = try pending(connection, schema)
        guard missing > 0 else { return }
        let all = schema.changes
        throw WorkflowError(
            .storeNeedsMigration,
            "the store in the \(name) lacks the schema change '\(all[all.count - missing].identifier)', and whoever only "
                + "reads changes nothing: open it with an engine of this version once, and it is brought up to date")
    }

    private static func isThere(_ connection: PostgresConnection, _ schema: PostgresSchema) throws -> Bool {
        let row = try connection.run(
            """
            SELECT current_schema() AS first, to_regclass(format('%I.%I', current_schema(), '\(schema.table)')) IS NOT NULL AS there,
                (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('\(schema.table)')) AS found
            """
        ).first
        guard let row else { throw PostgresError.lost("the server does not know its schemas") }
        if try row.flag("there") { return true }
        guard let other = try row.text("found") else { return false }
        // Its tables would be used for those that are not there, and whoever wants a store apart would get that one.
        throw WorkflowError(
            .storeNotWritable,
            "the first schema of the search path, '\(try row.text("first") ?? "?")', has no store, and '\(other)' behind it has "
                + "one: say in the address which is meant (?options=-csearch_path%3DSCHEMA)")
    }

    /// How many of the changes are missing.
    private static func pending(_ connection: PostgresConnection, _ schema: PostgresSchema) throws -> Int {
        let known = schema.changes.map(\.identifier)
        guard try isThere(connection, schema) else { return known.count }
        let rows = try connection.run("SELECT identifier FROM \(schema.table) ORDER BY position").rows
        return try SchemaVersion.missing(applied: try rows.map { try $0.needText("identifier") }, known: known)
    }
}
