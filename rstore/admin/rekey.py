"""Encrypting all of a namespace with another key, while others go on writing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define

from rstore.admin.erasures import Eraser
from rstore.core import Core, Surface, now
from rstore.domain.erasure import ERASURE, REKEY
from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import Position, Record, Rewrite
from rstore.domain.paging import newest
from rstore.domain.streams import ES, KV, ORIGIN, SS, TS, Stream
from rstore.history.follow import page_of
from rstore.progress import Progress, Report, step_of
from rstore.protection import STREAM

_WAITS: Final = 40
_WAIT_SECONDS: Final = 0.25


class Rekeying(Surface):
    """Encrypts a namespace with another key."""

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
        self._core.check_writable()
        self._core.check_outside()
        if not self._core.envelope.sealer.has_key:
            raise StoreError("there is no key to encrypt with: open the store with key=[new, old]")
        return _Rekeying(self._core, progress).run()


@define(eq=False)
class _Rekeying:
    """How far a rekey has come: what it has looked at up to a position, and how much of that it has sealed anew."""

    core: Core
    progress: Report | None
    position: Position | None = None
    looked: int = 0
    resealed: int = 0
    told: bool = False

    def run(self) -> int:
        """Seal anew what is not encrypted with the first key, until nothing is; return how many records that were."""
        self.core.writer.settle(now())
        for _ in range(_WAITS):
            self._look_on()
            if all(map(self.core.envelope.sealer.is_current, self._newest())):
                self.core.writer.renew(now())  # from here on a store that opens with the old key alone is refused
                self._look_on()
                return self.resealed
            self.core.base.wait(self.position, _WAIT_SECONDS)
        raise StoreError(
            "not everything is encrypted with the first key yet: others still write with another one, "
            "or are in a transaction that has not ended; see to that, and call rekey() again"
        )

    def _look_on(self) -> None:
        while self.core.decide(self._next_page):
            if self.progress is not None:
                self.progress(Progress(self.looked, None))

    def _newest(self) -> Iterator[Record]:
        """Yield the last record of each stream: what a transaction in progress keeps from being followed is there."""
        for kind in (KV, TS, ES, SS, ERASURE):
            streams = (head.stream for head in self.core.base.heads(kind, live=False))
            yield from filter(None, newest(self.core.log, streams))

    def _next_page(self) -> bool:
        """Seal the records of the next page anew, and tell whether there may be more.

        The page is read twice: what is rewritten has to be read after the floor that the rewrite expects.
        """
        page, more = page_of(self.core, self.position)
        if not page:
            return False
        end = page[-1][0]
        stale = {stream for _, stream, record in page if not self._is_current(stream, record)}
        if stale:
            heads = filter(None, map(self.core.base.head, sorted(stale)))
            floors = {head.stream: head.floor for head in heads}
            page, _ = page_of(self.core, self.position)
            end = min(end, page[-1][0]) if page else end
            self._reseal([found[1:] for found in page if found[1] in floors], floors)
        self.position, self.looked = end, self.looked + sum(stream != STREAM for _, stream, _ in page)
        return more or bool(stale)

    def _is_current(self, stream: Stream, record: Record) -> bool:
        return stream in (ORIGIN, STREAM) or self.core.envelope.sealer.is_current(record)

    def _reseal(self, found: Sequence[tuple[Stream, Record]], floors: dict[Stream, int]) -> None:
        put: dict[Stream, list[Record]] = defaultdict(list)
        for stream, record in found:
            if not self._is_current(stream, record):
                put[stream].append(self.core.envelope.sealer.adopted(stream, record, self.core.envelope.sealer))
        if put and not self.told:
            Eraser(self.core, REKEY).tell_all()
            self.told = True
        rewrites = [
            # bump_version=False: nothing that anybody has read, folded or expects is different
            Rewrite(
                stream, None, [record.version for record in records], records, bump_version=False, floor=floors[stream]
            )
            for stream, records in put.items()
        ]
        conflict = self._rewrite(rewrites)
        if conflict is not None:
            raise conflict  # the page is looked at again

    def _rewrite(self, rewrites: Sequence[Rewrite]) -> StoreConflictError | None:
        """Rewrite all streams but those that others have rewritten meanwhile, and return the conflict with one."""
        try:
            with step_of("not all of it is encrypted with the first key yet: call rekey() again when that is seen to"):
                self.core.base.rewrite(rewrites)
        except StoreConflictError as exc:
            if len(rewrites) == 1:
                return exc
            half = len(rewrites) // 2
            first, second = self._rewrite(rewrites[:half]), self._rewrite(rewrites[half:])
            return first or second
        self.resealed += sum(len(rewrite.drop) for rewrite in rewrites)
        return None
