"""How a series is resampled: by NumPy if it came as a frame and NumPy is installed, or else value by value."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

from rstore import frames
from rstore.bins import Grid
from rstore.core import Reading
from rstore.domain.resampling import Bin, How, Reduce, resample
from rstore.domain.series import Run
from rstore.domain.streams import Stream
from rstore.models.segments import rows_of, runs_of


def bins_of(
    core: Reading, stream: Stream, span: tuple[int, int], wanted: Grid, how: How, *, typed: bool
) -> Iterator[Bin]:
    """Return the bins of a series. ``typed`` tells whether it has typed columns."""
    runs, reduced = _runs(core, stream, span, typed=typed)
    first = next(runs, None)
    if first is None:
        return iter(())
    return resample(chain((first,), runs), wanted.edges(int(first[0][0])), how, reduced)


def _runs(core: Reading, stream: Stream, span: tuple[int, int], *, typed: bool) -> tuple[Iterator[Run], Reduce | None]:
    reducing = frames.as_reduced() if typed else None
    if reducing is None:
        return runs_of(core, stream, *span), None
    unpack, merged = frames.as_arrays()
    # an array makes an object of NumPy for each look of a bisection, and a view of it an int
    rows = rows_of(core, stream, *span, unpack=unpack, merged=merged)
    return (
        (times if isinstance(times, range | list | tuple) else memoryview(cast("Any", times)), values)
        for times, values in rows
    ), reducing
