-- Times are integer milliseconds since 1970. Payloads are JSON text.
--
-- Everything that happens gets a number from one sequence: runs.no, steps.begun_seq, steps.done_seq and events.seq. No
-- number is given twice, not even after a deletion, and within a run later ones are larger.

-- The first number that no writer has reserved yet. Writers take thousands at a time, so that this row costs nothing.
CREATE TABLE sequence (
    id   INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    next INTEGER NOT NULL CHECK (next >= 1)
) STRICT;

INSERT INTO sequence (id, next) VALUES (1, 1);

-- Other tables name a run by its number, which is short and grows with time: the rows of runs that are executed at the
-- same moment share pages, in the tables as in the indexes, so that a commit of many runs writes few pages.
CREATE TABLE runs (
    no                  INTEGER PRIMARY KEY NOT NULL,
    id                  TEXT UNIQUE NOT NULL,
    workflow            TEXT NOT NULL,
    version             INTEGER NOT NULL,
    input               TEXT NOT NULL,
    input_hash          TEXT NOT NULL,
    dedup_key           TEXT,
    status              TEXT NOT NULL
        CHECK (status IN ('pending', 'running', 'sleeping', 'succeeded', 'failed', 'cancelled')),
    epoch               INTEGER NOT NULL CHECK (epoch >= 0),
    owner               TEXT,
    wake_at             INTEGER,
    deadline_at         INTEGER,
    cancel_requested_at INTEGER,
    output              TEXT,
    error               TEXT,
    labels              TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    finished_at         INTEGER,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CHECK (status <> 'succeeded' OR output IS NOT NULL)
) STRICT;

-- A dedup key is taken while its run lives and after it succeeded.
CREATE UNIQUE INDEX runs_by_dedup_key ON runs (workflow, dedup_key)
    WHERE dedup_key IS NOT NULL AND status NOT IN ('failed', 'cancelled');

-- What the poll for cancellations reads; nearly always empty.
CREATE INDEX runs_to_cancel ON runs (id)
    WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL;

-- Few among many: what waits to be resumed, found without a look at all that has ended.
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;

CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;

-- A rowid table: rows stand in the order in which steps begin, and a step is done soon after it began, on a page that
-- is written anyway.
CREATE TABLE steps (
    run_no          INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    key             TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('step', 'sleep')),
    scope           TEXT NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 0),
    state           TEXT NOT NULL CHECK (state IN ('intended', 'done', 'failed')),
    attempt         INTEGER NOT NULL CHECK (attempt >= 1),
    failures        INTEGER NOT NULL CHECK (failures >= 0),
    crashes         INTEGER NOT NULL CHECK (crashes >= 0),
    idempotency_key TEXT NOT NULL,
    in_doubt        TEXT NOT NULL CHECK (in_doubt IN ('retry', 'ask', 'verify')),
    input           TEXT,
    input_hash      TEXT,
    output          TEXT,
    error           TEXT,
    progress        TEXT,
    next_attempt_at INTEGER,
    deadline_at     INTEGER,
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    epoch           INTEGER NOT NULL,
    -- The numbers of two events that have no row of their own: its first attempt began; it was done.
    begun_seq       INTEGER NOT NULL,
    done_seq        INTEGER,
    UNIQUE (run_no, key),
    CHECK (state <> 'done' OR output IS NOT NULL),
    CHECK ((state = 'done') = (done_seq IS NOT NULL))
) STRICT;

CREATE TABLE resources (
    idempotency_key TEXT PRIMARY KEY NOT NULL,
    run_no          INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    scope           TEXT NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 1),
    external_id     TEXT,
    state           TEXT NOT NULL CHECK (state IN ('intended', 'held', 'releasing', 'released', 'lost')),
    details         TEXT,
    failures        INTEGER NOT NULL,
    error           TEXT,
    next_attempt_at INTEGER,
    expires_at      INTEGER,
    intended_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    CHECK (state <> 'held' OR details IS NOT NULL)
) STRICT;

CREATE INDEX resources_by_run ON resources (run_no, scope, name, generation);
CREATE INDEX resources_open ON resources (state) WHERE state IN ('intended', 'held', 'releasing');

CREATE TABLE events (
    seq       INTEGER PRIMARY KEY NOT NULL,
    run_no    INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    step      TEXT,
    attempt   INTEGER,
    payload   TEXT,
    -- What makes an application's event the same one when a resumed run emits it again.
    dedup_key TEXT
) STRICT;

CREATE INDEX events_by_run ON events (run_no, seq);
CREATE UNIQUE INDEX events_by_dedup_key ON events (run_no, dedup_key) WHERE dedup_key IS NOT NULL;

-- Everything that happened, with the two events that a step's or a sleep's own row tells.
CREATE VIEW history AS
    SELECT seq, run_no, at, kind, step, attempt, payload FROM events
    UNION ALL
    SELECT begun_seq, run_no, started_at, 'step.started', key, 1, NULL FROM steps WHERE kind = 'step'
    UNION ALL
    SELECT done_seq, run_no, finished_at, 'step.done', key, attempt, NULL
        FROM steps WHERE kind = 'step' AND state = 'done'
    UNION ALL
    SELECT begun_seq, run_no, started_at, 'sleep.started', key, NULL, '{"until":' || next_attempt_at || '}'
        FROM steps WHERE kind = 'sleep'
    UNION ALL
    SELECT done_seq, run_no, finished_at, 'sleep.done', key, NULL, NULL
        FROM steps WHERE kind = 'sleep' AND state = 'done';

-- A step that is taken again in another generation replaces its row: what the row told of the past stays.
CREATE TRIGGER steps_keep_replaced BEFORE UPDATE OF scope ON steps WHEN old.scope <> new.scope
BEGIN
    INSERT INTO events (seq, run_no, at, kind, step, attempt, payload)
    VALUES (
        old.begun_seq, old.run_no, old.started_at, old.kind || '.started', old.key, iif(old.kind = 'step', 1, NULL),
        iif(old.kind = 'sleep', '{"until":' || old.next_attempt_at || '}', NULL));
    INSERT INTO events (seq, run_no, at, kind, step, attempt)
    SELECT
        old.done_seq, old.run_no, old.finished_at, old.kind || '.done', old.key,
        iif(old.kind = 'step', old.attempt, NULL)
    WHERE old.state = 'done';
END;
