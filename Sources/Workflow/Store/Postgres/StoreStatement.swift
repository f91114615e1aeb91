/// The statements around those of the operations, as each writing connection has them prepared.
enum StoreStatement: String, CaseIterable {
    case begin
    case commit
    case savepoint
    case release
    case unsynced
    case mark
    case tell
    case create
    case existing
    case claim
    case record
    case steps
    case resources
    case letGo

    var sql: String {
        switch self {
        case .begin: "BEGIN"
        case .commit: "COMMIT"
        case .savepoint: "SAVEPOINT operation"
        case .release: "RELEASE operation"
        case .unsynced: "SET LOCAL synchronous_commit = off"
        // `$1` writer, `$2` number of the transaction.
        case .mark:
            """
            INSERT INTO writers (id, commits, seen_at) VALUES ($1::uuid, $2::bigint, now())
            ON CONFLICT (id) DO UPDATE SET commits = excluded.commits, seen_at = excluded.seen_at
            """
        // A transaction of its own behind the one that it tells of. To tell takes a lock of the whole cluster until the end
        // of the transaction, so nothing is synced in it. One that is lost is made good by whoever looks by himself.
        case .tell: "SELECT set_config('synchronous_commit', 'off', true), pg_notify(\(PostgresStore.channel), '')"
        case .create: Self.createSQL
        case .existing:
            """
            SELECT \(PostgresRead.runColumns) FROM runs
            WHERE workflow = $1 AND dedup_key = $2 AND status NOT IN ('failed', 'cancelled')
            """
        case .claim: Self.claimSQL
        case .record: PostgresRead.run
        case .steps: PostgresRead.steps
        case .resources: PostgresRead.resources
        // `$1` run, `$2` writer, `$3` epoch.
        case .letGo:
            "DELETE FROM leases WHERE run_id = $1 AND owner = $2::uuid AND epoch = $3::bigint"
        }
    }

    /// `$1` id, `$2` workflow, `$3` version, `$4` input, `$5` its hash, `$6` dedup key, `$7` owner, `$8` deadline,
    /// `$9` labels, `$10` time, `$11` writer, `$12` milliseconds of the lease.
    ///
    /// Without a dedup key it fails unless it makes the run; with one, another run may have it.
    private static let createSQL = """
        WITH free AS (
            SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM leases WHERE run_id = $1 AND expires_at > clock_timestamp())),
        made AS (
            INSERT INTO runs (
                no, id, workflow, version, input, input_hash, dedup_key, status, epoch, owner, deadline_at, labels,
                created_at, updated_at)
            SELECT nextval('happenings'), $1, $2, $3::bigint, $4, $5, $6, 'running', 1, $7, $8::bigint, $9, $10::bigint,
                $10::bigint
            FROM free
            ON CONFLICT (workflow, dedup_key) WHERE dedup_key IS NOT NULL AND status NOT IN ('failed', 'cancelled')
                DO NOTHING
            RETURNING no),
        lease AS (
            INSERT INTO leases (run_id, owner, epoch, expires_at)
            SELECT $1, $11::uuid, 1, clock_timestamp() + $12::bigint * interval '1 millisecond' FROM made
            ON CONFLICT (run_id) DO UPDATE SET owner = excluded.owner, epoch = 1, expires_at = excluded.expires_at),
        event AS (
            INSERT INTO events (seq, run_no, at, kind)
            SELECT nextval('happenings'), no, $10::bigint, 'run.started' FROM made)
        SELECT count(*) AS made, (SELECT count(*) FROM free) AS free,
            CASE WHEN $6::text IS NULL THEN require_change(count(*), NULL, NULL) END AS required
        FROM made
        """

    /// `$1` run, `$2` writer, `$3` milliseconds of the lease, `$4` time, `$5` owner, `$6` whether it is to be executed,
    /// `$7` whether a finished one counts.
    ///
    /// The run's row is locked, or passed by where another transaction has it: whoever asks may ask again. The lease is
    /// taken where there is none or the database's clock is past its end.
    private static let claimSQL = """
        WITH run AS MATERIALIZED (
            SELECT no, id, epoch FROM runs WHERE id = $1 AND (finished_at IS NULL OR $7::boolean)
            FOR NO KEY UPDATE SKIP LOCKED),
        lease AS (
            INSERT INTO leases (run_id, owner, epoch, expires_at)
            SELECT id, $2::uuid, epoch + 1, clock_timestamp() + $3::bigint * interval '1 millisecond' FROM run
            ON CONFLICT (run_id) DO UPDATE
                SET owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at
                WHERE leases.expires_at <= clock_timestamp()
            RETURNING run_id),
        raised AS (
            UPDATE runs SET epoch = runs.epoch + 1,
                status = CASE WHEN $6::boolean THEN 'running' ELSE runs.status END,
                wake_at = CASE WHEN $6::boolean THEN NULL ELSE runs.wake_at END,
                owner = CASE WHEN $6::boolean THEN $5 ELSE runs.owner END,
                updated_at = CASE WHEN $6::boolean THEN $4::bigint ELSE runs.updated_at END,
                rest = CASE WHEN $6::boolean THEN NULL ELSE runs.rest END
            FROM run, lease WHERE runs.no = run.no
            RETURNING runs.no, runs.epoch),
        event AS (
            INSERT INTO events (seq, run_no, at, kind)
            SELECT nextval('happenings'), no, $4::bigint, 'run.resumed' FROM raised WHERE $6::boolean)
        SELECT (SELECT count(*) FROM run) AS seen, (SELECT epoch FROM raised) AS epoch
        """
}
