-- The tables of migrations/workflow/v0002_queues.sql. Who changes them tells those who wait, after the commit.

-- The queue whose workers execute the run; NULL for one that is started and resumed by hand.
ALTER TABLE runs
    ADD COLUMN queue      text COLLATE "C",
    ADD COLUMN priority   bigint NOT NULL DEFAULT 0,
    -- Whose turn it is: the value of the queue's fairness label, and the round in which the run stands.
    ADD COLUMN share      text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN turn       bigint NOT NULL DEFAULT 0,
    -- How many workers died while it worked, since its last step was done.
    ADD COLUMN deaths     bigint NOT NULL DEFAULT 0,
    -- How its last worker left it: for another one, or for a person. NULL while it is executed, and after a death.
    ADD COLUMN rest       text CHECK (rest IN ('yielded', 'parked')),
    ADD COLUMN parent_no  bigint REFERENCES runs (no) ON DELETE CASCADE,
    ADD COLUMN child_name text;

-- A run whose step was done starts anew with the deaths of its workers.
CREATE FUNCTION forget_deaths(run_no bigint) RETURNS bigint LANGUAGE sql AS $$
    UPDATE runs SET deaths = 0 WHERE no = run_no RETURNING deaths
$$;

CREATE INDEX runs_waiting ON runs (queue, priority DESC, turn, no) WHERE queue IS NOT NULL AND status = 'pending';
CREATE INDEX runs_shares ON runs (queue, priority, share, turn) WHERE queue IS NOT NULL AND status = 'pending';
CREATE INDEX runs_due ON runs (queue, wake_at) WHERE queue IS NOT NULL AND status = 'pending' AND wake_at IS NOT NULL;
CREATE INDEX runs_taken ON runs (queue) WHERE queue IS NOT NULL AND status IN ('running', 'sleeping');
CREATE UNIQUE INDEX runs_by_parent ON runs (parent_no, child_name) WHERE parent_no IS NOT NULL;

-- What holds for all workers of a queue. NULL is no limit. Who takes runs of a queue with a limit locks its row.
CREATE TABLE queues (
    place       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name        text COLLATE "C" PRIMARY KEY,
    concurrency bigint CHECK (concurrency >= 1),
    rate_limit  bigint CHECK (rate_limit >= 1),
    rate_period bigint CHECK (rate_period >= 1),
    fairness    text,
    CHECK ((rate_limit IS NULL) = (rate_period IS NULL))
);

-- When runs of a queue with a rate were first begun, by the clock of the database, as long as the rate looks back.
CREATE TABLE queue_starts (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    at    bigint NOT NULL
);

CREATE INDEX queue_starts_by_queue ON queue_starts (queue, at);

-- Kept after it was received, so that its key stays taken.
CREATE TABLE signals (
    seq         bigint PRIMARY KEY,
    run_no      bigint NOT NULL REFERENCES runs (no) ON DELETE CASCADE,
    name        text NOT NULL,
    key         text NOT NULL,
    payload     text NOT NULL,
    at          bigint NOT NULL,
    -- The wait that received it.
    received_by text,
    UNIQUE (run_no, name, key)
);

CREATE INDEX signals_waiting ON signals (run_no, name, seq) WHERE received_by IS NULL;
