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

-- Append one entry, as nearly all writes do. A live stream on the known timeline needs little work. append() does all
-- else, also the first append on another timeline. A conflict is answered here: an UPDATE that waited keeps the lock of a
-- stream that it then passes over. A discard, which has locked the namespace, waits for it; append() would wait for the
-- discard. This circle remains where the stream has died meanwhile: the server ends one of both, which may be repeated.
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
    IF if_live OR expect IS NOT NULL THEN
        version := coalesce((
            SELECT t.version FROM rstore.stream AS t JOIN rstore.namespace AS n ON t.namespace = n.id
            WHERE n.name = of_name AND t.kind = of_kind AND t.key = of_key), 0);
        IF expect <> version THEN
            conflict := 1;
            RETURN;
        ELSIF if_live AND version = 0 THEN
            RETURN;
        END IF;
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
-- too: nobody else can meanwhile, and it is deleted at the end. Nothing else was written before in this transaction,
-- besides earlier parts. So streams that have its id are new, unless their batch goes on.
--
-- New streams begin their versions at a number that is drawn before they are inserted. Meanwhile somebody may have
-- appended to a stream of the same name, and forgotten it. That writer has drawn numbers too: then the versions move on.
-- Rejected: drawing the number afterwards, since each new stream would be written twice.
--
-- Streams that were there are updated by ON CONFLICT too. Rejected: UPDATE ... FROM unnest(...). A session that plans it
-- while there are few streams reads all of them at each call, when there are many.
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
    moved bigint := 0;
    ids bigint[];
    actual bigint[];
    txids bigint[];
    skipped boolean[];
    idle bigint[];
    emptied bigint[];
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    epoch := rstore.epoch();
    own := epoch + pg_current_xact_id()::text::bigint;
    base := epoch + nextval('rstore.place');
    INSERT INTO rstore.stream AS t (
        namespace, kind, key, version, floor, newest, died, live, recorded, levels, largest, txid)
    SELECT home, b.kind, b.key, base + b.count, CASE WHEN b.is_replaced THEN base + b.count ELSE base END,
        CASE WHEN b.count > 0 THEN base + b.count ELSE 0 END, CASE WHEN b.lives THEN 0 ELSE base + b.count END,
        b.lives, CASE WHEN b.count > 0 THEN at ELSE -9223372036854775808 END, b.mask, b.size, own
    FROM unnest(kinds, keys, lives, replaced, if_live, goes_on, masks, counts, sizes)
        AS b (kind, key, lives, is_replaced, if_live, goes_on, mask, count, size)
    WHERE NOT (b.if_live AND b.goes_on)
    ON CONFLICT (namespace, kind, key) DO UPDATE SET txid = t.txid WHERE false;  -- only locks it
    GET DIAGNOSTICS made = ROW_COUNT;
    IF made > 0 THEN
        moved := epoch + nextval('rstore.place') - base - 1;  -- 0: nobody has drawn a number meanwhile
    END IF;
    SELECT array_agg(s.id), array_agg(s.actual), array_agg(greatest(s.txid, own)), array_agg(s.is_skipped),
        array_agg(CASE WHEN s.is_skipped THEN s.actual WHEN s.is_new THEN s.version + moved
            ELSE greatest(s.version, epoch) + s.count END),
        greatest(at, max(s.recorded)), min(s.n) FILTER (WHERE s.expect <> s.actual),
        array_agg(s.id) FILTER (WHERE s.is_skipped AND s.is_new),
        array_agg(s.id) FILTER (WHERE s.is_replaced AND NOT s.is_skipped AND NOT s.is_new AND NOT s.goes_on)
    INTO ids, actual, txids, skipped, versions, moment, conflict, idle, emptied
    FROM (
        SELECT b.n, b.expect, b.is_replaced, b.goes_on, b.count, t.id, t.version, t.recorded, t.txid, t.is_new,
            CASE WHEN t.is_new THEN 0 ELSE coalesce(t.version, 0) END AS actual,
            b.if_live AND (b.count = 0 OR t.is_new OR t.live IS NOT TRUE) AS is_skipped
        FROM unnest(kinds, keys, expects, replaced, if_live, goes_on, counts) WITH ORDINALITY
            AS b (kind, key, expect, is_replaced, if_live, goes_on, count, n)
        LEFT JOIN LATERAL (
            SELECT x.*, x.txid = own AND NOT b.goes_on AS is_new FROM rstore.stream AS x
            WHERE x.namespace = home AND x.kind = b.kind AND x.key = b.key OFFSET 0) AS t ON true) AS s;
    IF conflict IS NOT NULL THEN
        versions := ARRAY[actual[conflict]];
        IF made > 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = conflict || ' ' || versions[1];
        END IF;
        RETURN;
    END IF;
    IF made < cardinality(kinds) OR moved > 0 OR moment > at THEN
        INSERT INTO rstore.stream AS t (
            id, namespace, kind, key, version, floor, newest, died, live, recorded, levels, largest, txid)
        OVERRIDING SYSTEM VALUE
        SELECT h.id, home, h.kind, h.key, h.version,
            CASE WHEN h.is_replaced THEN h.version WHEN h.actual = 0 THEN h.version - h.count ELSE 0 END,
            CASE WHEN h.count > 0 THEN h.version ELSE 0 END, CASE WHEN h.lives THEN 0 ELSE h.version END,
            h.lives, CASE WHEN h.count > 0 THEN moment ELSE -9223372036854775808 END, h.mask, h.size, h.txid
        FROM unnest(ids, kinds, keys, actual, versions, skipped, lives, replaced, masks, counts, sizes, txids)
            AS h (id, kind, key, actual, version, is_skipped, lives, is_replaced, mask, count, size, txid)
        WHERE NOT h.is_skipped AND (h.actual > 0 OR moved > 0 OR moment > at)
        ON CONFLICT (id) DO UPDATE SET version = excluded.version, floor = greatest(t.floor, excluded.floor),
            newest = CASE WHEN excluded.floor = excluded.version THEN excluded.newest
                ELSE greatest(t.newest, excluded.newest) END,
            died = greatest(t.died, excluded.died), live = excluded.live,
            recorded = CASE WHEN excluded.floor = excluded.version THEN excluded.recorded
                ELSE greatest(t.recorded, excluded.recorded) END,
            levels = t.levels | excluded.levels, largest = greatest(t.largest, excluded.largest),
            txid = excluded.txid;
    END IF;
    IF emptied IS NOT NULL THEN
        DELETE FROM rstore.record AS r WHERE r.stream = ANY (emptied);
    END IF;
    INSERT INTO rstore.record
    SELECT ids[b], versions[b] - counts[b] + n, home, txids[b], nextval('rstore.place'), moment, e_start, e_end,
        e_level, e_item, e_op, e_data, e_meta
    FROM unnest(of_batch, nth, starts, ends, of_level, items, ops, datas, metas)
        AS e (b, n, e_start, e_end, e_level, e_item, e_op, e_data, e_meta)
    WHERE NOT skipped[b];
    IF idle IS NOT NULL THEN
        DELETE FROM rstore.stream AS t WHERE t.id = ANY (idle);
    END IF;
END $$;

-- Record all that this transaction has appended at another time: its last part met a later record than its first ones.
CREATE OR REPLACE FUNCTION rstore.redate(of_name text, moment bigint) RETURNS void
LANGUAGE sql AS $$
    WITH dated AS (
        UPDATE rstore.record AS r SET recorded = moment
        WHERE r.namespace = (SELECT n.id FROM rstore.namespace AS n WHERE n.name = of_name)
            AND r.txid >= (
                SELECT a.epoch + pg_current_xact_id()::text::bigint FROM rstore.about AS a) AND r.xmin = pg_current_xact_id()::xid
        RETURNING r.stream)
    UPDATE rstore.stream AS t SET recorded = moment WHERE t.id = ANY (ARRAY(SELECT d.stream FROM dated AS d))
$$;

-- Put records in the place of those with the same stream and versions. head is the version of the stream and floor its
-- floor, both 0 without a stream. If they are not as expected, nothing is written. Nor is anything written if a record
-- to be replaced is missing: the caller read it before a failover that lost it.
CREATE OR REPLACE FUNCTION rstore.put(
    patience bigint, durable boolean, of_name text, of_kind text, of_key text, expect bigint, expect_floor bigint,
    mask bigint, versions bigint[], recordeds bigint[], starts bigint[], ends bigint[], of_level bigint[],
    items text[], ops text[], datas bytea[], metas bytea[],
    OUT head bigint, OUT floor bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
    s rstore.stream;
    found bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    SELECT * INTO s FROM rstore.stream AS t WHERE t.namespace = home AND t.kind = of_kind AND t.key = of_key FOR UPDATE;
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
        RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = '1 ' || s.version;
    END IF;
    UPDATE rstore.stream AS t SET levels = t.levels | mask,
        largest = greatest(t.largest, (SELECT max(length(d)) FROM unnest(datas) AS d)),
        died = least(t.died, (SELECT min(v) - 1 FROM unnest(versions) AS v))
    WHERE t.id = s.id;
    saved := saved - (SELECT coalesce(sum(length(d)), 0) FROM unnest(datas) AS d);
END $$;

-- Rewrite streams, given in order: drop their records with low <= version < high. If there is one stream, those listed
-- are dropped instead, unless that is NULL; and the kept ones stay: put() has replaced them. In a stream of which only
-- the last record counts (moves is false) that record stays, whatever the caller saw of the stream before a failover.
-- The first stream that is not as expected is the conflict, at version head with this floor: then roll back.
CREATE OR REPLACE FUNCTION rstore.rewrite(
    patience bigint, durable boolean, of_name text, kinds text[], keys text[], expects bigint[], expect_floors bigint[],
    lows bigint[], highs bigint[], all_live boolean[], all_move boolean[], listed bigint[], kept bigint[],
    OUT conflict bigint, OUT head bigint, OUT floor bigint, OUT records bigint, OUT saved bigint
) LANGUAGE plpgsql AS $$
DECLARE
    home bigint;
    s rstore.stream;
    last rstore.record;
    high bigint;
    lives boolean;
    moved bigint;
    number bigint;
    size bigint;
BEGIN
    PERFORM rstore.begin_write(patience, durable);
    home := rstore.hold_namespace(of_name);
    records := 0;
    saved := 0;
    FOR i IN 1 .. cardinality(kinds) LOOP
        SELECT * INTO s FROM rstore.stream AS t WHERE t.namespace = home AND t.kind = kinds[i] AND t.key = keys[i]
        FOR UPDATE;
        head := coalesce(s.version, 0);
        floor := coalesce(s.floor, 0);
        IF expects[i] <> head OR expect_floors[i] <> floor THEN
            conflict := i;
            RETURN;
        END IF;
        CONTINUE WHEN s.id IS NULL;
        IF listed IS NULL THEN
            high := CASE WHEN all_move[i] THEN highs[i] ELSE least(highs[i], s.newest) END;
            WITH gone AS (
                DELETE FROM rstore.record AS r WHERE r.stream = s.id AND r.version >= lows[i] AND r.version < high
                    AND r.version NOT IN (SELECT v FROM unnest(kept) AS v)
                RETURNING length(r.data) AS size)
            SELECT count(*), coalesce(sum(g.size), 0) INTO number, size FROM gone AS g;
        ELSE
            WITH gone AS (
                DELETE FROM rstore.record AS r WHERE r.stream = s.id AND r.version = ANY (listed)
                    AND r.version NOT IN (SELECT v FROM unnest(kept) AS v)
                RETURNING length(r.data) AS size)
            SELECT count(*), coalesce(sum(g.size), 0) INTO number, size FROM gone AS g;
        END IF;
        SELECT * INTO last FROM rstore.record AS r WHERE r.stream = s.id ORDER BY r.version DESC LIMIT 1;
        lives := coalesce(all_live[i], s.live);
        IF last.version IS NULL AND NOT lives THEN
            PERFORM nextval('rstore.place');
            DELETE FROM rstore.stream AS t WHERE t.id = s.id;
        ELSIF number > 0 OR cardinality(kept) > 0 OR lives <> s.live THEN
            PERFORM nextval('rstore.place');
            moved := greatest(s.version, rstore.epoch()) + 1;
            UPDATE rstore.stream AS t SET live = lives, version = CASE WHEN all_move[i] THEN moved ELSE s.version END,
                floor = CASE WHEN all_move[i] THEN moved ELSE s.floor END,
                newest = coalesce(last.version, 0), recorded = coalesce(last.recorded, -9223372036854775808)
            WHERE t.id = s.id;
        END IF;
        records := records + number;
        saved := saved + size;
    END LOOP;
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
    INSERT INTO rstore.stream AS t (
        id, namespace, kind, key, version, floor, newest, died, live, recorded, levels, largest, txid)
    OVERRIDING SYSTEM VALUE
    SELECT ids[r.b], home, kinds[r.b], keys[r.b], versions[r.b],
        CASE WHEN versions[r.b] > known[r.b] THEN versions[r.b] ELSE 0 END, r.newest, dieds[r.b], lives[r.b],
        r.recorded, r.mask, r.size, txids[r.b]
    FROM (
        SELECT e.b, max(e.v) AS newest, max(e.m) AS recorded, bit_or(e.l) AS mask, max(length(e.d)) AS size
        FROM (
            SELECT b, v, m, l, d FROM unnest(of_stream, record_versions, recordeds, masks, datas) AS x (b, v, m, l, d)
            WHERE v > known[b]
            UNION ALL SELECT b, 0, -9223372036854775808, 0, '' FROM generate_subscripts(ids, 1) AS b) AS e
        GROUP BY e.b) AS r
    WHERE versions[r.b] >= known[r.b]
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, floor = greatest(t.floor, excluded.floor),
        newest = greatest(t.newest, excluded.newest), died = excluded.died, live = excluded.live,
        recorded = greatest(t.recorded, excluded.recorded), levels = t.levels | excluded.levels,
        largest = greatest(t.largest, excluded.largest), txid = excluded.txid;
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
