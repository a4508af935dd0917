"""The tables of SQL show the data that calls of Python return: on every backend, encrypted too, now and in the past."""

from __future__ import annotations

import datetime
import json
import operator
import signal
import sys
import threading
import types
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import rstore
from rstore import Store
from tests.conftest import Backend, in_turn

UTC = datetime.UTC
MINUTES = pd.date_range("2026-03-01", periods=240, freq="min", tz="Europe/Vienna")


def fill(store: Store) -> int:
    """Fill a store, change all of it, and return a moment in between."""
    store.set_many({"price": 10, "user:ada": 36, "user:bob": 41})
    store.extend("rain", (1, 2.5), (2, 0.0), (5, 7.5))
    store.extend("close", pd.DataFrame({"open": 100.0, "close": range(240)}, index=MINUTES))
    with store.context(who="ada", why="ticket 42", did="open", request="4711"):
        store.apply("account", {"owner": "Ada", "balance": 10}, t=1000)
    moment = store.tag("before")
    store.set("price", 11)
    store.delete("user:bob")
    store.extend("rain", (2, 0.25))
    store.remove("close", start=MINUTES[100])
    store.apply("account", {"balance": (operator.add, 5)}, t=2000)
    return moment


def ms(time: Any) -> Any:
    return None if time is None else round(time.timestamp() * 1000)


def test_the_tables_show_what_calls_return(store: Store) -> None:
    moment = fill(store)
    for view in (store, store.at(moment)):
        assert dict(view.sql("SELECT key, value FROM kv").rows()) == dict(view.items())
        points = {key: view.range(key) for key in view.timeseries()}
        found = view.sql("SELECT key, t, value FROM points WHERE key = 'rain' ORDER BY t").rows()
        assert found == [("rain", t, value) for t, value in points["rain"]]
        rows = view.sql("SELECT t, value FROM points WHERE key = 'close' ORDER BY t").rows()
        assert [(t, json.loads(text)) for t, text in rows] == points["close"]
        events = view.sql("SELECT key, t, item, op, value FROM events ORDER BY t, item DESC").rows()
        shown = [("account", each.timestamp, each.item, each.op.__name__) for each in view.events("account") or ()]
        assert sorted((key, ms(t), item, op) for key, t, item, op, _ in events) == sorted(shown)
        state = {item: json.loads(text) for _, item, text in view.sql("SELECT * FROM states").rows()}
        assert state == view.current("account")
        changes = view.sql("SELECT recorded, kind, key, op, version, who, why, did, commit FROM changes").rows()
        logged = [(c.recorded, c.kind, c.key, c.op, c.version, c.who, c.why, c.did, c.commit) for c in view.log()]
        assert [(ms(first), *rest) for first, *rest in changes] == logged
        commits = view.sql("SELECT id, recorded, who, did, more, changes FROM commits").rows()
        by = view.log(by="commit")
        assert [(each.id, each.recorded, each.who, each.did, each.more, len(each.changes)) for each in by] == [
            (key, ms(time), who, did, json.loads(more), count) for key, time, who, did, more, count in commits
        ]


def test_a_series_is_a_table_with_its_own_columns(store: Store) -> None:
    moment = fill(store)
    frame = store.sql('SELECT t, open, "close" FROM "close" ORDER BY t', to="pandas")
    expected = store.range("close", to="pandas")
    assert list(frame["t"]) == list(expected.index)
    assert list(frame["close"]) == list(expected["close"])
    assert (frame["open"].dtype, frame["close"].dtype) == ("float64", "int64")
    found = store.sql(
        'SELECT t, now.value, past.value FROM rain now JOIN "rain@before" past USING (t) WHERE now.value <> past.value'
    )
    assert (found.rows(), found.columns) == ([(2, 0.25, 0.0)], ["t", "value", "value"])
    at = datetime.datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    for name in (f"close@{moment}", f"close@{at}", f"close@{at.removesuffix('+00:00')}", "close@before"):
        assert store.sql(f'SELECT count(*) FROM "{name}"').rows() == [(240,)], name
    assert store.at(moment).sql('SELECT count(*) FROM "close"').rows() == [(240,)]
    assert store.sql('SELECT count(*) FROM "close"').rows() == [(100,)]


def test_series_that_match_a_pattern_are_one_table(store: Store) -> None:
    for key, price in (("stock/a", 10.0), ("stock/b", 20.0), ("Stock/a", 30.0)):
        store.extend(key, pd.DataFrame({"bid": price, "size": range(240)}, index=MINUTES))
    found = store.sql('SELECT key, count(*), avg(bid), min(t) FROM "stock/*" GROUP BY key ORDER BY key').rows()
    start = MINUTES[0].tz_convert("UTC").to_pydatetime()
    assert found == [("stock/a", 240, 10.0, start), ("stock/b", 240, 20.0, start)]
    assert store.sql("SELECT sum(size) FROM \"stock/*\" WHERE key = 'stock/b' AND t < '2026-02-28 23:04'").rows() == [
        (6,)
    ]
    assert store.sql('SELECT a.bid, b.bid FROM "stock/a" a JOIN "[S]tock/a" b USING (t) LIMIT 1').rows() == [
        (10.0, 30.0)
    ]
    with pytest.raises(ValueError, match='call one of them "\\[S\\]tock/a"'):
        store.sql('SELECT * FROM "stock/a" JOIN "Stock/a" USING (t)')


def test_a_query_in_a_transaction_sees_its_writes(store: Store) -> None:
    store.set("a", 1)
    with store.transaction():
        store.set("b", 2)
        store.extend("series", (1, 1.5))
        assert store.sql("SELECT key, value FROM kv").rows() == [("a", 1), ("b", 2)]
        assert store.sql("SELECT * FROM series").rows() == [(1, 1.5)]
        assert store.sql("SELECT count(*) FROM changes").rows() == [(3,)]


def test_the_end_of_a_value_is_a_time(store: Store) -> None:
    store.set("token", 1, until=datetime.datetime(2099, 1, 1, tzinfo=UTC))
    store.set("plain", 2)
    found = store.sql("SELECT key, until FROM changes ORDER BY key")
    assert found.rows() == [("plain", None), ("token", datetime.datetime(2099, 1, 1, tzinfo=UTC))]
    assert store.sql("SELECT key FROM changes WHERE until > '2098-12-31'").rows() == [("token",)]


def test_an_empty_store_has_tables_without_rows(backend: Backend) -> None:
    store = backend.store()
    for name in ("kv", "points", "events", "states", "changes", "commits"):
        assert store.sql(f"SELECT * FROM {name}").rows() == [], name
    assert store.sql("SELECT avg(value), count(*) FROM kv").rows() == [(None, 0)]


# -- types ------------------------------------------------------------------------------------------------------------

MEMORY = "memory://"


@pytest.fixture
def memory() -> Any:
    with Store(MEMORY, frozen=False) as store:
        yield store


NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=UTC)


@in_turn(
    ("values", "kind", "shown"),
    [
        ([1, 2, None], "int64", None),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([2**53 + 1, 2.5], "string", ["9007199254740993", "2.5"]),
        ([2**70], "string", [str(2**70)]),
        (["a", "b"], "string", None),
        ([True, None], "bool", None),
        ([True, 1], "string", ["true", "1"]),
        (["a", 1], "string", ['"a"', "1"]),
        ([b"\x00\xff"], "binary", None),
        ([Decimal("1.5"), Decimal("2.25")], "decimal128(38, 2)", None),
        ([Decimal("NaN")], "null", [None]),
        ([NOON], "timestamp[us, tz=UTC]", None),
        ([NOON.replace(tzinfo=None)], "timestamp[us]", None),
        ([NOON, NOON.replace(tzinfo=None)], "string", ['"2026-05-01T12:00:00+00:00"', '"2026-05-01T12:00:00"']),
        ([NOON.date()], "date32[day]", None),
        ([NOON.time()], "time64[us]", None),
        ([np.float32(1.5), np.int64(7)], "double", [1.5, 7.0]),
        ([float("nan"), 1.0], "double", [None, 1.0]),
        ([{"a": 1}, [1, None]], "string", ['{"a":1}', "[1,null]"]),
        ([{"a": float("inf")}], "string", ['{"a":"inf"}']),
        ([{1, 2}], "string", ['{"repr":"{1, 2}"}']),
        (["\ud800"], "string", ['"\\ud800"']),
        ([None], "null", None),
    ],
)
def test_values_have_a_type_where_all_agree_and_are_json_elsewhere(
    memory: Store, values: list[Any], kind: str, shown: list[Any] | None
) -> None:
    memory.set_many({str(n): value for n, value in enumerate(values)})
    found = memory.sql("SELECT value FROM kv")
    assert str(found.arrow().schema.field(0).type) == kind
    assert [value for (value,) in found.rows()] == (values if shown is None else shown)
    memory.clear()


def test_the_rows_that_conditions_on_keys_choose_decide_on_the_type(memory: Store) -> None:
    memory.set_many({"name": "Ada", "n:1": 1, "n:2": 2, "x:1": 1, "x:2": "a"})
    for condition in (
        "key LIKE 'n:%'",
        "key IN ('n:1', 'n:2')",
        "key >= 'n:' AND key < 'n;'",
        "starts_with(key, 'n:')",
    ):
        assert memory.sql(f"SELECT avg(value) FROM kv WHERE {condition}").rows() == [(1.5,)], condition
    assert memory.sql("SELECT value FROM kv WHERE key LIKE 'x:%'").rows() == [("1",), ('"a"',)]
    assert memory.sql("SELECT value FROM kv WHERE key = 'name'").rows() == [("Ada",)]
    with pytest.raises(ValueError, match="Malformed JSON"):  # a text of the type that it has is no JSON
        memory.sql("SELECT value->>'$.a' FROM kv WHERE key = 'name'")


def test_a_query_that_needs_types_to_be_understood_finds_them(memory: Store) -> None:
    memory.set_many({"a": NOON, "b": 1.5, "c": "text"})
    for query, rows in (
        ("SELECT date_trunc('day', value) FROM kv WHERE key = 'a'", [(NOON.replace(hour=0),)]),
        ("SELECT date_trunc('day', value) FROM kv WHERE key = 'a' AND key = 'b'", []),
        ("SELECT sum(value) FROM kv WHERE key = 'a' AND key = 'b'", [(None,)]),
        ("SELECT sum(k.value) FROM (SELECT 'b' AS key) o JOIN kv k USING (key) WHERE k.key = 'b'", [(1.5,)]),
        # one table has one type, for all times that the query names it
        ("SELECT a.value, b.value FROM kv a JOIN kv b ON b.key = 'b' WHERE a.key = 'c'", [('"text"', "1.5")]),
    ):
        assert memory.sql(query).rows() == rows, query
    with pytest.raises(ValueError, match="date_trunc"):
        memory.sql("SELECT date_trunc('day', value) FROM kv WHERE key = 'c'")


def test_ints_that_are_no_floats_stay_exact(memory: Store) -> None:
    memory.extend("mixed", (np.array([1], "M8[s]"), np.array([2**53 + 1])))
    memory.extend("mixed", (np.array([2], "M8[s]"), np.array([2.5])))
    assert memory.sql("SELECT value FROM mixed ORDER BY t").rows() == [("9007199254740993",), ("2.5",)]


def test_a_value_of_another_type_is_found_wherever_it_comes(memory: Store) -> None:
    memory.set_many({f"{n:06}": n for n in range(9000)})
    assert memory.sql("SELECT sum(value) FROM kv").rows() == [(sum(range(9000)),)]
    memory.set("008999", "last")
    assert memory.sql("SELECT max(value) FROM kv WHERE key > '0089'").rows() == [("8998",)]
    assert memory.sql("SELECT count(value), count(value::DOUBLE) FROM kv WHERE key < '008999'").rows() == [(8999, 8999)]


def test_columns_of_rows_are_found_wherever_they_come(memory: Store) -> None:
    memory.extend(
        "quotes", *((t, {"bid": t, "ask": t + 1}) for t in range(5000)), (5000, {"last": 1.5}), (5001, "halt")
    )
    assert memory.sql("SELECT * FROM quotes WHERE t >= 4999 ORDER BY t").rows() == [
        (4999, 4999, 5000, None, None),
        (5000, None, None, 1.5, None),
        (5001, None, None, None, "halt"),
    ]
    assert memory.sql('SELECT max("last"), count(bid) FROM quotes').rows() == [(1.5, 5000)]
    assert memory.sql("SELECT avg(ask - bid) FROM quotes WHERE t < 10").rows() == [(1.0,)]
    with pytest.raises(ValueError, match="bod"):
        memory.sql("SELECT bod FROM quotes")


def test_a_series_takes_the_unit_of_a_frame_in_its_middle(memory: Store) -> None:
    memory.extend("series", (np.array([5], "M8[ms]"), np.array([3.0])))
    memory.extend("series", (0, 1.0))
    memory.extend("series", (10, 2.0))
    found = memory.sql("SELECT * FROM series ORDER BY t").rows()
    epoch = datetime.datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    assert found == [
        (epoch + datetime.timedelta(milliseconds=t), value) for t, value in ((0, 1.0), (5, 3.0), (10, 2.0))
    ]


def test_series_with_and_without_units_have_ints_together(memory: Store) -> None:
    memory.extend("a/plain", (1, 1.0))
    memory.extend("a/times", (np.array([5], "M8[s]"), np.array([3.0])))
    assert memory.sql('SELECT * FROM "a/*" ORDER BY t').rows() == [("a/plain", 1, 1.0), ("a/times", 5, 3.0)]
    assert memory.sql('SELECT value FROM "a/*" WHERE t = 5').rows() == [(3.0,)]


@in_turn("unit", ["s", "ms", "us", "ns"])
def test_times_are_exact_in_each_unit(memory: Store, unit: str) -> None:
    odd = np.array([1_772_323_200, 1_772_323_201], "M8[s]").astype(f"M8[{unit}]") + (unit != "s")
    memory.extend(unit, (odd, np.array([1, 2])))
    found = memory.sql(f'SELECT t, value FROM "{unit}" ORDER BY t', to="arrow")
    assert found.column(0).to_pylist() == pa.array(odd).to_pylist()
    assert str(found.schema.field(0).type) == ("timestamp[ns]" if unit == "ns" else "timestamp[us]")
    literal = str(odd[1])
    assert memory.sql(f"SELECT value FROM \"{unit}\" WHERE t >= '{literal}'").rows() == [(2,)]


def test_columns_of_all_types_come_as_they_are(memory: Store) -> None:
    frame = pl.DataFrame(
        {
            "at": pl.date_range(datetime.date(2026, 1, 1), datetime.date(2026, 1, 3), eager=True).cast(
                pl.Datetime("us")
            ),
            "key": ["a", None, "c"],
            "t": [1, 2, 3],
            "ratio": [1.5, None, float("nan")],
            "flag": [True, None, False],
            "day": [datetime.date(2026, 1, 1), None, datetime.date(2026, 1, 3)],
            "big": pl.Series([1, 2, 2**64 - 1], dtype=pl.UInt64),
        }
    )
    memory.extend("all", frame)
    found = memory.sql('SELECT * FROM "all"', to="polars")
    assert found.columns == ["time", "key", "t", "ratio", "flag", "day", "big"]
    assert found["ratio"].to_list() == [1.5, None, None]
    for name in ("key", "t", "flag", "day", "big"):
        assert found[name].to_list() == frame[name].to_list(), name
    both = memory.sql('SELECT * FROM "al*"')
    assert both.columns == ["series", "time", "key", "t", "ratio", "flag", "day", "big"]


def test_the_columns_of_keys_and_times_have_names_that_sql_tells_from_the_others(memory: Store) -> None:
    memory.extend("odd", pd.DataFrame({"T": [1, 2], "Time": [3, 4], "KEY": [5, 6]}, index=MINUTES[:2]))
    found = memory.sql("SELECT * FROM \"od*\" WHERE timestamp > '2026-02-28 23:00' AND series = 'odd'")
    assert (found.columns, found.rows()[0][2:]) == (["series", "timestamp", "T", "Time", "KEY"], (2, 4, 6))
    assert memory.sql("SELECT t, time, key FROM odd WHERE t = 1").rows() == [(1, 3, 5)]
    memory.extend("all taken", pd.DataFrame({"key": [1], "series": [2], "series key": [3]}, index=[4]))
    found = memory.sql('SELECT * FROM "all*"')
    assert (found.columns[0], found.rows()) == ("series key 2", [("all taken", 4, 1, 2, 3)])


def test_a_column_has_one_type_over_segments_of_several(memory: Store) -> None:
    memory.extend("mixed", (np.array([1, 2], "M8[s]"), np.array([1, 2], "i4")))
    memory.extend("mixed", (np.array([3], "M8[s]"), np.array([2.5])))
    assert memory.sql("SELECT value FROM mixed ORDER BY t").rows() == [(1.0,), (2.0,), (2.5,)]
    memory.extend("mixed", (np.array([4], "M8[s]"), np.array(["x"])))
    assert memory.sql("SELECT value FROM mixed ORDER BY t").rows() == [("1",), ("2",), ("2.5",), ('"x"',)]


# -- values that cannot be loaded -------------------------------------------------------------------------------------


def test_values_that_cannot_be_loaded_are_null_and_counted(backend: Backend, key: str | None) -> None:
    module = types.ModuleType("gone")
    exec("class Thing:\n    pass\nThing.__module__ = 'gone'", module.__dict__)
    sys.modules["gone"] = module
    store = backend.store(key=key)
    try:
        store.set_many({"a": module.Thing(), "b": 2})
        store.extend("series", (1, module.Thing()))
        store.extend("series", (2, 2.5))
        store.apply("account", {"thing": module.Thing(), "n": 1})
    finally:
        del sys.modules["gone"]
        store.close()
    store.open()  # it has forgotten the states that it had
    found = store.sql("SELECT key, value FROM kv")
    assert (found.rows(), found.unreadable) == ([("a", None), ("b", 2)], 1)
    assert store.sql("SELECT key FROM kv").unreadable == 0
    assert store.sql("SELECT value FROM kv WHERE key = 'b'").unreadable == 0
    for query, rows in (
        ("SELECT t, value FROM series ORDER BY t", [(1, None), (2, 2.5)]),
        ("SELECT t, value FROM points ORDER BY t", [(1, None), (2, 2.5)]),
        ("SELECT item, value FROM states ORDER BY item", [("n", 1), ("thing", None)]),
        ("SELECT item, value FROM events ORDER BY item", [("n", 1), ("thing", None)]),
    ):
        found = store.sql(query)
        assert (found.rows(), found.unreadable) == (rows, 1), query
    assert store.sql("SELECT value FROM changes").unreadable == 3


def test_a_damaged_value_is_an_error(memory: Store) -> None:
    with Store("memory://", key=rstore.new_key(), frozen=False) as other:
        other.set("a", 1)
        _, stream, record = next(iter(other._core.base.follow()))
    memory.set("a", 2)
    log: Any = memory._core.base
    original = log.last

    def last(*args: Any, **options: Any) -> Any:
        return [None if each is None else each._replace(data=record.data) for each in original(*args, **options)]

    log.last = last
    with pytest.raises(rstore.StoreMissingKeyError):
        memory.sql("SELECT value FROM kv")
    assert stream.key == "a"


# -- calls ------------------------------------------------------------------------------------------------------------


def test_a_result_is_rows_and_frames(memory: Store) -> None:
    memory.set_many({"a": 1, "b": 2})
    found = memory.sql("SELECT key, value FROM kv ORDER BY key")
    assert (found.columns, found.rows(), len(found), list(found)) == (
        ["key", "value"],
        [("a", 1), ("b", 2)],
        2,
        [("a", 1), ("b", 2)],
    )
    assert found.pandas()["value"].tolist() == found.polars()["value"].to_list() == [1, 2]
    assert "<td>b</td>" in found._repr_html_()
    with pytest.raises(ValueError, match="to is one of arrow, pandas, polars, not 'numpy'"):
        memory.sql("SELECT 1", to="numpy")
    with pytest.raises(ValueError, match="rename one 'a' with AS"):
        memory.sql("SELECT 1 AS a, 2 AS a", to="polars")
    with pytest.raises(TypeError, match="a query is a str, not int"):
        memory.sql(1)  # type: ignore[call-overload]


def test_parameters_are_values(memory: Store) -> None:
    memory.set_many({"a'b": 1, "c": 2})
    assert memory.sql("SELECT value FROM kv WHERE key = ?", ["a'b"]).rows() == [(1,)]
    assert memory.sql("SELECT value FROM kv WHERE key LIKE $p AND value < $n", {"p": "a%", "n": 5}).rows() == [(1,)]
    with pytest.raises(ValueError, match="parameter"):
        memory.sql("SELECT value FROM kv WHERE key = ?")


def test_an_interrupt_ends_a_query(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        memory.sql("SELECT sum(range) FROM range(100_000_000_000)")
    timer.join()
    for key in range(3):
        memory.extend(f"price {key}", (1, 1.0))
    assert len(memory.sql('SELECT * FROM "price*"')) == 3
    monkeypatch.setattr("rstore.sql.scan._as_one", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        memory.sql('SELECT * FROM "price*"')


def test_errors_say_what_and_where(memory: Store) -> None:
    memory.extend("price", (1, 1.0))
    for query, message in (
        ("SELECT * FROM pric", "there is no table 'pric': there are kv, .* points; series such as \"price\""),
        ("SELEC 1", r"syntax error at or near .* \(line 1, column 1\)"),
        ("SELECT\n 1 FROM WHERE", r"line 2, column 9"),
        ("SELECT 'x'::INT", "Could not convert string 'x'"),
        ("SELECT nothing FROM kv", "nothing"),
        ("SELECT 1; SELECT 2", "this takes one query, not 2"),
        ("", "this takes one query, not 0"),
        ("SELECT * FROM a.b", 'as "a.b"'),
        ('SELECT * FROM "price@nowhen"', "'nowhen' is no time"),
        ("SHOW TABLES", "DESCRIBE shows the columns"),
        (
            "FROM (PIVOT kv ON key USING max(value))",
            r"statement; PIVOT lists its columns, as in ON key IN \('a', 'b'\)$",
        ),
        ("VACUUM", "no other statement$"),
    ):
        with pytest.raises(ValueError, match=message):
            memory.sql(query)
    assert [row[:2] for row in memory.sql("DESCRIBE price").rows()] == [("t", "BIGINT"), ("value", "DOUBLE")]
    assert memory.sql("PIVOT price ON t IN (1, 2) USING max(value)").rows() == [(1.0, None)]


@in_turn(
    ("query", "rows"),
    [
        ("WITH Key AS (SELECT 1 AS n) SELECT n FROM kEY", [(1,)]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM R WHERE n < 3) FROM r", [(1,), (2,), (3,)]),
        ("WITH kv AS (SELECT value FROM kv WHERE key = 'a') SELECT * FROM kv", [(1,)]),
        ("SELECT a.value, b.n FROM kv a, (WITH kv AS (SELECT 5 AS n) SELECT n FROM kv) b WHERE key = 'a'", [(1, 5)]),
        ("WITH x AS (SELECT 1 AS n), kv AS (SELECT n + 1 AS n FROM x) SELECT * FROM kv", [(2,)]),
        ("WITH x AS (SELECT count(*) AS n FROM kv), kv AS (SELECT n + 1 AS n FROM x) SELECT * FROM kv", [(3,)]),
        ("WITH kv AS (SELECT 5 AS n) SELECT (SELECT max(n) FROM kv) FROM (SELECT n FROM kv)", [(5,)]),
        ("WITH kv AS (SELECT 5 AS n) SELECT n FROM kv UNION ALL (SELECT n + 1 FROM kv) ORDER BY n", [(5,), (6,)]),
        (
            "WITH RECURSIVE kv(n) AS (SELECT value FROM kv UNION ALL SELECT n+9 FROM kv WHERE n<9) FROM kv ORDER BY 1",
            [(1,), (2,), (10,), (11,)],
        ),
    ],
)
def test_with_defines_a_table_only_where_it_reaches(memory: Store, query: str, rows: list[Any]) -> None:
    memory.set_many({"a": 1, "b": 2})
    assert memory.sql(query).rows() == rows


@in_turn("key", ['a"b', "a'b", "a.b", "x y", "ünï 🎉", "select", "1", "a,b", "a\\b", "a%b", "a\nb", "x@y"])
def test_odd_names_of_series_are_tables(memory: Store, key: str) -> None:
    memory.extend(key, (1, 2.5))
    memory.set(key, 1)
    quoted = key.replace('"', '""')
    assert memory.sql(f'SELECT value FROM "{quoted}"').rows() == [(2.5,)]
    assert memory.sql("SELECT value FROM kv WHERE key = ?", [key]).rows() == [(1,)]
    assert memory.sql("SELECT value FROM kv WHERE starts_with(key, ?)", [key]).rows() == [(1,)]
    assert memory.sql("SELECT count(*) FROM kv WHERE key IN (?, 'other')", [key]).rows() == [(1,)]
    memory.delete(key)


DUCKDB = ["duckdb_settings", "sqlite_master", "information_schema", "main", "temp", "rowid", "unnest", "a.csv", "$1"]


@in_turn("key", [*DUCKDB, '"', '"; DROP VIEW x; --', "/*", "[", "!", "@", "a@2026-05-01", "\u200b", "\x01", "é" * 512])
def test_a_series_hides_any_name_of_duckdb(memory: Store, key: str) -> None:
    memory.extend(key, (1, 1.5), (2, 2.5))
    quoted = key.replace('"', '""')
    assert memory.sql(f'SELECT value FROM "{quoted}" WHERE t = 2').rows() == [(2.5,)]
    memory.clear()


def test_a_pattern_may_have_an_at_sign(memory: Store) -> None:
    memory.extend("mail@a", (1, 1.0))
    memory.extend("mail@b", (1, 2.0))
    moment = memory.tag("both [*]")
    memory.remove("mail@b")
    for name in ("mail@*", "mail[@]?", "m*l@[ab]"):
        assert memory.sql(f'SELECT key, value FROM "{name}"').rows() == [("mail@a", 1.0)], name
    for time in (moment, "both [*]"):
        found = memory.sql(f'SELECT key FROM "mail@*@{time}" ORDER BY key').rows()
        assert found == [("mail@a",), ("mail@b",)], time
    with pytest.raises(ValueError, match=r"'\*' is no time"):
        memory.sql('SELECT * FROM "post@*"')


def test_a_series_with_the_name_of_a_table_is_read_by_a_pattern(memory: Store) -> None:
    memory.extend("kv", (1, 1.0))
    assert memory.sql("SELECT * FROM kv").rows() == []
    assert memory.sql('SELECT * FROM "[k]v"').rows() == [("kv", 1, 1.0)]


@in_turn(("key", "other"), [("price", "Price"), ("q[1]", "Q[1]"), ('!a"*', '!A"*'), ("a@x", "a@X")])
def test_names_that_differ_in_case_get_a_pattern_that_works(memory: Store, key: str, other: str) -> None:
    memory.extend(key, (1, 1.0))
    memory.extend(other, (1, 2.0))
    memory.extend("q1", (1, 3.0))
    first, second = (each.replace('"', '""') for each in (key, other))
    with pytest.raises(ValueError, match="the same table: call one of them") as caught:
        memory.sql(f'SELECT a.value, b.value FROM "{first}" a JOIN "{second}" b USING (t)')
    _, _, advice = str(caught.value).partition("one of them ")
    assert memory.sql(f'SELECT a.value, b.value FROM "{first}" a JOIN {advice} b USING (t)').rows() == [(1.0, 2.0)]
    memory.clear()


def test_the_case_of_a_table_of_all_keys_does_not_matter(memory: Store) -> None:
    memory.set_many({"a": 1, "b": 2})
    assert memory.sql("SELECT count(*) FROM kv, KV AS other, Changes").rows() == [(8,)]


def test_names_that_differ_beyond_ascii_are_several_tables(memory: Store) -> None:
    memory.extend("ä", (1, 1.0))
    memory.extend("Ä", (1, 2.0))
    assert memory.sql('SELECT a.value, b.value FROM "ä" a JOIN "Ä" b USING (t)').rows() == [(1.0, 2.0)]


def test_an_unknown_table_lists_names_as_queries_write_them(memory: Store) -> None:
    memory.extend('say "hi"', (1, 1.0))
    with pytest.raises(ValueError, match=r'series such as "say ""hi"""$'):
        memory.sql('SELECT * FROM "say hi"')


def test_a_key_that_no_backend_can_have_is_in_no_table(backend: Backend) -> None:
    store = backend.store()
    store.set("a", 1)
    store.apply("a", {"n": 1})
    for odd in ("x" * 2000, "a\0b"):
        assert store.sql("SELECT count(*) FROM events WHERE item = ?", [odd]).rows() == [(0,)]
        assert store.sql("SELECT count(*) FROM events WHERE item IN ('n', ?)", [odd]).rows() == [(1,)]
        for table in ("kv", "points", "events", "changes"):
            query = f"SELECT count(*) FROM {table} WHERE key >= ? AND key < ?"
            assert store.sql(query, [f"{odd}a", f"{odd}b"]).rows() == [(0,)]
            assert store.sql(f"SELECT count(*) FROM {table} WHERE starts_with(key, ?)", [odd]).rows() == [(0,)]
        assert store.sql("SELECT count(*) FROM kv WHERE key = ?", [odd]).rows() == [(0,)]
        assert store.sql("SELECT count(*) FROM points WHERE key = ?", [odd]).rows() == [(0,)]
        assert store.sql("SELECT count(*) FROM changes WHERE key = ?", [odd]).rows() == [(0,)]


def test_a_frozen_store_answers_queries(backend: Backend) -> None:
    backend.store().set("a", 1)
    assert backend.store(frozen=True).sql("SELECT value FROM kv").rows() == [(1,)]


def test_a_store_that_is_not_open_says_so() -> None:
    with pytest.raises(rstore.StoreError, match="open"):
        Store(MEMORY, frozen=False).sql("SELECT * FROM kv")
