"""The page of a series."""

from __future__ import annotations

import json
from html import unescape

import freezegun
import pandas as pd
import pytest
from starlette.testclient import TestClient

from rstore import JsonStore, Store
from rstore.web import app
from tests.web.conftest import Ask, url


def test_it_shows_a_span_as_of_two_times(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        store.extend("price", *((time, time) for time in range(10)))
        clock.tick(60)
        store.extend("price", (3, 30), (10, 10), (-5, 1))
    page = ask("ts", "price", at="2026-05-01T12:00:30Z", to="2026-05-02", start=2, end=4)
    assert (page.plot.times, page.plot.lines[0].most) == ([2, 3, 4], [2.0, 3.0, 4.0])
    assert page.other.lines[0].most == [2.0, 30.0, 4.0]
    assert [point.timestamp for point in page.points] == [4, 3, 2]
    whole = ask("ts", "price", at="2026-05-01T12:00:30Z", to="2026-05-02")
    assert (whole.plot.times[-1], whole.other.times[-1]) == (9, 10)
    assert whole.plot.end == whole.other.end == 10
    assert (whole.plot.start, whole.other.times[0]) == (-5, -5)
    assert ask("ts", "price", at="2026-04-01").plot is None
    assert len(page.timing.stops) == 2


def test_the_last_hundred_points_are_a_table_with_their_columns(store: Store, client: TestClient) -> None:
    index = pd.date_range("2026-01-01", periods=300, freq="D", tz="UTC")
    store.extend("price", pd.DataFrame({"<b>": range(300), "note": ["<script>"] * 300}, index=index))
    text = client.get(url("default", "ts", "price")).text
    assert "<b>" not in text.replace("<body>", "")
    assert "<script>" not in text
    assert text.count("<tr><td>") == 100
    assert "2026-10-27 00:00:00.000" in text
    answer = client.get(url("default", "ts", "price", True)).json()
    assert answer["columns"] == ["<b>", "note"]
    assert answer["plot"]["others"] == ["note"]


def test_a_browser_gets_the_plot_with_the_page(store: Store, client: TestClient) -> None:
    store.extend("price", *((1_700_000_000 + time, time % 7) for time in range(5000)))
    text = client.get(url("default", "ts", "price", pixels=200)).text
    plot = json.loads(unescape(text.split('data-plot="')[1].split('"')[0]))
    assert (plot["unit"], len(plot["lines"][0]["most"])) == ("s", len(plot["times"]))
    assert "<polygon" in text
    assert len(text) < 60_000


def test_a_series_that_never_was_there_has_no_page(client: TestClient, store: Store) -> None:
    store["price"] = 1
    assert client.get(url("default", "ts", "price")).status_code == 404


@pytest.mark.parametrize("word", ["start", "end", "pixels"])
def test_words_that_are_no_numbers_are_told(client: TestClient, store: Store, word: str) -> None:
    store.extend("price", (1, 1))
    answer = client.get(url("default", "ts", "price", **{word: "x"}))
    assert (answer.status_code, f"{word} is a" in answer.text) == (400, True)


def test_pickled_values_are_not_loaded_by_a_store_that_never_unpickles(tmp_path: object) -> None:
    with Store(f"{tmp_path}/x.db", frozen=False) as store:
        store.extend("price", (1, {1}), (2, {2}))
    with JsonStore(f"{tmp_path}/x.db") as store:
        assert "never unpickles" in TestClient(app(store)).get("/default/ts/price").text
