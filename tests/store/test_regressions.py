"""What once went wrong, each as the story of who would have been hurt."""

from __future__ import annotations

import copy
import gc
import operator
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rstore.core
from rstore import Store, StoreError, StoreIntegrityError, StoreNotAvailableError, StorePayloadError
from rstore.domain import series
from rstore.domain.log import Batch, Entry
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
    monkeypatch.setattr("rstore.models.event_sequences._SNAPSHOT_EVERY", 3)
    store.apply("k", {"odd": Unpicklable(), "n": 0})
    store.apply("k", {"odd": (operator.add, 1)})
    for n in range(1, 10):
        assert store.apply("k", {"n": (operator.add, 1)})["n"] == n


def test_after_a_late_event_useless_snapshots_are_passed_over_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstore.models.event_sequences._SNAPSHOT_EVERY", 3)
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
    assert backend.store()._core.log.replay(Stream(ES, "k")).snapshot.start == 99  # type: ignore[union-attr]


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


# -- SQLite files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["rstores", "sqlite3x", "mine"])
def test_discard_leaves_a_file_with_somebody_elses_table(tmp_path: Path, table: str) -> None:
    path = tmp_path / "shared.db"
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE {table} (n)")
    db.close()
    with Store(f"sqlite://{path}?adopt=yes", frozen=False) as store:
        store["a"] = 1
        store.discard()
    assert path.exists()


def test_a_file_that_can_not_be_deleted_stays_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sticky.db"

    def refuse(path: object) -> None:
        raise PermissionError(1, "not permitted", str(path))

    with Store(path, frozen=False) as store:
        store["a"] = 1
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            store.discard()
        assert path.exists()
        assert list(store) == []
    with Store(path, frozen=False) as store:
        store["b"] = 2
        assert dict(store) == {"b": 2}


def test_a_store_notices_that_its_file_was_replaced(tmp_path: Path) -> None:
    """Versions begin anew in a new file: nothing that is known of the old one may be trusted."""
    path = tmp_path / "replaced.db"
    with Store(path, frozen=False) as store:
        store.apply("k", {"old": 1})
        store._core.log._pool.end_session()  # type: ignore[attr-defined]  # as before a fork
        with Store(path, frozen=False) as other:
            other.discard()
        assert not path.exists()
        with Store(path, frozen=False) as other:
            other.apply("k", {"new": 1})
        with pytest.raises(StoreNotAvailableError, match="replaced"):
            store.current("k")
    with store:
        assert store.current("k") == {"new": 1}


WRITES: dict[str, Callable[[Store], object]] = {
    "set": lambda store: store.set("k", "lost"),
    "set_many": lambda store: store.set_many({"k": "lost", "other": 1}),
    "extend": lambda store: store.extend("s", (1, "lost")),
    "compact": lambda store: store.compact(),
    "discard": lambda store: store.discard(),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("new", [True, False], ids=["replaced", "deleted"])
def test_nothing_is_written_to_a_file_that_has_lost_its_name(tmp_path: Path, write: str, new: bool) -> None:
    """It was acknowledged, and nobody saw it again."""
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    with Store(path, frozen=False) as store:
        store["k"] = "old"
        store.backup(backup)
        store["k"] = "new"
        for each in tmp_path.glob("a.db*"):
            each.unlink()
        if new:
            backup.rename(path)
        with pytest.raises(StoreNotAvailableError, match="nothing was stored"):
            WRITES[write](store)
    assert path.exists() == new
    if new:
        with store:
            assert dict(store) == {"k": "old"}
            WRITES[write](store)


@pytest.mark.parametrize("how", ["points", "follow"])
def test_an_iterator_dropped_half_way_gives_back_a_connection_that_can_write(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its statement still open, the next thread to take the connection was told 'database is locked' at once."""
    path = tmp_path / "half.db"
    with Store(path, frozen=False) as store, Store(path, frozen=False) as other:
        for t in range(20):
            store.extend("s", (t, t))
        pool = store._core.log._pool._pool  # type: ignore[attr-defined]
        give, written = pool.give, []

        def give_and_let_another_write(db: sqlite3.Connection) -> None:
            give(db)
            other["a"] = len(written)
            try:
                written.append(db.execute("BEGIN IMMEDIATE"))
                db.rollback()
            except sqlite3.Error as exc:
                written.append(exc)

        iterator: Any = store.points("s") if how == "points" else store._core.log.follow()
        next(iterator)
        monkeypatch.setattr(pool, "give", give_and_let_another_write)
        del iterator
        assert [type(each) for each in written] == [sqlite3.Cursor]


_OPENS_NOTHING_ITSELF = """
import sys
from rstore import Store
path, opened = sys.argv[1], []
with Store(path, frozen=False) as first:
    first['a'] = 1
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else None)
    with Store(path, frozen=False) as second, Store(path) as third:
        assert second['a'] == third['a'] == 1
        second.discard()
assert not [name for name in opened if str(name).startswith(path)], opened
"""


def test_only_sqlite_opens_its_file(tmp_path: Path) -> None:
    """POSIX drops all locks that a process has on a file when it closes the file anywhere: two would write at once."""
    subprocess.run([sys.executable, "-c", _OPENS_NOTHING_ITSELF, tmp_path / "locks.db"], check=True, timeout=60)


def test_a_very_long_timeout_is_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    for timeout in ("3000000", "1e10"):
        with Store(f"sqlite://{path}?timeout={timeout}", frozen=False) as store:
            store["a"] = timeout
            with store._core.log._pool.lease() as db:  # type: ignore[attr-defined]
                assert db.execute("PRAGMA busy_timeout").fetchone()[0] > 10**9


def test_a_fork_does_not_take_the_turn_of_a_thread_that_writes(tmp_path: Path) -> None:
    with Store(f"sqlite://{tmp_path}/turn.db?timeout=0", frozen=False) as store:
        pool = store._core.log._pool  # type: ignore[attr-defined]
        with pool.writer():
            pool.before_fork()
            pool.after_fork_in_parent()
            assert pool._writing.locked()
        pool.before_fork()
        assert pool._writing.locked()
        pool.after_fork_in_parent()
        assert not pool._writing.locked()


def test_discard_does_not_close_the_store_under_other_threads(tmp_path: Path) -> None:
    with Store(tmp_path / "busy.db", frozen=False) as store:
        done = threading.Event()
        failures: list[BaseException] = []

        def read() -> None:
            while not done.is_set():
                try:
                    store.get("a")
                except StoreError as exc:
                    failures.append(exc)

        reader = threading.Thread(target=read)
        reader.start()
        for i in range(30):
            store["a"] = i
            store.discard()
        done.set()
        reader.join()
        assert not failures


def test_a_file_name_has_no_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Store("nul\0name")


# -- long input -------------------------------------------------------------------------------------------------------


def test_input_that_waits_on_disk_is_stored_as_it_came(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.spool._MEMORY_BYTES", 10_000)
    points = [(t, os.urandom(8)) for t in range(20_000)]
    store.extend("s", iter(points))
    store.extend("s", (10**6, "short"))
    assert store.range("s") == [*points, (10**6, "short")]
    store.compact()
    assert store.range("s") == [*points, (10**6, "short")]


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


def test_a_checkpoint_of_a_file_that_was_deleted_skips_nothing_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path, frozen=False) as store:
        store.set_many({str(n): n for n in range(10)})
        *_, (checkpoint, _) = store.follow()
        store.discard()
    assert not path.exists()
    with Store(path, frozen=False) as store:
        store["new"] = 1
        assert [change.key for _, change in store.follow(after=checkpoint)] == ["new"]


@pytest.mark.parametrize("is_closed", [True, False])
def test_iterators_that_were_dropped_are_collected_in_silence(tmp_path: Path, is_closed: bool) -> None:
    """Of an iterator and its connection, which are collected together, Python 3.13 finishes the connection first."""

    def read_a_little() -> None:
        store = Store(tmp_path / "a.db", frozen=False).open()
        store.extend("s", *((n, str(n)) for n in range(5000)))
        iterators: list[Any] = [store.points("s"), store.follow()]
        for iterator in iterators:
            next(iterator)
        if is_closed:
            store.close()
        iterators.append(iterators)

    read_a_little()
    gc.collect()  # what is said here on standard error fails the test
