-- The streams of a store in a SQLite file, and the records of those that are keys. See schema.sql for the rest.

-- levels is a bit mask of the span levels of the stream's records. died is the version of the append that last ended
-- the stream's life. The other columns are the newest record of a key, value and all: a get reads one row, and a set
-- replaces it. They are NULL for series and event sequences, whose newest version is that of their last record: so an
-- append to one of these changes no head. The index has live before the key: it lists live streams without stepping
-- over dead ones.
CREATE TABLE rstore_head (
    id INTEGER PRIMARY KEY, namespace INTEGER NOT NULL, kind TEXT NOT NULL, live INTEGER NOT NULL, key TEXT NOT NULL,
    levels INTEGER NOT NULL, floor INTEGER NOT NULL, died INTEGER NOT NULL,
    version INTEGER, position INTEGER, recorded INTEGER, start INTEGER, "end" INTEGER, item TEXT, op TEXT, data BLOB,
    meta BLOB, UNIQUE (namespace, kind, live, key));

-- A row for each record of a key, at the record's position. As in an undo log, it holds not that record but the one
-- before, which it replaced in the head. So a value is stored once, and a set writes two pages: the head's, and the
-- last one of this table. Rejected: an index on (stream, version), whose pages a set would write as well; and the
-- record itself in this table, which stores each newest value twice.
CREATE TABLE rstore_change (
    position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL,
    old_version INTEGER, old_position INTEGER, old_recorded INTEGER, old_start INTEGER, old_end INTEGER, old_item TEXT,
    old_op TEXT, old_data BLOB, old_meta BLOB);

-- Each 64th record of a key. A reader of an old value begins at one, and goes back by 64 changes at most.
CREATE TABLE rstore_milestone (
    stream INTEGER NOT NULL, version INTEGER NOT NULL, recorded INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (stream, version)) WITHOUT ROWID;
