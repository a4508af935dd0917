"""SQL beside the calls of Python: ``python -m benchmarks.sql [rounds] [points]``.

The series are floats, one a second, in a file. Each figure is a median over the rounds of the processor's time, and a
ratio divides two medians; SQL and the call take turns. DuckDB alone has the same points in memory, as a table of Arrow:
no query can take less time than that. A last query reads ten times the points, and shows how much more memory the
process takes for it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import psutil
import pyarrow as pa

from rstore import Store

POINTS = 10_000_000
KEYS = 100_000
STRETCH = 5_000_000  # points of one append
START = 1_700_000_000_000

BY_HOUR = "SELECT time_bucket(INTERVAL 1 HOUR, t) AS hour, avg(value) FROM {} GROUP BY hour ORDER BY hour"


def fill(store: Store, key: str, points: int) -> None:
    dice = np.random.default_rng(1)
    for low in range(0, points, STRETCH):
        count = min(STRETCH, points - low)
        times = (np.arange(low, low + count) * 1000 + START).view("M8[ms]")
        store.extend(key, (times, dice.standard_normal(count)))


def in_memory(points: int) -> Any:
    connection = duckdb.connect(config={"threads": 1})
    times = pa.array((np.arange(points) * 1000 + START) * 1000).view(pa.timestamp("us"))
    values = np.random.default_rng(1).standard_normal(points)
    connection.register("series", pa.table({"t": times, "value": values}))
    return connection


def pairs(store: Store, alone: Any) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Yield a name, a query, and the call that it is compared with."""
    query = BY_HOUR.format("series")
    yield "avg by hour / resample", lambda: store.sql(query), lambda: store.resample("series", "1h", "mean")
    yield "avg by hour / DuckDB alone", lambda: store.sql(query), lambda: alone.sql(query).to_arrow_table()
    yield (
        "avg of a day / range",
        lambda: store.sql("SELECT avg(value) FROM series WHERE t BETWEEN '2023-12-01' AND '2023-12-02'"),
        lambda: np.mean(store.range("series", "2023-12-01", end="2023-12-02", to="numpy")[1]),
    )
    yield (
        "a key / get",
        lambda: store.sql("SELECT value FROM kv WHERE key = 'key 000777'"),
        lambda: store.get("key 000777"),
    )
    yield "all keys / items", lambda: store.sql("SELECT sum(value) FROM kv"), lambda: sum(store.values())


def seconds(call: Callable[[], Any]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main(rounds: int = 5, points: int = POINTS) -> None:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.db", frozen=False) as store:
        fill(store, "series", points)
        store.set_many((f"key {n:06}", n) for n in range(KEYS))
        for name, query, other in pairs(store, in_memory(points)):
            ours, theirs = zip(*((seconds(query), seconds(other)) for _ in range(rounds)), strict=True)
            first, second = median(ours), median(theirs)
            print(f"{name:<30} {first * 1e3:9.1f} ms / {second * 1e3:9.1f} ms = {first / second:.2f}")
        fill(store, "long", 10 * points)
        process = psutil.Process()
        before = process.memory_info().rss
        most = peak_while(process, lambda: store.sql(BY_HOUR.format("long")))
        print(f"avg by hour of {10 * points:,} points: {(most - before) >> 20} MB more")


def peak_while(process: psutil.Process, call: Callable[[], Any]) -> int:
    """Return the most memory that the process had while it made a call."""
    seen, ended = [process.memory_info().rss], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    ended.set()
    watcher.join()
    return int(max(seen))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
