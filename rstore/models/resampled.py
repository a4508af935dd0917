"""How a series is resampled: by summaries where a segment lies within a bin, or else by NumPy, or value by value.

NumPy is taken if the series came as a frame, and if it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, cast

from rstore import frames
from rstore.bins import Grid
from rstore.core import Reading
from rstore.domain.log import Query, Record
from rstore.domain.operators import EXTEND
from rstore.domain.resampling import Bin, How, Reduce, States, reduced_values, resample
from rstore.domain.series import Layer, Merge, Run, merge
from rstore.domain.streams import Stream
from rstore.encoding.columns import Table
from rstore.encoding.packing import unpack_times
from rstore.encoding.rows import Rows
from rstore.models.beginnings import by_beginnings, summary_of, whole
from rstore.models.lazy_segments import LazyValues, lazy, merge_opened, opened
from rstore.models.segments import runs_of


def bins_of(core: Reading, stream: Stream, span: tuple[int, int], wanted: Grid, how: How, *, typed: bool) -> list[Bin]:
    """Return the bins of a series. ``typed`` tells whether it has typed columns."""

    def read(most: int | None) -> list[Bin]:
        return list(_bins(core, stream, span, wanted, how, most, typed=typed))

    return by_beginnings(core, read) if typed and _are_short(core, stream, span, wanted.step) else read(None)


def _are_short(core: Reading, stream: Stream, span: tuple[int, int], step: int) -> bool:
    """Tell whether the segments of a series are shorter than a bin, as the first one is."""
    query = Query(*span, ops=(EXTEND,), alive=True, limit=1, most=0)
    return any(record.end - record.start < step for record in core.log.read(stream, query))


def _bins(
    core: Reading,
    stream: Stream,
    span: tuple[int, int],
    wanted: Grid,
    how: How,
    most: int | None,
    *,
    typed: bool,
) -> Iterator[Bin]:
    by_numpy = frames.as_reduced() if typed else None
    reduced = by_numpy or reduced_values
    unpack, merged = frames.as_arrays() if by_numpy else (unpack_times, merge)

    def load(record: Record) -> Run:
        times, values = core.envelope.run(stream, whole(core, stream, record, most), unpack, span)
        return _quick(times), Rows(values) if by_numpy and isinstance(values, Table) else values

    def summed(record: Record) -> Run:
        is_longer = record.end - record.start >= wanted.step  # than a bin: then it lies in none
        is_cut = record.start < span[0] or record.end > span[1]  # then a part of its rows is loaded
        summary = None if is_longer or is_cut else summary_of(core, stream, record, most)
        if summary is None or summary.states(how) is None:
            return load(record)
        return lazy(record, summary, partial(load, record))

    merging = partial(_merge, merged)
    runs = runs_of(core, stream, *span, load=summed if typed else load, merged=merging, most=most)
    first = next(runs, None)
    if first is None:
        return iter(())
    return resample(chain((first,), runs), wanted.edges(first[0][0]), how, partial(_reduced, reduced))


def _quick(times: Sequence[int]) -> Sequence[int]:
    """Return times whose items are ints: an array would make an object of NumPy for each look of a bisection."""
    return times if isinstance(times, range | list | tuple) else memoryview(cast("Any", times))


def _merge(merged: Merge, runs: Sequence[tuple[int, Run]], holes: Sequence[Layer]) -> Iterator[Run]:
    for times, values in merge_opened(merged, runs, holes):
        yield _quick(times), values


def _reduced(reduced: Reduce, values: Sequence[Any], ends: Sequence[int], how: How) -> Iterator[States]:
    """Yield the aggregates of the bins of a run: from the summary, if one of them holds all of its segment."""
    states = values.segment.summary.states(how) if isinstance(values, LazyValues) else None
    if states is not None and set(ends) <= {0, len(values)}:
        yield from (states if first < end else {} for first, end in pairwise((0, *ends)))
    else:
        yield from reduced(opened(((), values))[1], ends, how)
