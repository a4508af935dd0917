"""Creating and deciding under conditions: at a version, once, at a time."""

from __future__ import annotations

import operator
import threading
from typing import Any

import attrs
import pytest

from rstore import (
    Changes,
    FrozenStoreError,
    Repository,
    Store,
    StoreConflictError,
    StoreIntegrityError,
    StoreModelError,
)
from rstore.core import Reading
from rstore.domain.event_state import EventState
from rstore.models.event_states import current_state
from tests.conftest import Backend


@attrs.frozen
class Account:
    owner: str
    balance: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    once: str = ""

    def deposit(self, amount: int) -> Changes:
        return {"balance": (operator.add, amount)}

    def withdraw(self, amount: int) -> Changes:
        if amount > self.balance:
            raise ValueError("not enough")
        return {"balance": (operator.sub, amount)}

    def note(self, *, expect: int, once: str, t: str) -> Changes:
        return {"once": f"{expect} {once} {t}"}


@pytest.fixture
def accounts(store: Store) -> Repository[Account]:
    return Repository(store, Account)


def test_a_decider_has_the_names_of_conditions_for_itself(accounts: Repository[Account]) -> None:
    assert accounts.create("a", owner="Ada", once="free").once == "free"
    assert accounts.do("a", Account.note, expect=1, once="2", t="3").once == "1 2 3"
    assert accounts.when(once="x").do("a", Account.note, expect=3, once="2", t="1").once == "3 2 1"


class TestVersions:
    def test_a_version_is_that_of_the_sequence(self, store: Store, accounts: Repository[Account]) -> None:
        assert accounts.version("a") == 0
        accounts.create("a", owner="Ada")
        assert accounts.version("a") == store.version("Account/a") > 0
        assert accounts.at(0).version("a") == 0

    def test_a_decision_on_another_version_is_refused(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        version = accounts.version("a")
        assert accounts.when(expect=version).do("a", Account.deposit, 5).balance == 5
        calls: list[Account] = []
        with pytest.raises(StoreConflictError) as raised:
            accounts.when(expect=version).do("a", calls.append)  # type: ignore[arg-type]
        assert (raised.value.expected, raised.value.actual, calls) == (version, accounts.version("a"), [])
        assert accounts["a"].balance == 5

    def test_there_is_one_attempt(self, backend: Backend) -> None:
        one, other = (Repository(backend.store(), Account) for _ in range(2))
        one.create("a", owner="Ada")
        seen = []

        def decide(account: Account) -> Changes:
            seen.append(account)
            other.do("a", Account.deposit, 1)
            return {"balance": 100}

        with pytest.raises(StoreConflictError):
            one.when(expect=one.version("a")).do("a", decide)
        assert len(seen) == 1
        assert one["a"].balance == 1

    def test_a_refused_version_is_read_once(
        self, accounts: Repository[Account], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        accounts.create("a", owner="Ada")
        reads: list[str] = []

        def count(core: Reading, key: str) -> EventState | None:
            reads.append(key)
            return current_state(core, key)

        monkeypatch.setattr("rstore.repository.deciding.current_state", count)
        with pytest.raises(StoreConflictError):
            accounts.when(expect=accounts.version("a") + 1).do("a", Account.deposit, 1)
        assert len(reads) == 1, "no other attempt can find the version either"

    def test_what_makes_no_sense_is_refused(self, accounts: Repository[Account]) -> None:
        with pytest.raises(TypeError, match="expect is for do"):
            accounts.when(expect=3).create("a", owner="Ada")
        accounts.when(expect=0).create("a", owner="Ada")
        with pytest.raises(ValueError, match="expect"):
            accounts.when(expect=-1)
        for wrong in (5, ""):
            with pytest.raises((TypeError, ValueError)):
                accounts.when(once=wrong)  # type: ignore[arg-type]
        with pytest.raises(FrozenStoreError):
            accounts.at(2**62).when(once="x").do("a", Account.deposit, 1)


class TestOnce:
    def test_a_repeated_decision_returns_what_the_first_returned(
        self, store: Store, accounts: Repository[Account]
    ) -> None:
        accounts.create("a", owner="Ada")
        assert accounts.when(once="p1").do("a", Account.deposit, 5) == Account("Ada", 5)
        accounts.do("a", Account.deposit, 10)
        before = accounts.version("a")
        calls: list[Any] = []
        assert accounts.when(once="p1").do("a", calls.append) == Account("Ada", 5)  # type: ignore[arg-type]
        assert (accounts.version("a"), calls, accounts["a"].balance) == (before, [], 15)
        accounts.create("b", owner="Bob")
        assert accounts.when(once="p1").do("b", Account.deposit, 1).balance == 1

    def test_whatever_is_expected(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        version = accounts.version("a")
        for _ in range(2):
            assert accounts.when(expect=version, once="p").do("a", Account.deposit, 5).balance == 5

    def test_a_repeated_creation(self, accounts: Repository[Account]) -> None:
        assert accounts.when(once="c").create("a", owner="Ada") == Account("Ada")
        accounts.do("a", Account.deposit, 5)
        assert accounts.when(once="c").create("a", owner="Ada") == Account("Ada")
        with pytest.raises(StoreConflictError):
            accounts.when(once="d").create("a", owner="Ada")
        assert accounts["a"].balance == 5

    def test_a_decision_of_nothing_is_one_too(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        before = accounts.version("a")
        assert accounts.when(once="n").do("a", lambda account: None) == Account("Ada")
        assert accounts.version("a") == before
        accounts.do("a", Account.deposit, 5)
        assert accounts.when(once="n").do("a", Account.deposit, 5) == Account("Ada")
        assert accounts["a"].balance == 5

    def test_in_a_transaction(self, store: Store, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        with store.transaction():
            accounts.do("a", Account.deposit, 1)
            for _ in range(2):
                assert accounts.when(once="t").do("a", Account.deposit, 5).balance == 6
                assert accounts.when(once="n").do("a", lambda account: {}).balance == 6
            accounts.do("a", Account.deposit, 10)
        for once in ("t", "n"):
            assert accounts.when(once=once).do("a", Account.deposit, 5).balance == 6
        assert accounts["a"].balance == 16

    def test_one_that_came_in_between(self, backend: Backend, key: str | None) -> None:
        one, other = (Repository(backend.store(key=key), Account) for _ in range(2))
        one.create("a", owner="Ada", balance=5)

        def decide(account: Account) -> Changes:
            assert other.when(once="w").do("a", Account.withdraw, 5).balance == 0
            raise ValueError("the second finds the account empty")

        assert one.when(once="w").do("a", decide).balance == 0
        assert one["a"].balance == 0

    def test_of_several_threads_is_done_once(self, backend: Backend, key: str | None) -> None:
        repositories = [Repository(backend.store(key=key), Account) for _ in range(4)]
        repositories[0].create("a", owner="Ada", balance=5)
        found: list[int] = []

        def work(each: Repository[Account]) -> None:
            found.append(each.when(once="w").do("a", Account.withdraw, 5).balance)

        threads = [threading.Thread(target=work, args=(each,)) for each in repositories]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 4

    def test_that_failed_may_be_tried_again(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        with pytest.raises(ValueError, match="enough"):
            accounts.when(once="w").do("a", Account.withdraw, 5)
        accounts.do("a", Account.deposit, 5)
        assert accounts.when(once="w").do("a", Account.withdraw, 5).balance == 0

    def test_what_was_deleted_and_pruned_since_is_not_there(self, store: Store, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        accounts.when(once="p").do("a", Account.deposit, 5)
        accounts.delete("a")
        assert accounts.when(once="p").do("a", Account.deposit, 5).balance == 5
        store.prune("Account/a")
        with pytest.raises(KeyError):
            accounts.when(once="p").do("a", Account.deposit, 5)


class TestLate:
    def test_a_decision_is_taken_on_what_was_so_then(self, accounts: Repository[Account]) -> None:
        accounts.when(t=1000).create("a", owner="Ada", balance=10)
        accounts.when(t=3000).do("a", Account.deposit, 5)
        seen = []

        def decide(account: Account) -> Changes:
            seen.append(account.balance)
            return account.deposit(7)

        assert accounts.when(t=2000).do("a", decide) == accounts["a"] == Account("Ada", 22)
        assert seen == [10]
        assert accounts.past("a", 2000) == Account("Ada", 17)
        assert accounts.past("a", 1999) == Account("Ada", 10)
        with pytest.raises(ValueError, match="enough"):
            accounts.when(t=1500).do("a", Account.withdraw, 11)  # there were 10
        assert accounts.when(t=2500).do("a", lambda account: None) == Account("Ada", 22)

    def test_the_newest_must_be_valid_too(self, accounts: Repository[Account]) -> None:
        accounts.when(t=1000).create("a", owner="Ada", balance=10)
        accounts.when(t=3000).do("a", Account.withdraw, 8)
        before = accounts.version("a")
        with pytest.raises(StoreModelError, match="'balance'"):
            accounts.when(t=2000).do("a", Account.withdraw, 5)
        assert accounts.version("a") == before

    def test_before_it_was_created_and_after_it_was_deleted(self, accounts: Repository[Account]) -> None:
        accounts.when(t=1000).create("a", owner="Ada", balance=10)
        with pytest.raises(StoreModelError, match="there was no Account yet at that time"):
            accounts.when(t=999).do("a", Account.deposit, 1)
        with pytest.raises(StoreIntegrityError, match="at time 1000 already"):
            accounts.when(t=1000).do("a", Account.deposit, 1)
        accounts.delete("a")
        with pytest.raises(KeyError):
            accounts.when(t=2000).do("a", Account.deposit, 1)
        with pytest.raises(KeyError):
            accounts.when(t=2000).create("a", owner="Eve")
        assert "a" not in accounts

    def test_once(self, accounts: Repository[Account]) -> None:
        accounts.when(t=1000).create("a", owner="Ada", balance=10)
        accounts.when(t=3000).do("a", Account.deposit, 5)
        for _ in range(2):
            assert accounts.when(t=2000, once="late").do("a", Account.deposit, 1).balance == 16
            accounts.do("a", Account.deposit, 100)
        assert accounts["a"].balance == 216
