"""Names and values that would do harm to a careless page stay what they are: text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from rstore.web.values import short, shown
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
def screen(tab: Page, serve: Callable[..., str]) -> Iterator[Screen]:
    with Store("memory://", namespace='<b onclick="alert(1)">/../%2F\u202e', frozen=False) as store:
        with store.context(who="<script>alert('who')</script>", why="<img src=x onerror=alert('why')>"):
            store.set_many({name: [name, {name: name}] for name in (*MARKUP, *PATHS)})
        yield Screen(tab, serve(app(store)), store.namespace)


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
