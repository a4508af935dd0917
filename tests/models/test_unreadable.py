"""One value that cannot be loaded stops what needs it, and nothing else."""

from __future__ import annotations

import json
import operator
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rstore import (
    Change,
    JsonStore,
    Store,
    StoreMissingKeyError,
    StoreNotAvailableError,
    StorePayloadError,
    StorePlaintextError,
    Unreadable,
)
from rstore.cli.program import run
from rstore.domain.log import Batch, Entry
from rstore.domain.streams import ES, KV, SS, TS, Stream
from rstore.encoding.unreadable import why_unloadable
from rstore.text.describe import describe
from tests.conftest import KEY, OTHER_KEY, Backend

GONE = "module_that_goes"


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module with a class, as long as :func:`lose` has not taken it away."""
    found = ModuleType(GONE)
    found.Order = type("Order", (), {"__module__": GONE, "amount": 1})  # type: ignore[attr-defined]
    sys.modules[GONE] = found
    yield found
    sys.modules.pop(GONE, None)


@pytest.fixture
def order(module: ModuleType) -> Any:
    """A value that can be loaded as long as its module is there."""
    return module.Order()


def lose() -> None:
    del sys.modules[GONE]


def of(store: Store, kind: str, key: str) -> list[Any]:
    return [record for _, stream, record in store._core.log.follow() if stream == Stream(kind, key)]


def write_in_clear(backend: Backend, key: str, value: Any) -> None:
    """Write as somebody does who has no key, and no rstore that minds."""
    with backend.store(namespace="elsewhere") as other:
        other[key] = value
        (record,) = of(other, KV, key)
    entry = Entry(0, 0, "", "setitem", record.data)
    backend.log().append([Batch(Stream(KV, key), (entry,), record.recorded)])


# -- reads ------------------------------------------------------------------------------------------------------------


def test_a_read_names_the_module_that_is_missing(store: Store, order: Any) -> None:
    store["order"] = order
    lose()
    with pytest.raises(StorePayloadError, match=f"kv 'order' .* no module '{GONE}'"):
        store["order"]


def test_a_read_names_the_class_that_is_missing(store: Store, module: ModuleType, order: Any) -> None:
    store["order"] = order
    store.extend("series", (1, order), (2, order))
    del module.Order
    for read in (lambda: store["order"], lambda: store.range("series")):
        with pytest.raises(StorePayloadError, match=f"no 'Order' in the module '{GONE}'"):
            read()


def test_a_read_tells_no_value_of_what_else_goes_wrong(backend: Backend) -> None:
    class Moody(JsonStore):
        def _load(self, data: str) -> Any:
            raise ValueError(f"secret {data}")

    store = backend.store(Moody)
    store["k"] = "wine"
    with pytest.raises(StorePayloadError, match="loading it failed with ValueError") as raised:
        store["k"]
    assert "wine" not in str(raised.value)


def test_an_error_of_the_store_that_a_value_reads_is_not_one_of_the_value(backend: Backend) -> None:
    """A caller that skips damaged values would skip good ones, as long as the other server is away."""

    class Referring(JsonStore):
        def _load(self, data: str) -> Any:
            raise StoreNotAvailableError("the other server is away")

    writer = backend.store(JsonStore)
    writer["k"] = "wine"
    writer.extend("series", (1, "wine"))
    writer.extend("longer", (1, "wine"), (2, "beer"))
    writer.apply("account", {"drink": "wine"})
    store = backend.store(Referring)
    for read in (
        lambda: store["k"],
        lambda: store.current("account"),
        lambda: store.range("series"),
        lambda: store.range("longer"),
        lambda: list(store.log()),
    ):
        with pytest.raises(StoreNotAvailableError, match="the other server is away"):
            read()


# -- changes ----------------------------------------------------------------------------------------------------------


def test_log_history_and_follow_show_what_cannot_be_loaded_as_unreadable(store: Store, order: Any) -> None:
    store["before"] = 1
    with store.context(who="ada", why="first order"):
        store["order"] = order
        store.apply("account", {"order": order, "n": 1}, t=5)
        store.extend("series", (1, order), (2, order))
    store["after"] = 2
    lose()
    for changes in (list(store.log()), [change for _, change in store.follow()]):
        assert [change.key for change in changes] == ["before", "order", "account", "account", "series", "after"]
        unreadable = [change for change in changes if isinstance(change.value, Unreadable)]
        assert [(change.kind, change.op, change.item) for change in unreadable] == [
            (KV, "setitem", ""),
            (ES, "setitem", "order"),
            (TS, "extend", ""),
        ]
        assert all(f"no module '{GONE}'" in change.value.reason for change in unreadable)
        assert {(change.who, change.why) for change in unreadable} == {("ada", "first order")}
    (change,) = store.history("order")
    assert repr(change.value) == f"Unreadable(reason={change.value.reason!r}, error='StorePayloadError')"
    assert pickle.loads(pickle.dumps(change.value)) == change.value
    assert GONE in store.history("order")._repr_html_()  # type: ignore[attr-defined]


def test_what_somebody_wrote_without_the_key_is_shown_and_never_loaded(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["ours"] = 1
    write_in_clear(backend, "theirs", Trap())
    store["ours"] = 2
    assert [(change.key, change.value) for change in store.log(prefix="ours")] == [("ours", 1), ("ours", 2)]
    (change,) = store.history("theirs")
    assert change.value == Unreadable(StorePlaintextError.problem, "StorePlaintextError")
    assert [change.key for change in store.log()] == ["ours", "theirs", "ours"]
    with pytest.raises(StorePlaintextError):
        store["theirs"]
    assert not SPRUNG


SPRUNG: list[int] = []


class Trap:
    """A pickle that does something when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return SPRUNG.append, (1,)


def test_a_store_without_the_key_or_with_another_one_shows_the_change_and_hides_what_it_is(backend: Backend) -> None:
    with backend.store(key=KEY) as store, store.context(who="ada", why="a reason"):
        store["k"] = 1
    for options, error in (({}, "StoreMissingKeyError"), ({"key": OTHER_KEY}, "StoreWrongKeyError")):
        (change,) = backend.store(frozen=True, **options).history("k")
        assert (change.op, change.value.error, change.who, change.why) == ("setitem", error, None, None)


def test_damage_is_shown_where_it_is(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    store["k"] = "some text"
    (record,) = of(store, KV, "k")
    damaged = record.data[:-1] + bytes([record.data[-1] ^ 1])
    entry = Entry(0, 0, "", "setitem", damaged)
    backend.log().append([Batch(Stream(KV, "k"), (entry,), record.recorded)])
    first, second = store.history("k")
    assert first.value == "some text"
    assert second.value.error == "StorePayloadError"


def test_a_note_that_was_taken_away_makes_its_value_unreadable(backend: Backend) -> None:
    store = backend.store(key=KEY)
    with store.context(who="ada"):
        store["k"] = 1
    (record,) = of(store, KV, "k")
    backend.log().append([Batch(Stream(KV, "k"), (Entry(0, 0, "", "setitem", record.data),), record.recorded)])
    assert "who and why are gone" in store.history("k")[-1].value.reason


def test_what_a_newer_version_wrote_keeps_its_operator_and_is_unreadable(backend: Backend) -> None:
    store = backend.store()
    store["k"] = 1
    (record,) = of(store, KV, "k")
    backend.log().append([Batch(Stream(KV, "k"), (Entry(0, 0, "", "merge", record.data),), record.recorded)])
    change = store.history("k")[-1]
    assert (change.op, change.value.error) == ("merge", "StoreFormatError")


def test_a_search_for_a_person_shows_what_it_cannot_tell_of(backend: Backend) -> None:
    store = backend.store(key=KEY)
    for who in ("ada", "bob"):
        with store.context(who=who):
            store[who] = 1
    (record,) = of(store, KV, "ada")
    backend.log().append([Batch(Stream(KV, "x"), (Entry(0, 0, "", "setitem", record.data, b"x"),), record.recorded)])
    assert [change.key for change in store.log(who="ada")] == ["ada", "x"]


def test_a_json_store_never_loads_a_pickle_and_shows_that_there_is_one(backend: Backend) -> None:
    backend.store()["k"] = Trap()
    store = backend.store(JsonStore)
    assert "pickled" in store.history("k")[0].value.reason
    store["k"] = 2
    assert [change.value for change in store.history("k")][1:] == [2]
    assert not SPRUNG


def test_an_export_leaves_out_what_it_cannot_show_and_comes_back_whole(
    backend: Backend, order: Any, tmp_path: Any
) -> None:
    from rstore import transfer

    store = backend.store()
    with store.context(who="ada"):
        store["order"] = order
    lose()
    transfer.export(store, tmp_path / "all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text()
    assert "Unreadable" not in lines
    assert '"who": "ada"' in lines
    target = backend.store(namespace="default copied")
    transfer.copy(store, target)
    sys.modules[GONE] = sys.modules["types"].ModuleType(GONE)
    sys.modules[GONE].Order = type("Order", (), {"amount": 2})  # type: ignore[attr-defined]
    assert target["order"].amount == 2


# -- what replaces or removes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [True, False])
def test_a_value_that_cannot_be_loaded_is_replaced_and_deleted(backend: Backend, order: Any, history: bool) -> None:
    store = backend.store(history=history)
    store.set_many({"a": order, "b": order, "c": order})
    lose()
    store["a"] = 1
    store.delete("b")
    del store["c"]
    assert dict(store) == {"a": 1}
    assert store.compact().records >= 0
    assert dict(store) == {"a": 1}


@pytest.mark.parametrize("span", [{}, {"start": 2}, {"start": 2, "end": 5}])
def test_points_that_cannot_be_loaded_are_removed(store: Store, order: Any, span: dict[str, int]) -> None:
    store.extend("series", (1, 10))
    store.extend("series", (2, order), (3, order))
    store.extend("series", (4, order))
    lose()
    assert store.missing("series", 1, 5, freq=1) == [5]
    store.remove("series", **span)
    assert store.range("series") == ([] if not span else [(1, 10)])


def test_points_that_cannot_be_loaded_are_replaced(store: Store, order: Any) -> None:
    store.extend("series", (1, 10), (2, order))
    lose()
    store.extend("series", (1, 11), (2, 12))
    assert store.range("series") == [(1, 11), (2, 12)]
    store.compact()
    assert [len(of(store, TS, "series")), store.range("series")] == [1, [(1, 11), (2, 12)]]


def test_a_frame_is_whole_where_what_cannot_be_loaded_was_replaced(store: Store, order: Any) -> None:
    import pandas as pd

    store.extend("series", pd.DataFrame({"n": [1, 2], "what": [order, order]}, index=[1, 2]))
    lose()
    store.extend("series", pd.DataFrame({"n": [3, 4, 5], "what": ["x", "y", "z"]}, index=[1, 2, 3]))
    assert store.range("series", to="pandas")["n"].tolist() == [3, 4, 5]
    store.extend("series", pd.DataFrame({"n": [6], "what": ["z"]}, index=[4]))
    assert store.missing("series", 1, 4, freq=1) == []


def test_an_item_that_cannot_be_loaded_is_replaced_and_deleted(store: Store, order: Any) -> None:
    store.apply("account", {"order": order, "owner": "Ada"}, t=1)
    store.apply("other", {"order": order, "owner": "Bob"}, t=1)
    lose()
    cold = store
    cold._core.cache.clear()
    with pytest.raises(StorePayloadError, match=f"no module '{GONE}'"):
        store.current("account")
    with pytest.raises(StorePayloadError, match=f"no module '{GONE}'"):
        store.apply("account", {"owner": "Eve"}, t=2)
    assert store.apply("account", {"order": "none"}, t=3) == {"order": "none", "owner": "Ada"}
    assert store.apply("other", {"order": (operator.delitem, None)}, t=3) == {"owner": "Bob"}
    cold._core.cache.clear()
    assert store.current("account") == {"order": "none", "owner": "Ada"}
    assert store.past("account", 3) == {"order": "none", "owner": "Ada"}
    with pytest.raises(StorePayloadError):
        store.past("account", 1)
    assert store.prune("account", "other").records == 3
    assert store.current("account") == {"order": "none", "owner": "Ada"}


def test_what_calculates_with_an_item_that_cannot_be_loaded_is_refused(store: Store, order: Any) -> None:
    store.apply("account", {"order": order}, t=1)
    lose()
    store._core.cache.clear()
    with pytest.raises(StorePayloadError):
        store.apply("account", {"order": (operator.add, 1)}, t=2)
    assert store.version("account") == 1 or len(of(store, ES, "account")) == 1


def test_an_item_is_readable_again_when_its_class_is(store: Store, module: ModuleType, order: Any) -> None:
    store.apply("account", {"order": order}, t=1)
    lose()
    store._core.cache.clear()
    with pytest.raises(StorePayloadError):
        store.current("account")
    sys.modules[GONE] = module
    state = store.current("account")
    assert state is not None
    assert state["order"].amount == 1


def test_an_event_that_is_not_genuine_stops_the_fold_whatever_comes_after_it(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store.apply("account", {"n": 1}, t=1)
    (record,) = of(store, ES, "account")
    entry = Entry(2, 2, "n", "setitem", record.data)
    backend.log().append([Batch(Stream(ES, "account"), (entry,), record.recorded)])
    store._core.cache.clear()
    with pytest.raises(StorePayloadError, match="not authentic"):
        store.apply("account", {"n": 3}, t=3)


def test_a_revert_replaces_an_item_that_cannot_be_loaded(store: Store, order: Any) -> None:
    store.apply("account", {"order": "none"}, t=1)
    store.apply("account", {"order": order}, t=2)
    lose()
    store._core.cache.clear()
    assert store.revert("account", 1) == {"order": "none"}


def test_a_snapshot_that_cannot_be_loaded_is_passed_over(store: Store, order: Any) -> None:
    store.apply("account", {"order": order, "n": 0}, t=1)
    for t in range(2, 300):
        store.apply("account", {"n": (operator.add, 1)}, t=t)
    assert of(store, SS, "account")
    store.apply("account", {"order": None}, t=300)
    lose()
    store._core.cache.clear()
    assert store.current("account") == {"order": None, "n": 298}


def test_a_series_with_a_segment_that_cannot_be_loaded_stays_as_it_is_and_others_are_compacted(
    store: Store, module: ModuleType, order: Any
) -> None:
    for time in range(5):
        store.extend("good", (time, time))
        store.extend("poisoned", (time, order if time == 3 else time))
        store.extend("cured", (time, order if time == 3 else time))
    store.remove("cured", start=3, end=3)
    lose()
    before = [record.data for record in of(store, TS, "poisoned")]
    store.compact()
    assert len(of(store, TS, "good")) == len(of(store, TS, "cured")) == 1
    assert [record.data for record in of(store, TS, "poisoned")] == before
    sys.modules[GONE] = module
    assert [time for time, _ in store.range("poisoned")] == [0, 1, 2, 3, 4]


# -- projections ------------------------------------------------------------------------------------------------------


def collect(change: Change, store: Store) -> None:
    if change.key.startswith("in/"):
        store["out/" + change.key[3:]] = change.value


def test_a_projection_raises_at_what_cannot_be_loaded_and_says_where(store: Store, order: Any) -> None:
    store["in/a"] = 1
    store["in/b"] = order
    lose()
    with pytest.raises(StorePayloadError, match="in/b") as raised:
        store.project("p", collect, prefix="in/")
    (note,) = raised.value.__notes__
    checkpoint = [checkpoint for checkpoint, _ in store.follow()][-1]
    assert f"version {store.version('in/b', KV)} of kv 'in/b'" in note
    assert checkpoint in note
    assert "out/a" not in store


def test_a_projection_that_skips_goes_on_and_remembers_what_it_has_skipped(store: Store, order: Any) -> None:
    store["in/a"] = 1
    store["in/b"] = order
    store["in/c"] = 3
    lose()
    assert store.project("p", collect, prefix="in/", on_error="skip") == 3
    assert (store["out/a"], store["out/c"], store.has("out/b")) == (1, 3, False)
    (skipped,) = store.skipped("p")
    assert (skipped.kind, skipped.key, skipped.version) == (KV, "in/b", store.version("in/b", KV))
    assert f"no module '{GONE}'" in skipped.error
    assert [change.key for _, change in store.follow(skipped.checkpoint, prefix="in/")] == ["in/c"]
    assert store.project("p", collect, prefix="in/") == 0


def test_a_change_at_which_the_function_fails_is_skipped_with_all_that_it_has_written(store: Store) -> None:
    def divide(change: Change, at: Store) -> None:
        at["seen/" + change.key] = True
        at["out/" + change.key] = 100 // change.value

    store.set_many({"in/a": 5, "in/b": 0, "in/c": 20})
    assert store.project("p", divide, prefix="in/", on_error="skip") == 3
    assert store.find("out/*") == [("out/in/a", 20), ("out/in/c", 5)]
    assert [key for key, _ in store.find("seen/*")] == ["seen/in/a", "seen/in/c"]
    assert [(each.key, each.error.split(":")[0]) for each in store.skipped("p")] == [("in/b", "ZeroDivisionError")]


def test_a_function_decides_what_becomes_of_a_change_that_fails(store: Store, order: Any) -> None:
    store["in/a"] = 1
    store["in/b"] = order
    lose()

    def put_aside(change: Change, error: Exception) -> None:
        store["aside/" + change.key] = type(error).__name__

    assert store.project("p", collect, prefix="in/", on_error=put_aside) == 2
    assert store["aside/in/b"] == "StorePayloadError"
    assert store.skipped("p") == []

    def refuse(change: Change, error: Exception) -> None:
        raise RuntimeError("no") from error

    with pytest.raises(RuntimeError):
        store.project("p", collect, prefix="in/", on_error=refuse, rebuild=True)


def test_a_rebuild_forgets_what_was_skipped(store: Store) -> None:
    store["in/a"] = 1

    def fail(change: Change, at: Store) -> None:
        raise LookupError("private words")

    store.project("p", fail, prefix="in/", on_error="skip")
    assert "private words" not in store.skipped("p")[0].error
    store.project("p", collect, prefix="in/", rebuild=True)
    assert store.skipped("p") == []
    assert store.skipped("never heard of") == []


@pytest.mark.parametrize("wrong", ["ignore", 3, None])
def test_what_else_is_to_be_done_on_an_error_is_refused(store: Store, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="on_error is 'raise', 'skip' or a function"):
        store.project("p", collect, on_error=wrong)


def test_a_store_that_fails_is_no_change_to_be_skipped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between a hundred attempts
    store["in/a"] = 1

    def conflict(change: Change, at: Store) -> None:
        at.set("x", 1, expect=7)

    from rstore import StoreConflictError

    with pytest.raises(StoreConflictError):
        store.project("p", conflict, prefix="in/", on_error="skip")
    assert store.skipped("p") == []


def test_a_copy_leaves_behind_what_was_skipped_and_check_finds_nothing(backend: Backend, key: str | None) -> None:
    from rstore import transfer
    from rstore.admin.check import check

    store = backend.store(key=key)
    store["in/a"] = "a"

    def fail(change: Change, at: Store) -> None:
        raise LookupError

    store.project("p", fail, prefix="in/", on_error="skip")
    assert list(check(store)) == []
    target = backend.store(namespace="default copied", key=key)
    transfer.copy(store, target)
    assert target.skipped("p") == []
    assert len(store.skipped("p")) == 1


def test_reading_with_no_key_raises_as_ever(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    reads: list[Callable[[Store], Any]] = [lambda store: store["k"], dict]
    for read in reads:
        with pytest.raises(StoreMissingKeyError):
            read(backend.store(frozen=True))


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_what_cannot_be_read_and_why(
    tmp_path: Path, order: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSTORE_DSN", str(tmp_path / "test.db"))
    with Store(tmp_path / "test.db", frozen=False) as store:
        store["order"] = order
        store.extend("series", (1, order), (2, order))
        store.apply("account", {"order": order})
    lose()

    def said(*words: str) -> list[str]:
        assert run(words) == 0
        return capsys.readouterr().out.splitlines()

    for words in (
        ("log",),
        ("follow", "--wait", "0"),
        ("history", "order"),
        ("history", "series"),
        ("history", "account"),
    ):
        lines = said(*words)
        assert lines
        assert all("(unreadable: " in line and f"no module '{GONE}'" in line for line in lines)
        for line in said(*words, "--json"):
            found = json.loads(line)["value"]
            assert found["error"] == "StorePayloadError"
            assert GONE in found["unreadable"]
    assert run(("get", "order")) == 3
    assert f"no module '{GONE}'" in capsys.readouterr().err
    with Store(tmp_path / "test.db") as store:
        (line,) = map(describe, store.log(prefix="series"))
    assert line == f"extend (unreadable: the payload can't be read ({why_unloadable(MISSING)}))"


MISSING = ModuleNotFoundError(name=GONE)


def test_an_erasure_that_cannot_be_read_is_shown_to_all_whom_it_may_concern(backend: Backend) -> None:
    with backend.store(key=KEY) as store:
        store["k"] = 1
        store["k"] = 2
        store.compact()
    reader = backend.store(frozen=True)
    for found in (list(reader.log()), list(reader.log(prefix="k")), [change for _, change in reader.follow()]):
        assert sorted((change.op, change.value.error) for change in found) == [
            ("compact", "StoreMissingKeyError"),
            ("setitem", "StoreMissingKeyError"),
        ]
