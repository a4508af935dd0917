"""Projections: read models that are kept up to date, in the store itself or in another place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from attrs import Factory, define

from rstore.commits import COMMIT, writers_in
from rstore.core import Core, now, until_unmoved
from rstore.domain.errors import StoreConflictError, StoreError, StorePayloadError
from rstore.domain.log import Position, Record
from rstore.domain.streams import Stream
from rstore.history.changes import KINDS, Change, StreamFilter, note_of, read_change
from rstore.history.follow import Pauses, mark_of, page_of, position_in
from rstore.history.handling import handling
from rstore.history.skipping import OF_THE_STORE, OnError, skipped_now
from rstore.history.targets import REPLACED, CheckpointMovedError, SkippingTarget, Target

_BATCH: Final = 100
_SCANNED: Final = 10_000
_SCANNED_BYTES: Final = 1 << 24
"""From so many changes on, or so many records or bytes of any keys, a batch ends with the next commit."""
_COMMIT_MOST: Final = 20_000
_COMMIT_BYTES: Final = 1 << 25
"""From so many records or bytes on, a batch ends anywhere: memory has to hold all of it."""
_MOVE_SECONDS: Final = 1.0
_APART: Final = 128
"""So many records on each side of a possible end are compared. On a cluster, each of the other 63 partitions may have a
record between two that a commit writes to one key. Elsewhere, private ones, as those of indexes, stand between keys."""

T = TypeVar("T")


class Due(NamedTuple):
    """A record for a projection, its position, and its words, or the error if these can't be read."""

    position: Position
    stream: Stream
    record: Record
    words: dict[str, Any]
    unreadable: StorePayloadError | None

    def change(self, core: Core) -> tuple[Change, StorePayloadError | None]:
        """Return its change, and the error if that can't be read."""
        return read_change(core, self.stream, self.record, dict(self.words), self.unreadable)


class Call(NamedTuple):
    """A call of a user's function.

    Attributes:
        subject: the argument of the user's function: a change, or an object that is made of several.
        change: the change that errors name.
        position: that of the last change of the subject.
        error: why the subject can't be read; None if it can.
        function: takes what the target hands out.
    """

    subject: Any
    change: Change
    position: Position
    error: Exception | None
    function: Callable[[Any], Any]


Calls: TypeAlias = Callable[[Sequence[Due]], Iterable[Call]]
"""Returns the calls for records that come one after the other, up to the end of a commit."""


class _Next(NamedTuple):
    """A look at the log: the changes for the projection, where the look ended, and whether more may follow."""

    changes: list[Due]
    position: Position | None
    scanned: int
    more: bool


@define(eq=False)
class Work(Generic[T]):
    """A projection at work, and its progress.

    ``position`` is where the next look begins, as long as the checkpoint is ``known``. Records between the checkpoint
    and it are not for the projection. ``ahead`` are the records after it that were read already. ``size`` is the number
    of changes that are fed at once. ``unwanted``: there are changes behind the checkpoint that no function wants;
    ``stored`` is when the checkpoint was moved last. ``own``: the target is the store itself, whose records may be the
    projection's output.
    """

    core: Core
    target: Target[T]
    name: str
    streams: StreamFilter
    calls: Calls
    on_error: OnError
    own: bool
    mark: str = Factory(lambda self: mark_of(self.core), takes_self=True)
    size: int = Factory(lambda: _BATCH)
    known: str | None = ""
    position: Position | None = None
    passed: int = 0
    unwanted: bool = False
    stored: float = 0.0
    ahead: list[tuple[Position, Stream, Record]] = Factory(list)

    def begin_again(self, find: Callable[[], Callable[[T], Any]]) -> None:
        """Delete the projection's output, its checkpoint and its skipped changes, in one transaction.

        Args:
            find: looks for the output, and returns the function that deletes it.
        """
        before = self.target.checkpoint(self.name)
        clear = find()
        with self.target.transaction(self.name) as handle:
            self._advance(before, None)
            clear(handle)
            if isinstance(self.target, SkippingTarget):
                self.target.forget_skipped(self.name)

    def run(self, pauses: Pauses) -> int:
        """Make all calls, and those for changes that come while it waits. Return their number."""
        done = 0
        while True:
            fed, more = self.core.decide(self._step) if self.own else until_unmoved(self._step)
            done += fed
            if fed:
                pauses.restart()
            elif not (more or pauses.pause(self.core.log, self.position)):
                if self.unwanted:
                    with suppress(StoreConflictError):  # another process has moved the checkpoint
                        self._feed(_Next([], self.position, 0, more=False), ())
                return done

    def _step(self) -> tuple[int, bool]:
        """Feed the next changes. Return the number of calls, and whether there may be more."""
        self._look_up()
        found = self._next()
        calls = list(self.calls(found.changes))
        # a projection of rare changes moves its checkpoint too: the next call would read all others again
        if calls or self.passed + found.scanned >= _SCANNED or (not found.more and self._is_time_to_move(found)):
            with handling(self.core, "projection", self.name, [call.change for call in calls]):
                self._feed(found, calls)
        else:
            self._pass(found, self.passed + found.scanned)
        return len(calls), found.more

    def _is_time_to_move(self, found: _Next) -> bool:
        """Tell whether to move the checkpoint past changes that no function wants: before it moves, they are a lag.

        It does not move at each look: where others write often, that would be an append for each write of theirs.
        """
        self.unwanted = self.unwanted or bool(found.changes)
        return self.unwanted and time.monotonic() - self.stored >= _MOVE_SECONDS

    def _look_up(self) -> None:
        """Read the checkpoint again, if this process or another one has moved it."""
        checkpoint = self.target.checkpoint(self.name)
        if checkpoint == self.known:
            return
        self.position = None if checkpoint is None else place_of(self.core, self.name, checkpoint)
        self.known, self.passed, self.ahead = checkpoint, 0, []

    def _next(self) -> _Next:
        """Return the next changes for the projection, up to the end of a commit."""
        changes: list[Due] = []
        end, size, more = 0, 0, True
        own = {self.name} if self.own else None
        while True:
            if more and end + _APART >= len(self.ahead):
                more = self._read_ahead()
            if end == len(self.ahead):
                return _Next(changes, self.ahead[-1][0] if self.ahead else self.position, end, more=False)
            is_full = len(changes) >= self.size or end >= _SCANNED or size >= _SCANNED_BYTES
            if end >= _COMMIT_MOST or size >= _COMMIT_BYTES or (is_full and self._may_end(end)):
                return _Next(changes, self.ahead[end - 1][0], end, more=True)
            position, stream, record = self.ahead[end]
            end, size = end + 1, size + len(record.data)
            if not self.streams.has(stream):
                continue
            note, unreadable = note_of(self.core, stream, record)
            if writers_in(note) != own:
                changes.append(Due(position, stream, record, note, unreadable))

    def _read_ahead(self) -> bool:
        """Read the next page of the log. Return whether there may be more."""
        # the base log: a record inside a transaction has no position yet that a later call could go on from
        page, more = page_of(self.core.base, self.ahead[-1][0] if self.ahead else self.position)
        self.ahead += page
        return more

    def _may_end(self, end: int) -> bool:
        """Tell whether no commit goes on behind some records; on a cluster, none of one key."""
        before, behind = self.ahead[max(0, end - _APART) : end], self.ahead[end : end + _APART]
        last, following = _change_in(reversed(before)), _change_in(behind)
        if last is not None and following is not None and self._is_one_commit(*last, *following):
            return False
        appended = {(stream, record.recorded) for _, stream, record in before}
        return not any((stream, record.recorded) in appended for _, stream, record in behind)

    def _is_one_commit(self, stream: Stream, record: Record, next_stream: Stream, next_record: Record) -> bool:
        """Tell whether two neighbours are of one commit: all records of an append have one time."""
        if record.recorded != next_record.recorded:
            return False
        return stream == next_stream or self._commit_of(stream, record) == self._commit_of(next_stream, next_record)

    def _commit_of(self, stream: Stream, record: Record) -> str | None:
        """Return the id of a record's commit; None if it has no words."""
        identity: str | None = note_of(self.core, stream, record)[0].get(COMMIT)
        return identity

    def _feed(self, found: _Next, calls: Sequence[Call]) -> None:
        checkpoint = self.known if found.position is None else self._checkpoint(found.position)
        try:
            with self.target.transaction(self.name) as handle:
                self._advance(self.known, checkpoint)
                for call in calls:
                    self._make(call, handle)
        except StoreConflictError:
            # a smaller batch reads less, and leaves others less time to come in between
            self.size = max(1, self.size // 2)
            raise
        self.known, self.unwanted, self.stored = checkpoint, False, time.monotonic()
        self._pass(found, 0)
        self.size = min(_BATCH, 2 * self.size)

    def _pass(self, found: _Next, passed: int) -> None:
        """Begin the next look where one has ended."""
        self.position, self.passed = found.position, passed
        del self.ahead[: found.scanned]

    def _advance(self, before: str | None, after: str | None) -> None:
        if not self.target.advance(self.name, before, after):
            raise CheckpointMovedError(self.name)

    def _make(self, call: Call, handle: T) -> None:
        """Make a call; if it fails, deal with that as the user has said."""
        try:
            if call.error is not None:
                raise call.error
            with nullcontext() if self.on_error == "raise" else self._skipping.attempt():
                call.function(handle)
        except Exception as exc:
            if self.on_error == "raise" or isinstance(exc, (*OF_THE_STORE, *self._skipping.own_errors)):
                exc.add_note(
                    f"rstore: in projection {self.name!r}, at version {call.change.version} of {call.change.kind} "
                    f"{call.change.key!r}, whose checkpoint is {self._checkpoint(call.position)!r}; nothing of its "
                    "batch was stored"
                )
                raise
            if callable(self.on_error):
                self.on_error(call.subject, exc)
            else:
                skipped = skipped_now(now(), call.change, self._checkpoint(call.position), exc)
                self._skipping.skip(self.name, skipped)

    @property
    def _skipping(self) -> SkippingTarget[T]:
        return skipping(self.target)

    def _checkpoint(self, position: Position) -> str:
        return f"{self.mark}-{self.core.log.checkpoint(position)}"


def _change_in(records: Iterable[tuple[Position, Stream, Record]]) -> tuple[Stream, Record] | None:
    """Return the first of some records that users see; None if there is none."""
    return next(((stream, record) for _, stream, record in records if stream.kind in KINDS), None)


def skipping(target: Target[T]) -> SkippingTarget[T]:
    """Return a target that can skip changes.

    Raises:
        TypeError: it can't.
    """
    if not isinstance(target, SkippingTarget):
        raise TypeError(f"{type(target).__name__} keeps no list of skipped changes: it has on_error='raise' only")
    return target


def place_of(core: Core, name: str, checkpoint: str) -> Position:
    """Return the position of a checkpoint.

    Raises:
        StoreError: another projection has taken its place.
        ValueError: it is of another store.
    """
    _, is_replaced, new = checkpoint.partition(REPLACED)
    if is_replaced:
        raise StoreError(f"projection {new!r} has taken the place of {name!r}; run that, or rebuild this one")
    return position_in(core, checkpoint)


def swap(core: Core, target: Target[T], old: str, new: str, fn: Callable[[T], Any]) -> None:
    """End a projection, and call the function, in the same transaction, that puts another one in its place."""
    before, ahead = target.checkpoint(old), target.checkpoint(new)
    if ahead is None or (before is not None and place_of(core, new, ahead) < place_of(core, old, before)):
        raise StoreError(f"projection {new!r} is behind {old!r}: run it until it has caught up")
    with target.transaction(old) as handle:
        if not target.advance(old, before, f"{mark_of(core)}{REPLACED}{new}"):
            raise CheckpointMovedError(old)
        fn(handle)
