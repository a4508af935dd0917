"""Pairs that are more than memory holds: stored all or none, as if they had been a dict."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstore import Store
from rstore.domain.capabilities import PagedAppendable
from rstore.domain.log import Batch, Entry
from rstore.domain.paging import pages
from rstore.domain.streams import KV, Stream
from rstore.models.spool import Reiterable
from tests.conftest import KEY, Backend

MANY = 2_000
BATCHES = [Batch(Stream(KV, f"{n:05}"), [Entry(0, 0, "", "setitem", b"")], 1) for n in range(9_000)]


PAGED = ("sqlite", "postgresql")
"""The backends that take pages."""


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pairs go to a file, and into the log page by page, after about 200 of them."""
    monkeypatch.setattr("rstore.models.keyvalues._ROOM", 100_000)


def squares(number: int = MANY) -> Iterator[tuple[str, int]]:
    return ((f"square {n:04}", n * n) for n in range(number))


def test_pairs_of_an_iterator_are_stored(store: Store) -> None:
    store.set_many(squares())
    assert dict(store.items()) == dict(squares())
    assert len(store) == MANY

    store.set_many((key, -value) for key, value in squares())
    assert store.get_many(key for key, _ in squares()) == {key: -value for key, value in squares()}
    assert [change.value for change in store.history("square 0009", "kv")] == [81, -81]


def test_update_is_as_lazy_and_takes_what_dict_takes(store: Store) -> None:
    class Keyed:
        def keys(self) -> list[str]:
            return ["a", "b"]

        def __getitem__(self, key: str) -> str:
            return key.upper()

    store.update(squares(), last=1)
    store.update(Keyed())
    assert dict(store.items()) == {**dict(squares()), "last": 1, "a": "A", "b": "B"}


def test_the_last_value_of_a_key_counts_however_far_apart(store: Store) -> None:
    def pairs() -> Iterator[tuple[str, Any]]:
        yield "twice", "first"
        yield from squares()
        yield "twice", "last"

    store.set_many(pairs())
    store.set_many(pairs())
    assert store["twice"] == "last"
    assert len(store) == MANY + 1
    assert store.history("twice", "kv")[-1].value == "last"


def test_a_bad_pair_at_the_end_leaves_nothing_behind(store: Store) -> None:
    store["square 0001"] = "before"

    def pairs(bad: Any) -> Iterator[Any]:
        yield from squares()
        yield bad

    for bad, error in [(("\0", 1), ValueError), ((1, 1), TypeError), (1, TypeError), ((1, 2, 3), ValueError)]:
        with pytest.raises(error):
            store.set_many(pairs(bad))
    with pytest.raises(ValueError, match=f"item {MANY} is no .* but tuple; nothing is stored"):
        store.set_many(pairs(("a", "b", "c")))
    assert dict(store.items()) == {"square 0001": "before"}


def test_the_iterator_may_use_the_store_itself(store: Store) -> None:
    store.set_many(squares())

    def doubled() -> Iterator[tuple[str, int]]:
        for key, value in store.items():
            if key == "square 1000":
                store["in between"] = -1
            yield key, 2 * value

    store.set_many(doubled())
    assert store["square 0003"] == 18
    assert store["in between"] in (-1, -2)
    assert len(store) == MANY + 1


def test_all_pairs_are_of_one_time_also_where_a_later_page_has_a_key_of_the_future(store: Store) -> None:
    with freeze_time("2030-01-01", tz_offset=0):
        store[f"square {MANY - 1:04}"] = "set by a clock that is ahead"
        store.apply("an event sequence", {"n": 1})
    with freeze_time("2026-01-01", tz_offset=0):
        store.set_many(squares())

    changes = [change for change in store.log(kind="kv") if change.value != "set by a clock that is ahead"]
    assert len(changes) == MANY
    assert len({change.recorded for change in changes}) == 1
    assert store[f"square {MANY - 1:04}"] == (MANY - 1) ** 2


def test_a_transaction_takes_them_too(store: Store) -> None:
    with store.transaction():
        store["square 0001"] = "before"
        store.set_many(squares())
        assert store["square 0003"] == 9
    assert dict(store.items()) == dict(squares())

    def fail() -> None:
        with store.transaction():
            store.set_many((key, "never") for key, _ in squares())
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert dict(store.items()) == dict(squares())


def test_without_history_each_key_keeps_one_value(backend: Backend) -> None:
    store = backend.store(history=False)
    for factor in (1, 2, 3):
        store.set_many((key, factor * value) for key, value in squares())
    assert dict(store.items()) == {key: 3 * value for key, value in squares()}
    assert len(list(store.log())) == MANY


def test_a_follower_misses_none(store: Store) -> None:
    store.set_many(squares())
    checkpoint, _ = list(store.follow())[-1]
    store.set_many((key, -value) for key, value in squares())
    followed = [(change.key, change.value) for _, change in store.follow(checkpoint)]
    assert sorted(followed) == [(key, -value) for key, value in squares()]


def test_the_context_goes_with_each_of_them(store: Store) -> None:
    with store.context(who="ada", why="import"):
        store.set_many(squares())
    assert {(change.who, change.why) for change in store.log()} == {("ada", "import")}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers()), max_size=40), max_size=4))
def test_it_does_what_a_dict_does(backend: Backend, monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
    monkeypatch.setattr("rstore.models.keyvalues._ROOM", 2_000)  # about four pairs
    store = backend.store(namespace=f"of {os.urandom(8).hex()}")
    model: dict[str, int] = {}
    for pairs in calls:
        store.set_many(iter(pairs))
        model.update(pairs)
        assert dict(store.items()) == model
        assert len(store) == len(model)
    for key, value in model.items():
        assert store.history(key, "kv")[-1].value == value


def test_these_backends_take_pages(backend: Backend) -> None:
    assert isinstance(backend.log(), PagedAppendable) == (backend.name in PAGED)


@pytest.mark.parametrize("backend", PAGED, indirect=True)
def test_an_error_on_a_later_page_leaves_nothing_behind(backend: Backend) -> None:
    log = backend.log()
    assert isinstance(log, PagedAppendable)

    def broken() -> Iterator[list[Batch]]:
        yield from pages(BATCHES, 3_000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log.append_pages(broken())
    assert (log.counts([KV])[0], list(log.follow())) == (0, [])
    log.append_pages(pages(BATCHES, 3_000))
    assert log.counts([KV])[0] == 9_000


@pytest.mark.parametrize("backend", PAGED, indirect=True)
def test_pages_are_iterated_over_again_where_a_later_one_has_a_key_of_the_future(backend: Backend) -> None:
    log = backend.log()
    assert isinstance(log, PagedAppendable)
    log.append([BATCHES[-1]._replace(recorded=7)])
    log.append_pages(Reiterable(lambda: pages(BATCHES, 3_000)))
    followed = [(stream, record.recorded) for _, stream, record in log.follow()]
    assert followed == [(BATCHES[-1].stream, 7), *((batch.stream, 7) for batch in BATCHES)]
    assert log.counts([KV])[0] == 9_000


def test_what_lies_in_the_file_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file of an encrypted store holds no value in clear."""
    written: list[bytes] = []
    monkeypatch.setattr("rstore.models.spool.marshal.dump", lambda items, *_: written.append(repr(items).encode()))
    with Store(tmp_path / "a.db", key=KEY, frozen=False) as store, pytest.raises((EOFError, ValueError)):
        store.set_many((f"k{n}", "a secret value") for n in range(MANY))
    assert written
    assert not any(b"secret" in page for page in written)


def test_a_second_writer_has_to_wait_no_longer_than_the_pages_take(tmp_path: Path) -> None:
    """No lock is held while the iterator runs."""
    with (
        Store(f"sqlite://{tmp_path}/a.db?timeout=0.2", frozen=False) as store,
        Store(f"sqlite://{tmp_path}/a.db?timeout=0.2", frozen=False) as other,
    ):

        def pairs() -> Iterator[tuple[str, int]]:
            for key, value in squares():
                other.apply("count", {"n": 1} if value == 0 else {"n": (operator.add, 1)})
                yield key, value

        store.set_many(pairs())
        assert other.current("count") == {"n": MANY}
        assert len(store) == MANY


def test_on_a_full_disk_nothing_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with Store(tmp_path / "a.db", frozen=False) as store:
        monkeypatch.setattr("rstore.models.spool.marshal.dump", full)
        with pytest.raises(OSError, match="No space left"):
            store.set_many(squares())
        assert len(store) == 0
