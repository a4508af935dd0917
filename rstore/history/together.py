"""Appends of several threads as one: while one of them is stored, the others wait, and go into the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from threading import Lock

from attrs import Factory, define

from rstore.core import Core
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch


@define(eq=False)
class _Request:
    """Batches that a thread waits for, and then the versions of their streams, or the error."""

    batches: Sequence[Batch]
    versions: list[int] | None = None
    error: BaseException | None = None

    @property
    def is_answered(self) -> bool:
        return self.versions is not None or self.error is not None


@define(eq=False)
class Together:
    """Appends for several threads. Their batches are of different streams."""

    core: Core
    waiting: deque[_Request] = Factory(deque)
    writing: Lock = Factory(Lock)

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Append batches, perhaps together with those of other threads, and return the versions of their streams.

        Raises:
            StoreConflictError: one of these streams is not at the version that its batch expects.
        """
        request = _Request(batches)
        self.waiting.append(request)
        with self.writing:
            if not request.is_answered:
                self._answer(list(self._taken()))
        if request.error is not None:
            raise request.error
        return request.versions or []

    def _taken(self) -> Iterator[_Request]:
        while self.waiting:  # another thread may add one at any time, and none takes one
            yield self.waiting.popleft()

    def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            versions = iter(self.core.append(list(chain.from_iterable(each.batches for each in requests))))
            for each in requests:
                each.versions = list(islice(versions, len(each.batches)))
        except StoreConflictError as exc:
            if len(requests) == 1:
                requests[0].error = exc
                return
            for each in requests:  # one of them conflicts: nothing was stored
                self._answer([each])
        except BaseException as exc:
            for each in requests:  # each thread raises it
                each.error = exc
