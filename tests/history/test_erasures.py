"""What prune, compact and rekey took away or changed is told by the log, though not what it was."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rstore import Change, Erasure, FrozenStoreError, Reclaimed, Store, StoreError
from rstore.adapters.memory import MemoryLog, Space
from rstore.admin.check import check, info
from rstore.domain.erasure import ERASURES, RANGES, WEIGHT, Plan, erased_by, measured, ranges
from rstore.domain.log import Log, Rewrite
from rstore.domain.streams import Stream
from rstore.transfer import copy, export, load
from tests.conftest import KEY, OTHER_KEY, Backend

NOON = 1_704_110_400_000
"""2024-01-01 12:00 UTC in POSIX milliseconds."""


@pytest.fixture
def clock() -> Iterator[Any]:
    """Noon, for as long as nobody moves the clock."""
    with freeze_time("2024-01-01 12:00:00") as clock:
        yield clock


def fill(store: Store) -> None:
    """Write what leaves something to be erased, of each kind."""
    for n in range(5):
        store["price"] = n
        store.apply("account", {"n": n, "sum": n if n == 0 else (operator.add, n)})
        store.extend("series", (n, n))
    store["gone"] = 1
    del store["gone"]


def erasures(store: Store, **wanted: Any) -> list[Change]:
    return [change for change in store.log(**wanted) if isinstance(change.value, Erasure)]


def records_of(log: Log) -> dict[tuple[str, str, int], int]:
    return {(*stream, record.version): len(record.data) for _, stream, record in log.follow()}


def listed(changes: Sequence[Change]) -> set[tuple[str, str, int]]:
    return {
        (each.kind, each.key, version)
        for change in changes
        for each in change.value.streams
        for first, last in each.versions
        for version in range(first, last + 1)
    }


class TestTheLog:
    def test_says_who_pruned_what_and_why(self, store: Store) -> None:
        fill(store)
        versions = [change.version for change in store.history("account") if change.item == "n"]
        with store.context(who="ada", why="ticket 42", request=7):
            saved = store.prune("account")
        (change,) = erasures(store)
        assert (change.op, change.kind, change.key) == ("prune", "es", "account")
        assert (change.item, change.timestamp) == ("", None)
        assert (change.who, change.why, change.more) == ("ada", "ticket 42", {"request": 7})
        assert (change.value.records, change.value.bytes) == saved
        (erased,) = change.value.streams
        assert listed([change]) == {("es", "account", version) for version in versions[:-1]}
        assert (erased.kind, erased.key, erased.records, erased.sha256) == ("es", "account", 4, None)

    def test_lists_exactly_the_records_that_went(self, store: Store, backend: Backend) -> None:
        fill(store)
        before = records_of(backend.log())
        store.compact()
        after, changes = records_of(backend.log()), erasures(store)
        merged = {each for each in after if each[0] == "ts"}  # they have the versions of what they replace
        assert listed(changes) == (before.keys() - after.keys()) | merged
        assert sum(change.value.bytes for change in changes) == sum(before[each] for each in listed(changes))
        assert [(change.op, change.kind) for change in changes] == [("compact", kind) for kind in ("kv", "ts", "es")]

    def test_has_the_digest_of_what_was_put_instead(self, store: Store, backend: Backend) -> None:
        fill(store)
        store.compact()
        (change,) = erasures(store, kind="ts")
        put = [record.data for _, stream, record in backend.log().follow() if stream == ("ts", "series")]
        assert [each.sha256 for each in change.value.streams] == [measured(put)[1]]

    def test_does_not_show_what_was_erased(self, store: Store, backend: Backend) -> None:
        store["secret"] = "Methuselah"
        store["secret"] = "new"
        store.compact()
        assert [change.op for change in store.history("secret")] == ["setitem", "compact"]
        assert "Methuselah" not in repr(list(store.log()))
        assert not any(b"Methuselah" in record.data for _, _, record in backend.log().follow())

    def test_shows_an_erasure_of_several_keys_as_that_of_the_keys_that_were_asked_for(self, store: Store) -> None:
        for key in ("a", "ab", "b"):
            store[key] = 1
            store[key] = "twice"
        store.compact()
        (change,) = erasures(store)
        assert (change.kind, change.key, change.value.records) == ("kv", "", 3)
        (narrowed,) = erasures(store, prefix="a")
        assert ([each.key for each in narrowed.value.streams], narrowed.value.records) == (["a", "ab"], 2)
        assert erasures(store, prefix="c") == erasures(store, kind="ts") == []
        assert [(change.key, change.op) for change in store.history("a")] == [("a", "setitem"), ("a", "compact")]
        assert store.history("a", "es") == []
        assert store.history("c") == []

    def test_filters_erasures_by_who(self, store: Store) -> None:
        fill(store)
        with store.context(who="ada"):
            store.prune("account")
        with store.context(who="eve"):
            store.compact()
        assert [change.op for change in store.log(who="ada")] == ["prune"]

    def test_says_nothing_where_nothing_was_erased(self, store: Store) -> None:
        store["a"] = 1
        store.apply("e", {"n": 1})
        assert (store.compact(), store.prune("e"), store.prune("unknown"), store.prune()) == (Reclaimed(0, 0),) * 4
        assert erasures(store) == []

    def test_of_a_view_shows_erasures_up_to_its_time(self, store: Store, clock: Any) -> None:
        fill(store)
        clock.tick(10)
        store.compact()
        assert [isinstance(change.value, Erasure) for change in store.at(NOON + 9000).history("price")] == [False]
        assert [change.op for change in store.at(NOON + 10_000).history("price")][-1] == "compact"

    def test_survives_the_next_compact(self, store: Store) -> None:
        fill(store)
        store.compact()
        before = erasures(store)
        store["price"] = "again"
        store.compact()
        assert erasures(store)[:3] == before

    def test_of_a_sequence_whose_key_is_gone_still_tells_of_it(self, store: Store) -> None:
        store.apply("e", {"n": 1})
        store.apply("e", {"n": (operator.delitem, None)})
        store.prune("e")
        assert store.eventsources() == []
        assert [change.op for change in store.history("e")] == ["prune"]

    def test_with_a_key_shows_no_erasure_to_others(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        fill(store)
        with store.context(who="ada"):
            store.compact()
        (found, *_) = [record for _, stream, record in backend.log().follow() if stream == ERASURES]
        assert b"ada" not in found.data + (found.meta or b"")
        assert b"price" not in found.data


class TestFollowers:
    def test_with_an_old_checkpoint_see_an_erasure_once(self, store: Store) -> None:
        fill(store)
        *_, (checkpoint, _) = store.follow()
        store.prune("account")
        [(after, change)] = store.follow(after=checkpoint)
        assert (change.op, change.key) == ("prune", "account")
        assert list(store.follow(after=after)) == []
        assert list(store.follow(after=checkpoint, kind="kv")) == []

    def test_projections_are_not_fed_with_erasures(self, store: Store) -> None:
        fill(store)
        store.compact()
        fed: list[str] = []
        store.project("all", lambda change, _: fed.append(change.op))
        assert fed
        assert "compact" not in fed


class TestIntent:
    def test_is_stored_before_anything_goes(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(store)

        def fails(_: Sequence[Rewrite]) -> Reclaimed:
            raise StoreError("the disk is full")

        before = list(store.log())
        monkeypatch.setattr(store._core.base, "rewrite", fails)
        with pytest.raises(StoreError, match="the disk is full"):
            store.prune("account")
        assert list(store.log())[:-1] == before
        assert [change.value.records for change in erasures(store)] == [4]

    def test_is_not_told_again_when_others_come_in_between(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, other = backend.store(), backend.store()
        fill(store)
        rewrite, tries = store._core.base.rewrite, []

        def meanwhile(rewrites: Sequence[Rewrite]) -> Reclaimed:
            tries.append(len(erasures(store)))
            if len(tries) == 1:
                other.apply("account", {"n": "new"})
            return rewrite(rewrites)

        monkeypatch.setattr(store._core.base, "rewrite", meanwhile)
        saved = store.prune("account")
        assert tries == [1, 2]  # each attempt is told before it erases
        assert [change.value.records for change in erasures(store)] == [4, 1]
        assert saved.records == 5

    def test_what_is_erased_is_no_part_of_a_transaction(self, store: Store) -> None:
        fill(store)
        with store.transaction():
            store["price"] = "new"
            for erase in (lambda: store.prune("account"), store.compact):
                with pytest.raises(StoreError, match="can't be part of a transaction"):
                    erase()
        assert (store["price"], erasures(store)) == ("new", [])


class TestDryRun:
    def test_returns_what_the_erasure_will_save_and_changes_nothing(self, store: Store, backend: Backend) -> None:
        fill(store)
        for n in range(300):  # more than it takes for a snapshot
            store.apply("many", {"n": n})
        before = list(backend.log().follow())
        pruned, compacted = store.prune("many", dry_run=True), store.compact(dry_run=True)
        assert list(backend.log().follow()) == before
        assert pruned.records >= 299
        assert (store.prune("many"), store.compact()) == (
            pruned,
            Reclaimed(compacted.records - pruned.records, compacted.bytes - pruned.bytes),
        )
        assert store.compact(dry_run=True) == Reclaimed(0, 0)

    def test_with_before_is_the_same_too(self, store: Store, clock: Any) -> None:
        for _ in range(3):
            fill(store)
            clock.tick(1)
        for moment in (NOON - 1, NOON, NOON + 1000, NOON + 9000):
            planned = store.compact(moment, dry_run=True)
            assert store.compact(moment) == planned

    def test_is_open_to_a_frozen_store(self, backend: Backend) -> None:
        fill(backend.store())
        frozen = backend.store(frozen=True)
        assert frozen.prune("account", dry_run=True).records == 4
        assert frozen.compact(dry_run=True).records > 4
        with pytest.raises(FrozenStoreError):
            frozen.compact()


STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "delete", "apply", "end", "extend", "remove"]), st.sampled_from("ab")),
    max_size=40,
)


@given(STEPS)
def test_whatever_was_written_a_dry_run_returns_what_the_erasure_saves(steps: list[tuple[str, str]]) -> None:
    store = Store(lambda namespace, frozen: MemoryLog(Space(), namespace, frozen), frozen=False, key=KEY)
    with store:
        for n, (step, key) in enumerate(steps):
            match step:
                case "set":
                    store[key] = n
                case "delete":
                    store.delete(key)
                case "apply":
                    store.apply(key, {"n": n, f"m{n % 3}": n})
                case "end":
                    store.apply(key, dict.fromkeys(store.current(key) or {}, (operator.delitem, None)))
                case "extend":
                    store.extend(key, (n % 5, n))
                case "remove":
                    store.remove(key, start=1, end=3)
        planned = store.compact(dry_run=True)
        assert store.compact() == planned
        assert store.compact(dry_run=True) == Reclaimed(0, 0)
        assert list(check(store)) == []


class TestWhatBelongsToIt:
    def test_check_finds_nothing_wrong_and_info_counts_it(self, store: Store) -> None:
        fill(store)
        store.compact()
        assert list(check(store)) == []
        assert info(store).records == {"erasure": 3, "es": 6, "kv": 1, "ts": 1}

    def test_copies_take_it_along(self, store: Store, backend: Backend, key: str | None) -> None:
        fill(store)
        with store.context(who="ada"):
            store.compact()
        other = backend.store(namespace="other", key=key)
        copy(store, other)
        assert list(other.log()) == list(store.log())
        assert list(check(other)) == []

    def test_exports_take_it_along(self, store: Store, backend: Backend, key: str | None, tmp_path: Any) -> None:
        fill(store)
        store.compact()
        log = list(store.log())
        export(store, tmp_path / "saved.jsonl")
        store.discard()
        assert list(store.log()) == []
        load(store, tmp_path / "saved.jsonl")
        assert list(store.log()) == log

    def test_rekey_tells_of_itself_and_encrypts_erasures_anew(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        fill(store)
        store.compact()
        before = list(store.log())
        both = backend.store(key=[OTHER_KEY, KEY])
        with both.context(who="eve", why="the old key leaked"):
            assert both.rekey() > 0
            assert both.rekey() == 0
        new = backend.store(key=OTHER_KEY)
        *rest, change = new.log()
        assert rest == before
        assert change[3:7] == ("rekey", Erasure((), None, None), "eve", "the old key leaked")
        assert (change.kind, change.key) == ("", "")
        assert [change.op for change in erasures(new, kind="kv")] == ["compact"]
        assert list(check(new)) == []


class TestSize:
    """However much goes, an erasure stays small; however many keys there are, there are few erasures."""

    def test_many_keys_are_told_together(self, backend: Backend) -> None:
        store = backend.store()
        keys = [f"key {n:04}" for n in range(600)]
        for n in range(2):
            store.set_many(dict.fromkeys(keys, n))
        store.compact()
        found = [record for _, stream, record in backend.log().follow() if stream == ERASURES]
        assert 1 < len(found) < 20
        assert all(len(record.data) < 2 * WEIGHT for record in found)
        assert [change.value.records for change in store.history(keys[300]) if change.op == "compact"] == [1]
        assert sum(change.value.records for change in erasures(store)) == 600

    def test_a_long_story_is_told_in_pieces(self) -> None:
        gone = [(version, 10) for version in range(0, 20 * RANGES, 2)]
        found = list(erased_by([Plan((), {Stream("es", "k"): gone})], {}))
        assert all(len(each.versions) <= RANGES for some in found for each in some)
        assert sum(each.records for some in found for each in some) == len(gone)
        assert sum(each.bytes for some in found for each in some) == 10 * len(gone)

    @given(st.sets(st.integers(0, 60)))
    def test_ranges_are_the_versions(self, versions: set[int]) -> None:
        found = list(ranges(sorted(versions)))
        assert [version for first, last in found for version in range(first, last + 1)] == sorted(versions)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(found))
