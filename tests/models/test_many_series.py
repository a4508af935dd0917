"""Many series at once."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from rstore import FrozenStoreError, Store, StoreConflictError
from tests.conftest import Backend, in_turn

FRAME = pl.DataFrame({"t": [1, 2], "a": [1.5, 2.5], "b": ["x", None]})


# -- extend_many ------------------------------------------------------------------------------------------------------


def test_points_of_several_series_are_stored_together(store: Store) -> None:
    store.extend_many({"a": [(2, "y"), (1, "x")], "b": iter([(1, 1)]), "c": (7, "alone"), "d": FRAME, "e": [], "": ()})

    assert store.range("a") == [(1, "x"), (2, "y")]
    assert store.range("b") == [(1, 1)]
    assert store.range("c") == [(7, "alone")]
    assert store.range("d", to="polars").equals(FRAME)
    assert store.timeseries() == ["a", "b", "c", "d"]
    assert len({change.recorded for change in store.log(kind="ts")}) == 1
    store.extend_many({})
    store.extend_many({"d": FRAME.clear()})
    assert store.timeseries() == ["a", "b", "c", "d"]


@in_turn(
    ("wrong", "error", "message"),
    [
        ([(1, 1), 2], TypeError, "point 1 is not a"),
        ([(2**63, 1)], OverflowError, "point 0"),
        ([("noon", 1)], TypeError, "point 0"),
        (3, TypeError, "points are"),
        (pl.DataFrame({"t": [1, 1], "v": [1, 2]}), ValueError, "twice"),
    ],
)
def test_one_that_is_wrong_leaves_nothing_and_is_named(
    store: Store, wrong: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        store.extend_many({"fine": [(1, 1)], "wrong": wrong})
    assert "'wrong'" in f"{caught.value} {getattr(caught.value, '__notes__', '')}"
    assert store.timeseries() == []


def test_series_are_a_dict(store: Store) -> None:
    with pytest.raises(TypeError, match="a dict"):
        store.extend_many([("a", [(1, 1)])])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key must be a str"):
        store.extend_many({1: [(1, 1)]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="duplicates"):
        store.extend_many({}, duplicates="first")  # type: ignore[arg-type]


def test_duplicates_are_those_of_frames(store: Store) -> None:
    store.extend_many({"a": pl.DataFrame({"t": [1, 1], "v": [1, 2]}), "b": [(1, 1), (1, 2)]}, duplicates="last")
    assert store.range("a") == store.range("b") == [(1, 2)]


def test_points_that_are_there_are_not_stored_again(store: Store) -> None:
    series = {"a": [(1, "x"), (2, "y")], "b": FRAME, "c": [(1, 1)]}
    store.extend_many(series)
    versions = [store.version(key, kind="ts") for key in series]

    store.extend_many(series, unless_equal=True)
    assert [store.version(key, kind="ts") for key in series] == versions
    store.extend_many({**series, "a": iter([(1, "x"), (2, "Y")])}, unless_equal=True)
    assert [store.version(key, kind="ts") == old for key, old in zip(series, versions, strict=True)] == [
        False,
        True,
        True,
    ]
    assert store.range("a") == [(1, "x"), (2, "Y")]


def test_in_a_transaction_they_are_part_of_it(store: Store) -> None:
    def give_up() -> None:
        with store.transaction():
            store.extend_many({"a": [(1, 1)], "b": FRAME})
            assert store.last("a") == (1, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert store.timeseries() == []
    with store.transaction():
        store["key"] = 1
        store.extend_many({"a": [(1, 1)], "b": FRAME})
    assert store.timeseries() == ["a", "b"]


def test_another_writer_of_one_of_them_makes_no_mixture(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.extend_many({"a": [(1, 0), (2, 0)], "b": [(1, 0)]})
    append, left = type(store._core.writer).append, [1]

    def racing(self: Any, batches: Any) -> Any:
        if left and len(batches) > 1:
            left.pop()
            store.extend("a", (1, "theirs"), (2, "theirs"))
        return append(self, batches)

    monkeypatch.setattr(type(store._core.writer), "append", racing)
    store.extend_many({"a": [(1, 0), (2, "ours")], "b": [(1, "ours")]}, unless_equal=True)
    assert store.range("a") == [(1, 0), (2, "ours")]
    left.append(1)
    with pytest.raises(StoreConflictError):
        store.extend_many({"a": iter([(1, 0), (2, "new")]), "b": [(1, "new")]}, unless_equal=True)
    assert store.range("a") == [(1, "theirs"), (2, "theirs")]
    assert store.range("b") == [(1, "ours")]


def test_a_frozen_store_and_a_view_refuse_them(backend: Backend, key: str | None) -> None:
    backend.store(key=key).extend("a", (1, 1))
    store = backend.store(key=key, frozen=True)
    for refusing in (store, store.at(2**50)):
        with pytest.raises(FrozenStoreError):
            refusing.extend_many({"a": [(2, 2)]})  # type: ignore[union-attr]
