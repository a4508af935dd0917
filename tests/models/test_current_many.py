"""The states of many event sequences at once: each is what it is alone, whatever there is to know about the others."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

import pytest

from rstore import (
    JsonStore,
    Repository,
    Store,
    StoreConflictError,
    StoreError,
    StoreNotAvailableError,
    StorePayloadError,
)
from rstore.domain.log import Batch, Entry, Rewrite
from rstore.domain.operators import SETITEM
from rstore.domain.paging import PAGE
from rstore.domain.streams import ES, SS, Stream
from rstore.models import event_states
from rstore.view import View
from tests.conftest import KEY, Backend, in_turn

MANY = PAGE + 10


@dataclass
class Account:
    owner: str
    balance: int = 0


def one_by_one(store: Store | View, keys: list[str]) -> dict[str, Any]:
    return {key: state for key in keys if (state := store.current(key)) is not None}


@pytest.fixture
def keys(store: Store) -> list[str]:
    """The keys of more sequences than a page has."""
    keys = [f"account {i:04}" for i in range(MANY)]
    with store.transaction():
        for i, key in enumerate(keys):
            store.apply(key, {"owner": key, "balance": i}, t=1)
    return keys


# -- what it returns --------------------------------------------------------------------------------------------------


def test_current_many_returns_those_that_there_are(store: Store) -> None:
    store.apply("a", {"n": 1})
    store.apply("b", {"n": 2})
    store.apply("deleted", {"n": 3})
    store.delete_events("deleted")
    store["value"] = "of another kind"
    store.extend("series", (1, 1))
    found = store.current_many(["b", "unknown", "value", "series", "a", "deleted", "b"])
    assert (found, list(found)) == ({"b": {"n": 2}, "a": {"n": 1}}, ["b", "a"])
    assert store.current_many(key for key in "ab") == {"a": {"n": 1}, "b": {"n": 2}}
    assert store.current_many([]) == store.current_many(["unknown"]) == {}


def test_a_state_without_items_is_one(store: Store) -> None:
    store.apply("a", {"n": 1})
    store.apply("a", {"n": (operator.delitem, None)})
    assert store.current_many(["a"]) == {"a": {}}


def test_current_many_of_one_str_is_a_mistake(store: Store) -> None:
    with pytest.raises(TypeError, match=r"several keys: write \[key\]"):
        store.current_many("abc")


@pytest.mark.parametrize("bad", [1, None, "a\0", "\ud800", "x" * 1025])
def test_a_bad_key_is_refused_before_anything_is_read(store: Store, bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="key"):
        store.current_many(["a", bad])


def test_many_are_more_than_a_page(backend: Backend, store: Store, keys: list[str], key: str | None) -> None:
    expected = {name: {"owner": name, "balance": i} for i, name in enumerate(keys)}
    cold = backend.store(key=key)
    assert store.current_many(keys) == cold.current_many(keys) == expected
    assert cold.current_many(keys) == expected  # most of them cached
    assert list(cold.current_many(reversed(keys))) == keys[::-1]


def test_states_handed_out_are_nobody_elses(store: Store) -> None:
    store.apply("a", {"list": [1]})
    for _ in range(2):
        store.current_many(["a"])["a"]["list"].append(2)
    assert store.current_many(["a"]) == {"a": {"list": [1]}}


def test_in_a_store_of_json(backend: Backend) -> None:
    store = backend.store(JsonStore)
    store.apply("a", {"list": (1, 2)})
    store.apply("b", {"n": None})
    assert backend.store(JsonStore).current_many(["a", "b"]) == {"a": {"list": [1, 2]}, "b": {"n": None}}


# -- what others do, and what was erased ------------------------------------------------------------------------------


def _late(store: Store, key: str) -> None:
    store.apply(key, {"early": 1}, t=5)


def _more(store: Store, key: str) -> None:
    store.apply(key, {"n": (operator.add, 1)})


def _pruned(store: Store, key: str) -> None:
    store.prune(key)


def _deleted(store: Store, key: str) -> None:
    store.delete_events(key)


def _begun_anew(store: Store, key: str) -> None:
    store.delete_events(key)
    store.apply(key, {"new": 1})


def _forgotten(store: Store, key: str) -> None:
    store.delete_events(key)
    store.prune(key)


def _without_snapshots(store: Store, key: str) -> None:
    snapshots = Stream(SS, key)
    store._core.base.rewrite([Rewrite(snapshots, None, range(2**62), live=False)])


EVENTS: dict[str, Callable[[Store, str], None]] = {
    "nothing": lambda store, key: None,
    "more": _more,
    "late": _late,
    "pruned": _pruned,
    "deleted": _deleted,
    "begun anew": _begun_anew,
    "forgotten": _forgotten,
    "without snapshots": _without_snapshots,
}
"""What may happen to a sequence after its state was cached."""


def test_each_is_as_it_is_alone_whatever_happened_to_it(
    backend: Backend, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 3)
    store = backend.store(key=key)
    names = [f"{happens} to {length}" for happens in EVENTS for length in (1, 3, 4, 20)]
    for name in names:
        for t in range(int(name.split()[-1])):
            store.apply(name, {"n": t, f"item{t}": t}, t=10 * (t + 1))
    warm, half = backend.store(key=key), backend.store(key=key, frozen=True)
    warm.current_many(names)
    half.current_many(names[::2])
    for name in names:
        EVENTS[name.partition(" to ")[0]](store, name)
    cold = backend.store(key=key, frozen=True)
    expected = one_by_one(backend.store(key=key), names)
    assert [each.current_many(names) for each in (store, warm, half, cold)] == [expected] * 4
    assert [each.current_many(names) for each in (warm, half, cold)] == [expected] * 3
    assert set(names) - set(expected) == {name for name in names if name.startswith(("deleted", "forgotten"))}


# -- values that cannot be loaded -------------------------------------------------------------------------------------


@pytest.fixture
def module_that_goes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a class ``Order``, which a test removes once an instance is stored."""
    module = ModuleType("module_that_goes")
    module.Order = type("Order", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_value_that_cannot_be_loaded_is_the_error_of_its_key(
    backend: Backend, store: Store, key: str | None, module_that_goes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply("a", {"n": 1})
    store.apply("b", {"order": module_that_goes.Order(), "n": 2})
    monkeypatch.delitem(sys.modules, module_that_goes.__name__)
    reader = backend.store(key=key)
    with pytest.raises(StorePayloadError, match=r"es 'b'.*module_that_goes"):
        reader.current_many(["a", "b"])
    assert reader.current_many(["a"]) == {"a": {"n": 1}}
    store.apply("b", {"order": None})
    assert reader.current_many(["a", "b"]) == {"a": {"n": 1}, "b": {"order": None, "n": 2}}


# -- views and transactions -------------------------------------------------------------------------------------------


def test_a_view_shows_the_states_of_then(store: Store, keys: list[str]) -> None:
    moment = store.history(keys[0])[-1].recorded
    before = store.at(moment - 1)
    time.sleep(0.002)
    store.apply(keys[3], {"balance": 99})
    store.delete_events(keys[4])
    store.apply("new", {"n": 1})
    then, names = store.at(moment), [*keys, "new"]
    for _ in range(2):  # the second time from its cache
        assert then.current_many(names) == {key: {"owner": key, "balance": i} for i, key in enumerate(keys)}
        assert before.current_many(names) == {}
    assert len(store.current_many(names)) == MANY


def test_a_transaction_sees_what_it_has_written(store: Store, keys: list[str]) -> None:
    with store.transaction():
        store.apply(keys[1], {"balance": (operator.add, 1000)})
        store.delete_events(keys[2])
        store.apply("new", {"n": 1})
        found = store.current_many([*keys, "new", "unknown"])
        assert found == one_by_one(store, [*keys, "new"])
        assert (found[keys[1]]["balance"], found["new"], keys[2] in found) == (1001, {"n": 1}, False)
    assert store.current_many([*keys, "new"]) == found


def test_a_transaction_ends_well_only_if_none_of_the_many_has_changed(backend: Backend, key: str | None) -> None:
    store, other = backend.store(key=key), backend.store(key=key)
    for name in "abc":
        store.apply(name, {"n": 1})

    def overtaken(name: str) -> None:
        with store.transaction():
            store.current_many(["a", "b", "c", "unknown"])
            other.apply(name, {"n": 2})
            store["written"] = 1

    for name in ("b", "unknown"):
        with pytest.raises(StoreConflictError):
            overtaken(name)
    assert "written" not in store


# -- how much at once -------------------------------------------------------------------------------------------------


@in_turn("room", [0, 700, 50_000])
def test_states_come_in_as_many_pages_as_there_is_room_for(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    store = backend.store()
    names = [f"{i:02}" for i in range(40)]
    for i, name in enumerate(names):
        store.apply(name, {f"item{j}": "x" * (100 * j) for j in range(i % 7)} or {"none": 0})
    monkeypatch.setattr("rstore.models.event_states.PAGE_BYTES", room)
    expected = one_by_one(store, names)
    for reader in (store, backend.store(), backend.store(frozen=True)):
        assert reader.current_many(names) == expected
        with store.transaction():
            store.apply("00", {"none": 0})
            assert store.current_many(names) == expected
    assert store.at(2**62).current_many(names) == expected


def test_all_of_a_repository_are_read_a_page_at_a_time(store: Store, keys: list[str]) -> None:
    accounts = Repository(store, Account, prefix="account ")
    assert list(accounts.all()) == [(key[-4:], Account(key, i)) for i, key in enumerate(keys)]
    assert next(accounts.all()) == ("0000", Account(keys[0], 0))
    assert list(accounts.at(2**62).all()) == list(accounts.all())
    seen = []
    for name, _ in accounts.all():  # they may be written to meanwhile
        accounts.delete(*[name] if name < "0020" else ())
        seen.append(name)
    assert (len(seen), [name for name, _ in accounts.all()]) == (MANY, seen[20:])


def test_those_before_a_damaged_one_are_shown_first(backend: Backend, store: Store, key: str | None) -> None:
    for i in range(30):
        store.apply(f"{i:02}", {"owner": "Ada"})
    store._core.base.append([Batch(Stream(ES, "12"), [Entry(1, 1, "owner", SETITEM, b"damaged")], 1)])
    reader = backend.store(key=key)
    rest = Repository(reader, Account, prefix="").all()
    assert [name for name, _ in islice(rest, 12)] == [f"{i:02}" for i in range(12)]
    with pytest.raises(StorePayloadError, match="es '12'"):
        next(rest)
    assert reader.current_many(["11", "13"]) == {"11": {"owner": "Ada"}, "13": {"owner": "Ada"}}


def test_those_that_can_not_be_loaded_are_skipped_or_yielded_in_their_place(
    backend: Backend, store: Store, key: str | None, module_that_goes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        store.apply(f"{i:02}", {"owner": "Ada"})
    store.apply("05", {"owner": module_that_goes.Order()})
    store.apply("06", {"colour": "red"})
    store.delete_events("07")
    for name in ("00", "12", "13"):
        store._core.base.append([Batch(Stream(ES, name), [Entry(1, 1, "owner", SETITEM, b"damaged")], 1)])
    monkeypatch.delitem(sys.modules, module_that_goes.__name__)
    accounts = Repository(backend.store(key=key), Account, prefix="")
    found = dict(accounts.all("yield"))
    bad = ["00", "05", "06", "12", "13"]
    assert list(found) == [f"{i:02}" for i in range(30) if i != 7]
    assert [name for name, each in found.items() if isinstance(each, StoreError)] == bad
    assert dict(accounts.all("skip")) == {name: Account("Ada") for name in found if name not in bad}
    for name in bad:
        with pytest.raises(StoreError) as alone:
            accounts.get(name)
        assert (type(found[name]), str(found[name])) == (type(alone.value), str(alone.value))
    with pytest.raises(StorePayloadError, match="es '00'"):
        next(accounts.all())


def test_to_skip_or_yield_takes_no_more_reads_than_to_raise(
    backend: Backend, store: Store, keys: list[str], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, sizes = type(store._core.base), list[int]()
    replay = adapter.replay

    def counted(self: Any, queries: Any, room: int | None = None) -> Any:
        sizes.append(len(queries))
        return replay(self, queries, room)

    monkeypatch.setattr(adapter, "replay", counted)
    expected = [1, 2, 4, 8, 16, 32, 64, 128, MANY - 255]
    for errors in ("raise", "skip", "yield"):
        sizes.clear()
        assert len(list(Repository(backend.store(key=key), Account, prefix="account ").all(errors))) == MANY
        assert sizes == expected
    for name in (keys[5], keys[6], keys[250]):
        store._core.base.append([Batch(Stream(ES, name), [Entry(2, 2, "owner", SETITEM, b"damaged")], 1)])
    sizes.clear()
    assert len(list(Repository(backend.store(key=key), Account, prefix="account ").all("skip"))) == MANY - 3
    assert sizes == expected


def test_an_error_of_the_whole_store_is_asked_for_once(
    backend: Backend, keys: list[str], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, lost = event_states._newest, list[str]()

    def newest(core: Any, query: Any, *rest: Any) -> Any:
        if query.stream.key >= keys[20]:
            lost.append(query.stream.key)
            raise StoreNotAvailableError("no connection")
        return read(core, query, *rest)

    monkeypatch.setattr(event_states, "_newest", newest)
    rest = Repository(backend.store(key=key), Account, prefix="account ").all("skip")
    assert [name for name, _ in islice(rest, 20)] == [name[-4:] for name in keys[:20]]
    with pytest.raises(StoreNotAvailableError):
        next(rest)
    assert lost == [keys[20]]


def test_a_store_that_is_closed_in_between_says_so(backend: Backend) -> None:
    store = backend.store()
    for i in range(10):
        store.apply(f"{i}", {"owner": "Ada"})
    rest = Repository(store, Account, prefix="").all()
    next(rest)
    store.close()
    with pytest.raises(StoreError, match="is not open"):
        list(rest)


def test_an_encrypted_sequence_needs_the_key(backend: Backend) -> None:
    backend.store(key=KEY).apply("a", {"n": 1})
    with pytest.raises(StoreError, match="encrypted"):
        backend.store(frozen=True).current_many(["a"])
