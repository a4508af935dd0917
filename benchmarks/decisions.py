"""Decisions beside eventsourcing 9.5: ``python -m benchmarks.decisions [rounds] [sqlite] [postgresql]``.

The rival is John Bywater's library: ``pip install 'eventsourcing[postgres]'``. Both sides keep the same aggregate, an
account, in one process, on the same disk or server, with the same durability. Each round takes random accounts and
new amounts, and lets both sides work in turn. Figures are medians over the rounds. A ratio divides their time by ours.
On PostgreSQL, client and server run on one core: see :mod:`benchmarks.servers`.
"""

from __future__ import annotations

import operator
import os
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from statistics import median
from typing import Any, NamedTuple
from uuid import uuid4

from attrs import frozen
from psycopg.conninfo import conninfo_to_dict

from benchmarks.core import each
from benchmarks.servers import one_core
from rstore import Repository, Store
from rstore.core import core_of
from rstore.domain.log import Rewrite
from rstore.domain.streams import ES, SS, Stream
from tests.support.servers import Postgres

MISSING = "there is no rival to measure: pip install 'eventsourcing[postgres]'"
ACCOUNTS = 1_000
DEPOSITS = 9
LONG = 1_000
CALLS = 200
WARM = {"AGGREGATE_CACHE_MAXSIZE": "1024"}

Environment = dict[str, str]
Work = Callable[[], object]


class Taken(NamedTuple):
    """Microseconds of wall time, and of this process's processor time."""

    wall: float
    busy: float

    def per(self, number: int) -> Taken:
        return Taken(self.wall / number, self.busy / number)


class Row(NamedTuple):
    """One line of the table: the time that each side takes, and the ratio that we aim at."""

    name: str
    theirs: Taken
    ours: Taken
    aim: str = ""


@frozen
class Account:
    """The account as rstore has it: a value, with decisions that return what changes."""

    owner: str
    balance: int = 0

    def deposit(self, amount: int) -> dict[str, Any]:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        return {"balance": (operator.add, amount)}


class Ours:
    """A repository of accounts. The store caches 1,024 states, and reads what came after them each time."""

    def __init__(self, dsn: str) -> None:
        self.store = Store(dsn, "decisions", frozen=False).open()
        self.accounts = Repository(self.store, Account)
        self.close = self.store.close

    def add(self, deposits: int) -> str:
        key = uuid4().hex
        with self.store.transaction():
            self.accounts.create(key, owner=f"owner {key}")
            for _ in range(deposits):
                self.deposit(key)
        return key

    def deposit(self, key: str) -> None:
        self.accounts.do(key, Account.deposit, random.getrandbits(20) + 1)

    def load(self, key: str) -> Account:
        return self.accounts[key]

    def forget_snapshots(self, key: str) -> None:
        core_of(self.store).base.rewrite([Rewrite(Stream(SS, f"Account/{key}"), None, range(1 << 62))])


def timed(function: Work) -> Taken:
    """Return the time that a call takes."""
    wall, busy = time.perf_counter(), time.process_time()
    function()
    return Taken((time.perf_counter() - wall) * 1e6, (time.process_time() - busy) * 1e6)


def in_turn(rounds: int, *prepare: Callable[[], Work]) -> list[Taken]:
    """Prepare some work on each side and time it, in turn, again and again; return the medians."""
    taken: list[list[Taken]] = [[] for _ in prepare]
    for number in range(rounds):
        for work, times in list(zip(prepare, taken, strict=True))[:: 1 if number % 2 else -1]:
            times.append(timed(work()))
    return [Taken(*map(median, zip(*times, strict=True))) for times in taken]


class Bench:
    """Both sides with the same accounts, on one backend."""

    def __init__(self, dsn: str, environment: Environment, *, relaxed: bool = False) -> None:
        self._accounts: Any = import_module("benchmarks.their_accounts")
        self._dsn, self._environment, self._relaxed = dsn, environment, relaxed
        self._opened: list[Any] = []
        ours, theirs = self.ours(), self.theirs()
        self.our_keys = [ours.add(DEPOSITS) for _ in range(ACCOUNTS)]
        self.their_keys = [theirs.add(DEPOSITS) for _ in range(ACCOUNTS)]

    def ours(self) -> Ours:
        ours = Ours(self._dsn)
        self._opened.append(ours)
        return ours

    def theirs(self, side: str = "Theirs", **options: str) -> Any:
        application = getattr(self._accounts, side)({**self._environment, **options})
        if self._relaxed:
            application.relax()
        self._opened.append(application)
        return application

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def commands(self, rounds: int) -> Iterator[Row]:
        """Measure load, decide, append."""

        def warm(side: Any, keys: list[str]) -> Callable[[], Work]:
            each(side.load, keys)
            return lambda: partial(each, side.deposit, random.sample(keys, CALLS))

        def cold(open_side: Callable[[], Any], keys: list[str]) -> Work:
            self.close()  # a server has room for so many connections
            side, (first, *chosen) = open_side(), random.sample(keys, CALLS + 1)
            side.deposit(first)  # the connection is there, and the types are known
            return partial(each, side.deposit, chosen)

        def rows(name: str, aim: str, *prepare: Callable[[], Work]) -> Row:
            theirs, ours = in_turn(rounds, *prepare)
            return Row(name, theirs.per(CALLS), ours.per(CALLS), aim)

        ours = warm(self.ours(), self.our_keys)
        yield rows("a command, warm caches", "4", warm(self.theirs(**WARM), self.their_keys), ours)
        yield rows("  without options: theirs has no cache", "", warm(self.theirs(), self.their_keys), ours)
        self.close()
        cold_ways = partial(cold, self.theirs, self.their_keys), partial(cold, self.ours, self.our_keys)
        yield rows("  cold caches", "", *cold_ways)

    def long(self, rounds: int) -> Iterator[Row]:
        """Measure the first load of an account of a thousand events."""

        def cold(open_side: Callable[[], Any], keys: list[str], other: str) -> Work:
            self.close()
            side = open_side()
            side.load(other)
            return partial(side.load, random.choice(keys))

        for name, kind, aim in (("no snapshots", "Theirs", "10"), ("a snapshot each 256", "WithSnapshots", "")):
            ours, theirs = self.ours(), self.theirs(kind)
            our_keys, their_keys = ([side.add(0) for _ in range(3)] for side in (ours, theirs))
            for _ in range(LONG - 1):
                each(ours.deposit, our_keys)
                each(theirs.deposit, their_keys)
            if kind == "Theirs":
                each(ours.forget_snapshots, our_keys)
            their_way = partial(cold, partial(self.theirs, kind), their_keys, self.their_keys[0])
            taken = in_turn(rounds * 5, their_way, partial(cold, self.ours, our_keys, self.our_keys[0]))
            yield Row(f"{LONG:,} events loaded cold, {name}", taken[0], taken[1], aim)
            self.close()

    def everything(self, rounds: int) -> Iterator[Row]:
        """Measure reading all events in order, with their values."""
        ours, theirs = self.ours(), self.theirs()
        ways: dict[str, Callable[[], Iterator[Any]]] = {
            "log": ours.store.log,
            "follow": ours.store.follow,
            "log(by='commit')": partial(ours.store.log, by="commit"),
        }
        their_events, our_events = (sum(1 for _ in read()) for read in (theirs.everything, ours.store.log))
        first, *others = in_turn(
            rounds, *(partial(partial, _exhaust, read) for read in (theirs.everything, *ways.values()))
        )
        for name, taken in zip(ways, others, strict=True):
            yield Row(f"an event of all, in order: {name}", first.per(their_events), taken.per(our_events), "2.5")
        self.close()

    def notes(self, rounds: int) -> Iterator[Row]:
        """Measure ``do`` beside ``apply`` of the same changes, with the same note and without one."""
        ours = self.ours()
        each(ours.load, self.our_keys)

        def applied(key: str) -> None:
            ours.store.apply(f"Account/{key}", {"balance": (operator.add, random.getrandbits(20) + 1)})

        def with_a_note(key: str) -> None:
            with ours.store.context(did="deposit", amount=random.getrandbits(20) + 1):
                applied(key)

        def unnamed(key: str) -> None:
            ours.accounts.do(key, lambda account: account.deposit(random.getrandbits(20) + 1))

        ways = ours.deposit, applied, with_a_note, unnamed
        do, *others = in_turn(
            rounds * 2, *(lambda way=way: partial(each, way, random.sample(self.our_keys, CALLS)) for way in ways)
        )
        names = "apply, no note", "apply, with the note of do", "do of a lambda: no note"
        for name, taken in zip(names, others, strict=True):
            yield Row(f"{name}; do", taken.per(CALLS), do.per(CALLS))
        self.close()


def _exhaust(read: Callable[[], Iterator[Any]]) -> None:
    deque(read(), maxlen=0)


def bytes_of_notes() -> None:
    """Print the bytes of an event's payload, and those of its note: none without a context."""
    with Store("memory://", frozen=False) as store:
        store.apply("Account/1", {"owner": "Ada", "balance": 0})
        store.apply("Account/1", {"balance": (operator.add, 10)})
        with store.context(who="ada"):
            store.apply("Account/1", {"balance": (operator.add, 10)})
        Repository(store, Account).do("1", Account.deposit, 10)
        *_, bare, who, do = core_of(store).log.read(Stream(ES, "Account/1"))
    for name, record in (("no context", bare), ("who='ada'", who), ("do, with its argument", do)):
        print(f"bytes of an event, {name}: {len(record.data)}, and {len(record.meta or b'')} of its note")


def show(bench: Bench, rounds: int) -> None:
    with closing(bench):
        bench.close()
        parts = bench.commands(rounds), bench.long(rounds), bench.everything(rounds), bench.notes(rounds)
        for row in chain.from_iterable(parts):
            wall, busy = (theirs / ours for theirs, ours in zip(row.theirs, row.ours, strict=True))
            figures = f"{row.theirs.wall:12,.1f}{row.ours.wall:12,.1f}{wall:9.2f}{busy:9.2f}"
            print(f"{row.name:44}{figures}  {row.aim}", flush=True)


def sqlite(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
        for durability in ("full", "normal"):
            print(f"durability={durability}")
            ours = f"sqlite://{folder}/ours-{durability}.db?durability={durability}"
            theirs = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/theirs-{durability}.db"}
            show(Bench(ours, theirs, relaxed=durability == "normal"), rounds)


def postgresql(rounds: int) -> None:
    with one_core(), Postgres.start() as server:
        place = conninfo_to_dict(server.dsn)
        theirs = {f"POSTGRES_{name.upper()}": str(place[name]) for name in ("dbname", "host", "port", "user")}
        own = {"PERSISTENCE_MODULE": "eventsourcing.postgres", "POSTGRES_PASSWORD": "none"}
        show(Bench(server.dsn, {**theirs, **own}), rounds)


BACKENDS: dict[str, Callable[[int], None]] = {"sqlite": sqlite, "postgresql": postgresql}


def main() -> None:
    """Print the tables."""
    if not (find_spec("eventsourcing") and find_spec("psycopg_pool")):
        print(MISSING)
        return
    rounds = next((int(word) for word in sys.argv[1:] if word.isdigit()), 7)
    bytes_of_notes()
    for name in [word for word in sys.argv[1:] if word in BACKENDS] or BACKENDS:
        print(f"{name + ', us':44}{'theirs':>12}{'ours':>12}{'ratio':>9}{'of CPU':>9}  aim")
        BACKENDS[name](rounds)


if __name__ == "__main__":
    main()
