"""The keys of a namespace: a writer with others is refused, and one without any where that was ruled out.

A namespace keeps, on a private stream, a *check value* for each key that writes to it. That is an empty record, sealed
with the key. It is stored together with the first write. Beside it stands the *policy*, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple, Protocol

from rstore.domain.errors import (
    StoreConflictError,
    StoreError,
    StorePayloadError,
    StoreProtectedError,
    StoreWrongKeyError,
)
from rstore.domain.log import Adapter, Batch, Entry, Record, ReplayQuery
from rstore.domain.operators import CHECK, PROTECT
from rstore.domain.paging import newest
from rstore.domain.streams import ES, KEYS, KV, TS, Stream
from rstore.encoding.sealing import Sealer, is_encrypted

STREAM: Final = Stream(KEYS, "")
"""Holds the check values and the policy of a namespace."""
_SAMPLE: Final = 64
_ATTEMPTS: Final = 100


class Appender(Protocol):
    """Takes batches: a log, or a :class:`CheckedWriter` in front of one."""

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append all batches or nothing, as :meth:`rstore.domain.log.Log.append` does."""


class _KeyStream(NamedTuple):
    """The private stream of a namespace: its version, its check values, and the policy in force."""

    version: int
    checks: list[Record]
    policy: Record | None


class CheckedWriter:
    """Appends to a log, after a check that its keys may write there.

    It looks at the namespace's check values with its first write, and adds its own to that write if there is none. From
    then on it asks nothing: a write takes as many round trips as without it.
    """

    def __init__(self, log: Adapter, sealer: Sealer, namespace: str, *, other_key: bool = False) -> None:
        """Take the log, and the sealer of its namespace.

        Args:
            other_key: whether the keys may be others than those of the namespace.
        """
        self._log, self._sealer, self._namespace, self._other_key = log, sealer, namespace, other_key
        self._needs_key_beside = False
        self._is_settled = False

    def forget(self) -> None:
        """Look again with the next write: the store was opened, or the namespace discarded."""
        self._is_settled = False

    def need_key_beside_encrypted(self) -> None:
        """From now on refuse to write in clear beside encrypted values, also where no policy says so."""
        self._needs_key_beside = True

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append all batches or nothing, as :meth:`rstore.domain.log.Log.append` does.

        Raises:
            StoreWrongKeyError: the keys are none of those of the namespace.
            StoreProtectedError: there is no key, and the namespace takes no values in clear.
        """
        if self._is_settled or not any(batch.entries != () for batch in batches):
            return self._log.append(batches)
        return self._append_first(batches, batches[0].recorded)

    def ensure_check_value(self, recorded: int) -> None:
        """Check the keys as :meth:`append` does, and store the check value: a rewrite that follows stores none."""
        if not self._is_settled:
            self._append_first((), recorded)

    def set_policy(self, op: str, recorded: int) -> None:
        """Say whether the namespace takes values in clear: no (``protect``), or yes (``unprotect``).

        Raises:
            StoreError: there is no key to seal it with.
            StoreWrongKeyError: the keys are none of those of the namespace.
        """
        if not self._sealer.has_key:
            raise StoreError("there is no key to seal the policy with: open the store with key=...; nothing was stored")
        for _ in range(_ATTEMPTS):
            found = self._read()
            entries = self._missing(found)
            if (found.policy is not None) != (op == PROTECT):
                entries.append(self._entry(op))
            if self._is_stored(entries, found, recorded):
                return
        raise StoreConflictError(*STREAM, found.version, self._read().version)

    def renew(self, recorded: int) -> None:
        """Leave only the check value of the first key, and seal the policy anew: all others are of no use any more."""
        for _ in range(_ATTEMPTS):
            found = self._read()
            kept = [*found.checks[-1:], *([found.policy] if found.policy else ())]
            if len(found.checks) == 1 and all(map(self._sealer.is_current, kept)):
                return
            entries = [self._entry(CHECK), *([self._entry(PROTECT)] if found.policy else ())]
            if self._is_stored(entries, found, recorded, replace=True):
                return
        raise StoreConflictError(*STREAM, found.version, self._read().version)

    def is_protected(self) -> bool:
        """Tell whether a policy says that the namespace takes no values in clear. No key is needed."""
        return self._read().policy is not None

    # -- the first write ----------------------------------------------------------------------------------------------

    def _append_first(self, batches: Sequence[Batch], recorded: int) -> list[int]:
        for attempt in range(_ATTEMPTS):
            found = self._read()
            entries = self._missing(found)
            own = [Batch(STREAM, entries, recorded, found.version)] if entries else []
            try:
                versions = self._log.append([*batches, *own]) if batches or own else []
            except StoreConflictError as exc:
                if exc.kind != KEYS or attempt == _ATTEMPTS - 1:
                    raise
                continue  # another writer was the first one meanwhile: its keys count
            self._is_settled = True
            return versions[: len(batches)]
        raise AssertionError("unreachable")

    def _missing(self, found: _KeyStream) -> list[Entry]:
        """Return the entries that this writer adds to the check values, or raise if it may not write."""
        if not self._sealer.has_key:
            self._check_may_be_plain(found)
            return []
        opened = [record for record in found.checks if self._opens(record)]
        if not (opened or self._other_key):
            self._check_has_written(found)
        return [] if any(map(self._sealer.is_current, opened)) else [self._entry(CHECK)]

    def _check_may_be_plain(self, found: _KeyStream) -> None:
        if found.policy is not None:
            raise StoreProtectedError(self._log.name, self._namespace, is_policy=True)
        if self._needs_key_beside and (found.checks or any(self._encrypted())):
            raise StoreProtectedError(self._log.name, self._namespace, is_policy=False)

    def _check_has_written(self, found: _KeyStream) -> None:
        """Raise unless nothing is encrypted here, or something with one of the keys.

        The latter is so where rstore has written before it knew check values, or with ``other_key`` beside such. After
        a rekey, it is not so with the old key.
        """
        encrypted = list(self._encrypted())
        if (found.checks or encrypted) and not any(map(self._sealer.has_key_of, encrypted)):
            raise StoreWrongKeyError(self._namespace, *STREAM)

    def _encrypted(self) -> Iterator[Record]:
        """Yield some encrypted records: of the oldest, and of the newest of some streams. That takes no long time."""
        oldest = (record for _, stream, record in islice(self._log.follow(), _SAMPLE) if stream != STREAM)
        heads = chain.from_iterable(islice(self._log.heads(kind, live=False), _SAMPLE) for kind in (KV, TS, ES))
        newer = newest(self._log, (head.stream for head in heads))
        return (record for record in chain(oldest, newer) if record is not None and is_encrypted(record.data))

    # -- the private stream -------------------------------------------------------------------------------------------

    def _read(self) -> _KeyStream:
        # not read, which is two round trips on some backends
        (found,) = self._log.replay([ReplayQuery(STREAM, horizon=None)])
        if found is None:
            return _KeyStream(0, [], None)
        policies = [record for record in found.records if record.op != CHECK]
        return _KeyStream(
            found.head.version,
            [record for record in found.records if record.op == CHECK],
            policies[-1] if policies and policies[-1].op == PROTECT else None,
        )

    def _opens(self, check: Record) -> bool:
        try:
            self._sealer.check(STREAM, check)
        except StorePayloadError:
            return False
        return is_encrypted(check.data)

    def _entry(self, op: str) -> Entry:
        return self._sealer.entry(STREAM, op, start=0, end=0)

    def _is_stored(self, entries: Sequence[Entry], found: _KeyStream, recorded: int, *, replace: bool = False) -> bool:
        """Store entries, and tell whether no other writer has written to the stream meanwhile."""
        try:
            if entries:
                self._log.append([Batch(STREAM, entries, recorded, found.version, replace=replace)])
        except StoreConflictError:
            return False
        return True
