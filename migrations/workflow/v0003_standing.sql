-- Who this store is, and whether its runs are here: they may have gone to another store, or be about to.
CREATE TABLE store (
    one        INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    id         TEXT NOT NULL,
    -- The stores that its runs were copied from, oldest first: their ids, with spaces between.
    ancestors  TEXT NOT NULL,
    -- open: its runs are here. closing, moving, moved: they go to another store, or have gone. filling: they come from one.
    state      TEXT NOT NULL CHECK (state IN ('open', 'closing', 'moving', 'moved', 'filling')),
    -- Which copying the state is about, and the other store: its id, and what people call it.
    copy       TEXT,
    peer       TEXT,
    peer_name  TEXT,
    changed_at INTEGER
) STRICT;

INSERT INTO store (one, id, ancestors, state) VALUES (1, lower(hex(randomblob(16))), '', 'open');

-- Where runs are not at home, none is made, claimed, cancelled or deleted, whatever program asks.
CREATE TRIGGER runs_made_where_open BEFORE INSERT ON runs WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;

CREATE TRIGGER runs_claimed_where_open BEFORE UPDATE OF epoch, cancel_requested_at ON runs
    WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;

CREATE TRIGGER runs_deleted_where_open BEFORE DELETE ON runs WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;

-- Nobody would receive it.
CREATE TRIGGER signals_sent_where_open BEFORE INSERT ON signals WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;

CREATE TRIGGER queues_made_where_open BEFORE INSERT ON queues WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;

CREATE TRIGGER queues_changed_where_open BEFORE UPDATE ON queues WHEN (SELECT state FROM store) <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'the store is closed');
END;
