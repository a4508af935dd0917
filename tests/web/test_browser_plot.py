"""A browser draws a series, as it was known at each time."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import freezegun
import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Backend

MIDNIGHT: Final = 1_777_593_600_000  # 2026-05-01T00:00Z
MINUTE: Final = 60_000

DRAWN: Final = """name => {
    const canvas = document.querySelector(".plot canvas");
    if (!canvas) return 0;
    const color = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const wanted = [1, 3, 5].map(start => parseInt(color.slice(start, start + 2), 16));
    const copy = document.createElement("canvas");
    const { width, height } = Object.assign(copy, { width: canvas.width, height: canvas.height });
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const { data } = pen.getImageData(0, 0, width, height);
    const columns = new Set();
    for (let place = 0; place < data.length; place += 4) {
        const isNear = wanted.every((each, n) => Math.abs(data[place + n] - each) < 40);
        if (isNear && data[place + 3] > 200) columns.add((place / 4) % width);
    }
    return columns.size / width;
}"""
"""The share of the columns of pixels in which something is drawn in a colour of the stylesheet."""


@pytest.fixture
def store(backend: Backend) -> Store:
    """Return a store with a series of twelve hours, which came hour by hour. At last, one was corrected."""
    store, chance = backend.store(), random.Random(3)
    with freezegun.freeze_time("2026-05-01T00:00Z") as clock:
        for hour in range(12):
            clock.tick(3600)
            times = range(MIDNIGHT + 60 * MINUTE * hour, MIDNIGHT + 60 * MINUTE * (hour + 1), MINUTE)
            store.extend("power", [(time, hour + chance.random()) for time in times])
        clock.tick(3600)
        store.extend("power", [(MIDNIGHT + MINUTE * minute, 20.0) for minute in range(180, 240)])
    return store


@pytest.fixture
def screen(tab: Page, serve: Callable[..., str], store: Store) -> Screen:
    return Screen(tab, serve(app(store)), store.namespace)


def plot(screen: Screen, word: str = "plot") -> Any:
    """Return what the page has to draw."""
    return json.loads(screen.main.locator("figure.plot").get_attribute(f"data-{word}") or "null")


def drawn(screen: Screen, color: str = "--series-1") -> float:
    """Return the share of the plot in which something is drawn, from left to right."""
    screen.tab.wait_for_selector(".plot canvas")
    screen.tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    share: float = screen.tab.evaluate(DRAWN, color)
    return share


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "redis"], indirect=True)
def test_a_plot_shows_the_points_of_each_time(screen: Screen, store: Store) -> None:
    screen.open("ts", "power")
    stops = screen.times()
    assert len(stops) == 13
    for stop in (13, 11, 5, 0):
        screen.slide(stop)
        view = store.at(stops[stop]) if stop < 13 else store
        points = view.range("power")
        (line,) = plot(screen)["lines"]
        assert (min(line["least"]), max(line["most"])) == (
            min(value for _, value in points),
            max(value for _, value in points),
        )
        assert (plot(screen)["first"], plot(screen)["last"]) == (points[0][0], points[-1][0])
        assert drawn(screen) > 0.8


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_two_times_are_laid_over_each_other(screen: Screen, store: Store) -> None:
    then, later = [change.recorded for change in store.log()][11:]
    screen.open("ts", "power", at=then, to=later)
    assert max(plot(screen)["lines"][0]["most"]) < 12 < 20 == max(plot(screen, "other")["lines"][0]["most"])
    assert drawn(screen) > 0.3
    assert drawn(screen, "--past") > 0.3  # the colour of its slider
    assert "compared" in screen.main.locator(".plot .u-legend").inner_text()


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_a_plot_is_zoomed_by_mouse_and_keyboard(screen: Screen) -> None:
    screen.open("ts", "power")
    assert drawn(screen) > 0.8
    box = screen.tab.locator(".plot .u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    screen.tab.mouse.move(box["x"] + box["width"] / 4, y)
    screen.tab.mouse.down()
    screen.tab.mouse.move(box["x"] + box["width"] / 2, y, steps=3)
    screen.tab.mouse.up()
    expect(screen.tab).to_have_url(re.compile("start="))
    hours = [(plot(screen)[word] - MIDNIGHT) / 60 / MINUTE for word in ("start", "end")]
    assert hours == pytest.approx([3, 6], abs=0.1)
    assert drawn(screen) > 0.8

    begin, url = plot(screen)["start"], screen.tab.url
    screen.tab.locator(".plot").focus()
    screen.tab.keyboard.press("ArrowRight")
    expect(screen.tab).not_to_have_url(url)
    assert plot(screen)["start"] > begin
    expect(screen.tab.locator(".plot")).to_be_focused()
    screen.tab.keyboard.press("0")
    expect(screen.tab).to_have_url(screen.url("ts", "power"))
    expect(screen.tab.locator(".plot")).to_be_focused()
    screen.tab.keyboard.press("+")
    expect(screen.tab).to_have_url(re.compile("start="))
    screen.tab.locator(".plot .u-over").dblclick()
    expect(screen.tab).to_have_url(screen.url("ts", "power"))
    assert drawn(screen) > 0.8
