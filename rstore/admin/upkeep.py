"""What an operator does to a store: look around, encrypt all of it with another key, back it up."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import define

from rstore.core import now
from rstore.domain.erasure import ERASURE, REKEY
from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import Backupable, Position, Record, Rewrite
from rstore.domain.operators import PROTECT, UNPROTECT
from rstore.domain.paging import newest
from rstore.domain.streams import ES, KV, ORIGIN, SS, TS, Stream
from rstore.domain.transaction import unerasable
from rstore.history.follow import Following
from rstore.progress import Progress, Report, step_of
from rstore.protection import STREAM

_WAITS: Final = 40
_WAIT_SECONDS: Final = 0.25
_INSTEAD_OF_BACKUP: Final = "has no backup of its own: use 'rstore copy', which makes a SQLite file of a namespace"


@define(eq=False)
class _Rekeying:
    """How far a rekey has come: what it has looked at up to a position, and how much of that it has sealed anew."""

    position: Position | None = None
    looked: int = 0
    resealed: int = 0
    told: bool = False


class Upkeep(Following):
    """What is done to a namespace, or a whole backend, from outside."""

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces of the backend, in code-point order.

        >>> store.namespaces()
        ['default']
        """
        return self._base.namespaces()

    def rekey(self, progress: Report | None = None) -> int:
        """Encrypt everything with the first key that is not, and return how many records that were.

        That is values, who and why, snapshots and all that is private; no version, time or position changes, and
        nothing is unpickled. Open the store with the new key before the old one, ``key=[new, old]``, and let all others
        do so first. With ``plaintext=True`` it encrypts also what is not encrypted yet. If it is interrupted, call it
        again: it goes on with the rest. :meth:`log` shows as a change that a call began, and its context.

        Others may write meanwhile. What they write with the old key until this is nearly done is encrypted anew, too.

        Args:
            progress: is told how many records were looked at; the total is not known.

        Raises:
            StoreError: the store has no key; or others keep writing with another one.
            StoreWrongKeyError: something is encrypted with a key that is not among those of the store.
            StorePlaintextError: something is not encrypted, and the store was not opened with ``plaintext=True``.
            StorePayloadError: something is damaged.

        >>> store.rekey()
        Traceback (most recent call last):
            ...
        rstore.domain.errors.StoreError: there is no key to encrypt with: open the store with key=[new, old]
        """
        self._check_writable()
        if not self._payload.has_key:
            raise StoreError("there is no key to encrypt with: open the store with key=[new, old]")
        self._outside(unerasable())
        work = _Rekeying()
        self._writer.settle(now())
        for _ in range(_WAITS):
            self._rekey_on(work, progress)
            if all(map(self._payload.is_current, self._newest())):
                self._writer.renew(now())  # from here on a store with the old key alone is refused when it is opened
                self._rekey_on(work, progress)
                return work.resealed
            self._base.wait(work.position, _WAIT_SECONDS)
        raise StoreError(
            "not everything is encrypted with the first key yet: others still write with another one, "
            "or are in a transaction that has not ended; see to that, and call rekey() again"
        )

    def _rekey_on(self, work: _Rekeying, progress: Report | None) -> None:
        while self._decide(lambda: self._rekey(work)):
            if progress is not None:
                progress(Progress(work.looked, None))

    def _newest(self) -> Iterator[Record]:
        """Yield the last record of each stream: what a transaction in progress keeps from being followed is there."""
        for kind in (KV, TS, ES, SS, ERASURE):
            streams = (head.stream for head in self._log.heads(kind, live=False))
            yield from filter(None, newest(self._log, streams))

    def _rekey(self, work: _Rekeying) -> bool:
        """Seal the records of the next page anew, and tell whether there may be more.

        The page is read twice: what is rewritten has to be read after the floor that the rewrite expects.
        """
        page, more = self._page(work.position)
        if not page:
            return False
        end = page[-1][0]
        stale = {stream for _, stream, record in page if not self._is_current(stream, record)}
        if stale:
            heads = filter(None, map(self._log.head, sorted(stale)))
            floors = {head.stream: head.floor for head in heads}
            page, _ = self._page(work.position)
            end = min(end, page[-1][0]) if page else end
            self._reseal(work, [found[1:] for found in page if found[1] in floors], floors)
        work.position, work.looked = end, work.looked + sum(stream != STREAM for _, stream, _ in page)
        return more or bool(stale)

    def _is_current(self, stream: Stream, record: Record) -> bool:
        return stream in (ORIGIN, STREAM) or self._payload.is_current(record)

    def _reseal(self, work: _Rekeying, found: Sequence[tuple[Stream, Record]], floors: dict[Stream, int]) -> None:
        put: dict[Stream, list[Record]] = defaultdict(list)
        for stream, record in found:
            if not self._is_current(stream, record):
                put[stream].append(self._payload.adopted(stream, record, self._payload))
        if put and not work.told:
            self._eraser(REKEY).tell_all()
            work.told = True
        rewrites = [
            # moves=False: nothing that anybody has read, folded or expects is different
            Rewrite(stream, None, [record.version for record in records], records, moves=False, floor=floors[stream])
            for stream, records in put.items()
        ]
        conflict = self._rewrite(work, rewrites)
        if conflict is not None:
            raise conflict  # the page is looked at again

    def _rewrite(self, work: _Rekeying, rewrites: Sequence[Rewrite]) -> StoreConflictError | None:
        """Rewrite all streams but those that others have rewritten meanwhile, and return the conflict with one."""
        try:
            with step_of("not all of it is encrypted with the first key yet: call rekey() again when that is seen to"):
                self._base.rewrite(rewrites)
        except StoreConflictError as exc:
            if len(rewrites) == 1:
                return exc
            half = len(rewrites) // 2
            first, second = self._rewrite(work, rewrites[:half]), self._rewrite(work, rewrites[half:])
            return first or second
        work.resealed += sum(len(rewrite.drop) for rewrite in rewrites)
        return None

    def protect(self) -> None:
        """Let the namespace take no values in clear from now on: a writer without a key is refused.

        The policy is sealed with the key. Every store reads it with its first write after :meth:`open`; one that has
        written already goes on until it is opened again. What is there in clear stays: :meth:`rekey` encrypts it. A
        copy does not take the policy along; protect its target before, or after.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: its keys are none of those of the namespace.

        >>> with Store('memory://', key=new_key(), frozen=False) as secret:
        ...     secret.protect()
        ...     secret.is_protected()
        True
        """
        self._set_policy(PROTECT)

    def unprotect(self) -> None:
        """Take :meth:`protect` back: values in clear may be written again beside encrypted ones.

        Raises:
            StoreError: the store has no key, or this is part of a transaction.
            StoreWrongKeyError: its keys are none of those of the namespace.
        """
        self._set_policy(UNPROTECT)

    def is_protected(self) -> bool:
        """Return whether :meth:`protect` rules out values in clear. No key is needed to ask."""
        return self._writer.is_protected()

    def _set_policy(self, op: str) -> None:
        self._check_writable()
        if self._work.get() is not None:
            raise StoreError(f"{op}() can't be part of a transaction: call it before it or after it")
        self._writer.set_policy(op, now())

    def backup(self, path: str | os.PathLike[str], progress: Report | None = None) -> None:
        """Copy a SQLite file, with all its namespaces, into a new one, as it is at this moment; others may write to it.

        The new file appears when it is whole and safe on the disk, and not at all if anything fails. It is a store of
        its own, also if it is moved to where the first one was.

        Args:
            path: the name of the new file.
            progress: is told how many pages are copied.

        Raises:
            StoreError: there is such a file; it can't be written; or the backend is none that is kept in a file, and
                has tools of its own.
        """
        log = self._outside(StoreError("a backup can't be part of a transaction: make it before it or after it"))
        if not isinstance(log, Backupable):
            raise StoreError(f"{log.name} {getattr(log, 'instead_of_backup', _INSTEAD_OF_BACKUP)}")
        log.backup(os.fspath(path), _told(progress))


def _told(progress: Report | None) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress(done, total))

    return tell
