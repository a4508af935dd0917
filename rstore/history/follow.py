"""Following the log: what was stored after a checkpoint, and then what is stored now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from typing import Any, Final, Generic, NamedTuple, Self, TypeAlias, TypeVar

from attrs import define

from rstore.core import now
from rstore.domain.errors import StoreConflictError, StorePayloadError
from rstore.domain.log import Batch, LogReader, Position, Record
from rstore.domain.names import check_name, exact
from rstore.domain.operators import SKIP
from rstore.domain.streams import ORIGIN, PROJECT, SKIPPED, Stream
from rstore.domain.transaction import check_stored
from rstore.encoding.envelope import note_body
from rstore.history.changes import Audit, Change, Wanted, wanted
from rstore.history.skipping import OF_THE_STORE, OnError, Skipped, check_on_error, skipped_of, words_of
from rstore.transactions import Scopes

_WRITER: Final = "rstore.projection"
"""The word that says, beside who and why, which projection has written something."""

_BATCH: Final = 100
_SCANNED: Final = 10_000
_PAGE: Final = 4_096
_PAGE_BYTES: Final = 1 << 21
_LOOK_SECONDS: Final = 0.25
_LEAST_SECONDS: Final = 0.001

S = TypeVar("S")
_Found: TypeAlias = tuple[Position, Stream, Record]


class _Pauses:
    """What lies between two looks at the log, until nothing came for so many seconds.

    They are counted as well as measured: a clock that is held does not hold this up, nor does what comes and is for
    others, which takes more time to look at than it was waited for.
    """

    def __init__(self, wait: float | None) -> None:
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
            raise TypeError(f"wait is a number of seconds, not {type(wait).__name__}")
        if wait is not None and not wait >= 0:
            raise ValueError(f"wait is a number of seconds, 0 or more, not {wait!r}")
        self._wait = wait
        self.restart()

    def restart(self) -> None:
        """Begin to wait: something came."""
        self._counted, self._began = 0.0, time.monotonic()

    def pause(self, log: LogReader, after: Position | None) -> bool:
        """Wait for something after a position, and return true; or false if there was nothing for long enough."""
        waited = max(self._counted, time.monotonic() - self._began)
        if self._wait is None or waited >= self._wait:
            return False
        seconds = min(_LOOK_SECONDS, self._wait - waited)
        self._counted += _LEAST_SECONDS if log.wait(after, seconds) else seconds
        return True


class _Due(NamedTuple):
    """A change that a projection is to be fed, where it stands, and why it cannot be read, if that is so."""

    change: Change
    position: Position
    error: StorePayloadError | None


class _Next(NamedTuple):
    """What a projection finds in the log: changes to be fed, up to where it has looked, and whether there is more."""

    changes: list[_Due]
    position: Position | None
    scanned: int
    more: bool


@define(eq=False)
class _Projecting(Generic[S]):
    """A projection at work: what it is fed, and what is known of its progress.

    ``position`` is where to look on as long as its checkpoint has the same ``version``; what lies between the two was
    looked at, and is not for it. ``size`` is the number of changes to be fed at once.
    """

    stream: Stream
    streams: Wanted
    fn: Callable[[Change, S], Any]
    on_error: OnError
    size: int
    version: int = -1
    position: Position | None = None
    passed: int = 0


class Following(Audit, Scopes):
    """Iterating over changes as they are stored, and read models that are kept up to date."""

    def follow(
        self,
        after: str | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
    ) -> Iterator[tuple[str, Change]]:
        """Yield ``(checkpoint, change)`` for all that was stored after a checkpoint, then for what is stored meanwhile.

        No change whose write has returned is ever skipped, and none is repeated, however many writers there are.
        What a transaction under way has written comes when that has ended. Inside it, it comes after all that is
        stored, with checkpoints from which nothing goes on. What was pruned or compacted before it was followed does
        not come any more; that it was erased does, as a change whose value is an :class:`rstore.Erasure`. A change that
        cannot be read has an :class:`Unreadable` as its value.

        Args:
            after: the checkpoint of the last change that was dealt with: a str to be kept anywhere. None: from the
                beginning.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            wait: go on until nothing came for so many seconds; ``math.inf`` never ends. None: end with what there is.

        Raises:
            ValueError: ``after`` is no checkpoint of this kind of store.

        >>> store['price'] = 10
        >>> [(checkpoint, change)] = store.follow()
        >>> store['price'] = 11
        >>> [change.value for _, change in store.follow(after=checkpoint)]
        [11]
        """
        streams, pauses = wanted(kind, prefix), _Pauses(wait)
        position = None if after is None else self._position(after)
        # who waits, and may take his time over each change, is given pages: no read is open meanwhile
        found = self._log.follow(position) if wait is None else self._live(position, streams, pauses)
        return self._followed(self._log, found, streams)

    def _followed(self, log: LogReader, found: Iterable[_Found], streams: Wanted) -> Iterator[tuple[str, Change]]:
        mark = self._mark()
        for position, stream, record in found:
            change = self._shown(streams, stream, record) if streams.may_have(stream) else None
            if change is not None:
                yield f"{mark}-{log.checkpoint(position)}", change

    def _mark(self) -> str:
        """Return what tells the checkpoints of this namespace from others', and from those of what it is a copy of."""
        (origin,) = self._base.last([ORIGIN])
        return sha256((self.namespace + ("" if origin is None else f"\0{origin.item}")).encode()).hexdigest()[:6]

    def _position(self, checkpoint: str) -> Position:
        if not isinstance(checkpoint, str):
            raise TypeError(f"a checkpoint is a str that follow() has yielded, not {type(checkpoint).__name__}")
        checkpoint = exact(checkpoint)
        mark, _, text = checkpoint.partition("-")
        if mark != self._mark():
            raise ValueError(
                f"{checkpoint[:60]!r} is no checkpoint of the namespace {self.namespace!r}, but of another one, or of "
                "what was copied there: begin without one"
            )
        check_stored(text)
        return self._log.position(text)

    def _live(self, after: Position | None, streams: Wanted, pauses: _Pauses) -> Iterator[_Found]:
        while True:
            page, more = self._page(after)
            for found in page:
                after = found[0]
                if streams.may_have(found[1]):
                    yield found
                    pauses.restart()
            if not (more or pauses.pause(self._log, after)):
                return

    def _page(self, after: Position | None) -> tuple[list[_Found], bool]:
        """Return what comes next, and whether there may be more of it."""
        page, size = [], 0
        for found in self._log.follow(after):
            page.append(found)
            size += len(found[2].data)
            if size >= _PAGE_BYTES or len(page) == _PAGE:
                return page, True
        return page, False

    # -- projections --------------------------------------------------------------------------------------------------

    def project(
        self,
        name: str,
        fn: Callable[[Change, Self], Any],
        *,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        rebuild: bool = False,
        on_error: OnError = "raise",
    ) -> int:
        """Keep a read model up to date: call ``fn(change, store)`` for each change since the last time, exactly once.

        What ``fn`` writes to this store is stored in one transaction with the checkpoint, for up to 100 changes at a
        time: after a crash, or in two processes at once, ``fn`` may be called again, but each change has its effect on
        the store once. If it raises, nothing of its batch is stored, and the next call begins with that batch again.
        What ``fn`` itself has written is not fed to it; other projections are fed with it. Erasures are fed to none:
        they change nothing that is read of the present.

        Args:
            name: that of the projection; its checkpoint is kept under it.
            kind, prefix, wait: as in :meth:`follow`.
            rebuild: begin again with the first change. Delete what the projection has written before that.
            on_error: what becomes of a change that cannot be read, or at which ``fn`` raises. ``raise``: the projection
                stops there. ``skip``: what ``fn`` has written for it is taken back, :meth:`skipped` lists it, and the
                projection goes on. A function gets the change and the error instead; the projection goes on when it
                returns. What it writes is part of the transaction, in which it may be called again, as ``fn`` is.
                Errors of the store itself, such as a conflict or a lost connection, are raised in any case.

        Returns:
            The number of changes that were dealt with.

        Raises:
            StoreConflictError: others wrote to what ``fn`` has read, again and again.

        >>> def count(change, store):
        ...     store['changes of ' + change.key] = store.get('changes of ' + change.key, 0) + 1
        >>> store['price'] = 10
        >>> store['price'] = 11
        >>> store.project('counts', count), store['changes of price'], store.project('counts', count)
        (2, 2, 0)
        """
        self._check_writable()
        stream, pauses = Stream(PROJECT, check_name("projection", name, empty=False)), _Pauses(wait)
        work = _Projecting(stream, wanted(kind, prefix), fn, check_on_error(on_error), _BATCH)
        if rebuild:
            self._append([self._progress(stream, "", None), self._none_skipped(name)])
        done = 0
        while True:
            fed, more = self._decide(partial(self._project, work))
            done += fed
            if fed:
                pauses.restart()
            elif not (more or pauses.pause(self._log, work.position)):
                return done

    def _project(self, work: _Projecting[Self]) -> tuple[int, bool]:
        """Feed the next changes to a projection; return how many, and whether there is more to look at."""
        self._look_up(work)
        found = self._next(work)
        if found.changes or work.passed + found.scanned >= _SCANNED:  # also what is not for it is not read forever
            self._feed(work, found)
        else:
            work.position, work.passed = found.position, work.passed + found.scanned
        return len(found.changes), found.more

    def _look_up(self, work: _Projecting[Self]) -> None:
        """Learn where the projection stands, if it has moved: by this process, or by another one."""
        record = self._log.last((work.stream,))[0]
        version = 0 if record is None else record.version
        if version == work.version:
            return
        work.version, work.position, work.passed = version, None, 0
        if record is not None:
            self._payload.check(work.stream, record)
            work.position = self._log.position(record.item) if record.item else None

    def _next(self, work: _Projecting[Self]) -> _Next:
        changes: list[_Due] = []
        position, scanned = work.position, 0
        # what waits for the end of a transaction has no position yet that a later call could go on from
        for position, stream, record in self._base.follow(work.position):  # how far it got
            scanned += 1
            if work.streams.has(stream) and self._words(stream, record)[0].get(_WRITER) != work.stream.key:
                change, error = self._read_change(stream, record)
                changes.append(_Due(change, position, error))
            if len(changes) == work.size or scanned == _SCANNED:
                return _Next(changes, position, scanned, more=True)
        return _Next(changes, position, scanned, more=False)

    def _feed(self, work: _Projecting[Self], found: _Next) -> None:
        checkpoint = "" if found.position is None else self._log.checkpoint(found.position)
        try:
            with self.transaction(), self.context(**{_WRITER: work.stream.key}):
                for due in found.changes:
                    self._fed(work, due)
                self._log.append([self._progress(work.stream, checkpoint, work.version)])
        except StoreConflictError:
            work.size = max(1, work.size // 2)  # less is read, and others have less time to come in between
            raise
        work.size = min(_BATCH, 2 * work.size)

    def _fed(self, work: _Projecting[Self], due: _Due) -> None:
        try:
            if due.error is not None:
                raise due.error
            with nullcontext() if work.on_error == "raise" else self.transaction():
                work.fn(due.change, self)
        except Exception as exc:
            if work.on_error == "raise" or isinstance(exc, OF_THE_STORE):
                exc.add_note(
                    f"rstore: in projection {work.stream.key!r}, at version {due.change.version} of {due.change.kind} "
                    f"{due.change.key!r}, whose checkpoint is {self._checkpoint(due.position)!r}; nothing of its batch "
                    "was stored"
                )
                raise
            self._failed(work, due, exc)

    def _failed(self, work: _Projecting[Self], due: _Due, error: Exception) -> None:
        """Do with a change that fails what the projection was told to."""
        if callable(work.on_error):
            work.on_error(due.change, error)
            return
        stream = Stream(SKIPPED, work.stream.key)
        note = note_body(words_of(due.change, self._checkpoint(due.position), error))
        entry = self._payload.entry(stream, SKIP, start=0, end=0, note=note)
        self._log.append([Batch(stream, (entry,), now())])

    def _checkpoint(self, position: Position) -> str:
        return f"{self._mark()}-{self._log.checkpoint(position)}"

    def skipped(self, name: str) -> list[Skipped]:
        """Return the changes that a projection has skipped, in the order in which it did, since its last rebuild.

        >>> def fail(change, store):
        ...     raise LookupError
        >>> store['price'] = 10
        >>> store.project('failing', fail, on_error='skip')
        1
        >>> [(each.key, each.error) for each in store.skipped('failing')]
        [('price', 'LookupError')]
        """
        stream = Stream(SKIPPED, check_name("projection", name, empty=False))
        found = ((record.recorded, self._payload.note(stream, record)) for record in self._log.read(stream))
        return [skipped_of(recorded, words) for recorded, words in found if words]

    def _none_skipped(self, name: str) -> Batch:
        """Return what takes the place of all that a projection has skipped: an entry without words."""
        stream = Stream(SKIPPED, name)
        entry = self._payload.entry(stream, SKIP, start=0, end=0)
        return Batch(stream, (entry,), now(), if_live=True, replace=True)

    def _progress(self, stream: Stream, checkpoint: str, expect: int | None) -> Batch:
        entry = self._payload.entry(stream, PROJECT, item=checkpoint, start=0, end=0)
        return Batch(stream, (entry,), now(), expect, replace=True)
