"""The core of a store: one way to read the log, and one way to append to it. All models work on it.

A :class:`Core` is all the state of a store. Functions that only read take a :class:`Reading`, as views are.
"""

from __future__ import annotations

import datetime
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from itertools import chain
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from attrs import Factory, define, frozen

from rstore.commits import NewCommit, Note, new_identity, with_words
from rstore.domain.as_of import AsOf
from rstore.domain.capabilities import PagedAppendable
from rstore.domain.errors import FrozenStoreError, StoreConflictError, StoreError
from rstore.domain.log import Adapter, Batch, Log, LogReader
from rstore.domain.names import check_name
from rstore.domain.operators import ONCE
from rstore.domain.rules import is_there
from rstore.domain.spans import check_time
from rstore.domain.streams import Stream
from rstore.domain.transaction import Transaction, unerasable
from rstore.encoding.envelope import Envelope
from rstore.observing.reporter import Reporter
from rstore.protection import Appender, CheckedWriter
from rstore.session import Session
from rstore.state_cache import StateCache

ATTEMPTS: Final = 100
_BACKOFF_SECONDS: Final = 0.001
_BACKOFF_MOST: Final = 0.05

Freq = int | datetime.timedelta | None
T = TypeVar("T")


class Reading(Protocol):
    """All that a read needs: a log, the envelope that opens its payloads, and the states that were folded before."""

    @property
    def name(self) -> str:
        """The backend's address, without password."""

    @property
    def base(self) -> LogReader:
        """The log below all transactions."""

    @property
    def log(self) -> LogReader:
        """The log that is read."""

    @property
    def states(self) -> StateCache:
        """The event states that were used last."""

    @property
    def envelope(self) -> Envelope:
        """Opens payloads."""

    @property
    def namespace(self) -> str:
        """The name of the namespace."""

    @property
    def freq(self) -> Freq:
        """The default frequency of series."""

    def moment(self) -> int:
        """Return the time that reads show, in POSIX milliseconds: a value that ended before does not hold."""

    def at(self, moment: int) -> Past:
        """Return a reading of the namespace as it was known at a time, in POSIX milliseconds."""


@frozen(eq=False)
class Past:
    """A namespace that can be read, and not written: as it was known at a time.

    ``name`` is the backend's address, ``until`` the time in POSIX milliseconds.
    """

    name: str
    log: LogReader
    until: int
    envelope: Envelope
    namespace: str
    freq: Freq
    states: StateCache = Factory(StateCache)

    @property
    def base(self) -> LogReader:
        """The log: it lies below all transactions."""
        return self.log

    def moment(self) -> int:
        """Return the time."""
        return self.until

    def at(self, moment: int) -> Past:
        """Return a reading of the namespace as it was known at an earlier time."""
        log, until = AsOf(self.log, moment), min(moment, self.until)
        return Past(self.name, log, until, self.envelope, self.namespace, self.freq)


@define(eq=False)
class ActiveTransaction:
    """A transaction, and the event states that only it can see.

    ``owner`` is the thread or asyncio task that began it. Others inherit the context, and are not inside. ``commit`` is
    the id of all that is written in it.
    """

    log: Transaction
    states: StateCache
    owner: object
    commit: str = Factory(new_identity)
    ended: bool = False

    def check(self) -> None:
        """Raise if it can't be used here, or any more."""
        if self.ended:
            raise StoreError("the transaction has ended: what was started in it can't use the store any more")
        if self.owner != running():
            raise StoreError("a transaction belongs to the thread or task that began it: what it starts can't join")


@define(eq=False)
class Core:
    """A store from within.

    Attributes:
        title: the text that stands for the store, in errors too.
        base: the log of the namespace, below all transactions.
        frozen: whether nothing may be written.
        history: whether ``set`` and ``delete`` keep the earlier values of a key.
        freq: the default frequency of series.
        cache: the event states below all transactions.
        reporter: tells the observers, if there are any.
        indexes: the stored facts about the indexes of repositories, by the prefix of their keys.
    """

    title: str
    namespace: str
    session: Session
    base: Adapter
    envelope: Envelope
    writer: CheckedWriter
    frozen: bool
    history: bool
    freq: Freq
    cache: StateCache = Factory(StateCache)
    reporter: Reporter | None = None
    indexes: dict[str, object] = Factory(dict)
    note: ContextVar[Note | None] = Factory(lambda: ContextVar("rstore.note", default=None))
    active: ContextVar[ActiveTransaction | None] = Factory(lambda: ContextVar("rstore.transaction", default=None))

    @classmethod
    def of(
        cls,
        class_name: str,
        connect: Callable[[bool], Adapter],
        envelope: Envelope,
        namespace: str,
        *,
        frozen: bool,
        history: bool,
        freq: Freq,
        other_key: bool,
        reporter: Reporter | None = None,
    ) -> Core:
        """Return the core of a store that is not open yet.

        Args:
            class_name: the name of the store's class.
            connect: returns the log of the namespace, frozen or not.
            other_key: whether the keys may be others than those of the namespace.
        """
        base, cache, indexes = connect(frozen), StateCache(), dict[str, object]()
        writer = CheckedWriter(base, envelope.sealer, namespace, other_key=other_key)

        def forget() -> None:
            cache.clear()
            indexes.clear()
            writer.forget()

        title = f"<{class_name} {base.name} namespace={namespace!r} {'frozen' if frozen else 'writable'}>"
        session = Session(base, connect, forget)
        return cls(title, namespace, session, base, envelope, writer, frozen, history, freq, cache, reporter, indexes)

    @property
    def name(self) -> str:
        """The backend's address, without password."""
        return self.base.name

    @property
    def log(self) -> Log | Transaction:
        """The log that is read and written here: that of the transaction, if there is one."""
        active = self.active.get()
        if active is None:
            return self.base
        active.check()
        return active.log

    @property
    def states(self) -> StateCache:
        """The event states that were used last: those of the transaction, if there is one."""
        active = self.active.get()
        return self.cache if active is None else active.states

    def at(self, moment: int) -> Past:
        """Return a reading of the namespace as it was known at a time, in POSIX milliseconds."""
        return Past(self.base.name, AsOf(self.base, moment), moment, self.envelope, self.namespace, self.freq)

    def moment(self) -> int:
        """Return the present."""
        return now()

    # -- write --------------------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Raise FrozenStoreError if nothing may be written."""
        if self.frozen:
            raise FrozenStoreError(self.title)

    def check_outside(self, error: Callable[[], StoreError] = unerasable) -> None:
        """Raise an error inside a transaction."""
        if self.active.get() is not None:
            raise error()

    def new_commit(self) -> NewCommit:
        """Return the commit of an append, which makes its entries."""
        active = self.active.get()
        note = self.note.get()
        if self.reporter is not None:
            note = self.reporter.noted(with_words, note)
        return NewCommit(self.envelope, note, None if active is None else active.commit)

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append all batches or nothing, and return the newest version of each batch's stream."""
        self.check_writable()
        log: Appender = self.writer if self.active.get() is None else self.log
        return log.append(batches) if batches else []

    def append_pages(self, pages: Iterable[Sequence[Batch]]) -> None:
        """Append the batches of all pages or nothing: a page at a time, where the backend can."""
        self.check_writable()
        active = self.active.get()
        if active is not None:
            for page in pages:
                self.log.append(page)
        elif isinstance(self.base, PagedAppendable):
            self.writer.ensure_check_value(now())
            self.base.append_pages(pages)
        else:
            self.append(list(chain.from_iterable(pages)))

    def write(self, batch: Batch, once: str | None = None, beside: Sequence[Batch] = ()) -> int | None:
        """Append a batch, with some beside it, and return its stream's version; None if ``once`` was used before."""
        marker = None if once is None else self.marker(batch.stream, once)
        try:
            return self.append([batch, *([marker] if marker else ()), *beside])[0]
        except StoreConflictError:
            if marker is not None and self.log.head(marker.stream) is not None:
                return None
            head = self.log.head(batch.stream) if batch.expect == 0 else None
            if head is None or is_there(head, self.moment()):
                raise
        return self.write(batch._replace(expect=head.version), once, beside)  # a stream that ended is as good as new

    def check_version(self, stream: Stream, expect: int | None) -> None:
        """Raise StoreConflictError if a stream is at another version than expected. For calls with nothing to write."""
        if expect is None:
            return
        head = self.log.head(stream)
        version = head.version if head else 0
        if version != expect and not (expect == 0 and head is not None and not is_there(head, self.moment())):
            raise StoreConflictError(*stream, expect, version)

    def marker(self, stream: Stream, once: str, item: str = "") -> Batch:
        """Return the batch that marks an idempotency key as used. It shares the partition of ``stream``."""
        token = check_name("token", once, empty=False)
        kind = f"{ONCE}/{sha256(f'{stream.kind} {token}'.encode()).hexdigest()[:32]}"
        marker = Stream(kind, stream.key)
        entry = self.envelope.entry(marker, ONCE, item=item, start=0, end=0)
        return Batch(marker, (entry,), now(), expect=0, live=False)

    def decide(self, attempt: Callable[[], T], attempts: int = ATTEMPTS) -> T:
        """Repeat an attempt, which reads, decides and appends with ``expect``, until no other writer comes in between.

        In a transaction there is one attempt: its earlier reads would be out of date as well.
        """
        self.check_writable()
        if attempts < 1:
            raise ValueError(f"something is tried once at least, not {attempts} times")
        return attempt() if self.active.get() is not None else until_unmoved(attempt, attempts)


def until_unmoved(attempt: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Repeat an attempt until no other writer comes in between, with growing pauses."""
    for tried in range(attempts):
        try:
            return attempt()
        except StoreConflictError:
            if tried == attempts - 1:
                raise
        time.sleep(random.uniform(0, min(_BACKOFF_MOST, _BACKOFF_SECONDS * 2 ** min(tried, 10))))  # noqa: S311
    raise AssertionError("unreachable")


class ReadSurface:
    """A part of the flat public surface of a store, or of a view. It has no state and no helpers, but the core."""

    _core: Reading


class Surface(ReadSurface):
    """A part of the flat public surface of a store that also writes."""

    _core: Core


_state_of: Final[Callable[[ReadSurface], Reading]] = attrgetter("_core")


def reading_of(store: ReadSurface) -> Reading:
    """Return the reading of a store or a view. The other packages of rstore work on it.

    >>> reading_of('app.db')
    Traceback (most recent call last):
        ...
    TypeError: this takes a Store or a view of one, not str: open it with Store(...)
    """
    if not isinstance(store, ReadSurface):
        raise TypeError(f"this takes a Store or a view of one, not {type(store).__name__}: open it with Store(...)")
    return _state_of(store)


def core_of(store: ReadSurface) -> Core:
    """Return the core of a store.

    Raises:
        FrozenStoreError: it is a view of the past.
    """
    core = reading_of(store)
    if not isinstance(core, Core):
        raise FrozenStoreError(repr(store), "the past can't be written to; write to the store itself")
    return core


def running() -> tuple[int, int]:
    """Return the identity of the running thread and asyncio task."""
    # asyncio is not imported here, since that takes its time: where no code has imported it, there is no task
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no loop is running here
        task = None
    return threading.get_ident(), id(task)


def now() -> int:
    """Return the time in POSIX milliseconds. The only place that reads a clock."""
    return time.time_ns() // 1_000_000


def check_expect(expect: object) -> int | None:
    """Return the version that a user expects a stream to have, or None."""
    if expect is None:
        return None
    version = check_time("expect", expect)
    if version < 0:
        raise ValueError(f"expect is a version, 0 or more, not {version}")
    return version


def check_one(expect: int | None, streams: Sequence[Stream]) -> int | None:
    """Return a version that is expected, or raise if it is expected of several streams."""
    if expect is not None and len(streams) != 1:
        raise TypeError(f"expect is the version of one key, and there are {len(streams)}: use a transaction")
    return expect


check_key: Final = partial(check_name, "key")
"""Return a key that every backend can keep."""


def check_keys(keys: Iterable[object]) -> list[str]:
    """Return keys that every backend can keep, each once."""
    return list(dict.fromkeys(map(check_key, keys)))
