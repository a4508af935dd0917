"""A file of schema version 1 is read as it is, and brought to the present version by the first store that may write."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rstore import Store
from rstore.adapters.dsn import open_log
from rstore.adapters.sqlite import file
from rstore.adapters.sqlite import statements as sql
from rstore.admin.check import check
from rstore.domain.log import Query
from rstore.domain.streams import ES, KV, TS
from tests.fixtures.story import HERE

NAMESPACE = "plain"
VERSIONS = 200
STEPS = sum(len(file.script(name)) for name in file.MIGRATE)


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of version 1, in which one key has so many values that it has milestones."""
    path = Path(shutil.copy(HERE / "2" / "sqlite.db", tmp_path_factory.mktemp("made") / "old.db"))
    with closing(sqlite3.connect(path)) as db, db:
        (number, data, recorded) = db.execute(
            """SELECT s.id, r.data, r.recorded FROM rstore_record AS r JOIN rstore_stream AS s ON s.id = r.stream
            JOIN rstore_namespace AS n ON n.id = s.namespace
            WHERE n.name = ? AND s.kind = 'kv' AND s.key = 'price' ORDER BY version DESC LIMIT 1""",
            (NAMESPACE,),
        ).fetchone()
        db.executemany(
            """INSERT INTO rstore_record (stream, version, recorded, start, "end", item, op, data)
            VALUES (?, ?, ?, 0, 0, '', 'setitem', ?)""",
            ((number, version, recorded + version // 2, data) for version in range(3, VERSIONS)),
        )
    return path


@pytest.fixture
def old(first_version: Path, tmp_path: Path) -> Path:
    """Return a copy of the file."""
    return Path(shutil.copy(first_version, tmp_path / "old.db"))


@pytest.fixture(scope="module")
def before(first_version: Path) -> list[Any]:
    """Return what the file shows to a store that leaves it as it is."""
    return contents(first_version, frozen=True)


def contents(path: Path, *, frozen: bool) -> list[Any]:
    """Return all that the log shows, positions too."""
    log = open_log(path)(NAMESPACE, frozen)
    log.open()
    try:
        streams = [head.stream for kind in (KV, TS, ES) for head in log.heads(kind, live=False)]
        times = sorted({record.recorded for _, _, record in log.follow()})
        return [
            list(log.follow()),
            [list(log.read(stream)) for stream in streams],
            [list(log.read(stream, Query(after=70, until=times[-9], reverse=True, limit=5))) for stream in streams],
            [log.head(stream) for stream in streams],
            [(log.last(streams, until), [log.head(stream, until) for stream in streams]) for until in times[::9]],
            log.last(streams),
            [list(log.heads(kind, until=times[3])) for kind in (KV, TS, ES)],
            log.counts((KV, TS, ES)),
        ]
    finally:
        log.close()


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_a_frozen_store_reads_the_old_file_and_leaves_it_as_it_is(old: Path) -> None:
    content = old.read_bytes()
    before = contents(old, frozen=True)
    assert len(before[0]) > VERSIONS
    assert old.read_bytes() == content
    assert version_of(old) == 1


def test_all_is_as_before_once_it_was_migrated(old: Path, before: list[Any]) -> None:
    after = contents(old, frozen=False)
    assert version_of(old) == sql.SCHEMA_VERSION
    assert after == before
    with Store(old, NAMESPACE, frozen=False) as store:
        store["price"] = {"amount": 1, "currency": "EUR"}
        assert len(store.history("price")) == VERSIONS
        assert store.at(store.history("price")[100].recorded)["price"]["amount"] == 13
        assert list(check(store)) == []


def test_a_frozen_store_goes_on_with_a_file_that_is_migrated_meanwhile(old: Path) -> None:
    with Store(old, NAMESPACE) as reader:
        before = reader.get_many(reader.keys())
        with Store(old, NAMESPACE, frozen=False) as writer:
            writer["more"] = 1
        assert reader.get_many(reader.keys()) == before | {"more": 1}


def test_an_rstore_that_knows_only_the_old_version_fails_and_writes_nothing(old: Path) -> None:
    with closing(sqlite3.connect(old, isolation_level=None)) as earlier:
        select = "SELECT id FROM rstore_stream WHERE kind = 'kv'"
        assert earlier.execute(select).fetchall()
        contents(old, frozen=False)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            earlier.execute(select)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_migration_that_is_killed_leaves_the_old_file(old: Path, before: list[Any], step: int) -> None:
    killed = """
import itertools, os, signal, sys
from rstore import Store
from rstore.adapters.sqlite import file
from rstore.adapters.sqlite import statements as sql
script, count = file.script, itertools.count()
def counted(name):
    for statement in script(name):
        if next(count) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield statement
file.script = counted
Store(sys.argv[1], "plain", frozen=False).open()
"""
    done = subprocess.run([sys.executable, "-c", killed, old, str(step)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert version_of(old) == 1
    assert contents(old, frozen=False) == before


def test_processes_that_open_the_old_file_at_once_migrate_it_once(old: Path, before: list[Any]) -> None:
    opened = """
import sys
from rstore import Store
with Store(sys.argv[1], "plain", frozen=False) as store:
    store[f"by {sys.argv[2]}"] = 1
"""
    racing = [subprocess.Popen([sys.executable, "-c", opened, old, str(n)]) for n in range(4)]
    assert [process.wait(60) for process in racing] == [0] * 4
    after = contents(old, frozen=False)
    assert after[0][: len(before[0])] == before[0]
    with Store(old, NAMESPACE) as store:
        assert [key for key in store if key.startswith("by ")] == [f"by {n}" for n in range(4)]
        assert list(check(store)) == []
