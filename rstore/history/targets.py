"""Targets: the places that projections write to, each with the checkpoints in its own transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from attrs import Factory, define

from rstore.commits import WRITER, writers_in
from rstore.core import Core, Surface, core_of, now
from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import Batch, Head, Record
from rstore.domain.operators import SKIP
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, FED, KV, PROJECT, SKIPPED, TS, Stream
from rstore.encoding.notes import note_body
from rstore.history.changes import StreamFilter, note_of
from rstore.history.follow import mark_of
from rstore.history.lag import filter_words
from rstore.history.rebuild import output_of
from rstore.history.skipping import OF_THE_STORE, Skipped, skipped_of, words_of
from rstore.models.applying import delete_sequence
from rstore.models.extending import remove_span
from rstore.models.keyvalues import delete_values
from rstore.transactions import context, transaction

REPLACED: Final = "-replaced by "
"""Behind the mark of a store, it stands in place of a checkpoint; the name of another projection follows."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound=Surface)


class CheckpointMovedError(StoreConflictError):
    """Another process has moved the checkpoint of a projection: nothing of the batch is stored, and it begins anew.

    A transaction of a :class:`Target` raises it too, where only its end shows that the checkpoint was moved.
    """

    def __init__(self, name: str) -> None:
        super().__init__("the checkpoint of", name, -1, -1)
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)

    def __str__(self) -> str:
        return f"another process has moved the checkpoint of projection {self.name!r}; nothing of this batch was stored"


class Target(Protocol[T_co]):
    """A store or database for read models. The checkpoint of each projection is kept in it, in the same transactions.

    All methods take the name of the projection. A checkpoint is a text of at most some kilobytes.
    """

    def transaction(self, name: str) -> AbstractContextManager[T_co]:
        """Return a block that is a transaction, and yields the object to which the projection's functions write.

        Its end stores all writes inside, for good; an exception that leaves the block takes them back. If only its end
        shows that another process has moved the checkpoint, it raises :class:`CheckpointMovedError`.
        """

    def checkpoint(self, name: str) -> str | None:
        """Return the checkpoint of a projection; None if there is none. It is called outside of transactions."""

    def advance(self, name: str, before: str | None, after: str | None) -> bool:
        """Move the checkpoint in the transaction at hand, which begins with this call. None stands for no checkpoint.

        Return false, and change nothing, if the checkpoint is another one than ``before``. A target that locks the
        checkpoint until the end lets other processes wait here, before their functions are called.
        """


@runtime_checkable
class SkippingTarget(Target[T_co], Protocol[T_co]):
    """A target that can take back the writes of one call, and lists skipped changes. ``on_error='skip'`` needs one."""

    @property
    def own_errors(self) -> tuple[type[Exception], ...]:
        """The errors that are about the target, such as a lost connection: no change is skipped because of them."""

    def attempt(self) -> AbstractContextManager[None]:
        """Return a block inside the transaction whose writes an exception takes back, as a savepoint does."""

    def skip(self, name: str, skipped: Skipped) -> None:
        """List a skipped change, in the transaction at hand."""

    def skipped(self, name: str) -> list[Skipped]:
        """Return the skipped changes that are listed, in order."""

    def forget_skipped(self, name: str) -> None:
        """Empty the list, in the transaction at hand."""


@define(eq=False)
class StoreTarget(Generic[S]):
    """A store as a target: another one than that which is projected.

    Attributes:
        store: the functions of a projection get it.
        kind: that of the streams which hold the checkpoints.
        mark: the beginning of checkpoints that is not stored, as they are of this store; None in another one.
        streams: the streams that the projection is fed with, which stand beside its checkpoint; None in another store.
        history: whether the earlier values of keys stay, which the projection overwrites.
    """

    store: S
    kind: str = FED
    mark: str | None = None
    streams: StreamFilter | None = None
    history: bool = True
    _versions: dict[str, tuple[str | None, int]] = Factory(dict)

    own_errors = OF_THE_STORE

    @classmethod
    def of_itself(cls, store: S, streams: StreamFilter) -> StoreTarget[S]:
        """Return the target of a projection whose read model is in the store that is projected."""
        return cls(store, PROJECT, f"{mark_of(core_of(store))}-", streams)

    @property
    def core(self) -> Core:
        """The core of the store."""
        return core_of(self.store)

    @contextmanager
    def transaction(self, name: str) -> Iterator[S]:
        """Begin a transaction whose records have the name of the projection beside them."""
        with transaction(self.core), context(self.core, {WRITER: name}):
            active = self.core.active.get()
            with nullcontext() if self.history or active is None else active.log.replacing():
                yield self.store

    def checkpoint(self, name: str) -> str | None:
        """Return the checkpoint of a projection.

        Raises:
            StoreError: a projection of this name was fed with the store itself.
        """
        own = () if self.kind == PROJECT else (Stream(PROJECT, name),)
        found, *others = self.core.log.last((Stream(self.kind, name), *own))
        if any(others):
            raise StoreError(f"{self.store!r} has a projection {name!r} of its own: give this one another name")
        checkpoint = None
        if found is not None:
            self.core.envelope.check(Stream(self.kind, name), found)
            checkpoint = f"{self.mark or ''}{found.item}" if found.item else None
        self._versions[name] = checkpoint, 0 if found is None else found.version
        return checkpoint

    def advance(self, name: str, before: str | None, after: str | None) -> bool:
        """Move the checkpoint. If another process moves it before the end of the transaction, that end conflicts."""
        if name not in self._versions:
            self.checkpoint(name)
        seen, version = self._versions[name]
        if seen != before:
            return False
        item = "" if after is None else after.removeprefix(self.mark or "")
        words = {} if self.streams is None else filter_words(self.streams)
        note = note_body(words) if words else None
        stream = Stream(self.kind, name)
        entry = self.core.envelope.entry(stream, PROJECT, item=item, start=0, end=0, note=note)
        del self._versions[name]  # it holds once: the next version is known when the transaction has ended
        is_live = after is None or REPLACED not in after
        self.core.log.append([Batch(stream, (entry,), now(), version, is_live, replace=True)])
        return True

    def clearing(self, name: str) -> Callable[[object], None]:
        """Return a function that deletes the streams to which a projection has written, in the transaction at hand.

        It conflicts if somebody writes to one of them before.

        Raises:
            StoreError: others have written to one of them too.
        """
        output = output_of(self.core.log, Stream(self.kind, name), self._writers_of)
        return lambda _: self._delete(output)

    def _delete(self, output: Sequence[Head]) -> None:
        delete_values(self.core, [head for head in output if head.stream.kind == KV])
        for head in output:
            if head.stream.kind == TS:
                remove_span(self.core, head.stream, TIME_MIN, TIME_MAX, head.version)
            elif head.stream.kind == ES:
                delete_sequence(self.core, head.stream.key, head.version)

    def _writers_of(self, stream: Stream, record: Record) -> set[str | None]:
        """Return the projections that wrote a record; None stands for other writers and unreadable notes."""
        return writers_in(note_of(self.core, stream, record)[0])

    def attempt(self) -> AbstractContextManager[None]:
        """Begin an inner transaction."""
        return transaction(self.core)

    def skip(self, name: str, skipped: Skipped) -> None:
        """List a skipped change."""
        stream = Stream(SKIPPED, name)
        entry = self.core.envelope.entry(stream, SKIP, start=0, end=0, note=note_body(words_of(skipped)))
        self.core.log.append([Batch(stream, (entry,), skipped.recorded)])

    def skipped(self, name: str) -> list[Skipped]:
        """Return the skipped changes."""
        stream = Stream(SKIPPED, name)
        found = ((record.recorded, self.core.envelope.note(stream, record)) for record in self.core.log.read(stream))
        return [skipped_of(recorded, words) for recorded, words in found if words]

    def forget_skipped(self, name: str) -> None:
        """Put an entry without words in the place of the list."""
        stream = Stream(SKIPPED, name)
        entry = self.core.envelope.entry(stream, SKIP, start=0, end=0)
        self.core.log.append([Batch(stream, (entry,), now(), if_live=True, replace=True)])
