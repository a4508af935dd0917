"""The cost of calls as a store grows, on SQLite: ``python -m benchmarks.growth keys 100000 1000000``.

Instead of ``keys`` it takes ``points``, ``sequences``, or ``raw``: the same keys in the table that one would write
without a library. ``redis`` loads the keys into a Valkey server of its own. It shows how many bytes a pair takes at the
peak, in this process and in the server's, and how many it takes there afterwards.

The script measures each number in a process of its own, and shows its peak memory. Keys, values and floats are random.
After the load, the system forgets the file. So the first calls read from the disk.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from math import gcd
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.core import size
from benchmarks.keys import Side, our_side, pairs, raw_side, timed
from rstore import Store
from tests.support.servers import Valkey

CALLS = 2_000
FIRST = 500
POINTS = 1_000_000  # of one call


def permuted(number: int) -> Iterator[int]:
    """Yield all numbers below one, each once, scattered, in constant memory."""
    step = next(step for step in range(int(number * 0.6180339887), 2 * number + 1) if gcd(step, number) == 1)
    return (index * step % number for index in range(number))


def forget(path: Path) -> None:
    """Let the system forget the file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def show(name: str, path: Path, number: int, loaded: float, calls: dict[str, Callable[[], float]]) -> None:
    """Print the microseconds of each call, the bytes of each item and the peak memory."""
    bytes_each = size(path) / number
    forget(path)
    figures = {call: measure() for call, measure in calls.items()}
    shown = ", ".join(f"{call} {figure:.1f} us" for call, figure in figures.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    each = loaded / number * 1e6
    print(
        f"{name:9} {number:>11,} load {each:.2f} us each, {shown}, {bytes_each:.1f} bytes each, peak {peak} MB",
        flush=True,
    )


def name_of(number: int) -> str:
    """Return the name of a key."""
    return f"user:{number:010}"


def grow_keys(number: int, side: Side) -> None:
    """Load keys in one call, all of them or none."""
    begin = perf_counter()
    side.load(pairs(map(name_of, permuted(number))))
    loaded = perf_counter() - begin
    chosen = [(name_of(random.randrange(number)),) for _ in range(CALLS)]
    calls = {
        "first get": lambda: timed(side.get, chosen[:FIRST]),
        "get": lambda: timed(side.get, chosen),
        "set": lambda: timed(side.set, pairs(name for (name,) in chosen)),
    }
    show(side.name, side.path, number, loaded, calls)


def grow_points(folder: Path, number: int) -> None:
    """Load a series of one point a second, a million points at a time, as NumPy arrays."""
    import numpy as np

    path = folder / "points.db"
    generator = np.random.default_rng(1)
    with Store(f"sqlite://{path}?durability=normal", frozen=False) as store:
        begin = perf_counter()
        for low in range(0, number, POINTS):
            times = np.arange(low, min(low + POINTS, number))
            store.extend("series", (times, generator.random(len(times))))
        loaded = perf_counter() - begin
        starts = [random.randrange(number - 10) for _ in range(CALLS // 4)]
        slices: list[tuple[Any, ...]] = [(low,) for low in starts]

        def ten(low: int) -> Any:
            return store.range("series", low, end=low + 9)

        calls = {
            "first range of ten": lambda: timed(ten, slices[:100]),
            "range of ten": lambda: timed(ten, slices),
            "last": lambda: timed(store.last, [("series",)] * 100),
            "extend by one": lambda: timed(
                store.extend, [("series", (number + n, random.random())) for n in range(FIRST)]
            ),
        }
        show("points", path, number, loaded, calls)


def grow_sequences(folder: Path, number: int) -> None:
    """Load event sequences of two events, a transaction for each thousand."""
    path = folder / "sequences.db"
    with Store(f"sqlite://{path}?durability=normal", frozen=False) as store:
        begin = perf_counter()
        names = map(name_of, permuted(number))
        for _ in range(0, number, 1_000):
            with store.transaction():
                for name in islice(names, 1_000):
                    store.apply(name, {"status": "new", "total": random.random()})
        loaded = perf_counter() - begin
        chosen = [(name_of(random.randrange(number)),) for _ in range(CALLS)]
        fresh = [(name_of(random.randrange(number)),) for _ in range(CALLS)]
        calls = {
            "first current": lambda: timed(store.current, chosen[:FIRST]),
            "current again": lambda: timed(store.current, chosen[:FIRST]),
            "current": lambda: timed(store.current, fresh),
            "apply": lambda: timed(store.apply, [(*name, {"total": (add, random.random())}) for name in fresh]),
        }
        show("sequences", path, number, loaded, calls)


def peak_of(pid: int) -> int:
    """Return the most bytes that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def grow_redis(number: int) -> None:
    """Load keys into Valkey in one call, all of them or none."""
    with Valkey.start() as server, Store(server.dsn, frozen=False) as store:
        store["first"] = None
        pids = os.getpid(), server.command("INFO", "server")["process_id"]
        before, used = list(map(peak_of, pids)), server.command("INFO", "memory")["used_memory"]
        begin = perf_counter()
        store.set_many(pairs(map(name_of, permuted(number))))
        loaded = perf_counter() - begin
        ours, theirs = ((peak_of(pid) - least) // number for pid, least in zip(pids, before, strict=True))
        kept = (server.command("INFO", "memory")["used_memory"] - used) // number
        each = loaded / number * 1e6
        shown = (
            f"{number:>11,} load {each:.1f} us each, peak {ours} bytes each here, {theirs} at the server, then {kept}"
        )
        print(f"redis     {shown}", flush=True)


KINDS: dict[str, Callable[[Path, int], None]] = {
    "raw": lambda folder, number: grow_keys(number, raw_side(folder, "normal")),
    "keys": lambda folder, number: grow_keys(number, our_side(folder, "normal", history=True)),
    "points": grow_points,
    "sequences": grow_sequences,
    "redis": lambda _, number: grow_redis(number),
}


def main() -> None:
    """Measure each number in a process of its own; a single one in this process."""
    kind, *numbers = sys.argv[1:]
    if len(numbers) > 1:
        for number in numbers:
            subprocess.run([sys.executable, "-m", "benchmarks.growth", kind, number], check=True)
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as name:
        KINDS[kind](Path(name), int(numbers[0]))


if __name__ == "__main__":
    main()
