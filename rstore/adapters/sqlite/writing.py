"""Writes on a connection to a SQLite file, each within a transaction of its caller."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, count, groupby
from typing import Any, NamedTuple, TypeAlias

from rstore.adapters.sqlite import keys
from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.file import Connection
from rstore.adapters.sqlite.reading import StreamRow, find, find_many
from rstore.domain.log import Batch, Copy, Reclaimed, Rewrite
from rstore.domain.rules import check_expected, forgets, merged_copies
from rstore.domain.spans import TIME_MIN, bit, level_of
from rstore.domain.streams import KV, Stream

_Found: TypeAlias = tuple[Batch, StreamRow | None]


class _Appending(NamedTuple):
    """The state that all batches of an append share.

    ``positions`` are those of the next records. New streams begin above the ``floor``. ``born`` counts for each kind
    the lives that begin, less those that end.
    """

    recorded: int
    positions: Iterator[int]
    floor: int
    born: Counter[str]


def is_single(batch: Batch) -> bool:
    """Tell whether a batch has one entry, as far as one can tell without iterating over it."""
    return isinstance(batch.entries, (list, tuple)) and len(batch.entries) == 1  # list | tuple takes twice as long


def append_one(db: Connection, batch: Batch) -> int | None:
    """Append a single entry in one statement; return None if that can't be, or if there is a conflict.

    It can't be where more has to be changed than the head of a key, or the records of another stream.
    """
    (kind, key), (entry,), recorded, expect, *_ = batch
    values: tuple[Any, ...] = (db.namespace, kind, key, expect, recorded, *entry)
    if kind == KV:
        found = db.execute(sql.REPLACE_ONE if batch.replace else sql.SET_ONE, values).fetchall()
    else:
        found = db.execute(sql.APPEND_ONE, (*values, level_of(batch.stream, entry.start, entry.end))).fetchall()
    return found[0][0] if found else None


def append(db: Connection, batches: Sequence[Batch], floor: int, recorded: int = TIME_MIN) -> tuple[list[int], int]:
    """Append batches, and return the versions of their streams and the time of the records.

    Args:
        floor: new streams begin above it.
        recorded: the records are of no earlier time.
    """
    known = find_many(db, [batch.stream for batch in batches])
    found = [known.get(batch.stream) for batch in batches]
    for batch, row in zip(batches, found, strict=True):
        if batch.expect is not None:
            _expect(batch, row)
    lasts = (row.recorded for row in found if row is not None and row.recorded is not None)
    recorded = max(chain((recorded,), (batch.recorded for batch in batches), lasts))
    appending = _Appending(recorded, _positions(db), floor, Counter())
    versions: list[int] = []
    for way, group in groupby(zip(batches, found, strict=True), _way):
        versions += way(db, list(group), appending)
    _count(db, appending.born)
    return versions, recorded


def _way(found: _Found) -> Callable[[Connection, Sequence[_Found], _Appending], list[int]]:
    """Return the function that appends a batch, together with its neighbours that are alike."""
    batch, row = found
    if batch.stream.kind != KV or not is_single(batch) or (batch.if_live and not (row and row.live)):
        return _append_batches
    return _add_keys if row is None else _set_keys


def _add_keys(db: Connection, batches: Sequence[_Found], appending: _Appending) -> list[int]:
    """Append an entry each to keys that are new."""
    recorded, positions, floor, born = appending
    namespace, version = db.namespace, floor + 1
    rows = []
    for ((kind, key), (entry,), _, _, live, replace, _), _ in batches:
        own_floor, died = version if replace else floor, 0 if live else version
        rows.append((namespace, kind, key, live, own_floor, died, version, next(positions), recorded, *entry))
    db.executemany(sql.ADD_KEY, rows)
    born[KV] += sum(batch.live for batch, _ in batches)
    return [version] * len(batches)


def _set_keys(db: Connection, batches: Sequence[_Found], appending: _Appending) -> list[int]:
    """Append an entry each to keys that there are."""
    replaced = json.dumps([row.id for batch, row in batches if batch.replace and row])
    # of the others, the trigger takes the only record away
    keys.forget_changes(db, [number for (number,) in db.execute(sql.WITH_HISTORY, (replaced,))])
    rows, changed = [], []
    for (_, (entry,), _, _, live, replace, _), row in batches:
        if row is not None:
            version = row.version + 1
            floor = version if replace else row.floor
            rows.append((version, next(appending.positions), appending.recorded, *entry, floor, row.id))
            if not (live and row.live):
                changed.append((live, row.levels, floor, row.died if live else version, row.id))
                appending.born[KV] += live - row.live
    db.executemany(sql.SET, rows)
    db.executemany(sql.CHANGE_STREAM, changed)
    return [version for version, *_ in rows]


def _append_batches(db: Connection, batches: Sequence[_Found], appending: _Appending) -> list[int]:
    return [_append_batch(db, batch._replace(recorded=appending.recorded), row, appending) for batch, row in batches]


def _append_batch(db: Connection, batch: Batch, row: StreamRow | None, appending: _Appending) -> int:
    """Append a batch to a stream, and add to ``born`` whether the stream's life begins or ends."""
    if batch.if_live and not (row and row.live):
        return row.version if row else 0
    row = row or _create_stream(db, batch.stream, appending.floor)
    append = _append_to_key if batch.stream.kind == KV else _append_records
    version, levels = append(db, batch, row, appending.positions)
    floor = version if batch.replace else row.floor
    died = row.died if batch.live else version
    if (batch.live, levels, floor, died) != (row.live, row.levels, row.floor, row.died):
        db.execute(sql.CHANGE_STREAM, (batch.live, levels, floor, died, row.id))
        appending.born[batch.stream.kind] += batch.live - row.live
    return version


def _append_records(db: Connection, batch: Batch, row: StreamRow, positions: Iterator[int]) -> tuple[int, int]:
    """Append the entries of a batch, and return version and levels of the stream after them."""
    levels, version = row.levels, row.version
    if batch.replace:
        db.execute(sql.DELETE_ALL, (row.id,))

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal levels, version
        for start, end, *rest in batch.entries:
            of_level = level_of(batch.stream, start, end)
            levels |= bit(of_level)
            version += 1
            yield (version, next(positions), batch.recorded, start, end, *rest, row.id, of_level)

    db.executemany(sql.INSERT, rows())
    return version, levels


def _append_to_key(db: Connection, batch: Batch, row: StreamRow, positions: Iterator[int]) -> tuple[int, int]:
    if batch.replace:
        keys.forget_changes(db, [row.id])
        db.execute(sql.HEAD_TAKES, (None, row.id))
    rows = [
        (version, next(positions), batch.recorded, *entry, row.floor, row.id)
        for version, entry in enumerate(batch.entries, start=row.version + 1)
    ]
    db.executemany(sql.SET, rows)
    return row.version + len(rows), row.levels


def restore(db: Connection, copies: Sequence[Copy]) -> None:
    """Keep records as another log has them."""
    heads, records = merged_copies(copies)
    # a new stream begins at version 0, whatever the namespace's floor is: versions come from elsewhere
    found = find_many(db, list(heads))
    known = {stream: found.get(stream) or _create_stream(db, stream, 0) for stream in heads}
    levels = {stream: row.levels for stream, row in known.items()}
    positions = _positions(db)
    for is_key, group in groupby(records, lambda placed: placed[0].kind == KV):
        rows = []
        for stream, (version, _, recorded, start, end, *rest) in group:
            number, of_level = known[stream].id, level_of(stream, start, end)
            levels[stream] |= bit(of_level)
            if version > known[stream].version:
                place = (known[stream].floor, number) if is_key else (number, of_level)
                rows.append((version, next(positions), recorded, start, end, *rest, *place))
        db.executemany(sql.SET if is_key else sql.INSERT, rows)
    born: Counter[str] = Counter()
    for stream, copy in heads.items():
        row = known[stream]
        if copy.version >= row.version:
            floor = row.floor if copy.version == row.version else copy.version
            db.execute(sql.CHANGE_STREAM, (copy.live, levels[stream], floor, copy.died, row.id))
            born[stream.kind] += copy.live - row.live
    _count(db, born)


class _Erased(NamedTuple):
    """The effect of a rewrite on the records of a stream.

    ``replaced`` has the versions for which another record stands in, ``levels`` the mask of the stream afterwards.
    """

    reclaimed: Reclaimed
    replaced: Collection[int]
    levels: int
    is_empty: bool


def rewrite(db: Connection, rewrites: Sequence[Rewrite]) -> Reclaimed:
    """Replace records of streams by others."""
    if len(rewrites) > 1 and all(map(forgets, rewrites)):  # for one, fewer statements do
        return _forget(db, rewrites)
    return reduce(Reclaimed.plus, (_rewrite_stream(db, each) for each in rewrites), Reclaimed(0, 0))


def _forget(db: Connection, rewrites: Sequence[Rewrite]) -> Reclaimed:
    """Forget streams with all their records: in a few statements, for however many."""
    found = find_many(db, [rewrite.stream for rewrite in rewrites])
    for rewrite in rewrites:
        _expect(rewrite, found.get(rewrite.stream))
    ids = [row.id for row in found.values()]
    numbers = json.dumps(ids)
    reclaimed = Reclaimed._make(db.execute(sql.SIZE_OF_STREAMS, (numbers, 0, numbers)).fetchone())
    keys.forget_changes(db, ids)
    for statement in sql.FORGET_STREAMS:
        db.execute(statement, (numbers,))
    if found:
        db.execute(sql.RAISE_FLOOR, (1 + max(row.version for row in found.values()), db.namespace))
    born: Counter[str] = Counter()
    for stream, row in found.items():
        born[stream.kind] -= row.live
    _count(db, born)
    return reclaimed


def _rewrite_stream(db: Connection, rewrite: Rewrite) -> Reclaimed:
    """Replace records of a stream by others."""
    row = find(db, rewrite.stream)
    _expect(rewrite, row)
    if row is None:
        return Reclaimed(0, 0)
    live = row.live if rewrite.live is None else rewrite.live
    is_right = live == row.live and (live or row.recorded is not None)
    erased = (_erase_values if rewrite.stream.kind == KV else _erase_records)(db, rewrite, row)
    if erased is None and is_right:
        return Reclaimed(0, 0)
    reclaimed, replaced, levels, is_empty = erased or _Erased(Reclaimed(0, 0), [], row.levels, row.recorded is None)
    version = row.version + rewrite.bump_version
    if live or not is_empty:
        died = min([row.died, *(version - 1 for version in replaced)])
        floor = version if rewrite.bump_version else row.floor
        db.execute(sql.CHANGE_STREAM, (live, levels, floor, died, row.id))
    else:
        db.execute(sql.FORGET_STREAM, (row.id,))
        db.execute(sql.RAISE_FLOOR, (version, db.namespace))
    _count(db, {rewrite.stream.kind: live - row.live})
    return reclaimed


def _erase_values(db: Connection, rewrite: Rewrite, row: StreamRow) -> _Erased | None:
    """Replace records of a key; return None if there are none of those to drop."""
    found = keys.links(db, row.id)
    dropped = keys.among(found, rewrite.drop)
    if not dropped:
        return None
    replaced, size = keys.put(db, row.id, found, rewrite.put)
    gone = [link for link in dropped if link.version not in replaced]
    keys.erase(db, row.id, found, gone)
    reclaimed = Reclaimed(len(dropped) - len(replaced), sum(link.size for link in dropped) - size)
    return _Erased(reclaimed, replaced, row.levels, len(gone) == len(found))


def _erase_records(db: Connection, rewrite: Rewrite, row: StreamRow) -> _Erased | None:
    """Replace records of another stream; return None if there are none of those to drop."""
    dropped, versions = _among(rewrite.drop)
    records, size = db.execute(sql.SIZE + dropped, (row.id, *versions)).fetchone()
    if not records:
        return None
    levels = row.levels
    replaced: list[int] = []
    for record in rewrite.put:
        of_level = level_of(rewrite.stream, record.start, record.end)
        places = (record.recorded, record.start, record.end, of_level, *record[5:])
        # a record that was erased does not come back
        if db.execute(sql.REPLACE, (*places, row.id, record.version)).rowcount:
            levels |= bit(of_level)
            replaced.append(record.version)
            size -= len(record.data)
    db.execute(sql.DELETE + dropped, (row.id, json.dumps(replaced), *versions))
    is_empty = not db.execute(sql.HAS_RECORDS, (row.id,)).fetchone()[0]
    return _Erased(Reclaimed(records - len(replaced), size), replaced, levels, is_empty)


def _positions(db: Connection) -> Iterator[int]:
    """Yield the positions of new records: nobody else writes to the file until the transaction ends."""
    return count(db.execute(sql.END).fetchone()[0] + 1)


def _create_stream(db: Connection, stream: Stream, floor: int) -> StreamRow:
    number = db.execute(sql.CREATE_STREAM, (db.namespace, *stream, floor)).lastrowid
    return StreamRow(number or 0, live=0, levels=0, floor=floor, died=0, version=floor, recorded=None)


def _count(db: Connection, born: Mapping[str, int]) -> None:
    """Keep count of the live streams of each kind."""
    for kind, change in born.items():
        if change:
            db.execute(sql.ADD_TO_COUNT, (db.namespace, kind, change))


def _expect(write: Batch | Rewrite, row: StreamRow | None) -> None:
    check_expected(write, *(row.version, row.floor) if row else (0, 0))


def _among(versions: Collection[int]) -> tuple[str, tuple[Any, ...]]:
    """Return the condition, and its values, that a version is among these."""
    if isinstance(versions, range) and versions.step == 1:
        return sql.IN_RANGE, (versions.start, versions.stop)
    return sql.LISTED, (json.dumps(list(versions)),)
