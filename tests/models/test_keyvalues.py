"""Key/value pairs: a dict that is kept, and calls on many keys at once."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Store
from rstore.domain.streams import KV, Stream
from tests.conftest import Backend, in_turn


def records_of(backend: Backend, key: str) -> int:
    """Return how many records the log holds of a key."""
    return sum(stream == Stream(KV, key) for _, stream, _ in backend.log().follow())


# -- one key at a time ------------------------------------------------------------------------------------------------


def test_what_is_set_is_there_to_get(store: Store) -> None:
    store.set("planet", "Mars")

    assert store.get("planet") == "Mars"
    assert store["planet"] == "Mars"
    assert store.has("planet")
    assert "planet" in store


def test_a_later_value_replaces_an_earlier_one(store: Store) -> None:
    store["planet"] = "Mars"
    store["planet"] = "Venus"

    assert store["planet"] == "Venus"
    assert len(store) == 1


@in_turn(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**200,
        -0.0,
        float("inf"),
        1j,
        "",
        "naïve \N{PILE OF POO} \ud800 \0",
        b"",
        bytes(range(256)),
        bytearray(b"x"),
        (),
        (1, (2, [3])),
        [None, [], {}],
        {"a": {1: {2.5, "b"}}},
        frozenset({1}),
        Decimal("1.10"),
        datetime(2024, 2, 29, tzinfo=UTC),
        "long " * 10_000,
        int,
    ],
)
def test_any_picklable_value_comes_back_as_it_was(store: Store, value: Any) -> None:
    store["value"] = value

    assert store["value"] == value
    assert type(store["value"]) is type(value)


def test_a_stored_none_is_a_value_like_any_other(store: Store) -> None:
    store["nothing"] = None

    assert store.get("nothing", "default") is None
    assert store["nothing"] is None
    assert store.has("nothing")
    assert "nothing" in store
    assert store.keys() == ["nothing"]
    assert list(store.items()) == [("nothing", None)]
    assert store.find("n*") == [("nothing", None)]
    assert store.get_many(["nothing"]) == {"nothing": None}
    assert store.setdefault("nothing", 1) is None
    assert store.pop("nothing", "default") is None
    assert "nothing" not in store


def test_an_unknown_key_is_a_key_error_or_the_default(store: Store) -> None:
    assert store.get("unknown") is None
    assert store.get("unknown", 7) == 7
    assert store.get("unknown", default=7) == 7
    assert not store.has("unknown")
    assert store.pop("unknown", 7) == 7
    assert store.pop("unknown", None) is None
    with pytest.raises(KeyError, match="unknown"):
        store["unknown"]
    with pytest.raises(KeyError, match="unknown"):
        del store["unknown"]
    with pytest.raises(KeyError, match="unknown"):
        store.pop("unknown")


def test_delete_passes_over_unknown_keys(store: Store) -> None:
    store.set_many({"a": 1, "b": 2, "c": 3})

    store.delete("unknown")
    store.delete()
    store.delete("a", "unknown", "c", "a")

    assert dict(store) == {"b": 2}


def test_a_deleted_key_is_gone_from_every_answer(store: Store) -> None:
    store.set_many({"a": 1, "b": 2})

    del store["a"]

    assert store.get("a", "gone") == "gone"
    assert not store.has("a")
    assert store.keys() == ["b"]
    assert list(store) == ["b"]
    assert list(store.values()) == [2]
    assert store.find() == [("b", 2)]
    assert store.get_many(["a", "b"]) == {"b": 2}
    assert len(store) == 1
    with pytest.raises(KeyError):
        del store["a"]


def test_a_deleted_key_can_be_set_again(store: Store) -> None:
    for value in range(3):
        store["phoenix"] = value
        assert store["phoenix"] == value
        assert len(store) == 1
        store.delete("phoenix")
        assert len(store) == 0


def test_values_do_not_depend_on_the_clock(store: Store) -> None:
    with freeze_time("2024-01-02") as clock:
        store["a"] = "first"
        clock.move_to("1999-01-01")
        store["a"] = "second"
        assert store["a"] == "second"
        del store["a"]
        assert "a" not in store
        store["a"] = "third"

    assert store["a"] == "third"


def test_values_handed_in_and_out_are_nobody_elses(store: Store) -> None:
    mine = {"list": [1]}
    store["a"] = mine
    mine["list"].append(2)
    store["a"]["list"].append(3)
    store.get("a")["list"].append(4)
    next(iter(store.values()))["list"].append(5)
    store.get_many(["a"])["a"]["list"].append(6)
    default: list[int] = []
    store.setdefault("b", default).append(7)

    assert store["a"] == {"list": [1]}
    assert store["b"] == []


# -- the dict protocol ------------------------------------------------------------------------------------------------


def test_keys_are_a_list_in_code_point_order(store: Store) -> None:
    names = ["b", "a", "Z", "é", "\uffff", "\U0001f600", "aa", "", "a\x01"]
    for name in names:
        store[name] = name

    assert store.keys() == sorted(names)
    assert isinstance(store.keys(), list)
    assert list(store) == sorted(names)
    assert list(store.items()) == [(name, name) for name in sorted(names)]
    assert list(store.values()) == sorted(names)


def test_it_is_as_long_as_it_has_keys(store: Store) -> None:
    assert len(store) == 0
    assert not store

    store.set_many({str(i): i for i in range(10)})
    store["3"] = "again"
    del store["4"]

    assert len(store) == 9
    assert len(store.items()) == len(store.values()) == 9
    assert store


def test_it_equals_a_dict_of_the_same_pairs(store: Store) -> None:
    store.update(a=1, b=[2])

    assert store == {"a": 1, "b": [2]}
    assert store != {"a": 1}
    assert ("a", 1) in store.items()
    assert [2] in store.values()


def test_pop_and_popitem_take_what_they_return(store: Store) -> None:
    store.update(a=1, b=2)

    assert store.pop("a") == 1
    assert store.popitem() == ("b", 2)
    with pytest.raises(KeyError):
        store.popitem()
    assert store == {}


def test_setdefault_stores_only_what_was_not_there(store: Store) -> None:
    assert store.setdefault("a", 1) == 1
    assert store.setdefault("a", 2) == 1
    assert store.setdefault("b") is None
    store.delete("a")
    assert store.setdefault("a", 3) == 3

    assert store == {"a": 3, "b": None}


def test_update_takes_what_dict_update_takes(store: Store) -> None:
    store.update({"a": 1})
    store.update([("b", 2), ("b", 3)])
    store.update({"c": 4}, c=5, d=6)
    store.update(self=7, other=8)
    store.update()
    store |= {"e": 9}
    store |= [("f", 10)]

    assert store == {"a": 1, "b": 3, "c": 5, "d": 6, "self": 7, "other": 8, "e": 9, "f": 10}


def test_update_stores_all_or_nothing(store: Store) -> None:
    store["a"] = "before"

    with pytest.raises(ValueError, match="NUL"):
        store.update({"a": 1, "b\0": 2})

    assert store == {"a": "before"}


def test_clear_leaves_series_and_sequences(store: Store) -> None:
    store.update(same=1, other=2)
    store.extend("same", (1, "point"))
    store.apply("same", {"item": "event"})

    store.clear()
    store.clear()

    assert store == {}
    assert len(store) == 0
    assert store.last("same") == (1, "point")
    assert store.current("same") == {"item": "event"}


def test_a_key_that_is_no_str_is_a_type_error_even_to_in(store: Store) -> None:
    with pytest.raises(TypeError, match=r"key .*str, not int"):
        1 in store  # noqa: B015


# -- many keys at once ------------------------------------------------------------------------------------------------


def test_get_many_returns_those_that_there_are(store: Store) -> None:
    store.set_many({"a": 1, "b": None, "c": 3})
    store.delete("c")

    assert store.get_many(["b", "unknown", "a", "c", "a"]) == {"a": 1, "b": None}
    assert store.get_many(key for key in "ab") == {"a": 1, "b": None}
    assert store.get_many([]) == {}


def test_many_means_thousands(store: Store) -> None:
    pairs = {f"key {i:05}": i for i in range(3000)}

    store.set_many(pairs)

    assert store.get_many(pairs) == pairs
    assert len(store) == 3000
    assert store.keys() == list(pairs)
    assert dict(store.items()) == pairs
    store.delete(*pairs)
    assert len(store) == 0


def test_set_many_takes_a_mapping_or_pairs_of_which_the_last_counts(store: Store) -> None:
    store.set_many({"a": 1})
    store.set_many([("b", 1), ("c", 1), ("b", 2)])
    store.set_many((key, 3) for key in "d")
    store.set_many({})

    assert store == {"a": 1, "b": 2, "c": 1, "d": 3}


@pytest.mark.parametrize("bad", ["\0", "x" * 1025, "\udfff"])
def test_set_many_stores_all_or_nothing(store: Store, bad: str) -> None:
    store["a"] = "before"

    with pytest.raises(ValueError, match="key"):
        store.set_many({"a": "after", bad: 1, "b": 2})

    assert store == {"a": "before"}


# -- iteration --------------------------------------------------------------------------------------------------------


def test_iteration_goes_on_while_the_store_is_written_to(store: Store) -> None:
    keys = [f"{i:04}" for i in range(700)]
    store.set_many(dict.fromkeys(keys, 0))

    seen = []
    for key in store:
        seen.append(key)
        store[key] += 1
        store[f"!{key}"] = "comes before all that are still to be seen"
        store.delete(f"{int(key) - 1:04}")

    assert seen == keys
    assert sorted(store.keys()) == sorted([*(f"!{key}" for key in keys), keys[-1]])


def test_items_and_values_go_on_while_the_store_is_written_to(store: Store) -> None:
    pairs = {f"{i:04}": i for i in range(700)}
    store.set_many(pairs)

    seen = {}
    for key, value in store.items():
        seen[key] = value
        del store[key]
        store["!" + key] = value
    assert seen == pairs

    for value in store.values():
        store.set("!", value)
    assert len(store) == 701


def test_iterators_read_only_what_is_asked_of_them(backend: Backend, key: str | None) -> None:
    class Counting(Store):
        loaded = 0

        def _dump(self, value: Any) -> str:
            return str(value)

        def _load(self, data: Any) -> Any:
            self.loaded += 1
            return int(data)

    store = backend.store(Counting, key=key)
    store.set_many({f"{i:05}": i for i in range(5000)})

    assert isinstance(iter(store), Iterator)
    assert list(islice(store, 3)) == ["00000", "00001", "00002"]
    assert store.loaded == 0
    assert next(iter(store.items())) == ("00000", 0)
    assert next(iter(store.values())) == 0
    assert store.loaded < 1500
    store.loaded = 0
    assert store.find("0499*") == [(f"{i:05}", i) for i in range(4990, 5000)]
    assert "00007" in store
    assert len(store) == 5000
    assert store.loaded == 10


# -- find -------------------------------------------------------------------------------------------------------------

HAYSTACK = (
    "",
    "a",
    "A",
    "b",
    "ab",
    "abc",
    "a.c",
    "a*c",
    "a?c",
    "a[b]c",
    "a[",
    "a]",
    "a%",
    "a_",
    "a^b",
    "a!b",
    "a-b",
    "a\\b",
    "a\nb",
    "(a|b)",
    "{a}",
    "^a$",
    "a+",
    "user:1",
    "user:2:x",
    "User:1",
    "users",
    "\N{GRINNING FACE}",
    "\N{GRINNING FACE} b",
    "é",
)


@pytest.fixture
def haystack(store: Store) -> Store:
    store.set_many(dict.fromkeys(HAYSTACK, "hay"))
    return store


@in_turn(
    "pattern",
    [
        *("*", "**", "?", "??", "a*", "*b", "*a*", "a?c", "[ab]", "[!a]", "[a-b]*", "a[*]c", "a[?]c", "a[[]b]c"),
        *("a[", "a[]", "a]", "a[b", "[", "]", "a.c", "a%", "a_", "A*", "*:*", "user:*", "user:?", "user:[!1]*"),
        *(
            "(a|b)",
            "{a}",
            "^a$",
            "a+",
            "a\\*",
            "a^*",
            "",
            "nothing like it",
            "\N{GRINNING FACE}*",
            "[é]",
            "a\nb",
            "a?b",
        ),
        *("[^a]", "a[!b]b", "a[-]b", "[[]", "*[]]*"),
    ],
)
def test_find_matches_whole_keys_as_fnmatch_does(haystack: Store, pattern: str) -> None:
    assert haystack.find(pattern) == [(key, "hay") for key in sorted(HAYSTACK) if fnmatchcase(key, pattern)]


def test_find_without_a_pattern_finds_all(store: Store) -> None:
    store.set_many({"b": 2, "a": 1})
    store.extend("series", (1, 2))
    store.apply("sequence", {"x": 1})

    assert store.find() == [("a", 1), ("b", 2)]
    assert store.find(None) == [("a", 1), ("b", 2)]


def test_find_finds_across_pages(store: Store) -> None:
    store.set_many({f"{letter}{i:03}": i for letter in string.ascii_lowercase[:5] for i in range(300)})

    assert store.find("c*") == [(f"c{i:03}", i) for i in range(300)]
    assert store.find("*99") == [(f"{letter}{i}99", int(f"{i}99")) for letter in "abcde" for i in range(3)]


def test_find_wants_a_str(store: Store) -> None:
    with pytest.raises(TypeError, match="str"):
        store.find(1)  # type: ignore[arg-type]


# -- without history --------------------------------------------------------------------------------------------------


def test_history_grows_with_every_set(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    for value in range(5):
        store["a"] = value

    assert records_of(backend, "a") == 5


def test_without_history_a_key_keeps_only_its_last_value(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key, history=False)
    for value in range(5):
        store["a"] = value
        store.update(a=value, b=value)

    assert records_of(backend, "a") == records_of(backend, "b") == 1
    assert store == {"a": 4, "b": 4}


@pytest.mark.parametrize("gone", ["delete", "pop", "del", "clear", "popitem"])
def test_without_history_nothing_is_left_of_a_deleted_key(backend: Backend, key: str | None, gone: str) -> None:
    store = backend.store(key=key, history=False)
    store["a"] = 1
    store["a"] = 2
    deletions = {
        "delete": lambda: store.delete("a"),
        "pop": lambda: store.pop("a"),
        "del": lambda: store.__delitem__("a"),
        "clear": store.clear,
        "popitem": store.popitem,
    }

    deletions[gone]()

    assert records_of(backend, "a") == 0
    assert store == {}
    assert len(store) == 0
    assert store.setdefault("a", 3) == 3
    assert store == {"a": 3}
    assert records_of(backend, "a") == 1


def test_giving_up_history_takes_along_what_was_kept_before(backend: Backend, key: str | None) -> None:
    keeping = backend.store(key=key)
    for value in range(5):
        keeping.update(a=value, b=value)
    forgetting = backend.store(key=key, history=False)

    forgetting["a"] = 5
    forgetting.delete("b")

    assert records_of(backend, "a") == 1
    assert records_of(backend, "b") == 0
    assert keeping == {"a": 5}
    keeping["a"] = 6
    assert records_of(backend, "a") == 2
    assert forgetting == {"a": 6}


# -- several stores on the same data ----------------------------------------------------------------------------------


def test_stores_on_the_same_data_see_each_others_writes(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)

    one["a"] = 1
    assert other["a"] == 1
    other["a"] = 2
    assert one["a"] == 2
    one.delete("a")
    assert "a" not in other
    assert other.setdefault("a", 3) == 3
    assert one == {"a": 3}
