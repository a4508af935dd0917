"""Encrypting a whole namespace with another key, while others go on writing."""

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
from rstore.domain.streams import ES, EXPIRY, INDEX, KV, ORIGIN, RETAIN, SS, TAG, TS, Stream
from rstore.history.follow import page_of
from rstore.models.indexes import descriptions
from rstore.progress import Progress, Report, step_of
from rstore.protection import STREAM

_WAITS: Final = 40
_WAIT_SECONDS: Final = 0.25


class Rekeying(Surface):
    """Encrypts a namespace with another key."""

    def rekey(self, progress: Report | None = None) -> int:
        """Encrypt everything with the first key, and return how many records had another key or none.

        That includes values, who and why, snapshots and all private records. No version, time or position changes, and
        nothing is unpickled. Open the store with the new key before the old one, ``key=[new, old]``, and let all other
        writers do so first. With ``plaintext=True`` the call also encrypts values that are in clear. If it is
        interrupted, call it again: it goes on with the rest. :meth:`log` shows as a change that a call began, and its
        context.

        Others may write meanwhile. The call also re-encrypts records that they write with the old key until it is
        nearly done.

        Args:
            progress: is called with the number of records that were examined; the total is not known.

        Raises:
            StoreError: the store has no key; or others keep writing with another one.
            StoreWrongKeyError: a record is encrypted with a key that the store does not have.
            StorePlaintextError: a record is in clear, and the store was not opened with ``plaintext=True``.
            StorePayloadError: a record is damaged.

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
    """The state of a rekey: its position, and how many records up to there it has examined and resealed."""

    core: Core
    progress: Report | None
    position: Position | None = None
    examined: int = 0
    resealed: int = 0
    is_recorded: bool = False

    def run(self) -> int:
        """Reseal records until all are encrypted with the first key; return how many were resealed."""
        self.core.writer.ensure_check_value(now())
        for _ in range(_WAITS):
            self._catch_up()
            if all(map(self.core.envelope.sealer.is_current, self._newest())):
                self.core.writer.renew(now())  # from here on, opening with the old key alone is an error
                self._catch_up()
                return self.resealed
            self.core.base.wait(self.position, _WAIT_SECONDS)
        raise StoreError(
            "not everything is encrypted with the first key yet: others still write with another one, "
            "or are in a transaction that has not ended; see to that, and call rekey() again"
        )

    def _catch_up(self) -> None:
        while self.core.decide(self._next_page):
            if self.progress is not None:
                self.progress(Progress(self.examined, None))

    def _newest(self) -> Iterator[Record]:
        """Yield the last record of each stream, even if a transaction in progress still hides it from a feed."""
        indexes = [index.kind for each in descriptions(self.core) for index in each.indexes()]
        for kind in (KV, TS, ES, SS, ERASURE, TAG, RETAIN, EXPIRY.kind, INDEX, *indexes):
            streams = (head.stream for head in self.core.base.heads(kind, live=False))
            yield from filter(None, newest(self.core.log, streams))

    def _next_page(self) -> bool:
        """Reseal the records of the next page, and return whether there may be more.

        The page is read twice: rewritten records have to be read after the floor that the rewrite expects.
        """
        page, more = page_of(self.core.log, self.position)
        if not page:
            return False
        end = page[-1][0]
        stale = {stream for _, stream, record in page if not self._is_current(stream, record)}
        if stale:
            heads = filter(None, map(self.core.base.head, sorted(stale)))
            floors = {head.stream: head.floor for head in heads}
            page, _ = page_of(self.core.log, self.position)
            end = min(end, page[-1][0]) if page else end
            self._reseal([found[1:] for found in page if found[1] in floors], floors)
        self.position, self.examined = end, self.examined + sum(stream != STREAM for _, stream, _ in page)
        return more or bool(stale)

    def _is_current(self, stream: Stream, record: Record) -> bool:
        return stream in (ORIGIN, STREAM) or self.core.envelope.sealer.is_current(record)

    def _reseal(self, found: Sequence[tuple[Stream, Record]], floors: dict[Stream, int]) -> None:
        put: dict[Stream, list[Record]] = defaultdict(list)
        for stream, record in found:
            if not self._is_current(stream, record):
                put[stream].append(self.core.envelope.sealer.adopted(stream, record, self.core.envelope.sealer))
        if put and not self.is_recorded:
            Eraser(self.core, REKEY).record_all()
            self.is_recorded = True
        rewrites = [
            # bump_version=False: nothing changes that a reader has read or folded, or that a writer expects
            Rewrite(
                stream, None, [record.version for record in records], records, bump_version=False, floor=floors[stream]
            )
            for stream, records in put.items()
        ]
        conflict = self._rewrite(rewrites)
        if conflict is not None:
            raise conflict  # the page is read again

    def _rewrite(self, rewrites: Sequence[Rewrite]) -> StoreConflictError | None:
        """Rewrite all streams except those that others have rewritten meanwhile, and return one such conflict."""
        try:
            with step_of("not every record is encrypted with the first key yet: fix the cause and call rekey() again"):
                self.core.base.rewrite(rewrites)
        except StoreConflictError as exc:
            if len(rewrites) == 1:
                return exc
            half = len(rewrites) // 2
            first, second = self._rewrite(rewrites[:half]), self._rewrite(rewrites[half:])
            return first or second
        self.resealed += sum(len(rewrite.drop) for rewrite in rewrites)
        return None
