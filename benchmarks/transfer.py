"""A large namespace around the backends, killed twice on the way: ``python -m benchmarks.transfer [share]``.

1,000,000 points, 100,000 keys and 10,000 event sequences (or a share of those, such as 0.1) go from SQLite to
PostgreSQL, to Redis and back to SQLite. A process of its own makes each copy. The first two are killed half-way, and
begun again. All digests have to be the same. The script prints how long each copy took, and the peak memory of its
process. It starts servers for this, as durable as they are by default.
"""

from __future__ import annotations

import operator
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rstore import Store
from rstore.transfer import Progress, copy, digest
from tests.support.servers import Postgres, Valkey

POINTS, KEYS, SEQUENCES = 1_000_000, 100_000, 10_000
EVENTS = 3
SERIES = 10
AT_ONCE = 1_000


class Copied(NamedTuple):
    """The report of the process of a copy: digest, seconds, and its largest resident set in megabytes."""

    sha: str
    seconds: float
    megabytes: float


def fill(store: Store, share: float) -> None:
    """Store points, keys and event sequences. Some are stored twice, removed, or have a note."""
    for series in range(SERIES):
        number = int(POINTS * share / SERIES)
        store.extend(f"series {series}", ((t, t * 0.1 + series) for t in range(number)))
        store.remove(f"series {series}", start=number // 2, end=number // 2 + 9)
    for first in range(0, int(KEYS * share), AT_ONCE):
        with store.context(who="benchmark", why="to be copied"):
            store.set_many({f"key {first + n:06}": {"n": first + n, "text": "x" * (n % 50)} for n in range(AT_ONCE)})
        store.delete(f"key {first:06}")
    for first in range(0, int(SEQUENCES * share), AT_ONCE // 10):
        with store.transaction():
            for sequence in range(first, first + AT_ONCE // 10):
                store.apply(f"events {sequence:05}", {"n": 0, "name": f"{sequence}"})
        for _ in range(EVENTS - 1):
            with store.transaction():
                for sequence in range(first, first + AT_ONCE // 10):
                    store.apply(f"events {sequence:05}", {"n": (operator.add, 1)})


def one_copy(source: str, target: str, killed_after: int) -> None:
    """Copy, and print the report. If ``killed_after`` is not 0, kill this process after so many records."""

    def die(progress: Progress) -> None:
        if killed_after and progress.done >= killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    began = time.perf_counter()
    with Store(source) as one, Store(target, frozen=False) as two:
        found = copy(one, two, progress=die)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(found.sha, time.perf_counter() - began, kilobytes / 1024)


def in_process(source: str, target: str, killed_after: int = 0) -> Copied | None:
    """Copy in another process, and return its report; None if it was killed."""
    words = [sys.executable, "-m", "benchmarks.transfer", "copy", source, target, f"{killed_after}"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if killed_after:
        assert done.returncode == -signal.SIGKILL, "it was to be killed"
        return None
    done.check_returncode()
    sha, seconds, megabytes = done.stdout.split()
    return Copied(sha, float(seconds), float(megabytes))


def around(stops: Sequence[tuple[str, str]], half: int) -> Iterator[tuple[str, Copied]]:
    """Copy from each stop to the next one. The first two copies are killed half-way, and begun again."""
    for number, ((_, source), (name, target)) in enumerate(pairwise(stops)):
        if number < 2:
            in_process(source, target, half)
        copied = in_process(source, target)
        assert copied is not None, "nobody kills it"
        yield name + (", after it was killed" if number < 2 else ""), copied


def main() -> None:
    """Print a table."""
    if sys.argv[1:2] == ["copy"]:
        one_copy(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    share = float(sys.argv[1]) if sys.argv[1:] else 1.0
    with TemporaryDirectory() as folder, Postgres.start() as postgresql, Valkey.start() as redis:
        first, last = Path(folder, "first.db"), Path(folder, "last.db")
        began = time.perf_counter()
        with Store(first, frozen=False) as store:
            fill(store, share)
            expected = digest(store)
        print(f"filled in {time.perf_counter() - began:.0f} s: {expected.records:,} records, {expected.sha}")
        stops = [("SQLite", f"{first}"), ("PostgreSQL", postgresql.dsn), ("Redis", redis.dsn), ("SQLite", f"{last}")]
        for name, copied in around(stops, expected.records // 2):
            print(f"to {name:34}{copied.seconds:8.1f} s{copied.megabytes:8.0f} MB  {copied.sha}", flush=True)
            assert copied.sha == expected.sha, "a copy is what its source is"
        with Store(last) as store:
            print(f"{len(store):,} keys, {len(store.range('series 0')):,} points, {store.current('events 00000')}")


if __name__ == "__main__":
    main()
