"""Criteria: which values of a field a search finds, as ranges of ordered texts."""

from __future__ import annotations

from itertools import takewhile
from typing import Any, NamedTuple

from attrs import frozen

from rstore.encoding.ordered_texts import HIGHEST, beginning, edges, is_cut, ordered_text


@frozen
class Between:
    """The values from one to another, both inclusive; None leaves a side open.

    >>> from datetime import date
    >>> Between(date(2026, 1, 1), None)
    Between(start=datetime.date(2026, 1, 1), end=None)
    """

    start: Any = None
    end: Any = None


@frozen
class StartsWith:
    """The texts, or bytes, that begin with some others.

    >>> StartsWith('Gr')
    StartsWith(prefix='Gr')
    """

    prefix: str | bytes


class Range(NamedTuple):
    """The ordered texts that a criterion finds.

    Attributes:
        prefix: the beginning of all of them.
        low, high: the first and the last of them.
    """

    prefix: str
    low: str
    high: str

    def has(self, text: str) -> bool:
        """Tell whether a text is among them."""
        return text.startswith(self.prefix) and self.low <= text <= self.high

    @property
    def is_one(self) -> bool:
        """Whether it is a single text."""
        return self.low == self.high

    @property
    def is_exact(self) -> bool:
        """Whether the keys of an index tell which texts are among them. They have the beginning of a long text only."""
        return self.is_one or not (is_cut(self.low) or is_cut(self.high))

    @property
    def within(self) -> str:
        """The beginning of the keys of all entries that may be among them."""
        return beginning(self.prefix)


def range_of(name: str, criterion: Any) -> Range:
    """Return the range of a criterion for a field.

    Raises:
        TypeError: there is no order for its value, or for its two ends.
    """
    try:
        return _range_of(criterion)
    except TypeError as exc:
        raise TypeError(f"by({name}=...): {exc}") from exc


def _range_of(criterion: Any) -> Range:
    if isinstance(criterion, StartsWith):
        if not isinstance(criterion.prefix, str | bytes):
            raise TypeError(f"StartsWith takes a text or bytes, not {type(criterion.prefix).__name__}")
        text = ordered_text(criterion.prefix)
        return Range(text, text, text + HIGHEST)
    if not isinstance(criterion, Between):
        text = ordered_text(criterion)
        return Range(text, text, text)
    ends = [None if each is None else ordered_text(each) for each in (criterion.start, criterion.end)]
    given = [each for each in ends if each is not None]
    if not given:
        raise TypeError("Between takes one end at least")
    least, greatest = edges(given[0])
    if len({each[0] for each in given}) > 1:
        raise TypeError("the ends of Between can't be compared with each other")
    low, high = ends[0] or least, ends[1] or greatest
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return Range(common, low, high)
