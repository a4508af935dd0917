"""Segments whose rows are read if somebody asks for them: their first and last time are known without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from rstore.domain.log import Record
from rstore.domain.series import Layer, Merge, Run
from rstore.encoding.summaries import Summary


def lazy(record: Record, summary: Summary, load: Callable[[], Run]) -> Run:
    """Return the points of a record, which are not loaded yet."""
    segment = LazySegment(record, summary, load)
    return _Times(segment), LazyValues(segment)


class LazySegment:
    """A segment whose rows are read if somebody asks for them."""

    def __init__(self, record: Record, summary: Summary, load: Callable[[], Run]) -> None:
        self.start, self.end, self.summary, self._load = record.start, record.end, summary, load

    @cached_property
    def run(self) -> Run:
        """The points, loaded."""
        return self._load()


class _Times(Sequence[int]):
    """The times of a segment: the first and the last are known without its rows."""

    def __init__(self, segment: LazySegment) -> None:
        self._segment = segment

    def __len__(self) -> int:
        return self._segment.summary.rows

    def __getitem__(self, at: Any) -> Any:
        known = {0: self._segment.start, -1: self._segment.end}
        return self._segment.run[0][at] if isinstance(at, slice) or at not in known else known[at]


class LazyValues(Sequence[Any]):
    """The values of a segment."""

    def __init__(self, segment: LazySegment) -> None:
        self.segment = segment

    def __len__(self) -> int:
        return self.segment.summary.rows

    def __getitem__(self, at: Any) -> Any:
        return self.segment.run[1][at]


def merge_opened(merged: Merge, runs: Sequence[tuple[int, Run]], holes: Sequence[Layer]) -> Iterator[Run]:
    """Merge runs as ``merged`` does, whose rows it needs."""
    yield from merged([(version, opened(run)) for version, run in runs], holes)


def opened(run: Run) -> Run:
    """Return a run with its rows."""
    return run[1].segment.run if isinstance(run[1], LazyValues) else run
