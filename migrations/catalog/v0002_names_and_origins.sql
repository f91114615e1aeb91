-- What a snapshot is called, where it came from and went to, and what is known of it besides.
ALTER TABLE snapshots ADD COLUMN origin TEXT NOT NULL DEFAULT 'run'
    CHECK (origin IN ('run', 'captured', 'pulled'));
-- The sandbox that was captured, or the reference by digest that was pulled. A pulled one has no run: run_id is ''.
ALTER TABLE snapshots ADD COLUMN origin_source TEXT;
ALTER TABLE snapshots ADD COLUMN verity TEXT;              -- JSON: root hash, salt, place of the dm-verity tree
ALTER TABLE snapshots ADD COLUMN source_date_epoch INTEGER; -- seconds, where a date was asked for
ALTER TABLE snapshots ADD COLUMN boot_ms INTEGER;          -- how long its last boot for proof took

CREATE INDEX snapshots_by_sha256 ON snapshots (sha256);

-- A name belongs to one snapshot at a time and can move; a snapshot may have several.
CREATE TABLE snapshot_names (
    name   TEXT    NOT NULL PRIMARY KEY,
    key    TEXT    NOT NULL REFERENCES snapshots (key) ON DELETE CASCADE,
    set_at INTEGER NOT NULL
) STRICT;
CREATE INDEX snapshot_names_by_key ON snapshot_names (key);

CREATE TABLE snapshot_labels (
    key   TEXT NOT NULL REFERENCES snapshots (key) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;

-- Where the same bytes stand in registries: references by digest.
CREATE TABLE snapshot_artifacts (
    key       TEXT    NOT NULL REFERENCES snapshots (key) ON DELETE CASCADE,
    reference TEXT    NOT NULL,
    way       TEXT    NOT NULL CHECK (way IN ('pushed', 'pulled')),
    noted_at  INTEGER NOT NULL,
    PRIMARY KEY (key, reference)
) STRICT, WITHOUT ROWID;
