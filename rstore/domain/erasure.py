"""Erasures: which records go, of which streams, and how many are put in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from rstore.domain.errors import StoreError
from rstore.domain.log import Reclaimed, Record, Rewrite
from rstore.domain.paging import pages, within
from rstore.domain.streams import ES, SS, Stream

ERASURE: Final = "erasure"
"""Kind of the stream that holds the erasures of a namespace: private."""
ERASURES: Final = Stream(ERASURE, "")
"""All erasures of a namespace. One stream, so that none of them costs a stream of its own."""

PRUNE: Final = "prune"
COMPACT: Final = "compact"
REKEY: Final = "rekey"
ERASE: Final = "erase"
OPERATIONS: Final = (PRUNE, COMPACT, REKEY, ERASE)
"""What leaves an erasure: the operators of its stream."""

RANGES: Final = 1024
"""The most ranges of versions of one stream in one piece."""
WEIGHT: Final = 1 << 15
"""About how many bytes an erasure has. An operation that erases more writes several."""
_PLACE_BYTES: Final = 7


class Erased(NamedTuple):
    """What went of one stream.

    Attributes:
        kind, key: which stream: ``kv``, ``ts``, ``es``, or ``ss`` for the snapshots of an event sequence.
        versions: the versions of the records that went, as ranges ``(first, last)``, both inclusive.
        records: how many records that were.
        bytes: the size of their payloads, without who and why.
        sha256: the SHA-256 in hex of all payloads that were put in their place, one after the other; None if none was.
    """

    kind: str
    key: str
    versions: tuple[tuple[int, int], ...]
    records: int
    bytes: int
    sha256: str | None = None


class Erasure(NamedTuple):
    """What a ``prune``, ``compact``, ``erase`` or ``rekey`` took away or changed: the value of its change.

    It was written before that happened. So a record that it lists may still be there, if the operation failed.

    Attributes:
        streams: the records that went, by stream; empty for ``rekey``, which is about all of them.
        records, bytes: the sums over the streams; None for ``rekey``, which does not know them when it begins.
    """

    streams: tuple[Erased, ...]
    records: int | None
    bytes: int | None

    @property
    def subject(self) -> Stream:
        """The stream that it is about, where there is one: kind or key are empty if there are several."""
        kinds = {_subject_kind(each.kind) for each in self.streams}
        keys = {each.key for each in self.streams}
        return Stream(kinds.pop() if len(kinds) == 1 else "", keys.pop() if len(keys) == 1 else "")

    def narrowed(self, kind: str | None, prefix: str, *, is_key: bool) -> Erasure | None:
        """Return its part about streams of a kind, with a prefix or of one key; None if there is none."""
        streams = tuple(
            each
            for each in self.streams
            if kind in (None, _subject_kind(each.kind))
            and (each.key == prefix if is_key else each.key.startswith(prefix))
        )
        return erasure_of(streams) if streams else None


class Plan(NamedTuple):
    """The rewrites of an operation, and the records that they take away.

    Attributes:
        rewrites: they are made all at once.
        gone: ``(version, bytes)`` of each record that goes, by stream.
        put: how many records are put instead, and their bytes.
        sha256: that of their payloads; None without any.
    """

    rewrites: Sequence[Rewrite]
    gone: Mapping[Stream, Sequence[tuple[int, int]]]
    put: Reclaimed = Reclaimed(0, 0)
    sha256: str | None = None

    @property
    def reclaimed(self) -> Reclaimed:
        """What the rewrites will have taken out of the log."""
        sizes = [size for records in self.gone.values() for _, size in records]
        return Reclaimed(len(sizes) - self.put.records, sum(sizes) - self.put.bytes)


NOTHING_GONE: Final = Plan((), {})


def measured(payloads: Iterable[bytes]) -> tuple[Reclaimed, str | None]:
    """Return how many payloads there are, their bytes, and the SHA-256 of one after the other in hex.

    >>> measured([])
    (Reclaimed(records=0, bytes=0), None)
    """
    digest, total = sha256(), Reclaimed(0, 0)
    for data in payloads:
        digest.update(data)
        total = total.plus(Reclaimed(1, len(data)))
    return total, digest.hexdigest() if total.records else None


def sized(records: Iterable[Record]) -> list[tuple[int, int]]:
    """Return version and size of records, by version."""
    return sorted((record.version, len(record.data)) for record in records)


def ranges(versions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of versions, which increase.

    >>> list(ranges([1, 2, 3, 7, 9, 10]))
    [(1, 3), (7, 7), (9, 10)]
    """
    first = last = None
    for version in versions:
        if last is not None and first is not None and version != last + 1:
            yield first, last
            first = version
        first, last = version if first is None else first, version
    if first is not None and last is not None:
        yield first, last


def erased_by(plans: Iterable[Plan], known: Mapping[Stream, set[int]]) -> Iterator[tuple[Erased, ...]]:
    """Yield the records that plans take away, in pieces that fit into one erasure each, without those already known.

    >>> plan = Plan((), {Stream('kv', 'a'): [(1, 20), (2, 30)], Stream('kv', 'b'): [(3, 10)]})
    >>> list(erased_by([plan], {Stream('kv', 'b'): {3}}))
    [(Erased(kind='kv', key='a', versions=((1, 2),), records=2, bytes=50, sha256=None),)]
    """
    pieces = (
        piece
        for plan in plans
        for stream, gone in plan.gone.items()
        for piece in _pieces(stream, [each for each in gone if each[0] not in known.get(stream, ())], plan.sha256)
    )
    return map(tuple, within(WEIGHT, ((piece, _weight(piece)) for piece in pieces)))


def _pieces(stream: Stream, gone: Sequence[tuple[int, int]], sha: str | None) -> Iterator[Erased]:
    sizes = iter(gone)
    for some in pages(ranges(version for version, _ in gone), RANGES):
        count = size = 0
        for version, data in sizes:
            count, size = count + 1, size + data
            if version == some[-1][1]:
                break
        yield Erased(*stream, tuple(some), count, size, sha)


def _weight(piece: Erased) -> int:
    return len(piece.key) + sum(len(f"{first},{last}") + 4 for first, last in piece.versions) + 100


def _subject_kind(kind: str) -> str:
    return ES if kind == SS else kind


def erasure_of(streams: tuple[Erased, ...]) -> Erasure:
    """Return the erasure of some streams, with its sums."""
    return Erasure(streams, sum(each.records for each in streams), sum(each.bytes for each in streams))


def place(key: str) -> int:
    """Return a number that increases with keys in code-point order, though many keys may have the same.

    The span of an erasure goes from that of its first key to that of its last. So the index of spans finds the
    erasures that may be about a key.

    >>> place('') < place('a') < place('b'), place('sensor:1') == place('sensor:2')
    (True, True)
    """
    return int.from_bytes(key.encode()[:_PLACE_BYTES].ljust(_PLACE_BYTES, b"\0"))


def span(streams: Sequence[Erased]) -> tuple[int, int]:
    """Return the span of an erasure of streams."""
    places = [place(each.key) for each in streams]
    return min(places, default=0), max(places, default=0)


def to_words(erasure: Erasure) -> dict[str, Any]:
    """Return an erasure as words for JSON.

    >>> from_words(to_words(erasure_of((Erased('kv', 'a', ((1, 2),), 2, 50),)))).records
    2
    """
    return {
        "records": erasure.records,
        "bytes": erasure.bytes,
        "streams": [{**each._asdict(), "versions": list(map(list, each.versions))} for each in erasure.streams],
    }


def from_words(words: Any) -> Erasure:
    """Return the erasure that was made into words.

    Raises:
        StoreError: they are none of an erasure.
    """
    try:
        streams = tuple(
            Erased(**{**each, "versions": tuple((first, last) for first, last in each["versions"])})
            for each in words["streams"]
        )
        return Erasure(streams, words["records"], words["bytes"])
    except (KeyError, TypeError, ValueError) as exc:
        raise StoreError(f"an erasure can't be read: {type(exc).__name__}") from exc
