"""Messages: the commits of one stream after a version, as a delivery hands them out."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from hashlib import sha256
from operator import attrgetter
from typing import Final, NamedTuple

from rstore.core import Core
from rstore.domain.errors import StorePayloadError
from rstore.domain.log import Query, Record
from rstore.domain.streams import ES, TS, Stream
from rstore.history.changes import Change, note_of, read_change
from rstore.history.commits import Commit, commit_of, is_next

_RECORDS: Final = 4_096
_BYTES: Final = 1 << 22
_VERSION: Final = attrgetter("version")


class Message(NamedTuple):
    """A commit of a stream, the version of its last record, and the error if that cannot be read."""

    commit: Commit
    last: int
    error: StorePayloadError | None

    def token(self, identity: str, stream: Stream) -> str:
        """Return the idempotency key of the message: the same at each attempt, and no other message has it."""
        place = "\0".join((identity, *stream, str(self.last), str(self.commit.recorded)))
        return sha256(place.encode()).hexdigest()[:32]


class Page(NamedTuple):
    """The oldest records of a stream after a version, the version of the stream, and whether there are more."""

    end: int
    records: list[Record]
    more: bool


def page_of(core: Core, stream: Stream, after: int) -> Page:
    """Return the oldest records after a version: some thousands, of some megabytes."""
    head = core.base.head(stream)  # before the records: what is appended in between has a greater version
    if head is None:
        return Page(0, [], more=False)
    return Page(head.version, *oldest(core.base.read(stream, Query(after=after))))


def oldest(records: Iterable[Record], most: int = _RECORDS, room: int = _BYTES) -> tuple[list[Record], bool]:
    """Return the records of the least versions, in order, as many as there is room for, and whether there are more.

    Records come in order of their valid time, and of any number. So memory has no more of them than are returned.
    """
    kept: list[Record] = []
    size, below = 0, None
    for record in records:
        if below is not None and record.version >= below:
            continue
        insort(kept, record, key=_VERSION)
        size += len(record.data)
        while len(kept) > most or (size > room and len(kept) > 1):
            dropped = kept.pop()
            size, below = size - len(dropped.data), dropped.version
    return kept, below is not None


def messages(core: Core, stream: Stream, page: Page, last: int) -> Iterator[Message]:
    """Yield the messages of a page, lazily.

    Without words, changes of one millisecond are one message if they may be of one append: events of one time, or
    segments of a series. The records up to version ``last``, if there are any, are one message, since an attempt at it
    was begun before. A message at the end of a page may go on behind it. So it is left to the next page, unless it is
    the only one.
    """
    together: list[Change] = []
    error = None
    count = 0
    for record in page.records:
        change, problem = read_change(core, stream, record, *note_of(core, stream, record))
        if together and not _belongs(change, together[-1], last):
            yield Message(commit_of(together), together[-1].version, error)
            together, error, count = [], None, count + 1
        together.append(change)
        error = error or problem
    if together and not (page.more and count):
        yield Message(commit_of(together), together[-1].version, error)


def _belongs(change: Change, before: Change, last: int) -> bool:
    if change.version <= last or before.version <= last:
        return change.version <= last
    return is_next(change, before) and (change.commit is not None or _is_alike(change, before))


def _is_alike(change: Change, before: Change) -> bool:
    """Tell whether two changes of one millisecond, which have no words, may be of one append.

    Most are of several: a program that writes to a key in a loop does so in less than a millisecond.
    """
    return change.kind == TS or (change.kind == ES and change.timestamp == before.timestamp)
