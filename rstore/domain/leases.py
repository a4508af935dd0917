"""Leases: how far a delivery has come with a stream, and which worker has its message in hand until when.

All of it is one value in the stream's record in the queue. Each change of it is an append that expects the version of
that record. So of two workers one gets it, and a worker that has lost its lease notices when it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["due", "leased", "waiting", "parked"]


class Lease(NamedTuple):
    """How far a delivery has come with a stream.

    Attributes:
        cursor: the version up to which all messages were delivered.
        last: the version of the last record of the message in hand, 0 if none was begun. It is stored before the first
            attempt: so each attempt delivers the same records, whatever was appended meanwhile.
        attempt: the number of attempts that were begun at this message. It is stored before the attempt, so that a
            message which kills its worker is parked, too.
        owner: the worker that delivers it.
        until: others may take it from then on, in POSIX milliseconds: the end of the lease, or of the pause.
        error: the error of the last attempt that failed.
        since: when it was parked, in POSIX milliseconds; 0 if it is not.
    """

    cursor: int
    last: int = 0
    attempt: int = 0
    owner: str = ""
    until: int = 0
    error: str = ""
    since: int = 0

    def words(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as JSON can hold them.

        >>> Lease(3, until=5).words()
        {'cursor': 3, 'until': 5}
        """
        pairs = zip(self._fields, self, strict=True)
        return {name: value for name, value in pairs if value != self._field_defaults.get(name)}

    def state(self, now: int) -> State:
        """Return what a stream with something to be delivered waits for.

        >>> Lease(3).state(now=7), Lease(3, until=8).state(now=7), Lease(3, since=5).state(now=7)
        ('due', 'waiting', 'parked')
        """
        if self.since:
            return "parked"
        if self.until <= now:
            return "due"
        return "leased" if self.owner else "waiting"

    def taken(self, last: int, owner: str, until: int) -> Lease:
        """Return the lease of a worker that begins an attempt at the message that ends with a version.

        >>> Lease(3).taken(5, 'ada', 100).taken(5, 'bob', 200)
        Lease(cursor=3, last=5, attempt=2, owner='bob', until=200, error='', since=0)
        """
        if last == self.last:
            return self._replace(attempt=self.attempt + 1, owner=owner, until=until)
        return Lease(self.cursor, last, 1, owner, until)

    def passed(self) -> Lease:
        """Return the lease after the message in hand: it was delivered, or skipped.

        >>> Lease(3, last=5, attempt=2).passed().cursor, Lease(3).passed().cursor
        (5, 3)
        """
        return Lease(max(self.cursor, self.last))

    def failed(self, error: str, until: int) -> Lease:
        """Return the lease after an attempt that failed: the next one may begin from a time on."""
        return self._replace(owner="", until=until, error=error)

    def parked(self, error: str, now: int) -> Lease:
        """Return the lease of a message that waits for somebody to retry or skip it."""
        return self._replace(owner="", until=0, error=error, since=now)

    def retried(self) -> Lease:
        """Return the lease of a message of which the attempts begin anew."""
        return self._replace(attempt=0, owner="", until=0, since=0)


def lease_in(words: Mapping[str, Any]) -> Lease:
    """Return the lease that words hold.

    Raises:
        ValueError: they hold none, or that of a newer rstore.

    >>> lease_in({'cursor': 3, 'until': 5}).until
    5
    >>> lease_in({'until': 5})
    Traceback (most recent call last):
        ...
    ValueError: its words are no lease
    """
    types = {name: type(Lease._field_defaults.get(name, 0)) for name in Lease._fields}
    if "cursor" not in words or any(types.get(name) is not type(value) for name, value in words.items()):
        raise ValueError("its words are no lease")
    return Lease(**words)
