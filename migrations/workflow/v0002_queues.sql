-- Runs that wait in queues for a worker, runs that other runs started, and signals.

-- The queue whose workers execute the run; NULL for one that is started and resumed by hand.
ALTER TABLE runs ADD COLUMN queue TEXT;
ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
-- Whose turn it is: the value of the queue's fairness label, and the round in which the run stands.
ALTER TABLE runs ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
-- How many workers died while it worked, since its last step was done.
ALTER TABLE runs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
-- How its last worker left it: for another one, or for a person. NULL while it is executed, and after a death.
ALTER TABLE runs ADD COLUMN rest TEXT CHECK (rest IN ('yielded', 'parked'));
ALTER TABLE runs ADD COLUMN parent_no INTEGER REFERENCES runs (no) ON DELETE CASCADE;
ALTER TABLE runs ADD COLUMN child_name TEXT;

-- The order in which runs are taken. Runs without a queue are in none of these, so that their steps cost what they did.
CREATE INDEX runs_waiting ON runs (queue, priority DESC, turn, no) WHERE queue IS NOT NULL AND status = 'pending';
CREATE INDEX runs_shares ON runs (queue, priority, share, turn) WHERE queue IS NOT NULL AND status = 'pending';
CREATE INDEX runs_due ON runs (queue, wake_at) WHERE queue IS NOT NULL AND status = 'pending' AND wake_at IS NOT NULL;
CREATE INDEX runs_taken ON runs (queue) WHERE queue IS NOT NULL AND status IN ('running', 'sleeping');
CREATE UNIQUE INDEX runs_by_parent ON runs (parent_no, child_name) WHERE parent_no IS NOT NULL;

-- What holds for all workers of a queue. NULL is no limit.
CREATE TABLE queues (
    name        TEXT PRIMARY KEY NOT NULL,
    concurrency INTEGER CHECK (concurrency >= 1),
    rate_limit  INTEGER CHECK (rate_limit >= 1),
    rate_period INTEGER CHECK (rate_period >= 1),
    fairness    TEXT,
    CHECK ((rate_limit IS NULL) = (rate_period IS NULL))
) STRICT;

-- When runs of a queue with a rate were first begun, as long as the rate looks back.
CREATE TABLE queue_starts (
    queue TEXT NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

CREATE INDEX queue_starts_by_queue ON queue_starts (queue, at);

-- Kept after it was received, so that its key stays taken.
CREATE TABLE signals (
    seq         INTEGER PRIMARY KEY NOT NULL,
    run_no      INTEGER NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    key         TEXT NOT NULL,
    payload     TEXT NOT NULL,
    at          INTEGER NOT NULL,
    -- The wait that received it.
    received_by TEXT,
    UNIQUE (run_no, name, key)
) STRICT;

CREATE INDEX signals_waiting ON signals (run_no, name, seq) WHERE received_by IS NULL;
