"""A bank that can explain itself: accounts, bookings with their authors and reasons, and a disputed one taken back.

    python examples/bank.py [DSN]

Without a DSN the program keeps its books in a temporary SQLite file. With one, it uses the namespace 'bank-example' of
that store, and erases it at the end.
"""

from __future__ import annotations

import operator
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import field, frozen
from attrs.validators import ge

from rstore import Change, Changes, Repository, Store


@frozen
class Account:
    """The state of an account, and its decisions. The class knows nothing of a store, and can be tested without one."""

    owner: str
    balance: int = field(default=0, validator=ge(0))

    def deposit(self, amount: int) -> Changes:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        return {"balance": (operator.add, amount)}

    def withdraw(self, amount: int) -> Changes:
        if amount > self.balance:
            raise ValueError(f"{self.owner} has only {self.balance}")
        return {"balance": (operator.sub, amount)}


def main() -> None:
    with TemporaryDirectory() as folder:
        dsn = sys.argv[1] if len(sys.argv) > 1 else Path(folder, "bank.db")
        with Store(dsn, namespace="bank-example", frozen=False) as store:
            business_as_usual(store)
            dispute(store)
            nothing_is_lost(store)
            store.discard()


def business_as_usual(store: Store) -> None:
    """Each booking has an author and a reason. A transfer is one transaction: both accounts change, or none."""
    accounts = Repository(store, Account)
    accounts.create("ada", owner="Ada")
    accounts.create("bob", owner="Bob", balance=20)
    with store.context(who="counter 3", why="cash"):
        accounts.do("ada", Account.deposit, 100)
    with store.context(who="Ada", why="rent for May"):
        transfer(store, "ada", "bob", 60)
    with store.context(who="batch 17", why="fee for the safe", ticket=4711):
        accounts.do("ada", Account.withdraw, 35)
    time.sleep(0.01)  # days go by
    try:
        transfer(store, "ada", "bob", 6)
    except ValueError as error:
        print(f"Refused, and nothing is booked: {error}.")
    print("Balances:", {key: account.balance for key, account in accounts.all()})


def transfer(store: Store, source: str, target: str, amount: int) -> None:
    accounts = Repository(store, Account)
    with store.transaction():
        accounts.do(target, Account.deposit, amount)
        accounts.do(source, Account.withdraw, amount)


def dispute(store: Store) -> None:
    """Ada never had a safe. What happened, what was her balance before, and how does the bank put it right?"""
    accounts = Repository(store, Account)
    print("\nAda asks: where are my 35? Her account's history:")
    for change in accounts.history("ada"):
        print(f"  {text(change):<28} by {change.who or 'nobody'}: {change.why or 'no reason given'}")

    (fee,) = [change for change in accounts.history("ada") if change.who == "batch 17"]
    before = (fee.timestamp or 0) - 1
    print(f"Before the booking of ticket {fee.more['ticket']}: {accounts.past('ada', before)}")
    print("What it changed:", accounts.diff("ada", before, before + 1).changed)

    with store.context(who="Eve", why="Ada has no safe"):
        accounts.revert("ada", before)
    print("Put right:", accounts["ada"])


def nothing_is_lost(store: Store) -> None:
    """The mistake is still there to be seen, and so is the account as the bank saw it before anybody noticed."""
    accounts = Repository(store, Account)
    *_, fee, correction = accounts.history("ada")
    print("\nThe last two entries:", f"{text(fee)}, {text(correction)} by {correction.who}")
    print("As the bank saw it in those days:", accounts.at(fee.recorded)["ada"])
    people = sorted({change.who for change in store.log(prefix="Account/") if change.who})
    print("All who ever booked:", ", ".join(people))


def text(change: Change) -> str:
    return f"{change.item} {change.op} {change.value!r}"


if __name__ == "__main__":
    main()
