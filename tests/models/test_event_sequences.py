"""Event sequences: dicts whose every change is an event."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Event, FrozenStoreError, JsonStore, MsgpackStore, Store, StoreConflictError, StoreIntegrityError
from rstore.admin.check import check
from rstore.domain.operators import OPERATORS, update_in
from rstore.domain.typed_operators import TYPED_OPERATORS
from tests.conftest import Backend, case, in_turn

TIME_MIN, TIME_MAX = -(2**63), 2**63 - 1
NOON = 1_704_110_400_000
"""2024-01-01 12:00 UTC in POSIX milliseconds."""


class Index:
    """An integer that is no int, as those of numpy are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value})"


@pytest.fixture
def clock() -> Iterator[Any]:
    """Noon, for as long as nobody moves the clock."""
    with freeze_time("2024-01-01 12:00:00", ignore=["_pytest"]) as clock:
        yield clock


# -- the example of the README ----------------------------------------------------------------------------------------


def tell_the_example(es: Store) -> tuple[int, int]:
    """Run the example word for word and return its two timestamps."""
    es.apply("some_dict", {"item": 1})  # op defaults to operator.setitem
    es.apply("some_dict", {"item": (operator.add, 1)})
    events = es.events("some_dict")
    assert events is not None
    timestamp, later = [event.timestamp for event in events]
    assert events == [(timestamp, "item", operator.setitem, 1), (later, "item", operator.add, 1)]
    assert es.current("some_dict") == {"item": 2}
    es.prune("some_dict", remove=True)
    assert es.current("some_dict") == {"item": 2}
    return timestamp, later


def test_the_example_holds(store: Store) -> None:
    timestamp, later = tell_the_example(store)

    assert timestamp < later


def test_the_example_holds_while_the_clock_stands_still(store: Store, clock: Any) -> None:
    assert tell_the_example(store) == (NOON, NOON + 1)


def test_the_clock_may_be_set_back(store: Store, clock: Any) -> None:
    store.apply("some_dict", {"item": 1})
    clock.move_to("1999-01-01")
    store.apply("some_dict", {"item": (operator.add, 1)})
    clock.move_to("1969-07-20")
    store.apply("some_dict", {"item": (operator.add, 1)})

    assert store.events("some_dict") == [
        (NOON, "item", operator.setitem, 1),
        (NOON + 1, "item", operator.add, 1),
        (NOON + 2, "item", operator.add, 1),
    ]
    assert store.current("some_dict", withtimestamp=True) == (NOON + 2, {"item": 3})


def test_timestamps_are_those_of_the_clock_when_it_runs(store: Store, clock: Any) -> None:
    store.apply("some_dict", {"item": 1})
    clock.tick(timedelta(seconds=5))
    store.apply("some_dict", {"item": 2})

    assert store.events("some_dict") == [
        (NOON, "item", operator.setitem, 1),
        (NOON + 5000, "item", operator.setitem, 2),
    ]


def test_timestamps_increase_for_each_key_and_for_each_store(backend: Backend, key: str | None, clock: Any) -> None:
    one, other = backend.store(key=key), backend.store(key=key)
    for store in (one, other, one, other):
        store.apply("shared", {"n": 0})
    other.apply("another", {"n": 0})

    assert [event.timestamp for event in one.events("shared") or ()] == [NOON, NOON + 1, NOON + 2, NOON + 3]
    assert [event.timestamp for event in one.events("another") or ()] == [NOON]


def test_automatic_timestamps_come_after_explicit_ones(store: Store, clock: Any) -> None:
    store.apply("planned", {"n": 1}, t=NOON + 10_000)
    store.apply("planned", {"n": 2})

    assert store.current("planned", withtimestamp=True) == (NOON + 10_001, {"n": 2})


def test_after_the_end_of_time_there_is_no_automatic_timestamp(store: Store) -> None:
    store.apply("eternal", {"n": 1}, t=TIME_MAX)

    with pytest.raises(OverflowError):
        store.apply("eternal", {"n": 2})
    store.apply("eternal", {"n": 0}, t=TIME_MIN)

    assert store.events("eternal") == [(TIME_MIN, "n", operator.setitem, 0), (TIME_MAX, "n", operator.setitem, 1)]
    assert store.past("eternal", TIME_MAX - 1) == {"n": 0}
    assert store.current("eternal") == {"n": 1}


# -- apply ------------------------------------------------------------------------------------------------------------


def test_apply_returns_the_current_state(store: Store) -> None:
    assert store.apply("account", {"owner": "Ada", "balance": 10}) == {"owner": "Ada", "balance": 10}
    assert store.apply("account", {"balance": (operator.add, 5)}) == {"owner": "Ada", "balance": 15}
    assert store.apply("account", {"owner": (operator.delitem, None)}) == {"balance": 15}
    assert store.apply("account", {"balance": (operator.neg, None), "open": True}) == {"balance": -15, "open": True}
    assert store.current("account") == {"balance": -15, "open": True}


def test_the_changes_of_one_apply_share_a_timestamp(store: Store) -> None:
    store.apply("account", {"b": 1, "a": (operator.setitem, 2)}, t=5)

    assert sorted(store.events("account") or ()) == [(5, "a", operator.setitem, 2), (5, "b", operator.setitem, 1)]


def test_nothing_applied_is_nothing_stored(store: Store) -> None:
    assert store.apply("empty", {}) is None
    assert store.apply("empty", {}, t=5, expect=0, once="token") is None
    assert store.update_with("empty", lambda state: state, kind="es") is None
    with store.transaction():
        assert store.apply("empty", {}) is None
    assert store.eventsources() == []
    assert store.current("empty") is None

    store.apply("account", {"n": 1}, t=1)
    assert store.apply("account", {}) == {"n": 1}
    assert len(store.events("account") or ()) == 1
    assert store.apply("account", {"n": (operator.delitem, None)}) == store.apply("account", {}) == {}


def test_nothing_can_be_applied_neither_to_the_past_nor_to_a_frozen_store(backend: Backend) -> None:
    store = backend.store()
    store.apply("account", {"n": 1}, t=1)
    for reader in (store.at(TIME_MAX), backend.store(frozen=True)):
        with pytest.raises(FrozenStoreError):
            reader.apply("empty", {})


@pytest.mark.parametrize("cls", [JsonStore, MsgpackStore])
def test_nothing_applied_to_an_unknown_key_is_none_in_every_serializer(backend: Backend, cls: type[Store]) -> None:
    assert backend.store(cls).apply("empty", {}) is None


def test_values_of_all_kinds_can_be_items(store: Store) -> None:
    state = {
        "none": None,
        "": "",
        "tuple": (1, 2),
        "empty": (),
        "list": [()],
        "dict": {1: {2}},
        "bytes": b"\0",
        "f": 1.5,
    }

    assert store.apply("kinds", state) == state
    assert store.current("kinds") == state
    assert {event.item: event.value for event in store.events("kinds") or ()} == state
    assert store.past("kinds", TIME_MAX) == state


def test_a_tuple_is_a_value_unless_a_function_comes_first(store: Store) -> None:
    store.apply("tuples", {"pair": (1, operator.add), "packed": (operator.setitem, (operator.add, 1))})

    assert store.current("tuples") == {"pair": (1, operator.add), "packed": (operator.add, 1)}


def test_late_events_take_their_place_in_history(store: Store) -> None:
    store.apply("log", {"n": 1}, t=10)
    store.apply("log", {"n": (operator.add, 5)}, t=30)

    assert store.apply("log", {"n": (operator.mul, 10)}, t=20) == {"n": 15}
    assert store.apply("log", {"n": 7, "m": 0}, t=5) == {"n": 15, "m": 0}

    assert store.current("log", withtimestamp=True) == (30, {"n": 15, "m": 0})
    assert [(event.timestamp, event.op) for event in store.events("log", item="n") or ()] == [
        (5, operator.setitem),
        (10, operator.setitem),
        (20, operator.mul),
        (30, operator.add),
    ]
    assert store.past("log", 9) == {"n": 7, "m": 0}
    assert store.past("log", 10) == {"n": 1, "m": 0}
    assert store.past("log", 29) == {"n": 10, "m": 0}
    assert store.apply("log", {"n": (operator.add, 1)}, t=31) == {"n": 16, "m": 0}


@pytest.mark.parametrize("t", [10, 20, 30])
def test_an_item_changes_once_at_a_time(store: Store, t: int) -> None:
    for time in (10, 20, 30):
        store.apply("log", {"n": time}, t=time)

    with pytest.raises(StoreIntegrityError, match=rf"'n' of 'log'.*\b{t}\b"):
        store.apply("log", {"other": 1, "n": 1}, t=t)

    assert store.current("log") == {"n": 30}
    assert len(store.events("log") or ()) == 3
    store.apply("another", {"n": 1}, t=t)


@pytest.mark.parametrize("t", [10, 20, 30])
def test_different_items_may_change_at_one_time_one_after_the_other(store: Store, t: int) -> None:
    for time in (10, 20, 30):
        store.apply("log", {"n": time}, t=time)

    assert store.apply("log", {"other": 1}, t=t) == {"n": 30, "other": 1}

    assert store.past("log", t - 1) == (None if t == 10 else {"n": t - 10})
    assert store.past("log", t) == {"n": t, "other": 1}
    assert [event.item for event in store.events("log", t, t) or ()] == ["n", "other"]
    with pytest.raises(StoreIntegrityError, match=rf"'other' of 'log'.*\b{t}\b"):
        store.apply("log", {"other": 2}, t=t)


@pytest.mark.parametrize("t", [TIME_MIN, TIME_MAX])
def test_different_items_may_change_at_the_ends_of_time(store: Store, t: int) -> None:
    store.apply("log", {"a": 1}, t=t)
    assert store.apply("log", {"b": 2}, t=t) == {"a": 1, "b": 2}
    assert store.past("log", t) == {"a": 1, "b": 2}


def test_an_import_with_many_events_in_a_millisecond_is_folded_from_its_snapshots(backend: Backend) -> None:
    store = backend.store()
    for n in range(600):  # snapshots are made along the way, between events of one time
        store.apply("log", {f"item {n}": n}, t=n // 200)

    fresh = backend.store()
    assert fresh.current("log") == {f"item {n}": n for n in range(600)}
    for t in range(3):
        assert fresh.past("log", t) == {f"item {n}": n for n in range(200 * (t + 1))}
    assert fresh.apply("log", {"late": 1}, t=1) == {**{f"item {n}": n for n in range(600)}, "late": 1}
    assert backend.store().past("log", 1) == {**{f"item {n}": n for n in range(400)}, "late": 1}
    assert list(check(fresh)) == []


def test_a_timestamp_is_used_once_also_by_another_store(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)
    one.apply("log", {"n": 1}, t=10)
    other.apply("log", {"n": 2}, t=20)

    for t in (10, 20):
        with pytest.raises(StoreIntegrityError):
            one.apply("log", {"n": 3}, t=t)

    assert one.current("log") == {"n": 2}


FAILING = {
    "add to a missing item": ({"x": (operator.add, 1)}, "x", "add"),
    "delete a missing item": ({"x": (operator.delitem, None)}, "x", "delitem"),
    "negate a missing item": ({"x": (operator.neg, None)}, "x", "neg"),
    "wrong types": ({"text": (operator.add, 1)}, "text", "add"),
    "division by zero": ({"n": (operator.truediv, 0)}, "n", "truediv"),
    "negative shift": ({"n": (operator.lshift, -1)}, "n", "lshift"),
    "one of several": ({"n": 5, "new": 6, "x": (operator.sub, 1), "more": 7}, "x", "sub"),
}


@in_turn("bad", FAILING)
def test_an_operator_that_fails_names_item_op_and_time_and_stores_nothing(store: Store, bad: str) -> None:
    changes, item, op = FAILING[bad]
    store.apply(bad, {"n": 1, "text": "a"}, t=10)

    for t in (20, 15, 11):
        with pytest.raises(StoreIntegrityError, match=rf"(?s)(?=.*\b{op}\b)(?=.*'{item}')(?=.*\b{t}\b)"):
            store.apply(bad, changes, t=t)
    with pytest.raises(StoreIntegrityError, match=rf"(?s)(?=.*\b{op}\b)(?=.*'{item}')"):
        store.apply(bad, changes)

    assert store.current(bad, withtimestamp=True) == (10, {"n": 1, "text": "a"})
    assert len(store.events(bad) or ()) == 2


def test_a_first_event_that_fails_makes_no_key(store: Store) -> None:
    with pytest.raises(StoreIntegrityError, match="add"):
        store.apply("new", {"good": 1, "x": (operator.add, 1)}, t=7)

    assert store.eventsources() == []
    assert store.current("new") is None
    assert store.events("new") is None


@pytest.mark.parametrize(
    "late",
    [{"n": "text"}, {"n": (operator.delitem, None)}, {"m": 0, "n": None}],
    ids=["other type", "deleted", "among others"],
)
def test_a_late_event_must_not_break_what_came_after_it(store: Store, late: dict[str, Any]) -> None:
    store.apply("log", {"n": 1}, t=10)
    store.apply("log", {"other": 1}, t=25)
    store.apply("log", {"n": (operator.add, 1)}, t=30)

    with pytest.raises(StoreIntegrityError, match=r"(?s)(?=.*\badd\b)(?=.*'n')(?=.*\b30\b)"):
        store.apply("log", late, t=20)

    assert store.current("log") == {"n": 2, "other": 1}
    assert len(store.events("log") or ()) == 3
    assert store.past("log", 29) == {"n": 1, "other": 1}


# -- operators --------------------------------------------------------------------------------------------------------


class Matrix(int):
    """What knows ``@``."""

    def __matmul__(self, other: int) -> str:
        return f"{int(self)} @ {other}"


BINARY: dict[Callable[..., Any], tuple[Any, Any]] = {
    operator.add: (7, 2),
    operator.sub: (7, 2),
    operator.mul: ("ab", 2),
    operator.truediv: (7, 2),
    operator.floordiv: (7, 2),
    operator.mod: (7, 2),
    operator.pow: (7, 2),
    operator.matmul: (Matrix(7), 2),
    operator.and_: ({1, 2}, {2, 3}),
    operator.or_: ({"a": 1, "b": 1}, {"b": 2}),
    operator.xor: (7, 2),
    operator.lshift: (7, 2),
    operator.rshift: (7, 2),
    operator.concat: ([1], [2]),
    operator.eq: (7, 2),
    operator.ne: (7, 2),
    operator.lt: (7, 2),
    operator.le: (7, 2),
    operator.gt: (7, 2),
    operator.ge: (7, 2),
}
UNARY: dict[Callable[..., Any], Any] = {
    operator.neg: 7,
    operator.pos: -7,
    operator.abs: -7,
    operator.not_: 7,
    operator.truth: "x",
    operator.invert: 7,
    operator.inv: 7,
}


@pytest.fixture
def reader(store: Store, backend: Backend, key: str | None) -> Store:
    """Another store on the same data."""
    return backend.store(key=key)


@in_turn("op", BINARY)
def test_a_binary_operator_combines_the_item_with_a_value(store: Store, reader: Store, op: Any) -> None:
    name, (old, value) = op.__name__, BINARY[op]
    expected = op(old, value)

    store.apply(name, {"item": old}, t=1)
    assert store.apply(name, {"item": (op, value)}, t=2) == {"item": expected}

    assert store.events(name, ops=op) == [(2, "item", op, value)]
    assert reader.current(name) == {"item": expected}
    assert store.past(name, 1) == {"item": old}


@in_turn("op", UNARY)
def test_a_unary_operator_changes_the_item_and_has_no_value(store: Store, reader: Store, op: Any) -> None:
    name, old = op.__name__, UNARY[op]

    store.apply(name, {"item": old}, t=1)
    assert store.apply(name, {"item": (op, None)}, t=2) == {"item": op(old)}

    assert store.events(name, ops=op) == [(2, "item", op, None)]
    assert reader.current(name) == {"item": op(old)}


def test_delitem_takes_an_item_away(store: Store) -> None:
    store.apply("log", {"item": 1, "other": 2}, t=1)

    assert store.apply("log", {"item": (operator.delitem, None)}, t=2) == {"other": 2}
    assert store.apply("log", {"other": (operator.delitem, None)}, t=3) == {}

    assert store.current("log") == {}
    assert store.current("log", withtimestamp=True) == (3, {})
    assert store.eventsources() == ["log"]
    assert (store.events("log") or [])[-1] == (3, "other", operator.delitem, None)
    assert store.apply("log", {"item": 5}, t=4) == {"item": 5}


OF_TEXTS = frozenset(TYPED_OPERATORS)
"""Have tests of their own, in test_typed_operators.py."""


def test_every_operator_has_been_tried() -> None:
    of_the_module = {row.function for name, row in OPERATORS.items() if row.function not in OF_TEXTS}
    assert of_the_module == {*BINARY, *UNARY, operator.setitem, operator.delitem, update_in}


UNKNOWN: dict[str, Any] = {
    "in place": operator.iadd,
    "a call": operator.call,
    "a getter": operator.itemgetter("x"),
    "a builtin": print,
    "a class": int,
    "a function": lambda old, new: new,
    "a method": str.upper,
}


@in_turn("unknown", UNKNOWN)
def test_an_unknown_operator_is_a_type_error_that_lists_the_known(store: Store, unknown: str) -> None:
    store.apply(unknown, {"x": 1}, t=1)

    with pytest.raises(TypeError) as caught:
        store.apply(unknown, {"good": 1, "x": (UNKNOWN[unknown], 1)})

    of_the_module = {name for name, row in OPERATORS.items() if row.function not in OF_TEXTS}
    assert of_the_module <= {*str(caught.value).replace(",", " ").replace("operator.", " ").split()}
    assert store.current(unknown, withtimestamp=True) == (1, {"x": 1})


@in_turn("op", [operator.neg, operator.add, operator.setitem, operator.delitem])
def test_a_bare_operator_is_a_type_error_that_shows_how_it_is_written(store: Store, op: Any) -> None:
    store.apply(op.__name__, {"x": 1}, t=1)

    with pytest.raises(TypeError, match=rf"'x'.*\(operator\.{op.__name__}, "):
        store.apply(op.__name__, {"x": op})

    assert store.current(op.__name__) == {"x": 1}


@in_turn("change", [(operator.add,), (operator.add, 1, 2), (operator.neg,), (operator.neg, 1)])
def test_an_operator_comes_with_exactly_the_value_it_needs(store: Store, change: Any) -> None:
    store.apply(repr(change), {"x": 1}, t=1)

    with pytest.raises(TypeError, match="'x'"):
        store.apply(repr(change), {"x": change})

    assert store.current(repr(change)) == {"x": 1}


# -- events -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def story(store: Store) -> Store:
    store.apply("story", {"a": 1}, t=10)
    store.apply("story", {"a": (operator.add, 2), "b": "x"}, t=20)
    store.apply("story", {"b": (operator.delitem, None)}, t=30)
    store.apply("story", {"a": (operator.neg, None)}, t=40)
    return store


@in_turn(
    ("filters", "expected"),
    [
        ({}, "10a 20a 20b 30b 40a"),
        ({"start": 20}, "20a 20b 30b 40a"),
        ({"start": 21}, "30b 40a"),
        ({"end": 20}, "10a 20a 20b"),
        ({"end": 19}, "10a"),
        ({"start": 20, "end": 20}, "20a 20b"),
        ({"start": 30, "end": 20}, ""),
        ({"start": 41}, ""),
        ({"start": Index(40)}, "40a"),
        ({"item": "a"}, "10a 20a 40a"),
        ({"item": "b"}, "20b 30b"),
        ({"item": "c"}, ""),
        ({"item": ""}, ""),
        ({"ops": operator.setitem}, "10a 20b"),
        ({"ops": [operator.neg, operator.delitem]}, "30b 40a"),
        ({"ops": {operator.add}}, "20a"),
        ({"ops": (operator.sub,)}, ""),
        ({"ops": []}, ""),
        ({"ops": operator.setitem, "item": "b", "start": 5, "end": 25}, "20b"),
        ({"ops": operator.setitem, "item": "b", "start": 21}, ""),
    ],
)
def test_events_returns_those_asked_for(story: Store, filters: dict[str, Any], expected: str) -> None:
    events = story.events("story", **filters)

    assert isinstance(events, list)
    assert sorted(f"{event.timestamp}{event.item}" for event in events) == expected.split()
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)


def test_an_event_is_a_named_tuple(story: Store) -> None:
    events = story.events("story", 40)

    assert events == [Event(timestamp=40, item="a", op=operator.neg, value=None)]
    assert isinstance(events[0], tuple)
    assert tuple(events[0]) == (40, "a", operator.neg, None)


def test_events_wants_operators_of_the_table(story: Store) -> None:
    for ops in (operator.iadd, [operator.add, print], "add", 5):
        with pytest.raises(TypeError, match="setitem"):
            story.events("story", ops=ops)


def test_event_sources_are_listed_in_code_point_order(store: Store) -> None:
    keys = ["b", "a", "é", "\U0001f600", "\uffff", "", "aa", "B"]
    for name in keys:
        store.apply(name, {"n": 1})
    store["value"] = 1
    store.extend("series", (1, 1))

    assert store.eventsources() == sorted(keys)
    assert store.eventsequences() == sorted(keys)


def test_an_unknown_key_has_neither_present_nor_past(store: Store) -> None:
    store["value"] = 1
    store.extend("series", (1, 1))

    for name in ("unknown", "value", "series"):
        assert store.current(name) is None
        assert store.current(name, withtimestamp=True) is None
        assert store.past(name, 5) is None
        assert store.past(name, 5, withtimestamp=True) is None
        assert store.events(name) is None
        assert store.events(name, start=1, end=2, ops=operator.add, item="x") is None
        store.prune(name)
    assert store.eventsources() == []


# -- past -------------------------------------------------------------------------------------------------------------


def test_past_tells_what_was_true_then(story: Store) -> None:
    assert story.past("story", 9) is None
    assert story.past("story", 10) == {"a": 1}
    assert story.past("story", 19) == {"a": 1}
    assert story.past("story", 20) == {"a": 3, "b": "x"}
    assert story.past("story", 30) == {"a": 3}
    assert story.past("story", 40) == story.past("story", TIME_MAX) == story.current("story") == {"a": -3}
    assert story.past("story", TIME_MIN) is None
    assert story.past("story", Index(20)) == {"a": 3, "b": "x"}  # type: ignore[arg-type]


def test_withtimestamp_tells_since_when_it_is_true(story: Store) -> None:
    assert story.past("story", 9, withtimestamp=True) is None
    assert story.past("story", 19, withtimestamp=True) == (10, {"a": 1})
    assert story.past("story", 39, True) == (30, {"a": 3})
    assert story.current("story", withtimestamp=True) == (40, {"a": -3})
    assert story.current("story", True) == (40, {"a": -3})


# -- timestamps -------------------------------------------------------------------------------------------------------


def test_event_times_reach_over_64_bits(store: Store) -> None:
    times = [0, TIME_MAX - 1, TIME_MIN, -1, TIME_MIN + 1, 1]
    for t in times:
        store.apply("log", {"n": t}, t=t)

    assert [event.timestamp for event in store.events("log") or ()] == sorted(times)
    assert store.events("log", start=TIME_MAX - 1) == [(TIME_MAX - 1, "n", operator.setitem, TIME_MAX - 1)]
    assert store.events("log", end=TIME_MIN) == [(TIME_MIN, "n", operator.setitem, TIME_MIN)]
    assert store.past("log", -1) == {"n": -1}
    assert store.past("log", TIME_MIN) == {"n": TIME_MIN}
    assert store.current("log") == {"n": TIME_MAX - 1}


def test_an_index_is_a_timestamp_too(store: Store) -> None:
    store.apply("log", {"n": 1}, t=Index(5))  # type: ignore[arg-type]

    assert store.events("log") == [(5, "n", operator.setitem, 1)]
    assert type((store.events("log") or [])[0].timestamp) is int


TIMED_CALLS: dict[str, Callable[[Store, Any], Any]] = {
    "apply": lambda store, t: store.apply("log", {"n": 2}, t=t),
    "past": lambda store, t: store.past("log", t),
    "events start": lambda store, t: store.events("log", start=t),
    "events end": lambda store, t: store.events("log", end=t),
}


def test_a_time_is_an_int_of_64_bits_everywhere(store: Store) -> None:
    store.apply("log", {"n": 1}, t=1)

    for name, call in TIMED_CALLS.items():
        for t in (1.0, True, b"1", 1j, int):
            with case(name, t), pytest.raises(TypeError):
                call(store, t)
        with case(name), pytest.raises(ValueError, match="'1' is no time"):
            call(store, "1")
        for t in (2**63, -(2**63) - 1, 2**100, Index(2**63)):
            with case(name, t), pytest.raises(OverflowError, match="64 bits"):
                call(store, t)

    assert store.events("log") == [(1, "n", operator.setitem, 1)]


# -- no aliases -------------------------------------------------------------------------------------------------------


def test_states_handed_out_are_nobody_elses(store: Store) -> None:
    def spoil(state: dict[str, Any]) -> None:
        state["list"].append("spoilt")
        state["dict"]["list"].append("spoilt")
        state["more"] = "spoilt"

    mine: dict[str, Any] = {"list": [1], "dict": {"list": [2]}}
    expected: dict[str, Any] = {"list": [1], "dict": {"list": [2]}, "n": 1}
    spoil(store.apply("log", mine, t=1))
    spoil(mine)
    spoil(store.apply("log", {"n": 0}, t=2))
    spoil(store.apply("log", {"n": (operator.add, 1)}, t=3))
    spoil(store.apply("log", {}))
    spoil(store.current("log"))
    spoil(store.current("log", withtimestamp=True)[1])
    spoil(store.past("log", 3))
    spoil(store.past("log", TIME_MAX, withtimestamp=True)[1])
    for event in store.events("log", item="list") or ():
        event.value.append("spoilt")
    store.current("log").clear()

    assert store.current("log") == expected
    assert store.past("log", 1) == {"list": [1], "dict": {"list": [2]}}
    assert store.apply("log", {"list": (operator.concat, [9])}) == {**expected, "list": [1, 9]}


def test_operands_stay_their_givers(store: Store) -> None:
    operand = [[2]]
    store.apply("log", {"list": [[1]]})
    store.apply("log", {"list": (operator.add, operand)})
    operand[0].append("spoilt")

    assert store.current("log") == {"list": [[1], [2]]}


# -- prune ------------------------------------------------------------------------------------------------------------


def shown(store: Store, name: str) -> str:
    """Return the events of a key as a short text."""
    return " ".join(f"{event.timestamp}{event.item}:{event.op.__name__}" for event in store.events(name) or ())


def test_prune_drops_what_no_longer_contributes(store: Store) -> None:
    store.apply("log", {"a": 1, "b": 1, "c": 1}, t=1)
    store.apply("log", {"a": (operator.add, 1)}, t=2)
    store.apply("log", {"a": 5}, t=3)
    store.apply("log", {"a": (operator.add, 1), "c": (operator.delitem, None)}, t=4)
    store.apply("log", {"a": (operator.neg, None)}, t=5)
    store.apply("other", {"a": 1}, t=1)
    store.apply("other", {"a": 2}, t=2)

    saved = store.prune("log")

    assert saved.records == 4
    assert saved.bytes > 0
    assert store.current("log") == {"a": -6, "b": 1}
    assert shown(store, "log") == "1b:setitem 3a:setitem 4a:add 5a:neg"
    assert shown(store, "other") == "1a:setitem 2a:setitem"
    assert store.prune("log") == (0, 0)


def test_prune_goes_by_the_time_of_events_and_not_by_when_they_came(store: Store) -> None:
    store.apply("log", {"n": "new"}, t=20)
    store.apply("log", {"n": "old"}, t=10)
    store.apply("log", {"m": 1}, t=30)
    store.apply("log", {"m": (operator.delitem, None)}, t=40)
    store.apply("log", {"m": 2}, t=35)

    store.prune("log")

    assert shown(store, "log") == "20n:setitem"
    assert store.current("log") == {"n": "new"}


def test_an_item_that_came_back_keeps_its_new_life(store: Store) -> None:
    store.apply("log", {"n": 1}, t=1)
    store.apply("log", {"n": (operator.delitem, None)}, t=2)
    store.apply("log", {"n": 2}, t=3)

    assert store.prune("log").records == 2
    assert shown(store, "log") == "3n:setitem"


def test_prune_with_remove_takes_the_key_of_an_empty_state(store: Store) -> None:
    store.apply("log", {"n": 1}, t=1)
    store.apply("log", {"n": (operator.delitem, None)}, t=2)

    saved = store.prune("log", remove=True)

    assert saved.records == 2
    assert store.eventsources() == []
    assert store.current("log") is None
    assert store.past("log", 1) is None
    assert store.events("log") is None
    assert store.apply("log", {"n": 3}, t=1) == {"n": 3}
    assert store.eventsources() == ["log"]


def test_prune_without_remove_leaves_the_key_of_an_empty_state(store: Store) -> None:
    store.apply("log", {"n": 1}, t=1)
    store.apply("log", {"n": (operator.delitem, None)}, t=2)

    saved = store.prune("log", remove=False)

    assert saved.records == 2
    assert store.eventsources() == ["log"]
    assert store.current("log") == {}
    assert store.events("log") == []
    assert store.prune("log", remove=False) == (0, 0)
    assert store.apply("log", {"n": 3}) == {"n": 3}
    store.apply("log", {"n": (operator.delitem, None)})
    store.prune("log")
    assert store.eventsources() == []


def test_remove_is_the_default(store: Store) -> None:
    store.apply("log", {"n": 1})
    store.apply("log", {"n": (operator.delitem, None)})
    store.prune("log", remove=False)

    store.prune("log")

    assert store.eventsources() == []


def test_prune_takes_several_keys_and_passes_over_unknown_ones(store: Store) -> None:
    for name in "abc":
        for n in range(3):
            store.apply(name, {"n": n}, t=n)

    assert store.prune("a", "unknown", "b", "a").records == 4
    assert store.prune() == (0, 0)
    assert [shown(store, name) for name in "abc"] == ["2n:setitem", "2n:setitem", "0n:setitem 1n:setitem 2n:setitem"]


def test_life_goes_on_after_a_prune(store: Store, clock: Any) -> None:
    for n in range(5):
        store.apply("log", {"n": n})
    store.prune("log")

    assert store.apply("log", {"n": (operator.add, 10)}) == {"n": 14}
    assert shown(store, "log") == f"{NOON + 4}n:setitem {NOON + 5}n:add"
    assert store.apply("log", {"n": 0}, t=NOON + 2) == {"n": 14}


# -- several stores on the same data ----------------------------------------------------------------------------------


def test_stores_on_the_same_data_see_each_others_events(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)

    one.apply("log", {"n": 1}, t=10)
    assert other.current("log") == {"n": 1}
    other.apply("log", {"n": (operator.add, 1)}, t=30)
    assert one.current("log") == {"n": 2}
    one.apply("log", {"n": (operator.mul, 10)}, t=20)
    assert other.current("log") == {"n": 11}
    assert other.apply("log", {"n": (operator.add, 1)}, t=40) == {"n": 12}
    assert one.apply("log", {"n": (operator.add, 1)}, t=50) == {"n": 13}
    assert one.past("log", 30) == other.past("log", 30) == {"n": 11}


def test_stores_on_the_same_data_see_each_others_prunes(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)
    for n in range(5):
        one.apply("log", {"n": n, "m": n}, t=n)
    assert other.current("log") == {"n": 4, "m": 4}

    other.prune("log")
    assert one.current("log") == {"n": 4, "m": 4}
    assert shown(one, "log") == shown(other, "log") == "4n:setitem 4m:setitem"
    assert one.apply("log", {"n": (operator.add, 1)}, t=5) == {"n": 5, "m": 4}
    assert one.apply("log", {"m": 9}, t=2) == {"n": 5, "m": 4}

    one.apply("log", {"n": (operator.delitem, None), "m": (operator.delitem, None)}, t=6)
    assert other.current("log") == {}
    one.prune("log")
    assert other.current("log") is None
    assert other.eventsources() == []
    with pytest.raises(StoreIntegrityError, match="add"):
        other.apply("log", {"n": (operator.add, 1)})
    assert other.apply("log", {"n": 1}, t=1) == {"n": 1}
    assert one.current("log", withtimestamp=True) == (1, {"n": 1})


def test_stores_on_the_same_data_see_each_others_discard(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)
    one.apply("log", {"n": 1}, t=1)
    assert other.current("log") == {"n": 1}

    one.discard()
    assert other.current("log") is None
    one.apply("log", {"m": 2}, t=2)
    assert other.current("log") == {"m": 2}
    assert other.apply("log", {"m": (operator.add, 1)}, t=3) == {"m": 3}


# -- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Store, JsonStore])
def test_snapshots_are_invisible(backend: Backend, key: str | None, cls: type[Store]) -> None:
    """1200 events, over several reopenings, with late ones and a prune among them: never a difference to a dict."""
    states: dict[int, dict[str, Any]] = {-1: {}}
    total = 0
    for part in range(4):
        store = backend.store(cls, key=key)
        for t in range(part * 3000, part * 3000 + 3000, 10):
            total += t
            change = {f"item {t % 70}": t, "total": (operator.add, t) if t else 0}
            states[t] = {**states[max(states)], f"item {t % 70}": t, "total": total}
            assert store.apply("long", change, t=t) == states[t]
    last = max(states)

    assert backend.store(cls, key=key).current("long", withtimestamp=True) == (last, states[last])
    assert len(store.events("long") or ()) == 2400
    assert store.eventsources() == ["long"]
    for reader in (store, backend.store(cls, key=key)):
        for t in (0, 9, 2550, 2555, 2560, 2570, 5120, 7000, 11_985, last):
            assert reader.past("long", t, withtimestamp=True) == (t // 10 * 10, states[t // 10 * 10])

    assert store.apply("long", {"total": (operator.add, 1), "late": True}, t=2555) == {
        **states[last],
        "total": total + 1,
        "late": True,
    }
    for reader in (store, backend.store(cls, key=key)):
        assert reader.current("long") == {**states[last], "total": total + 1, "late": True}
        assert reader.past("long", 2554) == states[2550]
        assert reader.past("long", 2560) == {**states[2560], "total": states[2560]["total"] + 1, "late": True}
        assert reader.past("long", 9000) == {**states[9000], "total": states[9000]["total"] + 1, "late": True}
        with pytest.raises(StoreIntegrityError):
            reader.apply("long", {"total": 1}, t=2560)
        with pytest.raises(StoreIntegrityError, match=r"'total'.*\b3000\b"):
            reader.apply("long", {"total": "text"}, t=2995)

    store.prune("long")
    for reader in (store, backend.store(cls, key=key)):
        assert reader.current("long") == {**states[last], "total": total + 1, "late": True}
        assert len(reader.events("long", item="total") or ()) == 1201
        assert len(reader.events("long", item="item 0") or ()) == 1
    assert store.apply("long", {"total": (operator.delitem, None)})["late"] is True
    store.prune("long")
    assert "total" not in backend.store(cls, key=key).current("long")


def test_a_snapshot_is_made_of_many_changes_at_once_too(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    big = {f"item {i}": i for i in range(2000)}
    store.apply("big", big, t=1)
    for t in range(2, 10):
        store.apply("big", {"item 0": (operator.add, 1)}, t=t)

    for reader in (store, backend.store(key=key)):
        assert reader.current("big") == {**big, "item 0": 8}
        assert reader.past("big", 5) == {**big, "item 0": 4}
        assert reader.past("big", 1) == big
        assert reader.keys() == []
        assert reader.eventsources() == ["big"]


# -- delete -----------------------------------------------------------------------------------------------------------


def test_a_deleted_sequence_is_as_unknown_and_its_past_stays(store: Store, clock: Any) -> None:
    store.apply("account", {"owner": "Ada", "balance": 10})
    store.apply("other", {"n": 1})
    before = store.at(NOON)
    clock.tick(timedelta(seconds=1))
    with store.context(who="ada", why="closed"):
        store.delete_events("account")

    assert store.current("account") is store.current("account", withtimestamp=True) is None
    assert store.past("account", NOON + 1000) is store.past("account", TIME_MAX) is None
    assert store.past("account", NOON + 999) == {"owner": "Ada", "balance": 10}
    assert store.eventsources() == ["other"]
    assert before.current("account") == {"owner": "Ada", "balance": 10}
    assert before.eventsources() == ["account", "other"]
    assert store.at(NOON + 1000).current("account") is None
    assert store.at(NOON + 1000).eventsources() == ["other"]
    assert store.diff("account", NOON, TIME_MAX).removed == {"owner": "Ada", "balance": 10}
    assert list(check(store)) == []

    told = store.history("account")[2:]
    assert [(change.op, change.item, change.value, change.who, change.why) for change in told] == [
        ("delitem", "owner", None, "ada", "closed"),
        ("delitem", "balance", None, "ada", "closed"),
        ("delete", "", None, "ada", "closed"),
    ]
    assert [change for change in store.log() if change.key == "account"][2:] == told
    assert [change for _, change in store.follow()][3:] == told
    assert store.events("account", start=NOON + 1) == [
        (NOON + 1000, "owner", operator.delitem, None),
        (NOON + 1000, "balance", operator.delitem, None),
    ]


def test_deleting_what_is_not_there_does_nothing(store: Store) -> None:
    store.delete_events("unknown")
    store.apply("gone", {"n": 1})
    store.delete_events("gone", "unknown", "gone")
    before = list(store.log())
    store.delete_events("gone", "unknown")
    store.delete_events("gone", t=5)

    assert list(store.log()) == before
    assert store.version("unknown") == 0
    store.apply("gone", {})
    assert store.eventsources() == []


def test_a_state_without_items_can_be_deleted(store: Store, clock: Any) -> None:
    store.apply("empty", {"n": 1}, t=1)
    store.apply("empty", {"n": (operator.delitem, None)}, t=2)
    assert (store.current("empty"), store.eventsources()) == ({}, ["empty"])
    clock.tick(timedelta(seconds=1))
    store.delete_events("empty", t=3)

    assert (store.current("empty"), store.past("empty", 3), store.past("empty", 2)) == (None, None, {})
    assert (store.eventsources(), store.at(NOON).eventsources()) == ([], ["empty"])
    store.apply("pruned", {"n": 1}, t=1)
    store.apply("pruned", {"n": (operator.delitem, None)}, t=2)
    store.prune("pruned", remove=False)
    assert store.current("pruned") == {}
    store.delete_events("pruned")
    assert store.current("pruned") is None
    assert list(check(store)) == []


def test_an_apply_brings_a_deleted_sequence_back(backend: Backend, key: str | None, clock: Any) -> None:
    store, other = backend.store(key=key), backend.store(key=key)
    assert other.apply("a", {"n": 1, "m": 1}) == store.current("a")
    store.delete_events("a")
    assert (other.current("a"), other.past("a", TIME_MAX)) == (None, None)
    assert other.apply("a", {"n": 2}) == {"n": 2}
    assert store.current("a") == backend.store(key=key).current("a") == {"n": 2}
    assert store.eventsources() == ["a"]
    assert store.past("a", NOON + 1) is None
    other.delete_events("a")
    with pytest.raises(StoreIntegrityError):
        store.apply("a", {"n": (operator.add, 1)})
    assert store.update_with("a", lambda state: {"seen": len(state)}, kind="es") == {"seen": 0}
    assert store.revert("a", NOON) == {"n": 1, "m": 1}
    assert store.revert("a", NOON + 1) == {}
    assert store.current("a") is other.current("a") is None
    assert store.revert("a", NOON) == other.current("a") == {"n": 1, "m": 1}
    assert list(check(store)) == []


def test_events_before_a_deletion_do_not_bring_a_sequence_back(backend: Backend, key: str | None, clock: Any) -> None:
    """What came first goes with it, also if it is recorded later: a sequence lives if something came after."""
    store, other = backend.store(key=key), backend.store(key=key)
    store.apply("a", {"n": 1}, t=10)
    assert other.current("a") == {"n": 1}
    store.delete_events("a", t=20)
    clock.tick(timedelta(seconds=1))
    for writer, late in ((store, {"n": (operator.add, 1)}), (other, {"m": 5})):
        assert writer.apply("a", late, t=15) is None

    for reader in (store, other, backend.store(key=key)):
        assert (reader.current("a"), reader.past("a", 19), reader.past("a", 20)) == (None, {"n": 2, "m": 5}, None)
        assert reader.eventsources() == reader.at(NOON + 1000).eventsources() == []
        assert reader.at(NOON + 1000).current("a") is None
    assert store.apply("a", {"k": 1}, t=20) == {"k": 1}
    assert (other.current("a"), other.eventsources()) == ({"k": 1}, ["a"])
    assert store.at(NOON + 1000).eventsources() == ["a"]
    assert list(check(store)) == []


def test_a_deletion_may_have_been_earlier_than_the_latest_event(store: Store) -> None:
    store.apply("a", {"n": 1, "m": 1}, t=10)
    store.apply("a", {"n": 5}, t=30)
    store.delete_events("a", t=20)

    assert [store.past("a", t) for t in (19, 20, 30)] == [{"n": 1, "m": 1}, None, {"n": 5}]
    assert (store.current("a"), store.eventsources()) == ({"n": 5}, ["a"])
    store.apply("b", {"n": 1}, t=10)
    store.apply("b", {"n": (operator.add, 1)}, t=30)
    with pytest.raises(StoreIntegrityError, match=r"operator.add fails on item 'n' at time 30"):
        store.delete_events("b", t=20)
    assert store.current("b") == {"n": 2}
    assert list(check(store)) == []


def test_a_deletion_expects_a_version_and_a_deleted_sequence_is_as_good_as_new(store: Store) -> None:
    store.apply("a", {"n": 1})
    version = store.version("a")
    store.apply("a", {"n": 2})
    with pytest.raises(StoreConflictError):
        store.delete_events("a", expect=version)
    with pytest.raises(TypeError):
        store.delete_events("a", "b", expect=version)
    assert store.current("a") == {"n": 2}
    store.delete_events("a", expect=store.version("a"))
    store.delete_events("a", expect=0)
    with pytest.raises(StoreConflictError):
        store.delete_events("a", expect=version)
    assert store.apply("a", {"n": 3}, expect=0) == {"n": 3}
    with pytest.raises(StoreConflictError):
        store.apply("a", {"n": 4}, expect=0)


def test_a_transaction_sees_a_deletion_and_takes_it_back(store: Store) -> None:
    store.apply("a", {"n": 1})

    def fail(inside: Store) -> None:
        inside.delete_events("a")
        assert (inside.current("a"), inside.eventsources()) == (None, [])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transact(fail)
    assert (store.current("a"), store.eventsources()) == ({"n": 1}, ["a"])
    with store.transaction():
        store.delete_events("a")
        assert store.apply("a", {"m": 2}, expect=0) == {"m": 2}
        store.apply("b", {"n": 1})
        store.delete_events("b")
    assert (store.current("a"), store.current("b"), store.eventsources()) == ({"m": 2}, None, ["a"])
    assert list(check(store)) == []


def test_a_deleted_sequence_may_be_pruned(store: Store, clock: Any) -> None:
    for name in ("pruned", "compacted", "kept", "revived"):
        store.apply(name, {"n": 1, "m": 1})
    clock.tick(timedelta(seconds=1))
    store.delete_events("pruned", "compacted", "kept", "revived")
    store.apply("revived", {"n": 2})
    assert store.prune("kept", remove=False, before=NOON).records == 0
    assert store.prune("pruned").records == 5
    assert store.prune("revived").records == 5
    assert store.version("pruned") == 0
    assert store.past("kept", NOON) == {"n": 1, "m": 1}
    assert store.compact(before=NOON).records == 0
    assert store.at(NOON).eventsources() == ["compacted", "kept"]
    assert store.compact().records == 10

    assert (store.eventsources(), store.current("revived")) == (["revived"], {"n": 2})
    assert store.events("kept") is store.events("pruned") is None
    assert list(check(store)) == []


@pytest.mark.parametrize("cls", [Store, JsonStore])
def test_snapshots_and_deletions_agree(backend: Backend, key: str | None, cls: type[Store]) -> None:
    store, other = backend.store(cls, key=key), backend.store(cls, key=key)
    for life in range(4):
        for t in range(300):
            store.apply("long", {"n": t, f"item of life {life}": t}, t=life * 1000 + t)
        assert other.current("long") == {"n": 299, f"item of life {life}": 299}
        store.delete_events("long", t=life * 1000 + 500)
        assert other.current("long") is backend.store(cls, key=key).current("long") is None

    for reader in (store, other, backend.store(cls, key=key)):
        for life in range(4):
            assert reader.past("long", life * 1000 + 499) == {"n": 299, f"item of life {life}": 299}
            assert reader.past("long", life * 1000 + 500) is None
    assert list(check(store)) == []


def test_calls_that_build_on_the_state_find_none_of_a_deleted_sequence(store: Store) -> None:
    store.apply("a", {"n": 1})
    store.delete_events("a")
    assert store.apply("a", {}) is None
    assert store.update_with("a", lambda state: {"m": len(state)}, default={}, kind="es") == {"m": 0}
