"""Values as users type them, and as commands show them: a user can type what a command shows."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

_SHORT_BITS: Final = 2000
"""An int of at most this many bits is always written in digits: Python's limit can't be set below 640 digits."""
_ESCAPED: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_LEGIBLE: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_value(text: str) -> Any:
    """Return the value that a text means: its JSON value, or the text itself if it is not JSON.

    >>> parse_value('12'), parse_value('{"a": [true, null]}'), parse_value('Ada Lovelace'), parse_value('"12"')
    (12, {'a': [True, None]}, 'Ada Lovelace', '12')
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_parsed_int)
    except LongNumberError:
        raise
    except (ValueError, RecursionError):
        return text


class LongNumberError(ValueError):
    """A number has more digits than Python reads."""


def _parsed_int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        most = sys.get_int_max_str_digits()
        raise LongNumberError(
            f"a number of {len(digits):,} digits: at most {most:,} can be read (in quotes it is stored as text)"
        ) from None


def show_value(value: Any) -> str:
    """Return a value in one line without control characters, so that no stored value can control a terminal.

    A text stays as it is if :func:`parse_value` returns it unchanged; otherwise it is shown as JSON. A value that JSON
    can't represent is shown as Python shows it.

    >>> [show_value(value) for value in ('Ada', '12', 12, {'a': [1.5, None]}, (1, 2), b'x')]
    ['Ada', '"12"', '12', '{"a":[1.5,null]}', '(1, 2)', "b'x'"]
    """
    if isinstance(value, str) and value.strip() == value != "" and value.isprintable() and parse_value(value) == value:
        return value
    return write_json(value) if is_json(value) else show_text(represented(value))


def represented(value: Any) -> str:
    """Return the ``repr`` of a value, or a placeholder if the value has a number of too many digits.

    >>> represented((1, 2)), represented(10 ** 5000)
    ('(1, 2)', '<int with a number of more than 4,300 digits>')
    """
    try:
        return repr(value)
    except ValueError:
        return f"<{type(value).__name__} with a number of more than {sys.get_int_max_str_digits():,} digits>"


def show_text(text: str) -> str:
    r"""Return a text with its unprintable characters escaped.

    >>> show_text('price\x1b[2J')
    'price\\x1b[2J'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def to_json(value: Any) -> Any:
    """Return a value if JSON can represent it, else ``{"repr": ...}``.

    >>> to_json([1, 'a', None]), to_json((1, 2))
    ([1, 'a', None], {'repr': '(1, 2)'})
    """
    return value if is_json(value) else {"repr": represented(value)}


def is_json(value: Any) -> bool:
    """Return whether a value survives JSON unchanged. A tuple does not, nor a key that is no text."""
    if isinstance(value, dict):
        return all(type(key) is str and is_json(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, float):
        return type(value) is float and value - value == 0  # neither NaN nor infinite
    if type(value) is int and value.bit_length() > _SHORT_BITS:
        return not represented(value).startswith("<")
    return value is None or type(value) in (bool, int, str)


def write_json(value: Any) -> str:
    """Return a value as one line of JSON, with unprintable characters escaped."""
    text = _LEGIBLE.encode(value)
    return text if text.isprintable() else _ESCAPED.encode(value)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
