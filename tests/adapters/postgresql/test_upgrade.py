"""A schema of version 3 is brought to the present one by the first store that may write: once, whole, or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from rstore import Store
from rstore.adapters.dsn import open_log
from rstore.adapters.postgresql.statements import APPEND_ONE, SCHEMA_VERSION
from rstore.admin.check import check
from rstore.domain.log import Record
from rstore.domain.streams import ES, KV, TS, Stream
from tests.adapters.postgresql.locks import until_waiting
from tests.conftest import postgresql
from tests.fixtures.story import HERE

NAMESPACE = "plain"
PRICE = Stream(KV, "price")

pytestmark = pytest.mark.server


def connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)


@pytest.fixture
def old() -> Iterator[str]:
    """A database with a schema of version 3, as a dump of that time has it; it has a foreign key."""
    name = f"rs_{uuid4().hex}"
    with connect(postgresql()) as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    dsn = psycopg.conninfo.make_conninfo(postgresql(), dbname=name)
    with psycopg.connect(dsn) as db:
        db.execute((HERE / "1" / "postgresql.sql").read_bytes())
    with connect(dsn) as db:
        db.execute("SELECT rstore.arrive()")  # its own server is another one
    assert state(dsn) == (3, 1)
    yield url(name)
    with connect(postgresql()) as db:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def url(name: str) -> str:
    """Return the DSN of a database for a store."""
    parts = psycopg.conninfo.conninfo_to_dict(postgresql()) | {"dbname": name}
    return "postgresql://?" + "&".join(f"{key}={value}" for key, value in parts.items())


def state(dsn: str) -> tuple[int, int]:
    """Return the version of a schema, and how many foreign keys it has: the version and its tables belong together."""
    with connect(dsn) as db:
        (version,) = db.execute("SELECT schema_version FROM rstore.about").fetchone() or (0,)
        (keys,) = db.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").fetchone() or (0,)
    return version, keys


def records(dsn: str) -> dict[Stream, list[Record]]:
    """Return all records of the namespace, with their positions."""
    log = open_log(dsn)(NAMESPACE, True)
    log.open()
    try:
        streams = [head.stream for kind in (KV, TS, ES) for head in log.heads(kind, live=False)]
        return {stream: list(log.read(stream)) for stream in streams}
    finally:
        log.close()


def run(script: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a process, and return its code and what it said of errors."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


OPEN = """
import sys
from rstore import Store
with Store(sys.argv[1], "plain", frozen=False) as store:
    store["by " + sys.argv[2]] = 1
"""


def test_processes_that_upgrade_at_once_and_older_stores_that_write_meanwhile_lose_nothing(old: str) -> None:
    before = records(old)
    payload, stop = before[PRICE][-1].data, threading.Event()
    written: dict[str, list[int]] = {"a": [], "b": []}

    def write(name: str) -> None:
        """Call the function of the schema as a store of that time does: its parameters are the same."""
        entry = 1, 0, 0, None, 0, "", "setitem", payload, None
        with connect(old) as db:
            while not stop.is_set():
                row = db.execute(
                    APPEND_ONE, (30_000, True, NAMESPACE, "kv", f"old {name}", None, True, False, False, *entry)
                )
                written[name].append(row.fetchone()[0])  # type: ignore[index]

    writers = [threading.Thread(target=write, args=(name,)) for name in written]
    for writer in writers:
        writer.start()
    racing = [run(OPEN, old, n) for n in range(3)]
    try:
        ended = list(map(finished, racing))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert ended == [(0, "")] * 3
    assert state(old) == (SCHEMA_VERSION, 0)
    after = records(old)
    assert {stream: after[stream] for stream in before} == before
    for name, versions in written.items():
        assert len(versions) > 1
        assert [record.version for record in after[Stream(KV, f"old {name}")]] == versions
    with Store(old, NAMESPACE) as store:
        assert [key for key in store if key.startswith("by ")] == [f"by {n}" for n in range(3)]
        assert list(check(store)) == []


KILLED = """
import itertools, os, signal, sys
from rstore import Store
from rstore.adapters.postgresql.pool import PostgresqlPool
from rstore.adapters.postgresql.server import Connection
moment, count = int(sys.argv[2]), itertools.count()

def killing(call):
    def killed(*args, **options):
        try:
            return call(*args, **options)
        finally:
            if next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    return killed

make = PostgresqlPool._make_schema
def upgrade(self, db):
    rows, execute = Connection.rows, Connection.execute
    Connection.rows, Connection.execute = killing(rows), killing(execute)
    make(self, db)
    Connection.rows, Connection.execute = rows, execute
PostgresqlPool._make_schema = upgrade
Store(sys.argv[1], "plain", frozen=False).open()
"""


def test_an_upgrade_that_is_killed_at_any_moment_leaves_the_old_schema(old: str) -> None:
    before, moment = records(old), 0
    while (ended := finished(run(KILLED, old, moment)))[0] == -signal.SIGKILL:
        assert state(old) == (3, 1)
        moment += 1
    assert ended == (0, "")
    assert moment == 5  # after each statement, the last of which changes all
    assert state(old) == (SCHEMA_VERSION, 0)
    assert records(old) == before
    with Store(old, NAMESPACE) as store:
        assert list(check(store)) == []


def test_an_upgrade_that_is_killed_while_it_waits_for_a_writer_is_made_by_the_next_one(old: str) -> None:
    before = records(old)
    with psycopg.connect(old) as writer:
        writer.execute("SELECT FROM rstore.namespace WHERE name = %s FOR SHARE", (NAMESPACE,))
        process = run(OPEN, old, "killed")
        until_waiting(old, 1)
        process.kill()
        assert finished(process)[0] == -signal.SIGKILL
        following = run(OPEN, old, "next")
        until_waiting(old, 2)  # the server has not noticed the end of the first one
    assert finished(following) == (0, "")
    assert state(old) == (SCHEMA_VERSION, 0)
    after = records(old)
    assert {stream: after[stream] for stream in before} == before
    with Store(old, NAMESPACE) as store:
        assert [key for key in store if key.startswith("by ")] == ["by next"]
        assert list(check(store)) == []
