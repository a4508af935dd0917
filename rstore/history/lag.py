"""How far behind projections are: the records after their checkpoints, and the age of the oldest of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from rstore.commits import writers_in
from rstore.core import Core, Surface, now
from rstore.domain.log import Record
from rstore.domain.names import check_name
from rstore.domain.streams import PROJECT, SKIPPED, Stream
from rstore.encoding.envelope import Envelope
from rstore.history.changes import StreamFilter, note_of, stream_filter
from rstore.history.follow import mark_of

COUNTED: Final = 100_000
"""How many records are counted at most, unless the caller says otherwise."""


class ProjectionLag(NamedTuple):
    """How far behind a projection is.

    Attributes:
        name: that of the projection.
        checkpoint: how far it has come in the log: :meth:`Store.follow` goes on from here. None: at the beginning.
        records: the number of records that it has not dealt with yet, the projection's own output left out.
        seconds: the age of the oldest of these; 0.0 if there are none.
        skipped: the number of changes that it has skipped since its last rebuild.
    """

    name: str
    checkpoint: str | None
    records: int
    seconds: float
    skipped: int


class Lagging(Surface):
    """Tells how far behind projections are."""

    def projections(self, *, most: int = COUNTED) -> list[ProjectionLag]:
        """Return how far behind each projection of this store is, by name. The store may be frozen.

        This reads the log after each checkpoint, up to the last record that is counted. A checkpoint may stay behind by
        10,000 records that are not for its projection. A projection into another database has its checkpoint there,
        and is not listed here.

        Args:
            most: count so many records of each projection at most. ``records`` is this number then.

        >>> store['price'] = 10
        >>> store.project('counts', lambda change, store: None)
        1
        >>> store['price'] = 11
        >>> [(each.name, each.records, each.skipped) for each in store.projections()]
        [('counts', 1, 0)]
        """
        check_most(most)
        return [_lag(self._core, head.stream, most) for head in self._core.base.heads(PROJECT)]

    def lag(self, name: str, *, most: int = COUNTED) -> ProjectionLag:
        """Return how far behind a projection is, as :meth:`projections` does.

        Raises:
            KeyError: no projection of that name has run yet, or another one has taken its place.

        >>> store['price'] = 10
        >>> store.project('counts', lambda change, store: None)
        1
        >>> store.lag('counts').records, store.lag('counts').seconds
        (0, 0.0)
        """
        check_most(most)
        stream = Stream(PROJECT, check_name("projection", name, empty=False))
        head = self._core.base.head(stream)
        if head is None or not head.live:  # or another projection has taken its place
            raise KeyError(name)
        return _lag(self._core, stream, most)


def check_most(most: object) -> None:
    """Raise if something is no number of records."""
    if isinstance(most, bool) or not isinstance(most, int):
        raise TypeError(f"most is a number of records, not {type(most).__name__}")
    if most < 1:
        raise ValueError(f"most is a number of records, 1 or more, not {most}")


def counted(records: Iterable[Record], most: int) -> tuple[int, float]:
    """Return the number of records, so many at most, and the age of the oldest of these, in seconds.

    Times may decrease from one stream to the next. So the oldest need not be the first.
    """
    at = oldest = now()
    count = 0
    for count, record in enumerate(islice(records, most), 1):  # noqa: B007  # it is returned
        oldest = min(oldest, record.recorded)
    return count, (at - oldest) / 1000


def filter_words(streams: StreamFilter) -> dict[str, Any]:
    """Return the words beside a checkpoint: the kind and the prefix of the streams that its projection follows."""
    return {name: value for name, value in (("kind", streams.kind), ("prefix", streams.prefix)) if value is not None}


def _filter_of(envelope: Envelope, stream: Stream, record: Record) -> StreamFilter:
    """Return the filter in a checkpoint of a projection. Earlier versions stored none.

    Raises:
        StorePayloadError: it can't be opened, or a newer rstore wrote it.
    """
    words = envelope.note(stream, record)
    try:
        found = stream_filter(words.pop("kind", None), words.pop("prefix", None))
        if words:
            raise ValueError(f"its words are {', '.join(words)}")
    except (TypeError, ValueError) as exc:
        detail = "it is no checkpoint of a projection: it was damaged, or a newer rstore wrote it"
        raise envelope.error(stream, detail) from exc
    return found


def _lag(core: Core, stream: Stream, most: int) -> ProjectionLag:
    (record,) = core.base.last([stream])
    records, seconds = (0, 0.0) if record is None else counted(_behind(core, stream, record), most)
    checkpoint = f"{mark_of(core)}-{record.item}" if record is not None and record.item else None
    skipped = core.base.read(Stream(SKIPPED, stream.key))
    # a rebuild leaves a record without words in place of the list
    return ProjectionLag(stream.key, checkpoint, records, seconds, sum(each.meta is not None for each in skipped))


def _behind(core: Core, stream: Stream, checkpoint: Record) -> Iterator[Record]:
    """Yield the records that a projection has not dealt with."""
    core.envelope.check(stream, checkpoint)
    streams, own = _filter_of(core.envelope, stream, checkpoint), {stream.key}
    position = core.base.position(checkpoint.item) if checkpoint.item else None
    for _, found, record in core.base.follow(position):
        if streams.has(found) and (record.meta is None or writers_in(note_of(core, found, record)[0]) != own):
            yield record
