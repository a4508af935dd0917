"""A request, taken apart: the store that it asks, as of which time, and the words of its query."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from attrs import Factory, define

from rstore.core import now, reading_of
from rstore.store import Store
from rstore.tags import tagged_moment
from rstore.text.times import parse_recorded, show_time
from rstore.view import View
from rstore.web.address import Address
from rstore.web.watcher import Watcher

_YEAR: Final = 365 * 86_400_000
UTC: Final = datetime.UTC
"""The zone of all times: a URL that is sent to a colleague shows the same to both."""


@define(eq=False)
class Asked:
    """A request.

    Attributes:
        address: the page, and the key if it is one of a key.
        store: the open store of the namespace. Only its reading calls are made.
        query: the words of the query of the URL.
        watcher: follows the log of the store.
        seen: the number of changes that the watcher had seen when the page was asked for.
        now: when it was asked, in POSIX milliseconds.
    """

    address: Address
    store: Store
    query: Mapping[str, str] = Factory(dict)
    watcher: Watcher = Factory(lambda asked: Watcher(asked.store), takes_self=True)
    seen: int = Factory(lambda asked: asked.watcher.timeline.changes, takes_self=True)
    now: int = Factory(now)

    @property
    def key(self) -> str:
        """The key that the page is about."""
        return self.address.key or ""

    @cached_property
    def at(self) -> int | None:
        """The time as of which the page is shown, in POSIX milliseconds; None for the present."""
        return self.time("at")

    @cached_property
    def to(self) -> int | None:
        """The time with which it is compared; None if it is with none."""
        return self.now if self.query.get("to", "").strip() == "now" else self.time("to")

    @cached_property
    def view(self) -> Store | View:
        """The store as it was known at ``at``."""
        return self.store if self.at is None else self.store.at(self.at)

    @cached_property
    def other(self) -> Store | View | None:
        """The store as it was known at ``to``; None if there is none."""
        return None if self.to is None else self.store.at(self.to)

    def time(self, word: str) -> int | None:
        """Return the transaction time that a word of the query means, or that of the tag of that name.

        Raises:
            ValueError: it is neither.
        """
        text = self.query.get(word, "").strip()
        if not text or text == "now":
            return None
        try:
            return parse_recorded(text, self.now, UTC)
        except ValueError as error:
            return tagged_moment(reading_of(self.store), text, error)

    def lasting(self, word: str) -> str | None:
        """Return a time of the query that counts from the present, such as ``3 days ago``, as one that lasts.

        None if the word is no such time.
        """
        text = self.query.get(word, "").strip()
        try:
            times = [parse_recorded(text, present, UTC) for present in (self.now, self.now + _YEAR)]
        except ValueError:  # a tag, say
            return None
        return None if text == "now" or times[0] == times[1] else show(times[0])

    def number(self, word: str, default: int, most: int) -> int:
        """Return the number that a word of the query is, from 1 up to the most.

        Raises:
            ValueError: it is no number.
        """
        text = self.query.get(word, "")
        if not text:
            return default
        if not text.isdecimal():
            raise ValueError(f"{word} is a number, not {text[:60]!r}")
        return max(1, min(int(text[:9]), most))


def show(time: int) -> str:
    """Return a time in POSIX milliseconds as pages show it.

    >>> show(1_700_000_000_123)
    '2023-11-14 22:13:20.123'
    """
    return show_time(time, UTC)
