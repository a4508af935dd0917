"""Differences between two states."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rstore.core import Reading
from rstore.domain.log import Query
from rstore.domain.scalars import is_missing
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.models.event_states import past_of
from rstore.models.keyvalues import values_of
from rstore.models.segments import points_of


class Diff(NamedTuple):
    """The differences between two states: by item, by key, or by timestamp.

    ``added`` and ``removed`` hold values, ``changed`` holds pairs ``(old, new)``.
    """

    added: dict[Any, Any]
    removed: dict[Any, Any]
    changed: dict[Any, tuple[Any, Any]]


def difference(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Diff:
    """Return the differences between two states.

    >>> difference({'a': 1, 'b': 2}, {'b': 3, 'c': 4})
    Diff(added={'c': 4}, removed={'a': 1}, changed={'b': (2, 3)})
    """
    return Diff(
        added={item: value for item, value in new.items() if item not in old},
        removed={item: value for item, value in old.items() if item not in new},
        changed={
            item: (value, new[item]) for item, value in old.items() if item in new and not _same(value, new[item])
        },
    )


def _same(old: Any, new: Any) -> bool:
    """Tell whether two values are the same: of one type, and equal or both missing, as NaN is."""
    if type(old) is not type(new):
        return False
    try:
        return old is new or (is_missing(old) and is_missing(new)) or bool(old == new)
    except Exception:  # comparing a user's values may raise anything: arrays do
        return _pickled(old) == _pickled(new) is not None


def _pickled(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # a value that cannot be pickled cannot be compared
        return None


def states_at(core: Reading, kind: str, key: str, first: int, second: int) -> list[dict[Any, Any]]:
    """Return the states of a key at two times, as :func:`difference` takes them."""
    return _STATES[kind](core, key, first, second)


def _states_at(core: Reading, key: str, *times: int) -> list[dict[Any, Any]]:
    return [past_of(core, key, time) or {} for time in times]


def _values_at(core: Reading, key: str, *times: int) -> list[dict[Any, Any]]:
    return [values_of(core.at(time), [key]) for time in times]


def _points_at(core: Reading, key: str, *times: int) -> list[dict[Any, Any]]:
    """Return the points at two times, of the span that was written to in between."""
    span = changed_span(core, key, min(times), max(times))
    return [dict(points_of(core.at(time), Stream(TS, key), *span)) if span else {} for time in times]


def changed_span(core: Reading, key: str, since: int, until: int | None = None) -> tuple[int, int] | None:
    """Return the first and the last timestamp of a series that records between two times are about."""
    records = core.log.read(Stream(TS, key), Query(until=until))
    spans = [(record.start, record.end) for record in records if record.recorded > since]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


_STATES: Final[Mapping[str, Callable[..., list[dict[Any, Any]]]]] = {KV: _values_at, TS: _points_at, ES: _states_at}
