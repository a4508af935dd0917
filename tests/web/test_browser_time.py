"""A browser slides through the time of a store: it shows what the store was at that time."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import freezegun
import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from rstore.web.values import shown
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Backend

everywhere = pytest.mark.parametrize("backend", ["sqlite", "postgresql", "redis"], indirect=True)


@pytest.fixture
def store(backend: Backend) -> Store:
    """Return a store with 40 versions of a value in some days of May, with a gap, and keys that come and go."""
    store = backend.store()
    chance = random.Random(5)
    with freezegun.freeze_time("2026-05-01T08:00Z") as clock:
        for n in range(40):
            clock.tick(chance.uniform(1, 9000))
            if n == 20:
                store.delete("price")
            else:
                with store.context(who=chance.choice(["ada", "bob"])):
                    store["price"] = {"amount": n, "in": ["eur", "usd"][: 1 + n % 2]}
            if n % 3 == 0:
                store[f"key {n}"] = n
                store.apply("order", {"state": f"state {n}", f"item {n % 4}": n})
            if n % 9 == 0 and n:
                del store[f"key {n - 9}"]
    return store


@pytest.fixture
def screen(tab: Page, serve: Callable[..., str], store: Store) -> Screen:
    return Screen(tab, serve(app(store)), store.namespace)


def assert_shows_value(screen: Screen, store: Store, time: int | None) -> None:
    value = (store if time is None else store.at(time)).get("price")
    assert screen.text() == ("There was no value." if value is None else shown(value).text)


@everywhere
def test_the_page_shows_the_value_of_each_time(screen: Screen, store: Store) -> None:
    """By the slider, which stops at each change, and by the field, which takes any time."""
    screen.open("kv", "price")
    stops = screen.times()
    assert len(stops) == 40
    chance, tries = random.Random(7), 25
    for stop in [40, 20, 0, *(chance.randrange(41) for _ in range(tries))]:
        screen.slide(stop)
        assert_shows_value(screen, store, stops[stop] if stop < 40 else None)
    for time in [stops[0] - 1, stops[0], stops[20] - 1, *(chance.randint(stops[0], stops[-1]) for _ in range(tries))]:
        screen.main.get_by_label("as of", exact=True).fill(str(time))
        screen.tab.keyboard.press("Enter")
        screen.wait_for(at=time)
        assert_shows_value(screen, store, time)


@everywhere
def test_the_first_page_shows_the_keys_of_each_time(screen: Screen, store: Store, backend: Backend) -> None:
    screen.open()
    stops = screen.times()
    assert stops == sorted({change.recorded for change in store.log()})
    chance = random.Random(9)
    for stop in [len(stops), 0, *(chance.randrange(len(stops)) for _ in range(10 if backend.is_local else 2))]:
        screen.slide(stop)
        view = store.at(stops[stop]) if stop < len(stops) else store
        assert screen.main.locator(".keys bdi").all_text_contents() == sorted({*view.keys(), "order"})


@everywhere
def test_the_state_of_an_event_sequence_is_that_of_each_time(screen: Screen, store: Store, backend: Backend) -> None:
    screen.open("es", "order")
    stops = screen.times()
    assert len(stops) == 14
    chance = random.Random(6)
    for stop in [14, 0, *(chance.randrange(14) for _ in range(8 if backend.is_local else 2))]:
        screen.slide(stop)
        state = (store.at(stops[stop]) if stop < 14 else store).current("order")
        rows = screen.main.locator("table tbody tr").all_inner_texts()
        assert sorted(row.split() for row in rows) == sorted(f"{item} {value}".split() for item, value in state.items())


@everywhere
def test_two_sliders_show_the_difference_of_two_moments(screen: Screen, store: Store) -> None:
    screen.open("kv", "price")
    stops = screen.times()
    screen.main.get_by_label("compare with").fill(str(stops[9]))
    screen.tab.keyboard.press("Enter")
    screen.wait_for(to=stops[9])
    screen.slide(4)
    screen.slide(8, "to")
    differences = screen.main.locator(".differences")
    assert differences.locator(".removed").all_text_contents() == ['-  "amount": 4,\n']
    assert differences.locator(".added").all_text_contents() == ['+  "amount": 8,\n']
    screen.slide(4, "to")
    expect(screen.main.get_by_text("There is none.")).to_be_visible()


@everywhere
def test_a_write_appears_within_a_second_and_not_while_the_page_shows_the_past(screen: Screen, store: Store) -> None:
    screen.open("kv", "price")
    expect(screen.main.locator(".live")).to_be_visible()
    took = []
    for n in range(3):
        begun = monotonic()
        store["price"] = f"written {n}"
        expect(screen.value).to_have_text(f"written {n}")
        took.append(monotonic() - begun)
    assert min(took) < 1  # the machine may be busy with other tests, but not all the time

    past = screen.times()[3]
    screen.slide(3)
    expect(screen.main.locator(".live")).to_be_hidden()
    requests: list[str] = []
    screen.tab.on("request", lambda request: requests.append(request.url))
    store["price"] = "written while it shows the past"
    screen.tab.wait_for_timeout(700)
    assert requests == []
    assert_shows_value(screen, store, past)

    screen.tab.keyboard.press("n")
    expect(screen.value).to_have_text("written while it shows the past")
    screen.main.get_by_role("button", name="pause").click()
    store["price"] = "written while it is paused"
    screen.tab.wait_for_timeout(700)
    expect(screen.value).to_have_text("written while it shows the past")
    screen.main.get_by_role("button", name="resume").click()
    expect(screen.value).to_have_text("written while it is paused")


@everywhere
def test_each_moment_has_a_url_and_the_back_button_leads_back(screen: Screen, store: Store) -> None:
    screen.open()
    screen.main.get_by_role("link", name="price").click()
    expect(screen.main.get_by_role("heading", name="price")).to_be_visible()
    stops = screen.times()
    screen.slide(7)
    screen.tab.wait_for_timeout(200)  # a move that follows at once is one with it, for the history
    screen.slide(30)
    screen.main.get_by_role("link", name="earlier").click()
    screen.wait_for(at=stops[29])
    assert screen.tab.url == screen.url("kv", "price", at=stops[29])
    for time in (stops[30], stops[7], None):
        screen.tab.go_back()
        screen.wait_for(at=time or "")
        assert_shows_value(screen, store, time)
        assert screen.tab.url == screen.url("kv", "price", at=time)
    screen.tab.go_back()
    expect(screen.main.get_by_role("heading", name="Keys")).to_be_visible()
    screen.tab.go_forward()
    screen.tab.go_forward()
    screen.wait_for(at=stops[7])

    colleague = Screen(screen.tab.context.browser.new_context().new_page(), screen.base, screen.namespace)
    colleague.tab.goto(screen.tab.url)
    assert_shows_value(colleague, store, stops[7])
