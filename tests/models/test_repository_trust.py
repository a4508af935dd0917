"""When a repository decides on the state that it has cached, and when it reads the newest one before."""

from __future__ import annotations

import operator
from typing import Any

import attrs
import pytest

from rstore import Changes, Repository, Store, StoreConflictError, StoreNotAvailableError
from rstore.core import core_of
from rstore.repository import deciding
from tests.conftest import Backend


@attrs.frozen
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> Changes:
        return {"balance": (operator.add, amount)}

    def pay(self, amount: int) -> Changes:
        if amount > self.balance:
            raise ValueError(f"there is only {self.balance}")
        return {"balance": (operator.sub, amount)}

    def double(self) -> Changes | None:
        return {"balance": (operator.mul, 2)} if self.balance else None


@attrs.frozen
class Limited:
    balance: int = attrs.field(default=0, validator=attrs.validators.le(10))


@pytest.fixture
def two(backend: Backend) -> list[Repository[Account]]:
    """Return two repositories with an account, which the first one has cached."""
    two = [Repository(backend.store(), Account) for _ in range(2)]
    two[0].create("a")
    return two


def test_what_was_decided_on_an_older_state_counts_for_nothing(two: list[Repository[Account]]) -> None:
    one, other = two
    other.do("a", Account.deposit, 10)
    assert one.do("a", Account.pay, 7) == Account(3)
    other.do("a", Account.deposit, 1)
    assert one.do("a", Account.double) == Account(8)
    other.delete("a")
    with pytest.raises(KeyError):
        one.do("a", Account.deposit, 1)
    other.create("a", balance=5)
    assert one.do("a", Account.deposit, 1) == Account(6)
    assert len(one.history("a", by="commit")) == 8


def test_that_a_method_changes_nothing_is_decided_on_the_newest_state(two: list[Repository[Account]]) -> None:
    one, other = two
    other.do("a", Account.deposit, 10)
    assert one.do("a", Account.double) == Account(20)


def test_a_conflict_tells_the_newest_version(two: list[Repository[Account]]) -> None:
    one, other = two
    version = other.version("a")
    other.do("a", Account.deposit, 10)
    newest = one.version("a")
    with pytest.raises(StoreConflictError) as caught:
        one.when(expect=version).do("a", Account.deposit, 1)
    assert (caught.value.expected, caught.value.actual) == (version, newest)
    assert one.when(expect=newest).do("a", Account.deposit, 1) == Account(11)


def test_an_error_on_the_newest_state_passes_at_once(store: Store) -> None:
    accounts, seen = Repository(store, Account), list[Any]()
    accounts.create("a", balance=1)

    def decide(account: Account) -> Changes:
        seen.append(account)
        return account.pay(2)

    with pytest.raises(ValueError, match="only 1"):
        accounts.do("a", decide)
    assert seen == [Account(1)]


def test_a_state_is_read_again_while_others_write(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    one, other = (Repository(backend.store(), Account) for _ in range(2))
    one.create("a")
    read, reads = deciding.current_state, list[str]()

    def counted(core: Any, name: str) -> Any:
        reads.append(name)
        return read(core, name)

    def reads_of(repository: Repository[Account]) -> int:
        reads.clear()
        repository.do("a", Account.deposit, 1)
        return len(reads)

    monkeypatch.setattr(deciding, "current_state", counted)
    assert [reads_of(one) for _ in range(3)] == [0, 0, 0]
    assert [reads_of(each) for each in (other, one, other, one)] == [1, 1, 1, 1]  # a conflict, and then a look
    assert [reads_of(one) for _ in range(6)] == [1, 1, 1, 1, 0, 0]
    assert one["a"] == other["a"] == Account(13)


def test_an_append_of_which_the_answer_is_lost_is_not_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts, core = Repository(store, Account), core_of(store)
    accounts.create("a")
    append, lost = type(core.writer).append, list[Any]()

    def append_and_fail(writer: Any, batches: Any) -> Any:
        lost.append(append(writer, batches))
        raise StoreNotAvailableError("the connection is lost")

    with monkeypatch.context() as patched:
        patched.setattr(type(core.writer), "append", append_and_fail)
        with pytest.raises(StoreNotAvailableError):
            accounts.do("a", Account.deposit, 5)
    assert len(lost) == 1
    assert accounts.do("a", Account.deposit, 1) == Account(6)


def test_a_rule_of_the_class_is_asked_of_the_newest_state(backend: Backend) -> None:
    one, other = (Repository(backend.store(), Limited, "Account/") for _ in range(2))
    one.create("a", balance=8)
    other.do("a", lambda account: {"balance": (operator.sub, 5)})
    assert one.do("a", lambda account: {"balance": (operator.add, 5)}) == Limited(8)
