"""The page of an event sequence."""

from __future__ import annotations

import operator
import random
from typing import TYPE_CHECKING, Any

import freezegun
from starlette.testclient import TestClient

from rstore import JsonStore, Store
from rstore.web import app
from rstore.web.pages import sequence
from tests.web.conftest import Ask, url

if TYPE_CHECKING:
    import pytest


def state(step: Any) -> dict[str, str]:
    return {part.name: part.line for part in step.parts if part.mark != "removed"}


def test_each_commit_shows_what_it_changed_and_the_state_after_it(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        with store.context(who="ada", why="a call", did="open"):
            store.apply("order", {"status": "open", "total": 5})
        clock.tick(60)
        store.apply("order", {"total": (operator.add, 10)})
        clock.tick(60)
        store.apply("order", {"total": (operator.delitem, None), "note": "x"})
    page = ask("es", "order")
    last, second, first = page.steps
    assert (first.decision, first.who, first.why) == ("open", "ada", "a call")
    assert (second.changes, state(second)) == (["total += 10"], {"status": "open", "total": "15"})
    assert {part.name: part.mark for part in second.parts} == {"total": "changed", "status": ""}
    assert {part.name: part.mark for part in last.parts} == {"total": "removed", "note": "added", "status": ""}
    assert [step.is_shown for step in page.steps] == [True, False, False]
    assert {item.name: item.value.value for item in page.items} == {"note": "x", "status": "open"}
    then = ask("es", "order", at=second.recorded, to=last.recorded)
    assert {item.name: (item.value and item.value.value, item.other and item.other.value) for item in then.items} == {
        "note": (None, "x"),
        "status": ("open", "open"),
        "total": (15, None),
    }
    assert {item.name: item.mark for item in then.items} == {"note": "added", "status": "", "total": "removed"}
    assert [step.is_shown for step in then.steps] == [False, True, False]
    assert ask("es", "order", at=first.recorded - 1).is_there is False


def test_an_event_that_came_in_late_shows_the_state_that_was_known_then(store: Store, ask: Ask) -> None:
    random.seed(7)
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for number in range(60):
            clock.tick(1)
            times = {"t": 1_777_636_800_000 - random.randrange(10**6)} if number % 3 == 1 else {}
            store.apply("order", {random.choice("abc"): number, "sum": number}, **times)
    page = ask("es", "order")
    assert len(page.steps) == 60
    for step in page.steps:
        known = store.at(step.recorded).current("order")
        assert state(step) == {name: str(value) for name, value in known.items()}
    assert sum(bool(step.times) for step in page.steps) == 20


def test_pages_of_commits_follow_each_other(store: Store, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "_COMMITS", 10)
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for number in range(35):
            clock.tick(1)
            store.apply("order", {"n": number})
    found, at = list[str](), {}
    while True:
        page = ask("es", "order", **at)
        found += [state(step)["n"] for step in page.steps]
        marks = [step.parts[0].mark for step in page.steps]
        assert marks == ["changed"] * len(marks[:-1]) + ["added" if found[-1] == "0" else "changed"]
        if page.older is None:
            break
        at = {"at": page.older}
    assert found == [str(number) for number in reversed(range(35))]


def test_a_page_lists_fewer_commits_of_many_events(store: Store, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "_EVENTS", 5)
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for number in range(4):
            store.apply("order", {"a": number, "b": number})
            clock.tick(1)
        store.apply("order", dict.fromkeys("abcdefgh", 9))
    page = ask("es", "order")
    assert [len(step.changes) for step in page.steps] == [8]
    assert [len(step.changes) for step in ask("es", "order", at=page.older).steps] == [2, 2]


def test_events_of_one_commit_are_folded_in_the_order_of_their_times(store: Store, ask: Ask) -> None:
    store.apply("order", {"a": 0}, t=1)
    with store.context(who="ada"), store.transaction():
        store.apply("order", {"a": 2}, t=20)
        store.apply("order", {"a": 1}, t=10)
    (last, *_) = ask("es", "order").steps
    assert state(last) == {"a": "2"} == {name: str(value) for name, value in store.current("order").items()}


def test_a_deleted_sequence_and_one_that_is_partly_gone(store: Store, ask: Ask) -> None:
    with freezegun.freeze_time("2026-05-01T12:00Z") as clock:
        for number in range(5):
            store.apply("order", {"n": number, f"x{number}": 1})
            clock.tick(1)
        store.delete_events("order")
        clock.tick(1)
        store.apply("other", {"n": 1})
        store.apply("other", {"n": (operator.add, 1)})
        clock.tick(1)
        store.apply("other", {"n": 5, "m": 1})
        store.prune("other", remove=False)
    deleted = ask("es", "order")
    assert (deleted.is_there, deleted.items) == (False, [])
    assert {part.mark for part in deleted.steps[0].parts} == {"removed"}
    pruned = ask("es", "other")
    assert state(pruned.steps[0])["n"] == "5"


def test_a_value_that_is_not_loaded_is_named(tmp_path: object) -> None:
    with Store(f"{tmp_path}/x.db", frozen=False) as store:
        store.apply("order", {"pin": {1234}})
    with JsonStore(f"{tmp_path}/x.db") as store:
        client = TestClient(app(store))
        text = client.get("/default/es/order").text
        assert "never unpickles" in text
        assert "pin" in text
        answer = client.get("/default/es/order.json").json()
        assert [item["value"].get("value") for item in answer["items"]] == [None]


def test_a_sequence_that_never_was_there_has_no_page(client: TestClient, store: Store) -> None:
    store["order"] = 1
    assert client.get(url("default", "es", "order")).status_code == 404


def test_names_and_values_of_others_stay_text(client: TestClient, store: Store) -> None:
    with store.context(who="<b>", why="<i>", did="<u>", arguments={"<s>": "<a>"}):
        store.apply("<b>", {"<script>": "<script>alert(1)</script>"})
    text = client.get(url("default", "es", "<b>")).text
    for tag in ("<b>", "<i>", "<u>", "<s>", "<script>", "<a>"):
        assert tag not in text
