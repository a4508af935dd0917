"""The log in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from rstore.adapters.postgresql import reading, writing
from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.batching import names_of
from rstore.adapters.postgresql.pool import PostgresqlPool
from rstore.adapters.postgresql.reading import Place
from rstore.adapters.postgresql.server import Connection, Row, Server
from rstore.domain.checkpoints import dotted, undotted
from rstore.domain.errors import StoreError
from rstore.domain.log import (
    EVERYTHING,
    Batch,
    Copy,
    Head,
    Position,
    Query,
    Reclaimed,
    Record,
    Replay,
    ReplayQuery,
    Rewrite,
)
from rstore.domain.paging import PAGE, listed
from rstore.domain.rules import head_then
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import Stream
from rstore.domain.waiting import wait_for_change

__all__ = ["PostgresqlLog", "Server"]

_IDS: Final = 16_384
_LOOK_SECONDS: Final = (0.004, 0.016)


class PostgresqlLog:
    """A namespace in the schema ``rstore`` of a PostgreSQL database."""

    instead_of_backup: Final = (
        "is backed up by pg_dump --schema=rstore; or by 'rstore copy', which makes a SQLite file of a namespace"
    )

    def __init__(self, server: Server, namespace: str, frozen: bool) -> None:
        self._server, self._namespace = server, namespace
        self._terms: writing.Terms = (server.patience, server.durable, namespace)
        self._ids: dict[Stream, Row] = {}
        # a failover may have lost the streams of the last ids, and it ends all connections
        self._pool = PostgresqlPool(server, namespace, frozen, self._ids.clear)

    @property
    def name(self) -> str:
        return self._server.name

    # -- connect ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._ids.clear()
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        self._pool.check_open()
        if not batches:
            return []
        entries = batches[0].entries
        with self._pool.lease(wrote=True) as db:
            if len(batches) == 1 and isinstance(entries, list | tuple) and len(entries) == 1:
                return [writing.append_one(db, self._terms, batches[0], entries[0])]
            return writing.append(db, self._terms, batches)

    def append_pages(self, pages: Iterable[Sequence[Batch]]) -> None:
        with self._pool.lease(wrote=True) as db:
            writing.append_pages(db, self._terms, pages)

    def restore(self, copies: Sequence[Copy]) -> None:
        with self._pool.lease(wrote=True) as db:
            writing.restore(db, self._terms, copies)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        for page in reading.pages(self._pool, self._namespace, stream, query):
            for row in page:
                yield reading.record(row)
                self._pool.check_open()

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        with self._pool.lease() as db:
            return reading.replays(db, self._namespace, queries, room)

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        with self._pool.lease() as db:
            if len(streams) == 1:
                return [self._last(db, streams[0], until)]
            kinds, keys = names_of(streams)
            values = {"kinds": kinds, "keys": keys, "namespace": self._namespace, "until": until}
            rows = db.rows(sql.LAST_OF_MANY.by(until), {**values, "room": TIME_MAX if room is None else room})
        return [None if row[0] is None else reading.record(row) for row in rows]

    def _last(self, db: Connection, stream: Stream, until: int | None) -> Record | None:
        """Return the newest record: the most frequent read of all, and faster if the stream's id is known.

        An id is never used again, so the id of a stream that is gone finds nothing.
        """
        known, rows = self._ids.get(stream), []
        values = {"kind": stream.kind, "key": stream.key, "until": until}
        if known is not None:
            statement = sql.LAST_OF_ID.newest if until is None else sql.LAST_OF_ID.if_near
            rows = db.rows(statement, {"id": known[0], "home": known[1], **values})
        if not rows:
            rows = db.rows(sql.LAST.by(until), {"namespace": self._namespace, **values})
            if not rows:
                return None
            if len(self._ids) >= _IDS:
                self._ids.clear()
            self._ids[stream] = rows[0][-2:]
        return reading.record(rows[0][:10])

    # -- list ---------------------------------------------------------------------------------------------------------

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        with self._pool.lease() as db:
            if until is None:
                rows = db.rows(sql.HEAD, (self._namespace, *stream))
                return Head(stream, *rows[0]) if rows else None
            values = {"namespace": self._namespace, "kind": stream.kind, "key": stream.key, "until": until}
            rows = db.rows(sql.HEAD_BY_TIME.if_near, values) or db.rows(sql.HEAD_BY_TIME.by_time, values)
        return head_then(stream, *rows[0]) if rows else None

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        def page(low: str, is_after: bool) -> list[Head]:
            above = ">" if is_after else ">="
            with self._pool.lease() as db:
                if until is None:
                    return reading.heads(db, self._namespace, kind, above, low, live=live)
                return reading.heads_by_time(db, self._namespace, kind, above, low, until)

        for head in listed(page, prefix, after, live=live):
            yield head
            self._pool.check_open()

    def counts(self, kinds: Sequence[str]) -> list[int]:
        with self._pool.lease() as db:
            return [int(number) for (number,) in db.rows(sql.COUNTS, (list(kinds), self._namespace))]

    def namespaces(self) -> list[str]:
        with self._pool.lease() as db:
            return [name for (name,) in db.rows(sql.NAMESPACES)]

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        self._pool.check_open()
        if not rewrites:
            return Reclaimed(0, 0)
        with self._pool.lease(wrote=True) as db:
            return writing.rewrite(db, self._terms, rewrites)

    def vacuum(self) -> None:
        with self._pool.lease() as db:
            db.execute(sql.VACUUM)

    def discard(self) -> None:
        with self._pool.lease(wrote=True) as db:
            db.execute(sql.DISCARD, self._terms)

    # -- follow -------------------------------------------------------------------------------------------------------

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        place = Place(TIME_MIN, 0) if after is None else reading.place(after)
        with self._pool.lease() as db:
            horizon = db.rows(sql.HORIZON)
        size = 1
        while horizon:
            with self._pool.lease() as db:
                rows = db.rows(sql.FOLLOW, (self._namespace, *place, *horizon[0], size))
            for kind, key, version, *at, recorded, start, end, item, op, data, meta in rows:
                place = Place(*at)
                if kind is None:
                    raise StoreError(
                        f"{self.name}: the database is damaged: a record at position "
                        f"{self.checkpoint(place)} has no stream"
                    )
                yield place, Stream(kind, key), Record(version, place, recorded, start, end, item, op, data, meta)
                self._pool.check_open()
            if len(rows) < size and sum(len(row[-2]) for row in rows) < sql.CHUNK_BYTES:
                return
            size = min(2 * size, PAGE)

    def wait(self, after: Position | None, seconds: float) -> bool:
        return wait_for_change(self._end_of_wal, partial(self.follow, after), time.sleep, seconds, *_LOOK_SECONDS)

    def _end_of_wal(self) -> str:
        with self._pool.lease() as db:
            return str(db.rows(sql.END_OF_WAL)[0][0])

    def checkpoint(self, position: Position) -> str:
        return dotted(reading.place(position))

    def position(self, checkpoint: str) -> Position:
        return Place(*undotted(checkpoint, 2))
