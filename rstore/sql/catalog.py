"""The names of tables: the table of each, and the error for a name that has none."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Final

from rstore.core import Reading
from rstore.domain.patterns import Pattern, pattern_of
from rstore.domain.streams import TS, Stream
from rstore.sql.pushed import ANY, Bound
from rstore.sql.records import NAMES, record_table
from rstore.sql.series import SeriesTable, point_table
from rstore.sql.statement import after_prefix, folded, quoted
from rstore.sql.tables import Table, is_key, keys_in
from rstore.tags import moment_of

POINTS: Final = "points"
_ROWS: Final = (*NAMES, POINTS)
_NEAR: Final = 5
_LISTED: Final = 10_000
_SPECIAL: Final = re.compile(r"[*?[@]")
"""The characters that mean something else in the name of a table than in that of a series."""
_OF_PATTERN: Final = re.compile(r"[]*?[]")
"""The characters behind an ``@`` that tell a pattern of names from a time. The name of a tag may have them, too."""


def tables_of(core: Reading, names: Iterable[str]) -> dict[str, Table]:
    """Return the table of each name.

    Raises:
        ValueError: a name has no table; or two differ only in the case of letters, which SQL ignores.
    """
    tables: dict[str, Table] = {}
    for name in names:
        same = next((each for each in tables if folded(each) == folded(name)), None)
        if same is None:
            tables[name] = _table_of(core, name) or _unknown(core, name)
        elif folded(name) not in _ROWS:
            pair = f"{quoted(same)} and {quoted(name)}"
            raise ValueError(f"SQL takes {pair} for the same table: call one of them {quoted(_pattern_for(name))}")
    return tables


def _pattern_for(name: str) -> str:
    """Return a pattern that matches the series of a name, and no other; the name has a letter.

    >>> _pattern_for('user@[1]')
    '[u]ser[@][[]1]'
    """
    letter = next(filter(str.isalpha, name))
    return _SPECIAL.sub(r"[\g<0>]", name).replace(letter, f"[{letter}]", 1)


def _table_of(core: Reading, name: str) -> Table | None:
    """Return the table of a name; None if there is none."""
    if folded(name) in NAMES:
        return record_table(core, folded(name))
    if folded(name) == POINTS:
        return point_table(core)
    if is_key(name) and core.log.head(Stream(TS, name)) is not None:
        return SeriesTable(core, lambda _: (name,), has_key=False)
    before, at, moment = name.rpartition("@")
    if not at or _OF_PATTERN.search(moment):
        pattern = pattern_of(name)
        if pattern.prefix != name and next(iter(_matching(core, pattern, ANY)), None) is not None:
            return SeriesTable(core, lambda bound: _matching(core, pattern, bound), has_key=True)
    return _table_of(core.at(_moment(core, moment)), before) if at else None


def _moment(core: Reading, text: str) -> int:
    """Return the moment that a text names: a time, in UTC if it has no offset; POSIX milliseconds; or a tag."""
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
    near = get_close_matches(name, series, _NEAR, 0.5) or series[:_NEAR]
    others = f"; series such as {', '.join(map(quoted, near))}" if near else ""
    raise ValueError(f"there is no table {name!r}: there are {', '.join(_ROWS)}{others}")
