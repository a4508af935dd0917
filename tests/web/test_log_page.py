"""The log of a namespace in the browser: its commits, the newest first."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import freezegun
import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstore import Repository, Store
from rstore.history.commits import Commit
from rstore.web import backwards
from rstore.web.address import Address
from rstore.web.asked import Asked
from rstore.web.pages import log
from rstore.web.timeline import Timeline
from rstore.web.watcher import Watcher
from tests.conftest import Backend
from tests.web.conftest import Ask, url

if TYPE_CHECKING:
    from starlette.testclient import TestClient

PEOPLE = (None, "ada", "bob")


def write_some(store: Store, number: int = 12) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z", auto_tick_seconds=1):
        for n in range(number):
            with store.context(who=PEOPLE[n % 3], why="because", did="pay" if n % 2 else None, request=n):
                store.apply(f"account {n % 4}", {"balance": n, "limit": 2 * n})
                store[f"price {n % 2}"] = n
        store.extend("series", (1, 2), (3, 4))
        store["price 0"] = 0


def all_pages(watcher: Watcher, **words: Any) -> list[log.Entry]:
    """Return the entries of all pages, one after the other."""
    assert watcher.look(60)
    entries: list[log.Entry] = []
    before: str | None = ""
    for number in count():
        assert number < 200
        query = {word: str(value) for word, value in {**words, "before": before}.items()}
        page = log.page(Asked(Address(watcher.store.namespace, "log"), watcher.store, query, watcher))
        assert page.is_complete
        entries += page.entries
        before = page.before
        if before is None:
            return entries
    raise AssertionError


def outline(entries: list[log.Entry]) -> list[Any]:
    return [
        (each.id, each.recorded, each.who, each.why, [(line.kind, line.key) for line in each.changes])
        for each in entries
    ]


def expected(commits: list[Commit]) -> list[Any]:
    return [
        (each.id, each.recorded, each.who, each.why, [(change.kind, change.key) for change in each.changes])
        for each in reversed(commits)
    ]


def test_it_shows_what_log_tells_the_newest_first(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "_COMMITS", 5)
    store = backend.store()
    write_some(store)
    watcher = Watcher(backend.store(frozen=True), Timeline(records=7 if backend.is_local else 60))
    tick = list(store.log())[15].recorded
    selections: list[dict[str, Any]] = [
        {},
        {"who": "bob", "did": "pay", "kind": "es"},
        {"kind": "kv", "prefix": "price 1", "since": tick},
        {"who": "ada"},
        {"did": "pay"},
        {"kind": "ts"},
        {"until": tick},
        {"since": tick, "until": tick + 3000},
        {"who": "nobody"},
    ]
    for words in selections if backend.is_local else selections[:3]:
        commits = list(store.log(**words, by="commit"))
        assert outline(all_pages(watcher, **words)) == expected(commits), words
    assert outline(all_pages(watcher, at=tick)) == expected(list(store.log(until=tick, by="commit")))
    changes = [change.version for change in store.log()]
    assert len(all_pages(watcher, by="change")) == len(changes)


def test_what_each_commit_says(store: Store, ask: Ask) -> None:
    with store.context(who="ada", why="typing error", request=4711):
        store["price"] = 11
    store.delete("price")
    store.compact()
    erasure, *rest = ask("log").entries
    assert (erasure.changes[0].kind, erasure.changes[0].key, erasure.changes[0].op) == ("", "", "compact")
    assert "erased of 1 key: price" in erasure.changes[0].line
    assert rest == []
    with store.context(who="ada", why="typing error", request=4711):
        store["price"] = 11
    entry = ask("log").entries[0]
    assert (entry.who, entry.why, entry.more, entry.did) == ("ada", "typing error", {"request": "4711"}, "")
    assert [(line.kind, line.key, line.op, line.line) for line in entry.changes] == [("kv", "price", "setitem", "= 11")]


@pytest.fixture
def memory() -> Store:
    return Store("memory://", frozen=False).open()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 5), st.integers(1, 4)), max_size=25),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(5, 30),
)
def test_pages_have_all_commits_whatever_the_sizes(
    writes: list[tuple[str | None, int, int]], records: int, commits: int, examined: int
) -> None:
    store = Store("memory://", frozen=False).open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backwards, "_COMMITS", commits)
        patch.setattr(backwards, "_LINES_MOST", 8)
        for number, (who, key, size) in enumerate(writes):
            with store.context(who=who, number=number):
                store.apply(str(key), {str(n): n for n in range(size)})
        watcher = Watcher(store, Timeline(records=records))
        assert outline(all_pages(watcher)) == expected(list(store.log(by="commit")))
        # pages of few changes cut commits in parts, and lose none
        patch.setattr(backwards, "_EXAMINED", examined)
        changes = [line for each in all_pages(watcher, who="ada") for line in reversed(each.changes)]
        assert len(changes) == len(list(store.log(who="ada")))


def test_a_huge_commit_shows_its_first_changes(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "_EXAMINED", 2_000)
    memory.set_many({f"{n:05}": n for n in range(3_000)})
    watcher = Watcher(memory)
    first, second = all_pages(watcher)  # more than are looked at for a page
    assert len(first.changes) + first.hidden == 2_000
    assert [line.key for line in second.changes] == [f"{n:05}" for n in range(20)]
    assert second.hidden == 980


def test_values_that_cannot_be_read_are_told(backend: Backend) -> None:
    backend.store(key="0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=")["secret"] = 1
    page = log.page(Asked(Address("default", "log"), backend.store(frozen=True)))
    assert page.entries[0].changes[0].line.startswith("setitem (unreadable: encrypted")


def test_words_that_make_no_sense_are_told(client: TestClient, store: Store) -> None:
    store["a"] = 1
    for words, message in (
        ({"kind": "xx"}, "kind is one of"),
        ({"since": "soon"}, "is no time"),
        ({"by": "day"}, "by is &#39;change&#39; or"),
        ({"before": "x"}, "is no checkpoint"),
        ({"before": "abcdef-17"}, "is no checkpoint"),
        ({"prefix": "a\0"}, "NUL"),
    ):
        answer = client.get(url("default", "log", **words))
        assert (answer.status_code, message in answer.text) == (400, True), (words, answer.text)


def test_hostile_words_stay_inert(client: TestClient, store: Store) -> None:
    evil = "<script>alert(1)</script>\u202e"
    with store.context(who=evil, why=evil, did=evil, x=evil):
        store.apply(evil, {evil: evil})
    text = client.get(url("default", "log")).text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    answer = client.get(url("default", "log", None, True)).json()
    assert answer["entries"][0]["who"] == evil
    assert client.get(url("default", "log", who=evil, prefix=evil)).text.count('<li>\n    <p class="commit">') == 1


def test_it_links_to_the_keys_at_the_time_of_the_commit(client: TestClient, store: Store) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z"):
        store["a/b"] = 1
    store["a/b"] = 2
    assert 'href="/default/kv/a/b?at=1777636800000"' in client.get(url("default", "log")).text


def test_a_log_that_is_not_read_yet_says_so(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_PATIENCE_SECONDS", 0)
    memory.set_many(dict.fromkeys(map(str, range(9_000)), 1))
    watcher = Watcher(memory)
    monkeypatch.setattr(Watcher, "_start", lambda watcher: None)
    page = log.page(Asked(Address("default", "log"), memory, {}, watcher))
    assert (page.is_complete, page.read) == (False, 0)
    assert page.timing.earlier is None


@frozen
class Account:
    balance: int = 0

    def pay(self, amount: int) -> dict[str, Any]:
        return {"balance": self.balance + amount}


def test_a_decision_has_its_arguments(memory: Store) -> None:
    accounts = Repository(memory, Account)
    accounts.create("a")
    accounts.do("a", Account.pay, 20)
    with memory.context(did="close"):
        memory.delete_events("Account/a")
    assert [each.did for each in all_pages(Watcher(memory))] == ["close", "pay(amount=20)", "create"]
