"""Values with an end on SQLite beside diskcache: ``python -m benchmarks.cache [rounds]``.

All run in one process, in turn. Each call takes a random key of 50,000 and a new random value of 60 bytes, which all
pickle. ``rstore`` writes values without an end, the others such that end after an hour. Figures are medians.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.keys import cache_side, diskcache, our_side, pairs, timed

KEYS = 50_000
CALLS = 3_000
TTL = 3_600


def main() -> None:
    """Print a row for each measurement, and a column for each side, with its ratio to the first one."""
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as name:
        folders = [Path(tempfile.mkdtemp(dir=name)) for _ in range(3)]
        sides = [our_side(folder, "normal", history=False) for folder in folders[:2]]
        setter: Any = sides[1].set
        sides[1] = sides[1]._replace(name="with ttl", set=partial(setter, ttl=TTL))
        if diskcache is not None:
            cache = cache_side(folders[2], "normal")
            setter = cache.set
            sides.append(cache._replace(set=partial(setter, expire=TTL)))
        names = [f"user:{number:08}:profile" for number in random.sample(range(KEYS), KEYS)]
        rows: dict[str, list[list[float]]] = {"set, us": [[] for _ in sides], "get, us": [[] for _ in sides]}
        for side in sides:
            for key, value in pairs(names):
                side.set(key, value)
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 7):
            for index, side in enumerate(sides):
                chosen = random.choices(names, k=CALLS)
                rows["set, us"][index].append(timed(side.set, pairs(chosen)))
                rows["get, us"][index].append(timed(side.get, ((name,) for name in chosen)))
        print(f"{'durability=normal':24}" + "".join(f"{side.name:>20}" for side in sides))
        for row, figures in rows.items():
            middle = [median(each) for each in figures]
            print(f"{row:24}" + "".join(f"{each:>12.1f} ({each / middle[0]:.2f})" for each in middle))


if __name__ == "__main__":
    main()
