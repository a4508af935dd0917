-- The tables of the log in PostgreSQL, with a reason for each index and lock. The functions that write to them are in
-- functions.sql.

CREATE SCHEMA IF NOT EXISTS rstore;

-- One row. system and timeline name the server that gave out the transaction ids, and the branch of its history. epoch
-- is the fencing epoch, which is added to each id. A dump that is restored elsewhere meets lower ids there. A standby
-- that is promoted gives out again the ids of transactions that it had not received. So the first writer on another
-- server or timeline raises the epoch above all ids that there ever were. Versions then go on above the epoch too.
CREATE TABLE rstore.about (
    schema_version bigint NOT NULL, system bigint NOT NULL, epoch bigint NOT NULL DEFAULT 0,
    timeline text COLLATE "C" NOT NULL DEFAULT '');

CREATE TABLE rstore.namespace (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);

-- The order in which records were made. Late commits make it insufficient for a follower. Each record and each rewrite
-- draws a number, so together with the epoch the sequence is ahead of all versions. A new stream begins its versions
-- there, so none is ever used again, whatever was forgotten or discarded. Rejected: a floor in a row, which all writers
-- that forget a stream would have to lock.
CREATE SEQUENCE rstore.place;

-- newest is the version of the newest record (0: there is none), and recorded its time. Rejected: searching for the
-- highest version, since a planner without statistics reads and sorts all of them. levels is a bit mask of the span
-- levels of the records, and largest the size in bytes of the largest payload. died is the version of the append that
-- last ended the stream's life. txid is that of the newest record's position.
-- A writer locks this row and no other, so writers of different streams never wait for each other. Rejected: a foreign
-- key to the namespace. Each writer locks its namespace's row anyway, so that a discard waits for new streams.
-- fillfactor: an append changes no indexed column, and finds room beside the old row.
CREATE TABLE rstore.stream (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace bigint NOT NULL,
    kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
    version bigint NOT NULL DEFAULT 0, floor bigint NOT NULL DEFAULT 0, newest bigint NOT NULL DEFAULT 0,
    died bigint NOT NULL DEFAULT 0, live boolean NOT NULL DEFAULT false,
    recorded bigint NOT NULL DEFAULT -9223372036854775808,
    levels bigint NOT NULL DEFAULT 0, largest bigint NOT NULL DEFAULT 0, txid bigint NOT NULL DEFAULT 0,
    UNIQUE (namespace, kind, key)) WITH (fillfactor = 70);

-- Lists and counts the live streams without stepping over dead ones. Rejected: a counter, on which all writers of new
-- keys would wait for each other.
CREATE INDEX stream_live ON rstore.stream (namespace, kind, key) WHERE live;

-- The position of a record is (txid, place). txid is the id of the transaction that appended it, plus the epoch, but at
-- least the txid of the record before it in its stream. So positions increase along a stream. And a record that is
-- committed late has no position below the oldest transaction that was running before.
-- The primary key finds the last record of a stream, and the records after a version.
CREATE TABLE rstore.record (
    stream bigint NOT NULL, version bigint NOT NULL,
    namespace bigint NOT NULL, txid bigint NOT NULL, place bigint NOT NULL,
    recorded bigint NOT NULL, start bigint NOT NULL, "end" bigint NOT NULL, level smallint,
    item text COLLATE "C" NOT NULL, op text COLLATE "C" NOT NULL, data bytea NOT NULL, meta bytea,
    PRIMARY KEY (stream, version));

-- Payloads are compressed or encrypted already.
ALTER TABLE rstore.record ALTER COLUMN data SET STORAGE EXTERNAL;

-- Finds the records that touch a span, in order of (start, version). Values of keys have no span, so they have no level
-- either and stay out of the index.
CREATE INDEX record_span ON rstore.record (stream, level, start, version) WHERE level IS NOT NULL;

-- A follower reads the records of a namespace along this index.
CREATE INDEX record_feed ON rstore.record (namespace, txid, place);

INSERT INTO rstore.about (schema_version, system, timeline)
SELECT 0, system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system();
