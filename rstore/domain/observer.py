"""What an observer is told: each call of the log, and all that projections and deliveries deal with.

No key, item or value is in it, and no text of an error: what is told becomes labels of metrics and attributes of spans,
which people read who may not read the store.
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
    """What a projection or a delivery has dealt with: a batch of changes, or an attempt at a message.

    Attributes:
        sort: ``projection`` or ``delivery``.
        name: that of the projection or delivery.
        namespace: that of the store.
        changes: the number of changes in it.
        attempt: the number of the attempt at a message; 1 for a batch.
        seconds: how long it took.
        lag: the seconds since the last of the changes was stored. See :meth:`rstore.Store.lag` for what is left.
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
    """Is told what a store does: for metrics and traces. A class of your own inherits what it does not need.

    It is called in the thread that uses the store, after each call, so it should be fast. Of an iterator that was left
    before its end, it is told with the next call. An error that it raises is
    logged once, and breaks nothing.

    >>> class Slow(Observer):
    ...     def called(self, call):
    ...         if call.seconds > 1:
    ...             print(call.operation, call.kind, call.seconds)
    >>> store = Store('memory://', frozen=False, observer=Slow())
    """

    def called(self, call: LogCall) -> None:
        """Take note of a call of the log."""

    def handled(self, handled: Handled) -> None:
        """Take note of what a projection or a delivery has dealt with."""

    def words(self) -> Mapping[str, Any]:
        """Return words that stand beside what is stored now, such as the id of a trace: see :meth:`Store.context`."""
        return {}
