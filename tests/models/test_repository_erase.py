"""An instance is erased with all that there is about it."""

from __future__ import annotations

import operator
import sqlite3
from pathlib import Path

import attrs
import pytest

from rstore import Changes, Erasure, FrozenStoreError, Repository, Store, StoreError
from rstore.admin import erase
from rstore.admin.check import check
from rstore.core import Core
from rstore.domain.log import Rewrite
from rstore.domain.operators import ONCE
from rstore.domain.streams import SS, Stream, kind_of
from tests.conftest import Backend


@attrs.frozen
class Person:
    name: str
    visits: int = 0

    def visit(self, reason: str = "") -> Changes:
        return {"visits": (operator.add, 1)}


@pytest.fixture
def people(store: Store) -> Repository[Person]:
    people = Repository(store, Person)
    for key in ("a", "b"):
        people.when(once="made").create(key, name=f"Ada {key}")
        people.when(once="first").do(key, Person.visit, "a cough")
    return people


def test_nothing_is_left_but_that_it_was_erased(backend: Backend, store: Store, people: Repository[Person]) -> None:
    created = people.history("a")[0].timestamp
    assert created is not None
    with store.context(who="clerk", why="request 12"):
        assert people.erase("a", "unknown").records == 5  # three events, and two marks of once
    assert people.get("a") is people.past("a", created) is people.at(2**62).get("a") is None
    assert people.keys() == ["b"]
    with pytest.raises(KeyError):
        people.revert("a", created)
    (erased,) = people.history("a")
    assert isinstance(erased.value, Erasure)
    assert (erased.op, erased.kind, erased.key, erased.who, erased.why, erased.value.records) == (
        *("erase", "es", "Person/a", "clerk", "request 12"),
        3,
    )
    assert not any(stream.key == "Person/a" for _, stream, _ in backend.log(frozen=True).follow())
    assert people["b"] == Person("Ada b", 1)
    assert people.when(once="first").do("b", Person.visit) == Person("Ada b", 1)
    assert list(check(store)) == []


def test_it_may_be_made_anew(people: Repository[Person]) -> None:
    before = people.version("a")
    people.erase("a")
    assert people.when(once="made").create("a", name="Eve") == people["a"] == Person("Eve")
    assert people.version("a") > before


def test_what_was_deleted_or_pruned_before(backend: Backend, store: Store, people: Repository[Person]) -> None:
    people.delete("a", "b")
    store.prune("Person/b")
    people.erase("a", "b")
    kinds = {kind_of(stream) for _, stream, _ in backend.log(frozen=True).follow()}
    assert ONCE not in kinds
    assert {change.op for change in people.history("a")} == {"erase"}


def test_snapshots_go_too(backend: Backend, people: Repository[Person]) -> None:
    for _ in range(300):
        people.do("a", Person.visit)
    assert backend.log(frozen=True).head(Stream(SS, "Person/a")) is not None
    people.erase("a")
    assert backend.log(frozen=True).head(Stream(SS, "Person/a")) is None


def test_others_that_folded_it_before_see_that(backend: Backend, key: str | None) -> None:
    others, mine = (Repository(backend.store(key=key), Person) for _ in range(2))
    others.create("c", name="Cy")
    assert mine["c"] == Person("Cy")
    others.erase("c")
    assert mine.get("c") is None
    with pytest.raises(KeyError):
        mine.do("c", Person.visit)


def test_what_is_written_meanwhile_is_erased_too(
    backend: Backend, people: Repository[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, calls = erase._beside, list[str]()

    def beside(core: Core, prefix: str, keys: frozenset[str]) -> dict[str, list[Rewrite]]:
        rewrites = found(core, prefix, keys)
        if not calls:
            calls.append("once")
            people.when(once="meanwhile").do("a", Person.visit)
        return rewrites

    monkeypatch.setattr(erase, "_beside", beside)
    people.erase("a")
    assert not any(stream.key == "Person/a" for _, stream, _ in backend.log(frozen=True).follow())
    assert [change.value.records for change in people.history("a")] == [4]


def test_an_interrupted_call_frees_the_space_when_it_is_repeated(
    backend: Backend, people: Repository[Person], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, calls = type(store._core.base), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(adapter, "vacuum", lambda self: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            people.erase("a")
    assert people.get("a") is None
    monkeypatch.setattr(adapter, "vacuum", lambda self: calls.append("vacuum"))
    assert people.erase("a").records == 0
    assert calls == ["vacuum"]


def test_without_keys_nothing_is_read_or_freed(
    people: Repository[Person], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = type(store._core.base)
    for name in ("follow", "vacuum", "rewrite"):
        monkeypatch.setattr(adapter, name, lambda *_: 1 // 0)
    assert people.erase() == people.erase(dry_run=True) == (0, 0)
    with pytest.raises(FrozenStoreError):
        people.at(2**62).erase()


def test_a_dry_run_counts(backend: Backend, key: str | None, people: Repository[Person]) -> None:
    assert people.erase("a", dry_run=True).records == 3
    assert people["a"] == Person("Ada a", 1)
    assert people.erase() == people.erase("unknown", dry_run=True) == (0, 0)


def test_where_it_is_refused(backend: Backend, store: Store, people: Repository[Person]) -> None:
    with pytest.raises(StoreError, match="transaction"), store.transaction():
        people.erase("a")
    with pytest.raises(FrozenStoreError):
        people.at(2**62).erase("a")
    assert "a" in people


def test_the_file_holds_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    with Store(path, frozen=False) as store:
        people = Repository(store, Person)
        people.create("a", name="Ada Lovelace-Byron")
        people.do("a", Person.visit, "an embarrassing cough")
        people.create("b", name="Bob")
        people.erase("a")
        found = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        assert b"Bob" in found
        assert b"Lovelace-Byron" not in found
        assert b"embarrassing" not in found
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
