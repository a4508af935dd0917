"""Projections and deliveries in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rstore import Store
from tests.web.conftest import Ask, url

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def fail(delivery: Any) -> None:
    raise ConnectionError("<b>no route")


def test_a_store_without_any_says_so(client: TestClient, store: Store, ask: Ask) -> None:
    store["a"] = 1
    assert (ask("work").projections, ask("work").deliveries) == ([], [])
    assert client.get(url("default", "work")).text.count("There is none in this store.") == 2


def test_it_tells_how_far_behind_they_are_and_what_is_parked(client: TestClient, store: Store, ask: Ask) -> None:
    store["price"] = 10
    store.project("counts", lambda change, store: None)
    store.deliver("mail", fail, attempts=1)
    store["price"] = 11
    store["other"] = 1
    page = ask("work")
    (projection,), (delivery,) = page.projections, page.deliveries
    assert (projection.name, projection.records, projection.is_least, projection.skipped) == ("counts", 2, False, 0)
    assert projection.seconds >= 0
    assert (delivery.name, delivery.due, delivery.leased, delivery.waiting, delivery.parked) == ("mail", 0, 0, 0, 1)
    assert delivery.records == 3
    (parked,) = delivery.keys
    assert (parked.kind, parked.key, parked.attempts, parked.error) == (
        *("kv", "price", 1),
        "ConnectionError: <b>no route",
    )
    text = client.get(url("default", "work")).text
    assert "ConnectionError: &lt;b&gt;no route" in text
    assert 'href="/default/kv/price"' in text
    assert "of the present only" in client.get(url("default", "work", at="2 min ago")).text
    assert client.get(url("default", "work", None, True)).json()["deliveries"][0]["keys"][0]["key"] == "price"


def test_one_that_cannot_be_opened_does_not_hide_the_others(client: TestClient, store: Store, ask: Ask) -> None:
    store["price"] = 10
    store.project("counts", lambda change, store: None)
    store.deliver("mail", fail, attempts=1)

    def damaged(**_: object) -> None:
        from rstore.domain.errors import StoreError

        raise StoreError("it was damaged")

    store.projections = damaged  # type: ignore[assignment, method-assign]
    page = ask("work")
    assert (page.projections, page.errors) == ([], ["it was damaged"])
    assert [each.name for each in page.deliveries] == ["mail"]
