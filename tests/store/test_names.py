"""Names that are a subclass of str: each means what is in it, everywhere, and nothing of the subclass is stored."""

from __future__ import annotations

import io
import operator
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest

from rstore import Repository, Store
from rstore.admin.check import check
from rstore.domain.names import check_name, exact
from rstore.transfer import copy, export_points, import_points
from tests.conftest import KEY, Backend


class Topic(str, Enum):  # noqa: UP042  # a StrEnum formats as what it is
    """What ``format`` shows otherwise than it is: as ``Topic.RED``."""

    RED = "red"


class Colour(StrEnum):
    RED = "red"


class Kind(str, Enum):  # noqa: UP042  # a StrEnum formats as what it is
    KV = "kv"
    TS = "ts"


class Loud(str):
    """A str that answers nothing as it is: whoever asks it, instead of what is in it, is misled."""

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        return "LOUD"

    def __repr__(self) -> str:
        return "LOUD"

    def __format__(self, spec: str) -> str:
        return "LOUD"

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        return iter("LOUD")

    def __getitem__(self, at: Any) -> str:
        return "LOUD"[at]

    def __add__(self, other: object) -> str:
        return "LOUD"

    def __radd__(self, other: object) -> str:
        return "LOUD"

    def __contains__(self, part: object) -> bool:
        return True

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"LOUD"

    def isascii(self) -> bool:
        return False

    def startswith(self, *_: Any) -> bool:
        return False

    def partition(self, _: str) -> tuple[str, str, str]:
        return "LOUD", "", ""


Named = Callable[[str], str]
NAMED: list[Named] = [Topic, Colour, np.str_, Loud]


@pytest.fixture(params=NAMED, ids=lambda named: named.__name__)
def named(request: pytest.FixtureRequest) -> Named:
    """Each of the subclasses: what makes a name of a str."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def red(named: Named) -> Any:
    """The name ``red``, as each of the subclasses has it."""
    return named("red")


def problems(store: Store) -> list[Any]:
    return list(check(store))


def names_in(store: Store) -> list[Any]:
    """Return all names that are stored, wherever that is."""
    return [name for _, stream, record in store._core.log.follow() for name in (*stream, record.item, record.op)]


def assert_exact(store: Store) -> None:
    """All names in the log are exactly str, none is what the subclass shows, and nothing is wrong with the store."""
    for name in names_in(store):
        assert type(name) is str
        assert "Topic" not in name
        assert "LOUD" not in name
    assert problems(store) == []


def test_a_name_is_what_is_in_it(red: Any) -> None:
    assert type(check_name("key", red)) is type(exact(red)) is str
    assert check_name("key", red) == exact(red) == "red"


@pytest.mark.parametrize("wrong", ["\0", "a\ud800", "x" * 1025, ""])
def test_a_name_is_judged_by_what_is_in_it(wrong: str) -> None:
    with pytest.raises(ValueError, match="a key") as told:
        check_name("key", Loud(wrong), empty=False)
    assert "LOUD" not in str(told.value)


class TestKeys:
    def test_of_values(self, store: Store, red: Any) -> None:
        store[red] = 1
        store.set(red, 2, expect=store.version(red, "kv"))
        assert store["red"] == store[red] == store.get(red) == 2
        assert store.get_many([red]) == {"red": 2}
        assert store.find(red) == [("red", 2)]
        assert store.has(red)
        assert red in store
        assert [type(key) for key in store] == [str]
        assert store.update_with(red, lambda n: n + 1) == 3
        assert store.setdefault(red, 9) == 3
        assert store.pop(red) == 3
        store.set_many([("red", 4)])
        store.delete(red, "red", red)
        assert list(store) == []
        assert [change.op for change in store.history(red)] == [
            "setitem",
            "setitem",
            "setitem",
            "delitem",
            "setitem",
            "delitem",
        ]
        assert_exact(store)

    def test_of_many_values_at_once(self, store: Store, red: Any) -> None:
        store.set_many([(red, 1)])
        assert dict(store) == {"red": 1}
        assert_exact(store)

    def test_of_values_without_history(self, backend: Backend, red: Any) -> None:
        store = backend.store(history=False)
        store.set_many([(red, 1), ("red", 2)])
        store[red] = 3
        assert store.pop(red) == 3
        store[red] = 4
        store.delete(red, "red")
        assert len(store) == 0
        assert_exact(store)

    def test_of_series(self, store: Store, red: Any) -> None:
        store.extend(red, (1, "a"), (2, "b"), (3, "c"))
        assert store.range(red) == store.range("red") == list(store.points(red))
        assert store.first(red) == (1, "a")
        assert store.last(red) == (3, "c")
        assert store.missing(red, 3, 4, freq=1) == [4]
        store.remove(red, "red", end=1)
        assert store.timeseries(red) == ["red"]
        assert [type(key) for key in store.timeseries()] == [str]
        store.compact()
        assert store.range("red") == [(2, "b"), (3, "c")]
        assert_exact(store)

    def test_of_event_sequences(self, store: Store, red: Any) -> None:
        store.apply(red, {"n": 1}, t=1)
        store.apply("red", {"n": (operator.add, 1)}, t=2)
        assert store.current(red) == store.current("red") == {"n": 2}
        assert store.past(red, 1) == {"n": 1}
        assert store.eventsources(red) == ["red"]
        assert store.update_with(red, lambda _: {"n": (operator.add, 1)}, kind="es") == {"n": 3}
        assert store.diff(red, 1, 2).changed == {"n": (1, 2)}
        store.prune(red, "red")
        assert store.current("red") == {"n": 3}
        store.delete_events(red)
        assert store.current("red") is None
        assert_exact(store)

    def test_brought_back(self, store: Store, red: Any) -> None:
        store.apply(red, {"n": 1}, t=1)
        store.apply(red, {"n": 2}, t=2)
        assert store.revert(red, 1) == {"n": 1}
        store["red"] = 1
        store.extend(red, (1, 1))
        then = store.history(red, "ts")[-1].recorded
        store["red"] = 2
        store.extend(red, (1, 2), (2, 2))
        store.revert(red, then, kind="kv")
        store.revert(red, then, kind="ts")
        assert store.at(then)[red] == store.at(then)["red"]
        assert_exact(store)

    def test_in_transactions(self, store: Store, red: Any) -> None:
        with store.transaction():
            store[red] = 1
            store.apply(red, {"n": 1})
            store.extend(red, (1, 1))
            assert store["red"] == 1
            assert store.current(red) == {"n": 1}
            assert store.last("red") == (1, 1)
        assert store.get(red) == 1
        assert_exact(store)

    def test_of_frames(self, store: Store, red: Any) -> None:
        store.extend(red, pd.DataFrame({"value": [1.5]}, index=pd.Index([1])))
        assert store.time_axis(red) == store.time_axis("red")
        assert store.range(red, to="pandas")["value"].tolist() == [1.5]
        assert_exact(store)


class TestNamesInDicts:
    def test_items_are_names(self, store: Store, red: Any) -> None:
        state = store.apply("k", {red: 1})
        assert store.apply("k", {"red": (operator.add, 1)}) == {"red": 2}
        assert {type(item) for found in (state, store.current("k")) for item in found or {}} == {str}
        assert [event.value for event in store.events("k", item=red) or []] == [1, 1]
        assert_exact(store)

    def test_updates_take_them(self, store: Store, red: Any) -> None:
        store.update({red: 1})
        store |= {red: 2}
        assert dict(store) == {"red": 2}
        assert_exact(store)

    def test_columns_are_names(self, store: Store, red: Any) -> None:
        store.extend("k", pd.DataFrame({red: [1.5]}, index=pd.Index([1], name=red)))
        store.extend("s", pd.Series([1.5], index=pd.Index([1]), name=red))
        assert store.range("k") == [(1, 1.5)]
        assert list(store.range("k", to="pandas").columns) == ["red"]
        assert store.time_axis("k").name == "red"
        assert type(store.time_axis("k").name) is str
        assert store.range("s", to="pandas").name == "red"
        assert_exact(store)


class TestTokens:
    def test_are_used_once_in_whatever_class_they_come(self, store: Store, red: Any) -> None:
        store.set("a", 1, once=red)
        store.set("a", 2, once="red")
        store.apply("b", {"n": 1}, once="red")
        store.apply("b", {"n": (operator.add, 1)}, once=red)
        store.extend("c", (1, 1), once=red)
        store.extend("c", (1, 2), once="red")
        assert store["a"] == 1
        assert store.current("b") == {"n": 1}
        assert store.range("c") == [(1, 1)]
        assert_exact(store)

    def test_of_transactions(self, store: Store, red: Any) -> None:
        assert store.transact(lambda s: s.setdefault("n", 1), once=red) == 1
        assert store.transact(lambda s: s.setdefault("n", 2), once="red") is None
        assert_exact(store)


class TestNotes:
    def test_are_kept_and_found(self, store: Store, red: Any) -> None:
        with store.context(who=red, why=red, more=red):
            store["a"] = 1
        store["b"] = 2
        (change,) = store.log(who=red)
        assert [type(word) for word in (change.who, change.why, change.more["more"])] == [str] * 3
        assert (change.who, change.why, change.more) == ("red", "red", {"more": "red"})
        assert [change.key for change in store.log(who="red")] == ["a"]
        assert_exact(store)


class TestTheLog:
    def test_is_followed_by_prefix_from_a_checkpoint(self, store: Store, red: Any, named: Named) -> None:
        store["red"] = 1
        store["blue"] = 2
        store["redder"] = 3
        assert [change.key for change in store.log(prefix=red)] == ["red", "redder"]
        (first, _), (last, _) = store.follow(prefix=red)
        checkpoint = np.str_(first) if named is np.str_ else Loud(first)
        assert [found for found, _ in store.follow(after=checkpoint, prefix=red)] == [last]

    def test_feeds_projections(self, store: Store, red: Any) -> None:
        store["red"] = 1
        assert store.project(red, lambda change, s: s.extend("seen", (1, change.key)), prefix=red) == 1
        assert store.project("red", lambda change, s: s.extend("seen", (2, change.key)), prefix=red) == 0
        assert store.range("seen") == [(1, "red")]
        assert_exact(store)

    def test_is_read_by_kind(self, store: Store) -> None:
        store["red"] = 1
        store.extend("red", (1, 1))
        assert [change.kind for change in store.history("red", Kind.KV)] == ["kv"]
        assert [type(change.kind) for change in store.log(kind=Kind.TS)] == [str]
        assert store.version("red", Kind.KV) == store.version("red", "kv") > 0
        assert store.update_with("red", lambda n: n + 1, kind=Kind.KV) == 2
        then = store.history("red", Kind.TS)[-1].recorded
        store.revert("red", then, Kind.TS)
        assert store.diff("red", then, then, Kind.TS) == store.diff("red", then, then, "ts")


def test_namespaces_are_names(backend: Backend, key: str | None, red: Any) -> None:
    store = backend.store(namespace=red, key=key)
    store["k"] = 1
    assert type(store.namespace) is str
    assert backend.store(namespace="red", key=key, frozen=True)["k"] == 1
    assert "LOUD" not in repr(store)
    assert_exact(store)


@attrs.frozen
class Ticket:
    title: str
    done: bool = False


def test_repositories_have_names_as_keys_and_as_prefix(store: Store, red: Any) -> None:
    tickets = Repository(store, Ticket, prefix=red)
    tickets.create(red, title="first")
    assert tickets.do(red, lambda _: {"done": True}) == tickets["red"] == tickets.get(red) == Ticket("first", True)
    made, done = (change.timestamp for change in tickets.history(red)[-2:])
    assert red in tickets
    assert made is not None
    assert done is not None
    assert tickets.past(red, made) == Ticket("first")
    assert tickets.diff(red, made, done).changed == {"done": (False, True)}
    assert tickets.revert(red, made) == Ticket("first")
    assert store.eventsources() == ["redred"]
    assert_exact(store)


def test_copies_hold_the_same_names(backend: Backend, key: str | None, red: Any) -> None:
    source, target = backend.store(key=key), backend.store(namespace="other", key=key)
    source[red] = 1
    source.apply(red, {"n": 1}, once=red)
    source.extend(red, (1, 1))
    copy(source, target)
    assert target["red"] == 1
    assert_exact(target)


def test_tables_are_exported_and_imported_by_name(backend: Backend, red: Any) -> None:
    store, file = backend.store(), io.StringIO()
    store.extend("red", (1, 1.5), (2, 2.5))
    export_points(store, red, file)
    export_points(store, [red], io.StringIO())
    file.seek(0)
    import_points(store, file, key=red)
    import_points(store, io.StringIO("red,value\n1,2\n"), key=red, time=red, columns=["value"], rows=True)
    import_points(store, io.StringIO("time,red,blue\n7,2,3\n"), columns=[red])
    assert store.timeseries() == ["red"]
    assert store.range("red") == [(1, {"value": 2}), (2, 2.5), (7, 2)]
    assert_exact(store)


def test_a_key_for_encryption_is_what_is_in_it(backend: Backend) -> None:
    backend.store(key=Loud(KEY))["k"] = 1
    assert backend.store(key=KEY, frozen=True)["k"] == 1


def test_a_dsn_is_what_is_in_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for dsn in (Loud("sqlite://a.db"), Loud("a.db"), Topic.RED):
        with Store(dsn, frozen=False) as store:
            store["k"] = 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "red"]
