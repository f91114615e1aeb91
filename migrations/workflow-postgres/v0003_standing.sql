-- Who this store is, and whether its runs are here: they may have gone to another store, or be about to.
CREATE TABLE store (
    one        integer PRIMARY KEY CHECK (one = 1),
    id         text NOT NULL,
    -- The stores that its runs were copied from, oldest first: their ids, with spaces between.
    ancestors  text NOT NULL,
    -- open: its runs are here. closing, moving, moved: they go to another store, or have gone. filling: they come from one.
    state      text NOT NULL CHECK (state IN ('open', 'closing', 'moving', 'moved', 'filling')),
    -- Which copying the state is about, and the other store: its id, and what people call it.
    copy       text,
    peer       text,
    peer_name  text,
    changed_at bigint
);

INSERT INTO store (one, id, ancestors, state) VALUES (1, replace(gen_random_uuid()::text, '-', ''), '', 'open');

-- Where runs are not at home, none is made, claimed, cancelled or deleted, whatever program asks. The statement in here sees
-- what was committed up to now, not only up to the beginning of the one that fired it.
CREATE FUNCTION require_open() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF (SELECT state FROM store) <> 'open' THEN
        RAISE EXCEPTION 'the store is closed' USING ERRCODE = 'WF004';
    END IF;
    RETURN coalesce(new, old);
END
$$;

CREATE TRIGGER runs_where_open BEFORE INSERT OR UPDATE OF epoch, cancel_requested_at OR DELETE ON runs
    FOR EACH ROW EXECUTE FUNCTION require_open();

-- Nobody would receive it.
CREATE TRIGGER signals_where_open BEFORE INSERT ON signals FOR EACH ROW EXECUTE FUNCTION require_open();
CREATE TRIGGER queues_where_open BEFORE INSERT OR UPDATE ON queues FOR EACH ROW EXECUTE FUNCTION require_open();
