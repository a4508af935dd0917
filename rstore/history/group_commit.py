"""Group commit: while an append of one thread is stored, those of other threads wait, and go into the next one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import chain, islice
from threading import Lock
from typing import NamedTuple

from attrs import Factory, define

from rstore.core import Core
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch


class _Request(NamedTuple):
    """Batches that a thread waits for, and the versions of their streams, which come later."""

    batches: Sequence[Batch]
    versions: Future[list[int]]


@define(eq=False)
class GroupCommit:
    """Appends for several threads. Their batches are of different streams."""

    core: Core
    waiting: list[_Request] = Factory(list)
    writing: Lock = Factory(Lock)

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append batches, perhaps together with those of other threads, and return the versions of their streams.

        Raises:
            StoreConflictError: one of these streams is not at the version that its batch expects.
        """
        request = _Request(batches, Future())
        self.waiting.append(request)
        with self.writing:
            if not request.versions.done():
                self._store_waiting()
        return request.versions.result()

    def _store_waiting(self) -> None:
        requests = self.waiting[:]  # other threads add some meanwhile, behind these
        self._store([each for each in requests if not each.versions.done()])
        del self.waiting[: len(requests)]  # not before: if this thread is interrupted, the others store theirs

    def _store(self, requests: Sequence[_Request]) -> None:
        try:
            versions = iter(self.core.append(list(chain.from_iterable(each.batches for each in requests))))
        except StoreConflictError as exc:
            if len(requests) == 1:
                requests[0].versions.set_exception(exc)
                return
            for each in requests:  # one of them conflicts: nothing was stored
                self._store([each])
        except Exception as exc:  # a lost connection, say: each thread raises it
            for each in requests:
                each.versions.set_exception(exc)
        else:
            for each in requests:
                each.versions.set_result(list(islice(versions, len(each.batches))))
