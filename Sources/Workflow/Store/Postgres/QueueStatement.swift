/// What a writing connection has prepared for queues and signals.
enum QueueStatement: String, CaseIterable {
    case enqueue
    case lockQueues
    case take
    case nextDue
    case rouse
    case send
    case cancelChildren
    case cancelUnbegun

    /// What the statement is called on its connection.
    var name: String { "queue_\(rawValue)" }

    var sql: String {
        switch self {
        case .enqueue: Self.enqueueSQL
        // `$1` queues. Whoever counts what a limit allows does so alone; the count is a statement of its own, after this one,
        // and sees what the last one who had the lock did. A queue without limits is locked by nobody. A transaction locks
        // all its queues at once, in the order of their names and before any run: so no two wait for each other here.
        case .lockQueues:
            """
            SELECT name FROM queues
            WHERE name = ANY ($1::text[]) AND (concurrency IS NOT NULL OR rate_limit IS NOT NULL)
            ORDER BY name FOR UPDATE
            """
        case .take: Self.takeSQL
        case .nextDue: Self.nextDueSQL
        case .rouse: Self.rouseSQL
        case .send: Self.sendSQL
        // `$1` parent, `$2` its epoch, `$3` time.
        case .cancelChildren:
            Self.cancelFamily("id = $1 AND epoch = $2::bigint", at: "$3::bigint")
        case .cancelUnbegun: Self.cancelUnbegunSQL
        }
    }

    /// Asks all that a run started to cancel, at whatever remove.
    ///
    /// - Parameters:
    ///   - condition: picks the run.
    ///   - time: the value that says when.
    static func cancelFamily(_ condition: String, at time: String) -> String {
        """
        WITH \(family(condition)),
        asked AS (
            UPDATE runs SET cancel_requested_at = \(time), updated_at = \(time)
            WHERE no IN (SELECT no FROM family) AND finished_at IS NULL AND cancel_requested_at IS NULL
            RETURNING no)
        INSERT INTO events (seq, run_no, at, kind)
        SELECT nextval('happenings'), no, \(time), 'run.cancel_requested' FROM asked
        """
    }

    /// The numbers of all that a run started, at whatever remove.
    ///
    /// - Parameter condition: picks the run.
    static func family(_ condition: String) -> String {
        """
        RECURSIVE family (no) AS (
            SELECT no FROM runs WHERE parent_no = (SELECT no FROM runs WHERE \(condition))
            UNION ALL SELECT runs.no FROM runs JOIN family ON parent_no = family.no)
        """
    }

    /// Whose share of a queue a run belongs to, and in which round it stands there. In each round every share has one run.
    /// A share that waits gets the round after its last one; one that does not gets the round that is served now.
    ///
    /// - Parameters:
    ///   - labels: as JSON.
    static func stand(labels: String, queue: String, priority: String) -> String {
        """
        label AS MATERIALIZED (SELECT (SELECT fairness FROM queues WHERE name = \(queue)) AS name),
        stand AS MATERIALIZED (
            SELECT share, CASE WHEN label.name IS NULL THEN 0 ELSE greatest(
                coalesce((
                    SELECT max(turn) + 1 FROM runs
                    WHERE queue = \(queue) AND status = 'pending' AND priority = \(priority)
                        AND runs.share = shares.share), 0),
                coalesce((
                    SELECT min(turn) FROM runs
                    WHERE queue = \(queue) AND status = 'pending' AND priority = \(priority)), 0)) END AS turn
            FROM label, LATERAL (SELECT coalesce(\(labels)::jsonb ->> label.name, '') AS share) AS shares)
        """
    }

    /// `$1` id, `$2` workflow, `$3` version, `$4` input, `$5` its hash, `$6` dedup key, `$7` deadline, `$8` labels, `$9`
    /// time, `$10` queue, `$11` priority, `$12` not before.
    private static let enqueueSQL = """
        WITH \(stand(labels: "$8::text", queue: "$10", priority: "$11::bigint")),
        made AS (
            INSERT INTO runs (
                no, id, workflow, version, input, input_hash, dedup_key, status, epoch, wake_at, deadline_at, labels,
                created_at, updated_at, queue, priority, share, turn)
            SELECT nextval('happenings'), $1, $2, $3::bigint, $4, $5, $6, 'pending', 0, $12::bigint, $7::bigint, $8,
                $9::bigint, $9::bigint, $10, $11::bigint, share, turn
            FROM stand
            ON CONFLICT (workflow, dedup_key) WHERE dedup_key IS NOT NULL AND status NOT IN ('failed', 'cancelled')
                DO NOTHING
            RETURNING no),
        event AS (
            INSERT INTO events (seq, run_no, at, kind)
            SELECT nextval('happenings'), no, $9::bigint, 'run.enqueued' FROM made)
        SELECT count(*) AS made, CASE WHEN $6::text IS NULL THEN require_change(count(*), NULL, NULL) END AS required
        FROM made
        """

    /// `$1` queue, `$2` time, `$3` writer, `$4` milliseconds of the lease, `$5` owner, `$6` versions with names and `$7`
    /// names of what the worker can execute, `$8` how many at most.
    ///
    /// A lease decides who has a run: of two who see the same run without a holder, one finds the other's lease and leaves
    /// the run alone. What the worker can execute is compared and not joined, so that the rows are read in their order and no
    /// further than they are wanted.
    private static let takeSQL = """
        WITH clock AS MATERIALIZED (
            SELECT clock_timestamp() AS at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms),
        settings AS MATERIALIZED (SELECT concurrency, rate_limit, rate_period FROM queues WHERE name = $1),
        places AS MATERIALIZED (
            SELECT least($8::bigint, coalesce((
                SELECT concurrency - (
                    SELECT count(*) FROM runs JOIN leases ON run_id = id
                    WHERE queue = $1 AND status IN ('running', 'sleeping')
                        AND (status = 'running' OR wake_at <= $2::bigint) AND expires_at > clock.at)
                FROM settings WHERE concurrency IS NOT NULL), $8::bigint)) AS left_over
            FROM clock),
        begun AS MATERIALIZED (
            SELECT no AS run_no, id AS run_name, epoch AS last_epoch, status = 'running' AND rest IS NULL AS has_died
            FROM runs
            WHERE queue = $1 AND status IN ('running', 'sleeping') AND rest IS DISTINCT FROM 'parked'
                AND NOT EXISTS (SELECT 1 FROM leases, clock WHERE run_id = id AND expires_at > clock.at)
                AND (version || ' ' || workflow = ANY ($6::text[])
                    OR (cancel_requested_at IS NOT NULL AND workflow = ANY ($7::text[])))
            ORDER BY priority DESC, turn, no LIMIT (SELECT greatest(left_over, 0) FROM places)
            FOR NO KEY UPDATE SKIP LOCKED),
        starts AS MATERIALIZED (
            SELECT greatest(0, least(
                left_over - (SELECT count(*) FROM begun),
                coalesce((
                    SELECT rate_limit - (
                        SELECT count(*) FROM queue_starts WHERE queue = $1 AND at > clock.ms - rate_period)
                    FROM settings, clock WHERE rate_limit IS NOT NULL), left_over))) AS left_over
            FROM places),
        fresh AS MATERIALIZED (
            SELECT no AS run_no, id AS run_name, epoch AS last_epoch, false AS has_died FROM runs
            WHERE queue = $1 AND status = 'pending' AND rest IS DISTINCT FROM 'parked'
                AND (wake_at IS NULL OR wake_at <= (SELECT ms FROM clock))
                AND (version || ' ' || workflow = ANY ($6::text[])
                    OR (cancel_requested_at IS NOT NULL AND workflow = ANY ($7::text[])))
            ORDER BY priority DESC, turn, no LIMIT (SELECT left_over FROM starts)
            FOR NO KEY UPDATE SKIP LOCKED),
        chosen AS MATERIALIZED (SELECT *, true AS is_begun FROM begun UNION ALL SELECT *, false FROM fresh),
        held AS (
            INSERT INTO leases (run_id, owner, epoch, expires_at)
            SELECT run_name, $3::uuid, last_epoch + 1, at + $4::bigint * interval '1 millisecond' FROM chosen, clock
            ON CONFLICT (run_id) DO UPDATE
                SET owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at
                WHERE leases.expires_at <= clock_timestamp()
            RETURNING run_id AS held_run),
        taken AS (
            UPDATE runs SET epoch = last_epoch + 1, status = 'running', wake_at = NULL, owner = $5,
                updated_at = $2::bigint, deaths = deaths + CASE WHEN has_died THEN 1 ELSE 0 END, rest = NULL
            FROM chosen, held WHERE runs.no = run_no AND held_run = run_name
            RETURNING runs.no AS taken_no, is_begun, \(RunRecord.columns)),
        event AS (
            INSERT INTO events (seq, run_no, at, kind)
            SELECT nextval('happenings'), taken_no, $2::bigint,
                CASE WHEN is_begun THEN 'run.resumed' ELSE 'run.started' END
            FROM taken),
        counted AS (
            INSERT INTO queue_starts (queue, at)
            SELECT $1, ms FROM taken, clock, settings WHERE NOT is_begun AND rate_limit IS NOT NULL),
        forgotten AS (
            DELETE FROM queue_starts USING settings, clock
            WHERE queue = $1 AND queue_starts.at <= clock.ms - rate_period)
        SELECT *, true AS is_held FROM taken ORDER BY priority DESC, is_begun DESC, taken_no
        """

    /// `$1` queue. After how many milliseconds time alone makes a run due, or the rate lets one begin.
    private static let nextDueSQL = """
        WITH clock AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms)
        SELECT least(
            (SELECT min(wake_at) FROM runs
                WHERE queue = $1 AND status = 'pending' AND wake_at IS NOT NULL AND wake_at > ms),
            (SELECT min(at) + min(rate_period) FROM queue_starts JOIN queues ON name = queue
                WHERE queue = $1 HAVING count(*) >= min(rate_limit))) - ms AS wait
        FROM clock
        """

    /// `$1` run, `$2` its epoch, `$3` time, `$4` queue.
    private static let rouseSQL = """
        WITH free AS MATERIALIZED (
            SELECT 1 WHERE coalesce((
                SELECT concurrency > (
                    SELECT count(*) FROM runs JOIN leases ON run_id = id
                    WHERE queue = $4 AND status = 'running' AND id <> $1 AND expires_at > clock_timestamp())
                FROM queues WHERE name = $4), true)),
        ours AS (
            SELECT no FROM runs WHERE id = $1 AND epoch = $2::bigint AND finished_at IS NULL FOR NO KEY UPDATE),
        roused AS (
            UPDATE runs SET status = 'running', wake_at = NULL, updated_at = $3::bigint
            FROM ours, free WHERE runs.no = ours.no RETURNING 1),
        required AS (SELECT require_change(count(*), $1, $2::bigint) FROM ours)
        SELECT (SELECT count(*) FROM roused) AS roused, (SELECT count(*) FROM required) AS required
        """

    /// `$1` run, `$2` name, `$3` key, `$4` payload, `$5` time, `$6` how many may wait.
    private static let sendSQL = """
        WITH target AS MATERIALIZED (SELECT no, status, finished_at FROM runs WHERE id = $1 FOR NO KEY UPDATE),
        known AS MATERIALIZED (
            SELECT 1 FROM signals, target WHERE run_no = target.no AND name = $2 AND key = $3),
        waiting AS MATERIALIZED (
            SELECT count(*) AS number FROM signals, target WHERE run_no = target.no AND received_by IS NULL),
        sent AS (
            INSERT INTO signals (seq, run_no, name, key, payload, at)
            SELECT nextval('happenings'), no, $2, $3, $4, $5::bigint FROM target, waiting
            WHERE finished_at IS NULL AND number < $6::bigint
            ON CONFLICT (run_no, name, key) DO NOTHING RETURNING 1)
        SELECT (SELECT count(*) FROM sent) AS sent, (SELECT count(*) FROM known) AS known,
            (SELECT status FROM target) AS status
        """

    /// `$1` time, `$2` the error, `$3` run. Of it and what it started: what no worker has taken ends at once, and what is
    /// parked is taken again to release what it has.
    private static let cancelUnbegunSQL = """
        WITH \(family("id = $3")),
        concerned AS MATERIALIZED (SELECT no FROM family UNION ALL SELECT no FROM runs WHERE id = $3),
        ended AS (
            UPDATE runs SET status = 'cancelled', epoch = epoch + 1, error = $2, wake_at = NULL, finished_at = $1::bigint
            WHERE no IN (SELECT no FROM concerned) AND status = 'pending' AND epoch = 0
                AND cancel_requested_at IS NOT NULL
            RETURNING no),
        roused AS (
            UPDATE runs SET rest = 'yielded'
            WHERE no IN (SELECT no FROM concerned) AND rest = 'parked' AND finished_at IS NULL
                AND cancel_requested_at IS NOT NULL AND NOT (status = 'pending' AND epoch = 0))
        INSERT INTO events (seq, run_no, at, kind)
        SELECT nextval('happenings'), no, $1::bigint, 'run.cancelled' FROM ended
        """
}
