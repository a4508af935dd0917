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

-- Make a stream, or lock the one that another writer has just made. Its number is drawn after its row is inserted: a
-- transaction that forgot a stream of this name has committed by then.
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

-- Append batches. They come in order of (kind, key), so that two writers can't wait for each other. The first arrays
-- have an element for each batch, and those from of_batch on one for each entry. of_batch is the number of the entry's
-- batch, and nth its number within the batch. goes_on marks one more part of a batch that was begun. If a stream is not
-- at the version that its batch expects, nothing is written. conflict is then the number of the batch, and versions
-- holds the version of the stream.
--
-- A batch without entries may check that there is no stream. It makes the stream too, and deletes it at the end, so
-- that no other writer can make it meanwhile.
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
            RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = conflict || ' ' || versions[1];
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

-- Lock streams, given in order, and return the latest time at which one of their newest records was recorded.
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
        RAISE EXCEPTION USING ERRCODE = 'RS409', MESSAGE = '1 ' || s.version;
    END IF;
    UPDATE rstore.stream AS t SET levels = t.levels | mask,
        largest = greatest(t.largest, (SELECT max(length(d)) FROM unnest(datas) AS d)),
        died = least(t.died, (SELECT min(v) - 1 FROM unnest(versions) AS v))
    WHERE t.id = s.id;
    saved := saved - (SELECT coalesce(sum(length(d)), 0) FROM unnest(datas) AS d);
END $$;

-- Drop the records with low <= version < high, or those listed. The kept ones stay: put() has replaced them. In a
-- stream of which only the last record counts (moves is false) that record stays, whatever the caller saw of the stream
-- before a failover.
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

UPDATE rstore.about SET schema_version = 3;
