"""Projections: read models that are kept up to date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

from attrs import Factory, define

from rstore.commits import COMMIT, WRITER, writers_in
from rstore.core import Core, Surface, now
from rstore.domain.errors import StoreConflictError, StoreError, StorePayloadError
from rstore.domain.log import Batch, Position, Record
from rstore.domain.names import check_name
from rstore.domain.operators import SKIP
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, PROJECT, SKIPPED, TS, Stream
from rstore.encoding.notes import note_body
from rstore.history.changes import Change, StreamFilter, note_of, read_change, stream_filter
from rstore.history.follow import Pauses, mark_of
from rstore.history.handling import handling
from rstore.history.lag import filter_words
from rstore.history.rebuild import output_of
from rstore.history.skipping import OF_THE_STORE, OnError, Skipped, check_on_error, note_of_skipped, skipped_of
from rstore.models.applying import delete_sequence
from rstore.models.extending import remove_span
from rstore.models.keyvalues import delete_values
from rstore.transactions import context, transaction

_BATCH: Final = 100
_SCANNED: Final = 10_000
_COMMIT_MOST: Final = 20_000
_COMMIT_BYTES: Final = 1 << 24
"""A batch of as many records, or of as many bytes, may end within a commit: memory has to hold it."""

S = TypeVar("S")


class _Due(NamedTuple):
    """A change for a projection, its position, and the error if it cannot be read."""

    change: Change
    position: Position
    error: StorePayloadError | None


class _Next(NamedTuple):
    """A look at the log: the changes for the projection, where the look ended, and whether more may follow."""

    changes: list[_Due]
    position: Position | None
    scanned: int
    more: bool


@define(eq=False)
class _Projector(Generic[S]):
    """A projection at work, and its progress.

    ``position`` is where the next look begins, as long as the checkpoint has the same ``version``. Records between the
    checkpoint and it are not for the projection. ``size`` is the number of changes that are fed at once.
    """

    core: Core
    store: S
    name: str
    streams: StreamFilter
    fn: Callable[[Change, S], Any]
    on_error: OnError
    size: int = Factory(lambda: _BATCH)
    version: int = -1
    position: Position | None = None
    passed: int = 0

    @property
    def stream(self) -> Stream:
        """The stream that holds its checkpoint."""
        return Stream(PROJECT, self.name)

    def begin_again(self) -> None:
        """Delete the projection's output, its checkpoint and its skipped changes, in one transaction."""
        with transaction(self.core), context(self.core, {WRITER: self.name}):
            output = output_of(self.core.log, self.stream, self._writers_of)
            delete_values(self.core, [head for head in output if head.stream.kind == KV])
            for head in output:
                if head.stream.kind == TS:
                    remove_span(self.core, head.stream, TIME_MIN, TIME_MAX, head.version)
                elif head.stream.kind == ES:
                    delete_sequence(self.core, head.stream.key, head.version)
            self.core.log.append([self._progress("", None), self._none_skipped()])

    def _writers_of(self, stream: Stream, record: Record) -> set[str | None]:
        """Return the projections that wrote a record; None stands for other writers and unreadable notes."""
        return writers_in(note_of(self.core, stream, record)[0])

    def run(self, pauses: Pauses) -> int:
        """Feed all changes, and those that come while it waits. Return their number."""
        done = 0
        while True:
            fed, more = self.core.decide(self._step)
            done += fed
            if fed:
                pauses.restart()
            elif not (more or pauses.pause(self.core.log, self.position)):
                return done

    def _step(self) -> tuple[int, bool]:
        """Feed the next changes. Return their number, and whether there may be more."""
        self._look_up()
        found = self._next()
        # a projection of rare changes moves its checkpoint too: the next call would read all others again
        if found.changes or self.passed + found.scanned >= _SCANNED:
            with handling(self.core, "projection", self.name, [due.change for due in found.changes]):
                self._feed(found)
        else:
            self.position, self.passed = found.position, self.passed + found.scanned
        return len(found.changes), found.more

    def _look_up(self) -> None:
        """Read the checkpoint again, if this process or another one has moved it."""
        record = self.core.log.last((self.stream,))[0]
        version = 0 if record is None else record.version
        if version == self.version:
            return
        self.version, self.position, self.passed = version, None, 0
        if record is not None:
            self.core.envelope.check(self.stream, record)
            self.position = self.core.log.position(record.item) if record.item else None

    def _next(self) -> _Next:
        changes: list[_Due] = []
        position, scanned, size = self.position, 0, 0
        last: tuple[Stream, Record] | None = None
        # the base log: a record inside a transaction has no position yet that a later call could go on from
        for position_of_record, stream, record in self.core.base.follow(self.position):
            is_full = len(changes) >= self.size or scanned >= _SCANNED
            is_large = scanned >= _COMMIT_MOST or size >= _COMMIT_BYTES
            if last and is_full and (is_large or self._commit_of(*last) != self._commit_of(stream, record)):
                return _Next(changes, position, scanned, more=True)
            position, last, scanned = position_of_record, (stream, record), scanned + 1  # how far it got
            if not self.streams.has(stream):
                continue
            note, unreadable = note_of(self.core, stream, record)
            if writers_in(note) != {self.name}:
                change, error = read_change(self.core, stream, record, note, unreadable)
                changes.append(_Due(change, position, error))
                size += len(record.data)
        return _Next(changes, position, scanned, more=False)

    def _commit_of(self, stream: Stream, record: Record) -> tuple[int, str | None]:
        """Return what the records of a commit have in common: its time, and its id if it has words."""
        return record.recorded, note_of(self.core, stream, record)[0].get(COMMIT)

    def _feed(self, found: _Next) -> None:
        checkpoint = "" if found.position is None else self.core.log.checkpoint(found.position)
        try:
            with transaction(self.core), context(self.core, {WRITER: self.name}):
                for due in found.changes:
                    self._feed_one(due)
                self.core.log.append([self._progress(checkpoint, self.version)])
        except StoreConflictError:
            # a smaller batch reads less, and leaves others less time to come in between
            self.size = max(1, self.size // 2)
            raise
        self.size = min(_BATCH, 2 * self.size)

    def _feed_one(self, due: _Due) -> None:
        try:
            if due.error is not None:
                raise due.error
            with nullcontext() if self.on_error == "raise" else transaction(self.core):
                self.fn(due.change, self.store)
        except Exception as exc:
            if self.on_error == "raise" or isinstance(exc, OF_THE_STORE):
                exc.add_note(
                    f"rstore: in projection {self.name!r}, at version {due.change.version} of {due.change.kind} "
                    f"{due.change.key!r}, whose checkpoint is {self._checkpoint(due.position)!r}; nothing of its batch "
                    "was stored"
                )
                raise
            self._handle_failure(due, exc)

    def _handle_failure(self, due: _Due, error: Exception) -> None:
        """Hand a failing change to ``on_error``, or record that it was skipped."""
        if callable(self.on_error):
            self.on_error(due.change, error)
            return
        stream = Stream(SKIPPED, self.name)
        note = note_body(note_of_skipped(due.change, self._checkpoint(due.position), error))
        entry = self.core.envelope.entry(stream, SKIP, start=0, end=0, note=note)
        self.core.log.append([Batch(stream, (entry,), now())])

    def _checkpoint(self, position: Position) -> str:
        return f"{mark_of(self.core)}-{self.core.log.checkpoint(position)}"

    def _none_skipped(self) -> Batch:
        """Return an entry without words, which replaces the list of skipped changes."""
        stream = Stream(SKIPPED, self.name)
        entry = self.core.envelope.entry(stream, SKIP, start=0, end=0)
        return Batch(stream, (entry,), now(), if_live=True, replace=True)

    def _progress(self, checkpoint: str, expect: int | None) -> Batch:
        words = filter_words(self.streams)
        note = note_body(words) if words else None
        entry = self.core.envelope.entry(self.stream, PROJECT, item=checkpoint, start=0, end=0, note=note)
        return Batch(self.stream, (entry,), now(), expect, replace=True)


class Projecting(Surface):
    """Keeps read models up to date."""

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

        What ``fn`` writes to this store is stored in one transaction with the checkpoint, for 100 changes at a time,
        and the rest of their last commit, as long as that is not larger than 16 MiB. After a crash, or in two processes
        at once, ``fn`` may be called again, but each change has its effect on the store once. If it raises, nothing of
        its batch is stored, and the next call begins with that batch again. What ``fn`` itself has written is not fed
        to it; other projections are fed with it. Erasures are fed to none: they change nothing that is read of the
        present.

        Args:
            name: that of the projection; its checkpoint is kept under it.
            kind, prefix, wait: as in :meth:`follow`.
            rebuild: delete the projection's output, and begin again with the first change. The keys, series and
                event sequences that only it has written to are deleted in one transaction with its checkpoint; their
                past stays. The log tells who wrote: records that ``prune``, ``compact`` or ``history=False`` took away
                no longer do, so delete such output yourself.
            on_error: the fate of a change that cannot be read, or at which ``fn`` raises. ``raise``: the projection
                stops there. ``skip``: the writes of ``fn`` for it are taken back, :meth:`skipped` lists it, and the
                projection goes on. A function gets the change and the error instead; the projection goes on when it
                returns. What it writes is part of the transaction, in which it may be called again, as ``fn`` is.
                Errors of the store itself, such as a conflict or a lost connection, are raised in any case.

        Returns:
            The number of changes that were dealt with.

        Raises:
            StoreConflictError: other writers changed what ``fn`` had read, again and again.
            StoreError: a rebuild finds streams that other writers wrote to as well; nothing is changed.

        >>> def count(change, store):
        ...     store['changes of ' + change.key] = store.get('changes of ' + change.key, 0) + 1
        >>> store['price'] = 10
        >>> store['price'] = 11
        >>> store.project('counts', count), store['changes of price'], store.project('counts', count)
        (2, 2, 0)
        >>> store.project('counts', count, rebuild=True), store['changes of price']
        (2, 2)
        """
        self._core.check_writable()
        name = check_name("projection", name, empty=False)
        note = self._core.note.get()
        if note is not None and note.words.get(WRITER) == name:
            raise StoreError(f"projection {name!r} is at work: its function can't call project() for it again")
        work = _Projector(self._core, self, name, stream_filter(kind, prefix), fn, check_on_error(on_error))
        if rebuild:
            self._core.decide(work.begin_again)
        return work.run(Pauses(wait))

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
        found = ((record.recorded, self._core.envelope.note(stream, record)) for record in self._core.log.read(stream))
        return [skipped_of(recorded, words) for recorded, words in found if words]
