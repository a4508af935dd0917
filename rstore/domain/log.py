"""The port: one append-only log, as every backend keeps it and everything above it reads and writes it.

A *namespace* holds *streams* (:mod:`rstore.domain.streams`). A stream is an append-only sequence of *records*, all of
one key and one kind. The log sees bytes only. The rest of the domain folds records to the values that a Store shows.

Read it in this order:

1. stored: :class:`Entry`, :class:`Record`, :class:`Head`;
2. asked, and answered: :class:`Query`, :class:`ReplayQuery`, :class:`Replay`;
3. written: :class:`Batch`, :class:`Rewrite`, :class:`Reclaimed`, :class:`Copy`;
4. the port: :class:`LogReader`, :class:`Log`, :class:`Backend`.

The capabilities of some backends alone are in :mod:`rstore.domain.capabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, Self, TypeAlias

from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import Stream

VERSION_MAX: Final = 2**62 - 1
"""No version is greater: above it are those of records that wait for the end of a transaction."""
ALL_VERSIONS: Final = range(VERSION_MAX + 1)
"""Drops all records of a stream, whatever is appended meanwhile."""


class Position(Protocol):
    """A record's place in the log as a whole: opaque, and ordered among the positions of the same log."""

    def __lt__(self, other: Self, /) -> bool: ...
    def __gt__(self, other: Self, /) -> bool: ...


UNPLACED: Final[Position] = 0
"""The position of a record that is not in a log yet."""


# -- stored -----------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A part of a stream as its writer hands it to the log, which makes a record of it.

    ``start`` and ``end`` are the span of *valid time* that it speaks of, both inclusive, signed 64 bits. ``item`` is
    the dict member for events, else empty. ``op`` is the operator's name. ``data`` and ``meta`` are sealed payloads.
    """

    start: int
    end: int
    item: str
    op: str
    data: bytes
    meta: bytes | None = None


class Record(NamedTuple):
    """An entry as the log keeps it.

    ``version`` is strictly increasing in its stream and never used again. ``recorded`` is the *transaction time* in
    POSIX milliseconds, which never decreases along a stream.
    """

    version: int
    position: Position
    recorded: int
    start: int
    end: int
    item: str
    op: str
    data: bytes
    meta: bytes | None = None


class Head(NamedTuple):
    """The summary of a stream, which the log has without reading its records.

    ``version`` is the newest version given out. ``floor`` is the version after the last rewrite: a fold of an earlier
    version is no longer of use. A stream is ``live`` until an append says otherwise. ``died`` is the version of the
    append that last did so; it is 0 if none did, or if the head is that of a time. ``end`` is that of a key's newest
    record: the last POSIX millisecond at which its value holds, or 0.
    """

    stream: Stream
    version: int
    floor: int
    live: bool
    died: int = 0
    end: int = 0


# -- asked, and answered ----------------------------------------------------------------------------------------------


class Query(NamedTuple):
    """Selects records of a stream: those that meet all conditions. It also says in which order, and how many.

    Attributes:
        start, end: only records whose span touches ``start..end`` (not reversed).
        item: only records of this item.
        ops: only records with one of these operators.
        until: only records with ``recorded <= until``.
        after: only records with a greater version.
        alive: only records after the append that last ended the stream's life, if any did.
        reverse: the greatest ``(start, version)`` first, instead of the least.
        limit: at most so many records.
        most: a payload that is longer than so many bytes may be cut there, if the log can read less than all of it.
    """

    start: int = TIME_MIN
    end: int = TIME_MAX
    item: str | None = None
    ops: Collection[str] | None = None
    until: int | None = None
    after: int = 0
    alive: bool = False
    reverse: bool = False
    limit: int | None = None
    most: int | None = None

    def matching(self, records: Iterable[Record]) -> Iterator[Record]:
        """Return the records that meet the conditions on a single record. For ``alive`` see :meth:`above`.

        Rejected: a method that tells it of one record. Its call takes as long as all the comparisons.

        >>> records = [Record(1, 1, 0, 0, 5, '', 'setitem', b''), Record(2, 2, 0, 5, 5, '', 'add', b'')]
        >>> [record.version for record in Query(start=5, end=7, ops=('setitem',)).matching(records)]
        [1]
        """
        start, end, item, ops, until, after, *_ = self
        return (
            record
            for record in records
            if record.start <= end
            and record.end >= start
            and record.version > after
            and (item is None or record.item == item)
            and (ops is None or record.op in ops)
            and (until is None or record.recorded <= until)
        )

    def above(self, died: int) -> int:
        """Return the version above which records count, in a stream whose life last ended at version ``died``."""
        return max(self.after, died) if self.alive else self.after


EVERYTHING: Final = Query()
"""All records of a stream."""


class ReplayQuery(NamedTuple):
    """Asks for the records of a stream to fold: by default those of the present state of an event sequence.

    Attributes:
        query: selects records, as in :meth:`LogReader.read`; the head is that of the present. If the log has lost the
            record of the version ``after``, which the caller has folded, the head has a floor above it: as after a
            rewrite.
        horizon: the newest snapshot of a time up to this one and ``query.end``, recorded by ``query.until``; and only
            the records that it has not folded. Beside it, the query sets no more than these two. None: no snapshot.
    """

    stream: Stream
    query: Query = EVERYTHING
    horizon: int | None = TIME_MAX


class Replay(NamedTuple):
    """The head of a stream, a snapshot if there is one, and the records to fold, in the order of their query."""

    head: Head
    snapshot: Record | None
    records: list[Record]


# -- written ----------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Entries for one stream. ``entries`` is iterated once, inside the transaction, and must not call user code.

    ``expect`` is the version that the stream must still have (0: there is no such stream; None: any). ``live`` says
    whether the stream lives after it. With ``replace`` the entries take the place of all earlier records of the stream.
    With ``if_live`` nothing is appended to a stream that does not live or is not there. Without entries, and with
    ``if_live``, a batch only checks what it expects.
    """

    stream: Stream
    entries: Iterable[Entry]
    recorded: int
    expect: int | None = None
    live: bool = True
    replace: bool = False
    if_live: bool = False


class Rewrite(NamedTuple):
    """Records of one stream that go, and those that stand in for them.

    ``drop`` holds versions; a ``range`` is cheap however long. Each record of ``put`` has the version of a record
    that it replaces and takes over its position too, so that no follower sees it as new. ``expect`` is the version
    that the stream must still have (None: any). ``floor`` is the version that it must have had after its last rewrite
    (None: any): a caller that replaces all up to a version need not mind later appends. ``live`` says whether the
    stream lives afterwards (None: as before).

    A rewrite moves the stream's version on by one, so that a reader that folded before notices. With
    ``bump_version=False`` it does not. That is for a stream of which only the last record counts, if the rewrite keeps
    that; and for records that hold the same as those that they replace, sealed anew.

    A record that is put in place of one that is not there any more is passed over, or conflicts. A rewrite that finds
    nothing to change does nothing. A stream that is left without records and life is forgotten.
    """

    stream: Stream
    expect: int | None
    drop: Collection[int]
    put: Iterable[Record] = ()
    live: bool | None = None
    bump_version: bool = True
    floor: int | None = None


class Reclaimed(NamedTuple):
    """The records that a prune or compact took out of the log: their number, and the bytes of their data."""

    records: int
    bytes: int

    def plus(self, other: Reclaimed) -> Reclaimed:
        """Return the sum of both."""
        return Reclaimed(self.records + other.records, self.bytes + other.bytes)


class Copy(NamedTuple):
    """A part of a stream of another log: records as they are there, and its head after them.

    ``records`` are in order of their versions and keep them, and all else but their positions. ``version`` is that of
    the stream after them: at least that of the last one, and more if a rewrite has moved the stream on. ``live`` and
    ``died`` are as in a :class:`Head`.
    """

    stream: Stream
    version: int
    live: bool
    died: int
    records: Sequence[Record] = ()


# -- the port ---------------------------------------------------------------------------------------------------------
# Every adapter keeps these promises; tests/contract holds it to them.
# * Appends and rewrites are atomic and isolated. What was acknowledged survives ``kill -9`` and, at the default
#   durability, loss of power.
# * Threads may share a log, and a process may use it after ``fork``.
# * Every call but ``name``, ``open`` and ``close`` needs an open log. Failures are :class:`StoreError`s:
#   :class:`StoreNotAvailableError` if the backend can't be reached or locked in time; the next call tries anew.
#   An adapter retries nothing that could then be written twice.


class LogReader(Protocol):
    """Reading one namespace. A log as of a time (:class:`rstore.domain.as_of.AsOf`) is one too."""

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        """Yield the records that a query matches, in order of ``(start, version)``, lazily.

        The iterator shows the stream as it was when its first record was asked for, whatever is written meanwhile.
        """

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        """Return the records to fold of many streams, each in one consistent read; None where there is no such stream.

        They are of any kind but keys. Many take few round trips. The snapshots of an event sequence are records on the
        stream of kind ``ss`` with its key. Their span is the latest time that they have folded, their item the version
        up to which they have, in decimal. A view shows no stream where it finds no record, and no head but theirs.

        Args:
            room: answer for fewer queries, the first ones, if all their records take more bytes in memory than about
                this; for one at least. An adapter that can't tell sizes beforehand goes by those of the first ones.
        """

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        """Return the newest record of each stream, in one consistent read; None for a stream without any.

        Where a namespace has several partitions, each of them is read consistently by itself. To go back in time costs
        little more than the present, and does not grow with the number of later records: not with a key's, at least.

        Args:
            until: only records with ``recorded <= until``.
            room: answer for fewer streams, the first ones, if all their records have more bytes than this; for one at
                least. It lets a caller page through many newest records while it holds a few megabytes: see
                :func:`rstore.domain.paging.newest`.
        """

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        """Return the stream's head, or None if there is no such stream.

        Args:
            until: the head as it was when the newest record with ``recorded <= until`` was, if there is one: see
                :func:`rstore.domain.rules.head_then`. No payload is read, where the backend can leave it out.
        """

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        """Yield the heads of the streams of a kind whose keys begin with ``prefix``, by key in code-point order.

        Read in pages: it may go on while the log is written to, and then shows each stream that was there all the
        time exactly once.

        Args:
            live: only those that live.
            after: the key to go on from.
            until: the heads as they were then, as :meth:`head` shows them.
        """

    def counts(self, kinds: Sequence[str]) -> list[int]:
        """Return how many streams of each kind are live, without listing them, in one round trip."""

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        """Yield ``(position, stream, record)`` of the whole namespace after a position, then end.

        Nothing acknowledged is ever skipped: a record that commits late does not appear behind a reader's back.
        """

    def wait(self, after: Position | None, seconds: float) -> bool:
        """Wait until there may be something after a position, and tell so; or return false after so many seconds.

        It is a hint: the caller looks again either way, and not too rarely.
        """

    def checkpoint(self, position: Position) -> str:
        """Return a position that :meth:`follow` has yielded as text."""

    def position(self, checkpoint: str) -> Position:
        """Return the position that a text of :meth:`checkpoint` stands for.

        Raises:
            ValueError: it is none of this kind of log.
        """


class Log(LogReader, Protocol):
    """One namespace, read and written. A transaction is a :class:`LogReader` with ``append`` alone."""

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append all batches or nothing, durably, and return the newest version of each batch's stream.

        The batches are of different streams. All get the same ``recorded``: the latest that one of them is given, or
        that the last record of one of their streams has. So a reader of the log as of a time sees all or nothing.

        Raises:
            StoreConflictError: a stream is not at the version that its batch expects.
        """

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        """Replace records by others, all or nothing: besides ``discard`` the only way that a record leaves the log.

        The rewrites are of different streams.

        Raises:
            StoreConflictError: a stream is not at the version that its rewrite expects.
        """


class Backend(Protocol):
    """The place of a namespace, beside others."""

    @property
    def name(self) -> str:
        """The backend's address as it may be shown: without password."""

    def open(self) -> None:
        """Connect. A frozen log only looks for the namespace, one that may write creates it if there is none.

        Raises:
            StoreNotAvailableError: the backend can't be reached, or a frozen log finds no such namespace.
        """

    def close(self) -> None:
        """Let go of all connections. Iterators that are still being read end with a StoreError."""

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces of the backend, in code-point order.

        Those that are made or discarded at the same time may be among them or not.
        """

    def discard(self) -> None:
        """Erase the namespace. Writing to it makes it anew."""

    def vacuum(self) -> None:
        """Give the space of erased records back to the file system, as far as the backend can."""


class Adapter(Log, Backend, Protocol):
    """A log and its backend: every adapter provides both."""


Connector: TypeAlias = Callable[[str, bool], Adapter]
"""Makes the log of a namespace, frozen or not; connects to nothing until that is opened."""
