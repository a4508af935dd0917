"""What once went wrong, each as the story of who would have been hurt."""

from __future__ import annotations

import copy
import operator
import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rstore.core
from rstore import Store, StoreError, StoreIntegrityError, StorePayloadError
from rstore.domain import series
from rstore.domain.log import Batch, Entry, ReplayQuery
from rstore.domain.streams import ES, KV, SS, Stream
from tests.conftest import KEY, Backend


class Unpicklable:
    """A sum that can't be pickled, of values that can."""

    def __add__(self, other: object) -> Unpicklable:
        result = Unpicklable()
        result.function = lambda: other  # type: ignore[attr-defined]
        return result

    def __deepcopy__(self, memo: object) -> Unpicklable:
        return self


class Uncopyable:
    def __deepcopy__(self, memo: object) -> Uncopyable:
        raise RuntimeError("not to be copied")


# -- event sequences --------------------------------------------------------------------------------------------------


def test_a_late_event_is_judged_by_the_history_that_it_joins(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer comes in between the two reads of a late apply: it is no failure of the operator."""
    store, other = backend.store(), backend.store()
    store.apply("k", {"n": 1}, t=10)
    store.apply("k", {"n": 2}, t=20)
    read, overtaken = store._core.log.read, []

    def read_after_another_wrote(stream: Stream, *query: Any) -> Any:
        if not overtaken:
            overtaken.append(other.apply("k", {"new": 1}, t=12))
            other.apply("k", {"new": (operator.add, 1)}, t=30)
        return read(stream, *query)

    monkeypatch.setattr(store._core.log, "read", read_after_another_wrote)
    assert store.apply("k", {"late": 0}, t=15) == {"n": 2, "new": 2, "late": 0}
    assert overtaken


def test_a_value_that_can_not_be_copied_is_refused_before_it_is_stored(store: Store) -> None:
    with pytest.raises(RuntimeError, match="not to be copied"):
        store.apply("k", {"a": Uncopyable()})
    assert store.events("k") is None


def test_a_state_that_can_not_be_pickled_does_without_snapshots(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 3)
    store.apply("k", {"odd": Unpicklable(), "n": 0})
    store.apply("k", {"odd": (operator.add, 1)})
    for n in range(1, 10):
        assert store.apply("k", {"n": (operator.add, 1)})["n"] == n


def test_after_a_late_event_useless_snapshots_are_passed_over_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 3)
    store = backend.store()
    for t in range(10, 100):
        store.apply("k", {"n": t}, t=t)
    store.apply("k", {"early": 1}, t=5)
    reader = backend.store()
    replays: list[object] = []
    replay = reader._core.log.replay
    monkeypatch.setattr(reader._core.log, "replay", lambda *args: replays.append(args) or replay(*args))
    assert reader.current("k") == {"n": 99, "early": 1}
    assert len(replays) == 2
    store.apply("k", {"n": 100}, t=100)
    (newest,) = backend.store()._core.log.replay([ReplayQuery(Stream(ES, "k"))])
    assert newest.snapshot.start == 99  # type: ignore[union-attr]


def test_an_operators_complaint_does_not_show_the_value(store: Store) -> None:
    store.apply("k", {"template": "%(SECRET)s"})
    with pytest.raises(StoreIntegrityError) as caught:
        store.apply("k", {"template": (operator.mod, {})})
    assert "SECRET" not in str(caught.value)


def test_a_snapshot_that_does_not_say_what_it_folded_is_a_store_error(backend: Backend) -> None:
    store = backend.store()
    store.apply("k", {"n": 1})
    store._core.log.append([Batch(Stream(SS, "k"), [Entry(1, 1, "not a number", "snapshot", b"")], 1)])
    with pytest.raises(StoreError, match="damaged"):
        backend.store().current("k")


# -- keys -------------------------------------------------------------------------------------------------------------


def test_popitem_gives_what_it_deletes(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = backend.store(), backend.store()
    store.update({"a": 1, "b": 2})
    last, overtaken = store._core.log.last, []

    def last_before_another_sets(streams: Any, *args: Any) -> Any:
        found = last(streams, *args)
        if not overtaken:
            overtaken.append(other.set("a", "newer"))
        return found

    monkeypatch.setattr(store._core.log, "last", last_before_another_sets)
    assert store.popitem() == ("a", "newer")
    assert dict(store) == {"b": 2}


def test_popitem_passes_over_keys_that_others_take(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = backend.store(), backend.store()
    store.update({"a": 1, "b": 2})
    last = store._core.log.last
    monkeypatch.setattr(store._core.log, "last", lambda streams: (other.delete("a"), last(streams))[1])
    assert store.popitem() == ("b", 2)
    with pytest.raises(KeyError):
        store.popitem()


@pytest.mark.parametrize("history", [True, False])
def test_clear_is_not_held_up_by_writers(backend: Backend, history: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = backend.store(history=history), backend.store(history=history)
    store.update({str(i): i for i in range(10)})
    for name in ("append", "rewrite"):
        write = getattr(store._core.log, name)
        monkeypatch.setattr(store._core.log, name, lambda what, write=write: (other.set("3", "again"), write(what))[1])
    store.clear()
    assert len(store) == 0
    assert list(store) == []


def test_a_deletion_without_the_key_deletes_nothing(backend: Backend) -> None:
    """Somebody changes the operator of a record, which is authenticated: no call may take it for a deletion."""
    store = backend.store(key=KEY)
    store["k"] = "precious"
    record = store._core.log.last([Stream(KV, "k")])[0]
    assert record is not None
    store._core.log.append([Batch(Stream(KV, "k"), [Entry(0, 0, "", "delitem", record.data)], 1)])
    calls: list[Callable[[], object]] = [lambda: store.pop("k", None), lambda: store.setdefault("k", "other")]
    for call in calls:
        with pytest.raises(StorePayloadError):
            call()


def test_values_are_looked_for_without_their_keys(store: Store) -> None:
    store["a"] = 1
    assert 1 in store.values()
    assert 2 not in store.values()


@pytest.mark.parametrize("transport", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_store_says_that_it_can_not_be_sent_elsewhere(store: Store, transport: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="make one from the same dsn"):
        transport(store)


def test_get_many_of_one_str_is_a_mistake(store: Store) -> None:
    with pytest.raises(TypeError, match="several keys"):
        store.get_many("abc")


# -- series -----------------------------------------------------------------------------------------------------------


def test_segments_that_overlap_are_only_touched_where_they_have_points(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[int] = []
    cut = series._Segment.cut
    monkeypatch.setattr(series._Segment, "cut", lambda *args: cuts.append(1) or cut(*args))  # type: ignore[func-returns-value]
    n = 300
    layers = [series.Layer(i + 1, i, i + n, lambda i=i: ([i, i + n], [i, i + n])) for i in range(n)]
    points = [time for times, _ in series.overlay(layers) for time in times]
    assert points == list(range(2 * n))
    assert len(cuts) <= 2 * n


def test_a_series_that_is_written_to_can_be_compacted(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = backend.store(), backend.store()
    for t in range(20):
        store.extend("s", (t, t))
    rewrite = store._core.log.rewrite

    def rewrite_after_another_wrote(rewrites: Any) -> Any:
        if any(each.stream.kind == "ts" for each in rewrites):
            other.extend("s", (5, "corrected"), (20, 20))
            other.remove("s", start=7, end=8)
        return rewrite(rewrites)

    monkeypatch.setattr(store._core.log, "rewrite", rewrite_after_another_wrote)
    store.compact()
    expected = {t: t for t in range(21) if t not in (7, 8)} | {5: "corrected"}
    assert dict(store.range("s")) == expected
    monkeypatch.undo()
    store.compact()
    assert dict(store.range("s")) == expected


def test_the_first_point_does_not_bring_the_others_along(tmp_path: Path) -> None:
    with Store(tmp_path / "large.db", frozen=False) as store:
        for t in range(64):
            store.extend("s", (t, os.urandom(1 << 20)))
            store[str(t)] = os.urandom(1 << 20)
        for read in (lambda: store.first("s"), lambda: store.range("s", n=1), lambda: next(iter(store.items()))):
            tracemalloc.start()
            assert read()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 16 << 20


# -- long input -------------------------------------------------------------------------------------------------------


def test_input_that_waits_on_disk_is_stored_as_it_came(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.spool._MEMORY_BYTES", 10_000)
    points = [(t, os.urandom(8)) for t in range(20_000)]
    store.extend("s", iter(points))
    store.extend("s", (10**6, "short"))
    assert store.range("s") == [*points, (10**6, "short")]
    store.compact()
    assert store.range("s") == [*points, (10**6, "short")]


@pytest.mark.slow
def test_a_generator_that_raises_leaves_nothing_behind(store: Store) -> None:
    def points() -> Iterator[tuple[int, str]]:
        yield from ((t, "new") for t in range(200_000))
        raise LookupError("no more")

    store.extend("series", (1, "old"))
    for key in ("series", "unknown"):
        with pytest.raises(LookupError, match="no more"):
            store.extend(key, points())
    assert store.range("series") == [(1, "old")]
    assert store.timeseries() == ["series"]
    store.extend("series", (2, "after"))
    assert store.range("series") == [(1, "old"), (2, "after")]


def test_of_input_that_fails_on_its_way_to_disk_nothing_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.spool._MEMORY_BYTES", 10_000)
    with pytest.raises(TypeError, match="point 199999 "):
        store.extend("s", ((t, os.urandom(8)) if t < 199_999 else (None, None) for t in range(200_000)))
    assert store.timeseries() == []


def test_who_is_overtaken_while_pausing_only_is_not_overtaken_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked up before the pause is out of date after it, if others write all the time."""
    store, other = backend.store(), backend.store()
    store.apply("k", {"n": 0})
    other.apply("k", {"n": (operator.add, 1)})
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        other.apply("k", {"n": (operator.add, 1)})

    monkeypatch.setattr(rstore.core.time, "sleep", pause)
    assert store.apply("k", {"m": 1}) == {"n": 2, "m": 1}
    assert len(pauses) == 1


def test_a_follower_that_lags_behind_does_not_miss_what_was_compacted(backend: Backend) -> None:
    store = backend.store()
    store.extend("s", (1, "a"))
    ((checkpoint, _),) = store.follow()
    store.extend("s", (2, "b"))
    store.extend("s", (3, "c"))
    store.compact()
    assert {point for _, change in store.follow(after=checkpoint) for point in change.value} >= {(2, "b"), (3, "c")}
