-- The schema of a store in a SQLite file, but for the streams, which heads.sql makes. SQLite keeps the text of each
-- CREATE statement in the file. Comments stand outside of the statements, so that they can be reworded and all files
-- still hold the same text. An empty line ends a statement, since triggers hold statements of their own.

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

-- The records of all streams but keys. Each record comes after all others of the file, so that the table grows at its
-- end. SQLite keeps the last position that it has given out, for AUTOINCREMENT, also when its record is pruned: a
-- follower would skip a record that got it again. Along a stream, positions increase with versions, also after a
-- rewrite.
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

-- Finds the records that touch a span, in order of (start, position).
CREATE INDEX rstore_record_span ON rstore_record (stream, level, start) WHERE level IS NOT NULL;
