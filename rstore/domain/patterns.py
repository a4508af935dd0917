"""Patterns of names: ``*``, ``?`` and ``[...]`` are as in fnmatch, all else is literal."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Final, NamedTuple

_WILDCARDS: Final = re.compile(r"[*?\[]")


class Pattern(NamedTuple):
    """A pattern: the text before its first wildcard, and the expression that matches a whole name."""

    prefix: str
    expression: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Tell whether a whole name matches.

        >>> [name for name in ('stocks/a', 'stocks', 'Stocks/a') if pattern_of('stocks/*').matches(name)]
        ['stocks/a']
        """
        return self.expression.match(name) is not None


def pattern_of(text: str) -> Pattern:
    """Return a pattern."""
    return Pattern(_WILDCARDS.split(text, maxsplit=1)[0], re.compile(translate(text)))
