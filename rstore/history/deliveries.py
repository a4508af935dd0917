"""Deliveries: effects outside of the store, such as a mail or a request, for each commit, at least once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from rstore.core import Core, Surface, check_keys, now
from rstore.domain.errors import StoreError
from rstore.domain.leases import Lease, State
from rstore.domain.log import Query, Record
from rstore.domain.names import check_name
from rstore.domain.streams import DELIVER, Stream
from rstore.history.changes import KINDS, StreamFilter, stream_filter
from rstore.history.deliverer import Deliverer, Delivery, Rules
from rstore.history.follow import Pauses, position_in
from rstore.history.lag import COUNTED, check_most, counted
from rstore.history.queue import Queue, StoredLease
from rstore.history.searcher import Searcher, begun_with

_WORKERS_MOST: Final = 256
_NO_PAYLOAD: Final = 0
_RETRIED: Final[Sequence[State]] = ("parked", "waiting")
_SKIPPED: Final[Sequence[State]] = ("parked",)

N = TypeVar("N", int, float)


class DueKey(NamedTuple):
    """A key with something to be delivered.

    Attributes:
        kind, key: its stream.
        state: ``due``; ``leased``: a worker delivers it; ``waiting`` for its next attempt; or ``parked``.
        version: that of the last change of the message in hand; 0 if none was begun.
        attempts: how many attempts were begun at that message.
        error: the error of the last attempt that failed: its type and text.
        since: when it was parked, in POSIX milliseconds; None if it is not.
        owner: the worker that has the lease: host, process id and a random number.
        until: when the lease or the pause ends, in POSIX milliseconds; None without one.
    """

    kind: str
    key: str
    state: State
    version: int
    attempts: int
    error: str | None
    since: int | None
    owner: str | None
    until: int | None


class DeliveryLag(NamedTuple):
    """How far behind a delivery is.

    Attributes:
        name: that of the delivery.
        due, leased, waiting, parked: the number of keys in its queue, by state.
        records: the number of records that were not delivered yet. Some of them no worker has found yet.
        seconds: the age of the oldest of these; 0.0 if there are none.
    """

    name: str
    due: int
    leased: int
    waiting: int
    parked: int
    records: int
    seconds: float


class Delivering(Surface):
    """Delivers commits to the outside."""

    def deliver(
        self,
        name: str,
        fn: Callable[[Delivery], Any],
        *,
        prefix: str | None = None,
        kind: str | None = None,
        after: str | None = None,
        wait: float = 0.0,
        attempts: int | None = 5,
        backoff: float = 1.0,
        lease: float = 10.0,
        workers: int = 4,
    ) -> int:
        """Call ``fn(delivery)`` for each commit of each key, at least once, in the order of each key.

        For effects outside of the store: a mail, a request, a message to a broker. Any number of processes may run the
        same name at the same time, and share the keys among them. Each calls ``fn`` in threads, for several keys at a
        time. A message counts as delivered when ``fn`` returns. If the process is killed, another one repeats the
        message in hand when its lease ends, and no other. So pass ``delivery.token`` on: by it, the other side knows a
        repetition.

        If ``fn`` raises, the key waits for its next attempt, and other keys go on. After so many attempts the message
        is parked: its key waits until somebody calls :meth:`retry` or :meth:`skip`. So does a message that cannot be
        read, or that kills its worker. The writes of ``fn`` to the store are delivered like any others.

        Args:
            name: that of the delivery; its progress is kept under it.
            fn: a plain function. If it takes longer than ``lease``, it must let other threads run: one renews it.
            prefix, kind: as in :meth:`follow`. They stay the same under one name.
            after: where a new name begins: a checkpoint of :meth:`follow`. None: with the first commit.
            wait: end when nothing was delivered for so many seconds; ``math.inf`` never ends. Keys that wait for their
                next attempt then stay in the queue, for the next call.
            attempts: after so many a message is parked; None: never.
            backoff: the seconds before the second attempt. Each further pause is twice as long, up to 300 seconds.
            lease: seconds after which others take the keys of a worker that was killed. It is renewed meanwhile. Clocks
                may differ by half of it.
            workers: the number of threads.

        Returns:
            The number of messages that were delivered.

        Raises:
            StoreError: it is called in a transaction.
            ValueError: the name was begun with other streams; or ``after`` is no checkpoint.

        >>> _ = store.apply('order', {'status': 'new'})
        >>> with store.context(did='pay'):
        ...     _ = store.apply('order', {'status': 'paid'})
        >>> def send(delivery):
        ...     print(delivery.key, delivery.commit.did, [change.value for change in delivery.commit.changes])
        >>> store.deliver('mail', send)
        order None ['new']
        order pay ['paid']
        2
        """
        core, streams = self._core, stream_filter(kind, prefix)
        name = _check_outside(core, name, "deliver")
        if inspect.iscoroutinefunction(fn) or not callable(fn):  # nobody would await it
            raise TypeError("fn is a plain function of a delivery; one that awaits calls asyncio.run() inside")
        if after is not None:
            position_in(core, after)
        rules = _rules(attempts, backoff, lease)
        threads = min(_at_least("workers", workers, int, 1), _WORKERS_MOST)
        queue = Queue(core, name, streams)
        return Deliverer(queue, Searcher(queue, after), fn, rules, threads).run(Pauses(wait))

    def due(self, name: str) -> list[DueKey]:
        """Return the keys in the queue of a delivery, by kind and key. Keys that no worker has found yet are missing.

        >>> store.due('mail')
        []
        """
        queue = Queue(self._core, check_name("delivery", name, empty=False))
        at = now()
        return [_due_key(found, at) for found in queue.all()]

    def parked(self, name: str) -> list[DueKey]:
        """Return the keys of a delivery of which a message failed in all attempts: they wait for a decision.

        >>> def fail(delivery):
        ...     raise ConnectionError('no route')
        >>> store['price'] = 10
        >>> store.deliver('mail', fail, attempts=1)
        0
        >>> [(each.key, each.attempts, each.error) for each in store.parked('mail')]
        [('price', 1, 'ConnectionError: no route')]
        """
        return [each for each in self.due(name) if each.state == "parked"]

    def retry(self, name: str, *keys: str) -> list[DueKey]:
        """Let messages of some keys, or of all, be tried anew: those that are parked, or wait for their next attempt.

        Returns:
            The keys as they were before.

        >>> store['price'] = 10
        >>> store.deliver('mail', lambda delivery: 1 / 0, attempts=1)
        0
        >>> [each.key for each in store.retry('mail')], store.deliver('mail', lambda delivery: None)
        (['price'], 1)
        """
        return _change(self._core, name, "retry", keys, _RETRIED, Lease.retried)

    def skip(self, name: str, *keys: str) -> list[DueKey]:
        """Skip the parked message of some keys. The next call of :meth:`deliver` goes on with the one after it.

        Returns:
            The keys as they were before, for a log of your own: nothing else tells of the skipped message.

        Raises:
            TypeError: no key is given.

        >>> store['price'] = 10
        >>> store.deliver('mail', lambda delivery: 1 / 0, attempts=1)
        0
        >>> [each.key for each in store.skip('mail', 'price')], store.parked('mail')
        (['price'], [])
        """
        if not keys:
            raise TypeError("skip() takes the keys of which a message is to be skipped, one at least")
        return _change(self._core, name, "skip", keys, _SKIPPED, Lease.passed)

    def deliveries(self, *, most: int = COUNTED) -> list[DeliveryLag]:
        """Return how far behind each delivery is, by name. This reads all records that are counted.

        Args:
            most: count so many records of each delivery at most. ``records`` is this number then, and ``seconds`` the
                age of the oldest one that was counted.

        >>> store['price'] = 10
        >>> store.deliver('mail', lambda delivery: None)
        1
        >>> store['price'] = 11
        >>> [(each.name, each.records) for each in store.deliveries()]
        [('mail', 1)]
        """
        check_most(most)
        return [_lag(self._core, head.stream, most) for head in self._core.base.heads(DELIVER)]


def _check_outside(core: Core, name: object, call: str) -> str:
    """Return the name of a delivery that is changed, or raise if it can't be changed here."""
    core.check_writable()
    core.check_outside(
        lambda: StoreError(
            f"{call}() can't be called in a transaction: a delivery moves on as it goes, call it outside"
        )
    )
    return check_name("delivery", name, empty=False)


def _rules(attempts: object, backoff: object, lease: object) -> Rules:
    """Return the rules with these numbers, or raise if one of them can't be used."""
    return Rules(
        None if attempts is None else _at_least("attempts", attempts, int, 1),
        _at_least("backoff", backoff, float, 0),
        _at_least("lease", lease, float, 0.01),
    )


def _at_least(name: str, value: object, to: type[N], least: float) -> N:
    """Return the number of an option, or raise if it is none or too small."""
    types = (int,) if to is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, types):
        raise TypeError(f"{name} is a number, not {type(value).__name__}")
    if not least <= value < 2**31:
        raise ValueError(f"{name} is at least {least}, not {value!r}")
    return to(value)


def _due_key(found: StoredLease, at: int) -> DueKey:
    (kind, key), lease, *_ = found
    return DueKey(
        kind,
        key,
        lease.state(at),
        lease.last,
        lease.attempt,
        lease.error or None,
        lease.since or None,
        lease.owner or None,
        lease.until or None,
    )


def _change(
    core: Core, name: str, call: str, keys: Collection[str], states: Collection[State], change: Callable[[Lease], Lease]
) -> list[DueKey]:
    """Change the leases of some keys that are in some states, or of all that are, and return them as they were."""
    queue = Queue(core, _check_outside(core, name, call))
    chosen = check_keys(keys)
    streams = [Stream(kind, key) for key in chosen for kind in KINDS]
    found = filter(None, queue.leases(streams)) if keys else queue.all()
    changed = []
    for stream in [each.stream for each in found if each.is_due]:
        was = core.decide(partial(_change_one, queue, stream, states, change))
        if was is not None:
            changed.append(was)
    return changed


def _change_one(
    queue: Queue, stream: Stream, states: Collection[State], change: Callable[[Lease], Lease]
) -> DueKey | None:
    (found,) = queue.leases([stream])
    at = now()
    if found is None or not found.is_due or found.lease.state(at) not in states:
        return None
    queue.core.append([queue.batch(stream, change(found.lease), found.version)])
    return _due_key(found, at)


def _lag(core: Core, stream: Stream, most: int) -> DeliveryLag:
    (record,) = core.base.last([stream])
    if record is None:  # it was discarded meanwhile
        return DeliveryLag(stream.key, 0, 0, 0, 0, 0, 0.0)
    queue = Queue(core, stream.key, begun_with(core.envelope, stream, record)[1])
    leases = {found.stream: found.lease for found in queue.all()}
    at = now()
    states = [lease.state(at) for lease in leases.values()]
    queued = (_not_delivered(core, *each) for each in leases.items())
    behind = chain(chain.from_iterable(queued), _not_searched(core, record, queue, leases))
    due, leased, waiting, parked = (states.count(state) for state in ("due", "leased", "waiting", "parked"))
    return DeliveryLag(stream.key, due, leased, waiting, parked, *counted(behind, most))


def _not_delivered(core: Core, stream: Stream, lease: Lease) -> Iterator[Record]:
    """Return the records of a stream in the queue that were not delivered, without their payloads."""
    return core.base.read(stream, Query(after=lease.cursor, most=_NO_PAYLOAD))


def _not_searched(core: Core, checkpoint: Record, queue: Queue, queued: Collection[Stream]) -> Iterator[Record]:
    """Yield the records behind the checkpoint of a delivery whose streams are not in its queue."""
    cursors: dict[Stream, int] = {}
    streams: StreamFilter = queue.streams
    position = position_in(core, checkpoint.item) if checkpoint.item else None
    for _, stream, record in core.base.follow(position):
        if not streams.has(stream) or stream in queued:
            continue
        if stream not in cursors:
            (found,) = queue.leases([stream])
            cursors[stream] = 0 if found is None else found.lease.cursor
        if record.version > cursors[stream]:
            yield record
