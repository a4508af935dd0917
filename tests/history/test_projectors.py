"""Projections into another store or database, whose transactions have the checkpoint too."""

from __future__ import annotations

import operator
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import attrs
import psycopg
import pytest
import redis
import sqlalchemy
from psycopg.rows import dict_row

from rstore import (
    Change,
    Changes,
    CheckpointMovedError,
    DatabaseTarget,
    Occurrence,
    Projector,
    Repository,
    Store,
    StoreError,
    StorePayloadError,
    Target,
    core,
)
from rstore.admin.check import check
from rstore.history import projector as engine
from rstore.transfer.copying import copy
from tests import conftest
from tests.conftest import KEY, Backend, case
from tests.support.workers import MIRROR, SECONDS, STRESS, Crew, book_row

TABLE = "CREATE TABLE balances (account TEXT PRIMARY KEY, balance BIGINT NOT NULL, bookings BIGINT NOT NULL)"


def opened(path: Path, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=60, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a table for a read model."""
    path = tmp_path / "mirror.db"
    with closing(opened(path)) as connection:
        connection.execute(TABLE)
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(opened(path)) as connection:
        yield connection


def rows(connection: Any) -> dict[str, tuple[int, int]]:
    found = connection.execute("SELECT account, balance, bookings FROM balances").fetchall()
    return {account: (balance, bookings) for account, balance, bookings in found}


def pay(store: Store, *amounts: int) -> None:
    for n, amount in enumerate(amounts):
        if n % 4 == 0:
            time.sleep(0.001)  # a batch ends between two milliseconds
        key = f"account {n % 3}"
        known = store.version(key) > 0
        store.apply(key, {"balance": (operator.add, amount) if known else amount})


def paid(*amounts: int) -> dict[str, tuple[int, int]]:
    return {f"account {n}": (sum(amounts[n::3]), len(amounts[n::3])) for n in range(3) if amounts[n::3]}


def failing(fn: Callable[[Change, Any], Any], *versions: int, error: type[BaseException] = ZeroDivisionError) -> Any:
    """Return a function that does what another one does, and then fails at some calls."""
    calls = iter(range(1, 1_000))

    def fail(change: Change, handle: Any) -> None:
        fn(change, handle)
        if next(calls) in versions:
            raise error

    return fail


def test_each_change_counts_once_in_a_table(store: Store, connection: sqlite3.Connection) -> None:
    projector = Projector(store, DatabaseTarget(connection))
    pay(store, 1, 2, 3, 4)
    assert projector.project("p", book_row) == 4
    assert projector.project("p", book_row) == 0
    pay(store, 5)
    assert projector.project("p", book_row, wait=0.01) == 1
    assert rows(connection) == {"account 0": (10, 3), "account 1": (2, 1), "account 2": (3, 1)}
    assert store.projections() == [], "the checkpoint is in the database"
    with pytest.raises(KeyError):
        store.lag("p")


class Killed(BaseException):
    """The end of a process that stores nothing any more."""


def test_a_batch_that_ends_in_the_middle_leaves_neither_rows_nor_checkpoint(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BATCH", 4)
    pay(store, *range(12))
    for call, error in ((6, ZeroDivisionError), (2, Killed), (4, Killed)):
        with case(call, error), closing(opened(path)) as connection:
            with pytest.raises(error):
                Projector(store, DatabaseTarget(connection)).project("p", failing(book_row, call, error=error))
            assert sum(bookings for _, bookings in rows(connection).values()) in (4, 8)
    with closing(opened(path)) as connection:
        Projector(store, DatabaseTarget(connection)).project("p", book_row)
        assert rows(connection) == paid(*range(12))


def test_two_processes_at_once_count_each_change_once(
    backend: Backend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.history.test_follow import Doing

    monkeypatch.setattr(engine, "_BATCH", 4)
    store = backend.store()
    pay(store, *range(60))
    barrier = Barrier(2)

    def project() -> int:
        with closing(opened(path, check_same_thread=False)) as connection:
            barrier.wait()
            return Projector(backend.store(), DatabaseTarget(connection)).project("p", book_row, wait=0.05)

    pairs = [Doing(project) for _ in range(2)]
    assert sum(each.result() for each in pairs) == 60
    with closing(opened(path)) as connection:
        assert rows(connection) == paid(*range(60))


def test_a_batch_is_begun_anew_if_the_checkpoint_was_moved_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target may find that only at the end of its transaction, as Redis does."""
    monkeypatch.setattr(core, "_BACKOFF_MOST", 0)
    state: dict[str, Any] = {"seen": []}
    store = Store("memory://", frozen=False).open()

    class Optimistic:
        fails = 2

        @contextmanager
        def transaction(self, name: str) -> Iterator[list[Any]]:
            written: list[Any] = []
            self.pending = {}
            yield written
            if self.fails:
                self.fails -= 1
                raise CheckpointMovedError(name)
            state["seen"] += written
            state.update(self.pending)

        def checkpoint(self, name: str) -> str | None:
            return state.get(name)

        def advance(self, name: str, before: str | None, after: str | None) -> bool:
            self.pending = {name: after}
            return bool(state.get(name) == before)

    store["a"], store["b"] = 1, 2
    target: Target[list[Any]] = Optimistic()
    assert Projector(store, target).project("p", lambda change, seen: seen.append(change.value)) == 2
    assert state["seen"] == [1, 2]
    with pytest.raises(TypeError, match="Optimistic keeps no list of skipped changes"):
        Projector(store, target).project("p", print, on_error="skip")
    with pytest.raises(TypeError, match="Optimistic keeps no list of skipped changes"):
        Projector(store, target).skipped("p")
    Optimistic.fails = 10**6
    store["c"] = 3
    with pytest.raises(CheckpointMovedError, match="moved the checkpoint of projection 'p'"):
        Projector(store, Optimistic()).project("p", lambda change, seen: None)


def test_a_rebuild_begins_anew_if_another_process_has_begun_meanwhile(
    store: Store, path: Path, connection: sqlite3.Connection
) -> None:
    others: list[int] = []

    class Late(DatabaseTarget):
        def checkpoint(self, name: str) -> str | None:
            checkpoint = super().checkpoint(name)
            if not others:
                others.append(0)
                with closing(opened(path)) as other:
                    others.append(Projector(store, DatabaseTarget(other)).project("p", book_row))
            return checkpoint

    pay(store, *range(6))
    projector = Projector(store, Late(connection))
    assert projector.project("p", book_row, rebuild=lambda cursor: cursor.execute("DELETE FROM balances")) == 6
    assert others == [0, 6]
    nothing = DatabaseTarget(connection)
    assert Projector(store, nothing).project("none", book_row, rebuild=lambda cursor: None, prefix="none") == 0
    assert nothing.checkpoint("none") is None
    assert rows(connection) == paid(*range(6))


def test_a_rebuild_moves_the_checkpoint_before_it_deletes(store: Store) -> None:
    """So a target that locks the checkpoint, or begins its transaction there, holds up others before all writes."""
    calls: list[str] = []

    class Noting:
        @contextmanager
        def transaction(self, name: str) -> Iterator[list[str]]:
            yield calls

        def checkpoint(self, name: str) -> str | None:
            return None

        def advance(self, name: str, before: str | None, after: str | None) -> bool:
            calls.append("advance")
            return True

    Projector(store, Noting()).project("p", print, rebuild=lambda calls: calls.append("delete"))
    assert calls == ["advance", "delete"]


def test_poison_is_skipped_and_listed_in_the_target(store: Store, connection: sqlite3.Connection) -> None:
    projector = Projector(store, DatabaseTarget(connection))
    pay(store, *range(9))

    def fail(change: Change, cursor: sqlite3.Cursor) -> None:
        book_row(change, cursor)
        if change.value == 4:
            cursor.execute("INSERT INTO balances VALUES ('account 0', NULL, NULL)")

    with pytest.raises(sqlite3.IntegrityError) as raised:
        projector.project("p", fail)
    assert "in projection 'p', at version" in raised.value.__notes__[0]
    assert (rows(connection), projector.skipped("p")) == ({}, [])
    assert projector.project("p", fail, on_error="skip") == 9
    (skipped,) = projector.skipped("p")
    assert (skipped.kind, skipped.key, skipped.error) == ("es", "account 1", "IntegrityError")
    assert [change.value for _, change in store.follow(after=skipped.checkpoint)] == [5, 6, 7, 8]
    assert rows(connection) == paid(0, 1, 2, 3, 0, 5, 6, 7, 8) | {"account 1": (8, 2)}
    told: list[Any] = []
    cleared = projector.project(
        "p", fail, rebuild=lambda cursor: cursor.execute("DELETE FROM balances"), on_error=lambda *two: told.append(two)
    )
    assert (cleared, len(told), projector.skipped("p")) == (9, 1, [])
    assert rows(connection)["account 1"] == (8, 2)


def test_errors_of_the_database_itself_skip_nothing(store: Store, connection: sqlite3.Connection) -> None:
    store["a"] = 1
    projector = Projector(store, DatabaseTarget(connection))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        projector.project("p", lambda _, cursor: cursor.execute("SELECT * FROM gone"), on_error="skip")
    assert projector.skipped("p") == []


def test_a_function_that_commits_or_hides_an_error_is_refused(store: Store, connection: sqlite3.Connection) -> None:
    store["a"] = 1
    projector = Projector(store, DatabaseTarget(connection))
    with pytest.raises(StoreError, match="should write, and not commit"):
        projector.project("p", lambda change, cursor: connection.commit())
    connection.execute("INSERT INTO balances VALUES ('mine', 1, 1)")
    with pytest.raises(StoreError, match="a transaction is open on this connection"):
        projector.project("p", book_row)
    connection.rollback()
    with pytest.raises(TypeError, match=r"takes a connection of sqlite3 or psycopg, not str"):
        DatabaseTarget("app.db")


def test_a_copy_of_the_source_is_another_source(backend: Backend, connection: sqlite3.Connection) -> None:
    store, other = backend.store(), backend.store(namespace="copy")
    pay(store, 1, 2)
    Projector(store, DatabaseTarget(connection)).project("p", book_row)
    copy(store, other)
    with pytest.raises(ValueError, match="no checkpoint of the namespace 'copy'"):
        Projector(other, DatabaseTarget(connection)).project("p", book_row)
    assert rows(connection) == paid(1, 2)


def test_a_frozen_store_can_be_projected(backend: Backend, key: str | None, connection: sqlite3.Connection) -> None:
    pay(backend.store(key=key), 1, 2, 3)
    assert Projector(backend.store(key=key, frozen=True), DatabaseTarget(connection)).project("p", book_row) == 3


def add_up(change: Change, store: Store) -> None:
    store["total"] = store.get("total", 0) + change.value
    store.extend("amounts", (len(store.range("amounts")), change.value))


class TestAnotherStore:
    def test_it_has_the_checkpoint_and_knows_its_output(self, backend: Backend, key: str | None) -> None:
        store, other = backend.store(key=key), backend.store(key=key, namespace="read models")
        other["mine"] = 1
        projector = Projector(store, other)
        pay(store, *range(150))
        with pytest.raises(ZeroDivisionError):
            projector.project("p", failing(add_up, 120))
        assert 0 < len(other.range("amounts")) < 120
        rest = 150 - len(other.range("amounts"))
        assert projector.project("p", add_up) == rest
        assert (other["total"], len(other.range("amounts"))) == (sum(range(150)), 150)
        assert projector.project("p", add_up, rebuild=True) == 150
        assert (other["total"], other["mine"]) == (sum(range(150)), 1)
        assert (other.projections(), list(check(other)), list(check(store))) == ([], [], [])
        other["total"] = 0
        with pytest.raises(StoreError, match="others have written to kv 'total' too"):
            projector.project("p", add_up, rebuild=True)

    def test_two_at_once_count_each_change_once(self, backend: Backend) -> None:
        from tests.history.test_follow import Doing

        pay(backend.store(), *range(40))

        def project() -> int:
            return Projector(backend.store(), backend.store(namespace="o")).project("p", add_up, wait=0.05)

        assert sum(each.result() for each in [Doing(project) for _ in range(2)]) == 40
        assert backend.store(namespace="o")["total"] == sum(range(40))

    def test_a_name_is_of_one_projection(self, backend: Backend) -> None:
        store, other = backend.store(), backend.store(namespace="o")
        store["a"] = other["a"] = 1
        other.project("p", lambda change, store: None)
        with pytest.raises(StoreError, match="has a projection 'p' of its own"):
            Projector(store, other).project("p", add_up)

    def test_skipped_changes_are_listed_there(self, backend: Backend) -> None:
        store, other = backend.store(), backend.store(namespace="o")
        pay(store, 1, 2, 3)
        projector = Projector(store, other)
        assert projector.project("p", failing(add_up, 2), on_error="skip") == 3
        assert (other["total"], [each.key for each in projector.skipped("p")]) == (4, ["account 1"])
        assert (store.skipped("p"), projector.project("p", add_up, rebuild=True), projector.skipped("p")) == ([], 3, [])

    def test_a_copy_of_it_goes_on_where_it_is(self, backend: Backend) -> None:
        store, other, third = backend.store(), backend.store(namespace="o"), backend.store(namespace="t")
        pay(store, 1, 2, 3)
        Projector(store, other).project("p", add_up)
        copy(other, third)
        pay(store, 4)
        assert Projector(store, third).project("p", add_up) == 1
        assert third["total"] == 10

    def test_a_damaged_checkpoint_is_an_error(self, backend: Backend) -> None:
        from rstore.core import core_of
        from rstore.domain.log import Rewrite
        from rstore.domain.streams import FED, Stream

        store, other = backend.store(key=KEY), backend.store(key=KEY, namespace="o")
        pay(store, 1)
        Projector(store, other).project("p", add_up)
        base, stream = core_of(other).base, Stream(FED, "p")
        (record,) = base.read(stream)
        base.rewrite([Rewrite(stream, None, [record.version], [record._replace(item="000000-1")])])
        with pytest.raises(StorePayloadError):
            Projector(store, other).project("p", add_up)


@attrs.frozen
class Order:
    total: int = 0

    def add(self, price: int) -> Changes:
        return {"total": (operator.add, price)}


def test_functions_for_decisions_write_there_too(backend: Backend, connection: sqlite3.Connection) -> None:
    store = backend.store()
    orders = Repository(store, Order)
    for n in range(3):
        orders.create(f"{n}")
        orders.do(f"{n}", Order.add, n)
    sales = orders.projection("sales", into=DatabaseTarget(connection))

    @sales.on(Order.add)
    def note(occurrence: Occurrence[Order], cursor: sqlite3.Cursor) -> None:
        assert occurrence.after is not None
        cursor.execute("INSERT INTO balances VALUES (?, ?, ?)", (occurrence.key, occurrence.after.total, 1 // n))

    n = 1
    assert sales.run() == 3
    assert rows(connection) == {"0": (0, 1), "1": (1, 1), "2": (2, 1)}
    assert sales.run(rebuild=lambda cursor: cursor.execute("DELETE FROM balances")) == 3
    with pytest.raises(TypeError, match="does not know what projection 'sales' has written"):
        sales.run(rebuild=True)
    n, other = 0, backend.store(namespace="o")
    orders.create("3")
    orders.do("3", Order.add, 3)
    assert sales.run(on_error="skip") == 1
    assert [each.key for each in sales.skipped()] == ["Order/3"]
    assert orders.project("sums", {Order.add: lambda each, store: store.set(each.key, each.before)}, into=other) == 4
    assert other["3"] == Order()


class TestWithoutHistory:
    def test_overwritten_values_are_gone_and_a_rebuild_finds_the_others(self, store: Store, key: str | None) -> None:
        def count(change: Change, store: Store) -> None:
            store["total"] = store.get("total", 0) + change.value
            store[f"last {change.value % 3}"] = change.value
            if change.value == 7:
                store.delete("last 2")

        store["mine"] = store["last 9"] = 1
        for n in range(12):
            store[f"in {n % 2}"] = n
        store.project("p", count, prefix="in ", history=False)
        store["last 9"] = 2
        seen = dict(store.items())
        assert {name: len(store.history(name)) for name in ("total", "last 0", "in 0", "last 9")} == {
            "total": 1,
            "last 0": 1,
            "in 0": 6,
            "last 9": 2,
        }
        assert store.project("p", count, prefix="in ", history=False, rebuild=True) == 12
        assert dict(store.items()) == seen
        assert (store["total"], len(store.history("total"))) == (66, 1)
        store["in 0"] = 100
        store.project("p", count, prefix="in ")
        assert [change.value for change in store.history("total")] == [66, 166]
        assert list(check(store)) == []

    def test_so_does_another_store(self, backend: Backend, connection: sqlite3.Connection) -> None:
        store, other = backend.store(), backend.store(namespace="o")
        pay(store, 1, 2, 3)
        for rebuild in (False, True):
            Projector(store, other).project(
                "p", lambda change, other: other.set("last", change.value), history=False, rebuild=rebuild
            )
            assert [change.value for change in other.history("last")] == [3]
        with pytest.raises(TypeError, match="DatabaseTarget is no store"):
            Projector(store, DatabaseTarget(connection)).project("p", book_row, history=False)


class TestSwap:
    def test_readers_see_the_old_table_until_the_new_one_is_whole(
        self, store: Store, connection: sqlite3.Connection
    ) -> None:
        projector = Projector(store, DatabaseTarget(connection))
        pay(store, *range(20))
        projector.project("v1", book_row)
        connection.execute(TABLE.replace("balances", "newer"))
        connection.commit()

        def book_twice(change: Change, cursor: sqlite3.Cursor) -> None:
            cursor.execute("INSERT OR IGNORE INTO newer VALUES (?, 0, 0)", (change.key,))
            cursor.execute("UPDATE newer SET balance = balance + 2 * ? WHERE account = ?", (change.value, change.key))

        def rename(cursor: sqlite3.Cursor) -> None:
            cursor.execute("DROP TABLE balances")
            cursor.execute("ALTER TABLE newer RENAME TO balances")

        with pytest.raises(StoreError, match="'v2' is behind 'v1'"):
            projector.swap("v1", "v2", rename)
        projector.project("v2", book_twice)
        pay(store, 100)
        projector.project("v1", book_row)
        with pytest.raises(StoreError, match="'v2' is behind 'v1'"):
            projector.swap("v1", "v2", rename)
        assert rows(connection)["account 0"] == (sum(range(0, 20, 3)) + 100, 8)
        projector.project("v2", book_twice)
        with pytest.raises(ZeroDivisionError):
            projector.swap("v1", "v2", lambda cursor: 1 // 0)
        projector.swap("v1", "v2", rename)
        assert rows(connection)["account 0"] == (2 * (sum(range(0, 20, 3)) + 100), 0)
        with pytest.raises(StoreError, match="'v2' has taken the place of 'v1'"):
            projector.project("v1", book_row)
        assert projector.project("v2", book_twice) == 0

    def test_keys_of_the_store_itself_are_swapped_by_a_name_that_readers_look_up(self, store: Store) -> None:
        def write(prefix: str) -> Callable[[Change, Store], None]:
            return lambda change, store: store.set(f"{prefix}{change.key}", change.value)

        store["a"], store["b"] = 1, 2
        store.project("v1", write("v1/"), prefix="a")
        store.project("v2", write("v2/"), prefix="a")
        Projector(store, store).swap("v1", "v2", lambda store: store.set("now", "v2/"))
        assert store[store["now"] + "a"] == 1
        assert [(each.name, each.records) for each in store.projections()] == [("v2", 0)]
        for call in (lambda: store.lag("v1"), lambda: store.lag("never")):
            with pytest.raises(KeyError):
                call()
        with pytest.raises(StoreError, match="'v2' has taken the place of 'v1'"):
            store.project("v1", write("v1/"), prefix="a")
        assert store.project("v1", write("v1/"), prefix="a", rebuild=True) == 1
        assert list(check(store)) == []


@pytest.mark.server
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_table_of_postgresql_beside_a_store_in_a_file(tmp_path: Path, autocommit: bool) -> None:
    with (
        Store(tmp_path / "a.db", frozen=False) as store,
        psycopg.connect(conftest.postgresql(), autocommit=True) as admin,
    ):
        admin.execute(f"CREATE SCHEMA swapped_{int(autocommit)}")
        options = f"-c search_path=swapped_{int(autocommit)}"
        connect = lambda: psycopg.connect(  # noqa: E731
            conftest.postgresql(),
            autocommit=autocommit,
            options=options,
            row_factory=dict_row,  # type: ignore[arg-type]
        )
        with connect() as first, connect() as second:
            first.execute(TABLE)
            first.commit()
            check_postgresql(store, first, second)


def check_postgresql(store: Store, first: Any, second: Any) -> None:
    from tests.history.test_follow import Doing

    def book(change: Change, cursor: Any) -> None:
        cursor.execute(
            "INSERT INTO balances VALUES (%s, %s, 1) ON CONFLICT (account) DO UPDATE SET balance = "
            "balances.balance + excluded.balance, bookings = balances.bookings + 1",
            (change.key, change.value),
        )
        if change.value == broken:
            cursor.execute("SELECT 1 / 0")

    def hide(change: Change, cursor: Any) -> None:
        with suppress(psycopg.Error):
            cursor.execute("SELECT 1 / 0")

    def totals() -> dict[str, tuple[int, int]]:
        found = first.execute("SELECT * FROM balances").fetchall()
        first.rollback()
        return {row["account"]: (row["balance"], row["bookings"]) for row in found}

    broken = 30
    pay(store, *range(60))
    one, other = (Projector(store, DatabaseTarget(each)) for each in (first, second))
    with pytest.raises(StoreError, match="has hidden its error: nothing was stored"):
        one.project("p", hide)
    with pytest.raises(psycopg.errors.DivisionByZero):
        one.project("p", book)
    running = [Doing(lambda each=each: each.project("p", book, wait=0.05, on_error="skip")) for each in (one, other)]
    assert sum(each.result() for each in running) == 60
    expected = paid(*range(60)) | {"account 0": (sum(range(0, 60, 3)) - 30, 19)}
    assert totals() == expected
    assert [each.key for each in other.skipped("p")] == ["account 0"]
    assert one.project("p", book, rebuild=lambda cursor: cursor.execute("DELETE FROM balances"), on_error="skip") == 60
    assert totals() == expected


def target_in_the_manual(title: str) -> Any:
    """Return the class of targets that a page shows."""
    page = (Path(__file__).parents[2] / "docs/howto/read-models.md").read_text("utf-8")
    _, _, snippet = page.partition(f'```python title="{title}"\n')
    names: dict[str, Any] = {}
    exec(snippet.partition("```\n")[0], names)
    return next(value for name, value in names.items() if name.endswith("Target"))


def check_target(
    targets: list[Any], write: Callable[[Change, Any], Any], reset: Callable[[Any], Any], read: Callable[[], int]
) -> None:
    """Project into one place by several targets, one after the other and at once, with failures, and again."""
    from tests.history.test_follow import Doing

    with Store("memory://", frozen=False) as store:
        pay(store, *range(30))
        assert Projector(store, targets[0]).project("never run", write, rebuild=reset, prefix="none") == 0
        assert targets[0].checkpoint("never run") is None
        with pytest.raises(ZeroDivisionError):
            Projector(store, targets[0]).project("p", failing(write, 9))
        assert Projector(store, targets[0]).project("p", write) == 30
        pay(store, *range(30, 60))
        running = [Doing(lambda each=each: Projector(store, each).project("p", write, wait=0.05)) for each in targets]
        assert sum(each.result() for each in running) == 30
        for before in None, "another":
            with suppress(LookupError), targets[0].transaction("p"):  # nothing of it is stored
                assert not targets[0].advance("p", before, "a checkpoint")
                raise LookupError
        assert read() == sum(range(60))
        with pytest.raises(ZeroDivisionError):
            Projector(store, targets[0]).project("p", write, rebuild=lambda handle: (reset(handle), 1 // 0))
        assert read() == sum(range(60))
        assert Projector(store, targets[1]).project("p", write, rebuild=reset) == 60
        assert read() == sum(range(60))


def test_the_target_for_sqlalchemy_in_the_manual_counts_each_change_once(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db", connect_args={"timeout": 60})
    with engine.begin() as begun:
        begun.execute(sqlalchemy.text("CREATE TABLE sums (total INTEGER)"))
        begun.execute(sqlalchemy.text("INSERT INTO sums VALUES (0)"))
    add = sqlalchemy.text("UPDATE sums SET total = total + :value")

    def read() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(sqlalchemy.text("SELECT total FROM sums")) or 0)

    targets = [target_in_the_manual("SQLAlchemy")(engine) for _ in range(2)]
    none = sqlalchemy.text("UPDATE sums SET total = 0")
    check_target(
        targets,
        lambda change, session: session.execute(add, {"value": change.value}),
        lambda session: session.execute(none),
        read,
    )
    engine.dispose()


@pytest.mark.server
def test_the_target_for_redis_in_the_manual_counts_each_change_once() -> None:
    with closing(redis.Redis.from_url(conftest.redis())) as client:
        client.delete("checkpoint of p", "sum of p")
        targets = [target_in_the_manual("redis")(client) for _ in range(2)]
        check_target(
            targets,
            lambda change, pipeline: pipeline.incrby("sum of p", change.value),
            lambda pipeline: pipeline.delete("sum of p"),
            lambda: int(client.get("sum of p") or 0),  # type: ignore[arg-type]
        )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_projection_whose_processes_are_killed_counts_each_change_once(
    backend: Backend, path: Path, tmp_path: Path
) -> None:
    """``RSTORE_STRESS_SECONDS=60`` in the environment is the larger one."""
    store = backend.store()
    store[MIRROR] = str(path)
    pay(store, 0, 0, 0)
    amounts = [0, 0, 0]
    with Crew(backend, tmp_path, None, seed=5) as crew:
        for name in ("a", "b", "c")[: 3 if STRESS else 2]:
            crew.start("mirror", name)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or (backend.name != "memory" and crew.killed < 2):
            for _ in range(20):
                n = len(amounts)
                store.apply(f"account {n % 3}", {"balance": (operator.add, n)})
                amounts.append(n)
            crew.work(0.01)
        crew.stop()
    with closing(opened(path)) as connection:
        Projector(store, DatabaseTarget(connection)).project("mirror", book_row, kind="es", prefix="account ")
        assert rows(connection) == paid(*amounts)
    print(f"{len(amounts):,} changes, {crew.killed} killed")
