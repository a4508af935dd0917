"""Everybody can use the pages: by keyboard, on a phone, in the dark, without scripts, or with a screen reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import freezegun
import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from rstore.web.site import PAGES
from tests.support.browser import Visitor
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

NOON: Final = 1_777_636_800_000  # 2026-05-01T12:00Z
LONG: Final = "a_key_that_is_longer_than_a_phone_is_wide/" * 4

PLACES: Final[Mapping[str, tuple[tuple[str | None, dict[str, object]], ...]]] = {
    "": ((None, {}), (None, {"find": "*", "deleted": 1}), (None, {"at": NOON, "prefix": "config/"})),
    "kv": (("price", {}), ("price", {"at": NOON + 60_000, "to": NOON + 600_000}), (LONG, {})),
    "sql": (
        (None, {}),
        (None, {"q": "SELECT t, value FROM temperature LIMIT 30"}),
    ),
    "es": (("order/17", {}), ("order/17", {"at": NOON + 180_000, "to": NOON + 600_000})),
    "ts": (
        ("temperature", {}),
        ("temperature", {"at": NOON + 180_000, "to": NOON + 600_000, "start": NOON, "end": NOON + 400_000}),
    ),
    "log": ((None, {"since": NOON + 540_000}), (None, {"by": "change", "prefix": "order", "at": NOON + 180_000})),
    "work": ((None, {"at": NOON + 600_000}),),
}
"""Keys and queries with which each page shows all that it has."""


def refuse(delivery: Any) -> None:
    raise ConnectionError("the mail server has refused it for a reason that takes more than a line to say: " + LONG)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("memory://", frozen=False) as store:
        with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
            for n in range(12):
                clock.tick(60)
                with store.context(who="ada", why="the tariff of May, which was corrected twice"):
                    store["price"] = {"amount": n, "currency": "EUR", "note": "including value added tax " * 8}
                store[f"config/{n}"] = n
                store.extend("temperature", [(NOON + 60_000 * n + 1000 * m, float(n * m % 7)) for m in range(20)])
                with store.context(who="bob", did="order.paid"):
                    store.apply("order/17", {"status": ["open", "paid"][n % 2], "total": n, "note": "gift " * 20})
            store[LONG] = "x" * 5000
            store.delete("config/3")
            store.project("counts", lambda change, store: None)
            store.deliver("receipts", refuse, prefix="order/", attempts=1)
        yield store


@pytest.fixture
def screen(tab: Page, serve: Callable[..., str], store: Store) -> Screen:
    return Screen(tab, serve(app(store)))


def places() -> Iterator[tuple[str, str | None, dict[str, object]]]:
    """Yield each page that there is, as for ``Screen.open``: a new one needs a row."""
    for page in PAGES:
        for key, query in PLACES[page]:
            yield page, key, query


def violations(tab: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """Return what axe finds wrong with a page, by some rules or all, and finds serious."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: list[dict[str, Any]] = Axe().run(tab, options=options).response["violations"]
    return [
        f"{each['id']}: {each['help']} ({[node['html'][:200] for node in each['nodes'][:3]]})"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_axe_finds_nothing_serious_in_light_or_dark(screen: Screen, visitor: Visitor) -> None:
    screen.tab.emulate_media(reduced_motion="reduce")
    urls = [screen.base, *(screen.url(page, key, **query) for page, key, query in places()), screen.url("kv", "none")]
    for url in urls:
        screen.tab.goto(url)
        screen.tab.emulate_media(color_scheme="light")
        assert violations(screen.tab) == [], url
        screen.tab.emulate_media(color_scheme="dark")
        assert violations(screen.tab, ("color-contrast",)) == [], url
    visitor.take("404")  # the last one


def test_a_phone_scrolls_no_page_to_its_side(visitor: Visitor, serve: Callable[..., str], store: Store) -> None:
    phone = visitor.context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).new_page()
    screen = Screen(phone, serve(app(store)))
    phone.goto(screen.base)
    assert not screen.is_wide()
    for page, key, query in places():
        screen.open(page, key, **query)
        assert not screen.is_wide(), (page, key, query)


def tab_to(screen: Screen, text: str) -> None:
    """Go on by the Tab key until something has the focus, which has to be seen."""
    seen = []
    for _ in range(60):
        screen.tab.keyboard.press("Tab")
        seen.append(screen.focus())  # empty after the last one: the browser's own buttons follow
        outline = screen.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or not seen[-1], f"nobody sees that {seen[-1]!r} has the focus"
        if text == seen[-1]:
            return
    raise AssertionError(f"{text!r} is not among {seen}")


def test_all_is_done_by_keyboard(screen: Screen) -> None:
    press = screen.tab.keyboard.press
    screen.tab.goto(screen.base)
    tab_to(screen, "Skip to the content")
    press("Enter")
    tab_to(screen, "default")
    press("Enter")
    expect(screen.main.get_by_role("heading", name="Keys")).to_be_visible()

    press("/")
    screen.tab.keyboard.type("pri*")
    press("Enter")
    expect(screen.main.locator(".keys li")).to_have_count(1)
    tab_to(screen, "kv price")
    press("Enter")
    expect(screen.main.get_by_role("heading", name="price")).to_be_visible()

    stops = screen.times()
    for stop in (10, 9):
        press("ArrowLeft")
        screen.wait_for(at=stops[stop])
    press("ArrowRight")
    screen.wait_for(at=stops[10])
    screen.main.locator("a[rel=prev]").focus()
    for stop in (9, 8):  # it keeps the focus
        press("Enter")
        screen.wait_for(at=stops[stop])
    tab_to(screen, "at")
    screen.tab.keyboard.type(str(stops[3]))
    press("Enter")
    screen.wait_for(at=stops[3])
    screen.slider().focus()
    press("Home")
    screen.wait_for(at=stops[0])
    press("ArrowRight")
    screen.wait_for(at=stops[1])
    tab_to(screen, "rstore")
    press("n")
    screen.wait_for(at="")


def test_it_needs_no_script(visitor: Visitor, serve: Callable[..., str], store: Store) -> None:
    tab = visitor.context(java_script_enabled=False).new_page()
    screen = Screen(tab, serve(app(store)))
    tab.goto(screen.base)
    tab.get_by_role("link", name="default").click()
    tab.get_by_label("pattern").fill("pri*")
    tab.get_by_role("button", name="List").click()
    tab.get_by_role("link", name="price").click()
    expect(screen.value).to_contain_text('"amount": 11')
    expect(screen.main.locator(":is(.slider, .pause, .live):visible")).to_have_count(0)
    tab.get_by_role("link", name="earlier").click()
    expect(screen.value).to_contain_text('"amount": 10')
    tab.get_by_role("link", name="later").click()
    expect(screen.value).to_contain_text('"amount": 11')
    tab.get_by_label("as of", exact=True).fill("2026-05-01 12:03:30")
    tab.get_by_label("compare with").fill("2026-05-01 12:05:30")
    tab.get_by_role("button", name="Show").click()
    expect(tab.locator(".removed, .added")).to_have_text(['-  "amount": 2,\n', '+  "amount": 4,\n'])
    tab.get_by_role("link", name="now").first.click()
    expect(screen.value).to_contain_text('"amount": 11')
    tab.get_by_role("link", name="default").click()
    tab.get_by_role("link", name="config/").click()
    expect(screen.main.locator(".keys li")).to_have_count(11)
