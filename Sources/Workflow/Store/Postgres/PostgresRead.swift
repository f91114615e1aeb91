/// What is asked of the tables.
enum PostgresRead {
    static let runColumns = """
        \(RunRecord.columns), EXISTS (
            SELECT 1 FROM leases WHERE run_id = runs.id AND expires_at > clock_timestamp()) AS is_held
        """

    // Each column by its name: a prepared statement fails whose result gets another column, as it does when a newer
    // program brings the schema up to date beside this one.
    static let stepColumns = """
        key, kind, scope, generation, state, attempt, failures, crashes, idempotency_key, in_doubt, input, input_hash,
        output, error, progress, next_attempt_at, deadline_at, started_at, finished_at
        """
    static let resourceColumns = """
        idempotency_key, name, kind, scope, generation, external_id, state, details, failures, resources.error,
        intended_at, resources.updated_at
        """

    /// `$1` id, here and below.
    static let run = "SELECT \(runColumns) FROM runs WHERE id = $1"
    static let steps = """
        SELECT \(stepColumns) FROM steps WHERE run_no = (SELECT no FROM runs WHERE id = $1) ORDER BY place
        """
    static let resources = """
        SELECT \(resourceColumns) FROM resources WHERE run_no = (SELECT no FROM runs WHERE id = $1) ORDER BY place
        """

    /// `$2` after which number, `$3` how many.
    static let events = """
        SELECT * FROM history WHERE run_no = (SELECT no FROM runs WHERE id = $1) AND seq > $2::bigint
        ORDER BY seq LIMIT $3::bigint
        """

    /// `$1` states.
    static let ledger = """
        SELECT \(resourceColumns), runs.id AS run_id FROM resources JOIN runs ON runs.no = run_no
        WHERE state = ANY ($1::text[]) ORDER BY resources.place
        """

    /// `$1` before which id, `$2` workflow, `$3` shown states, `$4` how many.
    ///
    /// - Parameter unfinished: whether all of those states are of unfinished runs; the words are then those of an index.
    static func runs(unfinished: Bool) -> String {
        """
        SELECT \(runColumns) FROM runs
        WHERE id < $1 AND ($2::text IS NULL OR workflow = $2)\(unfinished ? " AND finished_at IS NULL" : "")
            AND CASE
                WHEN finished_at IS NULL AND NOT (status = 'pending' AND epoch = 0) AND NOT EXISTS (
                    SELECT 1 FROM leases WHERE run_id = runs.id AND expires_at > clock_timestamp())
                THEN 'interrupted' ELSE status END = ANY ($3::text[])
        ORDER BY id DESC LIMIT $4::bigint
        """
    }

    /// A set of words, in their order, as PostgreSQL writes an array.
    static func array(_ words: some Sequence<String>) -> String {
        let quoted = words.sorted().map { word in
            "\"" + word.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        return "{" + quoted.joined(separator: ",") + "}"
    }
}

extension PostgresResult {
    func runRecords() throws -> [RunRecord] { try rows.map(RunRecord.init(stored:)) }
    func steps(of id: RunID) throws -> [StepRecord] { try rows.map { try StepRecord($0, of: id) } }
    func resources(of id: RunID) throws -> [ResourceRecord] { try rows.map { try ResourceRecord($0, of: id) } }
}

extension RunRecord {
    /// A row of ``PostgresRead/runColumns``.
    fileprivate init(stored row: PostgresRow) throws {
        let isHeld = try row.flag("is_held")
        try self.init(row) { _ in isHeld }
    }
}
