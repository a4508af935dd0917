"""Pictures, in a terminal and in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from rstore import Store
from rstore.cli.charts import Curve, characters, runs, steps, thinned
from rstore.cli.program import run as run_here
from tests.support.command import NOW, run, tell_a_story


@pytest.mark.slow
def test_pictures(file: Store, tmp_path: Path) -> None:
    tell_a_story(file)
    file.extend("$a_b$", (NOW, 1), (NOW + 60_000, math.nan), (NOW + 120_000, 3), (NOW + 180_000, None))
    png, svg = tmp_path / "t.png", tmp_path / "balance.SVG"
    run("plot", "temperature", "$a_b$", "--out", str(png))
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert len(png.read_bytes()) > 10_000
    assert run_here(["history", "account", "--plot", "balance", "--out", str(svg)]) == 0
    assert "<svg" in svg.read_text()


def test_of_rows_each_column_is_drawn(file: Store, say: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    file.extend("price", *((NOW + minute * 60_000, {"bid": 1.0, "ask": minute, "at": "A"}) for minute in range(4)))
    both = say("plot", "price")
    assert "price.bid" in both
    assert "price.ask" in both
    assert "price.at" not in both
    assert "price.ask" not in say("plot", "price", "--column", "bid")
    assert run_here(["plot", "price", "--column", "last"]) == 2
    assert capsys.readouterr().err == "rstore: 'price' has the columns bid, ask, at\n"
    assert run_here(["plot", "price", "--column", "at"]) == 2
    assert "'price.at' has no number at" in capsys.readouterr().err


def test_an_item_is_drawn_over_time(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    tell_a_story(file)
    assert run_here(["history", "account", "--plot", "balance"]) == 0
    drawn = capsys.readouterr().out
    assert all(label in drawn for label in ("10", "15", "20", "09:00:00", "09:02:00"))


def test_gaps_in_a_drawing_are_not_bridged() -> None:
    whole = Curve("c", [0, 10, 20, 30], [1.0, 1.0, 1.0, 1.0])
    gap = whole._replace(values=[1.0, 1.0, math.nan, 1.0])
    lines, holed = (characters([curve], colours=False) for curve in (whole, gap))
    assert sum(map(lines.count, "▀▄━▁")) > sum(map(holed.count, "▀▄━▁")) + 20


def test_what_is_not_finite_is_a_gap_in_a_drawing(file: Store, capsys: pytest.CaptureFixture[str]) -> None:
    file.extend("ratio", (1, math.inf), (2, 1.5), (3, -math.inf), (4, 2.5), (5, math.nan))
    assert run_here(["plot", "ratio"]) == 0
    assert "2.5" in capsys.readouterr().out


def test_curves() -> None:
    curve = Curve("c", list(range(1000)), [float(time == 551) for time in range(1000)])
    assert 1.0 in thinned(curve, 10).values
    assert len(thinned(curve, 10).times) <= 40
    assert (thinned(curve, 10).times[0], thinned(curve, 10).times[-1]) == (0, 999)
    assert steps(Curve("c", [], [])) == Curve("c", [], [])
    assert list(runs(Curve("c", [1], [math.nan]))) == []
