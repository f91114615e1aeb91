-- The catalog: one row for each snapshot that is whole, verified and visible.
-- Times are integer milliseconds since 1970-01-01T00:00:00Z; sizes are bytes.
CREATE TABLE snapshots (
    key             TEXT    NOT NULL PRIMARY KEY,  -- the snapshot key: same key, same bytes
    id              TEXT    NOT NULL UNIQUE,       -- derived from the key; names the directory of the files
    image           TEXT    NOT NULL,              -- the reference, pinned by digest
    manifest_digest TEXT    NOT NULL,
    platform        TEXT    NOT NULL,
    sha256          TEXT    NOT NULL,              -- of the whole ext4 file
    uuid            TEXT    NOT NULL,
    size            INTEGER NOT NULL,              -- of the ext4 file, holes included
    entries         INTEGER NOT NULL,
    config          TEXT    NOT NULL,              -- the image config, as the registry has it
    run_id          TEXT    NOT NULL,              -- the run that made it
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX snapshots_by_use ON snapshots (last_used_at);
