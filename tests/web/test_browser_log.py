"""The log and the work in a real browser: both show at once what is written, and no time but the present changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import freezegun
import pytest
from playwright.sync_api import expect

from rstore import Store
from rstore.web import app
from tests.web.screen import Screen

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECOND = 1_000


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("memory://", frozen=False) as store:
        with freezegun.freeze_time("2026-05-01T12:00Z", auto_tick_seconds=60):
            for n in range(150):
                with store.context(who="ada"):
                    store[f"key {n}"] = n
            store.project("counts", lambda change, store: None)
        yield store


@pytest.fixture
def screen(tab: Page, serve: Callable[..., str], store: Store) -> Screen:
    return Screen(tab, serve(app(store)))


def test_a_write_appears_within_a_second_but_not_in_the_past(screen: Screen, store: Store) -> None:
    screen.open("log")
    newest = screen.main.locator(".log > li").first
    expect(newest).to_contain_text("key 149")
    expect(screen.main.locator(".live")).to_be_visible()
    for n in range(3):
        time.sleep(0.3)
        with store.context(who="bob"):
            store["new"] = n
        expect(newest).to_contain_text(f"= {n}", timeout=SECOND)
        expect(newest).to_contain_text("bob")
    screen.main.get_by_role("link", name="earlier").click()
    screen.wait_for(at=screen.times()[-2])
    store["new"] = "much later"
    time.sleep(0.6)
    expect(newest).to_contain_text("= 1")
    screen.main.get_by_role("link", name="now", exact=True).click()
    expect(newest).to_contain_text("much later")


def test_one_goes_back_through_the_pages(screen: Screen) -> None:
    screen.open("log")
    commits = screen.main.locator(".log > li")
    expect(commits).to_have_count(100)
    screen.main.get_by_role("link", name="Older changes").click()
    expect(commits).to_have_count(50)
    expect(commits.last).to_contain_text("key 0")
    screen.tab.go_back()
    expect(commits.first).to_contain_text("key 149")
    commits.first.get_by_role("link", name="key 149").click()
    expect(screen.value).to_have_text("149")


def test_the_work_that_is_left_moves_on_as_it_is_done(screen: Screen, store: Store) -> None:
    screen.open("work")
    behind = screen.main.locator("tbody td.number").first
    expect(behind).to_have_text("0")
    expect(screen.main.locator(".live")).to_be_visible()
    store.set_many({"a": 1, "b": 2})
    expect(behind).to_have_text("2", timeout=SECOND)
    store.project("counts", lambda change, store: None)
    expect(behind).to_have_text("0", timeout=SECOND)
