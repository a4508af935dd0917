"""A query reads only the keys and times of its conditions, and loads only the columns that it needs: counted."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pytest

from rstore import LogCall, Observer, Store
from rstore.sql.pushed import Bound, pushed_by
from tests.conftest import Backend, in_turn

KEYS = 300
SEGMENTS = 6


class Reads(Observer):
    """Counts the streams and records that were read."""

    def __init__(self) -> None:
        self.calls: list[LogCall] = []

    def called(self, call: LogCall) -> None:
        self.calls.append(call)

    def of(self, store: Store, query: str, *parameters: Any) -> tuple[int, int, int]:
        """Return how many heads, and how many records, a query reads, and how many rows it has."""
        self.calls.clear()
        rows = len(store.sql(query, parameters))
        heads = sum(call.streams for call in self.calls if call.operation == "heads")
        return heads, sum(call.records for call in self.calls), rows


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def store(backend: Backend, reads: Reads) -> Store:
    return backend.store(observer=reads)


def test_few_keys_are_looked_up_and_of_many_a_part_is_listed(store: Store, reads: Reads) -> None:
    store.set_many({f"{n % 3}/{n:04}": n for n in range(KEYS)})
    store.extend_many({f"{n % 3}/{n:04}": [(n, n)] for n in range(KEYS)})
    for n in range(10):
        store.apply(f"{n % 3}/{n:04}", {"n": n})
    for query, most, count in (
        ("SELECT value FROM kv WHERE key = '1/0001'", 2, 1),
        ("SELECT value FROM kv WHERE key IN ('1/0001', '2/0002', 'none')", 4, 2),
        ("SELECT value FROM kv WHERE key = '1/0001' OR key = '2/0002'", 4, 2),
        ("SELECT value FROM kv a JOIN (SELECT '1/0001' AS key) b USING (key) WHERE a.key = '1/0001'", 2, 1),
        ("SELECT value FROM kv WHERE key LIKE '1/000%'", 20, 3),
        ("SELECT value FROM kv WHERE key LIKE '1/000_' AND value < 5", 20, 2),
        ("SELECT value FROM kv WHERE starts_with(key, '1/000')", 20, 3),
        ("SELECT value FROM kv WHERE key >= '1/0000' AND key < '1/0010'", 20, 3),
        ("SELECT value FROM kv WHERE key BETWEEN '1/0001' AND '1/0002'", 4, 1),  # its end is one of the keys
        ("SELECT value FROM kv WHERE key BETWEEN '1/0000' AND '1/0001'", 4, 1),
        ("SELECT value FROM points WHERE key = '1/0001'", 4, 1),
        ("SELECT value FROM points WHERE key LIKE '1/000%'", 20, 3),
        ("SELECT value FROM events WHERE key = '1/0001'", 4, 1),
        ("SELECT value FROM states WHERE key = '1/0001'", 4, 1),
        ("SELECT op FROM changes WHERE key = '1/0001'", 6, 3),
        ("SELECT op FROM changes WHERE key = '1/0001' AND kind = 'kv'", 4, 1),
    ):
        heads, records, rows = reads.of(store, query)
        assert heads + records <= most, (query, heads, records)
        assert rows == count, query
    assert reads.of(store, "SELECT value FROM kv WHERE key LIKE ?", "1/000%")[1] <= 20
    assert reads.of(store, "SELECT key FROM kv")[1] == 0  # heads tell the keys


def test_times_choose_segments(store: Store, reads: Reads) -> None:
    for n in range(SEGMENTS):
        first = datetime.datetime(2026, 1, 1 + n, tzinfo=datetime.UTC)
        times = pl.datetime_range(first, first + datetime.timedelta(minutes=9), "1m", eager=True)
        store.extend("frame", pl.DataFrame({"at": times, "value": range(10)}))
        store.extend("plain", *((1000 * n + each, each) for each in range(10)))
        store.apply("events", {"n": n}, t=first)
    for query, most, count in (
        ("SELECT value FROM frame WHERE t >= '2026-01-06'", 3, 10),
        ("SELECT value FROM frame WHERE t BETWEEN '2026-01-02' AND '2026-01-02 00:04'", 3, 5),
        ("SELECT value FROM frame WHERE t = '2026-01-02 00:04+00'", 3, 1),
        ("SELECT value FROM \"frame*\" WHERE t >= '2026-01-06'", 3, 10),
        ("SELECT value FROM plain WHERE t >= 5000", 3, 10),
        ("SELECT value FROM plain WHERE t > 2003 AND t < 2005", 3, 1),
        ("SELECT value FROM points WHERE key = 'plain' AND t > 5000", 3, 9),
        ("SELECT value FROM events WHERE t >= '2026-01-06'", 3, 1),
    ):
        heads, records, rows = reads.of(store, query)
        # once to find the type, and once to read; and the first and the last segment for the columns of a frame
        assert records <= 2 * most, (query, heads, records)
        assert rows == count, query


def test_nothing_is_read_of_tables_that_are_not_named(store: Store, reads: Reads) -> None:
    store.set("a", 1)
    store.extend("series", (1, 1.5))
    store.apply("events", {"n": 1})
    reads.of(store, "SELECT count(*) FROM series")
    assert {call.kind for call in reads.calls if call.records} == {"ts"}
    reads.of(store, "SELECT 1")
    assert reads.calls == []


def test_a_query_with_a_limit_reads_a_part(backend: Backend, reads: Reads) -> None:
    store = backend.store(observer=reads)
    store.set_many({f"{n:06}": n for n in range(20_000)})
    _, records, _ = reads.of(store, "SELECT key, value FROM kv LIMIT 5")
    assert records < 10_000


# -- columns ----------------------------------------------------------------------------------------------------------


class Counting(Store):
    """Counts the values that are loaded."""

    loads = 0

    def _dump(self, value: Any) -> str:
        return json.dumps(value)

    def _load(self, data: str) -> Any:
        Counting.loads += 1
        return json.loads(data)


def test_no_value_is_loaded_for_a_column_that_nobody_selects(backend: Backend, key: str | None) -> None:
    store = backend.store(Counting, key=key)
    store.set_many({"a": 1, "b": 2})
    store.extend("series", (1, 1.5), (2, 2.5))
    store.extend("alone", (1, 1.5))
    store.apply("account", {"n": 1})
    for query, loads in (
        ("SELECT key, recorded, version, who FROM kv", 0),
        ("SELECT count(*) FROM kv", 0),
        ("SELECT key, count(*), max(t) FROM points GROUP BY key", 0),
        ("SELECT t FROM series", 0),
        ("SELECT count(*) FROM alone WHERE t > 0", 0),
        ("SELECT key, t, item, op FROM events", 0),
        ("SELECT kind, key, who, op FROM changes", 0),
        ("SELECT * FROM commits", 0),
        ("SELECT k.key FROM kv k JOIN events e ON k.recorded <= e.recorded", 0),
        ("SELECT value FROM kv WHERE key = 'a'", 2),  # once to find the type
    ):
        Counting.loads = 0
        store.sql(query)
        assert Counting.loads == loads, query


def test_of_a_frame_only_the_selected_columns_are_loaded(backend: Backend) -> None:
    store = backend.store(Counting)
    store.extend("trades", pd.DataFrame({"price": [1.5, 2.5], "tags": [[1], [2]]}, index=[1, 2]))
    for query, loads in (
        ("SELECT sum(price) FROM trades", 0),
        ("SELECT count(*) FROM trades WHERE t > 1", 0),
        ('SELECT key, price FROM "trades*"', 0),
        ("SELECT tags FROM trades", 4),  # once to find the type
    ):
        Counting.loads = 0
        store.sql(query)
        assert Counting.loads == loads, query


# -- expressions ------------------------------------------------------------------------------------------------------

key, t = pc.field("key"), pc.field("t")


@in_turn(
    ("expression", "keys", "times"),
    [
        (key == "a", Bound(frozenset("a"), "a", "a"), Bound()),
        ((key == "a") & (key == "b"), Bound(frozenset(), "b", "a"), Bound()),
        ((key == "a") | (key == "b"), Bound(frozenset("ab"), "a", "b"), Bound()),
        ((key == "a") | (t > 5), Bound(), Bound()),
        (key.isin(["a", "c"]), Bound(frozenset("ac"), "a", "c"), Bound()),
        ((t >= 3) & (t < 9) & (t > 4), Bound(), Bound(None, 4, 9)),
        ((t > 3) | (t > 1), Bound(), Bound(None, 1, None)),
        (~(key == "a"), Bound(), Bound()),
        (key != "a", Bound(), Bound()),
        (t == key, Bound(), Bound()),
        (t + 1 == 5, Bound(), Bound()),
        (
            key == 'a") and (t >= 9',
            Bound(frozenset(['a") and (t >= 9']), 'a") and (t >= 9', 'a") and (t >= 9'),
            Bound(),
        ),
    ],
)
def test_an_expression_tells_keys_and_times(expression: Any, keys: Bound, times: Bound) -> None:
    found = pushed_by(expression)
    assert (found.of("key"), found.of("t")) == (keys, times)
    assert found.columns is not None
    assert found.columns <= {"key", "t"}


def test_an_expression_that_is_not_understood_restricts_nothing(backend: Backend, monkeypatch: Any) -> None:
    from rstore.sql import pushed

    def refuse(_: Any) -> Any:
        raise ValueError("another version of Arrow")

    monkeypatch.setattr(pushed, "_tree_of", refuse)
    store = backend.store()
    store.set_many({"a": 1, "b": 2, "c": 3})
    assert store.sql("SELECT value FROM kv WHERE key = 'b'").rows() == [(2,)]
    assert store.sql("SELECT count(*) FROM kv WHERE key > 'a' AND recorded > '2020-01-01'").rows() == [(2,)]
