-- The schema of a store in a SQLite file. SQLite keeps the text of each CREATE statement in the file. Comments stand
-- outside of the statements, so that they can be reworded and all files still hold the same text.

-- A discarded namespace keeps its row. Connections cache its id, so no other namespace ever gets that id; and no
-- version up to the floor is given out again.
CREATE TABLE rstore_namespace (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    live INTEGER NOT NULL, floor INTEGER NOT NULL DEFAULT 0);

-- The number of live streams of each kind, so that len() is one lookup. Rejected: counting the entries of an index,
-- which scans it.
CREATE TABLE rstore_count (
    namespace INTEGER NOT NULL, kind TEXT NOT NULL, live INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind)) WITHOUT ROWID;

-- levels is a bit mask of the span levels of the stream's records. died is the version of the append that last ended
-- the stream's life. The newest version is not kept here, so that a set on a live stream is one INSERT and no UPDATE.
-- An id is never used again, since connections cache it.
CREATE TABLE rstore_stream (
    id INTEGER PRIMARY KEY AUTOINCREMENT, namespace INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    live INTEGER NOT NULL, levels INTEGER NOT NULL, floor INTEGER NOT NULL, died INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, kind, key));

-- Lists the live streams without stepping over dead ones.
CREATE INDEX rstore_stream_live ON rstore_stream (namespace, kind, key) WHERE live;

-- AUTOINCREMENT lets the file grow at its end. It also never gives the position of a pruned record to a new record,
-- which a follower would then skip. Along a stream, positions increase with versions, also after a rewrite.
CREATE TABLE rstore_record (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL, version INTEGER NOT NULL,
    recorded INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, level INTEGER,
    item TEXT NOT NULL, op TEXT NOT NULL, data BLOB NOT NULL, meta BLOB);

-- Positions begin at the clock's microseconds. So they are above those of a file that was deleted under the same name
-- before, and a follower with a checkpoint of that file skips nothing of this one.
INSERT INTO sqlite_sequence (name, seq)
VALUES ('rstore_record', CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));

-- Finds the last record of a stream, and the records after a version.
CREATE UNIQUE INDEX rstore_record_version ON rstore_record (stream, version);

-- Finds the records that touch a span, in order of (start, position). Values of keys have no span, so they have no
-- level either and stay out of the index.
CREATE INDEX rstore_record_span ON rstore_record (stream, level, start) WHERE level IS NOT NULL;
