"""Group commit: appends of several threads are stored as one, and each thread gets its versions or its error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from rstore import Store, StoreConflictError, StoreError
from rstore.adapters.memory import MemoryLog, Space
from rstore.core import Core, core_of
from rstore.domain.leases import Lease
from rstore.domain.log import Batch
from rstore.domain.streams import KV, Stream
from rstore.history.group_commit import GroupCommit
from rstore.history.queue import Queue

Append = Callable[[Core, Sequence[Batch]], list[int]]


@pytest.fixture
def queue() -> Iterator[Queue]:
    space = Space()
    with Store(lambda namespace, frozen: MemoryLog(space, namespace, frozen), frozen=False) as store:
        yield Queue(core_of(store), "mail")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of batches of each append."""
    sizes, append = list[int](), Core.append

    def counted(core: Core, batches: Sequence[Batch]) -> list[int]:
        sizes.append(len(batches))
        return append(core, batches)

    monkeypatch.setattr(Core, "append", counted)
    return sizes


def lease_batch(queue: Queue, n: int, version: int = 0) -> Batch:
    return queue.batch(Stream(KV, f"k{n}"), Lease(n), version)


def together(log: GroupCommit, main: Sequence[Batch], *others: Sequence[Batch]) -> list[Future[list[int]]]:
    """Append batches in this thread, while threads wait with others. Return what these threads got."""
    with ThreadPoolExecutor(len(others)) as threads, log.writing:
        futures = [threads.submit(log.append, batches) for batches in others]
        end = time.monotonic() + 10
        while len(log.waiting) < len(others) and time.monotonic() < end:
            time.sleep(0.001)
        log.append(main)
    return futures


@pytest.fixture
def log(queue: Queue) -> GroupCommit:
    return GroupCommit(queue.core, writing=threading.RLock())  # type: ignore[arg-type]  # this thread may hold it twice


def leases(queue: Queue, *numbers: int) -> list[tuple[int, int] | None]:
    """Return the cursors and versions of some leases."""
    found = queue.leases([Stream(KV, f"k{n}") for n in numbers])
    return [None if each is None else (each.lease.cursor, each.version) for each in found]


def test_what_waits_is_one_append_and_each_thread_gets_its_versions(
    queue: Queue, log: GroupCommit, sizes: list[int]
) -> None:
    queue.core.append([lease_batch(queue, 2)])
    two = [lease_batch(queue, 2, 1), lease_batch(queue, 3)]
    futures = together(log, [lease_batch(queue, 0)], [lease_batch(queue, 1)], two)
    assert sorted(future.result() for future in futures) == [[1], [2, 1]]
    assert sizes == [1, 4]
    assert leases(queue, 0, 1, 2, 3) == [(0, 1), (1, 1), (2, 2), (3, 1)]
    assert log.append([lease_batch(queue, 0, 1)]) == [2]
    assert sizes == [1, 4, 1]
    assert log.waiting == []


def test_a_conflict_concerns_one(queue: Queue, log: GroupCommit) -> None:
    conflict, other = together(log, [lease_batch(queue, 0)], [lease_batch(queue, 1, 7)], [lease_batch(queue, 2)])
    assert isinstance(conflict.exception(), StoreConflictError)
    assert other.result() == [1]
    assert leases(queue, 0, 1, 2) == [(0, 1), None, (2, 1)]


def test_an_error_is_that_of_all_that_wait(queue: Queue, log: GroupCommit, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(core: Core, batches: Sequence[Batch]) -> list[int]:
        raise StoreError("the connection is lost")

    monkeypatch.setattr(Core, "append", lost)
    with pytest.raises(StoreError, match="is lost"):
        together(log, [lease_batch(queue, 0)], [lease_batch(queue, 1)])
    with pytest.raises(StoreError, match="is lost"):
        log.append([lease_batch(queue, 2)])
    monkeypatch.undo()
    assert log.append([lease_batch(queue, 3)]) == [1]
    assert leases(queue, 0, 1, 2, 3) == [None, None, None, (3, 1)]


def test_an_interrupt_is_that_of_one_thread_and_others_store_theirs(
    queue: Queue, log: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, interrupted = Core.append, list[int]()

    def once(core: Core, batches: Sequence[Batch]) -> list[int]:
        if not interrupted:
            interrupted.append(len(batches))
            raise KeyboardInterrupt
        return append(core, batches)

    monkeypatch.setattr(Core, "append", once)
    futures = list[Future[list[int]]]()
    with ThreadPoolExecutor(2) as threads, suppress(KeyboardInterrupt), log.writing:
        futures += [threads.submit(log.append, [lease_batch(queue, n)]) for n in (1, 2)]
        while len(log.waiting) < 2:
            time.sleep(0.001)
        log.append([lease_batch(queue, 0)])
    assert interrupted == [3]
    assert [future.result() for future in futures] == [[1], [1]]
    assert leases(queue, 1, 2) == [(1, 1), (2, 1)]
