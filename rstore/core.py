"""What the faces of a Store share: one way to read the log, one way to append to it, and what is attached to that."""

from __future__ import annotations

import datetime
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final, TypeVar

from attrs import define, frozen

from rstore.domain.errors import FrozenStoreError, StoreConflictError, StoreError
from rstore.domain.log import Adapter, Batch, Entry, Log
from rstore.domain.names import check_name
from rstore.domain.operators import ONCE
from rstore.domain.spans import check_time
from rstore.domain.streams import Stream
from rstore.domain.transaction import Transaction, unerasable
from rstore.encoding.envelope import NOTHING, Body, Payload
from rstore.erasures import Eraser
from rstore.protection import Appender, CheckedWriter
from rstore.state_cache import Projections

ATTEMPTS: Final = 100
_BACKOFF_SECONDS: Final = 0.001
_BACKOFF_MOST: Final = 0.05

T = TypeVar("T")


@frozen
class Note:
    """Who writes and why: as it was given, and as it is attached to what is written."""

    words: dict[str, Any]
    body: Body


@define(eq=False)
class Work:
    """A transaction, and the projections that only it can see."""

    log: Transaction
    projections: Projections
    owner: object
    """Who began it: a thread, or an asyncio task. Whoever else inherits the context is not inside."""
    ended: bool = False

    def check(self) -> None:
        """Raise if it can't be used here, or any more."""
        if self.ended:
            raise StoreError("the transaction has ended: what was started in it can't use the store any more")
        if self.owner != who_runs():
            raise StoreError("a transaction belongs to the thread or task that began it: what it starts can't join")


class Face:
    """The base of the faces. Made complete by :class:`rstore.store.Store`."""

    _freq: int | datetime.timedelta | None = None
    _base: Adapter
    _writer: CheckedWriter
    _cached: Projections
    _payload: Payload
    _frozen: bool
    _history: bool
    _note: ContextVar[Note | None]
    _work: ContextVar[Work | None]

    @property
    def _log(self) -> Log | Transaction:
        """The log that is read and written here: that of the transaction, if there is one."""
        work = self._work.get()
        if work is None:
            return self._base
        work.check()
        return work.log

    def _outside(self, refusal: StoreError) -> Adapter:
        """Return the log itself, for what can't be part of a transaction; in one, raise."""
        work = self._work.get()
        if work is not None:
            work.check()
            raise refusal
        return self._base

    @property
    def _projections(self) -> Projections:
        work = self._work.get()
        return self._cached if work is None else work.projections

    def _check_writable(self) -> None:
        if self._frozen:
            raise FrozenStoreError(repr(self))

    def _entry(self, stream: Stream, op: str, body: Body = NOTHING, *, item: str = "", start: int, end: int) -> Entry:
        """Return a sealed entry, with who and why."""
        note = self._note.get()
        return self._payload.entry(
            stream, op, body, item=item, start=start, end=end, note=None if note is None else note.body
        )

    def _eraser(self, op: str, *, dry_run: bool = False) -> Eraser:
        """Return what erases for an operation, and says so first."""
        if not dry_run:
            self._check_writable()
        if self._work.get() is not None:
            raise unerasable()
        note = self._note.get()
        return Eraser(op, self._base, self._append, self._payload, None if note is None else note.body, now, dry_run)

    def _append(self, batches: Sequence[Batch]) -> list[int]:
        self._check_writable()
        log: Appender = self._writer if self._work.get() is None else self._log
        return log.append(batches) if batches else []

    def _write(self, batch: Batch, once: str | None = None) -> int | None:
        """Append a batch and return the version of its stream; None if ``once`` says that this was done before."""
        marker = None if once is None else self._marker(batch.stream, once)
        try:
            return self._append([batch, *([marker] if marker else ())])[0]
        except StoreConflictError:
            if marker is not None and self._log.head(marker.stream) is not None:
                return None
            head = self._log.head(batch.stream) if batch.expect == 0 else None
            if head is None or head.live:
                raise
        return self._write(batch._replace(expect=head.version), once)  # it was there once, and is as good as new

    def _check_version(self, stream: Stream, expect: int | None) -> None:
        """Raise StoreConflictError if a stream is at another version than expected, where there is nothing to write."""
        if expect is None:
            return
        head = self._log.head(stream)
        version = head.version if head else 0
        if version != expect and not (expect == 0 and head is not None and not head.live):
            raise StoreConflictError(*stream, expect, version)

    def _marker(self, stream: Stream, once: str, item: str = "") -> Batch:
        """Return what tells that a token was used for a stream: a stream of its own, in the same partition."""
        token = check_name("token", once, empty=False)
        kind = f"{ONCE}/{sha256(f'{stream.kind} {token}'.encode()).hexdigest()[:32]}"
        marker = Stream(kind, stream.key)
        entry = self._payload.entry(marker, ONCE, item=item, start=0, end=0)
        return Batch(marker, (entry,), now(), expect=0, live=False)

    def _decide(self, attempt: Callable[[], T], attempts: int = ATTEMPTS) -> T:
        """Repeat an attempt, which reads, decides and appends with ``expect``, until nobody comes in between.

        In a transaction there is one: what it has read before would be out of date as well.
        """
        self._check_writable()
        if attempts < 1:
            raise ValueError(f"something is tried once at least, not {attempts} times")
        if self._work.get() is not None:
            return attempt()
        for tried in range(attempts):
            try:
                return attempt()
            except StoreConflictError:
                if tried == attempts - 1:
                    raise
            time.sleep(random.uniform(0, min(_BACKOFF_MOST, _BACKOFF_SECONDS * 2 ** min(tried, 10))))  # noqa: S311
        raise AssertionError("unreachable")


def who_runs() -> tuple[int, int]:
    """Return what tells the running thread and asyncio task from others."""
    asyncio = sys.modules.get("asyncio")  # where nobody has imported it, there is no task, and it takes its time
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no loop is running here
        task = None
    return threading.get_ident(), id(task)


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


def now() -> int:
    """Return the time in POSIX milliseconds. The only place that reads a clock."""
    return time.time_ns() // 1_000_000


def check_key(key: object) -> str:
    """Return a key that every backend can keep."""
    return check_name("key", key)


def check_keys(keys: Iterable[object]) -> list[str]:
    """Return keys that every backend can keep, each once."""
    return list(dict.fromkeys(map(check_key, keys)))
