"""A SQLite file: its name, its deletion, its locks and its connections."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas
import pytest

from rstore import Store, StoreError, StoreNotAvailableError
from rstore.adapters.sqlite.file import Connection


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


def test_a_key_that_gets_the_place_of_one_that_is_gone_is_not_taken_for_it(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False, history=False) as store:
        store["old"] = 1
        assert store["old"] == 1
        del store["old"]
        store["new"] = 2
        assert store.get("old") is None
        assert store["new"] == 2


def test_a_driver_that_takes_no_long_row_numbers_reads_beginnings_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early Pythons 3.11 have such a driver: Debian's is one."""

    def too_large(*_: object, **__: object) -> None:
        raise OverflowError("Python int too large to convert to C int")

    index = pandas.date_range("2026-11-01", periods=5_000, freq="s", unit="s")
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("s", pandas.Series(range(5_000), index))
        expected = store.first("s"), store.last("s"), store.resample("s", "1D", "max"), store.time_axis("s")
        monkeypatch.setattr(Connection, "blobopen", too_large)
        assert (store.first("s"), store.last("s"), store.resample("s", "1D", "max"), store.time_axis("s")) == expected
        assert expected[1][1] == 4_999


@pytest.mark.parametrize("read", [lambda s: s.current("k"), lambda s: list(s.log()), lambda s: s.history("k")])
def test_a_row_of_other_types_than_ours_is_a_damaged_file(tmp_path: Path, read: Callable[[Store], object]) -> None:
    path = tmp_path / "a.db"
    with Store(path, frozen=False) as s:
        s.apply("k", {"a": 1})
        s.apply("k", {"a": 2})
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE rstore_record SET item = x'61' WHERE version = (SELECT max(version) FROM rstore_record)")
        db.commit()
    with Store(path) as s, pytest.raises(StoreError, match="damaged"):
        read(s)
