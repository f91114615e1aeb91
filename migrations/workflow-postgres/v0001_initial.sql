-- The tables of migrations/workflow/v0001_initial.sql, and what takes the place of lock files where several machines share
-- a store. Times are integer milliseconds since 1970 by the clocks of those who write, except where a column says otherwise.
-- Payloads are JSON text.

-- Everything that happens gets a number from here: runs.no, steps.begun_seq, steps.done_seq and events.seq. Whoever takes
-- one has locked the run's row before, so within a run later numbers are larger.
CREATE SEQUENCE happenings;

-- Ids sort by their bytes, whatever the language of the database.
CREATE TABLE runs (
    no                  bigint PRIMARY KEY,
    id                  text COLLATE "C" UNIQUE NOT NULL,
    workflow            text NOT NULL,
    version             bigint NOT NULL,
    input               text NOT NULL,
    input_hash          text NOT NULL,
    dedup_key           text,
    status              text NOT NULL
        CHECK (status IN ('pending', 'running', 'sleeping', 'succeeded', 'failed', 'cancelled')),
    epoch               bigint NOT NULL CHECK (epoch >= 0),
    owner               text,
    wake_at             bigint,
    deadline_at         bigint,
    cancel_requested_at bigint,
    output              text,
    error               text,
    labels              text NOT NULL,
    created_at          bigint NOT NULL,
    updated_at          bigint NOT NULL,
    finished_at         bigint,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CHECK (status <> 'succeeded' OR output IS NOT NULL)
);

-- No row was changed that should have been: the transaction, or the savepoint around the operation, is undone. WF002 says
-- that the writer was taken over, WF003 that the run has ended, WF001 that the change does not fit what is recorded.
CREATE FUNCTION require_change(changed bigint, run text, writer_epoch bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_epoch bigint;
    found_end bigint;
BEGIN
    IF changed = 1 THEN
        RETURN changed;
    END IF;
    IF run IS NOT NULL THEN
        SELECT epoch, finished_at INTO found_epoch, found_end FROM runs WHERE id = run;
        IF found_epoch IS DISTINCT FROM writer_epoch THEN
            RAISE EXCEPTION 'another epoch' USING ERRCODE = 'WF002';
        ELSIF found_end IS NOT NULL THEN
            RAISE EXCEPTION 'the run has ended' USING ERRCODE = 'WF003';
        END IF;
    END IF;
    RAISE EXCEPTION 'a change does not fit what is recorded' USING ERRCODE = 'WF001';
END
$$;

-- A dedup key is taken while its run lives and after it succeeded.
CREATE UNIQUE INDEX runs_by_dedup_key ON runs (workflow, dedup_key)
    WHERE dedup_key IS NOT NULL AND status NOT IN ('failed', 'cancelled');

-- What the poll for cancellations reads; nearly always empty.
CREATE INDEX runs_to_cancel ON runs (id)
    WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL;

-- Few among many: what waits to be resumed, found without a look at all that has ended.
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;

CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;

-- Who holds a run, until when by the clock of the database. Without a reference to the run: as with a lock file, whoever
-- holds a run holds its id, even when the run is deleted meanwhile.
CREATE TABLE leases (
    run_id     text COLLATE "C" PRIMARY KEY,
    owner      uuid NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX leases_by_owner ON leases (owner);

-- How many transactions each writer has committed, written by the transaction itself: whoever lost the connection in the
-- middle of a commit learns here whether that one came through.
CREATE TABLE writers (
    id      uuid PRIMARY KEY,
    commits bigint NOT NULL,
    seen_at timestamptz NOT NULL
);

-- Rows are shown in the order in which steps first began, which is that of `place`.
--
-- With one CHECK, where the other store has nine: the server reads each anew from its text for every statement that writes
-- a row, which was a fifth of what a step cost it. The statements that write here set no other values than these:
--   kind      step, sleep
--   state     intended, done (then there is an output, and only then done_seq), failed
--   in_doubt  retry, ask, verify
CREATE TABLE steps (
    place           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_no          bigint NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    key             text NOT NULL,
    kind            text NOT NULL,
    scope           text NOT NULL,
    generation      bigint NOT NULL,
    state           text NOT NULL,
    attempt         bigint NOT NULL CHECK (attempt >= 1),
    failures        bigint NOT NULL,
    crashes         bigint NOT NULL,
    idempotency_key text NOT NULL,
    in_doubt        text NOT NULL,
    input           text,
    input_hash      text,
    output          text,
    error           text,
    progress        text,
    next_attempt_at bigint,
    deadline_at     bigint,
    started_at      bigint NOT NULL,
    finished_at     bigint,
    epoch           bigint NOT NULL,
    -- The numbers of two events that have no row of their own: its first attempt began; it was done.
    begun_seq       bigint NOT NULL,
    done_seq        bigint,
    UNIQUE (run_no, key)
);

CREATE TABLE resources (
    place           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text UNIQUE NOT NULL,
    run_no          bigint NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    name            text NOT NULL,
    kind            text NOT NULL,
    scope           text NOT NULL,
    generation      bigint NOT NULL CHECK (generation >= 1),
    external_id     text,
    state           text NOT NULL CHECK (state IN ('intended', 'held', 'releasing', 'released', 'lost')),
    details         text,
    failures        bigint NOT NULL,
    error           text,
    next_attempt_at bigint,
    expires_at      bigint,
    intended_at     bigint NOT NULL,
    updated_at      bigint NOT NULL,
    epoch           bigint NOT NULL,
    CHECK (state <> 'held' OR details IS NOT NULL)
);

CREATE INDEX resources_by_run ON resources (run_no, scope, name, generation);
CREATE INDEX resources_open ON resources (state) WHERE state IN ('intended', 'held', 'releasing');

CREATE TABLE events (
    seq       bigint PRIMARY KEY,
    run_no    bigint NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    at        bigint NOT NULL,
    kind      text NOT NULL,
    step      text,
    attempt   bigint,
    payload   text,
    -- What makes an application's event the same one when a resumed run emits it again.
    dedup_key text
);

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
CREATE FUNCTION keep_replaced_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (seq, run_no, at, kind, step, attempt, payload)
    VALUES (
        old.begun_seq, old.run_no, old.started_at, old.kind || '.started', old.key,
        CASE WHEN old.kind = 'step' THEN 1 END,
        CASE WHEN old.kind = 'sleep' THEN '{"until":' || old.next_attempt_at || '}' END);
    IF old.state = 'done' THEN
        INSERT INTO events (seq, run_no, at, kind, step, attempt)
        VALUES (
            old.done_seq, old.run_no, old.finished_at, old.kind || '.done', old.key,
            CASE WHEN old.kind = 'step' THEN old.attempt END);
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER steps_keep_replaced BEFORE UPDATE OF scope ON steps FOR EACH ROW WHEN (old.scope <> new.scope)
    EXECUTE FUNCTION keep_replaced_step();
