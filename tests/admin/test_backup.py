"""A backup of a SQLite file that is in use: whole, of one moment, and nothing at all if it fails."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from rstore import Change, Store, StoreClosedError, StoreError
from rstore.adapters.memory import MemoryLog
from rstore.progress import Progress
from tests.conftest import KEY, OTHER_KEY, Backend
from tests.support.workers import Crew


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


@pytest.fixture
def store(path: Path) -> Any:
    with Store(path, frozen=False) as opened:
        yield opened


def left_over(directory: Path) -> list[str]:
    """Return the files there that are not of the store itself."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("test.db"))


def fill(store: Store) -> None:
    """Write more than one step of a backup copies."""
    store.set_many({f"k{i}": os.urandom(100_000) for i in range(60)})


def test_a_backup_holds_everything_of_all_namespaces(store: Store, path: Path, copy: Path) -> None:
    with store.context(who="ada"):
        store["k"] = 1
    store.extend("series", (1, "a"))
    store.apply("events", {"n": 1})
    with Store(path, "secret", KEY, frozen=False) as secret:
        secret["k"] = "encrypted"
    heard: list[Progress] = []

    store.backup(copy, heard.append)

    assert heard[-1].done == heard[-1].total
    with Store(copy) as backup, Store(copy, "secret", KEY) as secret:
        assert list(backup.log()) == list(store.log())
        assert backup.namespaces() == ["default", "secret"]
        assert secret["k"] == "encrypted"
    assert left_over(copy.parent)[0] == "copy.db"


def test_a_frozen_store_is_backed_up_too(store: Store, path: Path, copy: Path) -> None:
    store["k"] = 1
    with Store(path) as frozen:
        frozen.backup(str(copy))
    with Store(copy) as backup:
        assert dict(backup) == {"k": 1}


def test_it_is_of_one_moment_while_others_write(store: Store, path: Path, copy: Path) -> None:
    """All that was acknowledged before is in it, nothing is there in half, and it does not have to begin again."""
    fill(store)
    stopped, began = threading.Event(), threading.Event()
    acknowledged = 0

    def write() -> None:
        nonlocal acknowledged
        with Store(path, frozen=False) as writer:
            for n in count(1):
                writer.set_many({"one": n, "two": n})
                writer.apply("events", {"n": n}, t=n)
                acknowledged = n
                began.set()
                if stopped.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    assert began.wait(30)
    before, during = acknowledged, []

    def wait_for_a_write(progress: Progress) -> None:
        assert progress.done > max(during, default=0), "it has begun again"
        seen = acknowledged
        while acknowledged == seen:
            stopped.wait(0.001)
        during.append(progress.done)

    try:
        store.backup(copy, wait_for_a_write)
    finally:
        stopped.set()
        writer.join()
    after = acknowledged

    assert len(during) > 1
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with Store(copy) as backup:
        assert backup["one"] == backup["two"]
        assert before <= backup["one"] < after
        assert backup["one"] - 1 <= backup.current("events")["n"] <= backup["one"]
        assert len(backup.history("one", "kv")) == backup["one"]
        assert [event.timestamp for event in backup.events("events")] == list(
            range(1, backup.current("events")["n"] + 1)
        )


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_what_processes_wrote_before_is_in_it_also_of_those_that_were_killed(
    backend: Backend, tmp_path: Path, copy: Path
) -> None:
    with Crew(backend, tmp_path, None, seed=1) as crew:
        for name in ("ada", "bob"):
            crew.start("write", name)
        crew.work(0.5)
        before = crew.told("write")
        backend.store(frozen=True).backup(copy)
        crew.stop()
    with Store(copy) as backup:
        assert before
        assert set(before) <= set(chain.from_iterable(map(idents, backup.log())))


def idents(change: Change) -> list[str]:
    return [value for _, value in change.value] if change.op == "extend" else [change.value]


def test_an_existing_file_is_left_alone(store: Store, copy: Path) -> None:
    copy.write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        store.backup(copy)
    assert copy.read_text() == "mine"
    assert left_over(copy.parent) == ["copy.db"]


def test_a_file_that_appears_meanwhile_is_left_alone(store: Store, copy: Path) -> None:
    with pytest.raises(StoreError, match="is there already"):
        store.backup(copy, lambda _: copy.write_text("mine"))
    assert copy.read_text() == "mine"
    assert left_over(copy.parent) == ["copy.db"]


def test_nothing_is_left_of_a_backup_that_was_interrupted(store: Store, copy: Path) -> None:
    fill(store)

    def interrupt(progress: Progress) -> None:
        assert left_over(copy.parent) != ["copy.db"]
        assert progress.done < (progress.total or 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backup(copy, interrupt)
    assert left_over(copy.parent) == []
    store.backup(copy)
    assert len(store) == 60


def test_a_disk_that_is_full_is_reported_and_left_as_it_was(
    store: Store, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    connect = sqlite3.connect

    def small(*args: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*args, **options)
        if "unfinished" in str(args[0]):
            db.execute("PRAGMA max_page_count = 100")
        return db

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(StoreError, match=r"copy\.db can't be made: .*full.*nothing of it was left"):
        store.backup(copy)
    assert left_over(copy.parent) == []


def test_a_directory_that_is_not_there_is_reported(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be made"):
        store.backup(tmp_path / "nowhere" / "copy.db")


def test_a_backup_in_the_place_of_the_file_is_another_file(store: Store, path: Path, copy: Path) -> None:
    """A store that still has the first one open must not go on with what it remembers of that."""
    store["k"] = "then"
    [(checkpoint, _)] = store.follow()
    store.backup(copy)
    store["lost"] = "later"
    lost = [found for found, _ in store.follow()][-1]
    store.close()
    for ending in ("", "-wal", "-shm"):
        path.with_name(f"test.db{ending}").unlink(missing_ok=True)
    copy.rename(path)
    with Store(path, frozen=False) as restored:
        assert dict(restored) == {"k": "then"}
        restored["k"] = "now"
        assert [change.value for _, change in restored.follow(after=checkpoint)] == ["now"]
        assert [change.value for _, change in restored.follow(after=lost)] == ["now"]


def identity(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA application_id").fetchone()[0])


def test_each_backup_has_an_identity_of_its_own(store: Store, path: Path, tmp_path: Path) -> None:
    names = [path, tmp_path / "copy1.db", tmp_path / "copy2.db"]
    for name in names[1:]:
        store.backup(name)
    assert len(set(map(identity, names))) == 3


@pytest.mark.parametrize(
    ("backend", "tool"),
    [("memory", "SQLite file"), ("postgresql", "pg_dump"), ("redis", "BGSAVE"), ("cluster", "BGSAVE")],
    indirect=["backend"],
)
def test_other_backends_say_what_to_use_instead(backend: Backend, tmp_path: Path, tool: str) -> None:
    with pytest.raises(StoreError, match=tool):
        backend.store(key=OTHER_KEY).backup(tmp_path / "copy.db")
    assert os.listdir(tmp_path) == []


def test_a_backend_that_says_nothing_is_backed_up_by_a_copy(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(MemoryLog, "instead_of_backup")
    with Store("memory://", frozen=False) as store, pytest.raises(StoreError, match=r"memory://.*use 'rstore copy'"):
        store.backup(copy)


def test_a_backup_is_no_part_of_a_transaction(store: Store, copy: Path) -> None:
    with pytest.raises(StoreError, match="a backup can't be part of a transaction"), store.transaction():
        store.backup(copy)
    assert not copy.exists()


def test_a_closed_store_says_so(store: Store, copy: Path) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        store.backup(copy)


def test_who_may_not_read_the_store_may_not_read_its_backup(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store["k"] = 1
        (tmp_path / "a.db").chmod(0o600)
        store.backup(tmp_path / "b.db")
    assert (tmp_path / "b.db").stat().st_mode & 0o777 == 0o600
