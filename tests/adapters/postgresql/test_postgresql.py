"""PostgreSQL alone: what its operators, poolers, standbys and failures do to a store."""

from __future__ import annotations

import operator
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rstore import FrozenStoreError, Store, StoreConflictError, StoreError, StoreNotAvailableError
from rstore.adapters.dsn import open_log
from rstore.adapters.postgresql import batching, writing
from rstore.adapters.postgresql.server import Connection, Server
from rstore.adapters.postgresql.statements import EPOCH_STEP, SCHEMA_VERSION
from rstore.admin.check import check
from rstore.domain.log import Batch, Copy, Entry, Log, Query, Record, ReplayQuery, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, TS, Stream
from tests.adapters.postgresql.locks import until_waiting
from tests.conftest import KEY, postgresql
from tests.support.proxy import CALLS, Proxy, turns_of
from tests.support.servers import Postgres, free_port, wait_until

SECRET = "s3cret-w0rd"
ENTRY = Entry(1, 1, "", "extend", b"")


@pytest.fixture
def database() -> Iterator[str]:
    """A new database, without any schema of ours."""
    name = f"rs_{uuid4().hex}"
    with psycopg.connect(postgresql(), autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield dsn_with(dbname=name)
    with psycopg.connect(postgresql(), autocommit=True) as db:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that a test may kill."""
    with Postgres.start() as server:
        yield server


def dsn_with(dsn: str = "", **changed: Any) -> str:
    """Return a DSN, by default that of the shared server, with some of its parts replaced."""
    parts = conninfo_to_dict(dsn or postgresql()) | changed
    return "postgresql://?" + "&".join(f"{name}={quote(str(value))}" for name, value in parts.items())


def connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)


def opened(stack: ExitStack, dsn: str, **options: Any) -> Store:
    return stack.enter_context(Store(dsn, **{"frozen": False, **options}))


def fill(store: Store) -> None:
    store.set_many({"a": 1, "b": {"x": [2]}})
    store["a"] = 3
    store.extend("series", ((t, t * 1.5) for t in range(10_000)))
    store.apply("events", {"n": 1})
    store.apply("events", {"n": (operator.add, 1)})


def contents(store: Store) -> list[object]:
    series = store.range("series", 10, n=5), store.last("series"), store.timeseries()
    return [dict(store), *series, store.current("events"), store.eventsources(), len(list(store._core.log.follow()))]


def run(script: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_one_round_trip(database: str, name: str) -> None:
    with Proxy(int(conninfo_to_dict(database)["port"])) as proxy, ExitStack() as stack:
        store = opened(stack, dsn_with(database, host="127.0.0.1", port=proxy.port))
        taken = turns_of(proxy, store, name, 12)
        assert sorted(taken)[:-1] == [1] * 11
        assert max(taken) <= 2  # when a statement comes up for the sixth time it is prepared


def test_apply_takes_two_round_trips_when_its_key_is_cold(database: str) -> None:
    with Proxy(int(conninfo_to_dict(database)["port"])) as proxy, ExitStack() as stack:
        opened(stack, database).apply("events", {"n": 0})
        store = opened(stack, dsn_with(database, host="127.0.0.1", port=proxy.port))
        begun = proxy.turns
        store["a"] = 1
        assert proxy.turns - begun == 2  # the first write of a store asks for the keys of its namespace
        before = proxy.turns
        store.apply("events", {"n": (operator.add, 1)})
        assert proxy.turns - before == 2


# -- writers -----------------------------------------------------------------------------------------------------------


class Held:
    """A transaction of somebody else's that has written and is not yet committed."""

    def __init__(self, dsn: str) -> None:
        self.db = psycopg.connect(dsn)

    def append(self, key: str, kind: str = TS, namespace: str = "default") -> None:
        self.db.execute(
            "SELECT * FROM rstore.append_one(0, true, %s, %s, %s, NULL, true, false, false, "
            "1::bigint, 1::bigint, 1::bigint, 0::bigint, 1::bigint, '', 'extend', ''::bytea, NULL::bytea)",
            (namespace, kind, key),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()


def write(log: Log, key: str) -> int:
    return log.append([Batch(Stream(TS, key), [ENTRY], 1)])[0]


@pytest.fixture
def log(database: str) -> Iterator[Log]:
    log = open_log(database + "&timeout=5")("default", False)
    log.open()
    yield log
    log.close()


def test_writers_of_different_keys_do_not_wait_for_each_other(database: str) -> None:
    with Store(database + "&timeout=1", frozen=False) as store, Held(database) as held:
        fill(store)
        held.append("theirs")  # a new stream
        held.append("series")
        store["a"] = 4
        store["new"] = 1
        store.extend("new series", (1, 2))
        store.apply("events", {"n": (operator.add, 1)})
        store.apply("new events", {"n": 1})
        del store["b"]
        store.set_many({"x": 1, "y": 2})
        assert len(store) == 4
        with pytest.raises(StoreNotAvailableError, match="lock"):
            store.extend("series", (1, 2))
        held.db.commit()
        store.extend("series", (1, 2))


def test_a_key_made_by_two_at_once_is_made_by_one(database: str) -> None:
    with Store(database, frozen=False) as store, Held(database) as held:
        store["a"] = 1
        held.append("new")
        first: list[object] = []

        def expect_new() -> None:
            try:
                first.append(store._core.log.append([Batch(Stream(TS, "new"), [ENTRY], 1, expect=0)]))
            except StoreConflictError as exc:
                first.append(exc)

        waiting = threading.Thread(target=expect_new)
        waiting.start()
        until_waiting(database)
        assert not first
        held.db.commit()
        waiting.join(20)
        (conflict,) = first
        assert isinstance(conflict, StoreConflictError)
        assert conflict.expected == 0 < conflict.actual


def test_a_conflict_and_a_discard_do_not_wait_for_each_other(log: Log, database: str) -> None:
    """The writer has waited for the stream, which the discard waits for then, and may not wait for the namespace."""
    version = write(log, "s")
    other = open_log(database)("default", False)
    other.open()
    with closing(other), Held(database) as held, ThreadPoolExecutor() as threads:
        held.append("s")
        appended = threads.submit(log.append, [Batch(Stream(TS, "s"), [ENTRY], 1, expect=version)])
        until_waiting(database)
        discarded = threads.submit(other.discard)
        until_waiting(database, 2)
        assert not appended.done()
        held.db.commit()
        with pytest.raises(StoreConflictError) as raised:
            appended.result(20)
        assert raised.value.expected == version
        assert raised.value.actual in (version + 1, 0)  # both waited for the stream; the discard may get it first
        discarded.result(20)
    assert log.head(Stream(TS, "s")) is None


FORGET = """
SELECT * FROM rstore.rewrite(
    0, true, 'default', '{ts}', '{s}', '{NULL}', '{NULL}', '{0}', '{1000}', '{f}', '{t}', NULL, '{}')"""


def test_a_stream_that_is_being_forgotten_does_not_repeat_its_versions(log: Log, database: str) -> None:
    for _ in range(5):
        old = write(log, "s")
    with Held(database) as held:
        held.db.execute(FORGET)
        found: list[int] = []
        waiting = threading.Thread(target=lambda: found.append(write(log, "s")))
        waiting.start()
        until_waiting(database)
        assert not found
        held.db.commit()
        waiting.join(20)
    assert found[0] > old


def test_a_stream_that_is_forgotten_while_its_writer_waits_does_not_repeat_its_versions(
    log: Log, database: str
) -> None:
    """The writer has drawn the number of its new streams before it waits for the first of them."""
    write(log, "a")
    write(log, "s")
    with Held(database) as held, Held(database) as other:
        held.append("a")
        found: list[list[int]] = []
        batches = [Batch(Stream(TS, key), [ENTRY, ENTRY], 1) for key in "sax"]
        waiting = threading.Thread(target=lambda: found.append(log.append(batches)))
        waiting.start()
        until_waiting(database)
        assert not found
        for _ in range(20):
            other.append("s")
        other.db.commit()
        old = log.head(Stream(TS, "s"))
        other.db.execute(FORGET)
        other.db.commit()
        held.db.commit()
        waiting.join(20)
    assert found[0][0] - 1 > old.version
    assert found[0][0] == found[0][2]
    for key, version in zip("sax", found[0], strict=True):
        head = log.head(Stream(TS, key))
        assert head.version == version
        assert [record.version for record in log.read(Stream(TS, key))][-2:] == [version - 1, version]
        assert (head.died, log.last([Stream(TS, key)])[0].version) == (0, version)


def test_what_only_happens_to_live_streams_sees_those_that_were_made_while_it_waited(log: Log, database: str) -> None:
    """Both are deleted, or neither: the other transaction has written to both."""
    write(log, "a")
    with Held(database) as held:
        held.append("a")
        held.append("b")
        ends = [Batch(Stream(TS, key), [ENTRY], 1, live=False, if_live=True) for key in "ab"]
        waiting = threading.Thread(target=log.append, args=(ends,))
        waiting.start()
        until_waiting(database)
        held.db.commit()
        waiting.join(20)
    assert list(log.heads(TS)) == []
    assert len(list(log.heads(TS, live=False))) == 2


def test_an_append_to_streams_that_do_not_live_leaves_no_rows(log: Log, database: str) -> None:
    write(log, "a")
    ends = [Batch(Stream(TS, key), [ENTRY], 1, live=False, if_live=True) for key in "xay"]
    assert log.append(ends) == [0, log.head(Stream(TS, "a")).version, 0]
    assert [head.stream.key for head in log.heads(TS, live=False)] == ["a"]


def test_a_long_append_is_recorded_at_one_time_that_its_last_part_finds(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, "b")
    log.append([Batch(Stream(TS, "y"), [ENTRY], 1000)])
    monkeypatch.setattr(batching, "CHUNK_ROWS", 2)
    versions = log.append([Batch(Stream(TS, key), [ENTRY] * 3, 5) for key in "abcyz"])
    for key, version in zip("abcyz", versions, strict=True):
        records = list(log.read(Stream(TS, key)))
        assert [record.recorded for record in records][-3:] == [1000] * 3
        assert [record.version for record in records][-3:] == [version - 2, version - 1, version]
    assert next(log.read(Stream(TS, "b"))).recorded == 1
    later = log.append([Batch(Stream(TS, "a"), [ENTRY], 5)])
    assert [record.recorded for record in log.read(Stream(TS, "a")) if record.version in later] == [1000]


def test_plans_that_were_made_while_there_were_few_streams_do_for_many(log: Log, database: str) -> None:
    """PostgreSQL keeps the plans of a session. To read a whole table is the best plan only while that is small."""
    old, new = [Batch(Stream(KV, "a"), [ENTRY], 1)], Batch(Stream(KV, "c"), [ENTRY], 1)
    terms = (5000, True, "default")
    writes: list[Callable[[Connection], object]] = [
        lambda db: writing.append(db, terms, [*old, new]),
        lambda db: writing.append(db, terms, [batch._replace(replace=True) for batch in old]),
        lambda db: writing.append(db, terms, [batch._replace(live=False) for batch in old]),
        lambda db: writing.rewrite(db, terms, [Rewrite(batch.stream, None, range(1), live=False) for batch in old]),
        lambda db: writing.rewrite(db, terms, [Rewrite(batch.stream, None, [1, 2]) for batch in old]),
        lambda db: writing.restore(db, terms, [Copy(batch.stream, 10_000, True, 0) for batch in old]),
    ]

    def read_by(write: Callable[[Connection], object]) -> int:
        """Return how many rows a write has read, and take it back."""
        read = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
        with db.transaction():
            before = db.rows(read)[0][0]
            write(db)
            after = db.rows(read)[0][0]
            raise psycopg.Rollback
        return int(after - before)

    log.append(old)
    with Server.at(database, "full", 5).connect() as db:
        db.execute("ANALYZE rstore.stream, rstore.record")
        few = [read_by(write) for write in writes]
        log.append([Batch(Stream(KV, f"k{i}"), [ENTRY], 1) for i in range(5000)])
        many = [read_by(write) for write in writes]
    assert many == few


def test_a_record_without_a_stream_ends_no_feed_early(database: str) -> None:
    with Store(database, frozen=False) as store:
        for key in "abc":
            store[key] = 1
        with connect(database) as db:
            db.execute("DELETE FROM rstore.stream WHERE key = 'b'")
        with pytest.raises(StoreError, match="damaged: a record at position"):
            list(store._core.log.follow())
        assert "has no stream" in next(iter(check(store))).message


def test_a_namespace_that_is_being_discarded_takes_nothing_new_with_it(log: Log, database: str) -> None:
    for _ in range(5):
        old = write(log, "s")
    with Held(database) as held:
        held.db.execute("SELECT rstore.discard(0, true, 'default')")
        found: list[int] = []
        waiting = threading.Thread(target=lambda: found.append(write(log, "other")))
        waiting.start()
        until_waiting(database)
        held.db.commit()
        waiting.join(20)
    assert found[0] > old
    assert [stream.key for _, stream, _ in log.follow()] == ["other"]


def test_a_discard_waits_for_streams_that_are_just_being_made(log: Log, database: str) -> None:
    write(log, "s")
    with Held(database) as held:
        held.append("new")
        done = threading.Thread(target=log.discard)
        done.start()
        until_waiting(database)
        assert done.is_alive()
        held.db.commit()
        done.join(20)
    with connect(database) as db:
        for table in ("record", "stream", "namespace"):
            assert db.execute(f"SELECT count(*) FROM rstore.{table}").fetchone() == (0,)


# -- followers ---------------------------------------------------------------------------------------------------------


def followed(log: Log, after: Any = None) -> list[tuple[Any, str]]:
    return [(position, stream.key) for position, stream, _ in log.follow(after)]


def test_a_record_that_commits_late_is_not_skipped_and_comes_in_order(log: Log, database: str) -> None:
    write(log, "a")
    with Held(database) as held:
        held.append("late")
        write(log, "b")
        first = followed(log)
        assert [key for _, key in first] == ["a"]  # b waits for what was begun before it
        write(log, "c")
        assert followed(log, first[-1][0]) == []
        held.db.commit()
    second = followed(log, first[-1][0])
    assert [key for _, key in second] == ["late", "b", "c"]
    positions = [position for position, _ in first + second]
    assert positions == sorted(positions)
    assert followed(log) == first + second


def test_a_record_that_is_rolled_back_holds_nobody_up(log: Log, database: str) -> None:
    with Held(database) as held:
        held.append("never")
        write(log, "b")
        assert followed(log) == []
        held.db.rollback()
    assert [key for _, key in followed(log)] == ["b"]


def test_along_a_stream_positions_increase_whoever_began_first(log: Log, database: str) -> None:
    with Held(database) as held:
        held.append("a")  # it has the lower transaction id,
        first = write(log, "b")
        held.append("b")  # and comes second here
        held.db.commit()
    records = [(position, record.version) for position, stream, record in log.follow() if stream.key == "b"]
    assert [version for _, version in records] == [first, first + 1]
    assert records == sorted(records)
    assert [record.position for record in log.read(Stream(TS, "b"))] == [position for position, _ in records]


def test_who_does_not_write_to_the_log_holds_no_follower_up(log: Log, database: str) -> None:
    with closing(psycopg.connect(database)) as other:
        other.execute("CREATE TABLE theirs (x int)")
        other.execute("INSERT INTO theirs VALUES (1)")
        other.execute("SELECT * FROM rstore.record")
        write(log, "a")
        assert [key for _, key in followed(log)] == ["a"]


def test_who_gathers_statistics_of_the_log_holds_no_follower_up(log: Log, database: str) -> None:
    """As autovacuum does at any time."""
    with closing(psycopg.connect(database)) as other:
        other.execute("ANALYZE rstore.stream")
        other.execute("SELECT pg_current_xact_id()")
        write(log, "a")
        assert [key for _, key in followed(log)] == ["a"]


def test_a_standby_shows_a_record_that_commits_late_too(server: Postgres) -> None:
    with ExitStack() as stack:
        opened(stack, server.dsn)
        primary = open_log(server.dsn)("default", False)
        primary.open()
        write(primary, "a")
        standby = stack.enter_context(server.standby())
        frozen = open_log(standby.dsn)("default", True)
        frozen.open()
        held = stack.enter_context(Held(server.dsn))
        held.append("late")
        write(primary, "b")
        with connect(standby.dsn) as db:
            wait_until(lambda: db.execute("SELECT count(*) FROM rstore.record").fetchone() == (2,), standby)
        first = followed(frozen)
        assert [key for _, key in first] == ["a"]
        held.db.commit()
        wait_until(lambda: len(followed(frozen, first[-1][0])) == 2, standby)
        assert [key for _, key in followed(frozen, first[-1][0])] == ["late", "b"]
        primary.close()
        frozen.close()


def test_a_log_brought_here_from_a_server_with_higher_transaction_ids_is_followed(log: Log, database: str) -> None:
    write(log, "a")
    write(log, "b")
    with connect(database) as db:
        db.execute("UPDATE rstore.about SET system = 1")
        db.execute("UPDATE rstore.stream SET txid = txid + 1000000000")
        db.execute("UPDATE rstore.record SET txid = txid + 1000000000")
    frozen = open_log(database)("default", True)
    frozen.open()
    old = followed(frozen)
    assert [key for _, key in old] == ["a", "b"]
    log.close()
    log.open()
    write(log, "a")
    write(log, "c")
    new = followed(log, old[-1][0])
    assert [key for _, key in new] == ["a", "c"]
    assert followed(frozen) == old + new == sorted(old + new)
    frozen.close()


def test_a_follower_that_began_before_the_first_writer_does_not_overtake_the_second(log: Log, database: str) -> None:
    write(log, "a")
    write(log, "b")
    with connect(database) as db:
        db.execute("UPDATE rstore.about SET system = 1")
    following = log.follow()
    first = next(following)
    log.close()
    log.open()
    with Held(database) as held:
        held.append("late")
        write(log, "c")
        assert [stream.key for _, stream, _ in [first, *following]] == ["a", "b"]


def test_a_writer_that_was_open_while_the_log_moved_is_followed(database: str) -> None:
    with Store(database, frozen=False) as store:
        store["a"] = 1
        *_, (checkpoint, _, _) = store._core.log.follow()
        with connect(database) as db:
            db.execute("UPDATE rstore.about SET system = 1")
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'rstore'"
            assert db.execute(ended).fetchall() == [(True,)]
            db.execute("UPDATE rstore.record SET txid = txid + 1000000000")
            db.execute("UPDATE rstore.stream SET txid = txid + 1000000000")
        store["b"] = 2
        assert [stream.key for _, stream, _ in store._core.log.follow(checkpoint)][-1:] == ["b"]
        store.discard()
        store["c"] = 3
        *_, (later, _, _) = store._core.log.follow()
        assert later > checkpoint


# -- reading only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_role_that_may_only_select_reads_everything_and_writes_nothing(database: str, key: str | None) -> None:
    role = f"reader_{uuid4().hex}"
    with Store(database, frozen=False, key=key) as store, connect(database) as db:
        fill(store)
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT USAGE ON SCHEMA rstore TO {role}")
        db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA rstore TO {role}")
        try:
            with Store(dsn_with(database, user=role), key=key) as reader:
                assert contents(reader) == contents(store)
                assert reader.namespaces() == ["default"]
                assert list(check(reader)) == []
                with pytest.raises(FrozenStoreError):
                    reader["a"] = 1
            with pytest.raises(StoreNotAvailableError, match=r"privilege.*permission denied"):
                Store(dsn_with(database, user=role), frozen=False, key=key).open()
        finally:
            db.execute(f"DROP OWNED BY {role}")
            db.execute(f"DROP ROLE {role}")


def granted(role: str) -> Iterator[str]:
    """Yield the statements with which the docs grant a role its rights."""
    text = (Path(__file__).parents[3] / "docs" / "backends.md").read_text(encoding="utf-8")
    yield from re.findall(rf"^GRANT [^;]* TO {role};", text, re.MULTILINE)


@pytest.mark.parametrize(("role", "frozen"), [("reader", True), ("writer", False)])
def test_the_rights_that_the_docs_grant_suffice(database: str, role: str, frozen: bool) -> None:
    login = f"{role}_{uuid4().hex}"
    with Store(database, "other", frozen=False) as store, connect(database) as db:
        fill(store)
        db.execute(f"CREATE ROLE {login} LOGIN")
        statements = list(granted(role))
        assert statements
        for statement in statements:
            db.execute(statement.replace(f"TO {role}", f"TO {login}"))
        try:
            with Store(dsn_with(database, user=login), "other", frozen=frozen) as theirs:
                assert contents(theirs) == contents(store)
                if not frozen:
                    fill(theirs)
                    theirs.delete("a")
                    theirs.compact()
                    for version in (10_000, 1 << 45):  # above all that was given out, for which room is made
                        theirs._core.log.restore([Copy(Stream(TS, f"{version}"), version, True, 0)])
                    theirs.discard()
        finally:
            db.execute(f"DROP OWNED BY {login}")
            db.execute(f"DROP ROLE {login}")


def test_a_session_that_is_read_only_can_be_read_and_says_so_to_writers(database: str) -> None:
    read_only = dsn_with(database, options="-c default_transaction_read_only=on")
    with pytest.raises(StoreNotAvailableError, match="read-only"):
        Store(read_only, frozen=False).open()
    with Store(database, frozen=False) as store:
        fill(store)
        with Store(read_only) as reader:
            assert contents(reader) == contents(store)
        with pytest.raises(StoreNotAvailableError, match=r"read-only.*frozen=True"):
            Store(read_only, frozen=False).open()


def test_a_hot_standby_can_be_read_and_says_so_to_writers(server: Postgres) -> None:
    with Store(server.dsn, frozen=False) as store:
        fill(store)
        with server.standby() as standby:
            with Store(standby.dsn) as reader:
                assert contents(reader) == contents(store)
                store["a"] = "later"
                store.extend("series", (50_000, 1.0))
                deadline = time.monotonic() + 20
                while contents(reader) != contents(store):
                    assert time.monotonic() < deadline
            with pytest.raises(StoreNotAvailableError, match=r"standby.*frozen=True"):
                Store(standby.dsn, frozen=False).open()


# -- the schema --------------------------------------------------------------------------------------------------------

CREATE = """
    import sys
    from rstore import Store

    print("ready", flush=True)
    sys.stdin.readline()
    with Store(sys.argv[1], sys.argv[2], frozen=False) as store:
        store[sys.argv[3]] = 1
"""


def test_processes_may_make_the_schema_and_a_namespace_at_once(database: str) -> None:
    children = [run(CREATE, database, f"n{i % 2}", i) for i in range(6)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    for number in range(2):
        with Store(database, f"n{number}") as store:
            assert store.keys() == [str(i) for i in range(number, 6, 2)]


def test_a_frozen_store_makes_nothing(database: str) -> None:
    for _ in range(2):
        with pytest.raises(StoreNotAvailableError, match="no namespace 'default'"):
            Store(database).open()
    with connect(database) as db:
        assert db.execute("SELECT to_regnamespace('rstore')").fetchone() == (None,)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_newer_schema_is_refused_and_left_alone(database: str, frozen: bool) -> None:
    Store(database, frozen=False).open().close()
    with connect(database) as db:
        db.execute("UPDATE rstore.about SET schema_version = 99")
    with pytest.raises(StoreNotAvailableError, match=r"schema version 99.*install a newer rstore"):
        Store(database, frozen=frozen).open()


def test_an_earlier_schema_is_brought_up_to_date_by_the_first_writer(database: str) -> None:
    with Store(database, frozen=False) as store:
        fill(store)
        before = contents(store)
        *_, (checkpoint, _, last) = store._core.log.follow()
    with connect(database) as db:
        db.execute("DROP FUNCTION rstore.timeline, rstore.epoch")
        db.execute("ALTER TABLE rstore.about DROP COLUMN timeline")
        db.execute(
            "ALTER TABLE rstore.stream ADD CONSTRAINT stream_namespace_fkey FOREIGN KEY (namespace) REFERENCES "
            "rstore.namespace"
        )
        db.execute("UPDATE rstore.about SET schema_version = 1")
    with Store(database) as reader:
        assert contents(reader) == before
        for _ in range(2):
            with Store(database, frozen=False) as store:
                assert contents(store)[:-1] == before[:-1]
                store.apply("events", {"n": (operator.add, 1)})
                before = contents(store)
        new = [record.version for _, _, record in reader._core.log.follow(checkpoint)]
    assert len(new) == 2
    assert min(new) > last.version
    with connect(database) as db:
        assert db.execute("SELECT schema_version FROM rstore.about").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("SELECT conname FROM pg_constraint WHERE contype = 'f'").fetchall() == []


def test_a_schema_that_could_not_restore_learns_it(database: str) -> None:
    with Store(database, frozen=False) as store:
        fill(store)
    with connect(database) as db:
        db.execute("DROP FUNCTION rstore.restore, rstore.pass_over")
        db.execute("UPDATE rstore.about SET schema_version = 2")
    with Store(database, frozen=False) as store:
        store._core.log.restore([Copy(Stream(TS, "new"), 5, True, 0)])
        assert store._core.log.head(Stream(TS, "new")).version == 5


def test_a_copy_with_versions_far_above_waits_for_writers_so_that_followers_skip_none(database: str) -> None:
    stream, high = (
        Stream(TS, "slow"),
        Copy(Stream(TS, "high"), 1 << 45, True, 0, [Record(1, None, 1, 0, 0, "", "", b"")]),
    )
    with Store(database, frozen=False) as one, Store(database, frozen=False) as two, ThreadPoolExecutor() as pool:

        def slow() -> Iterator[Entry]:
            yield from (Entry(number, number, "", "extend", b"") for number in range(9000))  # it has begun to send
            restoring.append(pool.submit(two._core.log.restore, [high]))
            time.sleep(0.2)
            assert not restoring[0].done()
            assert list(two._core.log.follow()) == []

        restoring: list[Future[None]] = []
        one._core.log.append([Batch(stream, slow(), 1)])
        restoring[0].result()
        assert [stream.key for _, stream, _ in one._core.log.follow()] == ["slow"] * 9000 + ["high"]


def test_a_database_that_cannot_hold_all_text_is_refused(database: str) -> None:
    name = f"rs_{uuid4().hex}"
    with connect(database) as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        try:
            with pytest.raises(StoreNotAvailableError, match="UTF8"):
                Store(dsn_with(database, dbname=name), frozen=False).open()
        finally:
            db.execute(f"DROP DATABASE {name}")


def test_discard_leaves_nothing_of_the_namespace_and_all_of_the_others(database: str) -> None:
    with Store(database, "mine", frozen=False) as mine, Store(database, "yours", frozen=False) as yours:
        fill(mine)
        mine.delete("a")
        fill(yours)
        with connect(database) as db:
            db.execute("CREATE TABLE theirs (x int)")
            db.execute("INSERT INTO theirs VALUES (1)")
            before = contents(yours)
            mine.discard()
            assert contents(yours) == before
            assert db.execute("SELECT * FROM theirs").fetchall() == [(1,)]
            assert db.execute("SELECT name FROM rstore.namespace").fetchall() == [("yours",)]
        yours.discard()
        with connect(database) as db:
            for table in ("record", "stream", "namespace"):
                assert db.execute(f"SELECT count(*) FROM rstore.{table}").fetchone() == (0,)


def test_ids_that_are_used_again_lead_to_no_value_of_another_key(database: str) -> None:
    with Store(database, frozen=False) as store:
        store.set_many({"a": "A", "b": "B"})
        assert store["b"] == "B"
        with connect(database) as db:
            db.execute("DROP SCHEMA rstore CASCADE")
        with Store(database, frozen=False) as other:
            other.set_many({"x": "X", "y": "Y"})
        assert store.get("b") is None


def test_nobody_can_slip_a_function_of_his_own_into_a_write(database: str) -> None:
    """Who may create in a schema that is searched could run what he likes with the rights of whoever writes."""
    with Store(database, frozen=False, history=False) as store, connect(database) as db:
        db.execute("CREATE TABLE public.caught (what text)")
        for name, types in (("cardinality", "text[]"), ("cardinality", "bigint[]"), ("unnest", "bigint[]")):
            db.execute(
                f"CREATE FUNCTION public.{name}({types}) RETURNS int LANGUAGE plpgsql AS "
                f"$$ BEGIN INSERT INTO public.caught VALUES ('{name}'); RETURN 1; END $$"
            )
        fill(store)
        store.set_many({"a": 1, "b": 2})
        store.pop("a")
        store.compact()
        store.discard()
        assert db.execute("SELECT * FROM public.caught").fetchall() == []


@pytest.mark.parametrize("rows", [2, 4096])
def test_writers_and_those_who_forget_and_discard_do_not_lock_each_other_out(
    database: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "CHUNK_ROWS", rows)
    names = [f"key {i}" for i in range(8)]
    failed: list[Exception] = []

    def work(me: int) -> None:
        dice = random.Random(me)
        with Store(database, frozen=False, history=False) as store:
            for _ in range(150):
                picked = dice.sample(names, 3)
                try:
                    if me == 0:
                        store.discard()
                    elif me % 2:
                        store.set_many(dict.fromkeys(picked, me))
                    else:
                        store.delete(*picked)
                except StoreError as exc:
                    failed.append(exc)

    workers = [threading.Thread(target=work, args=(me,)) for me in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failed == []


# -- failures ----------------------------------------------------------------------------------------------------------


def address(server: Postgres) -> str:
    return f"postgresql://postgres:{SECRET}@127.0.0.1:{server.port}/postgres?timeout=5"


def with_idle_connections(store: Store, number: int = 4) -> None:
    """Let a store have several connections that wait to be used."""
    readers = [store.points("series") for _ in range(number)]
    for reader in readers:
        next(reader)


def test_a_server_that_was_killed_is_missed_and_used_again_when_it_is_back(server: Postgres) -> None:
    with Store(address(server), frozen=False) as store:
        store.extend("series", ((t, os.urandom(200)) for t in range(100_000)))
        store["a"] = 1
        for call in (lambda: store.set("a", 2), lambda: store["a"], lambda: store.last("series")):
            with_idle_connections(store)
            server.kill()
            for _ in range(2):
                with pytest.raises(StoreNotAvailableError, match=rf"127\.0\.0\.1:{server.port}") as caught:
                    call()
                assert SECRET not in str(caught.value)
            server.restart()
            call()
            store["b"] = store["a"]


def test_a_session_that_was_ended_while_it_was_idle_is_not_used(database: str) -> None:
    with Store(database, frozen=False) as store, connect(database) as db:
        for value in range(5):
            store["a"] = value
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'rstore'"
            assert db.execute(ended).fetchall() == [(True,)]
            assert store["a"] == value
            assert db.execute(ended).fetchall() == [(True,)]


def test_opening_waits_for_a_lock_no_longer_than_the_timeout(database: str) -> None:
    Store(database, frozen=False).open().close()
    with closing(psycopg.connect(database)) as db:
        db.execute("LOCK TABLE rstore.stream IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreNotAvailableError, match="lock"):
            Store(database + "&timeout=1", "new", frozen=False).open()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_the_clients_encoding_is_of_no_account(database: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    with Store(database, frozen=False) as store:
        store["ключ😀"] = 1
        assert dict(store) == {"ключ😀": 1}


def test_a_value_that_no_backup_could_hold_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_LARGEST", 10_000)
    with Store(database, frozen=False) as store:
        store["small"] = os.urandom(5_000)
        with pytest.raises(StoreError, match="larger than PostgreSQL"):
            store["large"] = os.urandom(20_000)
        with pytest.raises(StoreError, match="larger than PostgreSQL"):
            store.set_many({"other": 1, "large": os.urandom(20_000)})
        assert store.keys() == ["small"]


def test_an_iterator_ends_with_an_error_when_its_server_is_killed(server: Postgres) -> None:
    with Store(address(server), frozen=False) as store:
        store.extend("series", ((t, os.urandom(2000)) for t in range(50_000)))
        points = store.points("series")
        next(points)
        server.kill()
        with pytest.raises(StoreNotAvailableError):
            list(points)
        server.restart()
        assert len(store.range("series")) == 50_000


def test_what_was_acknowledged_survives_kills_and_nothing_is_written_twice(server: Postgres) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def work() -> None:
        with Store(address(server), frozen=False) as store:
            number = 0
            while not stop.is_set():
                number += 1
                with suppress(StoreNotAvailableError):
                    store.extend("series", (number, number))
                    acknowledged.append(number)

    Store(address(server), frozen=False).open().close()
    writer = threading.Thread(target=work)
    writer.start()
    for _ in range(4):
        time.sleep(0.3)
        server.kill()
        server.restart()
    time.sleep(0.2)
    stop.set()
    writer.join(30)
    with Store(address(server)) as store:
        stored = [t for t, _ in store.range("series")]
        appended = [record.start for record in store._core.log.read(Stream(TS, "series"))]
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(stored)
    assert len(appended) == len(set(appended)) == len(stored)


def test_a_write_whose_answer_is_lost_says_so_and_is_not_repeated(database: str) -> None:
    with Proxy(int(conninfo_to_dict(database)["port"])) as proxy, ExitStack() as stack:
        opened(stack, database)["a"] = 0
        store = opened(stack, dsn_with(database, host="127.0.0.1", port=proxy.port))
        store["a"] = 1
        proxy.silent = True
        threading.Timer(0.3, proxy.cut).start()
        with pytest.raises(StoreNotAvailableError, match="not known"):
            store["a"] = 2
        proxy.silent = False
        assert store["a"] == 2
        assert len(list(store._core.log.follow())) == 3


def test_a_read_whose_answer_is_lost_does_not_speak_of_writes(database: str) -> None:
    with Proxy(int(conninfo_to_dict(database)["port"])) as proxy, ExitStack() as stack:
        store = opened(stack, dsn_with(database, host="127.0.0.1", port=proxy.port))
        store["a"] = 1
        proxy.silent = True
        threading.Timer(0.3, proxy.cut).start()
        with pytest.raises(StoreNotAvailableError) as caught:
            store.get("a")
        assert "not known" not in str(caught.value)


def test_where_no_server_is_opening_fails_at_once() -> None:
    port = free_port()
    store = Store(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/db?timeout=60", frozen=False)
    started = time.monotonic()
    with pytest.raises(StoreNotAvailableError, match=f"{port}.*[Cc]onnection refused") as caught:
        store.open()
    assert time.monotonic() - started < 5
    assert SECRET not in f"{caught.value} {caught.value!r} {store!r}"


def test_a_server_that_does_not_answer_is_given_up_within_the_timeout(database: str) -> None:
    with Proxy(int(conninfo_to_dict(database)["port"])) as proxy:
        proxy.silent = True
        started = time.monotonic()
        with pytest.raises(StoreNotAvailableError, match="timeout"):
            Store(dsn_with(database, host="127.0.0.1", port=proxy.port) + "&timeout=2").open()
        assert time.monotonic() - started < 8


def test_a_wrong_password_is_not_told() -> None:
    with Postgres.start() as server:
        hba = next(server.directory.rglob("pg_hba.conf"))
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with connect(server.dsn) as db:
            db.execute(f"CREATE ROLE ada LOGIN SUPERUSER PASSWORD '{SECRET}'")
            db.execute("SELECT pg_reload_conf()")
        right = f"postgresql://ada:{SECRET}@127.0.0.1:{server.port}/postgres"
        with Store(right, frozen=False) as store:
            store["a"] = 1
            assert SECRET not in repr(store)
        for wrong in (right.replace(SECRET, "wr0ng!"), right.replace(f":{SECRET}", "") + "?password=wr0ng!"):
            with pytest.raises(StoreNotAvailableError, match=f"ada@127.0.0.1:{server.port}.*password") as caught:
                Store(wrong).open()
            assert "wr0ng" not in f"{caught.value} {caught.value!r} {Store(wrong)!r}"


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://ada:{SECRET}@[host/db",
        f"postgresql://ada:pass@{SECRET}:word@host/db",
        f"postgresql://ada:{SECRET}@host:port/db",
        f"postgresql://ada:12/{SECRET}@host/db",
        f"postgresql://ada:{SECRET}%zz@host/db",
        f"postgresql://ada:{SECRET}@host/db?speed=fast",
        f"postgresql://ada@host:{SECRET}@other/db",
    ],
)
def test_a_bad_uri_is_a_value_error_that_keeps_secrets(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"DSN|URI") as caught:
        Store(dsn)
    told = traceback.TracebackException.from_exception(caught.value)
    assert SECRET not in "".join(line for line in told.format() if "    raise" not in line and "test_" not in line)


def test_an_unknown_option_names_ours() -> None:
    with pytest.raises(ValueError, match=r"'speed'.*durability.*timeout.*prepare"):
        Store("postgresql://host/db?speed=fast")


# -- after a loss ------------------------------------------------------------------------------------------------------


class Pair:
    """A primary and an asynchronous standby, which takes its address over without what it was not sent."""

    def __init__(self, primary: Postgres, standby: Postgres) -> None:
        self._primary, self._standby = primary, standby
        self.dsn = primary.tcp_dsn

    def cut(self) -> None:
        """Let the standby have all that there is, and nothing of what follows."""
        with connect(self.dsn) as primary, connect(self._standby.dsn) as standby:
            (written,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone() or ()
            has_all = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_until(lambda: standby.execute(has_all, (written,)).fetchone() == (True,), self._standby)
        self._standby.shutdown()

    def fail_over(self) -> None:
        self._primary.kill()
        self._standby.port = self._primary.port
        self._standby.restart()
        with connect(self.dsn) as db:
            assert db.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)


@pytest.fixture
def pair(server: Postgres) -> Iterator[Pair]:
    with server.standby() as standby:
        yield Pair(server, standby)


def epoch_of(dsn: str) -> int:
    with connect(dsn) as db:
        (epoch,) = db.execute("SELECT epoch FROM rstore.about").fetchone() or ()
    return int(epoch)


@pytest.mark.parametrize("others", [1, 3, 6], ids=["fewer", "as many", "more"])
def test_nothing_is_built_on_events_that_a_failover_lost(pair: Pair, others: int) -> None:
    with ExitStack() as stack:
        store, idle = opened(stack, pair.dsn), opened(stack, pair.dsn)
        store.apply("events", {"n": 1, "kept": True})
        pair.cut()
        for number in range(3):
            store.apply("events", {"n": 2, f"lost {number}": number})
        idle.current("events")
        store.apply("lost", {"n": 1})
        *_, (checkpoint, _, lost) = store._core.log.follow()
        pair.fail_over()
        other = opened(stack, pair.dsn)
        for number in range(others):
            other.apply("events", {"other": number})
        other.apply("lost", {"other": 1})
        assert idle.apply("events", {"n": (operator.add, 10)}) == {"n": 11, "kept": True, "other": others - 1}
        for reader in (store, idle, other, opened(stack, pair.dsn)):
            assert reader.current("events") == {"n": 11, "kept": True, "other": others - 1}
            assert reader.current("lost") == {"other": 1}
        assert store.apply("lost", {"n": 5}) == {"other": 1, "n": 5}
        new = [record.item for _, _, record in store._core.log.follow(checkpoint)]
        assert new == ["other"] * (others + 1) + ["n", "n"]
        assert min(record.version for _, _, record in store._core.log.follow(checkpoint)) > lost.version


def test_where_nobody_has_written_since_a_failover_there_is_what_it_left(pair: Pair) -> None:
    with ExitStack() as stack:
        store = opened(stack, pair.dsn)
        store.apply("events", {"n": 1})
        pair.cut()
        store.apply("events", {"n": 2})
        store.apply("lost", {"n": 1})
        pair.fail_over()
        assert store.current("events") == {"n": 1}
        assert store.current("lost") is None
        assert store.apply("events", {"n": (operator.add, 10)}) == {"n": 11}


def test_a_snapshot_is_not_made_of_events_that_a_failover_lost(pair: Pair) -> None:
    with ExitStack() as stack:
        store = opened(stack, pair.dsn)
        store.apply("events", {"n": 0})
        pair.cut()
        for _ in range(300):
            store.apply("events", {"n": (operator.add, 1)})
        pair.fail_over()
        other = opened(stack, pair.dsn)
        for _ in range(300):
            other.apply("events", {"n": (operator.sub, 1)})
        for _ in range(300):
            store.apply("events", {"n": (operator.sub, 1)})
        assert store.current("events") == opened(stack, pair.dsn).current("events") == {"n": -600}


def test_only_a_failover_begins_another_epoch_and_only_once(pair: Pair, server: Postgres) -> None:
    with ExitStack() as stack:
        stores = [opened(stack, pair.dsn) for _ in range(3)]
        stores[0]["a"] = 0
        for end in (server.shutdown, server.kill):
            end()
            server.restart()
            stores[0]["a"] = 1
            assert epoch_of(pair.dsn) == 0
        pair.cut()
        pair.fail_over()
        for store in stores:
            store["a"] = 2
        assert epoch_of(pair.dsn) == EPOCH_STEP


WRITES: dict[str, Callable[[Store], object]] = {
    "append to a stream": lambda store: store.apply("events", {"n": 2}),
    "append to a new stream": lambda store: store.apply("new", {"n": 2}),
    "append to several": lambda store: store.set_many({"a": 2, "b": 2}),
    "rewrite": lambda store: store.prune("events"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_writer_whose_pooler_changes_servers_begins_another_epoch(database: str, name: str) -> None:
    with Store(database, frozen=False) as store, connect(database) as db:
        store.set_many({"a": 1, "b": 1})
        for number in range(3):
            store.apply("events", {"n": number})
        db.execute("UPDATE rstore.about SET timeline = '0000000F'")
        WRITES[name](store)
        assert epoch_of(database) == EPOCH_STEP
        assert db.execute("SELECT count(*) > 0 FROM rstore.stream WHERE version > %s", (EPOCH_STEP,)).fetchone() == (
            True,
        )
        below = "SELECT count(*) FROM rstore.record WHERE version <= %s AND txid > %s"
        assert db.execute(below, (EPOCH_STEP, EPOCH_STEP)).fetchone() == (0,)


def test_versions_go_on_from_an_epoch(log: Log, database: str) -> None:
    first = [write(log, "a"), write(log, "b")]
    with connect(database) as db:
        db.execute("UPDATE rstore.about SET timeline = '0000000F'")
    assert write(log, "a") == EPOCH_STEP + 1
    assert write(log, "a") == EPOCH_STEP + 2
    both = [Batch(Stream(TS, key), [ENTRY, ENTRY], 1) for key in ("a", "b")]
    assert log.append(both) == [EPOCH_STEP + 4, EPOCH_STEP + 2]
    log.rewrite([Rewrite(Stream(TS, "b"), None, range(TIME_MAX), live=False)])
    again = write(log, "b")
    assert again > EPOCH_STEP + 2 > max(first)
    assert log.append([Batch(Stream(TS, "b"), [ENTRY], 1, expect=again)]) == [again + 1]


def test_a_projection_of_lost_events_begins_anew(log: Log) -> None:
    stream = Stream(ES, "events")
    for start in range(4):
        log.append([Batch(stream, [Entry(start, start, "n", "setitem", b"")], 1)])
    versions = [record.version for record in log.read(stream)]
    log.rewrite([Rewrite(stream, None, versions[1:2], bump_version=False)])  # what a failover can do to a version

    def is_of_use(version: int) -> bool:
        (replay,) = log.replay([ReplayQuery(stream, Query(after=version), None)])
        assert replay is not None
        return version >= replay.head.floor

    assert [is_of_use(version) for version in versions] == [True, False, True, True]
    log.rewrite([Rewrite(stream, None, versions[3:])])
    head = log.head(stream)
    assert head is not None
    log.append([Batch(stream, [Entry(9, 9, "n", "setitem", b"")], 1)])
    assert is_of_use(head.version)  # that of a rewrite has no record


def test_what_was_read_before_a_failover_does_not_erase_what_it_left(log: Log) -> None:
    stream = Stream(TS, "series")
    kept = log.append([Batch(stream, [ENTRY, ENTRY], 1)])[0]
    merged = [Record(kept - 1, None, 1, *ENTRY), Record(kept + 1, None, 1, *ENTRY)]
    with pytest.raises(StoreConflictError):
        log.rewrite([Rewrite(stream, None, range(kept + 2), merged)])
    log.rewrite([Rewrite(stream, None, range(kept + 2), bump_version=False)])
    assert [record.version for record in log.read(stream)] == [kept]


def test_an_id_of_before_a_failover_leads_to_no_value_of_another_namespace(database: str) -> None:
    with Store(database, "lost", frozen=False) as store, connect(database) as db:
        store["a"] = "A"
        assert store["a"] == "A"
        db.execute("DROP SCHEMA rstore CASCADE")
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'rstore'"
        assert db.execute(ended).fetchall() == [(True,)]
        with Store(database, "new", frozen=False) as other:
            other["a"] = "B"
            assert store.get("a") is None


# -- poolers, time-outs, durability ----------------------------------------------------------------------------------


def test_nothing_is_left_in_a_session_that_a_pooler_could_give_to_somebody_else(database: str) -> None:
    names = ("lock_timeout", "statement_timeout", "synchronous_commit", "default_transaction_read_only", "search_path")
    with connect(database) as db:
        fresh = [db.execute(f"SHOW {name}").fetchone() for name in names]
    with Store(f"{database}&prepare=off&durability=normal", frozen=False) as store:
        for _ in range(8):
            fill(store)
            contents(store)
            abandoned = store.points("series")
            next(abandoned)
            del abandoned
            for db in store._core.log._pool._pool._session.idle:  # type: ignore[attr-defined]
                assert [db.execute(f"SHOW {name}").fetchone() for name in names] == fresh
                for table in ("pg_prepared_statements", "pg_cursors", "pg_listening_channels()"):
                    assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
                locks = db.execute(
                    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
                )
                assert locks.fetchone() == (0,)
                db.execute("DISCARD ALL")


def test_a_time_out_of_the_users_own_holds(database: str) -> None:
    impatient = {"lock_timeout": "lock", "statement_timeout": "statement_timeout"}
    Store(database, frozen=False).open().close()
    for setting, message in impatient.items():
        dsn = dsn_with(database, options=f"-c {setting}=200")
        with Store(dsn + "&timeout=30", frozen=False) as store, Held(database) as held:
            held.append(setting)
            started = time.monotonic()
            with pytest.raises(StoreNotAvailableError, match=message):
                store.extend(setting, (1, 2))
            assert time.monotonic() - started < 5
            held.db.commit()
            store.extend(setting, (1, 2))


def test_a_session_at_another_isolation_level_is_told_what_to_do(database: str) -> None:
    store = Store(dsn_with(database, options="-c default_transaction_isolation=serializable"), frozen=False)
    with pytest.raises(StoreError, match="default_transaction_isolation"):
        store.open()


@pytest.mark.parametrize(("durability", "setting"), [("full", "on"), ("normal", "off")])
def test_durability_is_how_the_server_commits(database: str, durability: str, setting: str) -> None:
    with Store(f"{database}&durability={durability}", frozen=False) as store, connect(database) as db:
        db.execute("CREATE TABLE public.seen (how text)")
        db.execute(
            "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$"
        )
        db.execute("CREATE TRIGGER see AFTER INSERT OR DELETE ON rstore.record EXECUTE FUNCTION public.see()")
        fill(store)
        store.compact()
        store.discard()
        assert {how for (how,) in db.execute("SELECT how FROM public.seen")} == {setting}


def test_the_plans_of_writes_are_not_compiled(database: str) -> None:
    """With sequential scans off, PostgreSQL 17 takes a scan of one row to be worth it: for each write anew."""
    with Store(database, frozen=False) as store, connect(database) as db:
        db.execute("CREATE TABLE public.seen (how text)")
        db.execute(
            "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO public.seen VALUES (current_setting('jit')); RETURN NULL; END $$"
        )
        db.execute("CREATE TRIGGER see AFTER INSERT OR DELETE ON rstore.record EXECUTE FUNCTION public.see()")
        fill(store)
        store.compact()
        assert {how for (how,) in db.execute("SELECT how FROM public.seen")} == {"off"}


# -- forks -------------------------------------------------------------------------------------------------------------

FORK = """
    import os, sys
    from rstore import Store, StoreError

    with Store(sys.argv[1], frozen=False) as store:
        store.extend("series", ((t, os.urandom(100)) for t in range(100_000)))
        points = store.points("series")
        next(points)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                sum(1 for _ in points)
            except StoreError as exc:
                store["child"] = str(exc)
                del points
                store["again"] = store["child"]
                status = 0
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sum(1 for _ in points) == 99_999
        assert "fork" in store["child"] and "again" in store
"""


def test_an_iterator_goes_on_in_the_parent_and_is_refused_in_a_forked_child(database: str) -> None:
    child = run(FORK, database)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors


def test_a_checkpoint_is_above_all_times(log: Log) -> None:
    assert write(log, "a") > 0
    (position, _), *_ = followed(log)
    assert position < (TIME_MAX, 0)


def test_a_page_of_a_read_goes_by_the_largest_payload_however_that_was_written(database: str) -> None:
    """The page of a stream with large payloads has few records, so that memory holds it."""
    log = open_log(database)("default", False)
    log.open()
    small, large = ENTRY, ENTRY._replace(data=bytes(1000))

    def largest(name: str) -> int:
        with closing(connect(database)) as db:
            (found,) = db.execute("SELECT largest FROM rstore.stream WHERE key = %s", (name,)).fetchone() or ()
        return int(found)

    streams = [Stream(ES, name) for name in ("alone", "together", "put", "restored")]
    log.append([Batch(stream, (small,), 1) for stream in streams])
    assert [largest(stream.key) for stream in streams] == [0] * 4
    alone, together, put, restored = streams
    log.append([Batch(alone, (large,), 1)])
    log.append([Batch(together, (small, large, small), 1)])
    (record,) = log.read(put)
    log.rewrite([Rewrite(put, None, (), [record._replace(data=large.data)])])
    version = log.append([Batch(restored, (small,), 1)])[0] + 1
    log.restore([Copy(restored, version, True, 0, [record._replace(version=version, data=large.data)])])
    assert [largest(stream.key) for stream in streams] == [1000] * 4
    log.append([Batch(alone, (small,), 1)])
    assert largest(alone.key) == 1000
    log.close()
