import GRDB

/// The statements that change what is recorded about a run.
///
/// Each names the run and the writer's epoch by itself (``epochGuard``), so that a stale writer changes nothing whatever
/// it tries. `?1` is the run's number, `?2` the epoch, `?3` the time.
enum RunStatement: Int, CaseIterable {
    case intent
    case done
    case failed
    case progress
    case decide
    case status
    case finish
    case resourceIntent
    case resourceHeld
    case resourceState
    case resourceFailed
    case child
    case receive
    case rest
    case event

    /// What keeps a stale writer out: the words that a mutation test takes away, one statement after the other.
    static let epochGuard = "runs.epoch = ?2"

    /// Whether the run is one of this epoch and not over.
    private static let isOurs = "EXISTS (SELECT 1 FROM runs WHERE no = ?1 AND \(epochGuard) AND finished_at IS NULL)"

    /// The row of an attempt that is under way: `?4` key, `?5` scope, `?6` attempt.
    private static let isUnderWay = """
        WHERE run_no = ?1 AND key = ?4 AND scope = ?5 AND attempt = ?6 AND state = 'intended' AND \(isOurs)
        """

    var sql: String {
        switch self {
        // A checkpoint is never overwritten in its generation, nor an attempt by itself or an earlier one.
        case .intent:
            """
            INSERT INTO steps (
                run_no, key, scope, attempt, kind, generation, state, failures, crashes, idempotency_key, in_doubt,
                input, input_hash, progress, next_attempt_at, deadline_at, started_at, epoch, begun_seq)
            SELECT no, ?4, ?5, ?6, ?7, ?8, 'intended', ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?3, epoch, ?18
            FROM runs WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            ON CONFLICT (run_no, key) DO UPDATE SET
                kind = excluded.kind, scope = excluded.scope, generation = excluded.generation, state = 'intended',
                attempt = excluded.attempt, failures = excluded.failures, crashes = excluded.crashes,
                idempotency_key = excluded.idempotency_key, in_doubt = excluded.in_doubt, input = excluded.input,
                input_hash = excluded.input_hash, output = NULL, error = NULL, progress = excluded.progress,
                next_attempt_at = excluded.next_attempt_at, deadline_at = excluded.deadline_at,
                started_at = iif(scope = excluded.scope, started_at, excluded.started_at), finished_at = NULL,
                epoch = excluded.epoch, begun_seq = iif(scope = excluded.scope, begun_seq, excluded.begun_seq),
                done_seq = NULL
            WHERE scope <> excluded.scope OR (state <> 'done' AND attempt < excluded.attempt)
            """
        case .done:
            """
            UPDATE steps SET state = 'done', output = ?7, error = NULL,
                next_attempt_at = iif(kind = 'sleep', next_attempt_at, NULL), deadline_at = NULL, finished_at = ?3,
                epoch = ?2, done_seq = ?8
            \(Self.isUnderWay)
            """
        case .failed:
            """
            UPDATE steps SET state = ?7, failures = ?8, crashes = ?9, error = ?10, next_attempt_at = ?11,
                deadline_at = NULL, progress = coalesce(?12, progress), finished_at = iif(?13, ?3, NULL), epoch = ?2
            \(Self.isUnderWay)
            """
        case .progress:
            """
            UPDATE steps SET progress = ?7, epoch = ?2 \(Self.isUnderWay)
            """
        case .decide:
            """
            UPDATE steps SET state = ?5, output = ?6, error = ?7, next_attempt_at = iif(?8, NULL, ?3),
                deadline_at = NULL, finished_at = iif(?8, ?3, NULL), epoch = ?2, done_seq = iif(?5 = 'done', ?9, NULL)
            WHERE run_no = ?1 AND key = ?4 AND kind = 'step' AND state = 'intended' AND \(Self.isOurs)
            """
        case .status:
            """
            UPDATE runs SET status = ?4, wake_at = ?5, updated_at = ?3
            WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            """
        case .finish:
            """
            UPDATE runs SET status = ?4, output = ?5, error = ?6, wake_at = NULL, updated_at = ?3, finished_at = ?3
            WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            """
        case .resourceIntent:
            """
            INSERT INTO resources (
                idempotency_key, run_no, name, kind, scope, generation, state, failures, intended_at, updated_at, epoch)
            SELECT ?4, no, ?5, ?6, ?7, ?8, 'intended', 0, ?9, ?3, epoch
            FROM runs WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            """
        case .resourceHeld:
            """
            UPDATE resources SET state = 'held', external_id = ?5, details = ?6, failures = 0, error = NULL,
                next_attempt_at = NULL, updated_at = ?3, epoch = ?2
            WHERE idempotency_key = ?4 AND run_no = ?1 AND state = 'intended' AND \(Self.isOurs)
            """
        // Also for finished runs: a garbage collector closes what they left open. `?6` is a JSON array of states.
        case .resourceState:
            """
            UPDATE resources SET state = ?5, failures = 0, error = NULL, next_attempt_at = NULL, updated_at = ?3,
                epoch = ?2
            WHERE idempotency_key = ?4 AND run_no = ?1 AND state IN (SELECT value FROM json_each(?6))
                AND EXISTS (SELECT 1 FROM runs WHERE no = ?1 AND \(Self.epochGuard))
            """
        case .resourceFailed:
            """
            UPDATE resources SET failures = ?5, error = ?6, next_attempt_at = ?7, updated_at = ?3, epoch = ?2
            WHERE idempotency_key = ?4 AND run_no = ?1 AND \(Self.isOurs)
            """
        // `?4` id, `?5` name, `?6` workflow, `?7` version, `?8` input, `?9` its hash, `?10` labels, `?11` deadline,
        // `?12` queue, `?13` priority, `?14` not before, `?15` share, `?16` turn, `?17` its number. What is wanted of the
        // parent is wanted of the child.
        case .child:
            """
            INSERT INTO runs (
                no, id, workflow, version, input, input_hash, status, epoch, wake_at, deadline_at, cancel_requested_at,
                labels, created_at, updated_at, queue, priority, share, turn, parent_no, child_name)
            SELECT ?17, ?4, ?6, ?7, ?8, ?9, 'pending', 0, ?14, ?11, cancel_requested_at, ?10, ?3, ?3, ?12, ?13, ?15, ?16,
                no, ?5
            FROM runs WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            """
        // `?4` number of the signal, `?5` the wait.
        case .receive:
            """
            UPDATE signals SET received_by = ?5
            WHERE seq = ?4 AND run_no = ?1 AND received_by IS NULL AND ?3 IS NOT NULL AND \(Self.isOurs)
            """
        case .rest:
            """
            UPDATE runs SET rest = ?4, updated_at = ?3 WHERE no = ?1 AND \(Self.epochGuard) AND finished_at IS NULL
            """
        case .event:
            """
            INSERT INTO events (seq, run_no, at, kind, step, attempt, payload, dedup_key)
            SELECT ?4, no, ?3, ?5, ?6, ?7, ?8, ?9 FROM runs WHERE no = ?1 AND \(Self.epochGuard)
            """
        }
    }
}

/// The compiled statements of one connection.
final class RunStatements {
    private var compiled: [PreparedStatement?] = Array(repeating: nil, count: RunStatement.allCases.count)
    private let rewrite: @Sendable (RunStatement, String) -> String

    /// - Parameter rewrite: changes a statement before it is compiled; only mutation tests do.
    init(rewrite: @escaping @Sendable (RunStatement, String) -> String = { $1 }) {
        self.rewrite = rewrite
    }

    /// The statement, compiled when it is first needed.
    func callAsFunction(_ statement: RunStatement, _ db: Database) throws -> PreparedStatement {
        if let known = compiled[statement.rawValue] { return known }
        let new = try PreparedStatement(rewrite(statement, statement.sql), on: db)
        compiled[statement.rawValue] = new
        return new
    }

    /// Before the connection is closed.
    func finalize() {
        for statement in compiled { statement?.finalize() }
    }
}
