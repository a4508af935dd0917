"""Notebooks show short, escaped tables, and lists that are lists in all else."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest

from rstore import JsonStore, Store
from tests.conftest import Backend


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_a_store_shows_where_it_is_and_what_is_in_it(backend: Backend) -> None:
    store = backend.store(namespace="<b>")
    store["a"], store["b"] = 1, 2
    store.extend("series", (1, 2))
    shown = store._repr_html_()
    for cell in ("&lt;b&gt;", ">keys</td><td>2<", ">time series</td><td>1<", ">event sequences</td><td>0<", "writable"):
        assert cell in shown
    assert "<b>" not in shown


def test_a_store_that_is_not_there_is_shown_without_an_error_and_without_its_password() -> None:
    shown = Store("postgresql://user:secret@localhost:1/db")._repr_html_()
    assert "not available" in shown
    assert "secret" not in shown


def test_a_range_is_shown_by_its_first_and_last_points() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", ((t, "<script>" * 100) for t in range(1000)))
        shown = store.range("key")._repr_html_()  # type: ignore[attr-defined]
        assert shown.count("<tr>") == 21
        assert "1,000 points" in shown
        assert "<td>0</td>" in shown
        assert "<td>999</td>" in shown
        assert "<script>" not in shown
        assert len(shown) < 10_000
        assert store.range("key", 981)._repr_html_().count("<tr>") == 20  # type: ignore[attr-defined]
        assert "0 points" in store.range("nothing")._repr_html_()  # type: ignore[attr-defined]


def test_a_value_that_can_not_be_printed_is_shown_all_the_same() -> None:
    store = Store("memory://", frozen=False)
    with store:
        store.extend("key", (1, Unprintable()), (2, None), (3, float("nan")))
        assert "Unprintable" in store.range("key")._repr_html_()  # type: ignore[attr-defined]


def test_a_history_is_shown_with_who_and_why(store: Store) -> None:
    with store.context(who="ada", why="a < b"):
        store["key"] = 1
    store.apply("key", {"item": 2})
    shown = store.history("key")._repr_html_()  # type: ignore[attr-defined]
    for text in ("2 changes", "ada", "a &lt; b", "setitem", "item", " UTC"):
        assert text in shown


@pytest.mark.parametrize("call", [lambda store: store.range("key"), lambda store: store.history("key")])
def test_lists_are_lists_in_all_else(call: Any) -> None:
    with JsonStore("memory://", frozen=False) as store:
        store.extend("key", (1, "a"), (2, "b"))
        found = call(store)
        plain = list(found)
        assert isinstance(found, list)
        assert found == plain
        assert repr(found) == repr(plain)
        assert json.dumps(found) == json.dumps(plain)
        assert msgspec.json.encode(found) == msgspec.json.encode(plain)
        for same in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found), found[:]):
            assert same == plain
            assert type(same) is list
