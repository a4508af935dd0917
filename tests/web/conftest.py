"""A store's pages as a browser asks for them, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from rstore import Store
from rstore.web import app
from rstore.web.address import Address, query_of
from rstore.web.asked import Asked
from rstore.web.site import PAGES

Ask = Callable[..., Any]


@pytest.fixture
def ask(store: Store) -> Ask:
    """Return the model of a page of the store: ``ask('kv', 'price', at=...)``."""

    def ask(page: str = "", key: str | None = None, **query: object) -> Any:
        words = {word: str(value) for word, value in query.items()}
        return PAGES[page](Asked(Address(store.namespace, page, key), store, words))

    return ask


@pytest.fixture
def client(store: Store) -> TestClient:
    """Ask the application of the store."""
    return TestClient(app(store), raise_server_exceptions=True)


def url(*address: Any, **words: object) -> str:
    return Address(*address).path + query_of(**words)
