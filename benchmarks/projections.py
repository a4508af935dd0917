"""Projections beside eventsourcing 9.5: ``python -m benchmarks.projections [events] [rounds]``.

The rival is John Bywater's library: ``pip install eventsourcing``. Both sides keep the same accounts in SQLite files
with ``synchronous=NORMAL``, and project all deposits into a table with the balance of each account. Theirs stores each
event of a projection in a transaction of its own, with the number of the event, as its ``ProjectionRunner`` does; there
is no runner for SQLite, so the loop around it is ours. Ours goes into a table as well, or into keys of another store.
Each round takes all in turn, from the first event on. A ratio divides their time by ours.
"""

from __future__ import annotations

import operator
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.decisions import Taken, Work, in_turn
from rstore import Change, DatabaseTarget, Occurrence, Projector, Repository, Store

MISSING = "there is no rival to measure: pip install eventsourcing"
DEPOSITS = 99
TABLE = "CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)"
ADD = "INSERT INTO balances VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET balance = balance + excluded.balance"


@frozen
class Deposited:
    amount: int

    def changes(self, _: Account) -> dict[str, Any]:
        return {"balance": (operator.add, self.amount)}


@frozen
class Account:
    owner: str
    balance: int = 0

    def deposit(self, amount: int) -> Deposited:
        return Deposited(amount)


class Ours:
    """Accounts in a store, and the ways to project their deposits."""

    def __init__(self, folder: Path, events: int) -> None:
        self._folder, self._runs = folder, 0
        self.store = Store(f"sqlite://{folder}/ours.db?durability=normal", frozen=False).open()
        self.accounts = Repository(self.store, Account, events=[Deposited])
        for account in range(events // (DEPOSITS + 1)):
            with self.store.transaction():
                self.accounts.create(f"{account}", owner="Ada")
                for n in range(DEPOSITS):
                    self.accounts.do(f"{account}", Account.deposit, account + n)

    def table(self, run: Callable[[DatabaseTarget], int]) -> Work:
        """Return the work of one run into a new table."""
        self._runs += 1
        connection = sqlite3.connect(self._folder / f"read models {self._runs}.db")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(TABLE)
        return partial(run, DatabaseTarget(connection))

    def by_event(self) -> Work:
        def add(occurrence: Occurrence[Account], cursor: sqlite3.Cursor) -> None:
            cursor.execute(ADD, (occurrence.key, occurrence.event.amount))

        return self.table(lambda target: self.accounts.project("balances", {Deposited: add}, into=target))

    def by_event_after(self) -> Work:
        def put(occurrence: Occurrence[Account], cursor: sqlite3.Cursor) -> None:
            assert occurrence.after is not None
            cursor.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (occurrence.key, occurrence.after.balance))

        return self.table(lambda target: self.accounts.project("balances", {Deposited: put}, into=target))

    def by_change(self) -> Work:
        def add(change: Change, cursor: sqlite3.Cursor) -> None:
            if change.op == "add":
                cursor.execute(ADD, (change.key, change.value))

        return self.table(lambda target: Projector(self.store, target).project("balances", add, kind="es"))

    def into_keys(self) -> Work:
        def add(occurrence: Occurrence[Account], store: Store) -> None:
            store["b/" + occurrence.key] = store.get("b/" + occurrence.key, 0) + occurrence.event.amount

        other = Store(f"sqlite://{self._folder}/keys {self._runs}.db?durability=normal", frozen=False).open()
        self._runs += 1
        return partial(self.accounts.project, "balances", {Deposited: add}, into=other, history=False)


class Theirs:
    """The same accounts with eventsourcing, and a view that counts each event once."""

    def __init__(self, folder: Path, events: int) -> None:
        sqlite_module: Any = import_module("eventsourcing.sqlite")
        persistence: Any = import_module("eventsourcing.persistence")
        accounts: Any = import_module("benchmarks.their_accounts")
        environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/theirs.db"}
        self._folder, self._runs, self._tracking = folder, 0, persistence.Tracking
        self._sqlite, self._deposited = sqlite_module, accounts.Account.Deposited
        self.application = accounts.Theirs(environment)
        self.application.relax()
        for _ in range(events // (DEPOSITS + 1)):
            self.application.add(DEPOSITS)

    def by_event(self) -> Work:
        self._runs += 1
        datastore = self._sqlite.SQLiteDatastore(f"{self._folder}/their view {self._runs}.db")
        view = self._sqlite.SQLiteTrackingRecorder(datastore)
        view.create_table()
        with datastore.transaction(commit=True) as cursor:
            cursor.execute(TABLE)
        with datastore.get_connection(commit=True) as connection:
            connection.cursor().execute("PRAGMA synchronous = NORMAL")

        def run() -> None:
            for number, event in enumerate(self.application.everything(), 1):
                with datastore.transaction(commit=True) as cursor:
                    view._insert_tracking(cursor, self._tracking("accounts", number))  # noqa: SLF001  # as its manual does
                    if isinstance(event, self._deposited):
                        cursor.execute(ADD, (event.originator_id.hex, event.amount))

        return run


def main() -> None:
    """Print the table."""
    if not find_spec("eventsourcing"):
        print(MISSING)
        return
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = Ours(folder, events), Theirs(folder, events)
        ways = {
            "events, into a table": ours.by_event,
            "events with the state after each": ours.by_event_after,
            "changes, into a table": ours.by_change,
            "events, into keys of another store": ours.into_keys,
        }
        with closing(ours.store):
            first, *others = in_turn(rounds, theirs.by_event, *ways.values())
    print(f"{f'{events:,} events, seconds':40}{'theirs':>10}{'ours':>10}{'ratio':>8}{'of CPU':>8}  aim")
    for name, taken in zip(ways, others, strict=True):
        show(name, first, taken)


def show(name: str, theirs: Taken, ours: Taken) -> None:
    ratios = f"{theirs.wall / ours.wall:8.2f}{theirs.busy / ours.busy:8.2f}"
    print(f"{name:40}{theirs.wall / 1e6:10.2f}{ours.wall / 1e6:10.2f}{ratios}  3")


if __name__ == "__main__":
    main()
