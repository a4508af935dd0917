"""Names: the one door through which keys, items, namespaces, tokens and prefixes come in.

Each becomes exactly a str. A subclass may show, compare or format itself as something else (``class Topic(str,
Enum)`` formats as ``Topic.RED``), so that each backend would store another name.
"""

from __future__ import annotations

from typing import Final

NAME_BYTES: Final = 1024


def exact(text: str) -> str:
    """Return the text of a str as exactly a str. If it is of a subclass, no method of that is called.

    >>> from enum import Enum
    >>> class Topic(str, Enum):
    ...     RED = 'red'
    >>> exact(Topic.RED)
    'red'
    """
    return str.__str__(text)


def check_name(what: str, name: object, *, empty: bool = True) -> str:
    """Return a key, item or namespace as exactly a str, or raise if no backend could keep it as it is.

    Raises:
        TypeError: it is not a str.
        ValueError: it is longer than 1024 bytes in UTF-8, or has NUL or lone surrogates, or is empty but may not be.
    """
    if type(name) is not str:
        if not isinstance(name, str):
            raise TypeError(f"{_article(what)} must be a str, not {type(name).__name__}")
        name = exact(name)
    if name.isascii():
        size = len(name)
    else:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{_article(what)} can't have lone surrogates: {name[:60]!r}") from None
    if size > NAME_BYTES:
        raise ValueError(
            f"{_article(what)} has at most {NAME_BYTES} bytes in UTF-8, this one has {size}: {name[:60]!r}..."
        )
    if "\0" in name:
        raise ValueError(f"{_article(what)} can't have NUL characters: {name[:60]!r}")
    if not (name or empty):
        raise ValueError(f"{_article(what)} has at least one character")
    return name


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
