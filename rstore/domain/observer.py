"""Observers, and the reports that they get: of calls of the log, and of the work of projections and deliveries.

A report has no key, item or value, and no text of an error. It becomes labels of metrics and attributes of spans.
People who may not read the store read those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Sort: TypeAlias = Literal["projection", "delivery"]


class LogCall(NamedTuple):
    """A call of the log that has ended.

    Attributes:
        operation: ``append``, ``rewrite``, ``read``, ``replay``, ``last``, ``head``, ``heads``, ``count``, ``follow``,
            or ``open``.
        system: the backend: ``sqlite``, ``postgresql``, ``redis`` or ``memory``.
        namespace: that of the store.
        kind: that of the first stream, such as ``kv``, ``ts`` or ``es``, or a private one; empty if it is of no kind.
        streams: the number of streams that were asked for, written to, or listed.
        records: the number of records that were read, appended, or taken away.
        bytes: those of their payloads and notes.
        seconds: how long the log took. For an iterator that is without the time of the code that iterates over it.
        error: the class of the error that ended it; None if there was none.
    """

    operation: str
    system: str
    namespace: str
    kind: str
    streams: int
    records: int
    bytes: int
    seconds: float
    error: str | None


class Handled(NamedTuple):
    """A batch of changes that a projection has handled, or an attempt of a delivery at a message.

    Attributes:
        sort: ``projection`` or ``delivery``.
        name: that of the projection or delivery.
        namespace: that of the store.
        changes: the number of changes in it.
        attempt: the number of the attempt at a message; 1 for a batch.
        seconds: how long it took.
        lag: the seconds since the last of the changes was stored. See :meth:`rstore.Store.lag` for the rest.
        error: the class of the error that ended it; None if there was none.
        parked: whether the message has failed in all attempts.
    """

    sort: Sort
    name: str
    namespace: str
    changes: int
    attempt: int
    seconds: float
    lag: float
    error: str | None
    parked: bool


@runtime_checkable
class Observer(Protocol):
    """Gets reports from a store, for metrics and traces. A class of your own inherits the methods that it can spare.

    The store calls it after each call of the log, in the same thread, so it should be fast. If an iterator was left
    before its end, its report comes with the next call. The store logs the first error that an observer raises, and no
    error of an observer breaks anything.

    >>> class Slow(Observer):
    ...     def called(self, call):
    ...         if call.seconds > 1:
    ...             print(call.operation, call.kind, call.seconds)
    >>> store = Store('memory://', frozen=False, observer=Slow())
    """

    def called(self, call: LogCall) -> None:
        """Take note of a call of the log."""

    def handled(self, handled: Handled) -> None:
        """Take note of a batch of a projection, or of an attempt of a delivery."""

    def words(self) -> Mapping[str, Any]:
        """Return words for the note of all that is stored now, such as the id of a trace: see :meth:`Store.context`."""
        return {}
