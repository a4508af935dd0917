"""One thread a store follows the log: it fills the timeline, and tells the tails which streams have changed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from attrs import Factory, define

from rstore.core import core_of
from rstore.domain.erasure import ERASURES
from rstore.domain.errors import StoreClosedError, StoreError
from rstore.domain.log import Position, Record
from rstore.domain.streams import DELIVER, DUE, PROJECT, SKIPPED, Stream, kind_of
from rstore.history.changes import StreamFilter
from rstore.history.follow import LOOK_SECONDS, page_of
from rstore.store import Store
from rstore.web.news import News, Subscription
from rstore.web.stores import Stores
from rstore.web.timeline import Block, Near, Timeline

Found = tuple[Position, Stream, Record]

_IDLE_SECONDS: Final = 60.0
_REST_SECONDS: Final = 0.05
"""So long the thread rests after it found something: what is written meanwhile is told together."""
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

    Pages let it read on by :meth:`look`, in their own threads. Its own thread goes on with what they did not wait for,
    and while there are subscriptions. A minute after the last need the thread ends, and the next need starts another.

    Attributes:
        store: an open store. Its owner closes it.
        timeline: the times of its changes, as far as the log was read.
        is_complete: whether the log was read up to its end, at that time.
        idle_seconds: so long the thread stays without need.
    """

    store: Store
    timeline: Timeline = Factory(Timeline)
    is_complete: bool = False
    idle_seconds: float = _IDLE_SECONDS
    _reading: threading.Lock = Factory(threading.Lock)
    _changing: threading.Lock = Factory(threading.Lock)
    _subscriptions: set[Subscription] = Factory(set)
    _thread: threading.Thread | None = None
    _stopped: threading.Event = Factory(threading.Event)
    _needed: float = Factory(time.monotonic)
    _error: str | None = None
    _kept: OrderedDict[Position, list[int]] = Factory(OrderedDict)

    # -- for pages ----------------------------------------------------------------------------------------------------

    def look(self, seconds: float) -> bool:
        """Read on in the log, for about so many seconds, and return whether its end was reached.

        If not, the thread goes on.

        Raises:
            StoreError: the log can't be read.
        """
        end = time.monotonic() + seconds
        while self._read_on(max(0.0, end - time.monotonic())):
            if time.monotonic() >= end:
                self._start()
                return False
        return True

    def before(self, moment: int) -> int | None:
        """Return the greatest time of a change before a time; None if there is none."""
        with self._reading:
            near = self.timeline.before(moment)
        return max((found for found in self._nearer(near) if found < moment), default=None)

    def after(self, moment: int) -> int | None:
        """Return the least time of a change after a time; None if there is none."""
        with self._reading:
            near = self.timeline.after(moment)
        return min((found for found in self._nearer(near) if found > moment), default=None)

    def sample(self, most: int) -> list[int]:
        """Return times of changes, as :meth:`Timeline.sample` does."""
        with self._reading:
            return self.timeline.sample(most)

    def blocks(self, low: int, high: int) -> list[Block]:
        """Return the blocks that have changes from one time to another, both inclusive, the newest first."""
        with self._reading:
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
            subscription.tell(News(error=self._error))
        self._start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._changing:
            self._subscriptions.discard(subscription)
            self._needed = time.monotonic()

    def close(self) -> None:
        """End all subscriptions, and the thread. It does not wait for the thread."""
        self._stopped.set()
        self._tell(News(is_over=True))

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._changing:
            self._needed = time.monotonic()
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="rstore watcher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        failures = 0
        try:
            while self._is_needed():
                try:
                    self._follow()
                    failures = 0
                except StoreError as exc:
                    failures += 1
                    self._wait_out(exc, failures)
        finally:  # also after an error that is a bug: the next need starts another thread
            with self._changing:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _wait_out(self, error: StoreError, failures: int) -> None:
        """Tell an error, and pause before the next attempt. A store that was closed ends all."""
        if not core_of(self.store).session.is_open:
            self.close()
            return
        if str(error) != self._error:
            self._error = str(error)
            self._tell(News(recorded=self.timeline.newest, error=self._error))
        self._stopped.wait(min(_RETRY_MOST, _RETRY_SECONDS * 2 ** min(failures, 10)))

    def _is_needed(self) -> bool:
        """Tell whether the thread goes on. If not, the next need starts another."""
        with self._changing:
            idle = self.is_complete and not self._subscriptions and time.monotonic() - self._needed > self.idle_seconds
            if idle or self._stopped.is_set():
                self._thread = None
                return False
        return True

    def _follow(self) -> None:
        """Read what there is, then wait for more."""
        if self._read_on(LOOK_SECONDS):
            return
        self._stopped.wait(_REST_SECONDS)
        core_of(self.store).base.wait(self.timeline.end, LOOK_SECONDS)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_on(self, patience: float) -> bool:
        """Read the next page of the log, unless another thread takes too long to do so; tell whether there is more."""
        if not self._reading.acquire(timeout=patience):
            return True
        try:
            page, more = page_of(core_of(self.store).base, self.timeline.end)
            for position, stream, record in page:
                is_change = _ALL.may_have(stream)
                self.timeline.add(position, record.recorded if is_change else None, len(record.data))
            was_complete, self.is_complete = self.is_complete, self.is_complete or not more
        finally:
            self._reading.release()
        if was_complete and (page or self._error is not None):
            self._tell(self._news_of([stream for _, stream, _ in page]))
        elif self.is_complete and not was_complete:
            self._tell(News(many=True, recorded=self.timeline.newest))
        self._error = None
        return more

    def _news_of(self, changed: Iterable[Stream]) -> News:
        streams = set(changed)
        shown = [stream for stream in streams if _ALL.has(stream)]
        is_work = any(kind_of(stream) in _WORK for stream in streams)
        # a reader that has waited for the end of an error may have missed anything
        many = ERASURES in streams or self._error is not None
        return News((), many, is_work, self.timeline.newest).and_then(News(shown, recorded=self.timeline.newest))

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
