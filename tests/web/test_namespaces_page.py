"""The list of namespaces."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from rstore import Store
from rstore.domain.errors import StoreNotAvailableError
from rstore.web import app
from rstore.web.pages import namespaces
from rstore.web.stores import Stores


def stores(folder: Path, *names: str) -> tuple[Stores, list[str]]:
    """Return the stores of some namespaces, and the names of those that were opened."""
    opened: list[str] = []

    def open_one(name: str) -> Store:
        opened.append(name)
        if name == "gone":
            raise StoreNotAvailableError("it is gone")
        store = Store(folder / "a.db", name, frozen=False).open()
        store[f"<{name}>"] = 1
        store.extend("series", (1, 1))
        return store

    return Stores(lambda: list(names), open_one), opened


def test_it_counts_the_keys_of_each(tmp_path: Path) -> None:
    found, _ = stores(tmp_path, "a", "b/..", "gone")
    page = namespaces.page(found)
    assert [(each.name, each.values, each.series, each.sequences, each.error) for each in page.namespaces] == [
        ("a", 1, 1, 0, ""),
        ("b/..", 1, 1, 0, ""),
        ("gone", None, None, None, "it is gone"),
    ]
    client = TestClient(app(found))
    assert "it is gone" in client.get("/").text
    assert client.get("/b~1../").status_code == 200
    assert client.get("/gone/").status_code == 503


def test_where_there_are_many_none_is_opened(tmp_path: Path) -> None:
    found, opened = stores(tmp_path, *(f"tenant {n}" for n in range(31)))
    text = TestClient(app(found)).get("/").text
    assert text.count("tenant ") == 31
    assert opened == []


def test_only_those_that_are_listed_are_opened(tmp_path: Path) -> None:
    found, opened = stores(tmp_path, "a")
    client = TestClient(app(found))
    assert client.get("/b/").status_code == 404
    assert opened == []
