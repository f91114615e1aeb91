/// The same statements for PostgreSQL, with the same values in the same places: `$1` is the run's id here, `$2` the epoch,
/// `$3` the time.
///
/// Each locks the run's row first, until the end of the transaction. Whoever claims the run changes that row: so a claim
/// and a write of the epoch before it come one after the other, and the later one sees what the earlier one did.
extension RunStatement {
    /// What keeps a stale writer out: the words that a mutation test takes away, one statement after the other.
    static let postgresEpochGuard = "runs.epoch = $2::bigint"

    private static func ours(finishedToo: Bool = false) -> String {
        """
        ours AS MATERIALIZED (
            SELECT no, epoch, cancel_requested_at, deaths FROM runs WHERE id = $1 AND \(postgresEpochGuard)\(finishedToo ? "" : " AND finished_at IS NULL")
            FOR NO KEY UPDATE)
        """
    }

    /// The row of an attempt that is under way: `$4` key, `$5` scope, `$6` attempt. The number of the run is a value by itself:
    /// with a join the planner reads the index by the key alone, which is in every run.
    private static let isUnderWay = """
        WHERE run_no = (SELECT no FROM ours) AND key = $4 AND scope = $5 AND attempt = $6::bigint AND state = 'intended'
        """

    /// Undoes the transaction unless one row was changed.
    private static let requireOne = "CASE WHEN count(*) = 1 THEN 1 ELSE require_change(count(*), $1, $2::bigint) END"

    /// What the statement is called on its connection.
    var name: String { "run_statement_\(rawValue)" }

    /// The statement. It fails unless it changes exactly one row.
    var postgres: String {
        switch self {
        // An event that the log has already adds nothing; a stale writer has to learn here too that it is one.
        case .event:
            """
            WITH \(Self.ours(finishedToo: true)), added AS (\(change))
            SELECT \(Self.requireOne) FROM ours
            """
        // Also for finished runs: a garbage collector closes what they left open.
        case .resourceState:
            """
            WITH \(Self.ours(finishedToo: true)), changed AS (\(change) RETURNING 1)
            SELECT \(Self.requireOne) FROM changed
            """
        case .child:
            """
            WITH \(Self.ours()), \(QueueStatement.stand(labels: "$10::text", queue: "$12", priority: "$13::bigint")),
            changed AS (\(change) RETURNING 1),
            told AS (
                INSERT INTO events (seq, run_no, at, kind, step, payload)
                SELECT nextval('happenings'), ours.no, $3::bigint, 'run.child_started', $5, '{"id":"' || $4::text || '"}'
                FROM ours, changed)
            SELECT \(Self.requireOne) FROM changed
            """
        // The run gets on, whatever its workers died of. By a function, because a change of the row is prepared for each time
        // where it stands in the statement, and is hardly ever needed.
        case .done:
            """
            WITH \(Self.ours()), changed AS (\(change) RETURNING 1)
            SELECT \(Self.requireOne), (SELECT CASE WHEN deaths > 0 THEN forget_deaths(no) END FROM ours) FROM changed
            """
        default:
            """
            WITH \(Self.ours()), changed AS (\(change) RETURNING 1)
            SELECT \(Self.requireOne) FROM changed
            """
        }
    }

    private var change: String {
        switch self {
        // A checkpoint is never overwritten in its generation, nor an attempt by itself or an earlier one.
        case .intent:
            """
            INSERT INTO steps (
                run_no, key, scope, attempt, kind, generation, state, failures, crashes, idempotency_key, in_doubt,
                input, input_hash, progress, next_attempt_at, deadline_at, started_at, epoch, begun_seq)
            SELECT no, $4, $5, $6::bigint, $7, $8::bigint, 'intended', $9::bigint, $10::bigint, $11, $12, $13, $14, $15,
                $16::bigint, $17::bigint, $3::bigint, epoch, nextval('happenings')
            FROM ours
            ON CONFLICT (run_no, key) DO UPDATE SET
                kind = excluded.kind, scope = excluded.scope, generation = excluded.generation, state = 'intended',
                attempt = excluded.attempt, failures = excluded.failures, crashes = excluded.crashes,
                idempotency_key = excluded.idempotency_key, in_doubt = excluded.in_doubt, input = excluded.input,
                input_hash = excluded.input_hash, output = NULL, error = NULL, progress = excluded.progress,
                next_attempt_at = excluded.next_attempt_at, deadline_at = excluded.deadline_at,
                started_at = CASE WHEN steps.scope = excluded.scope THEN steps.started_at ELSE excluded.started_at END,
                finished_at = NULL, epoch = excluded.epoch,
                begun_seq = CASE WHEN steps.scope = excluded.scope THEN steps.begun_seq ELSE excluded.begun_seq END,
                done_seq = NULL
            WHERE steps.scope <> excluded.scope OR (steps.state <> 'done' AND steps.attempt < excluded.attempt)
            """
        case .done:
            """
            UPDATE steps SET state = 'done', output = $7, error = NULL,
                next_attempt_at = CASE WHEN kind = 'sleep' THEN next_attempt_at END, deadline_at = NULL,
                finished_at = $3::bigint, epoch = $2::bigint, done_seq = nextval('happenings')
            \(Self.isUnderWay)
            """
        case .failed:
            """
            UPDATE steps SET state = $7, failures = $8::bigint, crashes = $9::bigint, error = $10,
                next_attempt_at = $11::bigint, deadline_at = NULL, progress = coalesce($12, progress),
                finished_at = CASE WHEN $13::bigint = 1 THEN $3::bigint END, epoch = $2::bigint
            \(Self.isUnderWay)
            """
        case .progress:
            """
            UPDATE steps SET progress = $7, epoch = $2::bigint \(Self.isUnderWay) AND $3::bigint IS NOT NULL
            """
        case .decide:
            """
            UPDATE steps SET state = $5, output = $6, error = $7,
                next_attempt_at = CASE WHEN $8::bigint = 0 THEN $3::bigint END, deadline_at = NULL,
                finished_at = CASE WHEN $8::bigint = 1 THEN $3::bigint END, epoch = $2::bigint,
                done_seq = CASE WHEN $5 = 'done' THEN nextval('happenings') END
            WHERE run_no = (SELECT no FROM ours) AND key = $4 AND kind = 'step' AND state = 'intended'
            """
        case .status:
            """
            UPDATE runs SET status = $4, wake_at = $5::bigint, updated_at = $3::bigint FROM ours WHERE runs.no = ours.no
            """
        case .finish:
            """
            UPDATE runs SET status = $4, output = $5, error = $6, wake_at = NULL, updated_at = $3::bigint,
                finished_at = $3::bigint
            FROM ours WHERE runs.no = ours.no
            """
        case .resourceIntent:
            """
            INSERT INTO resources (
                idempotency_key, run_no, name, kind, scope, generation, state, failures, intended_at, updated_at, epoch)
            SELECT $4, no, $5, $6, $7, $8::bigint, 'intended', 0, $9::bigint, $3::bigint, epoch FROM ours
            """
        case .resourceHeld:
            """
            UPDATE resources SET state = 'held', external_id = $5, details = $6, failures = 0, error = NULL,
                next_attempt_at = NULL, updated_at = $3::bigint, epoch = $2::bigint
            FROM ours WHERE idempotency_key = $4 AND run_no = ours.no AND state = 'intended'
            """
        case .resourceState:
            """
            UPDATE resources SET state = $5, failures = 0, error = NULL, next_attempt_at = NULL, updated_at = $3::bigint,
                epoch = $2::bigint
            FROM ours WHERE idempotency_key = $4 AND run_no = ours.no AND state = ANY ($6::text[])
            """
        case .resourceFailed:
            """
            UPDATE resources SET failures = $5::bigint, error = $6, next_attempt_at = $7::bigint,
                updated_at = $3::bigint, epoch = $2::bigint
            FROM ours WHERE idempotency_key = $4 AND run_no = ours.no
            """
        // `$4` id, `$5` name, `$6` workflow, `$7` version, `$8` input, `$9` its hash, `$10` labels, `$11` deadline, `$12`
        // queue, `$13` priority, `$14` not before. What is wanted of the parent is wanted of the child.
        case .child:
            """
            INSERT INTO runs (
                no, id, workflow, version, input, input_hash, status, epoch, wake_at, deadline_at, cancel_requested_at,
                labels, created_at, updated_at, queue, priority, share, turn, parent_no, child_name)
            SELECT nextval('happenings'), $4, $6, $7::bigint, $8, $9, 'pending', 0, $14::bigint, $11::bigint,
                ours.cancel_requested_at, $10, $3::bigint, $3::bigint, $12, $13::bigint, stand.share, stand.turn,
                ours.no, $5
            FROM ours, stand
            """
        // `$4` number of the signal, `$5` the wait.
        case .receive:
            """
            UPDATE signals SET received_by = $5
            FROM ours
            WHERE seq = $4::bigint AND run_no = ours.no AND received_by IS NULL AND $3::bigint IS NOT NULL
            """
        case .rest:
            """
            UPDATE runs SET rest = $4, updated_at = $3::bigint FROM ours WHERE runs.no = ours.no
            """
        case .event:
            """
            INSERT INTO events (seq, run_no, at, kind, step, attempt, payload, dedup_key)
            SELECT nextval('happenings'), no, $3::bigint, $4, $5, $6::bigint, $7, $8 FROM ours
            ON CONFLICT (run_no, dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING
            """
        }
    }
}
