"""The page that asks in SQL."""

from __future__ import annotations

import csv
import io

import freezegun
import pandas as pd
import pytest
from starlette.testclient import TestClient

from rstore import JsonStore, Store
from rstore.web import app
from tests.web.conftest import Ask, url


def test_it_answers_as_of_the_time_of_the_page(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        store["price"] = 10
        clock.tick(60)
        store["price"] = 11
    query = "SELECT value FROM kv WHERE key = 'price'"
    assert ask("sql", q=query).rows == [[11]]
    assert ask("sql", q=query, at="2026-05-01T12:00:30Z").rows == [[10]]
    assert ask("sql").rows == []


def test_of_many_rows_the_first_are_shown_and_all_are_counted(store: Store, client: TestClient) -> None:
    store.set_many((f"{n:04}", n) for n in range(600))
    text = client.get(url("default", "sql", q="SELECT key, value FROM kv ORDER BY key")).text
    assert "600 rows, of which the first 500 are shown" in text
    file = client.get(url("default", "sql", q="SELECT key, value FROM kv ORDER BY key", format="csv"))
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == 'attachment; filename="result.csv"'
    rows = list(csv.reader(io.StringIO(file.text)))
    assert (rows[0], len(rows), rows[-1]) == (["key", "value"], 601, ["0599", "599"])


def test_numbers_over_time_are_drawn(store: Store, ask: Ask) -> None:
    index = pd.date_range("2026-01-01", periods=48, freq="h", tz="UTC")
    store.extend("price", pd.DataFrame({"eur": range(48), "note": ["x"] * 48}, index=index))
    day = ask("sql", q="SELECT date_trunc('day', t) AS day, max(eur) AS eur FROM price GROUP BY day ORDER BY day DESC")
    assert [list(line.most) for line in day.plot.lines] == [[23.0, 47.0]]
    assert (day.plot.unit, day.plot.times[1] - day.plot.times[0]) == ("us", 86_400_000_000)
    assert ask("sql", q="SELECT note, eur FROM price").plot is None
    assert ask("sql", q="SELECT eur, t FROM price").plot is None
    assert ask("sql", q="SELECT eur > 5 AS big, eur FROM price").plot is None
    assert ask("sql", q="SELECT eur, eur * 2 AS twice FROM price").plot.lines[0].name == "twice"
    assert ask("sql", q="SELECT eur, note FROM price LIMIT 1").plot is None


@pytest.mark.parametrize(
    "query",
    [
        "SELEC 1",
        "SELECT * FROM nothing",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SET threads = 4",
        "SELECT 1; SELECT 2",
        "DELETE FROM kv",
    ],
)
def test_a_query_that_may_not_run_is_told_why(query: str) -> None:
    with Store("memory://", frozen=False) as store:
        store["price"] = 10
        client = TestClient(app(store))
        answer = client.get(url("default", "sql", q=query))
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)
        assert client.get(url("default", "sql", None, True, q=query)).json()["problem"]
        assert store["price"] == 10


def test_values_that_are_not_loaded_are_counted(tmp_path: object) -> None:
    with Store(f"{tmp_path}/x.db", frozen=False) as store:
        store["pin"] = {1234}
    with JsonStore(f"{tmp_path}/x.db") as store:
        text = TestClient(app(store)).get(url("default", "sql", q="SELECT key, value FROM kv")).text
        assert ": 1 value. NULL stands for each." in text


def test_values_and_names_of_others_stay_text(store: Store, client: TestClient) -> None:
    store["<b>"] = "<script>alert(1)</script>"
    store.extend('<i>"', (1, 1))
    text = client.get(url("default", "sql", q='SELECT key, value AS "<u>" FROM kv -- <s>')).text
    for tag in ("<b>", "<i>", "<u>", "<s>", "<script>"):
        assert tag not in text
