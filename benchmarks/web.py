"""The pages of ``rstore serve``: ``python -m benchmarks.web [plot] [keys] [tails] [rounds] [points] [keys]``.

A store in a file is served by a process of its own. The first figure of a row is that of a server that has just
started, after the system has forgotten the file. The second one is the median of the rounds after that. Each row shows
how long the reader waits, the processor time of the server meanwhile, and the bytes that come over the network.

``plot`` opens the page of a series of 10 million floats in Chromium, and asks for its JSON. ``keys`` asks for pages of
a namespace of a million keys, first while the server still reads the times of the log, then after that. ``tails`` lets
200 browsers listen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import psutil
from attrs import frozen

from benchmarks.growth import forget, permuted
from benchmarks.sql import fill
from rstore import Store
from tests.support.browser import running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

POINTS = 10_000_000
KEYS = 1_000_000
BATCH = 1_000  # keys of one commit
TAILS = 200
QUIET_SECONDS = 10
FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) done(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""
"""The policy of the pages lets nobody evaluate texts, so playwright can't wait for an expression."""


class Cost(NamedTuple):
    """What a page costs: the time that its reader waits, the processor time of the server, and the bytes sent."""

    seconds: float
    processor: float
    size: int


@frozen
class Server:
    """A server in a process of its own, and the cookie of a browser that it lets in."""

    process: psutil.Process
    host: str
    cookie: str

    def get(self, path: str) -> bytes:
        connection = HTTPConnection(self.host)
        try:
            connection.request("GET", path, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (path, answer.status, body[:500])
            return body
        finally:
            connection.close()

    def processor(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def page(self, path: str) -> Cost:
        """Return the cost of a page, or of its JSON, without scripts and styles."""
        before, begun = self.processor(), time.perf_counter()
        body = self.get(path)
        return Cost(time.perf_counter() - begun, self.processor() - before, len(body))

    def painted(self, browser: Browser, path: str, drawn: str | None = None) -> Cost:
        """Return the cost of a page with scripts and styles in a new browser.

        The time ends with the first paint, or when there is an element that is drawn by the script.
        """
        context = browser.new_context()
        try:
            name, _, value = self.cookie.partition("=")
            context.add_cookies([{"name": name, "value": value, "url": f"http://{self.host}"}])
            tab = context.new_page()
            sizes: list[int] = []
            network = context.new_cdp_session(tab)
            network.send("Network.enable")
            network.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
            before = self.processor()
            tab.goto(f"http://{self.host}{path}", wait_until="load")
            milliseconds = tab.evaluate(FIRST_PAINT)
            if drawn is not None:
                tab.wait_for_selector(drawn)
                milliseconds = tab.evaluate("performance.now()")
            return Cost(milliseconds / 1000, self.processor() - before, sum(sizes))
        finally:
            context.close()


@contextmanager
def served(path: Path) -> Iterator[Server]:
    """Serve a store in a new process, after the system has forgotten its file."""
    forget(path)
    command = [sys.executable, "-m", "rstore", "--dsn", str(path), "serve"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = urlsplit(process.stdout.readline().strip())
            assert url.netloc, process.stderr.read()
            connection = HTTPConnection(url.netloc)
            connection.request("GET", f"{url.path}?{url.query}")
            cookie = (connection.getresponse().getheader("Set-Cookie") or "").partition(";")[0]
            connection.close()
            yield Server(psutil.Process(process.pid), url.netloc, cookie)
        finally:
            process.terminate()


def show(name: str, first: Cost, later: list[Cost]) -> None:
    wall, processor, size = (median(each) for each in zip(*later, strict=True))
    print(
        f"{name:<46} {first.seconds * 1e3:7,.0f} ms (processor {first.processor * 1e3:6,.0f}), "
        f"then {wall * 1e3:7,.0f} ms (processor {processor * 1e3:6,.0f}), {size / 1000:7,.1f} KB",
        flush=True,
    )


def measure(path: Path, rows: Mapping[str, Callable[[Server], Cost]], rounds: int) -> None:
    """Show rows. Each begins with a server of its own, that nobody has asked for anything."""
    for name, row in rows.items():
        with served(path) as server:
            first = row(server)
            await_timeline(server)
            show(name, first, [row(server) for _ in range(rounds)])


def await_timeline(server: Server) -> None:
    """Wait until the server has read the times of all changes."""
    while not json.loads(server.get("/default/log.json"))["is_complete"]:
        time.sleep(0.2)


# -- rows -------------------------------------------------------------------------------------------------------------


def plot(folder: Path, rounds: int, points: int, _: int) -> None:
    path = folder / "points.db"
    with Store(path, frozen=False) as store:
        fill(store, "series", points)
        first, last = store.first("series"), store.last("series")
    assert first is not None
    assert last is not None
    tenth = (last[0] - first[0]) // 10
    span = f"?start={first[0] + 4 * tenth + 123}&end={first[0] + 5 * tenth + 123}"
    with running_browser() as browser:
        rows: dict[str, Callable[[Server], Cost]] = {
            "first paint": lambda server: server.painted(browser, "/default/ts/series"),
            "drawn by the script": lambda server: server.painted(browser, "/default/ts/series", ".plot canvas"),
            "JSON": lambda server: server.page("/default/ts/series.json"),
            "JSON of a tenth": lambda server: server.page(f"/default/ts/series.json{span}"),
        }
        measure(path, {f"{points:,} points, {name}": row for name, row in rows.items()}, rounds)


PAGES: Final = {
    "the first level": "",
    "a level below": "?prefix=shop+{n:03}/",
    "a page further on": "?prefix=shop+{n:03}/&after=shop+{n:03}/item+{n:03}500",
    "a pattern with a prefix": "?find=shop+{n:03}/*7",
    "a pattern that few keys match": "?find=*/item+{n:03}{n:03}",
    "a pattern that none matches": "?find=*/nothing",
    "the newest commits": "log",
    "the commits up to the middle": "log?until={middle}",
    "commits of somebody": "log?who=user+{n:03}",
    "a key": "kv/shop+{n:03}/item+{n:03}{n:03}",
}
"""Pages of a namespace of which the keys are like ``shop 012/item 012345``: the first three digits are the same."""


def keys(folder: Path, rounds: int, _: int, number: int) -> None:
    path = folder / "keys.db"
    shops = max(1, number // 1_000)
    with Store(path, frozen=False) as store:
        names, middle = permuted(number), 0
        for batch in range(0, number, BATCH):
            with store.context(who=f"user {batch // BATCH % 1_000:03}", why="a delivery has come"):
                store.set_many((f"shop {n // 1_000:03}/item {n:06}", n) for n in islice(names, BATCH))
            if batch <= number // 2:
                middle = time.time_ns() // 1_000_000

    def row(page: str) -> Callable[[Server], Cost]:
        shop = permuted(shops)  # another one each time
        return lambda server: server.page(f"/default/{page}".format(n=next(shop), middle=middle).replace("+", "%20"))

    measure(path, {f"{number:,} keys, {name}": row(page) for name, page in PAGES.items()}, rounds)


def tails(folder: Path, rounds: int, _: int, __: int) -> None:
    path = folder / "tails.db"
    with Store(path, frozen=False) as store:
        store["price"] = 0
        with served(path) as server:
            print(asyncio.run(listened(server, store, rounds)), flush=True)


async def listened(server: Server, store: Store, rounds: int) -> str:
    """Return what it takes that browsers listen: while nothing happens, and when something does."""
    threads, memory = server.process.num_threads(), server.process.memory_info().rss
    listeners = [await listen(server) for _ in range(TAILS)]
    for reader, _ in listeners:
        await reader.readuntil(b"event: hello")
    before = server.processor()
    await asyncio.sleep(QUIET_SECONDS)
    share = (server.processor() - before) / QUIET_SECONDS
    told = []
    for n in range(rounds):
        begun = time.perf_counter()
        await asyncio.to_thread(store.set, "price", n)
        await asyncio.gather(*(reader.readuntil(b"event: message") for reader, _ in listeners))
        told.append(time.perf_counter() - begun)
        await asyncio.sleep(1)
    added, more = server.process.num_threads() - threads, server.process.memory_info().rss - memory
    for _, writer in listeners:
        writer.close()
    return (
        f"{TAILS} tails: {added} more threads, {more / TAILS / 1000:,.0f} KB each, {share:.1%} of a processor while "
        f"nothing happens; all hear of a change after {median(told) * 1e3:,.0f} ms, at most {max(told) * 1e3:,.0f}"
    )


async def listen(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.host.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /default/tail HTTP/1.1\r\nHost: {server.host}\r\nCookie: {server.cookie}\r\n\r\n".encode())
    return reader, writer


ROWS: Final[Mapping[str, Callable[[Path, int, int, int], Any]]] = {"plot": plot, "keys": keys, "tails": tails}


def main(words: list[str]) -> None:
    numbers = [int(word) for word in words if word.isdigit()]
    rounds, points, number = [*numbers, *(5, POINTS, KEYS)[len(numbers) :]]
    for name in [word for word in words if not word.isdigit()] or ROWS:
        with TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
            ROWS[name](Path(folder), rounds, points, number)


if __name__ == "__main__":
    main(sys.argv[1:])
