"""Names and values that would do harm to a careless page stay what they are: text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from rstore.web.values import short, shown
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE: Final = (
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
    *("..", ".", "../../etc/passwd", "a/../b", "./a", "/", "//", "a//b", "/a", "a/", "//evil.example/x"),
    *("x.json", ".json", "a.json/b.json", "~", "~0", "~static", "~static/rstore.js", "%2F", "%", "%00", "%u0041"),
    *("a?b=c", "a#b", "a;b", "a&b=c", "a+b c", " ", "  a  ", "\\", "a\\..\\b", ":", "a:b:", "*", "[a]", "", "\t"),
    "x" * 1024,
    "\U0001f600" * 256,
)


def test_each_hostile_name_and_value_is_shown_as_text_and_its_link_leads_to_it(
    tab: Page, serve: Callable[..., str]
) -> None:
    with Store("memory://", namespace='<b onclick="alert(1)">/../%2F\u202e', frozen=False) as store:
        with store.context(who="<script>alert('who')</script>", why="<img src=x onerror=alert('why')>"):
            store.set_many({name: [name, {name: name}] for name in HOSTILE})
        screen = Screen(tab, serve(app(store)), store.namespace)
        tab.goto(screen.base)
        tab.locator("main tbody a").click()
        expect(tab.get_by_role("heading", name="Keys")).to_be_visible()
        screen.open(find="*")
        links = screen.main.locator(".keys a")
        assert links.count() == len(HOSTILE)
        targets = links.evaluate_all("all => all.map(each => each.href)")
        assert sorted(targets) == sorted(screen.url("kv", name) for name in HOSTILE)
        for name in HOSTILE:
            tab.goto(screen.url("kv", name))
            assert tab.locator("h1").text_content() == (short(name) or "(empty)")
            assert tab.locator("main b, main svg, main img, main script").count() == 0
            assert screen.value.text_content() == shown([name, {name: name}]).text
