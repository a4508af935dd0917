"""Copying a namespace with all its history from one backend to another, record by record, without opening it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Self

from attrs import frozen

from rstore.core import Core, ReadSurface, core_of, now, reading_of
from rstore.domain.capabilities import Restorable
from rstore.domain.errors import StoreError, StoreNotEmptyError
from rstore.domain.log import ALL_VERSIONS, Batch, Copy, Entry, Head, LogReader, Position, Record, Rewrite
from rstore.domain.operators import ONCE
from rstore.domain.rules import head_then
from rstore.domain.streams import COPY, ORIGIN, Stream, kind_of
from rstore.encoding.sealing import Sealer
from rstore.progress import Report, Steps, step_of
from rstore.protection import STREAM, CheckedWriter
from rstore.store import Store
from rstore.transfer.digests import Digest, Tally, copied_records, heads_of, is_behind, opened_by, pages_of_heads, tally

_MARKER: Final = Stream(COPY, "")
_BATCH_RECORDS: Final = 1_000
_BATCH_BYTES: Final = 8 << 20
_NAMELESS: Final = "memory://"  # each one is a store of its own
_MAX_ROUNDS: Final = 3
_MAX_WAITS: Final = 50
_WAIT_SECONDS: Final = 0.2
_RESUMES: Final = (
    "not every record has arrived: fix the cause and call it again, and it resumes; or discard() the namespace"
)
BATCH_HEADS: Final = 1_000
"""The number of heads that are stored at once."""


@frozen
class Endpoint:
    """The source or target of a copy: the log of an open store or view, and the sealer of its payloads."""

    name: str
    log: LogReader
    sealer: Sealer
    namespace: str

    @classmethod
    def of(cls, store: ReadSurface) -> Self:
        """Return the endpoint of a store or a view."""
        core = reading_of(store)
        return cls(core.name, core.base, core.envelope.sealer, core.namespace)

    def check_whole(self) -> None:
        """Raise if a copy into the namespace was interrupted: a part must not be taken for the whole."""
        if self.log.last([_MARKER]) != [None]:
            raise StoreError(
                f"namespace {self.namespace!r} in {self.name} has only a part of what was copied or loaded into "
                "it: call the copy or load again, and it resumes; or discard() the namespace"
            )


def target_of(store: ReadSurface) -> Core:
    """Return the core of a store that receives a copy.

    Raises:
        FrozenStoreError: the store is frozen.
        StoreError: the store is in a transaction.
    """
    core = core_of(store)
    core.check_writable()
    core.check_outside(_no_copy)
    return core


def _no_copy() -> StoreError:
    return StoreError("a copy can't be part of a transaction: make it before it or after it")


class Restoration:
    """Restores records batch by batch into an empty namespace, or resumes an earlier call that was interrupted.

    A marker in the namespace holds the checkpoint of the source after each batch. A batch that was interrupted before
    its marker is restored once more, which changes nothing.
    """

    def __init__(self, core: Core, identity: str) -> None:
        """Take the ``identity`` of the source, which no other source has."""
        if not isinstance(core.base, Restorable):
            raise StoreError(f"{core.name} can't take a copy: it gives records versions and times of its own")
        self._core, self._log, self._identity = core, core.base, identity
        self._restore = core.base.restore
        self._writer = CheckedWriter(core.base, core.envelope.sealer, core.namespace)
        self._version = 0
        self._copies: list[Copy] = []
        self._bytes = 0

    def begin(self) -> str:
        """Return the checkpoint of the source up to which it is restored; empty if nothing is.

        Raises:
            StoreNotEmptyError: the namespace has other data.
        """
        (marker,) = self._log.last([_MARKER])
        if marker is None:
            self._check_empty()
            self._mark("")
            return ""
        self._core.envelope.check(_MARKER, marker)
        identity, _, checkpoint = marker.item.partition(" ")
        if identity != self._identity:
            problem = "holds a part of another source, whose copy was interrupted"
            raise StoreNotEmptyError(self._log.name, self._core.namespace, problem)
        self._version = marker.version
        return checkpoint

    def _check_empty(self) -> None:
        found = (stream for _, stream, _ in self._log.follow() if stream != STREAM)
        if next(found, None) or next(heads_of(self._log), None):
            raise StoreNotEmptyError(self._log.name, self._core.namespace)

    def add(self, stream: Stream, record: Record) -> bool:
        """Add a record to the batch, and return whether the batch is full: then :meth:`flush` it."""
        self._copies.append(Copy(stream, record.version, *_life(stream, record), (record,)))
        self._bytes += len(record.data) + len(record.meta or b"")
        return len(self._copies) >= _BATCH_RECORDS or self._bytes >= _BATCH_BYTES

    def flush(self, checkpoint: str) -> None:
        """Store the batch, and the checkpoint of the source that it reaches."""
        if self._copies:
            with step_of(_RESUMES):
                self._restore(self._copies)
                self._copies, self._bytes = [], 0
                self._mark(checkpoint)

    def restore_heads(self, heads: Sequence[Head]) -> None:
        """Store the final heads of streams whose records are all restored."""
        with step_of(_RESUMES):
            self._restore([Copy(head.stream, head.version, head.live, head.died) for head in heads])

    def finish(self) -> None:
        """Remove the marker, and store an origin, by which checkpoints of the copy differ from those of the source."""
        origin = Entry(0, 0, secrets.token_hex(8), COPY, b"")
        with step_of(_RESUMES):
            self._writer.append([Batch(ORIGIN, (origin,), now(), replace=True)])
            self._log.rewrite([Rewrite(_MARKER, None, ALL_VERSIONS, live=False)])

    def _mark(self, checkpoint: str) -> None:
        """Store the checkpoint that is reached. If another process does the same, that is a conflict."""
        entry = self._core.envelope.entry(_MARKER, COPY, item=f"{self._identity} {checkpoint}", start=0, end=0)
        (self._version,) = self._writer.append([Batch(_MARKER, (entry,), now(), self._version, replace=True)])


def _life(stream: Stream, record: Record) -> tuple[bool, int]:
    """Return ``live`` and ``died`` of a stream after a record, as far as the record shows. The heads come last."""
    is_dead = kind_of(stream) == ONCE or not head_then(stream, record.version, record.op).live
    return not is_dead, record.version if is_dead else 0


class _Copying:
    """A copy from one endpoint to another."""

    def __init__(self, source: Endpoint, target: Endpoint, core: Core, progress: Report | None) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._is_resealed = not target.sealer.seals_as(source.sealer)
        self._restoration = Restoration(core, self._identity())
        self._position: Position | None = None

    def _identity(self) -> str:
        """Return the identity of the source: a hash of its oldest record, and of the place of that."""
        first = next(copied_records(self._source.log, None), None)
        count = Tally()
        origin = ""
        if first is not None:
            origin = self._source.log.checkpoint(first[0]).partition(".")[0]
            count.add(*first[1:])
        words = self._source.namespace, origin, count.digest().sha, "sealed anew" if self._is_resealed else "as it is"
        return sha256("\0".join(words).encode()).hexdigest()[:32]

    def check(self) -> None:
        """Raise if the oldest record cannot be sealed for the target: the keys of the source are missing, say."""
        first = next(copied_records(self._source.log, None), None)
        if first is not None:
            self._sealed(*first[1:])

    def run(self) -> Digest:
        """Copy the missing records, and compare both endpoints."""
        checkpoint = self._restoration.begin()
        if checkpoint:
            self._position = self._source.log.position(checkpoint)
        steps = Steps(self._progress)
        for _ in range(_MAX_ROUNDS):
            self._copy_records(steps)
            is_quiet = self._copy_heads(steps)
            there, here = self._tallies()
            kinds = here.differing(there)
            if is_quiet and not kinds:
                digest = tally(self._target.log).digest() if self._is_resealed else here.digest()
                self._restoration.finish()  # last: without the marker, a repeated copy would find the target not empty
                return digest
            if is_quiet and next(copied_records(self._source.log, self._position), None) is None:
                raise StoreError(
                    f"the copied records of {' and '.join(kinds)} differ from those in {self._source.name}: somebody "
                    "erased records there meanwhile, or wrote to the target, or a record is damaged; discard() the "
                    "target and copy again"
                )
        raise StoreError(
            f"{self._source.name} was written to as fast as it was copied: call it again when nobody writes there, "
            "and it resumes"
        )

    def _copy_records(self, steps: Steps) -> None:
        """Copy the records after the position that is reached."""
        for position, stream, record in copied_records(self._source.log, self._position):
            is_full = self._restoration.add(stream, self._sealed(stream, record))
            self._position = position
            steps.step()
            if is_full:
                self._flush()
        self._flush()
        steps.report()

    def _copy_heads(self, steps: Steps) -> bool:
        """Copy all heads, and return whether nothing was written to the source meanwhile."""
        is_quiet, ready = True, list[Head]()
        for page in pages_of_heads(self._source.log):
            # first come the records that were written before these heads were read: a stream ahead of them has them
            if is_behind(self._source.log, page, self._position):
                is_quiet = False
                self._catch_up(page, steps)
            ready += page
            if len(ready) >= BATCH_HEADS:
                self._restoration.restore_heads(ready)
                ready = []
        self._restoration.restore_heads(ready)
        return is_quiet

    def _catch_up(self, heads: Sequence[Head], steps: Steps) -> None:
        """Copy all records that streams have by now, as soon as the feed shows them."""
        for _ in range(_MAX_WAITS):
            self._copy_records(steps)
            if not is_behind(self._source.log, heads, self._position):
                return
            self._source.log.wait(self._position, _WAIT_SECONDS)
        raise StoreError(
            f"{self._source.name} is written to without a pause, or another writer's transaction holds back what "
            "came after it began: call it again when that has ended, and it resumes"
        )

    def _flush(self) -> None:
        if self._position is not None:
            self._restoration.flush(self._source.log.checkpoint(self._position))

    def _sealed(self, stream: Stream, record: Record) -> Record:
        return self._target.sealer.adopted(stream, record, self._source.sealer) if self._is_resealed else record

    def _tallies(self) -> tuple[Tally, Tally]:
        """Return the sums of source and target: of opened payloads if these were sealed anew, else of sealed ones."""
        there, here = self._source, self._target
        contents = [opened_by(endpoint.sealer) if self._is_resealed else None for endpoint in (there, here)]
        target = tally(here.log, contents=contents[1], steps=Steps(self._progress))
        steps = Steps(self._progress, target.records)
        return tally(there.log, contents=contents[0], until=self._position, steps=steps), target


def copy(source: Store, target: Store, *, plain: bool = False, progress: Report | None = None) -> Digest:
    """Copy a namespace with all its history to another backend or namespace, and return the digest of the copy.

    Versions, times, who and why, and the order of the log stay as they are. The target has its own positions,
    checkpoints of followers and snapshots, and its projections start anew. If both stores have the same namespace and
    the same keys, or none, the payloads are copied unopened. Otherwise the copy opens them with the keys of the source
    and seals them for the target. If only the source has a key, that takes ``plain=True``.

    The target has to be empty. The copy takes little memory. If it is interrupted, even by ``kill -9``, call it again,
    and it resumes. At the end it reads and compares both stores.

    Args:
        source: the store to copy; it may be frozen. Nobody should write to it meanwhile. Records that are written are
            copied, too, if the writes come to an end; an erasure makes the copy fail.
        target: a writable store, into which nobody else writes. If it is not open, the copy opens it, and creates it if
            there is none, once the source has proved to be complete.
        plain: decrypt: store in clear what is encrypted in the source.
        progress: is called with the number of records that are copied, and later with those that are compared.

    Raises:
        ValueError: source and target are the same.
        StoreMissingKeyError: the source is encrypted, and has to be opened with its key.
        StoreNotEmptyError: the target has other data.
        StoreError: the copy would decrypt; or the source is itself an interrupted copy; or both stores differ at the
            end; or writes to the source did not end. On PostgreSQL, any open transaction holds back records that were
            written after it began.

    >>> store['greeting'] = 'hello'
    >>> with Store('memory://', frozen=False) as other:
    ...     copy(store, other) == digest(store), other.history('greeting') == store.history('greeting')
    (True, True)
    """
    core = target_of(target)
    there, here = Endpoint.of(source), Endpoint.of(target)
    if (there.name, there.namespace) == (here.name, here.namespace) and here.name != _NAMELESS:
        raise ValueError(f"source and target are the same: namespace {here.namespace!r} of {here.name}")
    if there.sealer.has_key and not (here.sealer.has_key or plain):
        raise StoreError(
            f"{here.name} would hold in clear what is encrypted in {there.name}: open the target with key=..., or pass "
            "plain=True; nothing was stored"
        )
    there.check_whole()
    copying = _Copying(there, here, core, progress)
    copying.check()
    with core.session.while_open():  # an error before this leaves no new store behind
        return copying.run()


def digest(store: Store, progress: Report | None = None) -> Digest:
    """Return a sum of everything that a copy includes: equal for two stores with the same history.

    It is a sum of sealed records: the same values, encrypted twice, have different sums. It needs no key.

    >>> store['greeting'] = 'hello'
    >>> before = digest(store)
    >>> store['greeting'] = 'hello'
    >>> before.records, digest(store).records, before == digest(store)
    (1, 2, False)
    """
    return tally(Endpoint.of(store).log, steps=Steps(progress)).digest()
