-- What installations that share a store know of each other's snapshots. The catalog of each installation says which bytes are
-- there; here stands what a snapshot is, whoever has it, and where it can be fetched from.
-- Times are integer milliseconds since 1970 by the clocks of those who write, except where a column says otherwise.

-- One row for each key whose bytes some installation has made and verified.
CREATE TABLE shared_snapshots (
    key               text COLLATE "C" PRIMARY KEY,   -- the snapshot key: same key, same bytes
    id                text COLLATE "C" NOT NULL UNIQUE,
    image             text NOT NULL,
    manifest_digest   text NOT NULL,
    platform          text NOT NULL,
    sha256            text COLLATE "C" NOT NULL,      -- of the whole ext4 file
    uuid              text NOT NULL,
    size              bigint NOT NULL CHECK (size > 0),
    entries           bigint NOT NULL CHECK (entries >= 0),
    config            text NOT NULL,                  -- the image config, as the registry has it
    verity            text,
    source_date_epoch bigint,
    run_id            text NOT NULL,                  -- the run that made it
    made_by           text NOT NULL,                  -- the installation, and its host
    made_on           text NOT NULL,
    created_at        bigint NOT NULL
);

CREATE INDEX shared_snapshots_by_sha256 ON shared_snapshots (sha256);

-- Where the bytes stand in registries: references by digest.
CREATE TABLE shared_places (
    key       text COLLATE "C" NOT NULL REFERENCES shared_snapshots (key) ON DELETE CASCADE,
    reference text COLLATE "C" NOT NULL,
    noted_at  bigint NOT NULL,
    PRIMARY KEY (key, reference)
);

-- Which installations have the file.
CREATE TABLE shared_copies (
    key      text COLLATE "C" NOT NULL REFERENCES shared_snapshots (key) ON DELETE CASCADE,
    owner    text COLLATE "C" NOT NULL,
    host     text NOT NULL,
    noted_at bigint NOT NULL,
    PRIMARY KEY (key, owner)
);

CREATE INDEX shared_copies_by_owner ON shared_copies (owner);

-- Whose sandboxes are of this store: only with an installation that stands here can a sandbox be told from a stranger's.
CREATE TABLE shared_installations (
    owner    text COLLATE "C" PRIMARY KEY,
    host     text NOT NULL,
    noted_at bigint NOT NULL
);

-- Work that one does at a time: who, until when by the clock of the database.
CREATE TABLE shared_turns (
    name       text COLLATE "C" PRIMARY KEY,
    holder     text COLLATE "C" NOT NULL,
    about      text NOT NULL,
    expires_at timestamptz NOT NULL
);
