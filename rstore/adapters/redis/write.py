"""Batches, rewrites and copies on their way to the scripts that write them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from struct import Struct, pack
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import MAX_NUMBER, TIMELESS, pack_body, packed_number, packed_time
from rstore.adapters.redis.keys import Partition, stream_name
from rstore.adapters.redis.node import Run
from rstore.adapters.redis.positions import Clock
from rstore.adapters.redis.scripts import PREPARE, WRITE, WRITE_SPREAD
from rstore.domain.errors import StoreError
from rstore.domain.log import Batch, Copy, Record, Rewrite
from rstore.domain.rules import check_expected
from rstore.domain.streams import KV, Stream


class Restoring(NamedTuple):
    """One stream to be restored: its head, and records with their number among all that are restored."""

    head: Copy
    records: list[tuple[int, Record]]

    @property
    def stream(self) -> Stream:
        return self.head.stream


Write: TypeAlias = Batch | Rewrite | Restoring

# verb, inline, live, if_live or bump_version, has expect, has floor, is staged, expect, floor, number of parts,
# recorded: see read_op() in lua/parts/ops.lua
_HEADER: Final = Struct(">BBBBBBBQQI")
_APPEND, _REPLACE, _REWRITE, _RESTORE = range(4)
_LIVE: Final = {False: 0, True: 1, None: 2}
_RANGED, _LISTED = b"\0", b"\1"

_PARTS_BYTES: Final = 8 << 20
_CALL_BYTES: Final = 256 << 20
_STAGED_SECONDS: Final = 600


class _Parts(NamedTuple):
    """The parts of a write to one stream: given along with the call, or staged in a list."""

    given: list[bytes]
    number: int
    staged: bytes | None


class Call:
    """A call of the script that writes to a partition. With a clock, the partition is one of several.

    Many parts are staged in lists, piece by piece. So they need not be in memory all at once, and the server does not
    receive them while it runs the script. The script uses the lists up; if it is never called, they expire.
    """

    def __init__(self, servers: Servers, partition: Partition, clock: Clock | None) -> None:
        self._owner, self.partition, self._clock = servers.at(partition.slot), partition, clock
        self._keys: list[bytes] = list(partition.own)
        self._args: list[bytes] = []
        self._writes: list[Write] = []
        self.indices: list[int] = []
        self._bytes = 0
        self._staged: list[bytes] = []
        self._retires = False
        self.may_be_prepared = False
        """Whether it may be prepared for a transaction that is not over."""

    def add(self, index: int, write: Write) -> None:
        """Add a batch or rewrite, the one at ``index``. All of its entries or records are taken from it now."""
        parts = self._taken(_packed_parts(write))
        self._keys += self.partition.current(write.stream)
        self._args += stream_name(write.stream), _header(write, parts)
        if isinstance(write, Rewrite):
            self._args.append(_packed_drop(write.drop))
        if isinstance(write, Rewrite) or (isinstance(write, Batch) and write.replace):
            self._keys += self.partition.retired(write.stream)
            self._retires = True
        if parts.staged:
            self._keys.append(parts.staged)
        self._args += parts.given
        self._writes.append(write)
        self.indices.append(index)

    @property
    def keys(self) -> list[bytes]:
        """The keys that the script touches."""
        return [*self._keys, *self.partition.retired_streams] if self._retires else self._keys

    def send(self) -> list[Any]:
        """Run the script and return its answer: the outcome, then the numbers for each write."""
        if self._clock is not None:
            run = self.decision(b"", TIMELESS)
            return self.answered(self._owner.write(run.script, run.keys, *run.args))
        answer = self._owner.write(WRITE, self.keys, b"%d" % len(self._writes), *self._args)
        return answer if isinstance(answer, list) else [b"done", answer]

    def decision(self, txid: bytes, recorded: bytes) -> Run:
        """Return a run that writes it, recorded at a time or later. A transaction's id makes it the decision."""
        seen = b"%d" % (self._clock.n if self._clock else 0)
        args = b"%d" % len(self._writes), *self._args, seen, recorded, txid
        keys = (*self.keys, self.partition.prepared, self.partition.transactions)
        return Run(self.partition.slot, WRITE_SPREAD, keys, args)

    def preparation(self, txid: bytes) -> Run:
        """Return a run that prepares it for a transaction."""
        keys = (*self.keys, self.partition.prepared, self.partition.prepared_call(txid))
        return Run(self.partition.slot, PREPARE, keys, (b"%d" % len(self._writes), *self._args, txid))

    def answered(self, answer: list[Any]) -> list[Any]:
        """Return an answer without the position, which the clock has seen then."""
        if answer[0] == b"done" and self._clock is not None:
            self._clock.see(answer.pop(1))
        return answer

    def check_answer(self, outcome: bytes, *facts: Any) -> None:
        """Raise if it can't be written as it is.

        Raises:
            StoreConflictError: a stream is not at the version that is expected.
            StoreError: an upload has expired.
        """
        if outcome == b"conflict":
            index, version, floor = facts
            check_expected(self._writes[index], version, floor)
        if outcome == b"expired":
            raise StoreError("the upload took too long and has expired; nothing was stored")

    def forget(self) -> None:
        """Remove uploads, unless they may be part of a decided transaction. Those that can't be removed now expire."""
        if self._staged and not self.may_be_prepared:
            with suppress(StoreError):
                self._owner.ask((b"UNLINK", *self._staged))

    def _taken(self, parts: Iterable[bytes]) -> _Parts:
        given: list[bytes] = []
        size, number, staged = 0, 0, None
        for part in parts:
            given.append(part)
            size += len(part)
            number += 1
            if size > _PARTS_BYTES or self._bytes + size > _CALL_BYTES:
                staged = self._stage(given, staged)
                given, size = [], 0
        if staged and given:
            self._stage(given, staged)
            given, size = [], 0
        self._bytes += size
        return _Parts(given, number, staged)

    def _stage(self, parts: list[bytes], known: bytes | None) -> bytes:
        key = known or self.partition.staged(secrets.token_hex(8))
        if known is None:
            self._staged.append(key)
        self._owner.send_once((b"RPUSH", key, *parts), (b"EXPIRE", key, _STAGED_SECONDS))
        return key


def _header(write: Write, parts: _Parts) -> bytes:
    common = write.stream.kind == KV, parts.staged is not None, parts.number
    if isinstance(write, Batch):
        _, _, recorded, expect, live, replace, if_live = write
        verb = _REPLACE if replace else _APPEND
        return _packed_header(*common, verb, live, if_live, expect, None) + packed_time(recorded)
    if isinstance(write, Rewrite):
        numbers = write.expect, write.floor
        return _packed_header(*common, _REWRITE, write.live, write.bump_version, *numbers) + TIMELESS
    _, version, live, died, _ = write.head
    return _packed_header(*common, _RESTORE, live, False, version, died) + TIMELESS


@lru_cache(maxsize=64)  # those of many writes are the same
def _packed_header(
    is_key: bool,
    is_staged: bool,
    number: int,
    verb: int,
    live: bool | None,
    option: bool,
    expect: int | None,
    floor: int | None,
) -> bytes:
    has_expect, has_floor = expect is not None and verb != _RESTORE, floor is not None and verb != _RESTORE
    flags = verb, is_key, _LIVE[live], option, has_expect, has_floor, is_staged
    return _HEADER.pack(*flags, expect or 0, floor or 0, number)


def _packed_parts(write: Write) -> Iterator[bytes]:
    """Yield the parts of a write."""
    if isinstance(write, Batch):
        return (pack_body(write.stream, entry) for entry in write.entries)
    if isinstance(write, Rewrite):
        return (_packed_put(write.stream, record) for record in write.put)
    return (_packed_copy(write.stream, place, record) for place, record in write.records)


def _packed_copy(stream: Stream, place: int, record: Record) -> bytes:
    version, recorded = packed_number(record.version), packed_time(record.recorded)
    return version + packed_number(place) + recorded + pack_body(stream, record)


def _packed_put(stream: Stream, record: Record) -> bytes:
    return packed_number(record.version) + packed_time(record.recorded) + pack_body(stream, record)


def _packed_drop(versions: Collection[int]) -> bytes:
    """Return versions packed as a list, or as first, last and step."""
    if not isinstance(versions, range):
        listed = [version for version in set(versions) if 0 < version <= MAX_NUMBER]
        return _LISTED + pack(f">{len(listed)}Q", *listed)
    rising = versions if versions.step > 0 else versions[::-1]
    first = rising.start if rising.start >= 0 else rising.start % rising.step
    if first >= rising.stop:
        return _LISTED
    return _RANGED + pack(">QQQ", first, min(rising[-1], MAX_NUMBER), min(rising.step, MAX_NUMBER))
