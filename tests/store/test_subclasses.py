"""A subclass of Store has helpers of its own, and calls them what it likes: that is the documented extension."""

from __future__ import annotations

import operator
from typing import Any

import pytest

from rstore import Store

HOOKS = {"_dump", "_load", "_namespace", "_key", "_freq"}
"""What a subclass is meant to define."""

STATE = {"_core"}
"""What a subclass must not define: it is told so."""

HELPERS: list[str] = " ".join(
    (
        "_append _apply _apply_if _apply_once _base _cached _change _changed _check_version _check_writable",
        "_compact_keys _compact_series _connect _decide _deletion _entered _entering _entry _extend_with_frame",
        "_facts _fed _feed _fold _followed _forget _framed _frozen _gaps _heads_at _history _is_current _is_new",
        "_is_open _is_there _kind _last _layer _layouts _legible _live _log _logged _look_up _mark _marker",
        "_meaning _merged _nested _newest _next _note _outermost _overwrite _page _pairs _past _payload _points",
        "_points_at _position _present _progress _project _projections _prune _record _rekey _rekey_on _remove",
        "_reseal _revert_series _revert_state _revert_value _rewrite _rows _runs _segment _set_policy _setting",
        "_settle _snapshot _span _state_after _state_at _states_at _step _survey _take _told _updated_state",
        "_updated_value _value _value_of _values_at _while_open _work _write _writer",
    )
).split()
"""What a Store called its own helpers when it was a tower of classes."""


def private_names() -> set[str]:
    """Return what a Store has now that neither users call nor a subclass is meant to define."""
    classes = [cls for cls in Store.__mro__ if cls.__module__.startswith("rstore.")]
    found = {name for names in (*map(vars, classes), vars(Store("memory://"))) for name in names}
    protocols = {"_abc_impl", "_repr_html_"}
    return {name for name in found if name.startswith("_") and not name.startswith("__")} - HOOKS - STATE - protocols


def mine(*_: Any, **__: Any) -> str:
    """A helper of the subclass."""
    return "mine"


def works(name: str) -> bool:
    """Tell whether a subclass with a helper of this name does all that a Store does, and still has its helper."""
    try:
        with type("Mine", (Store,), {name: mine})("memory://", frozen=False) as store:
            assert getattr(store, name)() == "mine"
            use(store)
            assert getattr(store, name)() == "mine"
    except Exception:  # whatever happens if a helper is called in place of another
        return False
    return True


def use(store: Any) -> None:
    with store.context(who="ada"), store.transaction():
        store["a"] = 1
        store.extend("a", (1, 1.5), (2, 2.5))
        store.apply("a", {"n": 1}, t=1)
    assert store.apply("a", {"n": (operator.add, 1)}, t=2, once="token") == {"n": 2}
    assert store.set("b", 2, expect=0) is None
    assert store.pop("b") == 2
    assert store.setdefault("a", 5) == 1
    assert store.update_with("a", lambda n: n + 1) == 2
    assert store.find("a*") == list(store.items()) == [("a", 2)]
    assert (store.first("a"), store.last("a"), store.range("a", 2)) == ((1, 1.5), (2, 2.5), [(2, 2.5)])
    assert store.missing("a", 1, 3, freq=1) == [3]
    assert store.resample("a", 10, "sum") == [(0, 4.0)]
    store.remove("a", end=1)
    assert store.past("a", 1) == {"n": 1}
    assert store.revert("a", 1) == {"n": 1}
    assert store.diff("a", 1, 2).changed == {"n": (1, 2)}
    assert [change.who for change in store.history("a", "kv")] == ["ada", None]
    assert len(list(store.log())) == len(list(store.follow())) > 5
    assert store.project("seen", lambda change, into: into.set("seen", change.key)) > 5
    assert store.at(2**62)["seen"] == "a"
    store.delete_events("a")
    assert store.current("a") is None
    store.prune("a")
    store.compact()
    assert store.namespaces() == ["default"]
    store.discard()
    assert (list(store), store.timeseries(), store.eventsources()) == ([], [], [])


def test_what_is_tried_here_works_without_a_helper_and_with_one_of_another_name() -> None:
    assert works("_a_name_that_nobody_else_has")


def test_a_subclass_may_call_its_own_helpers_what_it_likes() -> None:
    for name in sorted({*HELPERS, *private_names()}):
        assert works(name), f"a subclass can't have a helper called {name}"


def test_a_store_has_one_private_name_of_state_besides_the_hooks() -> None:
    assert private_names() == set()
    assert {name for name in vars(Store("memory://")) if name.startswith("_")} == STATE


def test_a_subclass_that_hides_the_state_of_a_store_is_told_so() -> None:
    with pytest.raises(TypeError, match=r"Mine\._core hides the state of a Store"):
        type("Mine", (Store,), {"_core": 1})
