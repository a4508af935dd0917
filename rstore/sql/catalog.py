"""The names of tables: what each stands for, and what to say about one that stands for nothing."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import Final

from rstore.core import Reading, check_key
from rstore.domain.patterns import Pattern, pattern_of
from rstore.domain.streams import TS, Stream
from rstore.sql.pushed import Bound
from rstore.sql.records import NAMES, record_table
from rstore.sql.series import SeriesTable, point_table
from rstore.sql.statement import after_prefix
from rstore.sql.tables import Table, keys_in
from rstore.tags import moment_of

POINTS: Final = "points"
_ROWS: Final = (*NAMES, POINTS)
_SHOWN: Final = 5
_LISTED: Final = 10_000


def tables_of(core: Reading, names: Iterable[str]) -> dict[str, Table]:
    """Return the table of each name.

    Raises:
        ValueError: a name stands for nothing; or two differ in nothing but their case, which SQL does not tell apart.
    """
    found: dict[str, Table] = {}
    for name in names:
        same = next((each for each in found if each.casefold() == name.casefold()), None)
        if same is not None and name.lower() in _ROWS:
            continue
        if same is not None:
            pattern = f"[{name[0]}]{name[1:]}"
            raise ValueError(f'SQL takes "{same}" and "{name}" for the same table: call one of them "{pattern}"')
        found[name] = _table_of(core, name) or _unknown(core, name)
    return found


def _table_of(core: Reading, name: str) -> Table | None:
    """Return the table of a name; None if it stands for nothing."""
    if name.lower() in NAMES:
        return record_table(core, name.lower())
    if name.lower() == POINTS:
        return point_table(core)
    with suppress(ValueError):
        if core.log.head(Stream(TS, check_key(name))) is not None:
            return SeriesTable(core, lambda _: (name,), has_key=False)
    before, at, moment = name.rpartition("@")
    if at:
        return _table_of(core.at(_moment(core, moment)), before)
    pattern = pattern_of(name)
    if pattern.prefix != name and next(iter(_matching(core, pattern, Bound())), None) is not None:
        return SeriesTable(core, lambda bound: _matching(core, pattern, bound), has_key=True)
    return None


def _moment(core: Reading, text: str) -> int:
    """Return the moment that a name ends with: a time, in UTC if it has no offset, POSIX milliseconds, or a tag."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return moment_of(core, int(text) if text.isdecimal() else text)
    return moment_of(core, time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC))


def _matching(core: Reading, pattern: Pattern, bound: Bound) -> Iterator[str]:
    """Yield the keys of series that match a pattern, and that a filter may let through."""
    if bound.low is None or bound.low < pattern.prefix:
        bound = bound._replace(low=pattern.prefix)
    end = after_prefix(pattern.prefix)
    if end is not None and (bound.high is None or bound.high > end):
        bound = bound._replace(high=end)
    return (key for key in keys_in(core, TS, bound) if pattern.matches(key))


def _unknown(core: Reading, name: str) -> Table:
    series = [head.stream.key for head in islice(core.log.heads(TS), _LISTED)]
    near = get_close_matches(name, series, _SHOWN, 0.5) or series[:_SHOWN]
    quoted = ", ".join(f'"{key}"' for key in near)
    there = f"; series such as {quoted}" if near else ""
    raise ValueError(f"there is no table {name!r}: there are {', '.join(_ROWS)}{there}")
