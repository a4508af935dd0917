"""Tables that lie over each other, merged as arrays; :func:`rstore.domain.series.merge` does it point by point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from rstore.domain import series
from rstore.domain.series import Layer, Run
from rstore.encoding.columns import concatenated
from rstore.encoding.rows import Rows
from rstore.frames.frame import taken
from rstore.frames.times import joint_times, order_of


def merge(runs: Sequence[tuple[int, Run]], holes: Sequence[Layer]) -> Iterator[Run]:
    """Yield the visible points of runs and holes that are laid over each other: of tables of one layout as one table.

    Points of several layouts, or of none, make no table and are merged one by one.
    """
    ordered = sorted(runs, key=itemgetter(0))
    tables = [values.table for _, (_, values) in ordered if isinstance(values, Rows)]
    if len(tables) < len(ordered) or len({table.layout for table in tables}) > 1:
        yield from series.merge(runs, holes)
        return
    times: Any = joint_times([part for _, (part, _) in ordered])
    order = order_of(times)
    if holes:
        order = order[_seen(ordered, holes)[order]]
    if len(order):
        yield times[order], Rows(taken(concatenated(tables), order))


def _seen(runs: Sequence[tuple[int, Run]], holes: Sequence[Layer]) -> Any:
    """Tell for each point whether it lies in no later hole. Of equal times the last decides: it is above the others."""
    parts = []
    for version, (times, _) in runs:
        part, own = np.ones(len(times), bool), joint_times([times])
        for hole in holes:
            if hole.version > version:
                part[np.searchsorted(own, hole.start) : np.searchsorted(own, hole.end, "right")] = False
        parts.append(part)
    return np.concatenate(parts)
