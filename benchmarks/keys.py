"""Single keys and bulk loads on SQLite beside the raw driver and diskcache: ``python -m benchmarks.keys [rounds]``.

All run in one process, in turn. Each call takes a random key and a new random value of 60 bytes, which all pickle. The
raw side is one table, ``key TEXT PRIMARY KEY, value BLOB``, with the same pragmas. Figures are medians over the rounds.
"""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.core import size
from rstore import Store

diskcache: Any = import_module("diskcache") if find_spec("diskcache") else None  # pip install diskcache

KEYS = 100_000
BULK = 50_000
CALLS = {"normal": 3_000, "full": 500}
VALUE_BYTES = 60
_UPSERT = "INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class Side(NamedTuple):
    """One side of the comparison: its file, and its calls."""

    name: str
    path: Path
    set: Callable[[str, bytes], Any]
    get: Callable[[str], Any]
    load: Callable[[Iterable[tuple[str, bytes]]], Any]
    delete: Callable[[list[str]], Any]


def raw_side(folder: Path, durability: str) -> Side:
    """Return the table that one would write without a library."""
    path = folder / "raw.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {durability}")
    db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB)")

    def load(pairs: Iterable[tuple[str, bytes]]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_UPSERT, ((key, pickle.dumps(value)) for key, value in pairs))
        db.execute("COMMIT")

    def delete(keys: list[str]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("DELETE FROM kv WHERE key = ?", ((key,) for key in keys))
        db.execute("COMMIT")

    return Side(
        "raw",
        path,
        lambda key, value: db.execute(_UPSERT, (key, pickle.dumps(value))),
        lambda key: pickle.loads(db.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()[0]),
        load,
        delete,
    )


def our_side(folder: Path, durability: str, *, history: bool) -> Side:
    """Return a store."""
    name = "rstore" if history else "history=False"
    path = folder / f"{name}.db"
    store = Store(f"sqlite://{path}?durability={durability}", frozen=False, history=history)
    store.open()
    return Side(name, path, store.set, store.get, store.set_many, lambda keys: store.delete(*keys))


def cache_side(folder: Path, durability: str) -> Side:
    """Return a diskcache."""
    cache = diskcache.Cache(folder / "cache", sqlite_synchronous={"normal": 1, "full": 2}[durability])

    def load(pairs: Iterable[tuple[str, bytes]]) -> None:
        with cache.transact():
            for key, value in pairs:
                cache.set(key, value)

    def delete(keys: list[str]) -> None:
        with cache.transact():
            for key in keys:
                cache.delete(key)

    return Side("diskcache", folder / "cache" / "cache.db", cache.set, cache.get, load, delete)


def pairs(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield each name with a new value."""
    return ((name, os.urandom(VALUE_BYTES)) for name in names)


def timed(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> float:
    """Return the microseconds that a call takes."""
    arguments = list(calls)
    start = time.perf_counter()
    for each in arguments:
        function(*each)
    return (time.perf_counter() - start) / len(arguments) * 1e6


def compare(folder: Path, durability: str, rounds: int) -> None:
    """Print a row for each measurement, and a column for each side, with its ratio to the raw one."""
    sides = [raw_side(folder, durability), *(our_side(folder, durability, history=kept) for kept in (True, False))]
    if diskcache is not None:
        sides.append(cache_side(folder, durability))
    names = [f"user:{number:08}:profile" for number in random.sample(range(KEYS), KEYS)]
    rows: dict[str, list[list[float]]] = {}

    def note(row: str, side: int, figure: float) -> None:
        rows.setdefault(row, [[] for _ in sides])[side].append(figure)

    for index, side in enumerate(sides):
        side.load(pairs(names))
        note("bytes for each key", index, size(side.path) / KEYS)
    for number in range(rounds):
        new = [f"{number}:{name}" for name in random.sample(names, BULK)]
        for index, side in enumerate(sides):
            chosen = random.choices(names, k=CALLS[durability])
            note("set of an existing key, us", index, timed(side.set, pairs(chosen)))
            note("get of a random key, us", index, timed(side.get, ((name,) for name in chosen)))
            note(f"set_many of {BULK:,} new keys, us for each", index, timed(side.load, [(list(pairs(new)),)]) / BULK)
            note(f"delete of these {BULK:,} keys, us for each", index, timed(side.delete, [(new,)]) / BULK)
    print(f"\n{'durability=' + durability:42}" + "".join(f"{side.name:>20}" for side in sides))
    for row, figures in rows.items():
        middle = [median(each) for each in figures]
        print(f"{row:42}" + "".join(f"{each:>12.1f} ({each / middle[0]:.2f})" for each in middle), flush=True)


def main() -> None:
    """Print the tables."""
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as name:
        for durability in CALLS:
            compare(Path(tempfile.mkdtemp(dir=name)), durability, int(sys.argv[1]) if len(sys.argv) > 1 else 5)


if __name__ == "__main__":
    main()
