"""Short tables in HTML: notebooks show a store, and the lists that it returns, as such.

In all else these lists of points and changes are plain ones: they compare, print, pickle and turn into JSON as those.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from html import escape
from reprlib import Repr
from typing import Any, Final, SupportsIndex, TypeVar

from rstore.encoding.unreadable import Unreadable

T = TypeVar("T")

_FIRST: Final = 10
_LAST: Final = 9
_MOST_DIGITS: Final = 4_000


class _Short(Repr):
    """A short ``repr`` of a value, the same on each version of Python."""

    def repr_int(self, x: int, level: int) -> str:
        """Return a number, or a remark in place of one too long for Python to write: its versions differ there."""
        return super().repr_int(x, level) if abs(x) < 10**_MOST_DIGITS else "<int of too many digits>"


_SHORT: Final = _Short()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Listed(list[T]):
    """A list that becomes a plain one when it is pickled or copied."""

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[type[list[T]], tuple[list[T]]]:
        return list, (list(self),)


class Points(Listed[tuple[int, Any]]):
    """The points of a series, as :meth:`Store.range` returns them.

    >>> store.extend('series', (1, '<b>'))
    >>> found = store.range('series')
    >>> found, '&lt;b&gt;' in found._repr_html_()
    ([(1, '<b>')], True)
    """

    def _repr_html_(self) -> str:
        return table(counted(len(self), "point"), ("timestamp", "value"), self, tuple)


def moment(recorded: int) -> str:
    """Return POSIX milliseconds as a date and time in UTC, or as a number outside the years of datetimes."""
    try:
        return f"{_EPOCH + datetime.timedelta(milliseconds=recorded):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        return f"{recorded} ms"


def counted(number: int, what: str) -> str:
    """Return a number of things, in the plural but for one."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def table(caption: str, header: Sequence[str], rows: Sequence[T], cells: Callable[[T], Sequence[Any]]) -> str:
    """Return rows as a table in HTML: all of them, or of many the first and the last ones.

    >>> table('a <b>', ('n', 'text'), [(1, '&')], tuple)
    '<table><caption>a &lt;b&gt;</caption><tr><th>n</th><th>text</th></tr><tr><td>1</td><td>&amp;</td></tr></table>'
    """
    lines = [_row("th", header)]
    if len(rows) > _FIRST + _LAST + 1:
        lines += [_row("td", map(_text, cells(row))) for row in rows[:_FIRST]]
        lines += [_row("td", "…" * len(header))]
        rows = rows[-_LAST:]
    lines += [_row("td", map(_text, cells(row))) for row in rows]
    return f"<table><caption>{escape(caption)}</caption>{''.join(lines)}</table>"


def _row(tag: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in texts)}</tr>"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= _SHORT.maxstring else f"{value[: _SHORT.maxstring]}…"
    if isinstance(value, Unreadable):
        return f"unreadable: {value.reason}"
    try:
        return "" if value is None else _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        return f"<{type(value).__name__} with a number of too many digits>"
