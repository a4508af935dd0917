"""Queries in SQL on the command line: in each form of output, of the past, and with parameters."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from rstore import Store
from tests.support.command import NOW, fail, run, run_seen, tell_a_story, use


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = use(monkeypatch, str(tmp_path / "story.db"), "default").open()
    tell_a_story(store)
    store.set("odd", 'a "quoted", text\nof two lines')
    store.close()
    return store


QUERY = "SELECT t, value FROM temperature WHERE t > 1793523660000 ORDER BY t"


@pytest.mark.usefixtures("store")
def test_rows_come_as_lines_json_csv_and_as_a_table() -> None:
    later = [NOW + 120_000, NOW + 180_000]
    assert run("sql", QUERY) == f"{later[0]}\t22.5\n{later[1]}\t23.5\n"
    lines = run("sql", QUERY, "--json").splitlines()
    assert [json.loads(line) for line in lines] == [{"t": later[0], "value": 22.5}, {"t": later[1], "value": 23.5}]
    assert run("sql", QUERY, "--csv") == f"t,value\n{later[0]},22.5\n{later[1]},23.5\n"
    assert run("sql", "-", "--csv", stdin=QUERY).startswith("t,value\n")
    seen = run_seen("sql", QUERY)
    assert "value" in seen
    assert "22.5" in seen


@pytest.mark.usefixtures("store")
def test_cells_of_all_types_are_shown() -> None:
    query = (
        "SELECT NULL, true, 1.5::DECIMAL(9, 2), DATE '2026-05-01', TIMESTAMPTZ '2026-05-01 12:00+02', 'a\nb', [1, 2], "
        "'\\xff'::BLOB, 'NaN'::DOUBLE"
    )
    shown = ["", "true", "1.50", "2026-05-01", "2026-05-01T10:00:00+00:00"]
    assert run("sql", query).rstrip("\n").split("\t") == [*shown, "a\\nb", "[1, 2]", "b'\\xff'", "nan"]
    (row,) = list(csv.reader(io.StringIO(run("sql", query, "--csv"))))[1:]
    assert row == ["", "True", *shown[2:], "a\nb", "[1, 2]", "b'\\xff'", "nan"]
    found = json.loads(run("sql", query, "--json"))
    assert list(found.values()) == [None, True, *shown[2:], "a\nb", [1, 2], "b'\\xff'", "nan"]
    assert list(csv.reader(io.StringIO(run("sql", "SELECT value FROM kv WHERE key = 'odd'", "--csv"))))[1] == [
        'a "quoted", text\nof two lines'
    ]


@pytest.mark.usefixtures("store")
def test_the_past_and_parameters() -> None:
    assert run("sql", "SELECT key FROM kv WHERE key = 'price'") == ""
    assert run("sql", "SELECT key FROM kv", "--at", str(NOW)) == "price\n"
    assert run("sql", f'SELECT key FROM "kv@{NOW}"') == "price\n"
    query = "SELECT count(*) FROM events WHERE key = $key AND item = 'limit' AND value > $least"
    assert run("sql", query, "-p", "key=account", "-p", "least=99") == "1\n"
    assert run("sql", "SELECT key, op FROM changes WHERE who = 'eve' AND kind = 'kv'") == "price\tdelitem\n"


@pytest.mark.usefixtures("store")
def test_what_is_refused() -> None:
    assert fail("sql", "SELECT * FROM temperatures", code=2).endswith('series such as "temperature"')
    assert "one query" in fail("sql", "SELECT 1; SELECT 2", code=2)
    assert "no other statement" in fail("sql", "COPY kv TO 'file'", code=2)
    assert "line 1, column 1" in fail("sql", "SELEC", code=2)
    assert "leave out one" in fail("sql", "SELECT 1", "--csv", "--json", code=2)
    assert "name=value" in fail("sql", "SELECT $a", "-p", "a", code=2)
