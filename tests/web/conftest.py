"""A store's pages: as a browser asks for them, without one, and in a real one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from rstore import Store
from rstore.web import app
from rstore.web.address import Address, query_of
from rstore.web.asked import Asked
from rstore.web.site import PAGES
from tests.support.browser import Visitor, running_browser, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Ask = Callable[..., Any]


@pytest.fixture
def ask(store: Store) -> Ask:
    """Return the model of a page of the store: ``ask('kv', 'price', at=...)``."""

    def ask(page: str = "", key: str | None = None, **query: object) -> Any:
        words = {word: str(value) for word, value in query.items()}
        asked = Asked(Address(store.namespace, page, key), store, words)
        assert asked.watcher.look(60)
        return PAGES[page](asked)

    return ask


@pytest.fixture
def client(store: Store) -> TestClient:
    """Ask the application of the store."""
    return TestClient(app(store), raise_server_exceptions=True)


def url(*address: Any, **words: object) -> str:
    return Address(*address).path + query_of(**words)


RUNNING = ExitStack()
"""The browser that this process has started, when a test first asked for it."""


@cache
def started() -> Browser:
    return RUNNING.enter_context(running_browser())


@pytest.fixture
def browser() -> Browser:
    """Return the browser that all tests of this process share."""
    return started()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """End the browser before a test that needs none: its event loop leaves no place for others in this thread."""
    try:
        return (yield)
    finally:
        if nextitem is None or not nextitem.get_closest_marker("browser"):
            started.cache_clear()
            RUNNING.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve an application until the test ends; return the beginning of its URLs."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def visitor(browser: Browser, serve: Callable[..., str]) -> Iterator[Visitor]:
    """Open contexts of the browser, and close them before the servers end.

    The test fails if anything goes wrong in them: see :class:`Visitor`.
    """
    visitor = Visitor(browser)
    yield visitor
    for context in browser.contexts:
        context.close()
    assert not visitor.problems


@pytest.fixture
def tab(visitor: Visitor) -> Page:
    """Open an empty page of a new context."""
    return visitor.context().new_page()
