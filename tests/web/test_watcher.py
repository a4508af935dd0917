"""A watcher follows the log of a store: it knows the times of all changes, and tells which streams have changed."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import freezegun
import pytest

from rstore import Store
from rstore.domain.errors import StoreClosedError, StoreNotAvailableError
from rstore.web.address import Address
from rstore.web.asked import Asked
from rstore.web.news import News, Subscription
from rstore.web.stores import Stores
from rstore.web.timeline import Timeline
from rstore.web.timing import Timing, timing_of_namespace
from rstore.web.watcher import Watcher, Watchers
from tests.conftest import Backend, in_turn


def write_some(store: Store) -> None:
    """Write at times that decrease from one stream to the next, with bookkeeping in between."""
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for n in range(12):
            store[f"key {n % 3}"] = n
            clock.tick(7)
        clock.move_to("2026-05-01T11:00Z")
        store.extend("series", *[(n, n) for n in range(5)])
        clock.move_to("2026-05-01T12:00:30Z")
        store.apply("account", {"balance": 1, "owner": "Ada"})
        store.project("counts", lambda change, store: None)


def test_it_finds_the_changes_beside_each_time(backend: Backend) -> None:
    store = backend.store()
    write_some(store)
    times = sorted({change.recorded for change in store.log()})
    watcher = Watcher(backend.store(frozen=True), Timeline(records=4))
    assert watcher.look(60)
    assert watcher.sample(600) == times
    for time_ in {0, *times, *(each + 1 for each in times)}:
        place = bisect_left(times, time_)
        assert watcher.before(time_) == (times[place - 1] if place else None), time_
        place = bisect_right(times, time_)
        assert watcher.after(time_) == (times[place] if place < len(times) else None), time_


def test_its_blocks_have_all_changes(backend: Backend) -> None:
    store = backend.store()
    write_some(store)
    watcher = Watcher(backend.store(frozen=True), Timeline(records=4))
    watcher.look(60)
    backwards = [
        (stream.key, record.version)
        for block in watcher.blocks(0, 2**60)
        for _, stream, record in reversed(watcher.records(block))
    ]
    assert backwards == [(change.key, change.version) for change in reversed(list(store.log()))]


def test_a_later_look_finds_what_came_meanwhile_and_what_was_erased_is_missing(backend: Backend) -> None:
    store = backend.store()
    watcher = Watcher(store, Timeline(records=4))
    for n in range(10):
        store["price"] = n
    watcher.look(60)
    assert watcher.timeline.changes == 10
    store.compact()
    watcher.look(60)
    kept = [stream for block in watcher.blocks(0, 2**60) for _, stream, _ in watcher.records(block)]
    assert [stream.kind for stream in kept] == ["kv", "erasure"]


async def heard(subscription: Subscription, until: Callable[[News], bool], seconds: float = 10) -> News:
    """Listen until the news so far are as expected."""
    news = News()
    end = time.monotonic() + seconds
    while not until(news):
        assert time.monotonic() < end, news
        came = await subscription.next(0.2)
        news = news if came is None else news.and_then(came)
    return news


def test_it_tells_which_streams_have_changed(backend: Backend) -> None:
    store = backend.store()
    store["before"] = 1
    watcher = Watcher(backend.store(frozen=True))

    async def listen() -> None:
        subscription = watcher.subscribe()
        first = await heard(subscription, lambda news: news.many)
        assert first.recorded is not None
        began = time.monotonic()
        store["price"] = 10
        store.extend("price", (1, 2))
        store.apply("account", {"balance": 1})
        news = await heard(subscription, lambda news: len(news.streams) == 3)
        assert time.monotonic() - began < 1
        assert set(news.streams) == {("kv", "price"), ("ts", "price"), ("es", "account")}
        assert not news.work
        store.project("counts", lambda change, store: None)
        news = await heard(subscription, lambda news: news.work)
        assert (list(news.streams), news.many) == ([], False)
        store["price"] = 11
        await heard(subscription, lambda news: ("kv", "price") in news.streams)
        store.compact()
        await heard(subscription, lambda news: news.many)  # an erasure may be about any stream

    asyncio.run(listen())
    watcher.close()


@pytest.fixture
def memory() -> Store:
    return Store("memory://", frozen=False).open()


def test_many_streams_are_many_and_nothing_grows(memory: Store) -> None:
    watcher = Watcher(memory)

    async def listen() -> None:
        subscription = watcher.subscribe()
        await heard(subscription, lambda news: news.many)
        for n in range(300):
            memory[f"key {n}"] = n
        await asyncio.to_thread(watcher.look, 10)
        news = await heard(subscription, lambda news: news.many)
        assert news.streams == []

    asyncio.run(listen())
    watcher.close()


def test_names_that_are_long_are_soon_many() -> None:
    some = News([("kv", "x" * 5_000)])  # type: ignore[list-item]
    assert not some.many
    assert some.and_then(News([("kv", "y" * 5_000)])).many  # type: ignore[list-item]


class Failing:
    """A backend whose log can't be read at times."""

    def __init__(self, store: Store) -> None:
        self.base = store._core.base
        self.is_down = False

    def __getattr__(self, name: str) -> object:
        if self.is_down and name in ("follow", "wait"):
            raise StoreNotAvailableError("the server is gone")
        return getattr(self.base, name)


def test_an_error_is_told_and_so_is_its_end(memory: Store) -> None:
    failing = Failing(memory)
    memory._core.base = failing  # type: ignore[assignment]
    watcher = Watcher(memory)

    async def listen() -> None:
        subscription = watcher.subscribe()
        await heard(subscription, lambda news: news.many)
        failing.is_down = True
        news = await heard(subscription, lambda news: news.error is not None)
        assert news.error == "the server is gone"
        late = watcher.subscribe()
        assert (await heard(late, lambda news: news.error is not None)).error == "the server is gone"
        with pytest.raises(StoreNotAvailableError):
            watcher.look(1)
        failing.is_down = False
        news = await heard(subscription, lambda news: news.many)
        assert news.error is None

    asyncio.run(listen())
    watcher.close()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def watching() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "rstore watcher"}


def test_there_is_one_thread_which_ends_without_need_and_comes_again(memory: Store) -> None:
    before = watching()
    watcher = Watcher(memory, idle_seconds=0.1)

    async def listen() -> None:
        subscriptions = [watcher.subscribe() for _ in range(20)]
        assert len(watching() - before) == 1
        await heard(subscriptions[0], lambda news: news.many)
        for each in subscriptions:
            watcher.unsubscribe(each)
        await asyncio.to_thread(until, lambda: not watching() - before)
        subscription = watcher.subscribe()
        memory["price"] = 1
        await heard(subscription, lambda news: ("kv", "price") in news.streams)

    asyncio.run(listen())
    # the loop of the last subscription is closed: at the next news it is dropped
    memory["price"] = 2
    until(lambda: not watching() - before)


@in_turn("way", ["store", "watcher"])
def test_a_store_or_a_watcher_that_is_closed_ends_all(way: str) -> None:
    before = watching()
    store = Store("memory://", frozen=False).open()
    watchers = Watchers(Stores(lambda: [store.namespace], lambda _: store))
    watcher = watchers.watcher(store.namespace)
    assert watchers.watcher(store.namespace) is watcher

    async def listen() -> None:
        subscription = watcher.subscribe()
        await heard(subscription, lambda news: news.many)
        (store if way == "store" else watchers).close()
        await heard(subscription, lambda news: news.is_over)
        with pytest.raises(StoreClosedError):
            watcher.subscribe()

    asyncio.run(listen())
    until(lambda: not watching() - before)


def test_a_page_that_does_not_wait_for_the_end_of_the_log_lets_the_thread_go_on(memory: Store) -> None:
    before = watching()
    memory.set_many(dict.fromkeys(map(str, range(9_000)), 1))
    watcher = Watcher(memory)
    assert not watcher.look(0)
    until(lambda: watcher.is_complete)
    assert watcher.timeline.changes == 9_000
    until(lambda: not watching() - before)
    memory.set_many(dict.fromkeys(map(str, range(9_000)), 2))
    assert not watcher.look(0)
    until(lambda: watcher.timeline.changes == 18_000)
    until(lambda: not watching() - before)
    memory["more"] = 1
    assert watcher.look(0)
    assert watcher.timeline.changes == 18_001


def test_a_log_that_cannot_be_read_from_the_beginning_is_told_at_once(memory: Store) -> None:
    failing = Failing(memory)
    failing.is_down = True
    memory._core.base = failing  # type: ignore[assignment]
    watcher = Watcher(memory)
    with pytest.raises(StoreNotAvailableError):
        watcher.look(0.1)
    failing.is_down = False
    assert watcher.look(10)


def test_a_page_of_all_keys_snaps_to_all_changes(store: Store) -> None:
    write_some(store)
    times = sorted({change.recorded for change in store.log()})

    def timing(at: int | None = None) -> Timing:
        asked = Asked(Address("default"), store, {} if at is None else {"at": str(at)}, watcher)
        return timing_of_namespace(asked)

    watcher = Watcher(store)
    assert watcher.look(60)

    now = timing()
    assert (list(now.stops), now.earlier, now.later) == (times, times[-2], None)
    for place, time_ in enumerate(times):
        earlier, later = times[place - 1] if place else None, times[place + 1] if place + 1 < len(times) else None
        assert (timing(time_).earlier, timing(time_).later) == (earlier, later)
        assert (timing(time_ + 1).earlier, timing(time_ + 1).later) == (earlier, later)
    assert (timing(times[0] - 1).earlier, timing(times[0] - 1).later) == (None, times[0])
