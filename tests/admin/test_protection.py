"""A write that its rightful reader could not read is refused before anything is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rstore import (
    FrozenStoreError,
    Repository,
    Store,
    StoreError,
    StoreMissingKeyError,
    StoreProtectedError,
    StoreWrongKeyError,
    new_key,
)
from rstore.admin.check import check, info
from rstore.domain.log import Batch, Entry, Log, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import Stream
from rstore.protection import STREAM
from rstore.transfer import copy, digest, export, load
from tests.conftest import KEY, OTHER_KEY, Backend, in_turn

WRITES: dict[str, Callable[[Store], Any]] = {
    "set": lambda s: s.set("k", 2),
    "set_many": lambda s: s.set_many({"k": 2, "l": 3}),
    "delete": lambda s: s.delete("k"),
    "apply": lambda s: s.apply("new", {"n": 1}),
    "delete_events": lambda s: (s.apply("new", {"n": 1}), s.delete_events("new")),
    "extend": lambda s: s.extend("new", (1, 2)),
    "extend of many": lambda s: s.extend("new", ((i, "x" * 5000) for i in range(9000))),
    "set once": lambda s: s.set("k", 2, once="token"),
    "transaction": lambda s: s.transact(lambda inside: inside.set("k", 2)),
    "projection": lambda s: s.project("p", lambda change, inside: None, kind="ts", rebuild=True),
}


def written(log: Log) -> list[tuple[Stream, int]]:
    return [(stream, record.version) for _, stream, record in log.follow()]


def checks(log: Log) -> int:
    return len(list(log.read(STREAM)))


def as_before(backend: Backend, log: Log) -> None:
    """Take the check values away: what was written before there were any looks like that."""
    log.rewrite([Rewrite(STREAM, None, range(TIME_MAX), live=False)])
    assert checks(log) == 0


@in_turn(("name", "history"), [(name, history) for name in WRITES for history in (True, False)])
def test_a_writer_with_another_key_is_refused_before_anything_is_stored(
    backend: Backend, name: str, history: bool
) -> None:
    namespace = f"{name} {history}"
    backend.store(namespace=namespace, key=KEY).set("k", 1)
    before = written(backend.log(namespace))
    with pytest.raises(StoreWrongKeyError, match=r"key=\[new, old\].*other_key=True.*nothing was stored") as refused:
        WRITES[name](backend.store(namespace=namespace, key=OTHER_KEY, history=history))
    assert written(backend.log(namespace)) == before
    assert OTHER_KEY not in str(refused.value)
    assert backend.store(namespace=namespace, key=KEY)["k"] == 1


def test_the_first_write_stores_one_check_value_and_later_ones_store_nothing_besides(backend: Backend) -> None:
    store = backend.store(key=KEY)
    assert written(backend.log()) == []
    store["a"] = 1
    store["b"] = 2
    backend.store(key=KEY)["c"] = 3
    assert checks(backend.log()) == 1
    assert len(written(backend.log())) == 4


def test_a_write_that_fails_leaves_no_check_value(backend: Backend) -> None:
    store = backend.store(key=KEY)
    with pytest.raises(StoreError):
        store.set("k", 1, expect=7)
    assert written(backend.log()) == []
    store["k"] = 1
    assert checks(backend.log()) == 1


def test_a_write_and_its_check_value_are_stored_together(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    (value,) = backend.log().read(STREAM)
    (other,) = backend.log().read(Stream("kv", "k"))
    assert value.recorded == other.recorded


def test_a_transaction_that_only_reads_stores_nothing(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    store = backend.store(key=OTHER_KEY)
    with store.transaction():
        assert "k" in store
        assert "l" not in store
    assert checks(backend.log()) == 1


def test_other_key_says_that_both_are_meant(backend: Backend) -> None:
    backend.store(key=KEY)["mine"] = 1
    backend.store(key=OTHER_KEY, other_key=True)["yours"] = 2
    backend.store(key=OTHER_KEY)["yours"] = 3  # once is enough
    backend.store(key=KEY)["mine"] = 4
    assert dict(backend.store(key=[KEY, OTHER_KEY])) == {"mine": 4, "yours": 3}
    assert checks(backend.log()) == 2


def test_of_two_first_writers_with_different_keys_one_is_refused(backend: Backend) -> None:
    for number in range(3):
        namespace, start = str(number), threading.Barrier(2)
        stores = [backend.store(namespace=namespace, key=each) for each in (KEY, OTHER_KEY)]
        refused: list[StoreWrongKeyError] = []

        def write(store: Store) -> None:
            start.wait()  # noqa: B023  # joined below
            try:
                store["k"] = 1
            except StoreWrongKeyError as exc:
                refused.append(exc)  # noqa: B023

        threads = [threading.Thread(target=write, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 1
        assert len(written(backend.log(namespace))) == 2


def test_of_two_first_writers_with_the_same_key_both_may_write(backend: Backend) -> None:
    stores, start = [backend.store(key=KEY) for _ in range(4)], threading.Barrier(4)

    def write(number: int) -> None:
        start.wait()
        stores[number][str(number)] = number

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backend.store(key=KEY)) == 4
    assert checks(backend.log()) == 1


def test_during_a_rotation_all_three_may_write_and_after_a_rekey_not_the_old_key_alone(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    backend.store(key=[OTHER_KEY, KEY])["k"] = 2
    backend.store(key=OTHER_KEY)["k"] = 3
    backend.store(key=KEY)["k"] = 4
    backend.store(key=[OTHER_KEY, KEY]).rekey()
    before = written(backend.log())
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=KEY)["k"] = 5
    assert written(backend.log()) == before
    backend.store(key=OTHER_KEY)["k"] = 6
    assert checks(backend.log()) == 1
    assert list(check(backend.store(key=OTHER_KEY))) == []


def test_a_rekey_counts_neither_check_values_nor_policies(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["k"] = 1
    store.protect()
    assert backend.store(key=[OTHER_KEY, KEY]).rekey() == 1
    assert backend.store(key=[OTHER_KEY, KEY]).rekey() == 0
    assert backend.store(key=OTHER_KEY).is_protected()
    assert list(check(backend.store(key=OTHER_KEY))) == []


def test_what_was_written_before_there_were_check_values_is_written_on_by_its_own_keys_only(backend: Backend) -> None:
    backend.store(key=KEY).apply("counter", {"n": 1})
    as_before(backend, backend.log())
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=OTHER_KEY)["k"] = 1
    assert backend.store(key=KEY, frozen=True).current("counter") == {"n": 1}
    assert checks(backend.log()) == 0
    backend.store(key=KEY)["k"] = 2
    assert checks(backend.log()) == 1


def test_other_key_does_not_lock_out_who_wrote_before_there_were_check_values(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    as_before(backend, backend.log())
    backend.store(key=OTHER_KEY, other_key=True)["l"] = 2
    backend.store(key=KEY)["k"] = 3
    assert checks(backend.log()) == 2


def test_values_in_clear_are_no_reason_to_refuse_a_key(backend: Backend) -> None:
    backend.store()["plain"] = 1
    backend.store(key=KEY)["secret"] = 2
    backend.store()["plain"] = 3  # as the README promises
    assert backend.store(key=KEY, plaintext=True).rekey() == 2
    assert dict(backend.store(key=KEY)) == {"plain": 3, "secret": 2}


def test_a_discarded_namespace_takes_any_key(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["k"] = 1
    store.discard()
    backend.store(key=OTHER_KEY)["k"] = 2
    with pytest.raises(StoreWrongKeyError):
        store["k"] = 3


def test_a_store_that_is_opened_again_looks_again(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["k"] = 1
    backend.store(key=[OTHER_KEY, KEY]).rekey()
    store.close()
    store.open()
    with pytest.raises(StoreWrongKeyError):
        store["k"] = 2


def test_a_check_value_that_somebody_without_the_key_has_made_opens_nothing(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    (value,) = backend.log().read(STREAM)
    forged = value.data[:2] + bytes(len(value.data) - 2)
    backend.log().append([Batch(STREAM, [Entry(0, 0, "", "check", forged)], 0)])
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=OTHER_KEY)["k"] = 2
    assert [problem.kind for problem in check(backend.store(key=KEY, frozen=True))] == ["keys"]


# -- protect ----------------------------------------------------------------------------------------------------------


@in_turn("name", list(WRITES))
def test_a_protected_namespace_takes_nothing_in_clear(backend: Backend, name: str) -> None:
    store = backend.store(namespace=name, key=KEY)
    store["k"] = 1
    store.protect()
    before = written(backend.log(name))
    with pytest.raises(StoreProtectedError, match=r"takes no values in clear.*key=.*nothing was stored"):
        WRITES[name](backend.store(namespace=name))
    assert written(backend.log(name)) == before
    store["k"] = 2
    assert backend.store(namespace=name, frozen=True).is_protected()


def test_a_namespace_can_be_protected_before_anything_is_in_it(backend: Backend) -> None:
    backend.store(key=KEY).protect()
    with pytest.raises(StoreProtectedError):
        backend.store()["k"] = 1
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=OTHER_KEY)["k"] = 1
    assert checks(backend.log()) == 2  # a check value and the policy


def test_who_may_protect_may_take_it_back(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store.protect()
    store.protect()
    for other in (backend.store(), backend.store(key=OTHER_KEY)):
        with pytest.raises(StoreError):
            other.unprotect()
    assert store.is_protected()
    store.unprotect()
    assert not store.is_protected()
    backend.store()["k"] = 1
    assert list(check(backend.store(key=KEY, plaintext=True))) == []


def test_protecting_needs_a_key_a_writable_store_and_no_transaction(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    with pytest.raises(StoreError, match=r"key=.*nothing was stored"):
        backend.store().protect()
    with pytest.raises(FrozenStoreError):
        backend.store(key=KEY, frozen=True).protect()
    store = backend.store(key=KEY)
    with store.transaction(), pytest.raises(StoreError, match="can't be part of a transaction"):
        store.protect()
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=OTHER_KEY).protect()
    assert not store.is_protected()


def test_values_in_clear_that_were_there_before_are_told_by_check(backend: Backend) -> None:
    backend.store()["plain"] = 1
    store = backend.store(key=KEY, plaintext=True)
    store.protect()
    assert [(p.kind, p.key, "protected" in p.message) for p in check(store)] == [("kv", "plain", True)]
    store.rekey()
    assert list(check(store)) == []


# -- what neither sees nor takes along --------------------------------------------------------------------------------


def test_keys_and_policies_are_private(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["k"] = 1
    store.protect()
    assert [change.key for change in store.log()] == ["k"]
    assert [change.key for _, change in store.follow()] == ["k"]
    assert info(store).records == {"kv": 1}
    assert list(store.at(TIME_MAX // 10**6)) == ["k"]


def test_a_copy_seals_check_values_of_its_own_and_has_the_same_digest(backend: Backend) -> None:
    source = backend.store(key=KEY)
    source["k"] = 1
    source.protect()
    with Store("memory://", key=KEY, frozen=False) as same:
        assert copy(source, same) == digest(source) == digest(same)
        assert checks(same._core.base) == 1
        assert not same.is_protected()
    other = backend.store(namespace="other", key=OTHER_KEY)
    copy(source, other)
    with pytest.raises(StoreWrongKeyError):
        backend.store(namespace="other", key=KEY)["k"] = 2
    plain = backend.store(namespace="plain")
    copy(source, plain, plain=True)
    assert checks(backend.log("plain")) == 0
    assert plain["k"] == 1


def test_a_copy_that_was_made_without_the_key_is_written_on_by_its_own_key_only(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    with Store("memory://", frozen=False) as target:
        copy(backend.store(frozen=True), target)
        memory = target._core.session.connect
        other = Store(lambda _, frozen: memory(frozen), key=OTHER_KEY, frozen=False)
        with other, pytest.raises(StoreWrongKeyError):
            other["k"] = 2
        with pytest.raises(StoreMissingKeyError):
            assert target["k"]


def test_a_protected_namespace_can_be_copied_and_imported_into_with_a_key(backend: Backend, tmp_path: Any) -> None:
    source = backend.store(key=KEY)
    source["k"] = 1
    target = backend.store(namespace="there", key=KEY)
    target.protect()
    copy(source, target)
    assert target["k"] == 1
    assert target.is_protected()
    file = tmp_path / "all.jsonl"
    export(source, file)
    loaded = backend.store(namespace="loaded", key=KEY)
    loaded.protect()
    load(loaded, file)
    assert loaded["k"] == 1
    backend.store(namespace="refused", key=KEY).protect()
    with pytest.raises(StoreProtectedError):
        copy(source, backend.store(namespace="refused"), plain=True)
    assert backend.store(namespace="refused", key=KEY).keys() == []


def test_the_writes_of_a_repository_are_checked(backend: Backend) -> None:
    import attrs

    @attrs.frozen
    class Account:
        balance: int = 0

    Repository(backend.store(key=KEY), Account).create("a")
    with pytest.raises(StoreWrongKeyError):
        Repository(backend.store(key=OTHER_KEY), Account).create("b")
    assert backend.store(key=KEY).eventsources() == ["Account/a"]


def test_a_compaction_with_another_key_changes_nothing(backend: Backend) -> None:
    backend.store(key=KEY)["k"] = 1
    plain = backend.store()
    plain.extend("s", (1, 1))
    plain.extend("s", (1, 2))
    before = written(backend.log())
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=OTHER_KEY, plaintext=True).compact()
    assert [row for row in written(backend.log()) if row[0].kind == "ts"] == [
        row for row in before if row[0].kind == "ts"
    ]


def test_a_new_key_needs_no_permission_where_nothing_is_encrypted(backend: Backend) -> None:
    backend.store()["k"] = 1
    backend.store(key=new_key())["l"] = 2
    assert checks(backend.log()) == 1
