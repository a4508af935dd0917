"""Browsers hear which streams have changed, in a response that goes on, and cost nothing if they do not listen."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from rstore import Store
from rstore.domain.streams import Stream
from rstore.web import app, tail, watcher
from rstore.web.news import News, Subscription
from rstore.web.server import server as server_of
from rstore.web.stores import Stores


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store("memory://", frozen=False) as store:
        yield store


@contextmanager
def serving(site: Any, server: uvicorn.Server | None = None, patience: float = 1) -> Iterator[tuple[str, int]]:
    """Serve an application in a thread; yield its address. It has to end within a second."""
    server = server or server_of(site, site.state.watchers.close)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # full at once, if nobody reads
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.002)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(patience)
            assert not thread.is_alive()


class Listener:
    """A browser that listens."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.status = 0
        self.headers = ""

    async def begin(self) -> Listener:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.status, self.headers = int(head.split()[1]), head
        return self

    async def event(self, name: str = "message", seconds: float = 10) -> dict[str, Any]:
        """Return the next event of a name."""
        async with asyncio.timeout(seconds):
            while (await self.reader.readline()).strip() != f"event: {name}".encode():
                pass
            found: dict[str, Any] = json.loads((await self.reader.readline()).removeprefix(b"data: "))
            return found

    async def rest(self, seconds: float = 2) -> bytes:
        """Return what comes until the end."""
        return await asyncio.wait_for(self.reader.read(), seconds)


@asynccontextmanager
async def listening(address: tuple[str, int], path: str = "/default/tail") -> AsyncIterator[Listener]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode())
    try:
        yield await Listener(reader).begin()
    finally:
        writer.close()


def test_a_change_is_told_within_a_second(memory: Store) -> None:
    memory["price"] = 1

    async def listen(address: tuple[str, int]) -> None:
        async with listening(address) as listener:
            assert listener.status == 200
            assert "content-type: text/event-stream" in listener.headers
            assert "content-security-policy" in listener.headers
            assert (await listener.event("hello"))["changes"] in (0, 1)  # as far as the log is read
            assert (await listener.event())["many"]
            began = time.monotonic()
            memory["pr\u202eice\n"] = 10
            event = await listener.event()
            assert time.monotonic() - began < 1
            assert event["streams"] == [["kv", "pr\u202eice\n"]]
            assert (event["many"], event["work"]) == (False, False)
            assert event["recorded"] == memory.history("pr\u202eice\n")[0].recorded
            async with listening(address) as later:
                assert (await later.event("hello"))["changes"] == 2
            memory.project("counts", lambda change, store: None)
            assert (await listener.event())["work"]

    with serving(app(memory)) as address:
        asyncio.run(listen(address))


def test_an_error_and_its_end_are_events_of_their_own(memory: Store) -> None:
    from tests.web.test_watcher import Failing

    failing = Failing(memory)
    memory._core.base = failing  # type: ignore[assignment]

    async def listen(address: tuple[str, int]) -> None:
        async with listening(address) as listener:
            await listener.event()
            failing.is_down = True
            assert (await listener.event("state"))["error"] == "the server is gone"
            failing.is_down = False
            assert (await listener.event("state"))["error"] is None
            assert (await listener.event())["many"]

    with serving(app(memory)) as address:
        asyncio.run(listen(address))


def test_two_hundred_tails_take_three_threads_at_most(memory: Store) -> None:
    async def listen(address: tuple[str, int]) -> None:
        async def one() -> Any:
            async with listening(address) as listener:
                await listener.event("hello", seconds=30)
                ready.release()
                event = await listener.event(seconds=30)
                threads.add(threading.active_count())
                return event["streams"]

        ready, threads = asyncio.Semaphore(0), set[int]()
        tails = asyncio.gather(*[one() for _ in range(200)])
        for _ in range(200):
            await asyncio.wait_for(ready.acquire(), 30)
        memory["price"] = 10
        assert await tails == [[["kv", "price"]]] * 200
        assert max(threads) - before <= 3

    site = app(memory)
    site.state.watchers.watcher("default").look(10)  # later ones hear nothing of the first time that it was read
    with serving(site) as address:
        before = threading.active_count()
        asyncio.run(listen(address))


def subscriptions(site: Any) -> int:
    return len(site.state.watchers.watcher("default")._subscriptions)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_browser_that_goes_away_is_forgotten(memory: Store) -> None:
    site = app(memory)

    async def listen(address: tuple[str, int]) -> None:
        async with listening(address) as listener:
            await listener.event()
            assert subscriptions(site) == 1
        await asyncio.to_thread(until, lambda: not subscriptions(site))

    with serving(site) as address:
        asyncio.run(listen(address))


def test_a_browser_that_never_reads_costs_nothing_and_holds_up_nobody(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_REST_SECONDS", 0)
    monkeypatch.setattr(watcher, "_REST_SECONDS", 0)
    site = app(memory)

    async def listen(address: tuple[str, int]) -> None:
        async with listening(address) as listener:
            await listener.event("hello")
            memory["the end"] = 1
            while ["kv", "the end"] not in (await listener.event(seconds=1))["streams"]:
                pass

    with serving(site) as address, socket.socket() as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        mute.connect(address)
        mute.sendall(b"GET /default/tail HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: subscriptions(site) == 1 and site.state.watchers.watcher("default").is_complete)
        (subscription,) = site.state.watchers.watcher("default")._subscriptions
        for n in range(200):  # 10,000 writes, of which each time 7 KB would be told
            memory.set_many({f"{key} {'x' * 140}": n for key in range(50)})
            site.state.watchers.watcher("default").look(10)
        until(lambda: site.state.watchers.watcher("default").timeline.changes == 10_000)
        until(lambda: subscription._news is not None)  # nobody takes it any more: the connection is full
        time.sleep(0.1)
        assert len(subscription._news.streams) <= 100
        asyncio.run(listen(address))


def test_what_is_not_taken_is_kept_as_one_and_wakes_once() -> None:
    async def tell() -> None:
        subscription = Subscription()
        for n in range(10_000):
            assert subscription.tell(News([Stream("kv", str(n))], recorded=n))
        assert len(asyncio.get_running_loop()._ready) == 1  # type: ignore[attr-defined]
        assert await subscription.next(1) == News([], many=True, recorded=9_999)
        assert await subscription.next(0.01) is None

    asyncio.run(tell())


def held(address: tuple[str, int]) -> threading.Thread:
    """Hold a tail open in a thread, until it is ended, and not broken off."""

    async def listen() -> None:
        async with listening(address) as listener:
            await listener.event()
            ready.set()
            assert (await listener.rest(5)).endswith(b"0\r\n\r\n")

    ready = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(listen(),))
    thread.start()
    assert ready.wait(10)
    return thread


def test_the_end_of_the_server_ends_all_tails_at_once(memory: Store) -> None:
    with serving(app(memory)) as address:
        thread = held(address)
    thread.join(5)


def test_a_server_that_ends_without_waiting_for_tails_meets_no_error(
    memory: Store, caplog: pytest.LogCaptureFixture
) -> None:
    site = app(memory)
    config = uvicorn.Config(site, log_config=None, timeout_graceful_shutdown=0)
    with serving(site, uvicorn.Server(config), patience=3) as address:
        thread = held(address)
    thread.join(5)
    assert "Exception" not in caplog.text


def test_a_tail_of_no_namespace_or_of_a_store_that_is_gone_is_refused() -> None:
    with Store("memory://", frozen=False) as store:
        client = TestClient(app(store))
        assert client.get("/nothing/tail").status_code == 404
        assert client.get("/~9/tail").status_code == 404
        assert client.head("/default/tail").headers["content-type"].startswith("text/event-stream")
        assert client.post("/default/tail").status_code == 405
        client.app.state.watchers.close()  # type: ignore[attr-defined]
        client.app.state.watchers.watcher("default").close()  # type: ignore[attr-defined]
        assert client.get("/default/tail").status_code == 503
    with Store("memory://", frozen=False) as store:
        store["tail"] = 1
        assert TestClient(app(store)).get("/default/kv/tail").status_code == 200


def test_a_namespace_of_any_name_has_a_tail() -> None:
    with Store("memory://", "a/b ..?", frozen=False) as store:

        async def listen(address: tuple[str, int]) -> None:
            async with listening(address, "/a~1b%20..%3F/tail") as listener:
                assert (await listener.event())["many"]

        with serving(app(Stores(lambda: [store.namespace], lambda _: store))) as address:
            asyncio.run(listen(address))
