"""A value as a page shows it: as text, and of a long one the beginning."""

from __future__ import annotations

import json
from pprint import pformat
from typing import Any, Final

from attrs import frozen

from rstore.encoding.unreadable import Unreadable
from rstore.text.values import is_json, represented, show_text, show_value, to_json

_MOST: Final = 20_000
_MOST_BYTES: Final = 1_024
_LINE: Final = 160
_UNITS: Final = ((86_400, "days"), (3_600, "h"), (60, "min"))


@frozen
class Shown:
    """A value on a page.

    Attributes:
        text: the value in several lines, or the reason why it can't be read.
        type: the name of its type; empty if it can't be read.
        size: how many characters or bytes it has in all, if the text is only its beginning; else None.
        is_readable: whether it could be read.
        value: itself, as JSON can represent it; None if it can't be read.
    """

    text: str
    type: str
    size: int | None
    is_readable: bool
    value: Any


def shown(value: Any) -> Shown:
    """Return a value as a page shows it.

    >>> shown({'a': [1, None]}).text, shown(b'abc').text
    ('{\\n  "a": [\\n    1,\\n    null\\n  ]\\n}', '61 62 63')
    """
    if isinstance(value, Unreadable):
        return Shown(value.reason, "", None, is_readable=False, value=None)
    name = type(value).__name__
    if isinstance(value, bytes | bytearray | memoryview):
        return _shown_bytes(bytes(value), name)
    text = "\n".join(map(show_text, _text(value).split("\n")))
    size = len(text) if len(text) > _MOST else None
    return Shown(text[:_MOST], name, size, is_readable=True, value=to_json(value))


def line_of(value: Any) -> str:
    """Return a value in one line, and of a long one the beginning.

    >>> line_of('a\\nb'), len(line_of('x' * 1000))
    ('"a\\\\nb"', 161)
    """
    if isinstance(value, Unreadable):
        return f"unreadable: {value.reason}"
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value[: _LINE // 3])
    return short(show_value(value))


def short(text: str) -> str:
    """Return the beginning of a text in one line, without control characters."""
    text = show_text(text[: _LINE + 1])
    return text if len(text) <= _LINE else f"{text[:_LINE]}…"


def duration(seconds: float) -> str:
    """Return a length of time in the greatest unit of which it has two.

    >>> duration(0.25), duration(90), duration(130), duration(200_000)
    ('0.2 s', '90.0 s', '2.2 min', '2.3 days')
    """
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds / size:,.1f} {unit}"


def _shown_bytes(value: bytes, name: str) -> Shown:
    size = len(value) if len(value) > _MOST_BYTES else None
    head = value[:_MOST_BYTES]
    return Shown(head.hex(" "), name, size, is_readable=True, value={"bytes": len(value), "hex": head.hex()})


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if is_json(value):
        return json.dumps(value, indent=2, ensure_ascii=False)
    try:
        return pformat(value, width=100)
    except ValueError:  # a number of more digits than Python writes
        return represented(value)
