-- The functions that write to the log. A write is one round trip: the function decides on the server whether the stream
-- is there and at the version that its writer expects. Its statements are planned once in a session, also behind a
-- pooler that can't prepare any. Comments inside of a function are a part of the text that the server stores.
--
-- 1099511627776 is EPOCH_STEP of statements.py, 'RS409' its CONFLICT, and the last statement sets its SCHEMA_VERSION: a
-- test compares them. Rejected: placeholders, with which this file would not be plain SQL.

-- Settings for the rest of a transaction; each write begins with them.
-- search_path: nobody may slip in a function or an operator through a schema that is searched. Until the setting holds,
-- this function names the schema of each function and operator, and gives arguments of exactly the declared types.
-- enable_seqscan, plan_cache_mode: the plans of the functions are made once in a session, and may not depend on how
-- large tables were then.
-- jit: before PostgreSQL 18, a scan that is off and has no alternative, like that of about, has a cost for which the
-- server would compile the plan at each call.
-- lock_timeout: the user's own setting wins.
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

-- A new timeline begins with each promotion of a standby and each recovery to a point in time, but not with a restart.
CREATE OR REPLACE FUNCTION rstore.timeline() RETURNS text
LANGUAGE sql AS $$
    SELECT pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)
$$;

-- Begin a fencing epoch, if this is another server than that of the last writer, or another timeline.
CREATE OR REPLACE FUNCTION rstore.arrive() RETURNS void
LANGUAGE sql AS $$
    UPDATE rstore.about
    SET system = c.system_identifier, timeline = rstore.timeline(), epoch = epoch + 1099511627776
    FROM pg_control_system() AS c WHERE system <> c.system_identifier OR timeline <> rstore.timeline()
$$;

-- Return the epoch. A connection calls arrive() when it is opened; but a pooler may keep a connection while it leaves
-- one server for another. The timeline shows that for the price of a comparison. Rejected: comparing the system's
-- identifier, which has to be read from a file.
CREATE OR REPLACE FUNCTION rstore.epoch() RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM rstore.about WHERE timeline = rstore.timeline()) THEN
        PERFORM rstore.arrive();
    END IF;
    RETURN (SELECT a.epoch FROM rstore.about AS a);
END $$;

-- Make a namespace if there is none, and keep it from being discarded. This comes before any stream is locked, so that
-- a discard and a write can't wait for each other.
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

-- Lock a stream, and return its row. The row's id is NULL if there is no such stream.
CREATE OR REPLACE FUNCTION rstore.lock_stream(home bigint, of_kind text, of_key text) RETURNS rstore.stream
LANGUAGE sql AS $$
    SELECT s FROM rstore.stream AS s WHERE s.namespace = home AND s.kind = of_kind AND s.key = of_key FOR UPDATE
$$;

-- Append one entry, as nearly all writes do. A live stream on the known timeline needs little work. append() does all
-- else, also the first append on another timeline.
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
    UPDATE rstore.stream AS t SET version = greatest(t.version, a.epoch) + 1,
        newest = greatest(t.version, a.epoch) + 1, recorded = greatest(t.recorded, at), levels = t.levels | mask,
        largest = greatest(t.largest, length(data)),
        txid = greatest(t.txid, a.epoch + pg_current_xact_id()::text::bigint),
        floor = CASE WHEN is_replaced THEN greatest(t.version, a.epoch) + 1 ELSE t.floor END,
        live = lives, died = CASE WHEN lives THEN t.died ELSE greatest(t.version, a.epoch) + 1 END
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
    IF (if_live OR expect > 0) AND NOT EXISTS (
        SELECT FROM rstore.stream AS t JOIN rstore.namespace AS n ON t.namespace = n.id
        WHERE n.name = of_name AND t.kind = of_kind AND t.key = of_key) THEN
        version := 0;
        conflict := nullif(expect, 0);
        RETURN;
    END IF;
    SELECT a.versions[1], a.conflict INTO version, conflict FROM rstore.append(
        patience, durable, of_name, at, ARRAY[of_kind], ARRAY[of_key], ARRAY[expect], ARRAY[lives],
        ARRAY[is_replaced], ARRAY[if_live], ARRAY[false], ARRAY[mask], one,
        ARRAY[length(data)::bigint], one, one, ARRAY[start], ARRAY["end"],
        ARRAY[level], ARRAY[item], ARRAY[op], ARRAY[data], ARRAY[meta]) AS a;
END $$;

-- Append batches. They come in order of (kind, key), so that two writers can't wait for each other. The first arrays
-- have an element for each batch, and those from of_batch on one for each entry. of_batch is the number of the entry's
-- batch, and nth its number within the batch. goes_on marks one more part of a batch that was begun. If a stream is not
-- at the version that its batch expects, nothing is written. conflict is then the number of the batch, and versions
-- holds the version of the stream. moment is when all is recorded: at, or the latest time of a record before.
--
-- One statement makes the streams that are missing, with all that this append says of them, and locks the others. It
-- sees what was committed while it waited, which a SELECT would not. So a batch that must not make a stream makes it
-- too: nobody else can meanwhile, and it is deleted at the end.
--
-- New streams begin their versions at a number that is drawn before they are inserted. Meanwhile somebody may have
-- appended to a stream of the same name, and forgotten it. That writer has drawn numbers too: then the versions move on.
-- Rejected: drawing the number afterwards, since each new stream would be written twice.
CREATE OR REPLACE FUNCTION rstore.append(
    patience bigint, durable boolean, of_name text, at bigint,
    kinds text[], keys text[], expects bigint[], lives boolean[], replaced boolean[], if_live boolean[],
    goes_on boolean[], masks bigint[], counts bigint[], sizes bigint[],
    of_batch bigint[], nth bigint[], starts bigint[], ends bigint[], of_level bigint[],
    items text[], ops text[], datas bytea[], metas bytea[],
    OUT versions bigint[], OUT conflict bigint, OUT moment bigint
) LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
    epoch bigint;
    own bigint;
    base bigint;
    made bigint;
    idle bigint[];
    moved bigint;
    ids bigint[];
    actual bigint[];
    txids bigint[];
    skipped boolean[];
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    epoch := rstore.epoch();
    own := epoch + pg_current_xact_id()::text::bigint;
    base := epoch + nextval('rstore.place');
    WITH fresh AS (
        INSERT INTO rstore.stream AS t (
            namespace, kind, key, version, floor, newest, died, live, recorded, levels, largest, txid)
        SELECT home, b.kind, b.key, base + b.count, CASE WHEN b.is_replaced THEN base + b.count ELSE base END,
            CASE WHEN b.count > 0 THEN base + b.count ELSE 0 END, CASE WHEN b.lives THEN 0 ELSE base + b.count END,
            b.lives, CASE WHEN b.count > 0 THEN at ELSE -9223372036854775808 END, b.mask, b.size, own
        FROM unnest(kinds, keys, lives, replaced, if_live, goes_on, masks, counts, sizes)
            AS b (kind, key, lives, is_replaced, if_live, goes_on, mask, count, size)
        WHERE NOT (b.if_live AND b.goes_on)
        ON CONFLICT (namespace, kind, key) DO UPDATE SET txid = t.txid WHERE false  -- only locks it
        RETURNING 1)
    SELECT count(*) INTO made FROM fresh;
    IF made > 0 AND epoch + nextval('rstore.place') <> base + 1 THEN
        moved := epoch + nextval('rstore.place') - base;
        UPDATE rstore.stream AS t SET version = t.version + moved, floor = t.floor + moved,
            newest = CASE WHEN t.newest > 0 THEN t.newest + moved ELSE 0 END,
            died = CASE WHEN t.died > 0 THEN t.died + moved ELSE 0 END
        FROM unnest(kinds, keys, goes_on) AS b (kind, key, goes_on)
        WHERE t.namespace = home AND t.kind = b.kind AND t.key = b.key AND NOT b.goes_on
            AND t.xmin = pg_current_xact_id()::xid;
    END IF;
    SELECT array_agg(s.id), array_agg(s.actual), array_agg(greatest(s.txid, own)), array_agg(s.is_skipped),
        array_agg(CASE WHEN s.is_skipped THEN s.actual WHEN s.is_new THEN s.version
            ELSE greatest(s.version, epoch) + s.count END),
        greatest(at, max(s.recorded)), min(s.n) FILTER (WHERE s.expect <> s.actual),
        array_agg(s.id) FILTER (WHERE s.is_skipped AND s.is_new)
    INTO ids, actual, txids, skipped, versions, moment, conflict, idle
    FROM (
        SELECT b.n, b.expect, b.count, t.id, t.version, t.recorded, t.txid, t.is_new,
            CASE WHEN t.is_new THEN 0 ELSE coalesce(t.version, 0) END AS actual,
            b.if_live AND (b.count = 0 OR t.is_new OR t.live IS NOT TRUE) AS is_skipped
        FROM unnest(kinds, keys, expects, if_live, goes_on, counts) WITH ORDINALITY
            AS b (kind, key, expect, if_live, goes_on, count, n)
        LEFT JOIN LATERAL (
            SELECT x.*, x.xmin = pg_current_xact_id()::xid AND NOT b.goes_on AS is_new FROM rstore.stream AS x
            WHERE x.namespace = home AND x.kind = b.kind AND x.key = b.key OFFSET 0) AS t ON true) AS s;
    IF conflict IS NOT NULL THEN
        versions := ARRAY[actual[conflict]];
        IF made > 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = conflict || ' ' || versions[1];
        END IF;
        RETURN;
    END IF;
    IF made < cardinality(kinds) OR moment > at THEN
        UPDATE rstore.stream AS t SET version = h.version,
            newest = CASE WHEN h.count > 0 THEN h.version WHEN h.is_replaced THEN 0 ELSE t.newest END,
            recorded = CASE
                WHEN h.count > 0 THEN moment
                WHEN h.is_replaced THEN -9223372036854775808 ELSE t.recorded END,
            floor = CASE WHEN h.is_replaced THEN h.version ELSE t.floor END,
            died = CASE WHEN h.lives THEN t.died ELSE h.version END, live = h.lives, levels = t.levels | h.mask,
            largest = greatest(t.largest, h.size), txid = h.txid
        FROM unnest(ids, actual, versions, txids, skipped, lives, replaced, masks, counts, sizes)
            AS h (id, actual, version, txid, is_skipped, lives, is_replaced, mask, count, size)
        WHERE t.id = h.id AND NOT h.is_skipped AND (h.actual > 0 OR moment > at);
    END IF;
    IF true = ANY (replaced) THEN
        DELETE FROM rstore.record AS r USING unnest(ids, skipped, replaced, goes_on)
            AS h (id, is_skipped, is_replaced, goes_on)
        WHERE r.stream = h.id AND h.is_replaced AND NOT h.is_skipped AND NOT h.goes_on;
    END IF;
    INSERT INTO rstore.record
    SELECT ids[b], versions[b] - counts[b] + n, home, txids[b], nextval('rstore.place'), moment, e_start, e_end,
        e_level, e_item, e_op, e_data, e_meta
    FROM unnest(of_batch, nth, starts, ends, of_level, items, ops, datas, metas)
        AS e (b, n, e_start, e_end, e_level, e_item, e_op, e_data, e_meta)
    WHERE NOT skipped[b];
    IF idle IS NOT NULL THEN
        DELETE FROM rstore.stream AS t USING unnest(idle) AS h (id) WHERE t.id = h.id;
    END IF;
END $$;

-- Record all that this transaction has appended at another time: its last part met a later record than its first ones.
CREATE OR REPLACE FUNCTION rstore.redate(of_name text, moment bigint) RETURNS void
LANGUAGE sql AS $$
    WITH dated AS (
        UPDATE rstore.record AS r SET recorded = moment FROM rstore.about AS a
        WHERE r.namespace = (SELECT n.id FROM rstore.namespace AS n WHERE n.name = of_name)
            AND r.txid >= a.epoch + pg_current_xact_id()::text::bigint AND r.xmin = pg_current_xact_id()::xid
        RETURNING r.stream)
    UPDATE rstore.stream AS t SET recorded = moment FROM (SELECT DISTINCT d.stream FROM dated AS d) AS s
    WHERE t.id = s.stream
$$;

-- Lock streams, given in order, for a rewrite. heads are their versions and floors their floors, both 0 without a
-- stream. The rewrite is not to go on if they are not as expected. Each call of lock_stream() sees what was committed
-- while the one before it waited.
CREATE OR REPLACE FUNCTION rstore.lock_streams(
    patience bigint, durable boolean, of_name text, kinds text[], keys text[], expects bigint[], expect_floors bigint[],
    OUT ids bigint[], OUT heads bigint[], OUT floors bigint[], OUT newest bigint[], OUT living boolean[],
    OUT are_expected boolean
) LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    SELECT array_agg(s.id), array_agg(coalesce(s.version, 0)), array_agg(coalesce(s.floor, 0)),
        array_agg(coalesce(s.newest, 0)), array_agg(coalesce(s.live, false)),
        coalesce(bool_and(coalesce(s.version, 0) = w.expect), true)
            AND coalesce(bool_and(coalesce(s.floor, 0) = w.expect_floor), true)
    INTO ids, heads, floors, newest, living, are_expected
    FROM unnest(kinds, keys, expects, expect_floors) AS w (kind, key, expect, expect_floor)
    CROSS JOIN LATERAL rstore.lock_stream(home, w.kind, w.key) AS s;
END $$;

-- Put records in the place of those with the same streams and versions. of_rewrite is the number of a record's stream.
-- Nothing is written if the streams are not as expected. Nor is anything written if a record to be replaced is missing:
-- the caller read it before a failover that lost it.
CREATE OR REPLACE FUNCTION rstore.put(
    patience bigint, durable boolean, of_name text, kinds text[], keys text[], expects bigint[], expect_floors bigint[],
    of_rewrite bigint[], versions bigint[], recordeds bigint[], starts bigint[], ends bigint[], of_level bigint[],
    masks bigint[], items text[], ops text[], datas bytea[], metas bytea[],
    OUT heads bigint[], OUT floors bigint[], OUT records bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s record;
    missing bigint;
BEGIN
    records := 0;
    s := rstore.lock_streams(patience, durable, of_name, kinds, keys, expects, expect_floors);
    heads := s.heads;
    floors := s.floors;
    IF NOT s.are_expected THEN
        RETURN;
    END IF;
    SELECT coalesce(sum(r.size - p.size), 0), min(p.b) FILTER (WHERE r.size IS NULL) INTO saved, missing
    FROM (
        SELECT b, v, length(d) AS size, s.ids[b] AS id FROM unnest(of_rewrite, versions, datas) AS x (b, v, d)) AS p
    LEFT JOIN LATERAL (
        SELECT length(t.data) AS size FROM rstore.record AS t WHERE t.stream = p.id AND t.version = p.v OFFSET 0
    ) AS r ON true
    WHERE p.id IS NOT NULL;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = missing || ' ' || heads[missing];
    END IF;
    UPDATE rstore.record AS r SET recorded = p.recorded, start = p.start, "end" = p."end", level = p.level,
        item = p.item, op = p.op, data = p.data, meta = p.meta
    FROM unnest(of_rewrite, versions, recordeds, starts, ends, of_level, items, ops, datas, metas)
        AS p (b, version, recorded, start, "end", level, item, op, data, meta)
    WHERE r.stream = s.ids[p.b] AND r.version = p.version;
    UPDATE rstore.stream AS t SET levels = t.levels | p.mask, largest = greatest(t.largest, p.size),
        died = least(t.died, p.version - 1)
    FROM (
        SELECT s.ids[b] AS id, bit_or(l) AS mask, max(length(d)) AS size, min(v) AS version
        FROM unnest(of_rewrite, versions, masks, datas) AS x (b, v, l, d) GROUP BY b) AS p
    WHERE t.id = p.id;
END $$;

-- Drop the records with low <= version < high, or those listed. The kept ones stay: put() has replaced them. of_listed
-- and of_kept are the numbers of their streams. In a stream of which only the last record counts (moves is false) that
-- record stays, whatever the caller saw of the stream before a failover. One number is drawn for all versions that move
-- on: it keeps the sequence ahead of each of them.
CREATE OR REPLACE FUNCTION rstore.rewrite(
    patience bigint, durable boolean, of_name text, kinds text[], keys text[], expects bigint[], expect_floors bigint[],
    lows bigint[], highs bigint[], lives boolean[], moves boolean[],
    of_listed bigint[], listed bigint[], of_kept bigint[], kept bigint[],
    OUT heads bigint[], OUT floors bigint[], OUT records bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s record;
    gone record;
    epoch bigint;
    b bigint;
    changed boolean[];
BEGIN
    s := rstore.lock_streams(patience, durable, of_name, kinds, keys, expects, expect_floors);
    heads := s.heads;
    floors := s.floors;
    records := 0;
    saved := 0;
    IF NOT s.are_expected THEN
        RETURN;
    END IF;
    SELECT array_agg(h.lives <> h.living), array_agg(coalesce(h.lives, h.living)) INTO changed, lives
    FROM unnest(lives, s.living) AS h (lives, living);
    FOREACH b IN ARRAY of_kept LOOP
        changed[b] := true;
    END LOOP;
    FOR gone IN
        WITH within AS (
            DELETE FROM rstore.record AS r
            USING unnest(s.ids, lows, highs, s.newest, moves) WITH ORDINALITY AS h (id, low, high, newest, moves, n)
            WHERE r.stream = h.id AND r.version >= h.low
                AND r.version < CASE WHEN h.moves THEN h.high ELSE least(h.high, h.newest) END
                AND (h.n, r.version) NOT IN (SELECT k.n, k.version FROM unnest(of_kept, kept) AS k (n, version))
            RETURNING h.n, length(r.data) AS size),
        among AS (
            DELETE FROM rstore.record AS r USING unnest(of_listed, listed) AS h (n, version)
            WHERE r.stream = s.ids[h.n] AND r.version = h.version
                AND (h.n, r.version) NOT IN (SELECT k.n, k.version FROM unnest(of_kept, kept) AS k (n, version))
            RETURNING h.n, length(r.data) AS size)
        SELECT n, count(*) AS number, sum(size) AS size
        FROM (SELECT * FROM within UNION ALL SELECT * FROM among) AS x GROUP BY n
    LOOP
        changed[gone.n] := true;
        records := records + gone.number;
        saved := saved + gone.size;
    END LOOP;
    PERFORM nextval('rstore.place');
    epoch := rstore.epoch();
    WITH rest AS (
        SELECT h.id, h.lives, h.changed, h.moves, l.version, l.recorded
        FROM unnest(s.ids, lives, changed, moves) AS h (id, lives, changed, moves)
        LEFT JOIN LATERAL (
            SELECT r.version, r.recorded FROM rstore.record AS r WHERE r.stream = h.id ORDER BY r.version DESC LIMIT 1
        ) AS l ON true),
    forgotten AS (
        DELETE FROM rstore.stream AS t USING rest AS h WHERE t.id = h.id AND h.version IS NULL AND NOT h.lives)
    UPDATE rstore.stream AS t SET live = h.lives,
        version = CASE WHEN h.moves THEN greatest(t.version, epoch) + 1 ELSE t.version END,
        floor = CASE WHEN h.moves THEN greatest(t.version, epoch) + 1 ELSE t.floor END,
        newest = coalesce(h.version, 0), recorded = coalesce(h.recorded, -9223372036854775808)
    FROM rest AS h WHERE t.id = h.id AND h.changed AND (h.version IS NOT NULL OR h.lives);
END $$;

-- Go on with numbers above a version that another log has given out. If few numbers are missing, they are drawn and
-- passed over: a million takes less than a second. Otherwise a new epoch begins. No writer may be in progress then,
-- since a follower would never see its positions.
CREATE OR REPLACE FUNCTION rstore.pass_over(top bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    missing bigint := top - rstore.epoch() - nextval('rstore.place');
BEGIN
    IF missing > 1000000 THEN
        LOCK TABLE rstore.stream IN EXCLUSIVE MODE;
        UPDATE rstore.about SET epoch = greatest(epoch, (top / 1099511627776 + 1) * 1099511627776);
    ELSIF missing > 0 THEN
        PERFORM nextval('rstore.place') FROM generate_series(1, missing);
    END IF;
END $$;

-- Keep records of other logs. The first arrays have an element for each stream, in order of (kind, key), and those from
-- of_stream on one for each record. top is the greatest version of all that this transaction restores.
CREATE OR REPLACE FUNCTION rstore.restore(
    patience bigint, durable boolean, of_name text, top bigint,
    kinds text[], keys text[], versions bigint[], lives boolean[], dieds bigint[],
    of_stream bigint[], record_versions bigint[], recordeds bigint[], starts bigint[], ends bigint[],
    of_level bigint[], masks bigint[], items text[], ops text[], datas bytea[], metas bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
    epoch bigint;
    own bigint;
    ids bigint[];
    known bigint[];
    txids bigint[];
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    PERFORM rstore.pass_over(top);
    epoch := rstore.epoch();
    own := epoch + pg_current_xact_id()::text::bigint;
    home := rstore.hold_namespace(of_name);
    INSERT INTO rstore.stream AS t (namespace, kind, key, live)
    SELECT home, h.kind, h.key, h.live FROM unnest(kinds, keys, lives) AS h (kind, key, live)
    ON CONFLICT (namespace, kind, key) DO UPDATE SET txid = t.txid WHERE false;
    SELECT array_agg(t.id), array_agg(t.version), array_agg(greatest(t.txid, own)) INTO ids, known, txids
    FROM unnest(kinds, keys) AS h (kind, key) CROSS JOIN LATERAL (
        SELECT * FROM rstore.stream AS x WHERE x.namespace = home AND x.kind = h.kind AND x.key = h.key OFFSET 0) AS t;
    INSERT INTO rstore.record
    SELECT ids[b], e_version, home, txids[b], nextval('rstore.place'), e_recorded, e_start, e_end, e_level,
        e_item, e_op, e_data, e_meta
    FROM unnest(of_stream, record_versions, recordeds, starts, ends, of_level, items, ops, datas, metas)
        AS e (b, e_version, e_recorded, e_start, e_end, e_level, e_item, e_op, e_data, e_meta)
    WHERE e_version > known[b];
    UPDATE rstore.stream AS t SET version = versions[r.b], live = lives[r.b], died = dieds[r.b], txid = txids[r.b],
        floor = CASE WHEN versions[r.b] > known[r.b] THEN versions[r.b] ELSE t.floor END,
        newest = greatest(t.newest, r.newest), recorded = greatest(t.recorded, r.recorded),
        levels = t.levels | coalesce(r.mask, 0), largest = greatest(t.largest, r.size)
    FROM (
        SELECT e.b, max(e.v) AS newest, max(e.m) AS recorded, bit_or(e.l) AS mask, max(length(e.d)) AS size
        FROM (
            SELECT b, v, m, l, d FROM unnest(of_stream, record_versions, recordeds, masks, datas) AS x (b, v, m, l, d)
            WHERE v > known[b]
            UNION ALL SELECT b, NULL, NULL, NULL, NULL FROM generate_subscripts(ids, 1) AS b) AS e
        GROUP BY e.b) AS r
    WHERE t.id = ids[r.b] AND versions[r.b] >= known[r.b];
END $$;

-- Erase a namespace. All that are writing to it are waited for: they hold its row, or the row of a stream.
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

UPDATE rstore.about SET schema_version = 4;
