"""Looking a store over: what is in it, and whether all of that is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import frozen

from rstore.admin.check.folds import Folds
from rstore.admin.check.indexes import Indexes, Seen, trace_of
from rstore.admin.check.problem import Problem, tried, words_of
from rstore.admin.check.records import flaws
from rstore.core import core_of
from rstore.domain.errors import StoreError
from rstore.domain.log import Position, Record
from rstore.domain.streams import COPY, ES, KEYS, KV, SS, TS, Stream, kind_of
from rstore.encoding.envelope import Envelope
from rstore.encoding.sealing import is_encrypted
from rstore.progress import Report, Steps

if TYPE_CHECKING:
    from rstore.store import Store

__all__ = ["Info", "Problem", "check", "info"]

_IN_CLEAR: Final = "it is in clear, and the namespace is protected: rekey() with plaintext=True encrypts it"

_Found: TypeAlias = tuple[Position, Stream, Record]


@frozen
class Info:
    """What is in a namespace, as far as that can be told without a key.

    Attributes:
        backend: its address, without password.
        namespace: that of the store.
        namespaces: all that the backend has.
        keys: how many keys there are of each kind: ``kv``, ``ts`` and ``es``.
        records: how many records there are of each kind; ``ss`` are snapshots, ``once`` tokens, ``project`` the
            checkpoints of projections, ``erasure`` what tells of erasures. What tells a copy from its source, or keys
            from others, is not counted.
        bytes: the size of all their payloads: values, and who and why.
        oldest, newest: when the first and the last of them was recorded, in POSIX milliseconds; None without any.
        encrypted: the share of records whose value is encrypted, from 0 to 1; 0 without any.
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


def info(store: Store, progress: Report | None = None) -> Info:
    """Return what is in a store: all records are counted, and none is decrypted or loaded.

    Args:
        progress: is told how many records were looked at; the total is not known.

    >>> store['greeting'] = 'hello'
    >>> found = info(store)
    >>> found.keys, found.records, found.encrypted
    ({'kv': 1, 'ts': 0, 'es': 0}, {'kv': 1}, 0.0)
    """
    log = core_of(store).base
    records: Counter[str] = Counter()
    size = encrypted = 0
    oldest = newest = None
    for _, stream, record in _told(log.follow(), progress):
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
        keys={kind: log.count(kind) for kind in (KV, TS, ES)},
        records=dict(sorted(records.items())),
        bytes=size,
        oldest=oldest,
        newest=newest,
        encrypted=encrypted / max(records.total(), 1),
    )


def check(store: Store, progress: Report | None = None) -> Iterator[Problem]:
    """Read everything in the namespace of a store, and yield what is wrong with it.

    Every envelope is opened and its value loaded, as a read would; all ways of reading are compared with each other;
    all event sequences are folded, and their snapshots compared with that. Nothing is changed, and others may write
    meanwhile. The memory that it takes grows with the number of keys, and not with that of their records.

    Args:
        progress: is told how many records were looked at; the total is not known.

    Raises:
        StoreNotAvailableError: the backend can't be reached any more.

    >>> store['greeting'] = 'hello'
    >>> list(check(store))
    []
    """
    core = core_of(store)
    log, envelope = core.base, core.envelope
    indexes = Indexes(log)
    yield from _records(indexes, envelope, progress, is_protected=tried(store.is_protected) is True)
    yield from indexes.problems()
    folds = Folds(log, envelope)
    for key in sorted({stream.key for stream in indexes.seen if stream.kind in (ES, SS)}):
        found = tried(partial(folds.problems, key))
        yield from [] if isinstance(found, StoreError) else found  # what can't be read was found by the others


def _records(indexes: Indexes, envelope: Envelope, progress: Report | None, *, is_protected: bool) -> Iterator[Problem]:
    """Yield what is wrong with single records, and note what the feed shows of each stream."""
    found = _told(indexes.log.follow(), progress)
    while True:
        step = tried(lambda: next(found, None))
        if isinstance(step, StoreError):
            yield Problem("", "", None, f"the log can't be read on: {words_of(step)}")
            return
        if step is None:
            return
        position, stream, record = step
        if indexes.end is not None and not position > indexes.end:
            yield Problem(*stream, record.version, "its position is not above that of the one before it")
        indexes.end = position
        indexes.seen.setdefault(stream, Seen()).add(stream, trace_of(record))
        for flaw in flaws(envelope, stream, record):
            yield Problem(*stream, record.version, flaw)
        if is_protected and stream.kind != COPY and not is_encrypted(record.data):
            yield Problem(*stream, record.version, _IN_CLEAR)


def _told(found: Iterable[_Found], progress: Report | None) -> Iterator[_Found]:
    steps = Steps(progress)
    for each in found:
        yield each
        steps.step()
    steps.report()
