"""Rules that every adapter applies alike: expected versions, heads of the past, and the order of restored records."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from rstore.domain.errors import StoreConflictError, StoreError, StoreNotAvailableError
from rstore.domain.log import ALL_VERSIONS, VERSION_MAX, Batch, Copy, Head, Query, Record, Rewrite
from rstore.domain.operators import DELITEM
from rstore.domain.spans import TIME_MIN
from rstore.domain.streams import IX, KV, Stream, kind_of


def check_expected(write: Batch | Rewrite, version: int, floor: int) -> None:
    """Raise if a stream is not at the version and floor that a writer expects; both are 0 if there is no stream.

    Raises:
        StoreConflictError: it was written to, or rewritten.
    """
    if write.expect is not None and write.expect != version:
        raise StoreConflictError(*write.stream, write.expect, version)
    if isinstance(write, Rewrite) and write.floor is not None and write.floor != floor:
        raise StoreConflictError(*write.stream, write.floor, version)


def forgets(rewrite: Rewrite) -> bool:
    """Tell whether a rewrite leaves nothing of its stream, whatever the stream holds.

    >>> forgets(Rewrite(Stream(KV, 'key'), None, ALL_VERSIONS, live=False))
    True
    """
    return rewrite == Rewrite(rewrite.stream, rewrite.expect, ALL_VERSIONS, live=False, floor=rewrite.floor)


def no_namespace(name: str, namespace: str) -> StoreNotAvailableError:
    """Return the error of a frozen log that finds no such namespace in the backend of this name."""
    return StoreNotAvailableError(f"no namespace {namespace!r} in {name} (open it with frozen=False to create it)")


def has_expired(newest: Head | Record, moment: int) -> bool:
    """Tell whether the value of a key no longer holds at a time, by its head or its newest record.

    >>> setting = Record(1, 1, recorded=5, start=5, end=7, item='', op='setitem', data=b'')
    >>> has_expired(setting, 7), has_expired(setting, 8), has_expired(setting._replace(start=0, end=0), 8)
    (False, True, False)
    """
    return 0 < newest.end < moment


def is_there(head: Head, moment: int) -> bool:
    """Tell whether readers find a stream at a time: it lives, and if it is a key, its value holds."""
    return head.live and not has_expired(head, moment)


def head_then(stream: Stream, version: int, op: str, end: int = 0) -> Head:
    """Return the head of a stream when its newest record was of this version and operator, and of a span to this end.

    A key, or an entry of an index, does not live if that is its deletion. Of other streams records do not tell: they
    live as long as they have any.
    """
    end = end if stream.kind == KV else 0
    return Head(stream, version, 0, live=op != DELITEM or kind_of(stream) not in (KV, IX), end=end)


def folded_version(snapshot: Record | None) -> int:
    """Return the version up to which a snapshot has folded; 0 without one.

    Raises:
        StoreError: its record is damaged.

    >>> folded_version(None)
    0
    """
    if snapshot is None:
        return 0
    if not snapshot.item.isdecimal():
        raise StoreError(f"the snapshot of version {snapshot.version} is damaged: it does not say what it has folded")
    return int(snapshot.item)


def merged_copies(
    copies: Iterable[Copy], most: int = VERSION_MAX
) -> tuple[dict[Stream, Copy], list[tuple[Stream, Record]]]:
    """Return the work of a restore: for each stream its last copy, and all records in order.

    Raises:
        ValueError: the records of a stream are not in order, or its head is not at or after the last one.
        StoreError: a version is greater than ``most``.
    """
    heads: dict[Stream, Copy] = {}
    records: list[tuple[Stream, Record]] = []
    times: dict[Stream, int] = {}
    for copy in copies:
        before = heads[copy.stream].version if copy.stream in heads else 0
        given = [record.version for record in copy.records]
        recorded = [times.get(copy.stream, TIME_MIN), *(record.recorded for record in copy.records)]
        is_rising = all(a < b for a, b in pairwise([before, *given])) and all(a <= b for a, b in pairwise(recorded))
        if not is_rising or not max([before, copy.died, 0, *given]) <= copy.version:
            raise ValueError(f"the copy of {copy.stream.kind} {copy.stream.key!r} is not in the order of its versions")
        if copy.version > most:
            raise StoreError(
                f"{copy.stream.kind} {copy.stream.key!r} is at version {copy.version}, and this backend keeps versions "
                f"up to {most}: copy it to SQLite or PostgreSQL; nothing was stored"
            )
        heads[copy.stream], times[copy.stream] = copy, recorded[-1]
        records += [(copy.stream, record) for record in copy.records]
    return heads, records


def is_tail(query: Query) -> bool:
    """Tell whether a query asks for all records after a version, up to a time.

    >>> is_tail(Query(end=5, after=3)), is_tail(Query(start=5))
    (True, False)
    """
    return query == Query(end=query.end, until=query.until, after=query.after)
