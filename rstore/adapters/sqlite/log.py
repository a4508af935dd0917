"""The log in a SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from rstore.adapters.sqlite import reading, selection, writing
from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.backup import back_up
from rstore.adapters.sqlite.file import SqliteFile
from rstore.adapters.sqlite.pool import SqlitePool
from rstore.domain.checkpoints import number, undotted
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
from rstore.domain.paging import fitting, listed, within
from rstore.domain.spans import TIME_MIN
from rstore.domain.streams import KV, Stream
from rstore.domain.waiting import wait_for_change

_LOOK_SECONDS: Final = 0.01


class SqliteLog:
    """A namespace of a SQLite file."""

    def __init__(
        self, path: str, durability: str, timeout: float, namespace: str, frozen: bool, *, adopt: bool = False
    ) -> None:
        self._file = SqliteFile(path, durability, timeout, namespace, frozen, adopt=adopt)
        self._pool = SqlitePool(self._file)

    @property
    def name(self) -> str:
        return self._file.name

    # -- connect ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        if len(batches) == 1 and _is_simple(batches[0]):
            with self._pool.writer() as db:
                version = writing.append_one(db, batches[0])
            if version is not None:
                return [version]
        with self._pool.transaction() as db:
            return writing.append(db, batches, self._file.revive_namespace(db))[0]

    def append_pages(self, pages: Iterable[Sequence[Batch]]) -> None:
        recorded = TIME_MIN
        while True:
            with self._pool.transaction() as db:
                floor = self._file.revive_namespace(db)
                times = {recorded := writing.append(db, page, floor, recorded)[1] for page in pages}
                if len(times) < 2:
                    return
                # A page has a key of a later time: all begin anew at that. Rejected: a savepoint, after which SQLite
                # copies each page of the file that changes, and takes twice as long.
                db.rollback()

    def restore(self, copies: Sequence[Copy]) -> None:
        with self._pool.transaction() as db:
            self._file.revive_namespace(db)
            writing.restore(db, copies)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        with self._pool.lease() as db:
            db.execute("BEGIN")  # stream and records in one snapshot, which is held until the iterator ends
            row = reading.find(db, stream)
            if row is None:
                return
            statement = selection.records(stream.kind, row.id, row.levels, row.died, query)
            with reading.selected(self._pool, db, *statement, query.most) as rows:
                yield from map(reading.record, rows)

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        with self._pool.lease() as db:
            if len(queries) == 1:
                return [reading.replay(db, queries[0])]
            db.execute("BEGIN")
            rows = reading.find_many(db, [query.stream for query in queries])
            return fitting(room, (reading.replayed(db, rows.get(query.stream), query) for query in queries))

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        with self._pool.lease() as db:
            if len(streams) == 1:
                return [reading.last(db, streams[0], until)]
            db.execute("BEGIN")
            if room is not None:
                sizes = {stream: size for stream, (size,) in reading.of_many(db, sql.SIZES, streams, until)}
                streams = next(within(room, ((stream, sizes.get(stream) or 0) for stream in streams)), [])
            rows = reading.of_many(db, sql.LAST_OF_MANY, streams, until)
            found = {stream: Record._make(row) for stream, row in rows}
        return [found.get(stream) for stream in streams]

    # -- list ---------------------------------------------------------------------------------------------------------

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        with self._pool.lease() as db:
            if until is not None:
                return reading.head_by_time(db, stream, until)
            row = reading.find(db, stream)
        return None if row is None else row.head(stream)

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        def page(low: str, is_after: bool) -> list[Head]:
            low += "\0" if is_after else ""  # no key has a NUL in it, so this is below the next one
            with self._pool.lease() as db:
                if until is None:
                    return reading.heads(db, kind, low, live=live)
                return reading.heads_by_time(db, kind, low, until)

        for head in listed(page, prefix, after, live=live):
            yield head
            self._pool.check_open()

    def counts(self, kinds: Sequence[str]) -> list[int]:
        with self._pool.lease() as db:
            found = [db.execute(sql.COUNT, (db.namespace, kind)).fetchone() for kind in kinds]
        return [row[0] if row else 0 for row in found]

    def namespaces(self) -> list[str]:
        with self._pool.lease() as db:
            return [name for (name,) in db.execute(sql.NAMESPACES)]

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        with self._pool.transaction() as db:
            return writing.rewrite(db, rewrites)

    def vacuum(self) -> None:
        with self._pool.writer() as db:
            db.execute("VACUUM")
            self._file.checkpoint(db)

    def discard(self) -> None:
        with self._pool.transaction() as db:
            for statement in sql.DISCARD:
                db.execute(statement, {"id": db.namespace})
            deserted = self._file.is_deserted(db)
        if deserted:
            self._pool.end_session()
            self._file.unlink()

    def backup(self, path: str, progress: Callable[[int, int], None]) -> None:
        with self._pool.lease() as db:
            back_up(db, path, progress)

    # -- follow -------------------------------------------------------------------------------------------------------

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        # there is one writer at a time, so positions are given out in the order in which they are committed
        select = partial(reading.selected, self._pool)
        with self._pool.lease() as db, select(db, sql.FOLLOW, (number(after), db.namespace)) as rows:
            for row in rows:
                stream, record = reading.followed(row)
                yield record.position, stream, record

    def wait(self, after: Position | None, seconds: float) -> bool:
        # each look takes a connection of its own: a child that is forked with one in use could not use the store
        return wait_for_change(
            self._end, partial(self.follow, after), time.sleep, seconds, _LOOK_SECONDS, _LOOK_SECONDS
        )

    def _end(self) -> tuple[int] | None:
        """Return the last position that was given out, to whatever namespace."""
        with self._pool.lease() as db:
            found: tuple[int] | None = db.execute(sql.END).fetchone()
        return found

    def checkpoint(self, position: Position) -> str:
        return str(number(position))

    def position(self, checkpoint: str) -> Position:
        return undotted(checkpoint, 1)[0]


def _is_simple(batch: Batch) -> bool:
    """Tell whether one statement may be enough for a batch."""
    return batch.live and writing.is_single(batch) and (not batch.replace or batch.stream.kind == KV)
