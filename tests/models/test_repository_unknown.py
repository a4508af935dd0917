"""Items that a newer version of a class has written: an error, kept, or dropped."""

from __future__ import annotations

import operator
from typing import Any

import attrs
import pytest

from rstore import Changes, Repository, Store, StoreModelError


@attrs.frozen
class Account:
    owner: str
    balance: int = 0

    def deposit(self, amount: int) -> Changes:
        return {"balance": (operator.add, amount)}


@attrs.frozen
class Newer:
    owner: str
    balance: int = 0
    points: int = 0

    def earn(self, points: int) -> Changes:
        return {"points": (operator.add, points)}


@pytest.fixture
def newer(store: Store) -> Repository[Newer]:
    newer = Repository(store, Newer, "Account/")
    newer.create("a", owner="Ada", points=7)
    return newer


def test_by_default_they_are_an_error(store: Store, newer: Repository[Newer]) -> None:
    for accounts in (Repository(store, Account), Repository(store, Account, unknown="error")):
        with pytest.raises(StoreModelError, match="'points' is no field"):
            accounts["a"]
        with pytest.raises(StoreModelError, match="'points' is no field"):
            accounts.do("a", Account.deposit, 5)


def test_kept_they_stay_as_they_are_while_old_and_new_decide(store: Store, newer: Repository[Newer]) -> None:
    older = Repository(store, Account, unknown="keep")
    assert older["a"] == older.at(2**62)["a"] == Account("Ada")
    assert older.do("a", Account.deposit, 5) == Account("Ada", 5)
    newer.do("a", Newer.earn, 3)
    assert dict(older.all()) == {"a": Account("Ada", 5)}
    assert older.when(once="x").do("a", Account.deposit, 1) == Account("Ada", 6)
    assert newer["a"] == Newer("Ada", 6, 10)
    created = newer.history("a")[0].timestamp
    assert created is not None
    assert older.past("a", created) == older.revert("a", created) == Account("Ada")
    assert newer["a"] == Newer("Ada", 0, 7)


def test_dropped_the_next_decision_deletes_them(store: Store, newer: Repository[Newer]) -> None:
    accounts = Repository(store, Account, unknown="drop")
    assert accounts["a"] == Account("Ada")
    assert accounts.do("a", lambda account: None) == Account("Ada")
    assert store.current("Account/a") == {"owner": "Ada", "balance": 0, "points": 7}
    assert accounts.do("a", Account.deposit, 5) == accounts["a"] == Account("Ada", 5)
    assert store.current("Account/a") == {"owner": "Ada", "balance": 5}
    assert newer["a"] == Newer("Ada", 5)


def test_late_decisions_drop_nothing(store: Store) -> None:
    accounts = Repository(store, Account, unknown="drop")
    store.apply("Account/a", {"owner": "Ada", "balance": 1, "points": 7}, t=1000)
    store.apply("Account/a", {"points": (operator.add, 1)}, t=3000)
    assert accounts.when(t=2000).do("a", Account.deposit, 5).balance == 6
    assert store.current("Account/a") == {"owner": "Ada", "balance": 6, "points": 8}


@pytest.mark.parametrize("unknown", ["keep", "drop"])
def test_with_an_upcast(store: Store, unknown: Any) -> None:
    store.apply("Account/a", {"name": "Ada", "balance": 1, "points": 7})
    accounts = Repository(store, Account, upcast={"name": "owner"}, unknown=unknown)
    assert accounts.do("a", Account.deposit, 1) == accounts["a"] == Account("Ada", 2)
    left = {"name": "Ada", "balance": 2} | ({"points": 7} if unknown == "keep" else {})
    assert store.current("Account/a") == left


def test_a_decision_still_changes_fields_only(store: Store, newer: Repository[Newer]) -> None:
    older = Repository(store, Account, unknown="keep")
    with pytest.raises(StoreModelError, match="no field of Account"):
        older.do("a", lambda account: {"points": 0})
    with pytest.raises(ValueError, match="unknown is 'error', 'keep' or 'drop', not 'hold'"):
        Repository(store, Account, unknown="hold")  # type: ignore[arg-type]
