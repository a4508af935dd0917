"""A namespace with all its history from one backend to another, record by record, as it is sealed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Self

from attrs import frozen

from rstore.core import Core, ReadSurface, core_of, now, reading_of
from rstore.domain.errors import StoreError, StoreNotEmptyError
from rstore.domain.log import Batch, Copy, Entry, Head, LogReader, Position, Record, Restorable, Rewrite
from rstore.domain.operators import DELITEM, ONCE
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import COPY, KV, ORIGIN, Stream, kind_of
from rstore.encoding.sealing import Sealer
from rstore.progress import Report, Steps, step_of
from rstore.protection import STREAM, CheckedWriter
from rstore.store import Store
from rstore.transfer.digests import (
    Digest,
    Tally,
    heads_of,
    is_behind,
    moved,
    opened_by,
    pages_of_heads,
    tally,
)

_MARKER: Final = Stream(COPY, "")
_BATCH_RECORDS: Final = 1_000
_BATCH_BYTES: Final = 8 << 20
_NAMELESS: Final = "memory://"  # each is another one
_ROUNDS: Final = 3
_LOOKS: Final = 50
_LOOK_SECONDS: Final = 0.2
_GOES_ON: Final = (
    "not all of it has arrived: call it again when that is seen to, and it goes on where it was; "
    "or discard() what is there"
)
HEADS: Final = 1_000
"""As many heads are stored at once."""


@frozen
class Side:
    """What is copied from or to: the log of a store that is open, or of a view, and what opens its payloads."""

    name: str
    log: LogReader
    sealer: Sealer
    namespace: str

    @classmethod
    def of(cls, store: ReadSurface) -> Self:
        """Return that of a store or a view."""
        core = reading_of(store)
        return cls(core.name, core.base, core.envelope.sealer, core.namespace)

    def check_whole(self) -> None:
        """Raise if what is there is to be continued: nobody should take a part for all of it."""
        if self.log.last([_MARKER]) != [None]:
            raise StoreError(
                f"namespace {self.namespace!r} in {self.name} has only a part of what was copied or loaded into "
                "it: call that again, and it goes on where it was; or discard() what is there"
            )


def target_of(store: ReadSurface) -> Core:
    """Return the core of a store that records are to arrive in.

    Raises:
        FrozenStoreError: nothing can be written there.
        StoreError: it is in a transaction.
    """
    core = core_of(store)
    core.check_writable()
    core.check_outside(_no_copy)
    return core


def _no_copy() -> StoreError:
    return StoreError("a copy can't be part of a transaction: make it before it or after it")


class Landing:
    """An empty namespace that records arrive in, or one in which that was interrupted: then it goes on.

    They are restored batch by batch. How far that has come is noted after each: what was interrupted in between is
    restored once more, which changes nothing.
    """

    def __init__(self, core: Core, identity: str) -> None:
        """Take what tells this source from others."""
        if not isinstance(core.base, Restorable):
            raise StoreError(f"{core.name} can't take a copy: it gives records versions and times of its own")
        self._core, self._log, self._identity = core, core.base, identity
        self._restore = core.base.restore
        self._writer = CheckedWriter(core.base, core.envelope.sealer, core.namespace)
        self._version = 0
        self._copies: list[Copy] = []
        self._bytes = 0

    def begin(self) -> str:
        """Return up to which checkpoint the source has arrived; empty if nothing has.

        Raises:
            StoreNotEmptyError: there is something else.
        """
        (marker,) = self._log.last([_MARKER])
        if marker is None:
            self._check_empty()
            self._mark("")
            return ""
        self._core.envelope.check(_MARKER, marker)
        identity, _, checkpoint = marker.item.partition(" ")
        if identity != self._identity:
            problem = "holds a part of something else, whose copy was interrupted"
            raise StoreNotEmptyError(self._log.name, self._core.namespace, problem)
        self._version = marker.version
        return checkpoint

    def _check_empty(self) -> None:
        found = (stream for _, stream, _ in self._log.follow() if stream != STREAM)
        if next(found, None) or next(heads_of(self._log), None):
            raise StoreNotEmptyError(self._log.name, self._core.namespace)

    def add(self, stream: Stream, record: Record) -> bool:
        """Take a record, and tell whether a batch is full: then :meth:`flush` it."""
        self._copies.append(Copy(stream, record.version, *_life(stream, record), (record,)))
        self._bytes += len(record.data) + len(record.meta or b"")
        return len(self._copies) >= _BATCH_RECORDS or self._bytes >= _BATCH_BYTES

    def flush(self, checkpoint: str) -> None:
        """Store what was taken, and note that the source has arrived up to a checkpoint."""
        if self._copies:
            with step_of(_GOES_ON):
                self._restore(self._copies)
                self._copies, self._bytes = [], 0
                self._mark(checkpoint)

    def settle(self, heads: Sequence[Head]) -> None:
        """Store where streams stand in the end, all of whose records are there."""
        with step_of(_GOES_ON):
            self._restore([Copy(head.stream, head.version, head.live, head.died) for head in heads])

    def end(self) -> None:
        """Drop the note: all is there. From now on its checkpoints are told from those of the source."""
        origin = Entry(0, 0, secrets.token_hex(8), COPY, b"")
        with step_of(_GOES_ON):
            self._writer.append([Batch(ORIGIN, (origin,), now(), replace=True)])
            self._log.rewrite([Rewrite(_MARKER, None, range(TIME_MAX), live=False)])

    def _mark(self, checkpoint: str) -> None:
        """Note how far it has come, unless somebody else does the same: that is a conflict."""
        entry = self._core.envelope.entry(_MARKER, COPY, item=f"{self._identity} {checkpoint}", start=0, end=0)
        (self._version,) = self._writer.append([Batch(_MARKER, (entry,), now(), self._version, replace=True)])


def _life(stream: Stream, record: Record) -> tuple[bool, int]:
    """Return what a stream's head says after a record, as far as that tells: the rest comes with the heads."""
    is_dead = kind_of(stream) == ONCE or (stream.kind == KV and record.op == DELITEM)
    return not is_dead, record.version if is_dead else 0


class _Copying:
    """A copy from one side to another."""

    def __init__(self, source: Side, target: Side, core: Core, progress: Report | None) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._is_resealed = not target.sealer.seals_as(source.sealer)
        self._landing = Landing(core, self._identity())
        self._position: Position | None = None

    def _identity(self) -> str:
        """Return what tells the source from all others: its oldest record, and where that is."""
        first = next(moved(self._source.log, None), None)
        count = Tally()
        place = ""
        if first is not None:
            place = self._source.log.checkpoint(first[0]).partition(".")[0]
            count.add(*first[1:])
        words = self._source.namespace, place, count.digest().sha, "sealed anew" if self._is_resealed else "as it is"
        return sha256("\0".join(words).encode()).hexdigest()[:32]

    def run(self) -> Digest:
        """Copy what is missing, and compare."""
        checkpoint = self._landing.begin()
        if checkpoint:
            self._position = self._source.log.position(checkpoint)
        steps = Steps(self._progress)
        for _ in range(_ROUNDS):
            self._copy_records(steps)
            is_quiet = self._copy_heads(steps)
            there, here = self._tallies()
            kinds = here.differing(there)
            if is_quiet and not kinds:
                digest = tally(self._target.log).digest() if self._is_resealed else here.digest()
                self._landing.end()  # at last: without the note, a copy that is called again finds the target taken
                return digest
            if is_quiet and next(moved(self._source.log, self._position), None) is None:
                raise StoreError(
                    f"what was copied of {' and '.join(kinds)} is not what is in {self._source.name}: something "
                    "was erased there meanwhile, somebody else wrote to the target, or something is damaged; discard() "
                    "the target and copy again"
                )
        raise StoreError(
            f"{self._source.name} was written to as fast as it was copied: call it again when nobody writes there, "
            "and it goes on where it was"
        )

    def _copy_records(self, steps: Steps) -> None:
        """Copy the records that came since."""
        for position, stream, record in moved(self._source.log, self._position):
            is_full = self._landing.add(stream, self._sealed(stream, record))
            self._position = position
            steps.step()
            if is_full:
                self._flush()
        self._flush()
        steps.report()

    def _copy_heads(self, steps: Steps) -> bool:
        """Copy where all streams stand, and tell whether nothing was written to the source meanwhile."""
        is_quiet, ready = True, list[Head]()
        for page in pages_of_heads(self._source.log):
            # records that were written before these heads were read come first: a stream that has passed them has them
            if is_behind(self._source.log, page, self._position):
                is_quiet = False
                self._catch_up(page, steps)
            ready += page
            if len(ready) >= HEADS:
                self._landing.settle(ready)
                ready = []
        self._landing.settle(ready)
        return is_quiet

    def _catch_up(self, heads: Sequence[Head], steps: Steps) -> None:
        """Copy all records that streams have by now, as soon as they are shown."""
        for _ in range(_LOOKS):
            self._copy_records(steps)
            if not is_behind(self._source.log, heads, self._position):
                return
            self._source.log.wait(self._position, _LOOK_SECONDS)
        raise StoreError(
            f"{self._source.name} is written to without a pause, or another writer's transaction holds back what "
            "came after it began: call it again when that has ended, and it goes on where it was"
        )

    def _flush(self) -> None:
        if self._position is not None:
            self._landing.flush(self._source.log.checkpoint(self._position))

    def _sealed(self, stream: Stream, record: Record) -> Record:
        return self._target.sealer.adopted(stream, record, self._source.sealer) if self._is_resealed else record

    def _tallies(self) -> tuple[Tally, Tally]:
        """Return the sums of source and target: of what is in the payloads, if those were sealed anew."""
        contents = [opened_by(side.sealer) if self._is_resealed else None for side in (self._source, self._target)]
        here = tally(self._target.log, contents=contents[1], steps=Steps(self._progress))
        steps = Steps(self._progress, here.records)
        return tally(self._source.log, contents=contents[0], until=self._position, steps=steps), here


def copy(source: Store, target: Store, *, progress: Report | None = None) -> Digest:
    """Copy a namespace with all its history to another backend or namespace, and return the digest of what is there.

    Versions, times, who and why, and the order of the log stay as they are; checkpoints of followers, positions and
    snapshots are the target's own, and projections begin anew there. Payloads are copied as they are, unopened, if
    both stores have the same namespace and the same keys, or none; otherwise each is opened with the keys of the
    source, and sealed for the target: encrypted only if that has a key.

    It needs an empty target, and little memory. Interrupted at any moment, also by ``kill -9``, it is called again and
    goes on where it was. At the end both sides are read and compared.

    Args:
        source: it may be frozen. Nobody should write to it meanwhile: what is written is copied too, if that comes to
            an end, and what is erased is an error.
        target: a writable store, into which nobody else writes. One that is not open is opened, and made if there is
            none, when the source was found to be whole.
        progress: is told how many records were copied, then how many were compared.

    Raises:
        ValueError: source and target are the same.
        StoreNotEmptyError: the target holds something else.
        StoreError: the source holds only a part of what was copied there; or both sides differ in the end, or writing
            to the source did not end; nor did, on PostgreSQL, a transaction of anybody's that keeps back what was
            written since it began.

    >>> store['greeting'] = 'hello'
    >>> with Store('memory://', frozen=False) as other:
    ...     copy(store, other) == digest(store), other.history('greeting') == store.history('greeting')
    (True, True)
    """
    core = target_of(target)
    there, here = Side.of(source), Side.of(target)
    if (there.name, there.namespace) == (here.name, here.namespace) and here.name != _NAMELESS:
        raise ValueError(f"source and target are the same: namespace {here.namespace!r} of {here.name}")
    there.check_whole()
    with core.session.while_open():  # what is refused leaves no store behind
        return _Copying(there, here, core, progress).run()


def digest(store: Store, progress: Report | None = None) -> Digest:
    """Return a sum of all that a copy takes along: equal for two stores that hold the same history.

    It is about what is stored, sealed as it is: the same values, encrypted twice, are not the same. No key is needed.

    >>> store['greeting'] = 'hello'
    >>> before = digest(store)
    >>> store['greeting'] = 'hello'
    >>> before.records, digest(store).records, before == digest(store)
    (1, 2, False)
    """
    return tally(Side.of(store).log, steps=Steps(progress)).digest()
