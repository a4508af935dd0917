"""rstore beside the raw drivers, on servers of its own: ``python -m benchmarks.servers [rounds] [postgresql] [redis]``.

The raw side is what one would write by hand: psycopg with prepared statements, one row for each value or point, points
by binary COPY; redis-py with SET, GET, and pipelines of ZADD. Both sides talk to the same server, with the same
durability, in turn. Figures are medians over the rounds.

For single calls, client and server run on one core. Between two cores of a virtual machine, waking up the other core
takes longer than the calls that we compare, and changes from run to run.
"""

from __future__ import annotations

import os
import pickle
import random
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count, islice, product
from statistics import median
from typing import Any, NamedTuple

import psutil
import psycopg
import redis

from benchmarks.core import KEY, POINTS, Row, each, in_turn, states, timed, words
from rstore import Store
from tests.support.servers import Postgres, Valkey

CALLS = 500
KEYS = 1_000
MANY = 50_000
PROCESSES = 8
SECONDS = 4


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and the servers that it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


class RawPostgresql:
    """Tables and statements that one would write without a library."""

    def __init__(self, dsn: str) -> None:
        self.db = psycopg.connect(dsn, autocommit=True)
        self.db.execute("CREATE TABLE IF NOT EXISTS kv (key text PRIMARY KEY, value bytea)")
        self.db.execute("CREATE TABLE IF NOT EXISTS ts (key text, t bigint, value bytea, PRIMARY KEY (key, t))")

    def set(self, key: str, value: Any) -> None:
        sql = "INSERT INTO kv VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self.db.execute(sql, (key, pickle.dumps(value)), prepare=True)

    def get(self, key: str) -> Any:
        found = self.db.execute("SELECT value FROM kv WHERE key = %s", (key,), prepare=True, binary=True).fetchone()
        assert found is not None
        return pickle.loads(found[0])

    def copy(self, pairs: dict[str, bytes]) -> None:
        with (
            self.db.transaction(),
            self.db.cursor() as cursor,
            cursor.copy("COPY kv FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["text", "bytea"])
            for key, value in pairs.items():
                copy.write_row((key, pickle.dumps(value)))

    def set_many(self, pairs: dict[str, bytes]) -> None:
        sql = "INSERT INTO kv VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        with self.db.transaction(), self.db.cursor() as cursor:
            cursor.executemany(sql, [(key, pickle.dumps(value)) for key, value in pairs.items()])

    def delete_many(self, keys: list[str]) -> None:
        self.db.execute("DELETE FROM kv WHERE key = ANY(%s)", (keys,))

    def extend(self) -> None:
        self.db.execute("TRUNCATE ts")
        copying = "COPY ts FROM STDIN (FORMAT BINARY)"
        with self.db.transaction(), self.db.cursor() as cursor, cursor.copy(copying) as copy:
            copy.set_types(["text", "int8", "bytea"])
            for t, value in words():
                copy.write_row(("series", t, pickle.dumps(value)))

    def range(self) -> list[tuple[int, Any]]:
        with self.db.transaction(), self.db.cursor("points", binary=True) as cursor:
            cursor.itersize = 10_000
            cursor.execute("SELECT t, value FROM ts WHERE key = 'series' ORDER BY t")
            return [(t, pickle.loads(value)) for t, value in cursor]


class RawRedis:
    """Keys that one would use without a library."""

    def __init__(self, dsn: str) -> None:
        self.db = redis.Redis.from_url(dsn)

    def set(self, key: str, value: Any) -> None:
        self.db.set(key, pickle.dumps(value))

    def get(self, key: str) -> Any:
        return pickle.loads(self.db.get(key))  # type: ignore[arg-type]

    def set_many(self, pairs: Mapping[str, Any]) -> None:
        pipeline = self.db.pipeline(transaction=False)
        for key, value in pairs.items():
            pipeline.set(key, pickle.dumps(value))
        pipeline.execute()

    def delete(self, *keys: str) -> None:
        pipeline = self.db.pipeline(transaction=False)
        for key in keys:
            pipeline.delete(key)
        pipeline.execute()

    def extend(self) -> None:
        self.db.delete("series")
        points = words()
        while chunk := list(islice(points, 10_000)):
            pipeline = self.db.pipeline(transaction=False)
            for t, value in chunk:
                pipeline.zadd("series", {t.to_bytes(8) + pickle.dumps(value): t})
            pipeline.execute()

    def range(self) -> list[tuple[int, Any]]:
        found: Any = self.db.zrange("series", 0, -1)
        return [(int.from_bytes(member[:8]), pickle.loads(member[8:])) for member in found]


Raw = RawPostgresql | RawRedis


def calls(raw: Raw, dsn: str, rounds: int) -> Iterator[Row]:
    """Measure single calls on keys that exist."""
    names = [f"key:{i:04}" for i in range(KEYS)]
    numbers = count()
    with Store(dsn, frozen=False) as store:
        store.set_many({name: name for name in names})
        each(lambda name: raw.set(name, name), names)
        raw_set, our_set, raw_get, our_get, our_apply = in_turn(
            rounds * 5,
            partial(each, lambda name: raw.set(name, next(numbers)), names[:CALLS]),
            partial(each, lambda name: store.set(name, next(numbers)), names[:CALLS]),
            partial(each, raw.get, names[:CALLS]),
            partial(each, store.get, names[:CALLS]),
            partial(each, lambda _: store.apply("events", {"n": next(numbers)}), names[:CALLS]),
        )
    scale = 1e6 / CALLS
    yield Row("set", raw_set * scale, our_set * scale, "us", "at most 1.5")
    yield Row("get", raw_get * scale, our_get * scale, "us", "at most 1.5")
    yield Row("apply of one event (raw: set)", raw_set * scale, our_apply * scale, "us", "")


def many(raw: RawPostgresql, dsn: str, rounds: int) -> Iterator[Row]:
    """Measure writes of many keys at once, in one transaction each: keys that are random and new in each round."""
    taken: dict[str, list[float]] = {}
    with Store(dsn, "many", frozen=False) as store, Store(dsn, "plain", frozen=False, history=False) as plain:
        for _ in range(rounds):
            pairs = {f"key:{secrets.token_hex(8)}": secrets.token_bytes(60) for _ in range(MANY)}
            keys = list(pairs)
            for name, work in {
                "copy": partial(raw.copy, pairs),
                "raw delete": partial(raw.delete_many, keys),
                "upserts": partial(raw.set_many, pairs),
                "set_many": partial(store.set_many, pairs),
                "over": partial(store.set_many, pairs),
                "delete": partial(store.delete, *keys),
                "plain": partial(plain.set_many, pairs),
                "plain delete": partial(plain.delete, *keys),
            }.items():
                taken.setdefault(name, []).append(timed(work))
            raw.delete_many(keys)
    mid = {name: median(values) for name, values in taken.items()}
    yield Row(f"set_many of {MANY:,} new keys (raw: COPY)", mid["copy"], mid["set_many"], "s", "at most 6")
    yield Row("  raw: executemany of upserts", mid["upserts"], mid["set_many"], "s", "")
    yield Row("  the same keys once more (upserts)", mid["upserts"], mid["over"], "s", "")
    yield Row("  history=False (raw: COPY)", mid["copy"], mid["plain"], "s", "")
    yield Row(f"delete of {MANY:,} keys", mid["raw delete"], mid["delete"], "s", "")
    yield Row("  history=False", mid["raw delete"], mid["plain delete"], "s", "")


def bulk(raw: RawRedis, dsn: str, rounds: int) -> Iterator[Row]:
    """Measure 50,000 keys in one call, and in calls of a thousand: new ones, the same ones again, their deletion.

    A pipeline of as many keys stands beside each call. It promises less, since others see some of its keys before the
    rest.
    """
    taken: dict[tuple[str, int, bool], list[float]] = {}
    with Store(dsn, frozen=False) as store, Store(dsn, "plain", frozen=False, history=False) as plain:
        store["first"] = plain["first"] = None
        for size, number in product((MANY, 1_000) * rounds, (1, 2)):
            keys = [f"{number} {random.randbytes(8).hex()}" for _ in range(MANY)]
            pages = [keys[start : start + size] for start in range(0, MANY, size)]
            works: dict[str, Callable[[RawRedis | Store, list[str]], None]] = {
                "set_many, new keys": lambda side, page: side.set_many({key: random.random() for key in page}),
                "set_many, known keys": lambda side, page: side.set_many({key: random.random() for key in page}),
                "delete": lambda side, page: side.delete(*page),
            }
            for (name, work), side in product(works.items(), (raw, store)[:: 1 if number == 1 else -1]):
                work_of = partial(work, side)
                taken.setdefault((name, size, side is store), []).append(timed(partial(each, work_of, pages)))
            each(lambda page: plain.set_many(dict.fromkeys(page, 0.5)), pages)
            forgotten = timed(partial(each, lambda page: plain.delete(*page), pages))
            taken.setdefault(("delete, history=False", size, True), []).append(forgotten)
    mid = {what: median(values) * 1e6 / MANY for what, values in taken.items()}
    for name, size, ours in taken:
        if ours:
            row, aim = f"{name}, {size:,} a call", "at most 2" if "new" in name else ""
            raw_name = name.removesuffix(", history=False")
            yield Row(row, mid[raw_name, size, False], mid[name, size, True], "us a key", aim)


def points(raw: Raw, dsn: str, rounds: int, aim: str) -> Iterator[Row]:
    """Measure a million points in and out."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        taken.setdefault("raw extend", []).append(timed(raw.extend))
        taken.setdefault("raw range", []).append(timed(raw.range))
        for how, key in (("plain", None), ("encrypted", KEY)):
            with Store(dsn, how, key=key, frozen=False) as store:
                taken.setdefault(f"{how} extend", []).append(timed(partial(store.extend, "series", words())))
                taken.setdefault(f"{how} range", []).append(timed(partial(store.range, "series")))
                store.discard()
    mid = {name: median(values) for name, values in taken.items()}
    yield Row(f"extend {POINTS:,} words", mid["raw extend"], mid["plain extend"], "s", aim)
    yield Row("  encrypted", mid["raw extend"], mid["encrypted extend"], "s", "")
    yield Row(f"range of {POINTS:,} words", mid["raw range"], mid["plain range"], "s", "at most 0.25")
    yield Row("  encrypted", mid["raw range"], mid["encrypted range"], "s", "")


WRITER = """
import sys, time
from rstore import Store
from benchmarks.servers import RawPostgresql

dsn, key, side = sys.argv[1:]
target = RawPostgresql(dsn) if side == "raw" else Store(dsn, frozen=False).open()
for i in range(20):
    target.set(key, i)
print("ready", flush=True)
seconds = float(sys.stdin.readline())
busy, end, done = time.process_time(), time.monotonic() + seconds, 0
while time.monotonic() < end:
    target.set(key, done)
    done += 1
print(done, time.process_time() - busy, flush=True)
sys.stdin.read()
"""


class Load(NamedTuple):
    """The work of some writers: calls a second, and microseconds of CPU that a call costs its client and the server."""

    rate: float
    clients: float
    server: float

    @property
    def bound(self) -> float:
        """How many times as many calls the cores could do, if none cost more. It needs an otherwise idle machine."""
        return len(os.sched_getaffinity(0)) * 1e6 / (self.rate * (self.clients + self.server))


def server_cpu(db: psycopg.Connection[Any]) -> float:
    """Return the seconds of CPU that the server's processes have taken, those in the background too."""
    times = [psutil.Process(pid).cpu_times() for (pid,) in db.execute("SELECT pid FROM pg_stat_activity")]
    return float(sum(taken.user + taken.system for taken in times))


def load(dsn: str, side: str, processes: int) -> Load:
    """Let so many processes set values, each for a key of its own."""
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, dsn, f"key {i}", side], stdin=pipe, stdout=pipe, text=True)
        for i in range(processes)
    ]
    for process in started:
        process.stdout.readline()  # type: ignore[union-attr]
    with psycopg.connect(dsn, autocommit=True) as db:
        before = server_cpu(db)
        for process in started:
            process.stdin.write(f"{SECONDS}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        said = [process.stdout.readline().split() for process in started]  # type: ignore[union-attr]
        server = server_cpu(db) - before
    for process in started:
        process.communicate()
    done = sum(int(calls) for calls, _ in said)
    return Load(done / SECONDS, sum(float(busy) for _, busy in said) / done * 1e6, server / done * 1e6)


def writers(dsn: str, rounds: int) -> Iterator[Row]:
    """Measure many writers beside one, and the throughput that the CPU alone would allow."""
    for side in ("raw", "rstore"):
        loads = {n: [load(dsn, side, n) for _ in range(rounds)] for n in (1, PROCESSES)}
        one, many = (Load(*map(median, zip(*of_all, strict=True))) for of_all in loads.values())
        aim = f"at least 3; the CPU allows {one.bound:.1f}"
        yield Row(f"{side}: 1 writer; {PROCESSES} writers", one.rate, many.rate, "/s", aim)
        yield Row("  CPU of a call at its client", one.clients, many.clients, "us", "")
        yield Row("  CPU of a call at the server", one.server, many.server, "us", "")


def show(rows: Iterable[Row]) -> None:
    for row in rows:
        ratio = f"{row.ours / row.raw:.2f}"
        print(
            f"{row.name:42}{f'{row.raw:.3g} {row.unit}':>14}{f'{row.ours:.3g} {row.unit}':>14}{ratio:>12}  {row.aim}",
            flush=True,
        )


def postgresql(rounds: int) -> None:
    with one_core(), Postgres.start() as server:
        show(calls(RawPostgresql(server.dsn), server.dsn, rounds))
        show([states(server.dsn, rounds)])
    with Postgres.start() as server:
        show(many(RawPostgresql(server.dsn), server.dsn, rounds))
        show(points(RawPostgresql(server.dsn), server.dsn, rounds, "at most 0.33"))
        show(writers(server.dsn, rounds))


def on_redis(rounds: int) -> None:
    with one_core(), Valkey.start() as server:
        show(calls(RawRedis(server.dsn), server.dsn, rounds))
        show([states(server.dsn, rounds)])
    with Valkey.start() as server:
        show(bulk(RawRedis(server.dsn), server.dsn, rounds))
        show(points(RawRedis(server.dsn), server.dsn, rounds, "at most 0.125"))


SERVERS: dict[str, Callable[[int], None]] = {"postgresql": postgresql, "redis": on_redis}


def main() -> None:
    """Print the tables."""
    rounds = next((int(word) for word in sys.argv[1:] if word.isdigit()), 5)
    for name in [word for word in sys.argv[1:] if word in SERVERS] or SERVERS:
        print(f"{name:42}{'raw':>14}{'rstore':>14}{'rstore/raw':>12}  aim")
        SERVERS[name](rounds)


if __name__ == "__main__":
    main()
