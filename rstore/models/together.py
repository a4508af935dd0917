"""Reads of many streams that go on together: where each of them asks the log, all are answered at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeAlias, TypeVar, cast

from rstore.core import Past, Reading
from rstore.domain.log import EVERYTHING, Head, LogReader, Query, Record, Replay, ReplayQuery
from rstore.domain.paging import PAGE, PAGE_BYTES, pages
from rstore.domain.streams import Stream
from rstore.models.beginnings import MovedError

T = TypeVar("T")
_Answer: TypeAlias = tuple[ReplayQuery, list[Record]]

RECORDS: Final = 64
"""A stream with more records is read on alone: it holds some megabytes, and so it is worth a round trip."""


def read_together(
    core: Reading, streams: Iterable[Stream], read: Callable[[Reading, Stream], T], most: int = RECORDS
) -> Iterator[T]:
    """Yield what a function reads of each stream, in as many round trips for many as for one.

    Args:
        read: it may read records and heads, nothing else, and must do the same if it is called once more.
        most: so many records are mostly enough.
    """
    for page in pages(streams, PAGE):
        if len(page) == 1:
            yield read(core, page[0])
            continue
        reads = [_Read(core, stream, read, most) for stream in page]
        _answer_all(core.log, reads)
        for each in reads:
            yield from each.found


def _answer_all(log: LogReader, reads: Sequence[_Read[T]]) -> None:
    """Answer reads until all are done. What has been asked for longest is answered first."""
    waiting, size = [(each, each.asked) for each in reads if each.asked], len(reads)
    while waiting:
        found = deque(log.replay([asked for _, asked in waiting[:size]], PAGE_BYTES))
        size = 2 * len(found)  # a backend may look at all before it leaves some out for want of room
        answered, waiting = [each for each, _ in waiting[: len(found)]], waiting[len(found) :]
        for each in answered:
            each.go_on(found.popleft())  # and forgets it, once it is done
        waiting += [(each, each.asked) for each in answered if each.asked]


class _UnansweredError(Exception):
    """A read needs the records that a query matches."""

    def __init__(self, asked: ReplayQuery) -> None:
        super().__init__()
        self.asked = asked


class _Read(Generic[T]):
    """A read that stops where it asks, and is done again from its beginning when it has the answer.

    So the function that reads is written as if it were alone. It computes little twice: its first looks are at few
    records, and the last one is at those that it returns. Rejected: threads, which cost more than they wait for; and
    generators, which all functions that read a series would have to be.
    """

    def __init__(self, core: Reading, stream: Stream, read: Callable[[Reading, Stream], T], most: int) -> None:
        self._core, self._stream, self._read, self._most = core, stream, read, most
        self._known: list[_Answer] = []
        self.asked: ReplayQuery | None = None
        """What it waits for; None when it is done."""
        self.found: list[T] = []
        self._advance()

    def go_on(self, replay: Replay | None) -> None:
        """Read on with an answer."""
        if self.asked is not None:
            self._known.append((self.asked, [] if replay is None else replay.records))
        self._advance()

    def _advance(self) -> None:
        core = self._core
        log = cast("LogReader", _Answers(core.log, self._known, self._most))
        self.asked = None
        try:
            self.found.append(
                self._read(Past(core.name, log, core.moment(), core.envelope, core.namespace, core.freq), self._stream)
            )
        except _UnansweredError as exc:
            self.asked = exc.asked
        except MovedError:
            self.found.append(self._read(core, self._stream))
        if self.asked is None:
            self._known.clear()


class _Answers:
    """A log whose records were read before, as far as that goes."""

    def __init__(self, log: LogReader, known: Iterable[_Answer], most: int) -> None:
        self._log, self._known, self._most = log, iter(known), most

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        limit = self._most if query.limit is None else min(query.limit, self._most)
        asked = ReplayQuery(stream, query._replace(limit=limit), None)
        known, records = next(self._known, (None, []))
        if known is None:
            raise _UnansweredError(asked)
        if known != asked:  # what is read directly has changed since, and led elsewhere
            raise MovedError
        yield from records
        if len(records) < limit or limit == query.limit:
            return
        # the rest is read alone: it fits if the stream is still what it was
        again = self._log.read(stream, query)
        if any(record != next(again, None) for record in records):
            raise MovedError
        yield from again

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        return self._log.head(stream, until)
