"""The log in PostgreSQL: its statements, and what each of them is for.

Connections are in :mod:`rstore.adapters.postgresql.pool`, addresses and errors in
:mod:`rstore.adapters.postgresql.server`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from rstore.adapters.postgresql.batching import (
    CHUNK_BYTES,
    Chunk,
    checked_size,
    chunked,
    copies_to_restore,
    records_to_put,
)
from rstore.adapters.postgresql.pool import PostgresqlPool
from rstore.adapters.postgresql.server import Connection, Row, Server
from rstore.adapters.postgresql.statements import CONFLICT, EPOCH_STEP
from rstore.domain.checkpoints import dotted, undotted
from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import (
    EVERYTHING,
    PRESENT,
    Batch,
    Copy,
    Entry,
    Head,
    Position,
    Query,
    Reclaimed,
    Record,
    Replay,
    ReplayQuery,
    Rewrite,
)
from rstore.domain.operators import DELITEM
from rstore.domain.rules import check_expected, folded_version, head_then, merged_copies
from rstore.domain.spans import TIME_MAX, TIME_MIN, bit, level_of, ranges
from rstore.domain.streams import KV, SS, Stream
from rstore.domain.waiting import wait_for_change

__all__ = ["PostgresqlLog", "Server"]

_PAGE: Final = 256
_NEAR: Final = 512  # versions: to look at as many takes no longer than to bisect
_IDS: Final = 16_384
_LOOK_SECONDS: Final = (0.004, 0.016)

_COLUMNS: Final = 'version, txid, place, recorded, start, "end", item, op, data, meta'
_OF_R: Final = ", ".join(f"r.{column}" for column in _COLUMNS.split(", "))

_STREAM: Final = """rstore.stream AS s
    WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND s.kind = %s AND s.key = %s"""


def _call(function: str, types: str) -> str:
    """Return the statement that calls a function of the schema, with a parameter of each of these types."""
    return f"SELECT * FROM rstore.{function}({', '.join(f'%s::{of_type}' for of_type in types.split())})"


_TERMS: Final = "bigint boolean text "
_ONE_STREAM: Final = _TERMS + "text text bigint bigint "

_APPEND_ONE: Final = _call(
    "append_one",
    _TERMS + "text text bigint boolean boolean boolean bigint bigint bigint bigint bigint text text bytea bytea",
)
_APPEND: Final = _call(
    "append",
    _TERMS + "text[] text[] bigint[] bigint[] boolean[] boolean[] boolean[] boolean[] bigint[] bigint[] bigint[] "
    "bigint[] bigint[] bigint[] bigint[] bigint[] text[] text[] bytea[] bytea[]",
)
_LATEST: Final = _call("latest", _TERMS + "text[] text[]")
_PUT: Final = _call(
    "put", _ONE_STREAM + "bigint bigint[] bigint[] bigint[] bigint[] bigint[] text[] text[] bytea[] bytea[]"
)
_REWRITE: Final = _call("rewrite", _ONE_STREAM + "bigint bigint bigint[] bigint[] boolean boolean")
_RESTORE: Final = _call(
    "restore",
    _TERMS + "bigint text[] text[] bigint[] boolean[] bigint[] bigint[] bigint[] bigint[] bigint[] bigint[] bigint[] "
    "bigint[] text[] text[] bytea[] bytea[]",
)
_DISCARD: Final = _call("discard", _TERMS)

_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# A vacuum that is running already does the same.
_VACUUM: Final = "VACUUM (SKIP_LOCKED) rstore.stream, rstore.record"

# Of a stream that was written to since a time, the version of the newest record by then: that is nearly always among
# the newest ones.
_NEAR_VERSION: Final = f"""
    (SELECT max(version) FROM rstore.record
    WHERE stream = s.id AND version > s.newest - {_NEAR} AND recorded <= %(until)s)"""

# If not, it is between the oldest and those: half of what is between two bounds is left by each look at the record
# below the middle. An index on times would cost every append.
_FAR_VERSION: Final = """
    (WITH RECURSIVE bounds (low, high) AS (
        SELECT (SELECT min(version) FROM rstore.record WHERE stream = s.id), s.newest
        UNION ALL
        SELECT CASE WHEN m.recorded <= %(until)s THEN middle ELSE low END,
            CASE WHEN m.recorded <= %(until)s THEN high ELSE m.version END
        FROM bounds CROSS JOIN LATERAL (SELECT (low + high) / 2) AS halves (middle)
        CROSS JOIN LATERAL (
            SELECT version, recorded FROM rstore.record WHERE stream = s.id AND version <= middle
            ORDER BY version DESC LIMIT 1) AS m
        WHERE high - low > 1)
    SELECT version FROM rstore.record
    WHERE stream = s.id AND version <= (SELECT max(low) FROM bounds) AND recorded <= %(until)s
    ORDER BY version DESC LIMIT 1)"""
_EARLIER: Final = f"coalesce({_NEAR_VERSION}, {_FAR_VERSION})"

# Of each stream that is selected, the newest record, or the newest that was recorded up to a time; or that only if it
# is near, which saves the server half of the work of getting ready.
_NEWEST: Final = "r.version = s.newest"
_UNTIL: Final = f"r.version = CASE WHEN s.recorded <= %(until)s THEN s.newest ELSE {_EARLIER} END"
_NEARLY: Final = f"r.version = CASE WHEN s.recorded <= %(until)s THEN s.newest ELSE {_NEAR_VERSION} END"


def _each_way(sql: str) -> dict[str, str]:
    """Return a statement for each of these."""
    return {which: sql.format(which=which) for which in (_NEWEST, _UNTIL, _NEARLY)}


_LAST: Final = _each_way(f"""
SELECT {_OF_R}, s.id, s.namespace FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
    AND s.kind = %(kind)s AND s.key = %(key)s""")

# The rest is looked at too: a schema that was dropped and made anew uses its ids again.
_LAST_OF_ID: Final = _each_way(f"""
SELECT {_OF_R} FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
WHERE s.id = %(id)s AND s.namespace = %(home)s AND s.kind = %(kind)s AND s.key = %(key)s""")

# LATERAL and OFFSET: they are looked up one by one. The planner might rather list all streams, and search for each.
_LAST_OF_MANY: Final = _each_way(f"""
SELECT asked.nth, r.* FROM unnest(%(kinds)s::text[], %(keys)s::text[]) WITH ORDINALITY AS asked (kind, key, nth)
CROSS JOIN LATERAL (
    SELECT {_OF_R} FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
    WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
        AND s.kind = asked.kind AND s.key = asked.key
    OFFSET 0) AS r""")

# As many, from the first one on, as have some size together. The length of what is kept apart is kept with it.
_LAST_WITHIN: Final = _each_way(f"""
SELECT {_COLUMNS} FROM (
    SELECT asked.nth, r.*, sum(coalesce(octet_length(r.data), 0) + coalesce(octet_length(r.meta), 0))
        OVER (ORDER BY asked.nth ROWS UNBOUNDED PRECEDING) AS size
    FROM unnest(%(kinds)s::text[], %(keys)s::text[]) WITH ORDINALITY AS asked (kind, key, nth)
    LEFT JOIN LATERAL (
        SELECT {_OF_R} FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
        WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
            AND s.kind = asked.kind AND s.key = asked.key
        OFFSET 0) AS r ON true) AS page
WHERE nth = 1 OR size <= %(room)s ORDER BY nth""")

_HEAD: Final = f"SELECT s.version, s.floor, s.live, s.died FROM {_STREAM}"

# Where its records are, and how large they may be.
_PLACES: Final = f"SELECT s.id, s.levels, s.died, s.largest FROM {_STREAM}"

# All in one statement, and so in one snapshot. The tail is found by version: after that which is given, or that up to
# which the snapshot has folded. A snapshot that does not say so is damaged: what follows is not read. If there is no
# record of the version that is given, a failover lost it, and what was folded up to it is of no use: the floor says so.
_REPLAY: Final = f"""
WITH s AS (SELECT s.id, s.version, s.live, s.died, CASE
        WHEN %s::bigint BETWEEN s.floor + 1 AND s.version - 1 AND NOT EXISTS (
            SELECT FROM rstore.record AS r WHERE r.stream = s.id AND r.version = %s)
        THEN s.version ELSE s.floor END AS floor
    FROM {_STREAM}),
snapshot AS (
    SELECT r.* FROM rstore.record AS r WHERE r.stream = (SELECT s.id FROM {_STREAM}) AND r.level = 0 AND r.start <= %s
        AND r.recorded <= %s
    ORDER BY r.start DESC, r.version DESC LIMIT 1),
folded AS (
    SELECT coalesce(%s::bigint, (
        SELECT CASE WHEN item ~ '^[0-9]{{1,18}}$' THEN item::bigint ELSE {TIME_MAX} END FROM snapshot), 0) AS version)
SELECT s.version AS head, s.floor, s.live, s.died, 0 AS part, {_OF_R}
FROM s LEFT JOIN snapshot AS r ON %s::bigint IS NULL
UNION ALL
SELECT s.version, s.floor, s.live, s.died, 1, {_OF_R} FROM s JOIN rstore.record AS r ON r.stream = s.id
WHERE r.version > (SELECT version FROM folded) AND r.start <= %s AND r.recorded <= %s
ORDER BY part, start, version"""

_HEADS: Final = """
SELECT key, version, floor, live, died FROM rstore.stream
WHERE namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND kind = %s AND key {above} %s {live}
ORDER BY key LIMIT %s"""

_HEAD_THEN: Final = _each_way("""
SELECT r.version, r.op FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {which}
WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
    AND s.kind = %(kind)s AND s.key = %(key)s""")

# Who was not written to since need not be looked up: whether it lives tells its last operator.
_HEADS_THEN: Final = f"""
SELECT s.key, coalesce(r.version, s.newest), coalesce(r.op, CASE WHEN s.live THEN '' ELSE '{DELITEM}' END)
FROM rstore.stream AS s LEFT JOIN LATERAL (
    SELECT version, op FROM rstore.record
    WHERE stream = s.id AND version = CASE WHEN s.recorded > %(until)s THEN {_EARLIER} END) AS r ON true
WHERE s.newest > 0 AND (s.recorded <= %(until)s OR r.version IS NOT NULL)
    AND s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
    AND s.kind = %(kind)s AND s.key {{above}} %(low)s
ORDER BY s.key LIMIT %(size)s"""

_COUNT: Final = """
SELECT count(*) FROM rstore.stream
WHERE namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND kind = %s AND live"""

_NAMESPACES: Final = "SELECT name FROM rstore.namespace ORDER BY name"

# Transactions below this one have all come to their end. Those in progress count, but for those that are known not to
# write to the log: writers have locked the table of streams before they got their id, and hold it to their end. So
# others, however long, do not hold a follower up; nor does ANALYZE or VACUUM, which lock it in a way of their own. Who
# is not yet known by its id counts too: it is in the snapshot a moment before its lock is in the table of locks. A
# standby knows neither the locks of its primary nor has a list of what is in progress there: all count. Where nobody
# has written since the log was brought here from another server, all that there is counts, and nothing of the epoch
# that the first writer will begin.
_HORIZON: Final = f"""
SELECT CASE
    WHEN a.system <> c.system_identifier THEN a.epoch + {EPOCH_STEP}
    WHEN pg_is_in_recovery() THEN a.epoch + pg_snapshot_xmin(now)::text::bigint
    ELSE a.epoch + coalesce((
        SELECT min(running::text::bigint) FROM pg_snapshot_xip(now) AS running
        WHERE (running::text::bigint & 4294967295) NOT IN (
            SELECT x.transactionid::text::bigint FROM pg_locks AS x
            WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted AND NOT EXISTS (
                SELECT FROM pg_locks AS w
                WHERE w.virtualtransaction = x.virtualtransaction AND w.relation = 'rstore.stream'::regclass
                    AND w.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
                    AND w.database = (SELECT oid FROM pg_database WHERE datname = current_database())))),
        pg_snapshot_xmax(now)::text::bigint) END
FROM rstore.about AS a, pg_control_system() AS c, pg_current_snapshot() AS now"""

# Who has not written has not committed: the cheapest way to see that there is nothing new, on a standby too. What was
# written before that, and is committed only now, is not seen by it.
_END_OF_WAL: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text"""

# As many records as are some megabytes together: how large they are is known without reading what is kept apart. Their
# streams are looked up one by one, as above.
_FOLLOW: Final = f"""
SELECT s.kind, s.key, {_OF_R} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY txid, place ROWS UNBOUNDED PRECEDING) - octet_length(data)
        AS before
    FROM (
        SELECT * FROM rstore.record
        WHERE namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND (txid, place) > (%s, %s) AND txid < %s
        ORDER BY txid, place LIMIT %s) AS page) AS r
CROSS JOIN LATERAL (SELECT kind, key FROM rstore.stream WHERE id = r.stream OFFSET 0) AS s
WHERE r.before < {CHUNK_BYTES} ORDER BY r.txid, r.place"""

_Parts: TypeAlias = list[tuple[str, tuple[int, ...]]]
"""For each part of a compound SELECT its condition, and the values of that."""

_Select: TypeAlias = Callable[[int, int, int], tuple[str, list[Any]]]
"""Makes a statement and its values for the stream with an id, a mask of levels and the version where it last died."""


class Place(NamedTuple):
    """The position of a record: the transaction that it counts to, and its place in the order of all records."""

    txid: int
    place: int


class PostgresqlLog:
    """A namespace in the schema ``rstore`` of a PostgreSQL database."""

    instead_of_backup: Final = (
        "is backed up by pg_dump --schema=rstore; or by 'rstore copy', which makes a SQLite file of a namespace"
    )

    def __init__(self, server: Server, namespace: str, frozen: bool) -> None:
        self._server, self._namespace = server, namespace
        self._ids: dict[Stream, Row] = {}
        # a failover may have lost those that gave out the last ids, and a failover is what ends connections
        self._pool = PostgresqlPool(server, namespace, frozen, self._ids.clear)

    @property
    def name(self) -> str:
        return self._server.name

    def open(self) -> None:
        self._ids.clear()
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    def _terms(self) -> tuple[int, bool, str]:
        """Return what every write begins with: how long it waits, how it is kept, and in which namespace."""
        return self._server.patience, self._server.durable, self._namespace

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        self._pool.check_open()
        if len(batches) == 1 and isinstance(batches[0].entries, list | tuple) and len(batches[0].entries) == 1:
            return [self._append_one(batches[0], batches[0].entries[0])]
        # writers that lock streams in the same order can't wait for each other
        chunks = chunked(sorted(batches, key=lambda batch: batch.stream))
        first, second = next(chunks, None), next(chunks, None)
        found: dict[Stream, int] = {}
        if first is None:
            return []
        with self._pool.lease(wrote=True) as db:
            if second is None:
                found = self._append_chunk(db, first)
            else:
                with db.transaction():
                    moment = self._latest(db, batches)
                    for chunk in chain((first, second), chunks):
                        found |= self._append_chunk(db, chunk.recorded_at(moment))
        return [found[batch.stream] for batch in batches]

    def _append_one(self, batch: Batch, entry: Entry) -> int:
        stream, _, recorded, expect, live, replace, if_live = batch
        start, end, *rest = entry
        of_level = level_of(stream, start, end)
        times = (recorded, start, end, of_level, bit(of_level))
        checked_size(entry)
        with self._pool.lease(wrote=True) as db:
            values = (*self._terms(), *stream, expect, live, replace, if_live, *times, *rest)
            version, conflict = _called(db, _APPEND_ONE, values, [batch])
        if conflict is not None:
            check_expected(batch, version, 0)
        return int(version)

    def _latest(self, db: Connection, batches: Sequence[Batch]) -> int:
        """Lock the streams of batches, and return when all of them are recorded: none earlier than what is there."""
        streams = sorted(batch.stream for batch in batches)
        names = [stream.kind for stream in streams], [stream.key for stream in streams]
        ((moment,),) = db.rows(_LATEST, (*self._terms(), *names))
        times = [batch.recorded for batch in batches]
        return max(times if moment is None else [*times, moment])

    def _append_chunk(self, db: Connection, chunk: Chunk) -> dict[Stream, int]:
        batches = [part.batch for part in chunk.parts]
        versions, conflict = _called(db, _APPEND, (*self._terms(), *chunk.values()), batches)
        if conflict is not None:
            check_expected(batches[conflict - 1], versions[0], 0)
        return {batch.stream: version for batch, version in zip(batches, versions, strict=True)}

    def restore(self, copies: Sequence[Copy]) -> None:
        heads, _ = merged_copies(copies)
        top = max((copy.version for copy in heads.values()), default=0)
        with self._pool.lease(wrote=True) as db, db.transaction():
            for values in copies_to_restore(copies):
                db.execute(_RESTORE, (*self._terms(), top, *values))

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        start, end, item, ops, until, after, _, reverse, limit = query
        if ops is not None and not ops:
            return
        filters: dict[str, Any] = {"item = %s": item, "recorded <= %s": until, "op = ANY(%s)": ops and list(ops)}

        def select(number: int, levels: int, died: int) -> tuple[str, list[Any]]:
            along_versions = stream.kind == KV or after > 0
            parts = _by_version(number, start, end) if along_versions else _by_span(number, levels, start, end)
            return _select(parts, {**filters, "version > %s": query.above(died)}, reverse=reverse, limit=limit)

        for page in self._pages(stream, select):
            for row in page:
                yield _record(row)
                self._pool.check_open()

    def _pages(self, stream: Stream, select: _Select) -> Iterator[list[Row]]:
        """Yield the rows of a statement that is made for a stream, page by page, all as they were at the first."""
        process = os.getpid()
        with self._pool.lease() as db:
            with db.pipeline():
                db.execute(_BEGIN_READ)
                answer = db.execute(_PLACES, (self._namespace, *stream), binary=True)
            found = answer.fetchone()
            if found is None:
                return
            *place, largest = found
            size = max(1, min(_PAGE, CHUNK_BYTES // (largest + 1)))
            sql, values = select(*place)
            with db.pipeline():
                db.execute(f"DECLARE rstore NO SCROLL CURSOR FOR {sql}", values)
                fetched = db.execute(f"FETCH {size} FROM rstore", binary=True)
            while len(page := fetched.fetchall()) == size:
                yield page
                if os.getpid() != process:
                    raise StoreError("an iterator that was begun before a fork can't be read after it, in the child")
                fetched = db.execute(f"FETCH {size} FROM rstore", binary=True)
        yield page  # the last one needs no connection any more

    def replay(self, stream: Stream, query: ReplayQuery = PRESENT) -> Replay | None:
        end, horizon, after, until = query
        recorded = TIME_MAX if until is None else until
        place = (self._namespace, *stream)
        snapshots = (self._namespace, SS, stream.key, min(end, horizon), recorded)
        with self._pool.lease() as db:
            rows = db.rows(_REPLAY, (after, after, *place, *snapshots, after, after, end, recorded))
        if not rows:
            return None
        (version, floor, live, died, _, *first), *rest = rows
        snapshot = None if first[0] is None else _record(first)
        folded_version(snapshot)
        return Replay(Head(stream, version, floor, live, died), snapshot, [_record(row[5:]) for row in rest])

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        which = _NEWEST if until is None else _UNTIL
        with self._pool.lease() as db:
            if len(streams) == 1:
                return [self._last(db, streams[0], until)]
            kinds, keys = [stream.kind for stream in streams], [stream.key for stream in streams]
            values = {"kinds": kinds, "keys": keys, "namespace": self._namespace, "until": until}
            if room is not None:
                rows = db.rows(_LAST_WITHIN[which], {**values, "room": room})
                return [None if row[0] is None else _record(row) for row in rows]
            rows = db.rows(_LAST_OF_MANY[which], values)
        found = {nth: _record(row) for nth, *row in rows}
        return [found.get(nth) for nth in range(1, len(streams) + 1)]

    def _last(self, db: Connection, stream: Stream, until: int | None) -> Record | None:
        """Return the newest record: the most frequent read of all, and faster if the stream's id is known.

        An id is never used again: that of a stream that is gone leads to nothing.
        """
        near, far = (_NEWEST, _NEWEST) if until is None else (_NEARLY, _UNTIL)
        known, rows = self._ids.get(stream), []
        values = {"kind": stream.kind, "key": stream.key, "until": until}
        if known is not None:
            rows = db.rows(_LAST_OF_ID[near], {"id": known[0], "home": known[1], **values})
        if not rows:
            rows = db.rows(_LAST[far], {"namespace": self._namespace, **values})
            if not rows:
                return None
            if len(self._ids) >= _IDS:
                self._ids.clear()
            self._ids[stream] = rows[0][-2:]
        return _record(rows[0][:10])

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        if until is not None:
            return self._head_then(stream, until)
        with self._pool.lease() as db:
            rows = db.rows(_HEAD, (self._namespace, *stream))
        return Head(stream, *rows[0]) if rows else None

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        above, low = (">", after) if after is not None and after >= prefix else (">=", prefix)
        while True:
            if until is None:
                page = self._page(above, kind, low, live=live)
            else:
                page = self._page_then(above, kind, low, until, _PAGE)
            for head in page:
                if not head.stream.key.startswith(prefix):
                    return
                if head.live or not live:
                    yield head
                    self._pool.check_open()
            if len(page) < _PAGE:
                return
            above, low = ">", page[-1].stream.key

    def _head_then(self, stream: Stream, until: int) -> Head | None:
        values = {"namespace": self._namespace, "kind": stream.kind, "key": stream.key, "until": until}
        with self._pool.lease() as db:
            rows = db.rows(_HEAD_THEN[_NEARLY], values) or db.rows(_HEAD_THEN[_UNTIL], values)
        return head_then(stream, *rows[0]) if rows else None

    def _page(self, above: str, kind: str, low: str, *, live: bool) -> list[Head]:
        sql = _HEADS.format(above=above, live="AND live" if live else "")
        with self._pool.lease() as db:
            rows = db.rows(sql, (self._namespace, kind, low, _PAGE))
        return [Head(Stream(kind, key), *head) for key, *head in rows]

    def _page_then(self, above: str, kind: str, low: str, until: int, size: int) -> list[Head]:
        values = {"namespace": self._namespace, "kind": kind, "low": low, "until": until, "size": size}
        with self._pool.lease() as db:
            rows = db.rows(_HEADS_THEN.format(above=above), values)
        return [head_then(Stream(kind, key), version, op) for key, version, op in rows]

    def count(self, kind: str) -> int:
        with self._pool.lease() as db:
            rows = db.rows(_COUNT, (self._namespace, kind))
        return int(rows[0][0])

    def namespaces(self) -> list[str]:
        with self._pool.lease() as db:
            return [name for (name,) in db.rows(_NAMESPACES)]

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        place = Place(TIME_MIN, 0) if after is None else _place(after)
        with self._pool.lease() as db:
            horizon = db.rows(_HORIZON)
        size = 1
        while horizon:
            with self._pool.lease() as db:
                rows = db.rows(_FOLLOW, (self._namespace, *place, *horizon[0], size))
            for kind, key, *row in rows:
                record = _record(row)
                place = _place(record.position)
                yield place, Stream(kind, key), record
                self._pool.check_open()
            if len(rows) < size and sum(len(row[-2]) for row in rows) < CHUNK_BYTES:
                return
            size = min(2 * size, _PAGE)

    def wait(self, after: Position | None, seconds: float) -> bool:
        return wait_for_change(self._end_of_wal, partial(self.follow, after), time.sleep, seconds, *_LOOK_SECONDS)

    def _end_of_wal(self) -> str:
        with self._pool.lease() as db:
            return str(db.rows(_END_OF_WAL)[0][0])

    def checkpoint(self, position: Position) -> str:
        return dotted(_place(position))

    def position(self, checkpoint: str) -> Position:
        return Place(*undotted(checkpoint, 2))

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        self._pool.check_open()
        saved = Reclaimed(0, 0)
        if not rewrites:
            return saved
        in_order = sorted(rewrites, key=lambda rewrite: rewrite.stream)
        with self._pool.lease(wrote=True) as db, db.transaction():
            # what has nothing to put is sent together
            for _, group in groupby(in_order, key=lambda rewrite: rewrite.put == () or id(rewrite)):
                saved = saved.plus(self._rewrite(db, list(group)))
        return saved

    def _rewrite(self, db: Connection, rewrites: list[Rewrite]) -> Reclaimed:
        values, less = [], 0
        for rewrite in rewrites:
            stream, expect, drop, put, live, moves, expect_floor = rewrite
            place = (*self._terms(), *stream, expect, expect_floor)
            kept: list[int] = []
            for versions, columns in records_to_put(stream, put):
                head, floor, freed = _called(db, _PUT, (*place, *columns), [rewrite])
                check_expected(rewrite, head, floor)
                kept += versions
                less += freed
            values.append((*place, *_among(drop), kept, live, moves))
        saved = Reclaimed(0, less)
        for rewrite, (head, floor, records, freed) in zip(rewrites, db.rows_of_each(_REWRITE, values), strict=True):
            check_expected(rewrite, head, floor)
            saved = saved.plus(Reclaimed(records, freed))
        return saved

    def vacuum(self) -> None:
        with self._pool.lease() as db:
            db.execute(_VACUUM)

    def discard(self) -> None:
        with self._pool.lease(wrote=True) as db:
            db.execute(_DISCARD, self._terms())


def _called(db: Connection, sql: str, values: Iterable[Any], writes: Sequence[Batch | Rewrite]) -> Row:
    """Call a function that writes, and return its row."""
    try:
        return db.rows(sql, tuple(values))[0]
    except psycopg.Error as exc:
        if exc.sqlstate != CONFLICT:
            raise
        number, version = map(int, (exc.diag.message_primary or "").split())
        write = writes[number - 1]
        raise StoreConflictError(*write.stream, write.expect or 0, version) from None


def _among(versions: Collection[int]) -> tuple[int | None, int | None, list[int] | None]:
    """Return versions as what ``rstore.rewrite`` takes: the lowest and the one after the highest, or all of them."""
    if isinstance(versions, range) and versions.step == 1:
        return versions.start, versions.stop, None
    return None, None, list(versions)


def _by_version(number: int, start: int, end: int) -> _Parts:
    """Select along the versions: values of a key, and tails."""
    return [('WHERE stream = %s AND start <= %s AND "end" >= %s', (number, end, start))]


def _by_span(number: int, levels: int, start: int, end: int) -> _Parts:
    """Select the records that touch a span: one range of the index for each level, merged in order by PostgreSQL."""
    where = 'WHERE stream = %s AND level = %s AND start BETWEEN %s AND %s AND "end" >= %s'
    return [(where, (number, of_level, low, end, start)) for of_level, low in ranges(levels, start)]


def _select(
    parts: _Parts, filters: Mapping[str, Any], *, reverse: bool = False, limit: int | None = None
) -> tuple[str, list[Any]]:
    """Return the statement, and its values, that selects records in order of (start, version)."""
    given = {text: value for text, value in filters.items() if value is not None}
    extra = "".join(f" AND {text}" for text in given)
    order = "DESC" if reverse else "ASC"
    sql = " UNION ALL ".join(f"(SELECT {_COLUMNS} FROM rstore.record {where}{extra})" for where, _ in parts)
    values = [value for _, own in parts for value in (*own, *given.values())]
    return f"{sql} ORDER BY start {order}, version {order} LIMIT %s", [*values, limit]


def _place(position: Position) -> Place:
    if not isinstance(position, Place):
        raise TypeError(f"a position of this log is a place, not {position!r}")
    return position


def _record(row: Sequence[Any]) -> Record:
    return Record(row[0], Place(row[1], row[2]), *row[3:])
