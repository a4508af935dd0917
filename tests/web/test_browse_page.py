"""The keys of a namespace, as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import freezegun
import pytest

from rstore import Store
from tests.web.conftest import Ask, url

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def names(page: object) -> list[str]:
    return [item.name for item in page.items]  # type: ignore[attr-defined]


def test_a_level_lists_keys_and_the_levels_below_it(store: Store, ask: Ask) -> None:
    for key in ("zone", "user:ada", "user:bob", "a/b/c", "a/b/d", "a/e", "a", "a0", "a/\U0010ffffx", ""):
        store[key] = 1
    store.extend("user:ada", (1, 2))
    store.apply("user:cleo", {"age": 3})
    assert names(ask()) == ["", "a", "a/", "a0", "user:", "zone"]
    assert names(ask(after="a/")) == ["a0", "user:", "zone"]
    assert names(ask(prefix="a/")) == ["a/b/", "a/e", "a/\U0010ffffx"]
    assert [(item.name, item.kinds) for item in ask(prefix="user:").items] == [
        ("user:ada", ["kv", "ts"]),
        ("user:bob", ["kv"]),
        ("user:cleo", ["es"]),
    ]
    assert names(ask(prefix="user:", kind="es")) == ["user:cleo"]
    assert ask(prefix="a/b/").parents == ["a/", "a/b/"]


def test_pages_follow_each_other_and_miss_nothing(store: Store, ask: Ask) -> None:
    keys = {f"{n:03}" for n in range(250)} | {f"{n:03}/x" for n in range(0, 250, 7)}
    store.set_many(dict.fromkeys(keys, 1))
    store.extend_many({f"{n:03}": [(1, 1)] for n in range(0, 250, 50)})
    seen, after = [], None
    while True:
        page = ask(**({} if after is None else {"after": after}))
        assert len(page.items) <= 100
        seen += names(page)
        after = page.more
        if after is None:
            break
    assert seen == sorted(key if "/" not in key else key[:4] for key in keys)


def test_a_pattern_is_matched_on_whole_keys(store: Store, ask: Ask) -> None:
    store.set_many(dict.fromkeys(["stocks/a", "stocks/b", "stock", "x/stocks/a"], 1))
    assert names(ask(find="stocks/*")) == ["stocks/a", "stocks/b"]
    assert names(ask(find="*stocks/a")) == ["stocks/a", "x/stocks/a"]
    assert names(ask(find="[")) == []


def test_a_search_through_many_keys_goes_on_and_misses_nothing(
    store: Store, ask: Ask, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kinds stop at different keys. None of them is listed further than all are known."""
    monkeypatch.setattr("rstore.web.pages.browse._COMPARED", 10)
    store.set_many({f"{n:03}": n for n in range(50)})
    store.extend_many({f"{n:03}": [(1, 1)] for n in range(0, 200, 2)})
    found, page = [], ask(find="*2*")
    while page.more is not None:
        found += page.items
        page = ask(find="*2*", after=page.more)
    found += page.items
    numbers = [n for n in range(200) if "2" in f"{n:03}" and (n < 50 or n % 2 == 0)]
    assert [item.name for item in found] == [f"{n:03}" for n in numbers]
    assert {item.name: item.kinds for item in found}["021"] == ["kv"]
    nothing = client.get(url("default", find="*49"))
    assert "No key matches up to here." in nothing.text
    assert 'rel="next"' in nothing.text
    assert ask(find="*x", after="198").more is None


def test_it_is_the_list_of_a_time(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        store["early"] = 1
        clock.tick(60)
        store["late"] = 1
        store.delete("early")
        store.set("short", 1, ttl=60)
        clock.tick(90)
        assert names(ask()) == ["late"]
        assert names(ask(deleted=1)) == ["early", "late", "short"]
        assert [item.is_live for item in ask(deleted=1).items] == [False, True, False]
        assert names(ask(at="2026-05-01T12:00:30Z")) == ["early"]
        assert names(ask(at="1 min ago")) == ["late", "short"]


def test_words_that_make_no_sense_are_told(client: TestClient, store: Store) -> None:
    store["a"] = 1
    for words, message in (
        ({"kind": "xx"}, "a kind is kv, ts, es"),
        ({"at": "soon"}, "is no time"),
        ({"prefix": "a\0"}, "NUL"),
        ({"at": "17"}, "too long ago"),
    ):
        answer = client.get(url("default", **words))
        assert (answer.status_code, message in answer.text) == (400, True), words
    assert client.get("/nothing/").status_code == 404
    assert client.get("/default/xx/a").status_code == 404
    store[""] = 1
    assert client.get("/default/kv").status_code == 404
    assert client.get("/default/log/a").status_code == 404


def test_a_namespace_without_its_last_slash_is_found(client: TestClient, store: Store) -> None:
    store["a"] = 1
    assert client.get("/default").url.path == "/default/"
    assert client.get("/default/.json").json() == client.get("/default.json").json()


@pytest.mark.parametrize(
    "name", ["<b>x", "..", "a//b", "x.json", "~", "%2F", "\u202eevil", "😀", "q'\"", "", "a:b/", "a\r\nb"]
)
def test_the_link_to_each_key_leads_to_its_page(client: TestClient, store: Store, name: str) -> None:
    store[name] = "<script>alert(1)</script>"
    path = url("default", "kv", name)
    assert client.get(path).status_code == 200
    assert "<script>alert" not in client.get(path).text
    assert client.get(url("default", "kv", name, True)).json()["key"] == name


def test_a_time_that_counts_from_the_present_becomes_one_that_lasts(client: TestClient, store: Store) -> None:
    store["price"] = 1
    with freezegun.freeze_time("2026-05-04T12:00Z"):
        path = client.get("/default/kv/price?at=3+days+ago&to=now").url
        assert dict(path.params) == {"at": "2026-05-01 12:00:00.000", "to": "now"}
    for at in ("2026-05-01 12:00", "1777636800000"):
        assert client.get(f"/default/kv/price?at={at}", follow_redirects=False).status_code == 200


def test_a_time_is_compared_with_the_present(store: Store, ask: Ask) -> None:
    store["price"] = 1
    then = store.history("price")[0].recorded
    assert ask("kv", "price", at=then - 1, to="now").other.value == 1
