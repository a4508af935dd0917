"""Processes that write, pay and project beside a test, and may be killed.

A server of forks makes them, which has imported this module and the drivers. To start Python and import these took
most of the time of tests that kill many workers.

``RSTORE_STRESS_SECONDS=30`` in the environment lets them work for so long, and eight of them.
"""

from __future__ import annotations

import multiprocessing
import operator
import os
import random
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from attrs import frozen

from rstore import Change, DatabaseTarget, Delivery, Projector, Repository, Store, StoreConflictError, StoreUniqueError
from rstore.adapters.dsn import open_log
from rstore.domain.log import Adapter

if TYPE_CHECKING:
    from tests.conftest import Backend

STRESS = "RSTORE_STRESS_SECONDS" in os.environ
SECONDS = float(os.environ.get("RSTORE_STRESS_SECONDS", "1"))
WORKERS = 8 if STRESS else 3
PATIENCE = 60
"""Seconds that a worker has to stop: after them it hangs."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, *(f"rstore.adapters.{name}.log" for name in ("postgresql", "redis", "sqlite"))])

Tell = Callable[[str], None]
Stopped = Callable[[], bool]


# -- what they do ------------------------------------------------------------------------------------------------------


def _together(store: Store, key: str, n: int, ident: str) -> None:
    with store.transaction():
        store[f"{key} 0"] = ident
        store.extend(key, (n, ident))
        store.apply(key, {"last": ident, f"item {n % 3}": ident})


WRITES: tuple[Callable[[Store, str, int, str], Any], ...] = (
    lambda store, key, _, ident: store.set(key, ident),
    lambda store, key, _, ident: store.apply(key, {"last": ident}),
    lambda store, key, n, ident: store.extend(key, (n, ident)),
    lambda store, key, _, ident: store.set_many({f"{key} {i}": ident for i in range(3)}),
    _together,
)


def write(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Write to streams that all write to, and to some of its own; tell each write that was acknowledged."""
    dice = random.Random(name)
    for n in range(sys.maxsize):
        if stopped():
            return
        ident, key = f"{name}:{n}", dice.choice(["shared", name.partition(".")[0]])
        try:
            WRITES[n % len(WRITES)](store, key, n, ident)
        except StoreConflictError:  # others were faster each time: nothing was stored, so nothing is told
            continue
        tell(ident)


ACCOUNTS = 50
BALANCE = 100


def account(n: int) -> str:
    return f"account {n:02}"


def pay(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Move money from one account to another, as long as there is any; tell what was moved."""
    dice = random.Random(name)
    while not stopped():
        source, target = map(account, dice.sample(range(ACCOUNTS), 2))
        if store.transact(lambda each, s=source, t=target: _transfer(each, s, t, dice.randint(1, 60))):  # type: ignore[misc]
            tell("paid")


def _transfer(store: Store, source: str, target: str, amount: int) -> bool:
    balances = [(store.current(key) or {})["balance"] for key in (source, target)]
    if balances[0] < amount:
        return False
    with store.context(why=f"{source} to {target}"):
        store.apply(source, {"balance": (operator.sub, amount)})
        store.apply(target, {"balance": (operator.add, amount)})
    return True


def book(change: Change, store: Any) -> None:
    """Keep the balance of each account, of all of them, and the number of bookings, as plain values."""
    step = {"setitem": 1, "add": 1, "sub": -1}[change.op] * change.value
    for key in (f"balance of {change.key}", "balance of all"):
        store[key] = store.get(key, 0) + step
    store["bookings"] = store.get("bookings", 0) + 1


def keep_books(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Project the accounts; tell of it before, since it may not end while others pay."""
    tell("begun")
    while not stopped():
        store.project("books", book, kind="es", prefix="account ", wait=0.05)


MIRROR = "mirror"
"""The key that has the path of the SQLite file into which workers project."""


def book_row(change: Change, cursor: sqlite3.Cursor) -> None:
    """Keep the balance and the number of bookings of each account in a table."""
    cursor.execute(
        "INSERT INTO balances VALUES (?, ?, 1) ON CONFLICT (account) DO UPDATE SET "
        "balance = balance + excluded.balance, bookings = bookings + 1",
        (change.key, change.value),
    )


def mirror(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Project the accounts into a table of another database."""
    tell("begun")
    with closing(sqlite3.connect(store[MIRROR], timeout=PATIENCE)) as connection:
        projector = Projector(store, DatabaseTarget(connection))
        while not stopped():
            projector.project("mirror", book_row, kind="es", prefix="account ", wait=0.05)


def deliver(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Deliver orders, and tell of each message when it is sent: the clock is that of the machine."""

    def send(delivery: Delivery) -> None:
        tell(f"{time.monotonic_ns()} {delivery.key} {delivery.version} {delivery.attempt} {delivery.token}")

    tell("begun")
    while not stopped():
        store.deliver("mail", send, prefix="order ", wait=0.2, lease=2.0, attempts=None, workers=2)


@frozen
class Seat:
    """A seat that wants a number which no other seat has."""

    number: int | None = None
    row: str = ""

    def take(self, number: int | None, row: str) -> dict[str, Any]:
        return {"number": number, "row": row}


def seats_of(store: Store) -> Repository[Seat]:
    return Repository(store, Seat, index=["row"], unique=["number"])


def take_seats(store: Store, name: str, tell: Tell, stopped: Stopped) -> None:
    """Make, change and delete instances that all workers change; tell of each number that an instance got."""
    dice, seats = random.Random(name), seats_of(store)
    tell("begun")
    while not stopped():
        key, number, row = str(dice.randrange(12)), dice.choice([None, *range(6)]), dice.choice("ab")
        try:
            if key not in seats:
                seats.create(key, number=number, row=row)
            elif dice.random() < 0.1:
                seats.delete(key)
            else:
                seats.do(key, Seat.take, number, row)
        except (StoreConflictError, KeyError):  # others were faster
            continue
        except StoreUniqueError as error:
            tell(f"taken by {error.owner}")
        else:
            tell(f"{key} {number}")


class Sent(NamedTuple):
    """A message as a worker told that it was sent."""

    at: int
    key: str
    version: int
    attempt: int
    token: str


def sent(lines: list[str]) -> list[Sent]:
    """Return the messages that workers have told of, in order of time."""
    rows = [line.split() for line in lines if line != "begun"]
    return sorted(
        Sent(int(at), " ".join(key), int(version), int(attempt), token) for at, *key, version, attempt, token in rows
    )


JOBS: dict[str, Callable[[Store, str, Tell, Stopped], None]] = {
    "write": write,
    "pay": pay,
    "books": keep_books,
    "mirror": mirror,
    "deliver": deliver,
    "seats": take_seats,
}


# -- how they are started and ended ------------------------------------------------------------------------------------


class Worker:
    """Does a job in a process, or in a thread if the store is in memory. A file keeps the lines that it tells."""

    def __init__(self, job: str, name: str, backend: Backend, folder: Path, key: str | None) -> None:
        self.job, self.name, self.told = job, name, folder / f"{job} {name}"
        self._end = threading.Event()
        self._failed: list[BaseException] = []
        self.process: BaseProcess | None = None
        if backend.name == "memory":
            self._thread = threading.Thread(target=self._work, args=(backend.connect, key))
            self._thread.start()
            return
        self._line, theirs = FORKS.Pipe()
        given = (job, name, *address(backend, folder), key, self.told, theirs)
        self.process = FORKS.Process(target=work, args=given)
        self.process.start()
        theirs.close()

    def _work(self, connect: Any, key: str | None) -> None:
        try:
            with Store(connect, key=key, frozen=False) as store, teller(self.told) as tell:
                JOBS[self.job](store, self.name, tell, self._end.is_set)
        except BaseException as exc:
            self._failed.append(exc)

    @property
    def is_at_work(self) -> bool:
        """Whether it has told anything yet."""
        return self.told.exists() and self.told.stat().st_size > 0

    def kill(self) -> bool:
        """Kill it as ``kill -9`` does; a thread can't be."""
        if self.process is None:
            return False
        self.process.kill()
        self.process.join(PATIENCE)
        self._line.close()
        return True

    def end(self) -> None:
        """Tell it to finish what it is doing."""
        self._end.set()
        if self.process is not None and not self._line.closed:
            with suppress(BrokenPipeError):  # it has ended of its own
                self._line.send("end")

    def stop(self) -> None:
        """Wait until it is done, which it has to be without an error."""
        self.end()
        if self.process is None:
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
            for failure in self._failed:
                raise failure
            return
        with self._line:
            errors = self._line.recv() if self._line.poll(PATIENCE) else "it does not end"
        self.process.join(PATIENCE)
        assert (errors, self.process.exitcode) == (None, 0), errors


class Crew:
    """Workers at one place. Some of them are killed at any time, and others take their places."""

    def __init__(self, backend: Backend, folder: Path, key: str | None, seed: int) -> None:
        self._given, self._dice = (backend, folder, key), random.Random(seed)
        self._folder, self.killed = folder, 0
        self._at_work: list[Worker] = []

    def start(self, job: str, name: str) -> None:
        self._at_work.append(Worker(job, name, *self._given))

    def work(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Let them work once all have begun, and kill one now and then; another one takes over from it."""
        patience = time.monotonic() + PATIENCE
        while not all(worker.is_at_work for worker in self._at_work):
            assert time.monotonic() < patience, "a worker does not begin"
            time.sleep(0.02)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._dice.uniform(0.1, 0.5))
            meanwhile()
            worker = self._dice.choice(self._at_work)
            if not worker.is_at_work or not worker.kill():
                continue
            self.killed += 1
            self._at_work.remove(worker)
            name, _, run = worker.name.partition(".")
            self.start(worker.job, f"{name}.{int(run or 0) + 1}")

    def stop(self) -> None:
        for worker in self._at_work:
            worker.end()
        while self._at_work:
            self._at_work.pop().stop()

    def told(self, job: str) -> list[str]:
        return [line for path in self._folder.glob(f"{job} *") for line in path.read_text().splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._at_work:
            worker.end()
            worker.kill()


class teller:  # noqa: N801  # it is used like a function
    """Open the file to which a worker tells its acknowledged writes: each line is there once it was written."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __enter__(self) -> Tell:
        return lambda line: (os.write(self._file, f"{line}\n".encode()), None)[1]

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def address(backend: Backend, folder: Path) -> tuple[str, str]:
    """Return the dsn of a backend, and the name of its default namespace there."""
    from tests import conftest

    if backend.name == "sqlite":
        return f"sqlite://{folder / 'test.db'}?timeout={PATIENCE}", "default"
    assert isinstance(backend.connect, conftest.Apart)
    return getattr(conftest, backend.name)(), backend.connect.named("default")


def work(job: str, name: str, dsn: str, namespace: str, key: str | None, told: Path, line: Connection) -> None:
    """Do a job until the other end of the line says so, or is gone; then send the traceback of an error, or None."""
    end, connect = threading.Event(), open_log(dsn)

    def end_with_parent() -> None:
        with suppress(EOFError):
            line.recv()
        end.set()

    def place(_: str, frozen: bool) -> Adapter:  # to the store, and so to its cipher, it is the default one
        return connect(namespace, frozen)

    threading.Thread(target=end_with_parent, daemon=True).start()
    errors = None
    try:
        with Store(place, key=key, frozen=False) as store, teller(told) as tell:
            JOBS[job](store, name, tell, end.is_set)
    except BaseException:
        errors = traceback.format_exc()
    with suppress(BrokenPipeError):
        line.send(errors)
