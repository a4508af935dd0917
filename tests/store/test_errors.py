"""What is wrong with what a caller gives is told by name, before anything is written."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rstore import Store, StoreIntegrityError
from tests.conftest import Backend, in_turn

SURROGATE = "a\ud800"
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


def nested(depth: int) -> list[Any]:
    """Return lists in lists, so deep."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


NOTES: list[tuple[Any, str]] = [
    (SURROGATE, r"can't have lone surrogates: 'a\\ud800'"),
    ({SURROGATE: 1}, "can't have lone surrogates"),
    (CIRCLE, "Circular reference"),
    (nested(10**5), "nested too deeply"),
    (math.nan, "no JSON for the value"),
    ([math.inf], "no JSON for the value"),
    ({1, 2}, "set is not JSON serializable"),
    (Decimal("1.5"), "Decimal is not JSON serializable"),
    ({(1, 2): 3}, "keys must be str"),
    (10**5000, "4300 digits"),
]


@in_turn(("value", "message"), NOTES)
def test_a_note_that_json_can_not_hold_is_told_with_its_word(store: Store, value: Any, message: str) -> None:
    for word in ("who", "why", "ticket"):
        with (
            pytest.raises((TypeError, ValueError), match=rf"context\({word}=...\): .*{message}") as told,
            store.context(**{"reason": "fine", word: value}),
        ):
            store["k"] = 1
        assert type(told.value) in (TypeError, ValueError)
    assert list(store.log()) == []


def test_a_word_of_a_note_is_no_lone_surrogate(store: Store) -> None:
    with pytest.raises(ValueError, match="lone surrogates"), store.context(**{SURROGATE: 1}):
        store["k"] = 1
    assert list(store.log()) == []


def test_an_inner_note_that_is_refused_leaves_the_outer_one(store: Store) -> None:
    with store.context(who="ada"):
        with pytest.raises(ValueError, match="why"), store.context(why=SURROGATE):
            pass
        store["k"] = 1
    (change,) = store.log()
    assert (change.who, change.why) == ("ada", None)


@in_turn(
    ("start", "op", "value"),
    [
        (Decimal(1), operator.truediv, Decimal(0)),
        (Decimal("sNaN"), operator.lt, Decimal(1)),
        (Decimal("1e999999"), operator.mul, Decimal("1e999999")),
        (Decimal(0), operator.pow, Decimal(0)),
        (1, operator.lshift, -1),
        (1.5, operator.pow, 10**400),
        ("a", operator.mod, 5),
        ([1], operator.add, None),
    ],
)
def test_an_operator_that_fails_is_told_with_item_operator_and_time(
    store: Store, start: Any, op: Callable[..., Any], value: Any
) -> None:
    when = (store.current("k", withtimestamp=True) or (0, {}))[0] or 0
    store.apply("k", {"n": start}, t=when + 1)
    with pytest.raises(StoreIntegrityError, match=rf"operator\.{op.__name__}_? fails on item 'n' at time {when + 2}: "):
        store.apply("k", {"n": (op, value)}, t=when + 2)
    assert (store.current("k", withtimestamp=True) or ())[0] == when + 1


@in_turn("great", [2**63, -(2**63) - 1, 10**5000, -(10**5000)])
def test_a_number_beyond_64_bits_is_told_as_such(store: Store, great: int) -> None:
    calls = (
        lambda: store.at(great),
        lambda: store.extend("k", (great, 1)),
        lambda: store.apply("k", {"n": 1}, t=great),
        lambda: store.range("k", great),
        lambda: store.set("k", 1, expect=great),
    )
    for call in calls:
        with pytest.raises(OverflowError, match="must fit in signed 64 bits"):
            call()
    assert list(store.log()) == []


def test_a_kind_of_another_type_is_told_with_those_that_there_are(store: Store) -> None:
    calls = (
        lambda kind: store.version("k", kind),
        lambda kind: store.history("k", kind),
        lambda kind: store.log(kind=kind),
        lambda kind: store.diff("k", 0, 1, kind),
        lambda kind: store.revert("k", 0, kind),
        lambda kind: store.update_with("k", len, kind=kind),
    )
    for call in calls:
        for wrong in ([], {}, 5, "KV"):
            with pytest.raises(ValueError, match=r"kind is one of kv, .*, not "):
                call(wrong)


def test_how_often_something_is_tried_is_a_number(store: Store) -> None:
    for call in (lambda: store.transact(len, "often"), lambda: store.update_with("k", len, retries="often")):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="attempts must be an int, not str"):
        store.transact(len, "often")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="retries must be an int, not str"):
        store.update_with("k", len, retries="often")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [[], {}, 5])
def test_how_to_resample_is_one_of_those_that_there_are(store: Store, how: Any) -> None:
    store.extend("k", (1, 1))
    with pytest.raises(ValueError, match="how is one of first, "):
        store.resample("k", 10, how)


@pytest.mark.parametrize("to", ["pandas", "polars", "arrow"])
def test_texts_that_no_frame_can_hold_are_told_as_such(store: Store, to: str) -> None:
    store.extend("k", (1, SURROGATE), (2, "b"))
    with pytest.raises(ValueError, match=f"{to} has no type for a text with lone surrogates: leave out to="):
        store.range("k", to=to)
    assert store.range("k") == [(1, SURROGATE), (2, "b")]


def test_numbers_that_can_not_be_added_up_are_told_by_their_column(store: Store) -> None:
    store.extend("k", (1, {"price": Decimal("Infinity")}), (2, {"price": Decimal("-Infinity")}))
    with pytest.raises(TypeError, match=r"values of column 'price' are no numbers \(InvalidOperation\): resample"):
        store.resample("k", 10, "sum")


DSNS: list[str] = [
    "a\ud800.db",
    "sqlite://a\ud800.db",
    "postgresql://localhost/\ud800",
    "redis://host\ud800/0",
    "redis+cluster://\ud800",
    "memory://\ud800",
]


@in_turn("dsn", DSNS)
def test_a_dsn_with_lone_surrogates_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="can't have lone surrogates") as told:
        Store(dsn)
    assert type(told.value) is ValueError
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_no_utf8_is_a_name_like_any_other(tmp_path: Path) -> None:
    with Store(tmp_path / "a\udcff.db", frozen=False) as store:
        store["k"] = 1
    with Store(tmp_path / "a\udcff.db") as store:
        assert store["k"] == 1


def test_a_backup_under_a_name_that_no_file_has_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        with pytest.raises(ValueError, match="a file name can't have lone surrogates"):
            store.backup(tmp_path / "b\ud800.db")
        store.backup(tmp_path / "c\udcff.db")
    with Store(tmp_path / "c\udcff.db") as copy:
        assert not list(copy)


@pytest.mark.parametrize("key", [5, 1.5, object()])
def test_a_key_of_another_type_is_told_as_such(key: Any) -> None:
    with pytest.raises(TypeError, match="a key must be str or bytes, not "):
        Store("memory://", key=key)


def test_a_state_that_can_not_be_copied_is_told_with_its_item(backend: Backend) -> None:
    store = backend.store()
    with pytest.raises(RuntimeError) as told:
        store.apply("k", {"fine": 1, "wrong": Uncopyable()})
    assert told.value.__notes__ == ["rstore: while copying the value of item 'wrong'"]
    assert list(store.log()) == []


class Uncopyable:
    def __deepcopy__(self, memo: object) -> Uncopyable:
        raise RuntimeError("not to be copied")
