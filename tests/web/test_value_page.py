"""The page of a value."""

from __future__ import annotations

from pathlib import Path

import freezegun
import pytest
from starlette.testclient import TestClient

from rstore import JsonStore, Store
from rstore.web import app
from rstore.web.values import shown
from tests.web.conftest import Ask, url


def test_it_shows_the_value_of_a_time_and_all_versions(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        with store.context(who="ada", why="first"):
            store["price"] = {"eur": 10}
        clock.tick(60)
        store["price"] = {"eur": 11}
        clock.tick(60)
        store.delete("price")
    page = ask("kv", "price", at="2026-05-01T12:01:30Z")
    assert page.value.value == {"eur": 11}
    assert [(each.line, each.is_deletion, each.is_shown) for each in page.versions] == [
        ("", True, False),
        ('{"eur":11}', False, True),
        ('{"eur":10}', False, False),
    ]
    assert page.versions[-1].who == "ada"
    first, second, third = (each.recorded for each in reversed(page.versions))
    assert page.timing.stops == [first, second, third]
    assert (page.timing.earlier, page.timing.later) == (first, third)
    assert ask("kv", "price").value is None
    assert ask("kv", "price", at=first).timing.earlier is None
    exactly = ask("kv", "price", at=second).timing
    assert (exactly.earlier, exactly.later) == (first, third)


def test_it_shows_the_differences_of_two_times(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        store["price"] = {"eur": 10, "usd": 12}
        clock.tick(60)
        store["price"] = {"eur": 11, "usd": 12}
    page = ask("kv", "price", at="2026-05-01T12:00:30Z", to="2026-05-02")
    assert [line for line in page.differences if line[0] in "+-"] == ['-  "eur": 10,', '+  "eur": 11,']
    assert ask("kv", "price", at="2026-05-02", to="2026-05-03").differences == []


def test_of_many_versions_those_around_the_time_are_listed(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for number in range(450):
            store["price"] = number
            clock.tick(1)
    numbers, at = list[int](), {}
    while True:
        page = ask("kv", "price", **at)
        assert page.versions[0].is_shown
        numbers += [int(each.line) for each in page.versions]
        if page.older is None:
            break
        at = {"at": page.older}
    assert numbers == list(reversed(range(450)))
    middle = ask("kv", "price", at=page.timing.stops[0] + 300_000)
    assert [each.line for each in middle.versions if each.is_shown] == ["300"]


def test_a_key_that_never_was_there_has_no_page(client: TestClient, store: Store) -> None:
    store["a"] = 1
    answer = client.get(url("default", "kv", "b"))
    assert (answer.status_code, "there never was a value" in answer.text) == (404, True)


def test_values_of_a_pickle_are_not_loaded_by_a_store_that_never_unpickles(tmp_path: Path) -> None:
    with Store(tmp_path / "x.db", frozen=False) as store:
        store["x"] = {1, 2}
    with JsonStore(tmp_path / "x.db") as store:
        client = TestClient(app(store))
        assert "never unpickles" in client.get("/default/kv/x").text
        assert "never unpickles" in client.get("/default/kv/x.json").json()["value"]["unreadable"]


@pytest.mark.parametrize(
    ("value", "text", "size"),
    [
        ("a\x1b[2J\nb\u202e", "a\\x1b[2J\nb\\u202e", None),
        (b"\0" * 5000, "00 " * 1023 + "00", 5000),
        ("x" * 50_000, "x" * 20_000, 50_000),
        ((1, 2), "(1, 2)", None),
        (float("nan"), "nan", None),
    ],
    ids=["controls", "bytes", "long", "tuple", "nan"],
)
def test_no_value_can_do_harm(value: object, text: str, size: int | None) -> None:
    assert (shown(value).text, shown(value).size) == (text, size)


def test_a_number_of_too_many_digits_is_named() -> None:
    assert shown(10**5000).text == "<int with a number of more than 4,300 digits>"
