"""Generated queries find the rows that the same conditions find in the results of Python calls, at any time.

There are 43 queries for each backend, plain and encrypted: 301 in all.
"""

from __future__ import annotations

import json
import operator
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

import duckdb
import pytest

from rstore import Store
from rstore.sql import query as running
from rstore.view import View
from tests.conftest import case

QUERIES = 43
KEYS = [f"{group}:{n}" for group in "afnx" for n in range(4)]
VALUES: dict[str, Callable[[random.Random], Any]] = {
    "a": lambda draw: draw.choice([None, 1, "text", 2.5, {"b": [1, None]}, True]),
    "f": lambda draw: round(draw.uniform(-9, 9), 2),
    "n": lambda draw: draw.randrange(-9, 9),
    "x": lambda draw: draw.choice(["", "Ada", "ünï", '"1"', "1"]),
}

Row = dict[str, Any]


def fill(store: Store, draw: random.Random) -> None:
    """Write, change, remove and delete at random."""

    def value(key: str) -> Any:
        return VALUES[key[0]](draw)

    for _ in range(60):
        key = draw.choice(KEYS)
        act = draw.randrange(12)
        with store.context(who=draw.choice(["ada", "bob"])) if draw.random() < 0.5 else nullcontext():
            if act < 4:
                store.set(key, value(key))
            elif act == 4:
                store.delete(key)
            elif act < 8:
                store.extend(key, *((draw.randrange(30), value(key)) for _ in range(draw.randrange(1, 9))))
            elif act == 8:
                store.remove(key, start=draw.randrange(30), end=draw.randrange(30))
            elif act == 9:
                store.delete_events(key)
            else:
                store.apply(key, {draw.choice("pqr"): value(key)})
    store.apply("n:0", {"p": 1})
    store.apply("n:0", {"p": (operator.add, 2)})


# -- rows of calls ----------------------------------------------------------------------------------------------------


def values(view: Store | View) -> Iterator[Row]:
    yield from ({"key": key, "value": value} for key, value in view.items())


def points(view: Store | View) -> Iterator[Row]:
    for key in view.timeseries():
        yield from ({"key": key, "t": t, "value": value} for t, value in view.range(key))


def states(view: Store | View) -> Iterator[Row]:
    for key in view.eventsources():
        yield from ({"key": key, "item": item, "value": value} for item, value in (view.current(key) or {}).items())


def changes(view: Store | View) -> Iterator[Row]:
    for each in view.log():
        yield {"key": each.key, "kind": each.kind, "version": each.version, "op": each.op, "who": each.who}


class Kind(NamedTuple):
    """A table: its rows, as calls return them, and the columns that tell one from another."""

    rows: Callable[[Store | View], Iterator[Row]]
    columns: tuple[str, ...]


TABLES = {
    "kv": Kind(values, ("key",)),
    "points": Kind(points, ("key", "t")),
    "states": Kind(states, ("key", "item")),
    "changes": Kind(changes, ("kind", "key", "version")),
}

# -- conditions -------------------------------------------------------------------------------------------------------

Condition = tuple[str, Callable[[Row], bool]]


def of_key(draw: random.Random) -> Condition:
    key, other = draw.choice(KEYS), draw.choice(KEYS)
    start = key[: draw.randrange(1, 4)]
    return draw.choice(
        [
            (f"key = '{key}'", lambda row: row["key"] == key),
            (f"key <> '{key}'", lambda row: row["key"] != key),
            (f"key IN ('{key}', '{other}', 'none')", lambda row: row["key"] in (key, other)),
            (f"key LIKE '{start}%'", lambda row: row["key"].startswith(start)),
            (f"key NOT LIKE '{start}%'", lambda row: not row["key"].startswith(start)),
            (f"key LIKE '{start[0]}_{key[2]}'", lambda row: (row["key"][0], row["key"][2:]) == (start[0], key[2])),
            (f"starts_with(key, '{start}')", lambda row: row["key"].startswith(start)),
            (f"key >= '{key}'", lambda row: row["key"] >= key),
            (f"key BETWEEN '{key}' AND '{other}'", lambda row: key <= row["key"] <= other),
            (f"upper(key) = '{key.upper()}'", lambda row: row["key"].upper() == key.upper()),
        ]
    )


def of_t(draw: random.Random) -> Condition:
    t, other = draw.randrange(30), draw.randrange(30)
    return draw.choice(
        [
            (f"t >= {t}", lambda row: row["t"] >= t),
            (f"t < {t}", lambda row: row["t"] < t),
            (f"t = {t}", lambda row: row["t"] == t),
            (f"t BETWEEN {t} AND {other}", lambda row: t <= row["t"] <= other),
            (f"t % 3 = {t % 3}", lambda row: row["t"] % 3 == t % 3),
            (f"t IN ({t}, {other})", lambda row: row["t"] in (t, other)),
        ]
    )


def of_item(draw: random.Random) -> Condition:
    item = draw.choice("pqr")
    return f"item = '{item}'", lambda row: row["item"] == item


def of_who(draw: random.Random) -> Condition:
    return draw.choice(
        [
            ("who = 'ada'", lambda row: row["who"] == "ada"),
            ("who IS NULL", lambda row: row["who"] is None),
            ("kind = 'ts'", lambda row: row["kind"] == "ts"),
            ("kind <> 'kv' AND version > 1", lambda row: row["kind"] != "kv" and row["version"] > 1),
        ]
    )


CONDITIONS = {"kv": [of_key], "points": [of_key, of_t], "states": [of_key, of_item], "changes": [of_key, of_who]}


def condition(draw: random.Random, table: str, depth: int = 2) -> Condition:
    shape = draw.randrange(6)
    if depth == 0 or shape < 3:
        return draw.choice(CONDITIONS[table])(draw)
    (first, is_first), (second, is_second) = (condition(draw, table, depth - 1) for _ in range(2))
    if shape == 3:
        return f"({first} OR {second})", lambda row: is_first(row) or is_second(row)
    if shape == 4 and "who" not in first:
        return f"NOT ({first})", lambda row: not is_first(row)
    return f"({first} AND {second})", lambda row: is_first(row) and is_second(row)


# -- queries ----------------------------------------------------------------------------------------------------------


def is_same(found: Any, expected: Any) -> bool:
    """Tell whether a value is the expected one, in its own type or as JSON."""
    if found == expected:
        return True
    with suppress(TypeError, ValueError):
        return bool(json.loads(found) == expected)
    return False


def check_rows(view: Store | View, name: str, table: str, rows: list[Row], where: str) -> None:
    order = TABLES[table].columns
    columns = (*order, "value") if "value" in (rows[0] if rows else {}) else order
    found = view.sql(f'SELECT {", ".join(columns)} FROM "{name}" WHERE {where} ORDER BY {", ".join(order)}').rows()
    expected = sorted(rows, key=lambda row: [row[column] for column in order])
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        for column, cell in zip(columns, row, strict=True):
            assert is_same(cell, wanted[column]), (row, wanted)


def check_counts(view: Store | View, name: str, _: str, rows: list[Row], where: str) -> None:
    found = dict(view.sql(f'SELECT key, count(*) FROM "{name}" WHERE {where} GROUP BY key').rows())
    assert found == Counter(row["key"] for row in rows)


def check_sums(view: Store | View, name: str, table: str, rows: list[Row], where: str) -> None:
    """Of numbers only: the others are JSON."""
    if table == "changes":
        return
    numbers = [row["value"] for row in rows if row["key"].startswith("n:")]
    found = view.sql(
        f"SELECT sum(value), min(value), max(value), count(value) FROM \"{name}\" WHERE ({where}) AND key LIKE 'n:%'"
    ).rows()
    expected = (sum(numbers), min(numbers), max(numbers)) if numbers else (None, None, None)
    assert found == [(*expected, len(numbers))]


def check_joins(view: Store | View, name: str, table: str, rows: list[Row], where: str) -> None:
    """With the values of the present view."""
    found = view.sql(
        f'SELECT a.key, count(*) FROM (SELECT * FROM "{name}" WHERE {where}) a JOIN kv USING (key) GROUP BY a.key'
    ).rows()
    assert dict(found) == Counter(row["key"] for row in rows if row["key"] in view)


CHECKS = (check_rows, check_rows, check_counts, check_sums, check_joins)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let all queries share a database, which takes most of the time of a short one."""
    base = duckdb.connect(config=running._CONFIGURATION)

    @contextmanager
    def connection() -> Iterator[Any]:
        cursor = base.cursor()
        yield cursor
        cursor.close()

    monkeypatch.setattr(running, "_connection", connection)
    yield
    base.close()


@pytest.mark.usefixtures("_quick")
def test_generated_queries_find_what_calls_return(store: Store) -> None:
    draw = random.Random(16)
    fill(store, draw)
    moments = [change.recorded for change in store.log()]
    for number in range(QUERIES):
        table = draw.choice(list(TABLES))
        moment = draw.choice([None, draw.choice(moments)])
        view = store if moment is None else store.at(moment)
        is_named = moment is not None and draw.random() < 0.5
        where, is_chosen = condition(draw, table)
        rows = [row for row in TABLES[table].rows(view) if is_chosen(row)]
        check = draw.choice(CHECKS)
        with case(number, table, where, moment, is_named, check.__name__):
            if check is check_joins or not is_named:
                check(view, table, table, rows, where)
            else:
                check(store, f"{table}@{moment}", table, rows, where)
