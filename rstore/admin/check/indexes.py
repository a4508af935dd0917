"""Checks that all ways of reading a log show the same, though others may write meanwhile.

The records of each stream in the feed are compared with heads, lists, and reads by span, version and item. A difference
may mean that somebody has just written to the stream, or rewritten it. So such a stream is read twice more, record by
record: only a flaw that the same record has both times is a problem.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from attrs import Factory, define

from rstore.admin.check.problem import Problem, attempted, message_of
from rstore.admin.check.records import LISTED
from rstore.domain.errors import StoreError
from rstore.domain.log import EVERYTHING, Head, Log, Position, Query, Record
from rstore.domain.operators import ONCE
from rstore.domain.paging import newest, pages
from rstore.domain.rules import head_then
from rstore.domain.spans import TIME_MIN, level
from rstore.domain.streams import ES, IX, KV, TS, Stream, kind_of

_PAGE: Final = 256
_COUNTS: Final = 3
_MAX_READS: Final = 12
_PAUSE_SECONDS: Final = 0.02
_MAX_PAUSE_SECONDS: Final = 0.5
_GROUP_RECORDS: Final = 1 << 18
_ITEMS: Final = 16
_EPOCH_SIZE: Final = 1 << 20
"""Versions may go on at a multiple of this, whatever the last one was: after a server was replaced, for example."""
_BITS: Final = (1 << 64) - 1


class Trace(NamedTuple):
    """The part of a record that all ways of reading must show alike. Its payload may be encrypted anew meanwhile."""

    version: int
    recorded: int
    start: int
    end: int
    item: str
    op: str


def trace_of(record: Record) -> Trace:
    """Return the trace of a record."""
    return Trace(record.version, record.recorded, record.start, record.end, record.item, record.op)


@define
class _Sum:
    """A sum of traces in constant memory: equal sets have equal sums, in whatever order they come."""

    count: int = 0
    digest: int = 0

    def add(self, trace: Trace) -> None:
        self.count += 1
        self.digest = (self.digest + hash(trace)) & _BITS

    def without(self, trace: Trace) -> _Sum:
        return _Sum(self.count - 1, (self.digest - hash(trace)) & _BITS)


@define
class Summary:
    """The records of a stream in the feed: their sum, the last of them, and signs of a flaw.

    ``gap`` is the greatest version that does not follow the one before it.
    """

    sum: _Sum = Factory(_Sum)
    version: int = 0
    recorded: int = TIME_MIN
    gap: int = 0
    is_ordered: bool = True

    def add(self, stream: Stream, trace: Trace) -> None:
        """Note the next record."""
        self.is_ordered = self.is_ordered and trace.version > self.version and trace.recorded >= self.recorded
        if _is_gap(stream, self.version, trace.version):
            self.gap = max(self.gap, trace.version)
        self.version, self.recorded = trace.version, trace.recorded
        self.sum.add(trace)


def _is_gap(stream: Stream, before: int, version: int) -> bool:
    """Return whether records are missing before a version, unless a rewrite has dropped them (0: it is the first).

    The oldest records of a key are dropped without a trace.
    """
    return version != before + 1 and (version - 1) % _EPOCH_SIZE != 0 and not (stream.kind == KV and before == 0)


_Known: TypeAlias = dict[int, Trace]
"""The records of a stream by version."""


@define(eq=False)
class Indexes:
    """A summary of each stream in the feed up to a position, which is compared with all other ways of reading."""

    log: Log
    seen: dict[Stream, Summary] = Factory(dict)
    end: Position | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield the problems of the indexes."""
        kinds: dict[str, list[Stream]] = {kind: [] for kind in LISTED}
        for stream in self.seen:
            kinds.setdefault(ONCE if kind_of(stream) == ONCE else stream.kind, []).append(stream)
        for kind, known in kinds.items():
            for group in self._grouped(self._suspects(kind, known)):
                yield from _confirmed(self.log, group)
            if kind != ONCE:
                yield from self._miscounted(kind)

    def _grouped(self, suspects: Iterable[Stream]) -> Iterator[list[Stream]]:
        """Yield groups of streams whose records fit into memory."""
        group: list[Stream] = []
        size = 0
        for stream in suspects:
            group.append(stream)
            size += self.seen.get(stream, Summary()).sum.count
            if size >= _GROUP_RECORDS:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _miscounted(self, kind: str) -> Iterator[Problem]:
        """Yield a problem if a count is wrong in the same way several times, though others may write meanwhile."""
        problem = self._miscount(kind)
        for _ in range(1, _COUNTS):
            if problem is None:
                return
            time.sleep(_PAUSE_SECONDS)
            if self._miscount(kind) != problem:
                return
        if problem is not None:
            yield problem

    def _miscount(self, kind: str) -> Problem | None:
        count = attempted(lambda: self.log.counts([kind])[0])
        listed = attempted(lambda: sum(1 for _ in self.log.heads(kind)))
        for error in (count, listed):
            if isinstance(error, StoreError):
                return Problem(kind, "", None, f"they can't be listed: {message_of(error)}")
        if count == listed:
            return None
        return Problem(kind, "", None, f"{count} live streams are counted, and {listed} are listed")

    def _suspects(self, kind: str, known: Sequence[Stream]) -> Iterator[Stream]:
        """Yield the streams of a kind for which the ways of reading differ."""
        heads = attempted(partial(self._heads, kind, known))
        if isinstance(heads, StoreError):
            yield from sorted(known)
            return
        for page in pages(sorted({*known, *heads}), _PAGE):
            lasts = attempted(partial(_traces_of_newest, self.log, page))
            if isinstance(lasts, StoreError):
                yield from page
                continue
            for stream, last in zip(page, lasts, strict=True):
                if attempted(partial(self._agrees, stream, heads.get(stream), last)) is not True:
                    yield stream

    def _heads(self, kind: str, known: Sequence[Stream]) -> dict[Stream, Head]:
        """Return the heads of all streams of a kind, without streams that are listed wrongly."""
        if kind == ONCE:  # each key has a kind of its own, and there is no list of them
            return {head.stream: head for head in map(self.log.head, known) if head is not None}
        heads = {head.stream: head for head in self.log.heads(kind, live=False)}
        living = {head.stream for head in self.log.heads(kind)}
        return {stream: head for stream, head in heads.items() if head.live == (stream in living)}

    def _agrees(self, stream: Stream, head: Head | None, last: Trace | None) -> bool:
        summary = self.seen.get(stream, Summary())
        if head is None or not summary.is_ordered or summary.gap > head.floor + 1:
            return False
        if any(_flaws_of_head(head, last, summary.version)):
            return False
        # the only record of a key is in no index besides the one by which it was found
        return (stream.kind == KV and summary.sum.count == 1) or self._finds(stream, summary.sum)

    def _finds(self, stream: Stream, expected: _Sum) -> bool:
        """Return whether reads by span, version and item find exactly the records of the feed."""
        every, lowest = _Sum(), None
        items: dict[str, _Sum] = {}
        probes: dict[int, Trace] = {}
        for trace in self._read(stream):
            every.add(trace)
            lowest = min(lowest or trace, trace)
            if stream.kind == ES and (trace.item in items or len(items) < _ITEMS):
                items.setdefault(trace.item, _Sum()).add(trace)
            if stream.kind != KV:
                probes[level(trace.start, trace.end)] = trace
        return (
            every == expected
            and (lowest is None or _added(self._read(stream, Query(after=lowest.version))) == every.without(lowest))
            and all(_added(self._read(stream, Query(item=item))) == found for item, found in items.items())
            and all(probe in self._read(stream, Query(probe.end, probe.end)) for probe in probes.values())
        )

    def _read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Trace]:
        return _traces(self.log, self.end, stream, query)


def _traces(log: Log, until: Position | None, stream: Stream, query: Query = EVERYTHING) -> Iterator[Trace]:
    """Yield the traces of the records that a read finds, except those that came after the feed was read."""
    records = log.read(stream, query)
    return (trace_of(record) for record in records if until is not None and not record.position > until)


def _traces_of_newest(log: Log, streams: Sequence[Stream]) -> list[Trace | None]:
    return [None if record is None else trace_of(record) for record in newest(log, streams)]


def _added(traces: Iterable[Trace]) -> _Sum:
    found = _Sum()
    for trace in traces:
        found.add(trace)
    return found


# -- two more reads, record by record ---------------------------------------------------------------------------------


_Flaw: TypeAlias = tuple[int | None, str]
"""A version, or None for the stream as a whole, and a description of its flaw."""


def _confirmed(log: Log, suspects: Sequence[Stream]) -> list[Problem]:
    """Return the flaws that streams have in both of two more reads.

    A read during which a stream was rewritten does not count: the same version may be another record before and after.
    A stream that is rewritten during every read is not compared.
    """
    first: dict[Stream, list[_Flaw]] = {}
    second: dict[Stream, list[_Flaw]] = {}
    waiting = list(suspects)
    for number in range(_MAX_READS):
        for stream, flaws in _flaws_of_streams(log, waiting).items():
            (second if stream in first else first)[stream] = flaws
        waiting = [stream for stream in waiting if stream not in second and first.get(stream, True)]
        if not waiting:
            break
        time.sleep(min(_PAUSE_SECONDS * 2**number, _MAX_PAUSE_SECONDS))
    return [
        Problem(*stream, *flaw)
        for stream in suspects
        for flaw in dict.fromkeys(first.get(stream, ()))  # a record may be missing in several parts of its span
        if flaw in second.get(stream, ())
    ]


def _flaws_of_streams(log: Log, streams: Sequence[Stream]) -> dict[Stream, list[_Flaw]]:
    """Return all flaws of streams at this moment. A stream that was rewritten meanwhile is left out."""
    feed: dict[Stream, list[Trace]] = {stream: [] for stream in streams}
    floors = {stream: _floor(log, stream) for stream in streams}
    end = None

    def gather() -> None:
        nonlocal end
        for position, stream, record in log.follow():
            end = position
            if stream in feed:
                feed[stream].append(trace_of(record))

    attempted(gather)  # if the feed can't be read on, that problem was reported before
    found = {stream: list(_StreamCheck(log, stream, traces, end).flaws()) for stream, traces in feed.items()}
    return {stream: flaws for stream, flaws in found.items() if _floor(log, stream) == floors[stream]}


def _floor(log: Log, stream: Stream) -> int | None:
    """Return the floor of a stream, which rewrites raise; None if the stream has no head, or it can't be read."""
    head = attempted(partial(log.head, stream))
    return head.floor if isinstance(head, Head) else None


@define(eq=False)
class _StreamCheck:
    """Compares one stream with its records in the feed."""

    log: Log
    stream: Stream
    feed: Sequence[Trace]
    end: Position | None

    def flaws(self) -> Iterator[_Flaw]:
        """Yield the flaws of the stream."""
        yield from _disorder(self.feed)
        yield from _flaws_or_error("", self._flaws_of_heads)
        yield from _flaws_or_error("", self._flaws_of_lists)
        for how, expected, read in self._reads({trace.version: trace for trace in self.feed}):
            yield from _flaws_or_error(how, partial(self._flaws_of_read, how, expected, read))

    def _flaws_of_read(self, how: str, expected: _Known, read: Callable[[], Iterable[Trace]]) -> Iterator[_Flaw]:
        shown = {trace.version: trace for trace in read()}
        for version in sorted({*expected, *shown}):
            if version not in shown:
                yield version, f"it is not found{how}"
            elif version not in expected:
                yield version, f"it is found{how}, and should not be: it is not in the feed, or differs there"
            elif shown[version] != expected[version]:
                yield version, f"it differs when it is read{how}"

    def _flaws_of_heads(self) -> Iterator[_Flaw]:
        shown = max((trace.version for trace in self.feed), default=0)
        before = self.log.head(self.stream)
        (last,) = _traces_of_newest(self.log, [self.stream])
        head = self.log.head(self.stream)
        if before is None and head is None and self.feed:
            yield shown, "there are records, and no head"
        if head is None:
            return
        for earlier, version in pairwise([0, *(trace.version for trace in self.feed)]):
            if version > head.floor + 1 and _is_gap(self.stream, earlier, version):
                yield version, "the record before it is missing"
        if before == head:  # nobody has written meanwhile
            yield from _flaws_of_head(head, last, shown)

    def _flaws_of_lists(self) -> Iterator[_Flaw]:
        before = self.log.head(self.stream)
        is_listed, is_living = (self._is_listed(live=live) for live in (False, True))
        if before is None or before != self.log.head(self.stream):
            return
        if not is_listed:
            yield None, "it is not listed"
        if is_living != before.live:
            yield None, "it is listed as live, and is not" if is_living else "it is live, and is not listed as live"

    def _is_listed(self, *, live: bool) -> bool:
        first = next(self.log.heads(*self.stream, live=live), None)
        return first is not None and first.stream == self.stream

    def _reads(self, known: _Known) -> Iterator[tuple[str, _Known, Callable[[], Iterable[Trace]]]]:
        """Yield the ways of reading the stream: a description, the expected records, and the read."""
        read = partial(_traces, self.log, self.end, self.stream)
        traces = sorted(known.values(), key=attrgetter("start", "version"))
        yield " by its span", known, read
        if known:
            low = min(known)
            newer = {trace.version: trace for trace in traces if trace.version > low}
            yield " by its version", newer, partial(read, Query(after=low))
        if self.stream.kind == ES:
            for item in list(dict.fromkeys(trace.item for trace in traces))[:_ITEMS]:
                same = {trace.version: trace for trace in traces if trace.item == item}
                yield " by its item", same, partial(read, Query(item=item))
        if self.stream.kind != KV:
            for end in sorted({level(trace.start, trace.end): trace.end for trace in traces}.values()):
                there = {trace.version: trace for trace in traces if trace.start <= end <= trace.end}
                yield " by a part of its span", there, partial(read, Query(end, end))


def _flaws_or_error(how: str, check: Callable[[], Iterable[_Flaw]]) -> list[_Flaw]:
    """Return the flaws that a check finds, or the one that nothing can be read."""
    found = attempted(lambda: list(check()))
    return [(None, f"it can't be read{how}: {message_of(found)}")] if isinstance(found, StoreError) else found


def _disorder(feed: Sequence[Trace]) -> Iterator[_Flaw]:
    for one, other in pairwise(feed):
        if other.version <= one.version:
            yield other.version, f"it comes after version {one.version}"
        if other.recorded < one.recorded:
            yield other.version, "it was recorded before the one before it"


def _flaws_of_head(head: Head, last: Trace | None, shown: int) -> Iterator[_Flaw]:
    """Yield the flaws of a head and the last record, given the version that the feed has shown before."""
    version = last.version if last else 0
    kind = head.stream.kind
    if head.floor > head.version:
        yield None, f"its head has a floor of {head.floor}, above its version {head.version}"
    if head.version < max(shown, version):
        yield max(shown, version), f"its head is at version {head.version}, before this record"
    elif version < head.version and head.version > head.floor:
        yield head.version, "it is the newest record, and is not found"
    elif version < shown:
        yield shown, "it is not found as the last record"
    told = None if last is None else head_then(head.stream, version, last.op).live
    if kind_of(head.stream) in (KV, IX) and last is not None and head.version == version and head.live != told:
        yield version, f"the key is {'' if head.live else 'not '}live after {last.op}"
    if kind in (KV, TS) and last is None and head.live:
        yield None, "it is live, and has no record"
