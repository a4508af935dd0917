"""What an earlier version has stored stays readable: one file of each format, whose story `story.py` there tells."""

from __future__ import annotations

import operator
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from rstore import Event, MsgpackStore, Store, StoreProtectedError, StoreWrongKeyError, new_key, transfer
from rstore.admin.check import check
from tests.fixtures.story import BEGIN_MS, DAY, HERE, KEY, NAMESPACES, SINCE_2, SINCE_3, frame_since_3
from tests.support.servers import Postgres, Valkey

FORMATS = sorted(path for path in HERE.iterdir() if path.name.isdigit())


@contextmanager
def on_sqlite(folder: Path, tmp_path: Path) -> Iterator[str]:
    yield shutil.copy(folder / "sqlite.db", tmp_path / "copy.db")


@contextmanager
def on_postgresql(folder: Path, tmp_path: Path) -> Iterator[str]:
    with Postgres.start({"fsync": "off"}) as server:
        with psycopg.connect(server.dsn) as db:
            db.execute((folder / "postgresql.sql").read_bytes())
        yield server.dsn


@contextmanager
def on_redis(folder: Path, tmp_path: Path) -> Iterator[str]:
    shutil.copy(folder / "redis.rdb", tmp_path)
    with Valkey.start("--dir", str(tmp_path), "--dbfilename", "redis.rdb") as server:
        yield server.dsn


@contextmanager
def from_export(folder: Path, tmp_path: Path) -> Iterator[str]:
    dsn = str(tmp_path / "loaded.db")
    for namespace, (kind, key) in NAMESPACES.items():
        with kind(dsn, namespace, key, frozen=False) as store:
            transfer.load(store, folder / f"{namespace}.jsonl.gz")
    yield dsn


PLACES = [
    pytest.param(on_sqlite, id="sqlite"),
    pytest.param(from_export, id="export"),
    pytest.param(on_postgresql, id="postgresql", marks=pytest.mark.server),
    pytest.param(on_redis, id="redis", marks=pytest.mark.server),
]


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.mark.parametrize("place", PLACES)
def test_what_was_stored_is_read(place: Callable[..., contextmanager[str]], folder: Path, tmp_path: Path) -> None:
    with place(folder, tmp_path) as dsn:
        for namespace, (kind, key) in NAMESPACES.items():
            with kind(dsn, namespace, key) as store:
                is_told_in(store)
                assert list(check(store)) == []


@pytest.mark.parametrize("place", PLACES)
def test_it_is_written_on(place: Callable[..., contextmanager[str]], folder: Path, tmp_path: Path) -> None:
    with place(folder, tmp_path) as dsn:
        for namespace, (kind, key) in NAMESPACES.items():
            with kind(dsn, namespace, key, frozen=False) as store:
                store["price"] = {"amount": 14, "currency": "EUR"}
                store.extend("steps", (5_000, 0))
                store.apply("account", {"balance": (operator.add, 1)})
                assert [each.value["amount"] for each in store.history("price")] == [12, 13, 14]
                assert store.last("steps") == (5_000, 0)
                assert store.current("account") == {"balance": 311, "note": "late"}
                store.compact()
                assert store["price"]["amount"] == 14
                assert list(check(store)) == []


@pytest.mark.parametrize("place", PLACES)
def test_it_takes_no_other_key_and_is_read_without_any(
    place: Callable[..., contextmanager[str]], folder: Path, tmp_path: Path
) -> None:
    """Also where it was stored before a namespace had check values of its keys."""
    with place(folder, tmp_path) as dsn:
        with Store(dsn, "encrypted", new_key(), frozen=False) as other, pytest.raises(StoreWrongKeyError):
            other["price"] = 1
        with Store(dsn, "encrypted") as keyless:
            assert keyless.keys() == ["long", "once", "price", "seen"]
        with Store(dsn, "encrypted", KEY, frozen=False) as store:
            assert store["price"] == {"amount": 13, "currency": "EUR"}
            store["price"] = 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("folder", [path for path in FORMATS if int(path.name) >= 2], ids=lambda path: path.name)
def test_erasures_policies_and_types_are_read(
    place: Callable[..., contextmanager[str]], folder: Path, tmp_path: Path
) -> None:
    with place(folder, tmp_path) as dsn, MsgpackStore(dsn, SINCE_2, KEY, frozen=False) as store:
        if place is from_export:  # a policy does not come along
            transfer.load(store, folder / f"{SINCE_2}.jsonl.gz")
            store.protect()
        assert store["amount"] == (Decimal("1.50"), DAY)
        kept, erasure = store.history("account")
        assert (kept.value, store.current("account")) == (2, {"n": 2})
        assert (erasure.op, erasure.who, erasure.why, erasure.value.records) == ("prune", "ada", "too old", 1)
        assert store.is_protected()
        assert list(check(store)) == []
        with Store(dsn, SINCE_2, frozen=False) as plain, pytest.raises(StoreProtectedError):
            plain["amount"] = 2


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("folder", [path for path in FORMATS if int(path.name) >= 3], ids=lambda path: path.name)
def test_columns_summaries_and_many_values_are_read(
    place: Callable[..., contextmanager[str]], folder: Path, tmp_path: Path
) -> None:
    with place(folder, tmp_path) as dsn, Store(dsn, SINCE_3, KEY, frozen=False) as store:
        if place is from_export:
            transfer.load(store, folder / f"{SINCE_3}.jsonl.gz")
        frame = frame_since_3()
        rows = [dict(row) for row in frame.to_dict("records")]
        assert [value for _, value in store.range("sensors")] == rows
        assert store.last("sensors")[1] == rows[-1]
        days = store.resample("levels", "1D", how="sum")
        assert [value for _, value in days] == list(frame["level"].resample("1D").sum())
        assert store["counter"] == 199
        assert [store.at(BEGIN_MS + 1_000 * n)["counter"] for n in range(0, 200, 7)] == list(range(0, 200, 7))
        assert list(check(store)) == []


def is_told_in(store: Store) -> None:
    """Compare with what the story tells, in all three models and in both times."""
    assert store.keys() == ["long", "once", "price", "seen"]
    assert store["price"] == {"amount": 13, "currency": "EUR"}
    assert store["long"] == "compressible " * 1_000
    assert store.at(BEGIN_MS)["price"] == {"amount": 12, "currency": "EUR"}
    assert store.at(BEGIN_MS + 1_500)["gone"] == [1, 2.5, None]
    first, second = store.history("price")
    assert (first.recorded, first.who, first.why, first.more) == (BEGIN_MS, "ada", "opened", {"ticket": 42})
    assert (second.recorded, second.who, second.value) == (BEGIN_MS + 1_000, None, {"amount": 13, "currency": "EUR"})

    squares = [(n, n * n) for n in range(5_000) if not 10 <= n <= 19]
    assert store.range("steps") == sorted([*squares, (15, -1)])
    assert store.at(BEGIN_MS + 3_000).range("steps", 8, end=11) == [(8, 64), (9, 81), (10, 100), (11, 121)]
    assert store.range("mixed") == [(1, "one"), (2, None), (3, [3])]
    weather = store.range("weather", to="pandas")
    assert weather.index[0] == pd.Timestamp("2026-01-01", tz="Europe/Berlin")
    assert (weather["low"].sum(), weather["count"].sum(), len(weather)) == (44_850.0, 44_850, 300)

    assert store.eventsources() == ["account", "short"]
    assert store.current("account") == {"balance": 310, "note": "late"}
    assert store.past("account", BEGIN_MS + 100_000) == {"owner": "Ada", "balance": 104}
    assert store.current("short") == {"n": 7}
    assert store.events("account", item="note") == [Event(BEGIN_MS + 100_500, "note", operator.setitem, "late")]


def test_what_was_done_once_stays_done(folder: Path, tmp_path: Path) -> None:
    with on_sqlite(folder, tmp_path) as dsn, Store(dsn, "plain", frozen=False) as store:
        store.set("once", False, once="token")
        assert store["once"] is True
        assert store.apply("short", {"n": 99}, once="token") == {"n": 1}, "the state that it led to then"


def test_a_projection_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    with on_sqlite(folder, tmp_path) as dsn, Store(dsn, "plain", frozen=False) as store:
        assert store.project("count", lambda change, store: None, prefix="price") == 0
