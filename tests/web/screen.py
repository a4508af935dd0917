"""What a person does with the pages of a store, and sees of them, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from playwright.sync_api import expect

from rstore.web.address import Address, query_of
from tests.support.browser import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

expect.set_options(timeout=PATIENCE * 1000)

FOCUS = """(({ name, textContent, tagName }) =>
    tagName === "BODY" ? "" : name || textContent.trim() || tagName)(document.activeElement)"""
UNTIL = """async ([words, patience]) => {
    const end = performance.now() + patience;
    const shown = () => document.querySelector("main").dataset;
    const differing = () => Object.entries(words).filter(([word, value]) => shown()[word] !== value);
    while (differing().length) {
        if (performance.now() > end) throw Error(`the page does not show ${differing()}, but ${location}`);
        await new Promise(requestAnimationFrame);
    }
}"""


@frozen
class Screen:
    """A tab that shows pages of a namespace of a server.

    Attributes:
        tab: the page of the browser, to do anything else with it.
        base: the beginning of all URLs.
    """

    tab: Page
    base: str
    namespace: str = "default"

    def url(self, page: str = "", key: str | None = None, **query: object) -> str:
        """Return the URL of a page: ``url('kv', 'price', at=5)``."""
        return self.base + Address(self.namespace, page, key).path + query_of(**query)

    def open(self, page: str = "", key: str | None = None, **query: object) -> None:
        """Open a page by its URL, as from a link that a colleague has sent."""
        self.tab.goto(self.url(page, key, **query))

    @property
    def main(self) -> Locator:
        """All that changes from page to page."""
        return self.tab.locator("main")

    @property
    def value(self) -> Locator:
        """The first value that is shown."""
        return self.main.locator("article pre.value").first

    def text(self) -> str:
        """Return the text of the first value, or of the sentence in its place."""
        return self.main.locator("article pre.value, article p.nothing").first.text_content() or ""

    def slider(self, word: str = "at") -> Locator:
        """Return the slider of one of the two times."""
        return self.main.locator(f"input[type=range][data-word={word}]")

    def times(self) -> list[int]:
        """Return the times at which the slider stops, in POSIX milliseconds. A long log is read first."""
        self.main.locator(".slider").wait_for()
        times: list[int] = self.tab.evaluate("JSON.parse(document.querySelector('.slider').dataset.times)")
        return times

    def slide(self, stop: int, word: str = "at") -> None:
        """Move a slider to a stop, and wait for the page of that time."""
        stops = self.times()
        self.slider(word).fill(str(stop))
        self.wait_for(**{word: stops[stop] if stop < len(stops) else ""})

    def wait_for(self, **words: object) -> None:
        """Wait until the page shows times: ``wait_for(at=5, to='')``. It looks at each frame, as a person does."""
        self.tab.evaluate(UNTIL, [{word: str(value) for word, value in words.items()}, PATIENCE * 1000])

    def is_wide(self) -> bool:
        """Return whether the page has to be scrolled to its side."""
        wide: bool = self.tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wide

    def focus(self) -> str:
        """Return the name of what has the focus, or its text; empty if nothing has it."""
        focus: str = self.tab.evaluate(FOCUS)
        return focus
