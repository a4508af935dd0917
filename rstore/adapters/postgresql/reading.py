"""Reads on a connection to PostgreSQL: of records and of heads, in pages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from rstore.adapters.postgresql import selection
from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.pool import PostgresqlPool
from rstore.adapters.postgresql.server import Connection, Row
from rstore.domain.errors import StoreError
from rstore.domain.log import Head, Position, Query, Record, Replay, ReplayQuery
from rstore.domain.paging import PAGE, size_of
from rstore.domain.rules import folded_version, head_then, is_tail
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import Stream

_ASKED: Final = ("kind", "key", "start", "end", "horizon", "after", "until")


class Place(NamedTuple):
    """The position of a record: the transaction that it counts to, and its place in the order of all records."""

    txid: int
    place: int


def place(position: Position) -> Place:
    """Return a position as a place.

    Raises:
        TypeError: it is that of another kind of log.
    """
    if not isinstance(position, Place):
        raise TypeError(f"a position of this log is a place, not {position!r}")
    return position


def record(row: Sequence[Any]) -> Record:
    return Record(row[0], Place(row[1], row[2]), *row[3:])


def pages(pool: PostgresqlPool, namespace: str, stream: Stream, query: Query) -> Iterator[list[Row]]:
    """Yield the records that a query matches as rows, page by page, all as they were at the first page."""
    process = os.getpid()
    with pool.lease() as db:
        with db.pipeline():
            db.execute(sql.BEGIN_READ)
            answer = db.execute(sql.PLACES, (namespace, *stream), binary=True)
        found = answer.fetchone()
        if found is None:
            return
        number, levels, died, largest = found
        size = max(1, min(PAGE, sql.CHUNK_BYTES // (largest + 1)))
        statement, values = selection.records(stream.kind, number, levels, died, query)
        with db.pipeline():
            db.execute(f"DECLARE rstore NO SCROLL CURSOR FOR {statement}", values)
            fetched = db.execute(f"FETCH {size} FROM rstore", binary=True)
        while len(page := fetched.fetchall()) == size:
            yield page
            if os.getpid() != process:
                raise StoreError("an iterator that was begun before a fork can't be read after it, in the child")
            fetched = db.execute(f"FETCH {size} FROM rstore", binary=True)
    yield page  # the last one needs no connection any more


def replays(db: Connection, namespace: str, queries: Sequence[ReplayQuery], room: int | None) -> list[Replay | None]:
    """Return the records to fold of streams, or of the first ones of them."""
    found, left = list[Replay | None](), TIME_MAX if room is None else room
    for _, group in groupby(queries, key=_shape):  # mostly, all are of one
        asked = list(group)
        part = _replays(db, namespace, asked, left)
        found += part
        left -= sum(map(size_of, part)) if room is not None else 0
        if len(part) < len(asked) or left <= 0:
            break
    return found


def _shape(asked: ReplayQuery) -> object:
    """Return the properties that the queries of one statement have in common."""
    return None if is_tail(asked.query) else asked.query._replace(start=0, end=0, until=None, after=0)


def _replays(db: Connection, namespace: str, queries: Sequence[ReplayQuery], room: int) -> list[Replay | None]:
    asked = [_values(*query) for query in queries]
    query = queries[0].query
    follows = is_tail(query)
    if len(asked) == 1 and follows:
        rows = db.rows(sql.REPLAY, {"namespace": namespace, **dict(zip(_ASKED, *asked, strict=True))})
    else:
        statement = sql.REPLAY_MANY if follows else sql.replay_matching(query)
        columns = dict(zip(_ASKED, map(list, zip(*asked, strict=True)), strict=True))
        filters = {"item": query.item, "ops": list(query.ops or ()), "limit": query.limit}
        rows = db.rows(statement, {"namespace": namespace, "room": room, **columns, **filters})
    return _parsed(queries, rows)


def _values(stream: Stream, query: Query, horizon: int | None) -> tuple[object, ...]:
    after = query.after if horizon is None else None
    until = TIME_MAX if query.until is None else query.until
    return *stream, query.start, query.end, horizon, after, until


def _parsed(queries: Sequence[ReplayQuery], rows: Iterable[Row]) -> list[Replay | None]:
    found: list[Replay | None] = []
    tail: list[Record] = []
    for follows, version, floor, live, died, *row in rows:
        if follows:
            tail.append(record(row))
        elif version is None:
            found.append(None)
        else:
            head, tail = Head(queries[len(found)].stream, version, floor, live, died), []
            snapshot = None if row[0] is None else record(row)
            folded_version(snapshot)
            found.append(Replay(head, snapshot, tail))
    return found


def heads(db: Connection, namespace: str, kind: str, above: str, low: str, *, live: bool) -> list[Head]:
    """Return a page of heads; ``above`` is the operator that compares their keys with ``low``."""
    statement = sql.LIST.format(above=above, live="AND s.live" if live else "")
    rows = db.rows(statement, (namespace, kind, low, PAGE))
    return [Head(Stream(kind, key), *head) for key, *head in rows]


def heads_by_time(db: Connection, namespace: str, kind: str, above: str, low: str, until: int) -> list[Head]:
    """Return a page of heads as of a time, as :func:`heads` does."""
    values = {"namespace": namespace, "kind": kind, "low": low, "until": until, "size": PAGE}
    rows = db.rows(sql.LIST_BY_TIME.format(above=above), values)
    return [head_then(Stream(kind, key), *newest) for key, *newest in rows]
