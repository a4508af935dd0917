"""rstore beside the raw sqlite3 driver, in one process, in turn: ``python -m benchmarks.core [rounds]``.

The raw side has the same pragmas and one row for each value or point. It pickles values too, and its tables are those
that one would write by hand. Each figure is the median over the rounds. The ratios matter, since machines differ and
are noisy.
"""

from __future__ import annotations

import operator
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rstore import Store

POINTS = 1_000_000
KEYS = 100_000
CALLS = 1_000
SEQUENCES = 500
KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="


class Row(NamedTuple):
    """One line of the table: the name of a measurement, its figures, their unit, and the ratio that we aim at."""

    name: str
    raw: float
    ours: float
    unit: str
    aim: str


class Raw:
    """The tables and statements that one would write without a library."""

    def __init__(self, path: Path, durability: str = "FULL") -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {durability}")
        self.db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB)")
        self.db.execute("CREATE TABLE ts (key TEXT, t INTEGER, value BLOB, PRIMARY KEY (key, t)) WITHOUT ROWID")
        self.db.execute("CREATE TABLE es (key TEXT, t INTEGER, item TEXT, op TEXT, value BLOB, PRIMARY KEY (key, t))")

    def extend(self, points: Iterable[tuple[int, Any]]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        rows = (("series", t, pickle.dumps(value)) for t, value in points)
        self.db.executemany("INSERT OR REPLACE INTO ts VALUES (?, ?, ?)", rows)
        self.db.execute("COMMIT")

    def range(self) -> list[tuple[int, Any]]:
        rows = self.db.execute("SELECT t, value FROM ts WHERE key = 'series' ORDER BY t")
        return [(t, pickle.loads(value)) for t, value in rows]

    def set(self, key: str, value: Any) -> None:
        sql = "INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self.db.execute(sql, (key, pickle.dumps(value)))

    def get(self, key: str) -> Any:
        return pickle.loads(self.db.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()[0])

    def apply(self, key: str, t: int, item: str, op: str, value: Any) -> None:
        self.db.execute("INSERT INTO es VALUES (?, ?, ?, ?, ?)", (key, t, item, op, pickle.dumps(value)))


def timed(function: Callable[[], Any]) -> float:
    """Return how many seconds a call took."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turn(rounds: int, *functions: Callable[[], Any]) -> list[float]:
    """Run the functions one after the other, again and again, and return the median of each."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            taken.append(timed(function))
    return [median(taken) for taken in times]


def each(function: Callable[[Any], Any], arguments: Iterable[Any]) -> None:
    """Call a function with each of the arguments."""
    for argument in arguments:
        function(argument)


def words() -> Iterable[tuple[int, str]]:
    """Make points one by one, as a user's program would: regular times, and all values the same."""
    return ((t, "abcdefg") for t in range(POINTS))


def measurements() -> Iterable[tuple[int, float]]:
    """Make points that are harder to pack: irregular times in nanoseconds, and no two values the same."""
    dice = random.Random(1)
    t = 1_700_000_000_000_000_000
    return ((t := t + dice.getrandbits(20), dice.random()) for _ in range(POINTS))


def size(path: Path) -> int:
    """Return the bytes on disk once the write-ahead log is empty."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def series(folder: Path, rounds: int, points: list[tuple[int, Any]], name: str, aims: Sequence[str]) -> list[Row]:
    """Measure a million points, each round in new files."""
    taken: dict[str, list[float]] = {}
    for i in range(rounds):
        raw = Raw(folder / f"raw-{name}-{i}.db")
        taken.setdefault("raw extend", []).append(timed(partial(raw.extend, iter(points))))
        taken.setdefault("raw range", []).append(timed(raw.range))
        raw.db.close()
        for how, key in (("plain", None), ("encrypted", KEY)):
            with Store(folder / f"{how}-{name}-{i}.db", key=key, frozen=False) as store:
                taken.setdefault(f"{how} extend", []).append(timed(partial(store.extend, "series", iter(points))))
                taken.setdefault(f"{how} range", []).append(timed(partial(store.range, "series")))
    mid = {name: median(values) for name, values in taken.items()}
    raw_bytes, our_bytes = size(folder / f"raw-{name}-0.db"), size(folder / f"plain-{name}-0.db")
    return [
        Row(f"extend 1,000,000 {name}", mid["raw extend"], mid["plain extend"], "s", aims[0]),
        Row("  encrypted", mid["raw extend"], mid["encrypted extend"], "s", ""),
        Row(f"range of 1,000,000 {name}", mid["raw range"], mid["plain range"], "s", aims[1]),
        Row("  encrypted", mid["raw range"], mid["encrypted range"], "s", ""),
        Row("  bytes on disk", raw_bytes / 1e6, our_bytes / 1e6, "MB", aims[2]),
    ]


def memory(folder: Path, _: int) -> list[Row]:
    """Measure the peak memory of a process that puts ten million points in and reads them again, beside an idle one."""
    script = """
import sys
from rstore import Store
with Store(sys.argv[1], frozen=False) as store:
    if len(sys.argv) > 2:
        store.extend("series", ((t, float(t)) for t in range(10_000_000)))
        assert sum(1 for _ in store.points("series")) == 10_000_000
with open("/proc/self/status") as status:  # the peak of getrusage includes that of the parent
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
    command = [sys.executable, "-c", script, str(folder / "memory.db")]
    idle, busy = (int(subprocess.check_output([*command, *more])) / 1e3 for more in ([], ["busy"]))
    return [Row("peak memory: idle; 10,000,000 points", idle, busy, "MB", "constant")]


def keys(folder: Path, rounds: int, durability: str) -> list[Row]:
    """Measure single calls on a store of 100,000 keys."""
    raw = Raw(folder / f"kv-raw-{durability}.db", durability.upper())
    names = [f"key:{i:06}" for i in range(KEYS)]
    raw.db.execute("BEGIN")
    for name in names:
        raw.set(name, name)
    raw.db.execute("COMMIT")
    picked = random.Random(1).sample(names, CALLS)
    numbers = count()
    with Store(f"sqlite://{folder}/kv-{durability}.db?durability={durability}", frozen=False) as store:
        store.set_many({name: name for name in names})
        others = cycle(random.Random(2).sample(names, KEYS))
        raw_set, our_set = in_turn(
            rounds,
            # each value is new: SQLite does not write a row that stays as it is
            partial(each, lambda name: raw.set(name, f"{next(numbers):010}"), picked),
            partial(each, lambda name: store.set(name, f"{next(numbers):010}"), picked),
        )
        raw_get, our_get = in_turn(rounds * 5, partial(each, raw.get, picked), partial(each, store.get, picked))
        raw_first, our_first = in_turn(
            rounds * 5,
            lambda: each(raw.get, islice(others, CALLS)),
            lambda: each(store.get, islice(others, CALLS)),
        )
    scale = 1e6 / CALLS
    aims = ("at most 2", "at most 1.6") if durability == "full" else ("", "")
    return [
        Row(f"set, durability={durability}", raw_set * scale, our_set * scale, "us", aims[0]),
        Row("get", raw_get * scale, our_get * scale, "us", aims[1]),
        Row("get of a key not used before", raw_first * scale, our_first * scale, "us", ""),
    ]


def events(folder: Path, rounds: int) -> list[Row]:
    """Measure applying single events, and reading the current state warm and cold."""
    raw = Raw(folder / "es-raw.db")
    path = folder / "es.db"
    clock = count()
    with Store(path, frozen=False) as store:
        store.apply("counter", {"n": 0})
        raw_apply, our_apply = in_turn(
            rounds,
            partial(each, lambda _: raw.apply("counter", next(clock), "n", "add", 1), range(CALLS)),
            partial(each, lambda _: store.apply("counter", {"n": (operator.add, 1)}), range(CALLS)),
        )
        rows = [Row("apply of one event", raw_apply * 1e6 / CALLS, our_apply * 1e6 / CALLS, "us", "at most 2")]
    with Store(f"sqlite://{path}?durability=normal", frozen=False) as store:
        for key, number in (("thousand", 1_000), ("hundred thousand", 100_000)):
            for i in range(number):
                store.apply(key, {f"item{i % 10}": i})

        def cold(key: str) -> float:
            with Store(path) as fresh:
                fresh.has("warm up the connection, not the key")
                return timed(lambda: fresh.current(key))

        for key in ("thousand", "hundred thousand"):
            taken = median(cold(key) for _ in range(rounds * 5))
            rows.append(Row(f"current of a {key} events, cold", 0, taken * 1e3, "ms", "3 ms; 10 ms"))
        store.current("thousand")
        rows.append(states(folder / "states.db", rounds))
        warm = in_turn(rounds, partial(each, store.current, ["thousand"] * CALLS))[0]
        rows.append(Row("current of a thousand events, warm", 0, warm * 1e6 / CALLS, "us", "30 us"))
    return rows


def states(dsn: str | Path, rounds: int) -> Row:
    """Measure the current states of sequences that a store has not read before: one by one, and all at once."""
    names = [f"account {i:04}" for i in range(SEQUENCES)]
    with Store(dsn, frozen=False) as store:
        for t in range(4):
            with store.transaction():
                for name in names:
                    store.apply(name, {"balance": (operator.add, t)} if t else {"owner": name, "balance": 0})

    def cold(read: Callable[[Store], object]) -> float:
        with Store(dsn) as fresh:
            fresh.current("warm up the connection, not the sequences")
            return timed(partial(read, fresh))

    ways: tuple[Callable[[Store], object], ...] = (
        lambda fresh: each(fresh.current, names),
        lambda fresh: fresh.current_many(names),
    )
    taken = [[cold(read) for read in ways] for _ in range(rounds)]
    one_by_one, at_once = (SEQUENCES / median(times) for times in zip(*taken, strict=True))
    return Row("cold states: current; current_many", one_by_one, at_once, "/s", "at least 15,000 /s")


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, {rounds} rounds")
    print(f"{'':36}{'raw':>12}{'rstore':>12}{'rstore/raw':>12}  aim")
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as name:
        folder = Path(name)
        parts: tuple[Callable[[Path, int], list[Row]], ...] = (
            partial(series, points=list(words()), name="words", aims=("at most 0.125", "at most 0.33", "at most 0.25")),
            partial(series, points=list(measurements()), name="measurements", aims=("", "", "")),
            memory,
            partial(keys, durability="full"),
            partial(keys, durability="normal"),
            events,
        )
        for measure in parts:
            for row in measure(folder, rounds):
                raw = f"{row.raw:.3g} {row.unit}" if row.raw else ""
                ratio = f"{row.ours / row.raw:.2f}" if row.raw else ""
                print(f"{row.name:36}{raw:>12}{f'{row.ours:.3g} {row.unit}':>12}{ratio:>12}  {row.aim}", flush=True)


if __name__ == "__main__":
    main()
