"""Names and values that would do harm to a careless page stay what they are: text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from rstore.web.values import short, shown
from tests.support.browser import Visitor
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARKUP: Final = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></textarea></pre></bdi><b>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "&lt;b&gt;&amp;&#x3c;",
    "-->]]>",
    "\u202egnp.exe",
    "\u2066\u200f\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\x1b[2J\x07\x7f\x85",
    "a\r\nSet-Cookie: b=c",
    "\u2028\u2029\ufeff",
    "x" * 1024,
    "\U0001f600" * 256,
)
"""What a page could take for a part of itself, or could be spoilt by."""

PATHS: Final = (
    *("..", ".", "../../etc/passwd", "a/../b", "./a", "/", "//", "a//b", "/a", "a/", "//evil.example/x"),
    *("x.json", ".json", "a.json/b.json", "~", "~0", "~static", "~static/rstore.js", "%2F", "%", "%00", "%u0041"),
    *("a?b=c", "a#b", "a;b", "a&b=c", "a+b c", " ", "  a  ", "\\", "a\\..\\b", ":", "a:b:", "*", "[a]", "", "\t"),
)
"""What an address could take for a part of itself."""

TITLES = """urls => Promise.all(urls.map(async url => {
    const answer = await fetch(url);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return [answer.status, page.querySelector("h1").textContent];
}))"""


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("memory://", namespace='<b onclick="alert(1)">/../%2F\u202e', frozen=False) as store:
        with store.context(who="<script>alert('who')</script>", why="<img src=x onerror=alert('why')>"):
            store.set_many({name: [name, {name: name}] for name in (*MARKUP, *PATHS)})
        yield store


@pytest.fixture
def screen(tab: Page, serve: Callable[..., str], store: Store) -> Screen:
    return Screen(tab, serve(app(store)), store.namespace)


def title(name: str) -> str:
    return short(name) or "(empty)"


def test_the_link_to_each_name_leads_to_its_page(screen: Screen) -> None:
    screen.tab.goto(screen.base)
    screen.tab.locator("main tbody a").click()
    expect(screen.tab.get_by_role("heading", name="Keys")).to_be_visible()
    screen.open(find="*")
    links = screen.main.locator(".keys a").evaluate_all("all => all.map(each => each.href)")
    names = sorted((*MARKUP, *PATHS))
    assert links == [screen.url("kv", name) for name in names]
    assert screen.tab.evaluate(TITLES, links) == [[200, title(name)] for name in names]


def test_markup_and_controls_in_names_and_values_are_shown_as_text(screen: Screen) -> None:
    for name in MARKUP:
        screen.open("kv", name)
        assert screen.tab.locator("h1").text_content() == title(name)
        assert screen.main.locator("b, svg, img, script").count() == 0
        assert screen.value.text_content() == shown([name, {name: name}]).text


def fail(delivery: object) -> None:
    raise ConnectionError(MARKUP[2])


def test_markup_stays_text_on_every_page(screen: Screen, store: Store) -> None:
    script, _, image = MARKUP[:3]
    with store.context(who=script, why=image, did=script, tenant=image):
        store.apply(image, {script: image})
        store.apply(image, {script: script, image: 1})
    store.extend(image, [(time, {image: float(time), script: 1.0, "text": script}) for time in range(9)])
    store.project(script, lambda change, store: None)
    store.deliver(image, fail, prefix=image, attempts=1)
    query = f'SELECT 1 AS "{image}", 2.5 AS "{script}" UNION SELECT 2, 3 UNION SELECT 3, 1'
    places: tuple[tuple[str, str | None, dict[str, object]], ...] = (
        ("es", image, {}),
        ("es", image, {"at": "1 min ago", "to": "2200-01-01"}),
        ("ts", image, {}),
        ("log", None, {}),
        ("log", None, {"who": script, "prefix": image}),
        ("work", None, {}),
        ("sql", None, {"q": query}),
        ("", None, {"find": image, "after": script}),
    )
    for page, key, words in places:
        screen.open(page, key, **words)
        if screen.main.locator(".plot").count():
            screen.tab.wait_for_selector(".plot canvas")
            assert "alert(1)" in screen.main.locator(".plot").inner_text()
        assert screen.main.locator("b, img, script, svg[onload]").count() == 0, page
        assert "alert(1)" in screen.main.inner_text(), page


def test_errors_say_what_is_wrong_as_text(screen: Screen, visitor: Visitor) -> None:
    for page, words in (("", {"kind": MARKUP[2]}), ("log", {"at": MARKUP[0]}), ("sql", {"q": f'FROM "{MARKUP[0]}"'})):
        screen.open(page, **words)
        assert "alert(1)" in screen.main.locator(".unreadable").inner_text(), page
        assert screen.main.locator("b, img, script").count() == 0, page
    visitor.take("400 (Bad Request)")
