"""The accounts of :mod:`benchmarks.decisions` as they are written with eventsourcing 9.5, which has to be installed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar
from uuid import UUID, uuid4

_application: Any = import_module("eventsourcing.application")
_domain: Any = import_module("eventsourcing.domain")

_PAGE = 1_000


class Account(_domain.Aggregate):  # type: ignore[misc]  # the library need not be there
    @_domain.event("Opened")  # type: ignore[untyped-decorator]
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        self.deposited(amount)

    @_domain.event("Deposited")  # type: ignore[untyped-decorator]
    def deposited(self, amount: int) -> None:
        self.balance += amount


class Theirs(_application.Application):  # type: ignore[misc]
    """An application of accounts. Its tables have its name on PostgreSQL.

    Its repository reads all events of an account, unless ``AGGREGATE_CACHE_MAXSIZE`` is given: then those that are new.
    """

    name = "accounts"

    def add(self, deposits: int) -> str:
        account = Account(owner=f"owner {uuid4().hex}")
        for _ in range(deposits):
            account.deposit(random.getrandbits(20) + 1)
        self.save(account)
        return str(account.id.hex)

    def deposit(self, key: str) -> None:
        account = self.repository.get(UUID(key))
        account.deposit(random.getrandbits(20) + 1)
        self.save(account)

    def load(self, key: str) -> Any:
        return self.repository.get(UUID(key))

    def everything(self) -> Iterator[Any]:
        start = 1
        while page := self.recorder.select_notifications(start, _PAGE):
            yield from map(self.mapper.to_domain_event, page)
            start = page[-1].id + 1

    def relax(self) -> None:
        """Let SQLite sync as ``durability=normal`` does. There is no option for it, so it is set on the connection."""
        with self.factory.datastore.get_connection(commit=True) as connection:
            connection.cursor().execute("PRAGMA synchronous = NORMAL")


class WithSnapshots(Theirs):
    """An application that makes a snapshot of each 256th version, as rstore does."""

    name = "accounts"
    snapshotting_intervals: ClassVar[dict[Any, int]] = {Account: 256}
