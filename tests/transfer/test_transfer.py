"""A namespace moves between all backends, into a file and back, with all that it ever was."""

from __future__ import annotations

import gzip
import io
import json
import operator
import os
import random
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas
import pytest
import vega_datasets
from freezegun import freeze_time

from rstore import (
    FrozenStoreError,
    Store,
    StoreClosedError,
    StoreError,
    StoreFileError,
    StoreMissingKeyError,
    StoreNotAvailableError,
    StoreNotEmptyError,
    StoreWrongKeyError,
)
from rstore.adapters.memory import MemoryLog, Space
from rstore.adapters.sqlite import reading as sqlite
from rstore.admin.check import check, info
from rstore.domain import paging
from rstore.domain.log import Batch, Entry
from rstore.domain.streams import COPY, ES, KV, ORIGIN, PROJECT, SS, TS, Stream
from rstore.encoding.sealing import is_encrypted
from rstore.history import follow as following
from rstore.transfer import (
    Digest,
    Progress,
    TableOptions,
    copy,
    copying,
    digest,
    export,
    export_points,
    import_points,
    jsonlines,
    load,
)
from rstore.transfer.tabular import delimited, importing
from tests import conftest
from tests.conftest import BACKENDS, KEY, OTHER_KEY, Backend, case
from tests.support.servers import Valkey

DSNS: dict[str, Callable[[], str]] = {
    "postgresql": conftest.postgresql,
    "redis": conftest.redis,
    "cluster": conftest.cluster,
}
T1, T2 = 1_000, 2_000  # valid times


def fill(store: Store) -> None:
    """Write all that there is: kinds, deaths, rewrites, who and why, tokens, snapshots, checkpoints."""
    for number in range(40):
        store[f"k{number}"] = number
    with store.context(who="ada", why="tidying", ticket=7):
        store.delete("k1", "k2")
        store["k1"] = {"back": True}
        store.extend("series", ((t, t / 3) for t in range(5_000)))
        store.extend("series", (4_999, "later"), (-(2**63), None), (2**63 - 1, "é\0"))
        store.remove("series", start=10, end=20)
    store.extend("gone", (1, 1), (2, 2))
    store.remove("gone")
    store.extend("revived", (1, 1))
    store.remove("revived")
    store.extend("revived", (3, 3))
    store.apply("ended", {"n": 1})
    store.delete_events("ended")
    for number in range(300):  # more than a snapshot needs
        store.apply("events", {"n": (operator.add, 1) if number else 0, f"i{number % 7}": number})
    store.apply("late", {"a": 1}, t=T2)
    store.apply("late", {"b": 1}, t=T1)
    store.apply("empty", {"a": 1}, t=T1)
    store.apply("empty", {"a": (operator.delitem, None)}, t=T2)
    store.apply("pruned", {"a": 1}, t=T1)
    store.apply("pruned", {"a": 2}, t=T2)
    store.prune("pruned")
    store.set("token", 1, once="t1")
    store.apply("events", {"n": (operator.add, 1)}, once="t2")
    with store.transaction():
        store["both"] = 1
        store.extend("both", (1, 1))
    store.extend("merged", (1, 1))
    store.extend("merged", (2, 2))
    store.extend("merged", (3, 3))
    store.compact(before=store.history("both", kind=KV)[-1].recorded - 10**6)
    store.project("p", lambda change, into: None, prefix="both")


def shown(store: Store) -> dict[str, Any]:
    """Return all that a store shows."""
    events = {
        key: [(e.timestamp, e.item, e.op, e.value) for e in store.events(key) or ()] for key in store.eventsources()
    }
    log = [change._asdict() for change in store.log()]
    heads = [
        [(head.stream, head.version, head.live, head.died) for head in store._core.base.heads(kind, live=False)]
        for kind in (KV, TS, ES)
    ]
    return {
        "values": dict(store.items()),
        "series": {key: store.range(key) for key in store.timeseries()},
        "events": events,
        "states": {key: (store.current(key), store.past(key, T1)) for key in store.eventsources()},
        "log": log,
        "heads": heads,
        "then": dict(store.at(log[len(log) // 2]["recorded"]).items()) if log else {},
        "tokens": [
            (stream, record.item, head.version, head.live, head.died)
            for _, stream, record in follow(store)
            if "once" in stream.kind and (head := store._core.base.head(stream))
        ],
    }


def follow(store: Store) -> list[Any]:
    return list(store._core.base.follow())


def write_more(store: Store) -> None:
    """Write to what was copied, as if it had been there all the time."""
    assert store.apply("events", {"n": (operator.add, 1)}, once="t2") == store.current("events")  # done before
    versions = {kind: store.version("both", kind) for kind in (KV, TS)}
    store.set("both", 2, expect=versions[KV])
    store.extend("both", (2, 2), expect=versions[TS])
    n = store.current("events")["n"]
    assert store.apply("events", {"n": (operator.add, 1)})["n"] == n + 1
    store.delete("k3")
    assert store.apply("ended", {"n": 2}, expect=0) == {"n": 2}
    store.delete_events("ended")
    store.extend("gone", (9, 9))
    store.prune("events")
    assert store.current("events")["n"] == n + 1
    assert store.range("gone") == [(9, 9)]
    assert store.version("both", KV) > versions[KV]


def connector(name: str, path: Path, stack: ExitStack) -> Any:
    return BACKENDS[name](path, stack)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def source(tmp_path: Path, key: str | None) -> Iterator[Store]:
    """A store with a bit of everything, in a SQLite file."""
    with Store(tmp_path / "source.db", key=key, frozen=False) as store:
        fill(store)
        yield store


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "source.db", frozen=False) as store:
        fill(store)
        yield store


class TestCopy:
    @pytest.mark.server
    def test_around_all_backends_and_each_is_written_to(
        self, tmp_path: Path, stack: ExitStack, key: str | None
    ) -> None:
        names = ["sqlite", "postgresql", "redis", "cluster", "memory", "postgresql", "sqlite"]
        store = stack.enter_context(Store("memory://", key=key, frozen=False))
        fill(store)
        for number, name in enumerate(names):
            with case(number, name):
                folder = tmp_path / f"{number}"
                folder.mkdir()
                to = connector(name, folder, stack)
                target = stack.enter_context(Store(to, key=key, frozen=False))
                before, expected = shown(store), digest(store)
                assert copy(store, target) == expected == digest(target)
                assert shown(target) == before
                assert list(check(target)) == []
                assert [stream for _, stream, _ in follow(target) if stream.kind in (SS, COPY, PROJECT)] == [ORIGIN]
                write_more(target)
                assert list(check(target)) == []
                store = target

    def test_an_unopened_copy_of_what_is_encrypted_needs_no_key(self, backend: Backend, tmp_path: Path) -> None:
        with Store(tmp_path / "source.db", key=KEY, frozen=False) as source:
            fill(source)
            before = shown(source)
        with Store(tmp_path / "source.db") as source:
            assert copy(source, backend.store()) == digest(source)
        target = backend.store(key=[OTHER_KEY, KEY])
        assert shown(target) == before
        assert list(check(target)) == []
        records = digest(target).records
        assert target.rekey() == records

    @pytest.mark.parametrize(
        ("from_key", "to_key", "namespace"),
        [
            (None, None, "other"),
            (KEY, KEY, "other"),
            (KEY, OTHER_KEY, "default"),
            (KEY, None, "x"),
            (None, KEY, "default"),
        ],
    )
    def test_for_another_name_or_key_payloads_are_sealed_anew(
        self, tmp_path: Path, from_key: str | None, to_key: str | None, namespace: str
    ) -> None:
        with (
            Store(tmp_path / "source.db", key=from_key, frozen=False) as source,
            Store(tmp_path / "target.db", namespace, key=to_key, frozen=False) as target,
        ):
            fill(source)
            found = copy(source, target, plain=to_key is None)
            assert found == digest(target)
            assert shown(target) == shown(source)
            assert all(
                is_encrypted(record.data) == (to_key is not None)
                for _, stream, record in follow(target)
                if stream != ORIGIN
            )

    @pytest.mark.parametrize("namespace", ["default", "other"])
    def test_a_copy_decrypts_only_if_it_is_told_to(self, tmp_path: Path, namespace: str) -> None:
        target = tmp_path / "target.db"
        with Store(tmp_path / "source.db", key=KEY, frozen=False) as source:
            source["pin"] = "SECRET"
            with pytest.raises(StoreError, match=r"in clear what is encrypted in .*plain=True; nothing was stored"):
                copy(source, Store(target, namespace, frozen=False))
            assert not target.exists()
            copy(source, Store(target, namespace, frozen=False), plain=True)
        with Store(target, namespace) as found:
            assert found["pin"] == "SECRET"

    def test_a_copy_that_lacks_the_key_leaves_nothing_that_stands_in_the_way(self, tmp_path: Path) -> None:
        target = Store(tmp_path / "target.db", "other", key=KEY, frozen=False)
        with Store(tmp_path / "source.db", key=KEY, frozen=False) as source:
            source["a"] = 1
            with Store(tmp_path / "source.db") as without_key, pytest.raises(StoreMissingKeyError):
                copy(without_key, Store(tmp_path / "target.db", "other", frozen=False))
            assert not (tmp_path / "target.db").exists()
            copy(source, target)
        with target:
            assert target["a"] == 1

    def test_a_copy_takes_stores_and_says_so(self) -> None:
        with pytest.raises(TypeError, match=r"a Store or a view of one, not str: open it with Store"):
            copy("a.db", "b.db")  # type: ignore[arg-type]

    def test_what_can_not_be_opened_is_not_copied_to_another_name(self, tmp_path: Path) -> None:
        with Store(tmp_path / "source.db", key=KEY, frozen=False) as source:
            source["a"] = 1
        with Store(tmp_path / "source.db") as source, Store("memory://", "other", frozen=False) as target:
            with pytest.raises(StoreMissingKeyError):
                copy(source, target)
            assert list(target) == []
        with (
            Store(tmp_path / "source.db", key=OTHER_KEY) as source,
            Store("memory://", "other", key=KEY, frozen=False) as target,
            pytest.raises(StoreWrongKeyError),
        ):
            copy(source, target)

    @pytest.mark.parametrize(
        "write",
        [
            lambda store: store.set("a", 1),
            lambda store: store._core.base.append([Batch(Stream(TS, "a"), (), 1)]),  # a head, and no record
            lambda store: store.project("p", lambda change, into: None, rebuild=True),
        ],
    )
    def test_a_target_that_holds_anything_is_refused(self, plain: Store, write: Callable[[Store], object]) -> None:
        with Store("memory://", frozen=False) as target:
            write(target)
            before = follow(target)
            with pytest.raises(StoreNotEmptyError, match=r"'default' in memory:// is not empty: .* discard\(\)"):
                copy(plain, target)
            assert follow(target) == before

    def test_from_one_namespace_to_another_of_the_same_backend(self, backend: Backend, key: str | None) -> None:
        source, target = backend.store(key=key), backend.store(namespace="other", key=key)
        fill(source)
        copy(source, target)
        assert shown(target) == shown(source)
        source.discard()
        write_more(target)

    def test_a_store_is_not_copied_to_itself(self, plain: Store) -> None:
        before = shown(plain)
        with pytest.raises(ValueError, match="source and target are the same"):
            copy(plain, plain)
        assert shown(plain) == before

    def test_a_frozen_source_will_do_and_a_frozen_target_will_not(self, plain: Store, tmp_path: Path) -> None:
        with Store(tmp_path / "target.db", frozen=False) as target, Store(tmp_path / "source.db") as source:
            copy(source, target)
        with Store(tmp_path / "target.db") as target, pytest.raises(FrozenStoreError):
            copy(plain, target)

    def test_an_empty_namespace_is_copied_too(self, backend: Backend) -> None:
        with Store("memory://", frozen=False) as source:
            assert copy(source, backend.store()) == digest(source)
        assert digest(backend.store()).records == 0

    def test_an_interrupted_copy_is_not_gone_on_with_from_another_source(
        self, plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "_BATCH_RECORDS", 10)
        with Store("memory://", frozen=False) as twin, Store("memory://", frozen=False) as target:
            copy(plain, twin)
            target._core.base.restore = failing(target._core.base.restore, 3)  # type: ignore[method-assign]
            with pytest.raises(Interrupt):
                copy(plain, target)
            with pytest.raises(StoreNotEmptyError, match="a part of another source"):
                copy(twin, target)  # whose positions are others, though it holds the same
            with pytest.raises(StoreNotEmptyError, match="a part of another source"):
                load(target, io.StringIO(exported(plain)))
            assert copy(plain, target) == digest(plain)

    def test_what_is_written_meanwhile_is_copied_as_well(self, plain: Store) -> None:
        written = []

        def write(_: Progress) -> None:
            if len(written) < 2:
                written.append(plain.set("meanwhile", len(written)))
                plain.extend("gone", (len(written), 1))

        with Store("memory://", frozen=False) as target:
            assert copy(plain, target, progress=write) == digest(plain)
            assert shown(target) == shown(plain)
            assert target["meanwhile"] == 1

    @pytest.mark.server
    def test_what_another_writers_transaction_keeps_from_followers_is_not_left_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "_MAX_WAITS", 2)
        dsn, name = conftest.postgresql(), uuid4().hex
        with (
            Store(dsn, name, frozen=False) as source,
            Store(dsn, f"{name} other", frozen=False) as other,
            Store("memory://", name, frozen=False) as target,
        ):
            source["a"] = 1

            def long() -> Iterator[Entry]:
                yield from (Entry(n, n, "", "extend", b"") for n in range(9_000))  # it has begun to send
                source["b"] = 2
                with pytest.raises(StoreError, match="another writer's transaction"):
                    copy(source, target)
                with pytest.raises(StoreError, match="while it was exported"):
                    exported(source)

            other._core.base.append([Batch(Stream(TS, "long"), long(), 1)])
            assert copy(source, target) == digest(source)
            assert dict(target) == {"a": 1, "b": 2}
            source.discard()
            other.discard()

    def test_a_view_is_copied_as_what_was_known_then(self, memory: Store) -> None:
        with Store("memory://", frozen=False) as source:
            with freeze_time("2026-01-01"):
                source["a"] = 1
                source.apply("e", {"n": 1})
            source["a"] = 2
            then = source.at(source.history("e")[0].recorded)
            assert copy(then, memory) == digest(then)
        assert (memory["a"], memory.current("e")) == (1, {"n": 1})

    def test_a_view_takes_no_copies(self, memory: Store) -> None:
        with pytest.raises(FrozenStoreError):
            copy(memory, memory.at(0))
        refused = pytest.raises(StoreError, match="can't be part of a transaction")
        with Store("memory://", frozen=False) as other, memory.transaction(), refused:
            copy(other, memory)

    def test_a_backend_that_keeps_no_versions_takes_none_either(self, memory: Store) -> None:
        class Strange:
            """A log of somebody else, which cannot restore."""

            def __init__(self, namespace: str, frozen: bool) -> None:
                self._log = MemoryLog(Space(), namespace, frozen)

            def __getattr__(self, name: str) -> Any:
                if name == "restore":
                    raise AttributeError(name)
                return getattr(self._log, name)

        with Store(Strange, frozen=False) as target, pytest.raises(StoreError, match="memory:// can't take a copy"):
            copy(memory, target)

    def test_a_source_that_is_written_to_all_the_time_is_an_error_and_the_copy_can_be_ended_later(
        self, plain: Store
    ) -> None:
        def write(_: Progress) -> None:
            plain["meanwhile"] = plain.get("meanwhile", 0) + 1

        with Store("memory://", frozen=False) as target:
            with pytest.raises(StoreError, match=r"call it again when .* and it resumes"):
                copy(plain, target, progress=write)
            assert copy(plain, target) == digest(plain)

    def test_what_was_erased_meanwhile_is_an_error_that_names_its_kind(self, plain: Store) -> None:
        def erase(_: Progress) -> None:
            plain.prune("events")

        with (
            Store("memory://", frozen=False) as target,
            pytest.raises(StoreError, match="records of es differ"),
        ):
            copy(plain, target, progress=erase)

    def test_followers_and_projections_of_a_copy_begin_anew(self, plain: Store, backend: Backend) -> None:
        """A checkpoint of the source may lie ahead of all that the copy will ever write, and nothing would come."""
        target = backend.store()
        before = list(plain.follow())
        copy(plain, target)
        with pytest.raises(ValueError, match="or of what was copied there: begin without one"):
            target.follow(after=before[-1][0])
        followed = list(target.follow())
        assert [change for _, change in followed] == [change for _, change in before]
        assert set(info(target).records) == set(info(plain).records) - {SS, PROJECT}
        target["both"] = "new"
        assert [change.value for _, change in target.follow(after=followed[-1][0])] == ["new"]
        fed: list[Any] = []
        wanted = [change.value for _, change in before if change.key == "both"]
        assert target.project("p", lambda change, into: fed.append(change.value), prefix="both") == len(fed)
        assert fed == [*wanted, "new"]
        with Store("memory://", frozen=False) as loaded:
            load(loaded, io.StringIO(exported(target)))
            with pytest.raises(ValueError, match="begin without one"):
                loaded.follow(after=followed[-1][0])
        assert plain.follow(after=before[-1][0])

    def test_progress_counts_records_and_what_it_raises_interrupts(self, plain: Store) -> None:
        told: list[Progress] = []
        with Store("memory://", frozen=False) as target:
            found = copy(plain, target, progress=told.append)
        assert found.records in [progress.done for progress in told]
        assert told[-1] == Progress(found.records, found.records)


class TestFailed:
    """What a backend says of one write is true of that: of the whole, more has to be said."""

    AGAIN = (
        r"disk is full; not every record has arrived: .* call it again, and it resumes; or discard\(\) the namespace"
    )

    @pytest.mark.parametrize("again", [copy, lambda source, target: load(target, io.StringIO(exported(source)))])
    @pytest.mark.parametrize(("name", "at"), [("restore", 1), ("restore", 4), ("append", 4), ("rewrite", 1)])
    def test_not_all_has_arrived_and_it_goes_on(
        self,
        plain: Store,
        monkeypatch: pytest.MonkeyPatch,
        again: Callable[[Store, Store], Digest],
        name: str,
        at: int,
    ) -> None:
        monkeypatch.setattr(copying, "_BATCH_RECORDS", 60)
        with Store("memory://", frozen=False) as target:
            with monkeypatch.context() as patch:
                patch.setattr(target._core.base, name, full(getattr(target._core.base, name), at))
                with pytest.raises(StoreNotAvailableError, match=self.AGAIN):
                    again(plain, target)
            assert again(plain, target) == digest(plain)

    def test_points_are_stored_up_to_somewhere(self, memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "_CHUNK_POINTS", 10)
        monkeypatch.setattr(delimited, "BLOCK_CELLS", 20)
        table = io.StringIO("t,x\n" + "".join(f"{t},{t}\n" for t in range(100)))
        again = "full; 20 points are stored: fix the cause and import the table again, which replaces them"
        for at, words in ((1, "full; nothing was stored"), (3, again)):
            with monkeypatch.context() as patch:
                patch.setattr(memory._core.base, "append", full(memory._core.base.append, at))
                with pytest.raises(StoreNotAvailableError, match=words):
                    import_points(memory, table)
        assert import_points(memory, table).points == 100
        assert memory.range("x") == [(t, t) for t in range(100)]

    def test_a_rekey_goes_on_with_the_rest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "_PAGE", 10)
        words = r"full; not every record .* yet: fix the cause and call rekey\(\) again"
        with Store(tmp_path / "a.db", key=KEY, frozen=False) as store:
            store.set_many({f"k{number}": number for number in range(40)})
        with Store(tmp_path / "a.db", key=[OTHER_KEY, KEY], frozen=False) as store:
            with monkeypatch.context() as patch:
                patch.setattr(store._core.base, "rewrite", full(store._core.base.rewrite, 3))
                with pytest.raises(StoreNotAvailableError, match=words):
                    store.rekey()
            assert store.rekey() == 20

    @pytest.mark.server
    def test_a_server_whose_memory_gets_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copying, "_BATCH_BYTES", 1 << 20)
        with Valkey.start() as server, ExitStack() as stack:
            source = stack.enter_context(Store("memory://", frozen=False))
            target = stack.enter_context(Store(server.dsn, frozen=False))
            source.set_many({f"k{number}": random.randbytes(1 << 18) for number in range(40)})
            used = int(server.command("INFO", "memory")["used_memory"])
            server.command("CONFIG SET", "maxmemory", used + (6 << 20))
            with pytest.raises(StoreNotAvailableError, match=f"maxmemory.; {self.AGAIN.partition('; ')[2]}"):
                copy(source, target)
            assert 0 < digest(target).records < 40
            server.command("CONFIG SET", "maxmemory", 0)
            assert copy(source, target) == digest(source)


def full(method: Callable[[Any], Any], number: int) -> Callable[[Any], Any]:
    """Return a method that fails at a call as it does where there is no room."""
    left = iter(range(1, number + 1))

    def wrapped(given: Any) -> Any:
        if next(left) == number:
            raise StoreNotAvailableError("here: the disk is full; nothing was stored")
        return method(given)

    return wrapped


class Interrupt(BaseException):
    """What no code is ready for."""


def failing(method: Callable[[Any], Any], number: int) -> Callable[[Any], Any]:
    """Return a method that is interrupted at a call, after it has done its work, once."""
    calls = []

    def wrapped(given: Any) -> Any:
        calls.append(method(given))
        if len(calls) == number:
            raise Interrupt
        return calls[-1]

    return wrapped


KILLED = """
import os, random, signal, sys
from rstore import Store
from rstore.transfer import copying
from rstore.transfer import copy, load

source, target, namespace, at = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
copying._BATCH_RECORDS = 20
left = at

def mortal(method):
    def call(given):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        done = method(given)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return call

with Store(target, namespace, frozen=False) as two:
    for name in ("append", "restore", "rewrite"):
        setattr(two._core.base, name, mortal(getattr(two._core.base, name)))
    if source.endswith(".jsonl"):
        print(load(two, source).sha)
    else:
        with Store(source, namespace) as one:
            print(copy(one, two).sha)
"""


def killed(source: Path, dsn: str, namespace: str, at: int) -> str:
    """Copy or load in a process that is killed around its nth write, and return what it prints if it is not."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), dsn, namespace, f"{at}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (-9 if at else 0), done.stderr
    return done.stdout.strip()


class TestKilled:
    @pytest.mark.parametrize("name", ["sqlite", "postgresql", "redis", "cluster"])
    def test_a_copy_that_is_killed_twice_goes_on_and_ends_with_the_same_digest(
        self, name: str, tmp_path: Path, stack: ExitStack
    ) -> None:
        namespace, chance = f"killed-{uuid4().hex}", random.Random()
        dsn = DSNS[name]() if name in DSNS else f"{tmp_path}/target.db"
        source = stack.enter_context(Store(tmp_path / "source.db", namespace, frozen=False))
        fill(source)
        for at in (chance.randint(1, 40), chance.randint(1, 40), 0):
            with case(at):
                found = killed(tmp_path / "source.db", dsn, namespace, at)
        assert found == digest(source).sha
        target = stack.enter_context(Store(dsn, namespace, frozen=False))
        assert shown(target) == shown(source)
        write_more(target)
        target.discard()

    @pytest.mark.parametrize("name", ["sqlite", "redis"])
    def test_a_load_that_is_killed_goes_on_and_what_it_left_is_called_whole_by_nobody(
        self, name: str, tmp_path: Path, plain: Store, stack: ExitStack
    ) -> None:
        namespace, at, file = f"killed-{uuid4().hex}", random.randint(4, 40), tmp_path / "all.jsonl"
        dsn = DSNS[name]() if name in DSNS else f"{tmp_path}/target.db"
        export(plain, file)
        with case(at):
            killed(file, dsn, namespace, at)
            target = stack.enter_context(Store(dsn, namespace, frozen=False))
            assert 0 < digest(target).records <= digest(plain).records
            assert ["call it again" in problem.message for problem in check(target) if problem.kind == "copy"] == [True]
            fresh = Store(tmp_path / "fresh.db", namespace, frozen=False)
            for take in (lambda: exported(target), lambda: copy(target, fresh)):
                with pytest.raises(StoreError, match=r"only a part of .* call the copy or load again"):
                    take()
            assert not (tmp_path / "fresh.db").exists()
            with pytest.raises(StoreNotEmptyError, match=r"a part of another source.* discard\(\)"), fresh:
                load(target, io.StringIO(exported(fresh)))
            killed(file, dsn, namespace, 0)
        assert shown(target) == shown(plain)
        assert list(check(target)) == []
        write_more(target)
        target.discard()

    @pytest.mark.parametrize("again", [copy, lambda source, target: load(target, io.StringIO(exported(source)))])
    def test_what_has_arrived_is_not_sent_again(
        self, plain: Store, monkeypatch: pytest.MonkeyPatch, again: Callable[[Store, Store], Digest]
    ) -> None:
        monkeypatch.setattr(copying, "_BATCH_RECORDS", 50)
        sent: list[int] = []
        with Store("memory://", frozen=False) as target:
            restore = target._core.base.restore

            def counting(copies: Any) -> None:
                restore(copies)
                sent.append(sum(len(each.records) for each in copies))

            target._core.base.restore = failing(counting, 4)  # type: ignore[method-assign]
            with pytest.raises(Interrupt):
                again(plain, target)
            assert sent == [50] * 4
            assert again(plain, target) == digest(plain)
            assert sum(sent) == digest(plain).records + 50  # what was not noted when it was interrupted

    def test_wherever_it_is_interrupted(self, plain: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copying, "_BATCH_RECORDS", 60)
        expected, ends = digest(plain), 0
        for name in ("append", "restore", "rewrite"):
            for at in range(1, 20):
                with Store("memory://", frozen=False) as target, case(name, at):
                    setattr(target._core.base, name, failing(getattr(target._core.base, name), at))
                    try:
                        assert copy(plain, target) == expected
                    except Interrupt:
                        if name == "rewrite":  # the last that there is to do, and it was done
                            assert digest(target) == expected
                            break
                        assert copy(plain, target) == expected
                    else:
                        ends += 1
                        break
        assert ends == 2


@pytest.mark.slow
def test_large_values_are_not_held_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a page of some bytes is, or a value or two, and these in other forms."""
    large, many, chance = 1 << 19, 24, random.Random(0)
    for module in (sqlite, following):
        monkeypatch.setattr(module, "_PAGE_BYTES", large)
    for module, name in ((paging, "PAGE_BYTES"), (copying, "_BATCH_BYTES")):
        monkeypatch.setattr(module, name, large)
    file = tmp_path / "all.jsonl"
    with (
        Store(tmp_path / "source.db", key=[OTHER_KEY, KEY], frozen=False) as source,
        Store(tmp_path / "copied.db", key=[OTHER_KEY, KEY], frozen=False) as copied,
        Store(tmp_path / "loaded.db", key=KEY, frozen=False) as loaded,
    ):
        with Store(tmp_path / "source.db", key=KEY, frozen=False) as old:
            old.set_many({f"a{number}": number for number in range(300)})
            for number in range(many // 2):
                old[f"k{number}"] = chance.randbytes(large)
                old.apply("e", {"large": chance.randbytes(large)})
        peaks = {
            "copy": peak_of(lambda: copy(source, copied)),
            "export": peak_of(lambda: export(source, file)),
            "load": peak_of(lambda: load(loaded, file)),
            "rekey": peak_of(source.rekey),
            "check": peak_of(lambda: list(check(source))),
        }
    assert {name: peak for name, peak in peaks.items() if peak > large * many // 2} == {}


def peak_of(work: Callable[[], object]) -> int:
    """Return how many bytes were in use at one time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestDigest:
    def test_it_tells_every_field_from_every_other_one(self) -> None:
        stream, entry = Stream(ES, "key"), Entry(1, 1, "item", "add", b"data", b"meta")
        fields = [
            (stream, entry, 1),
            (Stream(TS, "key"), entry, 1),
            (Stream(ES, "ke"), entry, 1),
            (stream, entry, 2),
            *(
                (stream, entry._replace(**change), 1)
                for change in (
                    {"start": 0},
                    {"end": 2},
                    {"item": "ite"},
                    {"op": "sub"},
                    {"data": b"dat", "meta": b"ameta"},
                    {"meta": None},
                    {"meta": b""},
                )
            ),
        ]
        found = {digest_of([Batch(each, [made], recorded)]) for each, made, recorded in fields}
        found |= {digest_of([Batch(stream, [entry], 1, live=False)]), digest_of([]), digest_of([Batch(stream, (), 1)])}
        assert len(found) == len(fields) + 3

    def test_the_order_between_streams_does_not_count(self) -> None:
        batches = [Batch(Stream(KV, key), [Entry(0, 0, "", "setitem", b"")], 1) for key in "ab"]
        assert digest_of(batches) == digest_of(batches[::-1])


def digest_of(batches: list[Batch]) -> Digest:
    with Store("memory://", frozen=False) as store:
        for batch in batches:
            store._core.base.append([batch])
        return digest(store)


def exported(store: Store) -> str:
    file = io.StringIO()
    export(store, file)
    return file.getvalue()


class Pipe(io.StringIO):
    """A file that can't be wound back."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


class TestExport:
    def test_it_comes_back_bit_for_bit(self, backend: Backend, key: str | None, tmp_path: Path) -> None:
        with Store("memory://", key=key, frozen=False) as source:
            fill(source)
            export(source, tmp_path / "all.jsonl")
            expected, before = digest(source), shown(source)
        unopened = backend.store()  # without a key
        assert load(unopened, tmp_path / "all.jsonl") == expected == digest(unopened)
        store = backend.store(key=key)
        assert shown(store) == before
        again = exported(unopened)
        assert [strip(line) for line in again.splitlines()[1:-1]] == [
            strip(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()[1:-1]
        ]
        write_more(store)

    def test_lines_are_for_people_too(self, key: str | None) -> None:
        with Store("memory://", key=key, frozen=False) as store:
            with store.context(who="ada", why="to see"):
                store["a"] = {"list": [1, None, "é"]}
            store["b"] = object
            store.extend("s", (1, 2.5), (2, float("nan")))
            store.extend("t", (1, 2.5), (2, 3))
            header, *records, end = map(json.loads, exported(store).splitlines())
        assert header == {"rstore": 1, "namespace": "default", "encrypted": key is not None}
        assert (end["records"], end["heads"]) == (4, 4)
        assert [(words["key"], words.get("value"), words.get("who"), words.get("why")) for words in records[:4]] == [
            ("a", {"list": [1, None, "é"]}, "ada", "to see"),
            ("b", None, None, None),
            ("s", None, None, None),
            ("t", [[1, 2.5], [2, 3]], None, None),
        ]
        assert records[4] == {"head": "kv", "key": "a", "version": records[0]["version"], "live": True, "died": 0}

    def test_without_the_key_nothing_of_what_is_encrypted_is_shown(self, tmp_path: Path) -> None:
        with Store(tmp_path / "a.db", key=KEY, frozen=False) as store, store.context(who="Ada Lovelace"):
            store["a"] = "secret"
        with Store(tmp_path / "a.db") as store:
            text = exported(store)
        assert json.loads(text.splitlines()[0])["encrypted"] is True
        assert "secret" not in text
        assert "Ada Lovelace" not in text  # with a space, which no digest and no base64 has

    def test_what_people_read_is_not_read_back(self, plain: Store) -> None:
        lines = exported(plain).splitlines()
        assert any('"value"' in line for line in lines)
        with Store("memory://", frozen=False) as target, pytest.raises(StoreFileError, match="something was changed"):
            load(target, io.StringIO("\n".join(line.replace('"value": 7', '"value": 8') for line in lines)))

    @pytest.mark.parametrize(("from_key", "to_key"), [(None, None), (KEY, KEY), ([OTHER_KEY, KEY], [KEY, OTHER_KEY])])
    def test_into_another_namespace(self, from_key: Any, to_key: Any) -> None:
        with (
            Store("memory://", key=from_key, frozen=False) as source,
            Store("memory://", "other", key=to_key, frozen=False) as target,
        ):
            fill(source)
            assert load(target, io.StringIO(exported(source))) == digest(target)
            assert shown(target) == shown(source)

    def test_into_another_namespace_without_the_key(self, tmp_path: Path) -> None:
        with Store("memory://", key=KEY, frozen=False) as source:
            source["a"] = 1
            text = exported(source)
        with Store("memory://", "other", frozen=False) as target:
            with pytest.raises(StoreMissingKeyError):
                load(target, io.StringIO(text))
            assert follow(target) == []

    def test_compressed_and_from_a_pipe(self, plain: Store, tmp_path: Path) -> None:
        export(plain, tmp_path / "all.jsonl.gz")
        text = gzip.decompress((tmp_path / "all.jsonl.gz").read_bytes()).decode()
        assert text == exported(plain)
        for file in (tmp_path / "all.jsonl.gz", Pipe(text), io.StringIO(text.replace("\n", "\r\n"))):
            with Store("memory://", frozen=False) as target:
                assert load(target, file) == digest(plain)

    def test_a_file_takes_its_place_when_it_is_complete(self, plain: Store, tmp_path: Path) -> None:
        file = tmp_path / "all.jsonl"
        file.write_text("before")

        def fail(progress: Progress) -> None:
            raise Interrupt

        with pytest.raises(Interrupt):
            export(plain, file, progress=fail)
        assert file.read_text() == "before"
        assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == ["all.jsonl"]
        told: list[Progress] = []
        export(plain, file, progress=told.append)
        assert told[-1].done == digest(plain).records
        assert len(file.read_text().splitlines()) > told[-1].done

    def test_a_store_that_is_written_to_meanwhile_is_not_exported_by_halves(
        self, plain: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages_of_heads = jsonlines.pages_of_heads

        def slow(log: Any) -> Iterator[Any]:
            yield from pages_of_heads(log)
            plain["meanwhile"] = 1

        monkeypatch.setattr(jsonlines, "pages_of_heads", slow)
        with pytest.raises(StoreError, match="was written to while it was exported"):
            exported(plain)

    @pytest.mark.parametrize(
        "erase", [lambda store: store.compact(), lambda store: store.prune("events"), lambda store: store.discard()]
    )
    def test_a_store_of_which_something_is_erased_meanwhile_makes_no_file_that_can_not_be_loaded(
        self, tmp_path: Path, erase: Callable[[Store], None]
    ) -> None:
        def tell(progress: Progress) -> None:
            if progress.done == 1_000:
                erase(store)

        file = tmp_path / "all.jsonl"
        with Store(tmp_path / "source.db", frozen=False) as store:
            store.extend("gone", (1, 1))
            for number in range(1_200):
                store.apply("events", {"n": number})
            store.remove("gone")
            with pytest.raises(StoreError, match="was written to while it was exported"):
                export(store, file, progress=tell)
        assert not file.exists()


def strip(line: str) -> dict[str, Any]:
    return {name: each for name, each in json.loads(line).items() if name not in ("value", "who", "why")}


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store("memory://", frozen=False) as store:
        yield store


@pytest.fixture(scope="module")
def text() -> str:
    """A small export."""
    with Store("memory://", frozen=False) as store:
        store["a"] = 1
        store.extend("s", (1, 1), (2, 2))
        store.apply("e", {"n": 1})
        return exported(store)


class TestLoad:
    def refused(self, text: str, match: str | None = None) -> StoreFileError:
        with Store("memory://", frozen=False) as target:
            with pytest.raises(StoreFileError, match=match) as caught:
                load(target, io.StringIO(text))
            assert follow(target) == []
            assert "nothing was stored" in str(caught.value)
        return caught.value

    def test_a_file_that_was_cut_off_anywhere(self, text: str) -> None:
        for end in range(0, len(text) - 1, 3):
            with case(end):
                self.refused(text[:end])
        lines = text.splitlines(keepends=True)
        assert self.refused("".join(lines[:-1]), "cut off").line == len(lines)
        assert self.refused(text + lines[1], "more after the last line").line == len(lines) + 1

    def test_a_line_that_is_missing_doubled_or_moved(self, text: str) -> None:
        lines = text.splitlines()
        for at in range(1, len(lines) - 1):
            for changed in (lines[:at] + lines[at + 1 :], [*lines[:at], lines[at], *lines[at:]], swapped(lines, at)):
                with case(at):
                    assert changed == lines or self.refused("\n".join(changed))

    @pytest.mark.parametrize(
        ("line", "change", "problem"),
        [
            (1, {"rstore": 2}, "newer rstore"),
            (1, {"namespace": 7}, "no export"),
            (2, {"key": "b"}, "something was changed"),
            (2, {"key": 7}, "key must be"),
            (2, {"kind": "ts\0"}, "NUL"),
            (2, {"kind": "copy"}, "this is no record"),
            (2, {"version": 0}, "version is no integer from 1"),
            (2, {"version": True}, "version is no integer"),
            (2, {"recorded": 1.5}, "recorded is no integer"),
            (2, {"recorded": 2**63}, "recorded is no integer"),
            (2, {"start": 1}, "this is no record"),
            (2, {"item": None}, "item must be"),
            (2, {"op": "delitem"}, "something was changed"),
            (2, {"data": "%"}, "data is not in base64"),
            (2, {"data": None}, "this is no record"),
            (2, {"meta": 7}, "meta is not in base64"),
            (2, {"meta": "AAAA"}, "something was changed"),
            (2, {"value": 2}, "something was changed"),
            (5, {"live": False}, "something was changed"),
            (5, {"live": 1}, "this is no head"),
            (5, {"died": 1}, "something was changed"),
            (5, {"died": 2**60}, "this is no head"),
            (5, {"version": -1}, "version is no integer"),
            (5, {"head": "ss"}, "this is no head"),
            (8, {"records": 4}, "something was changed"),
            (8, {"digest": ""}, "something was changed"),
        ],
    )
    def test_a_line_that_was_edited_is_named(self, text: str, line: int, change: dict[str, Any], problem: str) -> None:
        lines = text.splitlines()
        lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | change)
        error = self.refused("\n".join(lines), problem)
        assert error.line == (len(lines) if problem == "something was changed" else line)

    @pytest.mark.parametrize("line", ["", "[]", "{", "null", "[" * 100_000, '{"other": 1}'])
    def test_a_line_that_is_something_else(self, text: str, line: str) -> None:
        lines = text.splitlines()
        assert self.refused("\n".join([*lines[:3], line, *lines[3:]])).line == 4
        self.refused(line)

    def test_what_is_no_text_or_a_damaged_archive(self, tmp_path: Path, text: str) -> None:
        packed = gzip.compress(text.encode())
        for name, data in {
            "a.jsonl": b"\xff\xfe\x00",
            "b.gz": b"no archive",
            "c.gz": packed[:-20],
            "d.gz": packed[:40] + b"\0\0\0" + packed[43:],
        }.items():
            (tmp_path / name).write_bytes(data)
            with Store("memory://", frozen=False) as target, case(name):
                with pytest.raises(StoreFileError):
                    load(target, tmp_path / name)
                assert follow(target) == []

    def test_a_missing_file_is_the_systems_error(self, tmp_path: Path) -> None:
        with Store("memory://", frozen=False) as target, pytest.raises(FileNotFoundError):
            load(target, tmp_path / "no.jsonl")

    def test_a_namespace_that_holds_anything_or_is_frozen_is_refused(self, text: str, tmp_path: Path) -> None:
        with Store(tmp_path / "a.db", frozen=False) as target:
            target["a"] = 1
            with pytest.raises(StoreNotEmptyError):
                load(target, io.StringIO(text))
        with Store(tmp_path / "a.db") as target, pytest.raises(FrozenStoreError):
            load(target, io.StringIO(text))

    def test_a_store_that_is_not_open_is_opened_for_it(self, text: str, tmp_path: Path) -> None:
        store = Store(tmp_path / "new.db", frozen=False)
        with pytest.raises(StoreFileError):
            load(store, io.StringIO(text[:-9]))
        with pytest.raises(StoreFileError):
            import_points(store, io.StringIO("t,x\n5,1\nsix,2\n"))
        assert list(tmp_path.iterdir()) == []
        load(store, io.StringIO(text))
        import_points(store, io.StringIO("t,x\n5,1\n"))
        with pytest.raises(StoreClosedError):
            store.get("a")
        store.open()
        import_points(store, io.StringIO("t,x\n6,1\n"))
        assert (store["a"], store.range("x")) == (1, [(5, 1), (6, 1)])
        store.close()

    @pytest.mark.slow
    def test_interrupted_it_goes_on_where_it_was(self, plain: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copying, "_BATCH_RECORDS", 150)
        text, ends = exported(plain), 0
        for name in ("append", "restore"):
            for at in range(1, 20):
                with Store("memory://", frozen=False) as target, case(name, at):
                    setattr(target._core.base, name, failing(getattr(target._core.base, name), at))
                    try:
                        load(target, io.StringIO(text))
                    except Interrupt:
                        assert load(target, io.StringIO(text)) == digest(plain)
                    else:
                        ends += 1
                        break
        assert ends == 2

    def test_a_file_that_is_changed_meanwhile_is_told_of(self, text: str, memory: Store) -> None:
        class Changing(io.StringIO):
            reads = 0

            def seek(self, *to: int) -> int:
                self.reads += 1
                if self.reads == 2:
                    self.truncate(len(text) - 200)
                return super().seek(*to)

        with pytest.raises(StoreError, match=r"^line \d: .*: the file was changed while it was loaded; discard\(\)"):
            load(memory, Changing(text))

    def test_what_somebody_else_writes_meanwhile_is_kept(self, text: str) -> None:
        def tell(progress: Progress) -> None:
            target["theirs"] = "acknowledged"

        with Store("memory://", frozen=False) as target:
            with pytest.raises(StoreError, match=r"of kv differ from those in the file: somebody else .* discard\(\)"):
                load(target, io.StringIO(text), progress=tell)
            assert target["theirs"] == "acknowledged"
            with pytest.raises(StoreError, match="somebody else"):
                load(target, io.StringIO(text))
            assert target["theirs"] == "acknowledged"

    @pytest.mark.parametrize("again", [copy, lambda source, target: load(target, io.StringIO(exported(source)))])
    def test_interrupted_while_the_digest_is_made_it_is_called_again(
        self, plain: Store, monkeypatch: pytest.MonkeyPatch, again: Callable[[Store, Store], Digest]
    ) -> None:
        with Store("memory://", "another", frozen=False) as target:
            with monkeypatch.context() as patch:
                for module in (copying, jsonlines):
                    patch.setattr(module, "tally", tallies_but_the_last(module.tally, target))
                with pytest.raises(Interrupt):
                    again(plain, target)
            assert again(plain, target) == digest(target)


def tallies_but_the_last(tally: Callable[..., Any], target: Store) -> Callable[..., Any]:
    def interrupted(log: Any, **options: Any) -> Any:
        if log is target._core.base and options.get("contents") is None:
            raise Interrupt
        return tally(log, **options)

    return interrupted


def swapped(lines: list[str], at: int) -> list[str]:
    return [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]]


class TestPoints:
    @pytest.mark.parametrize("name", ["points.csv", "points.csv.gz", "points.parquet"])
    def test_series_come_back(self, memory: Store, tmp_path: Path, name: str) -> None:
        memory.extend("a", ((t, t / 7) for t in range(5_000)))
        memory.extend("b", (-(2**63), 0.1), (2**63 - 1, 1e300))
        assert export_points(memory, ["a", "b"], tmp_path / name) == 5_002
        before = [memory.range(key) for key in "ab"]
        memory.remove("a", "b")
        assert import_points(memory, tmp_path / name).points == 5_002
        assert [memory.range(key) for key in "ab"] == before
        assert import_points(memory, tmp_path / name, key="again").points == 5_002
        assert [memory.range(f"again/{key}") for key in "ab"] == before
        assert export_points(memory, "a", tmp_path / name) == 5_000
        assert import_points(memory, tmp_path / name, key="one").points == 5_000
        assert memory.range("one") == before[0]

    def test_numbers_texts_and_nothing(self, tmp_path: Path) -> None:
        with Store("memory://", frozen=False) as store:
            values = [0, -5, 10**30, 1.5, 1e-300, float("inf"), "text", 'a "quoted", \n line', "1_000", "é", None]
            store.extend("s", *enumerate(values))
            file = io.StringIO()
            assert export_points(store, "s", file) == len(values)
            file.seek(0)
            assert import_points(store, file, key="back").points == len(values) - 1
            assert store.range("back") == store.range("s")[:-1]

    def test_a_value_that_no_table_holds_is_an_error_and_no_file(self, tmp_path: Path) -> None:
        with Store("memory://", frozen=False) as store:
            store.extend("s", (1, 1), (2, {"a": 1}))
            with pytest.raises(TypeError, match="at 2 there is a value of type dict"):
                export_points(store, "s", tmp_path / "a.csv")
            with pytest.raises(TypeError, match="for which there is CSV"):
                export_points(store, "s", tmp_path / "a.parquet")
            assert list(tmp_path.iterdir()) == []

    def test_rows_have_a_column_for_each_of_theirs(self, tmp_path: Path) -> None:
        with Store("memory://", frozen=False) as store:
            store.extend("plain", (1, {"low": 3, "high": 9.5}), (2, {"low": None, "sky": "fog"}), (3, {"time": 5}))
            store.extend("value", (1, 0.5))
            file = io.StringIO()
            assert export_points(store, "plain", file) == 3
            assert file.getvalue().splitlines() == ["timestamp,low,high,sky,time", "1,3,9.5,,", "2,,,fog,", "3,,,,5"]
            with pytest.raises(ValueError, match="'plain' have a column 'time': export each series to a file"):
                export_points(store, ["value", "plain"], file)
            store.extend("plain", (3, {"sky": "sun"}))
            file = io.StringIO()
            assert export_points(store, ["value", "plain"], file) == 4
            assert file.getvalue().splitlines()[:3] == [
                "time,key,value,low,high,sky",
                "1,value,0.5,,,",
                "1,plain,,3,9.5,",
            ]

    def test_rows_keep_their_types_in_parquet(self, tmp_path: Path) -> None:
        from pyarrow import parquet

        late = {t: {"low": None if t < 20_000 else t / 2, "n": t, "text": "é"} for t in range(20_005)}
        with Store("memory://", frozen=False) as store:
            store.extend("late", late.items())
            assert export_points(store, "late", tmp_path / "a.parquet") == 20_005
            table = parquet.read_table(tmp_path / "a.parquet")
            assert dict(zip(table.schema.names, map(str, table.schema.types), strict=True)) == {
                "time": "int64",
                "low": "double",
                "n": "int64",
                "text": "string",
            }
            assert table["low"].to_pylist()[-1] == 20_004 / 2

    def test_what_is_written_to_meanwhile_is_no_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Store("memory://", frozen=False) as store:
            store.extend("s", (1, {"a": 1}))
            look = Store.time_axis

            def look_and_write(self: Store, key: str) -> Any:
                store.extend("s", (2, {"b": 1}))
                return look(self, key)

            monkeypatch.setattr(Store, "time_axis", look_and_write)
            with pytest.raises(StoreError, match="'s' was written to meanwhile: export it again"):
                export_points(store, "s", io.StringIO())

    def test_times_with_a_unit_are_dates(self, tmp_path: Path) -> None:
        from pyarrow import parquet

        index = pandas.to_datetime([0, 1, 1_500_000_000]).tz_localize("UTC").tz_convert("Europe/Berlin")
        with Store("memory://", frozen=False) as store:
            for unit in ("s", "ms", "us", "ns"):
                store.extend(unit, pandas.Series([1, 2], index[::2].floor("s").as_unit(unit)))
            store.extend("naive", pandas.Series([0.5, 1.5], pandas.DatetimeIndex([0, 1]).as_unit("ns")))
            store.extend("far", pandas.Series([1], pandas.to_datetime([0]).as_unit("s")))
            store.extend("far", (2**60, 2))
            store.extend("ints", (0, 1))
            files = {key: io.StringIO() for key in store.timeseries()}
            for key, file in files.items():
                export_points(store, key, file)
            shown = {
                key: [line.partition(",")[0] for line in file.getvalue().splitlines()[1:]]
                for key, file in files.items()
            }
            assert shown == {
                "s": ["1970-01-01T01:00:00+01:00", "1970-01-01T01:00:01+01:00"],
                "ms": ["1970-01-01T01:00:00.000+01:00", "1970-01-01T01:00:01.000+01:00"],
                "us": ["1970-01-01T01:00:00.000000+01:00", "1970-01-01T01:00:01.000000+01:00"],
                "ns": ["1970-01-01T01:00:00.000000000+01:00", "1970-01-01T01:00:01.000000000+01:00"],
                "naive": ["1970-01-01T00:00:00.000000000", "1970-01-01T00:00:00.000000001"],
                "far": ["1970-01-01T00:00:00", str(2**60)],  # there is no such date
                "ints": ["0"],
            }
            export_points(store, "ns", tmp_path / "a.parquet")
            assert (
                str(parquet.read_table(tmp_path / "a.parquet").schema.field("time").type)
                == "timestamp[ns, tz=Europe/Berlin]"
            )
            with pytest.raises(ValueError, match="dates of one unit and zone, or ints: export each series to a file"):
                export_points(store, ["ns", "ints"], tmp_path / "b.parquet")

    @pytest.mark.parametrize("name", ["points.csv", "points.parquet"])
    def test_rows_come_back(self, memory: Store, tmp_path: Path, name: str) -> None:
        hours = pandas.date_range("2026-03-29", periods=4, freq="h", tz="Europe/Berlin")
        frame = pandas.DataFrame({"a": [1.5, None, 2.5, None], "n": [1, 2, 3, 4], "text": ["x", None, "z", None]})
        for unit in ("s", "ms", "us", "ns"):
            memory.extend(unit, frame.set_axis(hours.as_unit(unit)))
            points = memory.range(unit)
            assert export_points(memory, unit, tmp_path / name) == len(points)
            memory.extend(unit, (points[0][0], {"a": "changed"}))
            assert import_points(memory, tmp_path / name, key=unit, rows=True).points == len(points)
            assert repr(memory.range(unit)) == repr(points), "NaN is not equal to itself"
            memory.remove(unit)
            assert import_points(memory, tmp_path / name, key=unit, rows=True, unit=unit).points == len(points)
            assert repr(memory.range(unit)) == repr(points)

    def test_parquet_tells_an_empty_text_and_a_bool_from_others(self, memory: Store, tmp_path: Path) -> None:
        memory.extend("rows", (1, {"text": "", "is": True}), (2, {"text": None, "is": None}))
        memory.extend("texts", (1, ""), (2, "1"))
        for key, rows in (("rows", True), ("texts", False)):
            before = memory.range(key)
            export_points(memory, key, tmp_path / "t.parquet")
            memory.remove(key)
            assert import_points(memory, tmp_path / "t.parquet", key=key, rows=rows).points == 2
            assert memory.range(key) == before

    def test_no_series_make_a_table_without_lines(self, memory: Store) -> None:
        file = io.StringIO()
        assert export_points(memory, [], file) == 0
        assert file.getvalue() == "time,key,value\n"

    def test_rows_of_several_series_come_back(self, memory: Store, tmp_path: Path) -> None:
        memory.extend("a", (1, {"x": 1, "y": "p"}), (2, {"x": None, "y": None}))
        memory.extend("b", (1, {"x": 3.5, "y": "q"}))
        before = [memory.range(key) for key in "ab"]
        assert export_points(memory, ["a", "b"], tmp_path / "t.csv") == 3
        assert import_points(memory, tmp_path / "t.csv", rows=True, key="new").points == 3
        assert [memory.range(f"new/{key}") for key in "ab"] == before
        assert import_points(memory, tmp_path / "t.csv", key="columns").points == 4
        assert memory.timeseries("columns") == ["columns/a/x", "columns/a/y", "columns/b/x", "columns/b/y"]

    def test_dates_are_counted_in_the_unit_of_the_series(self) -> None:
        with Store("memory://", frozen=False) as store:
            store.extend("s", pandas.Series([1], pandas.to_datetime([0]).as_unit("s")))
            day = "t,x\n1970-01-02,5\n"
            assert import_points(store, io.StringIO(day), key="s").points == 1
            assert store.range("s") == [(0, 1), (86_400, 5)]
            for table, unit, problem in (
                ("t,x\n1970-01-01T00:00:00.5,6", None, "exact to 'ms', the series counts in 's': its unit can't"),
                (day, "ms", "'s' counts its times in 's', not in 'ms'"),
            ):
                with pytest.raises(StoreFileError, match=problem):
                    import_points(store, io.StringIO(table), key="s", unit=unit)
            with pytest.raises(ValueError, match="unit is one of s, ms, us, ns, not 'minutes'"):
                import_points(store, io.StringIO(day), unit="minutes")
            with pytest.raises(ValueError, match="pass key="):
                import_points(store, io.StringIO(day), rows=True)
            with pytest.raises(StoreFileError, match="at most 9 digits of a second, and not 10"):
                import_points(store, io.StringIO("t,x\n0,1\n1970-01-01T00:00:00.0000000005Z,6"))

    def test_a_table_of_somebody_elses(self, tmp_path: Path) -> None:
        folder = Path(vega_datasets.__file__).parent / "_data"
        with Store("memory://", frozen=False) as store:
            assert import_points(store, folder / "seattle-weather.csv", key="seattle").points == 1461 * 5
            assert store.timeseries() == [
                f"seattle/{name}" for name in ("precipitation", "temp_max", "temp_min", "weather", "wind")
            ]
            assert store.first("seattle/weather") == (1325376000000, "drizzle")
            assert max(value for _, value in store.range("seattle/temp_max")) == 35.6
            assert import_points(store, folder / "sf-temps.csv").points == 8759
            assert store.first("temp") == (1262304000000, 47.8)
            riots = {"time": "death_date", "columns": ["age"]}
            with pytest.raises(StoreFileError, match=r"line 38: 'age' has 1992-04-29.* already in line 25"):
                import_points(store, folder / "la-riots.csv", **riots)
            assert import_points(store, folder / "la-riots.csv", duplicates="last", **riots).points > 50
            with pytest.raises(ValueError, match="no column has times"):
                import_points(store, folder / "airports.csv")
            with pytest.raises(ValueError, match="no column has times"):
                import_points(store, folder / "stocks.csv")

    @pytest.mark.parametrize(
        ("name", "problem"), [("t.csv", "no text in UTF-8.* 0xe9"), ("t.parquet", "can't be read as Parquet")]
    )
    def test_a_file_of_another_kind_is_an_error_of_ours(self, tmp_path: Path, name: str, problem: str) -> None:
        (tmp_path / name).write_bytes("t,x\n1,café\n".encode("latin-1"))
        with Store("memory://", frozen=False) as store, pytest.raises(StoreError, match=problem):
            import_points(store, tmp_path / name)

    @pytest.mark.parametrize(
        ("table", "options", "found"),
        [
            ("t,x\n5,1\n6,\n,\n7,2\n", {}, {"x": [(5, 1), (7, 2)]}),
            ("\ufefft;x;y\n5;1;2\n", {}, {"x": [(5, 1)], "y": [(5, 2)]}),
            ("t\tx\n5\t1\n5\t2\n", {"key": "k", "duplicates": "last"}, {"k": [(5, 2)]}),
            ("id,when,x\n1,1970-01-01T00:00:01Z,9\n", {"columns": ["x"]}, {"x": [(1000, 9)]}),
            ("when,x\n1970-01-01 01:00+01:00,9\n1970/01/02T00Z,8", {}, {"x": [(0, 9), (86_400_000, 8)]}),
            ("when,x\n1970-01-01 01:00,9\n1970/01/02,8", {}, {"x": [(3_600_000, 9), (86_400_000, 8)]}),
            ("x,t,y\n3,5,4\n", {"time": "t", "key": "k"}, {"k/x": [(5, 3)], "k/y": [(5, 4)]}),
            ('t,x\n5,"a\nb"\n6, 7 \n', {}, {"x": [(5, "a\nb"), (6, 7)]}),
            ("key,value,time\na,1,5\nb,2,6\n", {"time": "time"}, {"a": [(5, 1)], "b": [(6, 2)]}),
        ],
    )
    def test_tables_of_many_kinds(self, table: str, options: dict[str, Any], found: dict[str, Any]) -> None:
        for file in (io.StringIO(table), Pipe(table)):
            with Store("memory://", frozen=False) as store:
                assert import_points(store, file, **options).points >= sum(map(len, found.values()))
                assert {key: store.range(key) for key in store.timeseries()} == found

    @pytest.mark.parametrize(
        ("table", "options", "error", "problem"),
        [
            ("t,x\n5,1\nsix,2\n", {}, StoreFileError, "line 3: 'six' is no time"),
            ("t,x\n5,1\n,2\n", {}, StoreFileError, "line 3: '' is no time"),
            (f"t,x\n5,1\n{2**63},2\n", {}, StoreFileError, "line 3: .*64 bits"),
            ("t,x\n5,1\n6,2,3\n", {}, StoreFileError, "line 3: there are more cells"),
            ("time,key,value\n5,a,1\n5," + "k" * 1025 + ",1", {}, StoreFileError, "line 3: .*1024"),
            ("t,x\n5,1\n", {"time": "y"}, ValueError, "no column 'y': 't', 'x'"),
            ("t,x\n5,1\n", {"columns": ["z"]}, ValueError, "no column 'z'"),
            ("t,x,x\n5,1,1\n", {"columns": ["x"]}, ValueError, "more than one column 'x'"),
            ("t,x,x\n5,1,1\n", {}, ValueError, "each once"),
            ("t\n5\n", {}, ValueError, "pass columns"),
            ("a,x\nb,1.5\n", {}, ValueError, "no column has times"),
            ("", {}, StoreFileError, "line 1: the file is empty"),
            ("\n5,1\n", {}, StoreFileError, "line 1: .* does not begin with the names of columns"),
            ("t,x\n", {}, StoreError, "no rows in the table, only the names of columns: 't', 'x'"),
            ("t,x\n", {"time": "t"}, StoreError, "no rows"),
            ("date,a\nDec 31 2025,1\n", {}, ValueError, "no column has times"),
            ("t,x\n5\n6,1\n", {}, StoreFileError, "line 2: there are fewer cells than columns: 1 of 2"),
            ("t,x\n5,1\n", {"format": "xls"}, ValueError, "'csv' or 'parquet'"),
        ],
    )
    def test_what_can_not_be_read_is_named_and_nothing_is_stored(
        self, table: str, options: dict[str, Any], error: type[Exception], problem: str
    ) -> None:
        with Store("memory://", frozen=False) as store:
            with pytest.raises(error, match=problem):
                import_points(store, io.StringIO(table), **options)
            assert store.timeseries() == []

    def test_a_parquet_file_without_rows(self, memory: Store, tmp_path: Path) -> None:
        assert export_points(memory, "s", tmp_path / "a.parquet") == 0
        with pytest.raises(StoreError, match="no rows"):
            import_points(memory, tmp_path / "a.parquet")

    def test_integers_are_no_local_times(self, memory: Store, tmp_path: Path) -> None:
        memory.extend("s", (1_000, 1.0), (2_000_000_000_000, 2.0))
        for name in ("a.csv", "a.parquet"):
            export_points(memory, "s", tmp_path / name)
            import_points(memory, tmp_path / name, key=name, options=TableOptions(zone="Europe/Berlin"))
            assert memory.range(name) == memory.range("s")

    def test_dates_of_parquet(self, tmp_path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        moments = pyarrow.array([1, None, 1_000_000_007], pyarrow.timestamp("ns", "Europe/Berlin"))
        days = pyarrow.array([0, 1, 2], pyarrow.date32())
        table = pyarrow.table({"n": [1, 2, 3], "moment": moments, "day": days, "x": [1.5, None, 2.5]})
        parquet.write_table(table, tmp_path / "a.parquet")
        with Store("memory://", frozen=False) as store:
            with pytest.raises(StoreFileError, match=r"line 1: the time is exact to 'ns', .* in 'ms': pass unit='ns'"):
                import_points(store, tmp_path / "a.parquet", columns=["x"])
            assert import_points(store, tmp_path / "a.parquet", columns=["x"], unit="ns").points == 2
            assert store.range("x") == [(1, 1.5), (1_000_000_007, 2.5)]
            assert import_points(store, tmp_path / "a.parquet", columns=["moment"], time="day").points == 2
            assert [moment.isoformat() for _, moment in store.range("moment")] == [
                "1970-01-01T01:00:00+01:00",
                "1970-01-01T01:00:01+01:00",
            ]
            with (tmp_path / "a.parquet").open("rb") as file:
                assert import_points(store, file, "parquet", time="day", columns=["n"]).points == 3
            assert store.range("n") == [(0, 1), (86_400_000, 2), (172_800_000, 3)]

    def test_progress_of_more_than_one_chunk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "_CHUNK_POINTS", 1_000)
        monkeypatch.setattr(delimited, "BLOCK_CELLS", 1_500)
        told: list[Progress] = []
        with Store("memory://", frozen=False) as store:
            table = "t,x,y\n" + "".join(f"{t},{t},{-t}\n" for t in range(1_250))
            assert import_points(store, io.StringIO(table), progress=told.append).points == 2_500
            assert store.range("y") == [(t, -t) for t in range(1_250)]
            assert export_points(store, "x", io.StringIO(), progress=told.append) == 1_250
        assert told == [
            *(Progress(n, 2_500) for n in (1_000, 2_000, 2_500)),
            Progress(1_000, None),
            Progress(1_250, None),
        ]

    def test_without_pyarrow_it_is_said_what_to_install(self) -> None:
        script = """
            import sys
            sys.modules["pyarrow"] = None
            from rstore import Store, StoreError
            from rstore.transfer import export_points
            with Store("memory://", frozen=False) as store:
                try:
                    export_points(store, "s", "s.parquet")
                except StoreError as error:
                    print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
        )
        assert done.stdout == "Parquet needs the package pyarrow: pip install 'rlib-store[arrow]'\n"


def test_an_export_changes_what_a_file_holds_and_not_what_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db", frozen=False).open()
    store["k"] = 1
    secret, link, pipe = tmp_path / "secret.jsonl", tmp_path / "link.jsonl", tmp_path / "pipe"
    secret.touch(0o600)
    link.symlink_to(secret)
    export(store, link)
    assert link.is_symlink()
    assert secret.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader:
        export(store, pipe)
        assert reader.read() == secret.read_text()
    assert pipe.is_fifo()
    store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "secret.jsonl", "link.jsonl", "pipe"}
