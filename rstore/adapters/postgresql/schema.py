"""The schema in PostgreSQL: tables with a reason for each index and lock, and the functions that write to them.

Writes are functions: what they have to decide (is there such a stream, is it where its writer expects it) is decided
where the data are, so that each is one round trip, and their statements are planned once in a session, also behind a
pooler that can't prepare any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SCHEMA_VERSION: Final = 3

LIFT: Final = 1 << 40
"""What an epoch adds: more than the transactions, and the records, of any server. There is room for a million."""

FEW: Final = 1_000_000
"""As many numbers are drawn in less than a second."""

CONFLICT: Final = "RS409"
"""The code of an error of ours: a stream is not where its writer expects it."""

TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS rstore;

-- One row. system and timeline: which server the transaction ids are of, and which branch of its history; epoch: what
-- is added to them. A dump that is restored elsewhere meets lower ones there, and a standby that is promoted gives out
-- again those of transactions that it had not received: the first to write there lifts them above all that there ever
-- was. So are versions, which go on above the epoch.
CREATE TABLE rstore.about (
    schema_version bigint NOT NULL, system bigint NOT NULL, epoch bigint NOT NULL DEFAULT 0,
    timeline text COLLATE "C" NOT NULL DEFAULT '');

CREATE TABLE rstore.namespace (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);

-- The order in which records were made; late commits are why it is not enough for a follower. Each record and each
-- rewrite draws a number, so that with the epoch it is ahead of all versions: a new stream begins its versions there,
-- and none is ever used again, whatever was forgotten or discarded. A floor in a row was rejected: all who forget would
-- lock it.
CREATE SEQUENCE rstore.place;

-- newest is the version of the newest record (0: there is none) and recorded its time: to look for the highest one was
-- rejected, since a planner without statistics reads and sorts them all. levels is a bit mask of the span levels that
-- there are, largest the bytes of its largest payload, died the version of the append that last ended its life, txid
-- that of the newest record's position.
-- A writer locks this row and no other: writers of different streams never wait for each other. The foreign key makes a
-- discard wait for streams that are just being made.
-- fillfactor: an append changes no indexed column, and finds room beside the old row.
CREATE TABLE rstore.stream (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace bigint NOT NULL REFERENCES rstore.namespace,
    kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
    version bigint NOT NULL DEFAULT 0, floor bigint NOT NULL DEFAULT 0, newest bigint NOT NULL DEFAULT 0,
    died bigint NOT NULL DEFAULT 0, live boolean NOT NULL DEFAULT false,
    recorded bigint NOT NULL DEFAULT -9223372036854775808,
    levels bigint NOT NULL DEFAULT 0, largest bigint NOT NULL DEFAULT 0, txid bigint NOT NULL DEFAULT 0,
    UNIQUE (namespace, kind, key)) WITH (fillfactor = 70);

-- Lists and counts the live streams without stepping over dead ones. A counter was rejected: all writers of new keys
-- would wait for each other.
CREATE INDEX stream_live ON rstore.stream (namespace, kind, key) WHERE live;

-- The position of a record is (txid, place). txid is the id of the transaction that appended it, plus the epoch, but
-- at least that of the record before it in its stream: so positions increase along a stream, and what is committed
-- late has no position below the oldest transaction that was running before.
-- The primary key finds the last record of a stream, and the tail after a version.
CREATE TABLE rstore.record (
    stream bigint NOT NULL, version bigint NOT NULL,
    namespace bigint NOT NULL, txid bigint NOT NULL, place bigint NOT NULL,
    recorded bigint NOT NULL, start bigint NOT NULL, "end" bigint NOT NULL, level smallint,
    item text COLLATE "C" NOT NULL, op text COLLATE "C" NOT NULL, data bytea NOT NULL, meta bytea,
    PRIMARY KEY (stream, version));

-- Payloads are compressed or encrypted already.
ALTER TABLE rstore.record ALTER COLUMN data SET STORAGE EXTERNAL;

-- The records that touch a span, in order of (start, version). Values of keys have no span and no level.
CREATE INDEX record_span ON rstore.record (stream, level, start, version) WHERE level IS NOT NULL;

-- What a follower reads.
CREATE INDEX record_feed ON rstore.record (namespace, txid, place);

INSERT INTO rstore.about (schema_version, system, timeline)
SELECT 0, system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system();
"""

UPGRADES: Final[Mapping[int, str]] = {
    1: "ALTER TABLE rstore.about ADD COLUMN timeline text COLLATE \"C\" NOT NULL DEFAULT '';",
    2: "",  # only functions have changed
}
"""What to do to the tables of an earlier schema version, before the functions are replaced."""

FUNCTIONS: Final = (
    """
-- What holds for the rest of a transaction, at the begin of each. search_path: nobody may slip in a function or an
-- operator of his own through a schema that is searched; so this one names the schema of all that it calls, with
-- arguments of just the types that they have. The plans of the functions are made once for a session, and may not
-- depend on how large tables were then. Before PostgreSQL 18, a scan that is off and has no alternative, that of about,
-- has a cost for which the server would compile the plan at each call. A time-out of the user's own is left alone.
CREATE OR REPLACE FUNCTION rstore.begin_write(patience bigint, durable boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.current_setting('transaction_isolation'::text) OPERATOR(pg_catalog.<>) 'read committed'::text THEN
        RAISE EXCEPTION 'default_transaction_isolation has to be read committed: set it for this role'
            USING ERRCODE = '25001';
    END IF;
    PERFORM pg_catalog.set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true),
        pg_catalog.set_config('enable_seqscan'::text, 'off'::text, true),
        pg_catalog.set_config('jit'::text, 'off'::text, true),
        pg_catalog.set_config('plan_cache_mode'::text, 'force_generic_plan'::text, true);
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', patience::text, true);
    END IF;
    IF NOT durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
END $$;

-- Another one begins with each promotion of a standby, and with each recovery to a point in time; not with a restart.
CREATE OR REPLACE FUNCTION rstore.timeline() RETURNS text
LANGUAGE sql AS $$
    SELECT pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)
$$;

-- Lift the transaction ids, if this is another server than the one of the last writer, or another timeline.
CREATE OR REPLACE FUNCTION rstore.arrive() RETURNS void
LANGUAGE sql AS $$
    UPDATE rstore.about
    SET system = c.system_identifier, timeline = rstore.timeline(), epoch = epoch + {lift}
    FROM pg_control_system() AS c WHERE system <> c.system_identifier OR timeline <> rstore.timeline()
$$;

-- The epoch. Who connects arrives; but a pooler may keep a connection while it leaves one server for another. The
-- timeline tells, for the price of a comparison; the system's identifier would have to be read from a file.
CREATE OR REPLACE FUNCTION rstore.epoch() RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM rstore.about WHERE timeline = rstore.timeline()) THEN
        PERFORM rstore.arrive();
    END IF;
    RETURN (SELECT a.epoch FROM rstore.about AS a);
END $$;

-- Make a namespace if there is none, and keep it from being discarded: before any stream is locked, so that whoever
-- discards it and whoever writes to it can't wait for each other.
CREATE OR REPLACE FUNCTION rstore.hold_namespace(of_name text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    held bigint;
BEGIN
    LOCK TABLE rstore.stream IN ROW SHARE MODE;  -- a follower knows writers by that, before they have a transaction id
    LOOP
        SELECT id INTO held FROM rstore.namespace WHERE name = of_name FOR KEY SHARE;
        EXIT WHEN FOUND;
        INSERT INTO rstore.namespace (name) VALUES (of_name) ON CONFLICT (name) DO NOTHING;
    END LOOP;
    RETURN held;
END $$;

CREATE OR REPLACE FUNCTION rstore.open_namespace(patience bigint, durable boolean, of_name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    PERFORM FROM rstore.namespace WHERE name = of_name;
    IF NOT FOUND THEN
        PERFORM rstore.hold_namespace(of_name);
    END IF;
END $$;

-- Lock a stream; id is NULL if there is none.
CREATE OR REPLACE FUNCTION rstore.lock_stream(home bigint, of_kind text, of_key text) RETURNS rstore.stream
LANGUAGE sql AS $$
    SELECT s FROM rstore.stream AS s WHERE s.namespace = home AND s.kind = of_kind AND s.key = of_key FOR UPDATE
$$;

-- Make a stream, or lock the one that somebody else has just made. Its number is drawn when the row is there: whoever
-- forgot a stream of this name has committed by then.
CREATE OR REPLACE FUNCTION rstore.create_stream(home bigint, of_kind text, of_key text) RETURNS rstore.stream
LANGUAGE plpgsql AS $$
DECLARE
    made rstore.stream;
BEGIN
    LOOP
        INSERT INTO rstore.stream (namespace, kind, key) VALUES (home, of_kind, of_key)
        ON CONFLICT (namespace, kind, key) DO NOTHING RETURNING * INTO made;
        IF FOUND THEN
            SELECT a.epoch + nextval('rstore.place') INTO made.version FROM rstore.about AS a;
            made.floor := made.version;
            EXIT;
        END IF;
        made := rstore.lock_stream(home, of_kind, of_key);
        EXIT WHEN made.id IS NOT NULL;
    END LOOP;
    RETURN made;
END $$;

-- Append one entry: the way of nearly all writes. If the stream lives there is little to do; all else is append()'s,
-- also the first append on another timeline.
CREATE OR REPLACE FUNCTION rstore.append_one(
    patience bigint, durable boolean, of_name text,
    of_kind text, of_key text, expect bigint, lives boolean, is_replaced boolean, if_live boolean,
    at bigint, start bigint, "end" bigint, level bigint, mask bigint, item text, op text, data bytea, meta bytea,
    OUT version bigint, OUT conflict bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    one bigint[] := ARRAY[1];
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    IF lives THEN
        UPDATE rstore.stream AS t SET version = greatest(t.version, a.epoch) + 1,
            newest = greatest(t.version, a.epoch) + 1, recorded = greatest(t.recorded, at), levels = t.levels | mask,
            largest = greatest(t.largest, length(data)),
            txid = greatest(t.txid, a.epoch + pg_current_xact_id()::text::bigint),
            floor = CASE WHEN is_replaced THEN greatest(t.version, a.epoch) + 1 ELSE t.floor END
        FROM rstore.namespace AS n, rstore.about AS a
        WHERE n.name = of_name AND t.namespace = n.id AND t.kind = of_kind AND t.key = of_key
            AND t.live AND (expect IS NULL OR t.version = expect) AND a.timeline = rstore.timeline()
        RETURNING t.* INTO s;
        IF FOUND THEN
            IF is_replaced THEN
                DELETE FROM rstore.record AS r WHERE r.stream = s.id;
            END IF;
            INSERT INTO rstore.record VALUES (s.id, s.version, s.namespace, s.txid, nextval('rstore.place'), s.recorded,
                start, "end", level, item, op, data, meta);
            version := s.version;
            RETURN;
        END IF;
    END IF;
    SELECT a.versions[1], a.conflict INTO version, conflict FROM rstore.append(
        patience, durable, of_name, ARRAY[of_kind], ARRAY[of_key], ARRAY[at], ARRAY[expect], ARRAY[lives],
        ARRAY[is_replaced], ARRAY[if_live], ARRAY[false], ARRAY[mask], one,
        ARRAY[length(data)::bigint], one, one, ARRAY[start], ARRAY["end"],
        ARRAY[level], ARRAY[item], ARRAY[op], ARRAY[data], ARRAY[meta]) AS a;
END $$;

-- Append batches, which come in order of (kind, key), so that two writers can't wait for each other. The first arrays
-- have an element for each batch, the others one for each entry: of_batch says which it belongs to, nth is its number
-- there. goes_on: it is one more part of a batch that was begun. If a stream is not at the version that is expected,
-- nothing is written, conflict is the number of its batch, and versions holds the version where it is.
CREATE OR REPLACE FUNCTION rstore.append(
    patience bigint, durable boolean, of_name text,
    kinds text[], keys text[], at bigint[], expects bigint[], lives boolean[], replaced boolean[], if_live boolean[],
    goes_on boolean[], masks bigint[], counts bigint[], sizes bigint[],
    of_batch bigint[], nth bigint[], starts bigint[], ends bigint[], of_level bigint[],
    items text[], ops text[], datas bytea[], metas bytea[],
    OUT versions bigint[], OUT conflict bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    streams rstore.stream[];
    home bigint;
    epoch bigint;
    actual bigint;
    moment bigint;
    wrote boolean := false;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    epoch := rstore.epoch();
    FOR i IN 1 .. cardinality(kinds) LOOP
        s := rstore.lock_stream(home, kinds[i], keys[i]);
        -- who only checks that there is no such stream makes it too, until the end: so nobody else can meanwhile
        IF s.id IS NULL AND coalesce(expects[i], 0) = 0 AND (counts[i] = 0 OR NOT if_live[i]) THEN
            s := rstore.create_stream(home, kinds[i], keys[i]);
            wrote := wrote OR s.txid = 0;
        END IF;
        actual := CASE WHEN s.txid > 0 THEN s.version ELSE 0 END;  -- a new one has no transaction yet
        IF expects[i] <> actual THEN
            conflict := i;
            versions := ARRAY[actual];
            EXIT;
        END IF;
        moment := greatest(moment, s.recorded, at[i]);
        IF if_live[i] AND (counts[i] = 0 OR s.live IS NOT TRUE) THEN
            IF s.txid = 0 THEN
                DELETE FROM rstore.stream WHERE id = s.id;
                s.version := 0;
            END IF;
            versions[i] := coalesce(s.version, 0);
            streams[i] := NULL;
            CONTINUE;
        END IF;
        streams[i] := s;
    END LOOP;
    IF conflict IS NOT NULL THEN
        IF wrote THEN
            RAISE EXCEPTION USING ERRCODE = '{conflict}', MESSAGE = conflict || ' ' || versions[1];
        END IF;
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(kinds) LOOP
        s := streams[i];
        CONTINUE WHEN s.id IS NULL;
        IF replaced[i] AND NOT goes_on[i] THEN
            DELETE FROM rstore.record WHERE stream = s.id;
        END IF;
        s.version := greatest(s.version, epoch);
        versions[i] := s.version + counts[i];
        UPDATE rstore.stream AS t SET version = versions[i],
            newest = CASE WHEN counts[i] > 0 THEN versions[i] WHEN replaced[i] THEN 0 ELSE s.newest END,
            recorded = CASE
                WHEN counts[i] > 0 THEN moment
                WHEN replaced[i] THEN -9223372036854775808 ELSE s.recorded END,
            floor = CASE WHEN replaced[i] THEN versions[i] ELSE s.floor END,
            died = CASE WHEN lives[i] THEN s.died ELSE versions[i] END, live = lives[i], levels = s.levels | masks[i],
            largest = greatest(s.largest, sizes[i]),
            txid = greatest(s.txid, epoch + pg_current_xact_id()::text::bigint)
        WHERE t.id = s.id
        RETURNING t.recorded, t.txid INTO s.recorded, s.txid;
        streams[i] := s;
    END LOOP;
    INSERT INTO rstore.record
    SELECT (streams[b]).id, (streams[b]).version + n, (streams[b]).namespace, (streams[b]).txid,
        nextval('rstore.place'), (streams[b]).recorded, e_start, e_end, e_level, e_item, e_op, e_data, e_meta
    FROM unnest(of_batch, nth, starts, ends, of_level, items, ops, datas, metas)
        AS e (b, n, e_start, e_end, e_level, e_item, e_op, e_data, e_meta)
    WHERE streams[b] IS DISTINCT FROM NULL;
END $$;

-- Lock streams, given in order, and return when the newest record of any was recorded.
CREATE OR REPLACE FUNCTION rstore.latest(
    patience bigint, durable boolean, of_name text, kinds text[], keys text[], OUT moment bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    home bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    FOR i IN 1 .. cardinality(kinds) LOOP
        s := rstore.lock_stream(home, kinds[i], keys[i]);
        moment := greatest(moment, s.recorded);
    END LOOP;
END $$;

-- Put records in the place of others of the same stream and versions. head is the version where the stream is and
-- floor its floor, 0 without a stream; if they are not what is expected, nothing is written. Nor if one of those others
-- is not there: it was read before a failover that lost it.
CREATE OR REPLACE FUNCTION rstore.put(
    patience bigint, durable boolean, of_name text, of_kind text, of_key text, expect bigint, expect_floor bigint,
    mask bigint, versions bigint[], recordeds bigint[], starts bigint[], ends bigint[], of_level bigint[],
    items text[], ops text[], datas bytea[], metas bytea[],
    OUT head bigint, OUT floor bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    found bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    s := rstore.lock_stream(rstore.hold_namespace(of_name), of_kind, of_key);
    head := coalesce(s.version, 0);
    floor := coalesce(s.floor, 0);
    saved := 0;
    IF s.id IS NULL OR expect <> s.version OR expect_floor <> s.floor THEN
        RETURN;
    END IF;
    SELECT coalesce(sum(length(r.data)), 0) INTO saved
    FROM rstore.record AS r JOIN unnest(versions) AS v ON r.version = v WHERE r.stream = s.id;
    UPDATE rstore.record AS r SET recorded = p.recorded, start = p.start, "end" = p."end", level = p.level,
        item = p.item, op = p.op, data = p.data, meta = p.meta
    FROM unnest(versions, recordeds, starts, ends, of_level, items, ops, datas, metas)
        AS p (version, recorded, start, "end", level, item, op, data, meta)
    WHERE r.stream = s.id AND r.version = p.version;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found < cardinality(versions) THEN
        RAISE EXCEPTION USING ERRCODE = '{conflict}', MESSAGE = '1 ' || s.version;
    END IF;
    UPDATE rstore.stream AS t SET levels = t.levels | mask,
        largest = greatest(t.largest, (SELECT max(length(d)) FROM unnest(datas) AS d)),
        died = least(t.died, (SELECT min(v) - 1 FROM unnest(versions) AS v))
    WHERE t.id = s.id;
    saved := saved - (SELECT coalesce(sum(length(d)), 0) FROM unnest(datas) AS d);
END $$;

-- Drop the records low <= version < high, or those listed, but not those kept: new ones were put in their place. Where
-- only the last record counts it stays, whatever was seen of it before a failover.
CREATE OR REPLACE FUNCTION rstore.rewrite(
    patience bigint, durable boolean, of_name text, of_kind text, of_key text, expect bigint, expect_floor bigint,
    low bigint, high bigint, listed bigint[], kept bigint[], lives boolean, moves boolean,
    OUT head bigint, OUT floor bigint, OUT records bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    last rstore.record;
    moved bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    s := rstore.lock_stream(rstore.hold_namespace(of_name), of_kind, of_key);
    head := coalesce(s.version, 0);
    floor := coalesce(s.floor, 0);
    records := 0;
    saved := 0;
    IF s.id IS NULL OR expect <> s.version OR expect_floor <> s.floor THEN
        RETURN;
    END IF;
    IF listed IS NULL THEN
        IF NOT moves THEN
            high := least(high, s.newest);
        END IF;
        WITH gone AS (
            DELETE FROM rstore.record AS r WHERE r.stream = s.id AND r.version >= low AND r.version < high
                AND r.version NOT IN (SELECT v FROM unnest(kept) AS v)
            RETURNING length(r.data) AS size)
        SELECT count(*), coalesce(sum(size), 0) INTO records, saved FROM gone;
    ELSE
        WITH gone AS (
            DELETE FROM rstore.record AS r USING unnest(listed) AS v WHERE r.stream = s.id AND r.version = v
                AND r.version NOT IN (SELECT v FROM unnest(kept) AS v)
            RETURNING length(r.data) AS size)
        SELECT count(*), coalesce(sum(size), 0) INTO records, saved FROM gone;
    END IF;
    SELECT * INTO last FROM rstore.record AS r WHERE r.stream = s.id ORDER BY r.version DESC LIMIT 1;
    lives := coalesce(lives, s.live);
    IF last.version IS NULL AND NOT lives THEN
        PERFORM nextval('rstore.place');
        DELETE FROM rstore.stream AS t WHERE t.id = s.id;
    ELSIF records > 0 OR cardinality(kept) > 0 OR lives <> s.live THEN
        PERFORM nextval('rstore.place');
        moved := greatest(s.version, rstore.epoch()) + 1;
        UPDATE rstore.stream AS t SET live = lives, version = CASE WHEN moves THEN moved ELSE s.version END,
            floor = CASE WHEN moves THEN moved ELSE s.floor END,
            newest = coalesce(last.version, 0), recorded = coalesce(last.recorded, -9223372036854775808)
        WHERE t.id = s.id;
    END IF;
END $$;

-- Go on with numbers above a version that another log has given out. As many as were drawn are passed over, if they
-- are few. Otherwise an epoch begins: no writer may be in progress then, whose positions a follower would never see.
CREATE OR REPLACE FUNCTION rstore.pass_over(top bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    missing bigint := top - rstore.epoch() - nextval('rstore.place');
BEGIN
    IF missing > {few} THEN
        LOCK TABLE rstore.stream IN EXCLUSIVE MODE;
        UPDATE rstore.about SET epoch = greatest(epoch, (top / {lift} + 1) * {lift});
    ELSIF missing > 0 THEN
        PERFORM nextval('rstore.place') FROM generate_series(1, missing);
    END IF;
END $$;

-- Keep records of other logs. The first arrays have an element for each stream, in order of (kind, key), the others one
-- for each record. top is the greatest version of all that is restored in this transaction.
CREATE OR REPLACE FUNCTION rstore.restore(
    patience bigint, durable boolean, of_name text, top bigint,
    kinds text[], keys text[], versions bigint[], lives boolean[], dieds bigint[],
    of_stream bigint[], record_versions bigint[], recordeds bigint[], starts bigint[], ends bigint[],
    of_level bigint[], masks bigint[], items text[], ops text[], datas bytea[], metas bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s rstore.stream;
    ids bigint[];
    known bigint[];
    txids bigint[];
    home bigint;
    epoch bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    PERFORM rstore.pass_over(top);
    epoch := rstore.epoch();
    home := rstore.hold_namespace(of_name);
    FOR i IN 1 .. cardinality(kinds) LOOP
        s := rstore.lock_stream(home, kinds[i], keys[i]);
        IF s.id IS NULL THEN
            s := rstore.create_stream(home, kinds[i], keys[i]);
        END IF;
        ids[i] := s.id;
        known[i] := CASE WHEN s.txid > 0 THEN s.version ELSE 0 END;  -- a new one has no transaction yet
        txids[i] := greatest(s.txid, epoch + pg_current_xact_id()::text::bigint);
    END LOOP;
    INSERT INTO rstore.record
    SELECT ids[b], e_version, home, txids[b], nextval('rstore.place'), e_recorded, e_start, e_end, e_level,
        e_item, e_op, e_data, e_meta
    FROM unnest(of_stream, record_versions, recordeds, starts, ends, of_level, items, ops, datas, metas)
        AS e (b, e_version, e_recorded, e_start, e_end, e_level, e_item, e_op, e_data, e_meta)
    WHERE e_version > known[b];
    UPDATE rstore.stream AS t SET version = versions[r.b], floor = versions[r.b], newest = greatest(t.newest, r.newest),
        recorded = greatest(t.recorded, r.recorded), levels = t.levels | r.mask, largest = greatest(t.largest, r.size)
    FROM (
        SELECT b, max(v) AS newest, max(m) AS recorded, bit_or(l) AS mask, max(length(d)) AS size
        FROM unnest(of_stream, record_versions, recordeds, masks, datas) AS e (b, v, m, l, d)
        WHERE v > known[b] GROUP BY b) AS r
    WHERE t.id = ids[r.b];
    UPDATE rstore.stream AS t SET version = h.version, live = h.live, died = h.died, txid = txids[h.b],
        floor = CASE WHEN h.version > known[h.b] THEN h.version ELSE t.floor END
    FROM unnest(versions, lives, dieds) WITH ORDINALITY AS h (version, live, died, b)
    WHERE t.id = ids[h.b] AND h.version >= known[h.b];
END $$;

-- Erase a namespace. All who are writing to it are waited for: they hold its row, or that of a stream.
CREATE OR REPLACE FUNCTION rstore.discard(patience bigint, durable boolean, of_name text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    SELECT id INTO home FROM rstore.namespace WHERE name = of_name FOR UPDATE;
    DELETE FROM rstore.stream WHERE namespace = home;
    DELETE FROM rstore.record WHERE namespace = home;
    DELETE FROM rstore.namespace WHERE id = home;
END $$;

UPDATE rstore.about SET schema_version = {version};
""".replace("{conflict}", CONFLICT)
    .replace("{lift}", str(LIFT))
    .replace("{few}", str(FEW))
    .replace("{version}", str(SCHEMA_VERSION))
)
