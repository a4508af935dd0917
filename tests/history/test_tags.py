"""A tag names a moment: each call that takes a moment of the past takes the name too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from freezegun import freeze_time

from rstore import FrozenStoreError, Repository, Store, StoreError, StoreIntegrityError, StorePayloadError, Tag, new_key
from rstore.admin.check import check, info
from rstore.domain.log import Batch
from rstore.domain.streams import TAG, Stream
from rstore.encoding.notes import note_body
from rstore.transfer import copy, digest, export, load
from tests.conftest import Backend

MAY = 1_780_264_800_000
"""The end of May 2026 in Berlin."""


@frozen
class Account:
    owner: str


def names(store: Any) -> list[str]:
    return [tag.name for tag in store.tags()]


def test_a_tag_stands_for_now_without_what_comes_next(store: Store) -> None:
    for n in range(5):
        store["price"] = n
        moment = store.tag(f"price {n}")
        assert store.tags()[-1][:2] == (f"price {n}", moment)
    store["price"] = 99
    assert [store.at(f"price {n}")["price"] for n in range(5)] == [0, 1, 2, 3, 4]


def test_a_tag_stands_for_the_moment_that_it_is_given(store: Store) -> None:
    assert store.tag("close of May", "2026-06-01T00:00+02:00") == MAY
    assert store.tag("the same", "close of May") == MAY
    assert store.at("close of May").moment == store.at("the same").moment == MAY


def test_calls_that_take_a_moment_take_a_tag(store: Store) -> None:
    store.extend("series", (1, 1.0))
    store["price"] = 10
    store.apply("account", {"owner": "Ada"})
    repository = Repository(store, Account)
    repository.create("1", owner="Ada")
    store.tag("then")
    store.extend("series", (2, 2.0))
    store["price"] = 11
    store.apply("account", {"owner": "Eve"})
    repository.do("1", lambda _: {"owner": "Eve"})
    store.tag("end")

    assert store.past("account", "then") == {"owner": "Ada"}
    assert repository.at("then")["1"] == repository.past("1", "then") == Account("Ada")
    assert repository.diff("1", "then", "end").changed == {"owner": ("Ada", "Eve")}
    assert store.diff("account", "then", "end").changed == {"owner": ("Ada", "Eve")}
    assert store.diff("price", "then", "end", "kv").changed == {"price": (10, 11)}
    assert store.diff("series", "then", "end", "ts").added == {2: 2.0}
    assert [change.value for change in store.log(since="then", kind="kv")] == [11]
    assert [change.value for change in store.log(until="then", kind="kv")] == [10]
    assert store.at("end").at("then")["price"] == 10
    assert [change.value for change in store.at("end").log(until="then", kind="kv")] == [10]
    assert store.revert("account", "then") == {"owner": "Ada"}
    store.revert("price", "then", "kv")
    store.revert("series", "then", "ts")
    assert (store["price"], store.range("series")) == (10, [(1, 1.0)])


def test_compact_keeps_what_a_tag_needs_if_it_is_told_to(store: Store) -> None:
    for n in range(3):
        store["price"] = n
        store.apply("account", {"n": n}, t=n)
        if n == 1:
            store.tag("then")
    assert store.prune("account", before="then").records == 1
    assert store.compact("then").records == 1
    assert store.at("then")["price"] == 1
    store.compact()
    assert "price" not in store.at("then")
    assert names(store) == ["then"]


def test_tags_come_in_order_of_their_moments(store: Store) -> None:
    assert store.tags() == []
    for name, moment in {"c": 2000, "a": 3000, "b": 1000, "B": 1000}.items():
        store.tag(name, moment)
    assert names(store) == ["B", "b", "c", "a"]


def test_a_tag_has_a_history(store: Store) -> None:
    with store.context(who="ada", why="audited"):
        store.tag("audit", 1000)
    with pytest.raises(StoreIntegrityError, match="'audit' stands for 1000 already: pass move=True"):
        store.tag("audit", 2000)
    store.tag("audit", 1000)  # nothing changes
    with store.context(who="eve"):
        store.tag("audit", 2000, move=True)
        store.untag("audit")
    assert store.tags() == []
    store.tag("audit", 3000)
    told = [(tag.moment, tag.who, tag.why) for tag in store.tag_history("audit")]
    assert told == [(1000, "ada", "audited"), (2000, "eve", None), (None, "eve", None), (3000, None, None)]
    assert store.tag_history("other") == []


def test_a_view_has_the_tags_of_its_time(store: Store) -> None:
    with freeze_time("2026-01-01") as clock:
        store.tag("a", 1000)
        clock.tick(10)
        then = store.tag("then")
        clock.tick(10)
        store.tag("a", 2000, move=True)
        store.tag("b", 1000)
        view = store.at(then)
        assert [tag[:2] for tag in view.tags()] == [("a", 1000), ("then", then)]
        assert view.at("a").moment == 1000
        assert [tag.moment for tag in view.tag_history("a")] == [1000]
        with pytest.raises(ValueError, match="'b' is no time"):
            view.at("b")
        for refused in (view.tag, view.untag):
            with pytest.raises(FrozenStoreError):
                refused("c")


@pytest.mark.parametrize("name", ["2026-05-01", "2026-05-01T09:00", "20260501", "2026-W01", "17", "-5", " 17 "])
def test_a_time_is_no_name_of_a_tag(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="is a number or a time, and can't be the name of a tag"):
        store.tag(name)


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "x" * 2000])
def test_a_name_that_cannot_be_stored_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="a tag"):
        store.tag(name)
    with pytest.raises(ValueError, match="is no time"):
        store.at(name)


def test_other_names_are_as_keys_are(store: Store) -> None:
    for name in ("now", "ä:{}*", "a/b\n", "x" * 1024, "🏷"):
        moment = store.tag(name)
        assert store.at(name).moment == moment


def test_an_unknown_tag_tells_the_tags_near_it(store: Store) -> None:
    store.tag("Close of May", 1)
    store.tag("close of March", 2)
    store.tag("removed", 3)
    store.untag("removed")
    near = "the tags nearest to it are 'Close of May', 'close of March'"
    with pytest.raises(ValueError, match=f"'CLOSE OF MAI' is no time: .*; {near}"):
        store.at("CLOSE OF MAI")
    with pytest.raises(ValueError, match=r"+01:00$".replace("+", r"\+")):
        store.at("removed")
    with pytest.raises(ValueError, match=f"there is no tag 'close of Mai'; {near}"):
        store.untag("close of Mai")


def test_a_tag_in_a_transaction_comes_with_the_rest(store: Store) -> None:
    def fail(inside: Store) -> None:
        inside.tag("lost", 1000)
        assert names(inside) == ["lost"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transact(fail)
    assert store.tags() == []
    store.transact(lambda inside: inside.tag("kept", 1000))
    assert names(store) == ["kept"]


def test_tags_are_not_among_the_keys_and_changes(store: Store) -> None:
    store.tag("a")
    assert (len(store), list(store.log()), list(store.follow()), store.eventsources()) == (0, [], [], [])
    assert info(store).tags == ["a"]
    assert info(store).records == {"tag": 1}
    assert list(check(store)) == []


def test_a_frozen_store_reads_tags(backend: Backend) -> None:
    if backend.name == "memory":
        return  # each one is a store of its own
    store = backend.store()
    store.tag("a", 1000)
    frozen_one = backend.store(frozen=True)
    assert frozen_one.at("a").moment == 1000
    with pytest.raises(FrozenStoreError):
        frozen_one.tag("b")


def test_copies_have_the_tags(tmp_path: Path, store: Store, key: str | None) -> None:
    with store.context(who="ada"):
        store.tag("a", 1000)
    store.tag("gone", 2000)
    store.untag("gone")
    saved = tmp_path / "saved.jsonl"
    export(store, saved)
    other = new_key() if key else None
    for fill in (lambda into: copy(store, into), lambda into: load(into, saved)):
        with Store("memory://", key=key, frozen=False) as into:
            fill(into)
            assert into.tags() == store.tags()
            assert into.tag_history("gone") == store.tag_history("gone")
            assert digest(into) == digest(store)
    with Store("memory://", "elsewhere", key=other, frozen=False) as into:
        copy(store, into)
        assert into.tags() == store.tags()


def test_rekey_seals_tags_anew(backend: Backend) -> None:
    old, new = new_key(), new_key()
    store = backend.store(key=old)
    store.tag("a", 1000)
    rekeyed = backend.store(key=[new, old])
    assert rekeyed.rekey() == 1
    assert [tag[:2] for tag in backend.store(key=new).tags()] == [("a", 1000)]
    with pytest.raises(StorePayloadError):
        backend.store(key=old).at("a")


def test_nothing_of_a_tag_but_its_name_is_in_clear(backend: Backend) -> None:
    store = backend.store(key=new_key())
    with store.context(who="ada"):
        store.tag("a", MAY)
    _, _, record = next(each for each in store._core.base.follow() if each[1] == Stream(TAG, "a"))
    assert (record.start, record.end, record.item) == (0, 0, "")
    assert str(MAY).encode() not in record.data
    assert b"ada" not in record.meta


@pytest.mark.parametrize("words", [{}, {"at": "x"}, {"at": True}, {"at": 2**63}], ids=str)
def test_a_damaged_tag_is_told_of(store: Store, words: dict[str, Any]) -> None:
    stream = Stream(TAG, "a")
    entry = store._core.envelope.entry(stream, "tag", note_body(words), start=0, end=0)
    store._core.append([Batch(stream, (entry,), 1)])
    calls: list[Callable[[], Any]] = [store.tags, lambda: store.at("a"), lambda: store.tag("a", 1, move=True)]
    for call in calls:
        with pytest.raises(StorePayloadError, match=r"tag 'a' in namespace .*name no moment"):
            call()


def test_a_tag_of_a_newer_version_is_told_of(store: Store) -> None:
    stream = Stream(TAG, "a")
    entry = store._core.envelope.entry(stream, "shift", note_body({"at": 1}), start=0, end=0)
    store._core.append([Batch(stream, (entry,), 1)])
    with pytest.raises(StorePayloadError, match="a newer rstore wrote it"):
        store.at("a")


def test_a_store_with_its_own_format_has_tags(backend: Backend) -> None:
    class Texts(Store):
        def _dump(self, value: Any) -> str:
            return str(value)

        def _load(self, data: Any) -> Any:
            raise AssertionError("a tag is no value")

    store = backend.store(Texts)
    store.tag("a", 1000)
    assert store.tags() == [Tag("a", 1000, store.tags()[0].recorded, None, None)]


def test_two_who_set_one_tag_at_once_do_not_overwrite_each_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    append = store._core.writer.append

    def after_another(batches: Any) -> Any:
        monkeypatch.undo()
        store.tag("a", 2000)
        return append(batches)

    monkeypatch.setattr(store._core.writer, "append", after_another)
    with pytest.raises(StoreIntegrityError, match="'a' stands for 2000 already"):
        store.tag("a", 1000)
    assert [tag.moment for tag in store.tag_history("a")] == [2000]


def test_a_check_knows_the_operators_of_tags(store: Store) -> None:
    stream = Stream(TAG, "a")
    entry = store._core.envelope.entry(stream, "setitem", note_body({"at": 1}), start=0, end=0)
    store._core.append([Batch(stream, (entry,), 1)])
    assert [problem for problem in check(store) if "does not belong to its kind" in str(problem)]


def hide_tags(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed of a store show no tag, as if it were lost, or a transaction in progress still hid it."""
    log = store._core.base
    follow = log.follow

    def lagging(after: Any = None) -> Iterator[Any]:
        return (each for each in follow(after) if each[1].kind != TAG)

    monkeypatch.setattr(log, "follow", lagging)


def test_a_check_finds_a_tag_that_the_feed_has_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.tag("a", 1000)
    store["later"] = 1  # what comes after all that the feed shows may have been written meanwhile
    hide_tags(store, monkeypatch)
    assert {(problem.kind, problem.key) for problem in check(store)} == {(TAG, "a")}


def test_a_rekey_does_not_forget_a_tag_that_the_feed_hides(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.admin.rekey._WAITS", 1)
    old, new = new_key(), new_key()
    backend.store(key=old).tag("a", 1000)
    store = backend.store(key=[new, old])
    with monkeypatch.context() as patch:
        hide_tags(store, patch)
        with pytest.raises(StoreError, match="not everything is encrypted with the first key yet"):
            store.rekey()
    assert store.rekey() == 1
