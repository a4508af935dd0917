"""The browser of the tests: it shows pages, and lets no problem of a page go unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.conftest import in_turn
from tests.support import browser as found
from tests.support.browser import BrowserMissingError, Visitor, chromium, install

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLICY = {"Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'"}


@pytest.fixture
def shown(tab: Page, serve: Callable[..., str]) -> Callable[[str], str]:
    """Show a page of some HTML; return its text."""

    def shown(body: str) -> str:
        page = f"<!doctype html><link rel=icon href=data:,><main>{body}</main>"
        app = Starlette(routes=[Route("/", lambda _: HTMLResponse(page, headers=POLICY if "on" in body else {}))])
        tab.goto(serve(app))
        tab.wait_for_timeout(50)
        return tab.inner_text("main")

    return shown


def test_it_shows_the_page_of_an_application(shown: Callable[[str], str], visitor: Visitor) -> None:
    assert shown("<b>Now</b> and <script>document.write('then')</script>") == "Now and then"
    assert visitor.problems == []


@in_turn(
    ("body", "problem"),
    [
        ("<script>console.error('oh')</script>", "error of http://127.0.0.1"),
        ("<script>undefined.of</script>", "error: Cannot read properties of undefined"),
        ("<script>alert('gotcha')</script>", "dialog: gotcha"),
        ("<p style='position: fixed'>", "Content Security Policy"),
        ("<img src='/nothing.png'>", "404"),
        ("<script>fetch('http://localhost:1/x').catch(() => 0)</script>", "request to http://localhost:1/x"),
    ],
)
def test_a_problem_of_a_page_would_fail_its_test(
    shown: Callable[[str], str], visitor: Visitor, body: str, problem: str
) -> None:
    shown(body)
    assert any(problem in each for each in visitor.problems), visitor.problems
    visitor.problems.clear()
    with pytest.raises(AssertionError, match="is not among"):
        visitor.take(problem)


def test_without_a_browser_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(found.CHOSEN, "/nothing/here")
    chromium.cache_clear()
    with pytest.raises(BrowserMissingError, match=r"install chromium or .*, or set RSTORE_TEST_CHROMIUM"):
        chromium()
    monkeypatch.delenv(found.CHOSEN)
    monkeypatch.setattr(found, "_own", lambda: "/nothing/here")
    monkeypatch.setattr(found, "_runs", lambda _: False)
    monkeypatch.setattr(found, "_is_done", lambda _: True)
    with pytest.raises(BrowserMissingError, match="install chromium"):
        install()
    chromium.cache_clear()
