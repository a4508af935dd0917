"""One thread a store follows the log: it fills the timeline, and tells the tails which streams have changed."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Final

from attrs import Factory, define

from rstore.core import core_of
from rstore.domain.erasure import ERASURES
from rstore.domain.errors import StoreClosedError, StoreError
from rstore.domain.log import Position, Record
from rstore.domain.streams import DELIVER, DUE, PROJECT, SKIPPED, Stream, kind_of
from rstore.history.changes import StreamFilter
from rstore.history.follow import LOOK_SECONDS
from rstore.store import Store
from rstore.web.news import News, Subscription
from rstore.web.stores import Stores
from rstore.web.timeline import Block, Near, Timeline

Found = tuple[Position, Stream, Record]

_IDLE_SECONDS: Final = 60.0
_REST_SECONDS: Final = 0.05
"""So long the thread rests after it found something: what is written meanwhile is told together."""
_HOLD_SECONDS: Final = 10.0
"""So long the thread reads at once. Servers keep what was erased meanwhile for it."""
_BATCH: Final = 256
_RETRY_SECONDS: Final = 0.25
_RETRY_MOST: Final = 10.0
_BLOCKS_READ: Final = 100
"""So many blocks are read again for one answer. More only come where streams were copied one after the other."""
_BLOCKS_KEPT: Final = 16
_ALL: Final = StreamFilter()
_WORK: Final = frozenset({PROJECT, SKIPPED, DELIVER, DUE})


@define(eq=False)
class Watcher:
    """Follows the log of a store, as far as somebody needs it.

    Its thread reads the log from the beginning, once, and goes on while there are subscriptions. A minute after the
    last one the thread ends, and the next need starts another. A page reads what has come since in a thread of its own.

    Attributes:
        store: an open store. Its owner closes it.
        timeline: the times of its changes, as far as the log was read.
        idle_seconds: so long the thread stays after the last subscription.
    """

    store: Store
    timeline: Timeline = Factory(Timeline)
    idle_seconds: float = _IDLE_SECONDS
    _completed: threading.Event = Factory(threading.Event)
    _following: threading.Lock = Factory(threading.Lock)
    _adding: threading.Lock = Factory(threading.Lock)
    _changing: threading.Lock = Factory(threading.Lock)
    _subscriptions: set[Subscription] = Factory(set)
    _thread: threading.Thread | None = None
    _stopped: threading.Event = Factory(threading.Event)
    _unsubscribed: float = -math.inf
    _error: StoreError | None = None
    _kept: OrderedDict[Position, list[int]] = Factory(OrderedDict)

    # -- for pages ----------------------------------------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        """Whether the log was ever read up to its end."""
        return self._completed.is_set()

    def look(self, seconds: float) -> bool:
        """Read on in the log, for about so many seconds, and return whether its end was reached.

        If not, the thread goes on.

        Raises:
            StoreError: the log can't be read.
        """
        if self.is_complete:
            is_at_end = not self._read_on(seconds, seconds)
            if not is_at_end:
                self._start()
            return is_at_end
        # to begin with a long log may take longer than any page should wait, and can't be interrupted
        self._start()
        if not self._completed.wait(seconds) and self._error is not None:
            raise self._error
        return self.is_complete

    def before(self, moment: int) -> int | None:
        """Return the greatest time of a change before a time; None if there is none."""
        with self._adding:
            near = self.timeline.before(moment)
        return max((found for found in self._nearer(near) if found < moment), default=None)

    def after(self, moment: int) -> int | None:
        """Return the least time of a change after a time; None if there is none."""
        with self._adding:
            near = self.timeline.after(moment)
        return min((found for found in self._nearer(near) if found > moment), default=None)

    def sample(self, most: int) -> list[int]:
        """Return times of changes, as :meth:`Timeline.sample` does."""
        with self._adding:
            return self.timeline.sample(most)

    def blocks(self, low: int, high: int) -> list[Block]:
        """Return the blocks that have changes from one time to another, both inclusive, the newest first."""
        with self._adding:
            return list(self.timeline.blocks(low, high))

    def records(self, block: Block) -> list[Found]:
        """Return the changes in a block, in the order of the log. Those that were erased meanwhile are missing."""
        found = takewhile(lambda each: not each[0] > block.until, core_of(self.store).base.follow(block.after))
        return [each for each in found if _ALL.may_have(each[1])]

    def _nearer(self, near: Near) -> Iterator[int]:
        if near.known is not None:
            yield near.known
        for block in near.blocks[:_BLOCKS_READ]:
            yield from self._times(block)

    def _times(self, block: Block) -> list[int]:
        """Return the times of the changes in a block. Those of the blocks that were asked for last are kept."""
        kept = self._kept.get(block.until)
        if kept is None:
            kept = sorted({record.recorded for *_, record in self.records(block)})
            self._kept[block.until] = kept
            while len(self._kept) > _BLOCKS_KEPT:
                self._kept.popitem(last=False)
        return kept

    # -- for tails ----------------------------------------------------------------------------------------------------

    def subscribe(self) -> Subscription:
        """Return a subscription to all changes from now on. It is made where an event loop runs, and blocks nothing.

        Raises:
            StoreClosedError: the watcher was closed.
        """
        if self._stopped.is_set():
            raise StoreClosedError(self.store.namespace)
        subscription = Subscription()
        with self._changing:
            self._subscriptions.add(subscription)
        if self._error is not None:
            subscription.tell(News(error=str(self._error)))
        self._start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._changing:
            self._subscriptions.discard(subscription)
            self._unsubscribed = time.monotonic()

    def close(self) -> None:
        """End all subscriptions, and the thread. It does not wait for the thread."""
        self._stopped.set()
        self._tell(News(is_over=True))

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._changing:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="rstore watcher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        failures = 0
        try:
            while not self._stopped.is_set():
                try:
                    if self._read_on(_HOLD_SECONDS, _HOLD_SECONDS):
                        continue
                    failures = 0
                    if not self._is_needed():
                        return
                    self._stopped.wait(_REST_SECONDS)
                    core_of(self.store).base.wait(self.timeline.end, LOOK_SECONDS)
                except StoreError as exc:
                    failures += 1
                    self._tell_error(exc)
                    if not self._is_needed():
                        return
                    self._stopped.wait(min(_RETRY_MOST, _RETRY_SECONDS * 2 ** min(failures, 10)))
        finally:  # also after an error that is a bug: the next need starts another thread
            with self._changing:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _is_needed(self) -> bool:
        """Tell whether the thread goes on. If not, the next need starts another."""
        with self._changing:
            if self._subscriptions or time.monotonic() - self._unsubscribed < self.idle_seconds:
                return True
            self._thread = None
            return False

    def _tell_error(self, error: StoreError) -> None:
        """Tell an error that is another one than before. A store that was closed ends all."""
        if not core_of(self.store).session.is_open:
            self._error = error
            self.close()
        elif self._error is None or str(error) != str(self._error):
            self._error = error
            self._tell(News(recorded=self.timeline.newest, error=str(error)))

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_on(self, patience: float, seconds: float) -> bool:
        """Read the log, for about so many seconds, and tell whether there is more.

        Another thread that reads it is waited for with patience. Rejected: to read page by page, as followers do. Each
        page begins a read anew, and that can take as long as all that is left of the log.
        """
        if not self._following.acquire(timeout=patience):
            return True
        try:
            end = time.monotonic() + seconds
            found = core_of(self.store).base.follow(self.timeline.end)
            more = True
            while more:
                batch = list(islice(found, _BATCH))
                more = len(batch) == _BATCH
                self._add(batch)
                if more and time.monotonic() >= end:
                    return True
            self._complete()
        finally:
            self._following.release()
        return False

    def _add(self, batch: Sequence[Found]) -> None:
        with self._adding:
            for position, stream, record in batch:
                is_change = _ALL.may_have(stream)
                self.timeline.add(position, record.recorded if is_change else None, len(record.data))
        if batch and self.is_complete:
            self._tell(self._news_of([stream for _, stream, _ in batch]))

    def _complete(self) -> None:
        """Tell, at the first time and after an error, that anything may have changed."""
        if not self.is_complete or self._error is not None:
            self._error = None
            self._completed.set()
            self._tell(News(many=True, recorded=self.timeline.newest))

    def _news_of(self, changed: Iterable[Stream]) -> News:
        streams = set(changed)
        shown = [stream for stream in streams if _ALL.has(stream)]
        is_work = any(kind_of(stream) in _WORK for stream in streams)
        return News((), ERASURES in streams, is_work, self.timeline.newest).and_then(
            News(shown, recorded=self.timeline.newest)
        )

    def _tell(self, news: News) -> None:
        with self._changing:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            if not subscription.tell(news):
                self.unsubscribe(subscription)


@define(eq=False)
class Watchers:
    """The watchers of some stores, one for each namespace that was asked for."""

    stores: Stores
    _found: dict[str, Watcher] = Factory(dict)
    _lock: threading.Lock = Factory(threading.Lock)

    def watcher(self, namespace: str) -> Watcher:
        """Return the watcher of a namespace. Its store may have to be opened, which takes its time.

        Raises:
            LookupError: there is no such namespace.
        """
        store = self.stores.store(namespace)
        with self._lock:
            found = self._found.get(namespace)
            if found is None or found.store is not store:
                found = self._found[namespace] = Watcher(store)
            return found

    def close(self) -> None:
        """End all of them, and with them all tails."""
        with self._lock:
            for watcher in self._found.values():
                watcher.close()
