"""Inspecting a store: what is in it, and whether all of it is intact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import frozen

from rstore.admin.check.folds import Folds
from rstore.admin.check.indexes import Indexes, Summary, trace_of
from rstore.admin.check.problem import Problem, attempted, message_of
from rstore.admin.check.records import flaws
from rstore.core import core_of
from rstore.domain.errors import StoreError
from rstore.domain.streams import COPY, ES, KEYS, KV, SS, TS, kind_of
from rstore.encoding.envelope import Envelope
from rstore.encoding.sealing import is_encrypted
from rstore.progress import Report, Steps

if TYPE_CHECKING:
    from rstore.store import Store
from rstore.tags import tag_names

__all__ = ["Info", "Problem", "check", "info"]

_IN_CLEAR: Final = "it is in clear, and the namespace is protected: rekey() with plaintext=True encrypts it"


@frozen
class Info:
    """The contents of a namespace, as far as they can be seen without a key.

    Attributes:
        backend: its address, without password.
        namespace: the namespace of the store.
        namespaces: all namespaces of the backend.
        keys: the number of keys of each kind: ``kv``, ``ts`` and ``es``.
        records: the number of records of each kind. ``ss`` are snapshots, ``once`` idempotency keys, ``project``
            checkpoints of projections, ``erasure`` records of erasures, ``tag`` settings of tags. Private marks of
            copies and keys don't count.
        bytes: the size of all payloads: values, and who and why.
        oldest, newest: when the first and the last record was stored, in POSIX milliseconds; None without records.
        encrypted: the share of records whose value is encrypted, from 0 to 1; 0 without records.
        tags: the names of moments.
    """

    backend: str
    namespace: str
    namespaces: list[str]
    keys: dict[str, int]
    records: dict[str, int]
    bytes: int
    oldest: int | None
    newest: int | None
    encrypted: float
    tags: list[str]


def info(store: Store, progress: Report | None = None) -> Info:
    """Return the contents of a store. All records are counted, and none is decrypted or loaded.

    Args:
        progress: is called with the number of records that were examined; the total is not known.

    >>> store['greeting'] = 'hello'
    >>> found = info(store)
    >>> found.keys, found.records, found.encrypted
    ({'kv': 1, 'ts': 0, 'es': 0}, {'kv': 1}, 0.0)
    """
    log = core_of(store).base
    records: Counter[str] = Counter()
    size = encrypted = 0
    oldest = newest = None
    for _, stream, record in Steps(progress).counted(log.follow()):
        if stream.kind in (COPY, KEYS):
            continue
        records[kind_of(stream)] += 1
        size += len(record.data) + len(record.meta or b"")
        encrypted += is_encrypted(record.data)
        oldest = record.recorded if oldest is None else min(oldest, record.recorded)
        newest = record.recorded if newest is None else max(newest, record.recorded)
    return Info(
        backend=log.name,
        namespace=store.namespace,
        namespaces=log.namespaces(),
        keys={KV: len(store), **dict(zip((TS, ES), log.counts((TS, ES)), strict=True))},
        records=dict(sorted(records.items())),
        bytes=size,
        oldest=oldest,
        newest=newest,
        encrypted=encrypted / max(records.total(), 1),
        tags=tag_names(log),
    )


def check(store: Store, progress: Report | None = None) -> Iterator[Problem]:
    """Read everything in the namespace of a store, and yield its problems.

    The check opens every envelope and loads its value, as a reader would. It compares all ways of reading with each
    other. It folds all event sequences, and compares their snapshots with the result. It changes nothing, and others
    may write meanwhile. Its memory grows with the number of keys, not with the number of records.

    Args:
        progress: is called with the number of records that were examined; the total is not known.

    Raises:
        StoreNotAvailableError: the backend can't be reached any more.

    >>> store['greeting'] = 'hello'
    >>> list(check(store))
    []
    """
    core = core_of(store)
    log, envelope = core.base, core.envelope
    indexes = Indexes(log)
    yield from _records(indexes, envelope, progress, is_protected=attempted(store.is_protected) is True)
    yield from indexes.problems()
    folds = Folds(log, envelope)
    for key in sorted({stream.key for stream in indexes.seen if stream.kind in (ES, SS)}):
        found = attempted(partial(folds.problems, key))
        yield from [] if isinstance(found, StoreError) else found  # a payload that can't be read was reported above


def _records(indexes: Indexes, envelope: Envelope, progress: Report | None, *, is_protected: bool) -> Iterator[Problem]:
    """Yield the problems of single records, and add each record to the summary of its stream."""
    found = Steps(progress).counted(indexes.log.follow())
    while True:
        step = attempted(lambda: next(found, None))
        if isinstance(step, StoreError):
            yield Problem("", "", None, f"the log can't be read on: {message_of(step)}")
            return
        if step is None:
            return
        position, stream, record = step
        if indexes.end is not None and not position > indexes.end:
            yield Problem(*stream, record.version, "its position is not above that of the one before it")
        indexes.end = position
        indexes.seen.setdefault(stream, Summary()).add(stream, trace_of(record))
        for flaw in flaws(envelope, stream, record):
            yield Problem(*stream, record.version, flaw)
        if is_protected and stream.kind != COPY and not is_encrypted(record.data):
            yield Problem(*stream, record.version, _IN_CLEAR)
