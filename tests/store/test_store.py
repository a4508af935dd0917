"""The store as a whole: what it is opened with, what it is called, who may write, and how it ends."""

from __future__ import annotations

import operator
import os
import random
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rstore import FrozenStoreError, Reclaimed, Store, StoreClosedError, StoreError, StoreNotAvailableError
from rstore.domain.erasure import ERASURES
from rstore.protection import STREAM
from tests.conftest import KEY, OTHER_KEY, Backend, case, in_turn


def _on_key(call: Callable[[Store, str], Any], store: Store) -> Any:
    return call(store, "key")


READS: dict[str, Callable[[Store, str], Any]] = {
    "get": lambda store, key: store.get(key),
    "getitem": lambda store, key: store.get(key, 0) and store[key],
    "get_many": lambda store, key: store.get_many([key, "another"]),
    "has": lambda store, key: store.has(key),
    "in": lambda store, key: key in store,
    "range": lambda store, key: store.range(key),
    "range n": lambda store, key: store.range(key, 1, n=1, end=5, freq=1),
    "range_many": lambda store, key: store.range_many([key, "another"]),
    "points": lambda store, key: list(store.points(key)),
    "first": lambda store, key: store.first(key),
    "last": lambda store, key: store.last(key),
    "missing": lambda store, key: store.missing(key, 1, 5, 1),
    "iscomplete": lambda store, key: store.iscomplete(key, 1, 5, 1),
    "current": lambda store, key: store.current(key),
    "current_many": lambda store, key: store.current_many([key, "another"]),
    "past": lambda store, key: store.past(key, 5, withtimestamp=True),
    "events": lambda store, key: store.events(key),
    "events filtered": lambda store, key: store.events(key, item="n", ops=operator.add),
}
LISTS: dict[str, Callable[[Store], Any]] = {
    "keys": lambda store: store.keys(),
    "iter": list,
    "items": lambda store: list(store.items()),
    "values": lambda store: list(store.values()),
    "len": len,
    "bool": bool,
    "equals": lambda store: store == {},
    "find": lambda store: store.find(),
    "find pattern": lambda store: store.find("*"),
    "timeseries": lambda store: store.timeseries(),
    "range_many pattern": lambda store: store.range_many("*"),
    "eventsources": lambda store: store.eventsources(),
    "eventsequences": lambda store: store.eventsequences(),
}
WRITES: dict[str, Callable[[Store, str], Any]] = {
    "set": lambda store, key: store.set(key, 1),
    "setitem": lambda store, key: store.__setitem__(key, 1),
    "set_many": lambda store, key: store.set_many({"another": 1, key: 1}),
    "update": lambda store, key: store.update({key: 1}),
    "ior": lambda store, key: store.__ior__({key: 1}),
    "setdefault": lambda store, key: store.setdefault(key, 1),
    "delete": lambda store, key: store.delete(key),
    "delete many": lambda store, key: store.delete("another", key),
    "delitem": lambda store, key: store.__delitem__(key),
    "pop": lambda store, key: store.pop(key),
    "pop default": lambda store, key: store.pop(key, None),
    "extend": lambda store, key: store.extend(key, (9, 9)),
    "extend_many": lambda store, key: store.extend_many({"another": [(9, 9)], key: [(9, 9)]}),
    "extend unless_equal": lambda store, key: store.extend(key, (9, 9), unless_equal=True),
    "extend iterable": lambda store, key: store.extend(key, iter([(9, 9)])),
    "remove": lambda store, key: store.remove(key),
    "remove part": lambda store, key: store.remove(key, start=1, end=2),
    "apply": lambda store, key: store.apply(key, {"n": 1}),
    "apply at t": lambda store, key: store.apply(key, {"n": 1}, t=1),
    "prune": lambda store, key: store.prune(key),
    "prune keeping": lambda store, key: store.prune(key, remove=False),
}
ERASERS: dict[str, Callable[[Store], Any]] = {
    "clear": lambda store: store.clear(),
    "popitem": lambda store: store.popitem(),
    "compact": lambda store: store.compact(),
    "discard": lambda store: store.discard(),
}
CALLS: dict[str, Callable[[Store], Any]] = {
    **{name: partial(_on_key, call) for name, call in (READS | WRITES).items()},
    **LISTS,
    **ERASERS,
}


def fill(store: Store, key: str = "key") -> None:
    """Give a key a value, a series and a sequence, each with a past."""
    store[key] = "old"
    store[key] = "value"
    store.extend(key, (1, "a"), (2, "b"), (4, "d"))
    store.remove(key, start=4)
    store.apply(key, {"n": 1}, t=1)
    store.apply(key, {"n": (operator.add, 1)}, t=2)


def answers(store: Store, keys: Iterable[str] = ("key",)) -> dict[str, Any]:
    """Return what all reading calls say."""
    shown = {f"{name}({key!r})": call(store, key) for key in keys for name, call in READS.items()}
    return shown | {name: call(store) for name, call in LISTS.items()}


# -- DSNs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "file"),
    [
        ("plain.db", "plain.db"),
        ("no suffix", "no suffix"),
        ("sqlite://relative.db", "relative.db"),
        ("SQLite://relative.db", "relative.db"),
        ("sqlite://with%20space.db", "with space.db"),
        ("sqlite://a.db?durability=normal", "a.db"),
        ("sqlite://a.db?durability=full&timeout=2.5", "a.db"),
        ("sub/dir.db", "sub/dir.db"),
        ("sqlite://sub/dir.db", "sub/dir.db"),
        ("./dot.db", "dot.db"),
        ("what?is#100%.db", "what?is#100%.db"),  # a name of a file
        ("100%25.db", "100%25.db"),
        ("file:odd.db", "file:odd.db"),
        ("é \N{GRINNING FACE}.db", "é \N{GRINNING FACE}.db"),
    ],
)
def test_a_dsn_names_a_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str, file: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()

    with Store(dsn, frozen=False) as store:
        store["a"] = 1

    assert Path(file).read_bytes().startswith(b"SQLite format 3\0")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(file).name]
    with Store(dsn) as store:
        assert store["a"] == 1


def test_an_absolute_dsn_has_three_slashes(tmp_path: Path) -> None:
    with Store(f"sqlite://{tmp_path}/absolute.db", frozen=False) as store:
        store["a"] = 1
    with Store(str(tmp_path / "absolute.db")) as store:
        assert store["a"] == 1
    with Store(tmp_path / "absolute.db") as store:
        assert store["a"] == 1


def test_a_store_stays_with_its_file_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    store = Store("here.db", frozen=False)
    with store:
        store["a"] = 1
    monkeypatch.chdir("elsewhere")
    with store:
        assert store["a"] == 1


def test_memory_is_private_to_a_store() -> None:
    with Store("memory://", frozen=False) as one, Store("memory://", frozen=False) as other:
        one["a"] = 1
        assert other == {}


def test_memory_lasts_as_long_as_its_store() -> None:
    store = Store("memory://", frozen=False)
    with store:
        store["a"] = 1
    with store:
        assert store == {"a": 1}


@pytest.mark.parametrize("dsn", ["mysql://host/db", "http://a.db", "sqlit://a.db", "x+y://z"])
def test_an_unknown_scheme_names_those_that_there_are(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)(?=.*sqlite://)(?=.*memory://)(?=.*file name)") as caught:
        Store(dsn)

    assert dsn.partition("://")[0] in str(caught.value)


@pytest.mark.parametrize("query", ["speed=fast", "Durability=full", "durability=full&mode=ro", "x"])
def test_an_unknown_option_names_those_that_there_are(query: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)(?=.*durability)(?=.*timeout)"):
        Store(f"sqlite://a.db?{query}")
    with pytest.raises(ValueError, match=r"(?s)(?=.*durability)(?=.*timeout)"):
        Store(f"memory://?{query}")


@pytest.mark.parametrize(
    "query", ["durability=fast", "durability=", "timeout=soon", "timeout=", "timeout=-1", "timeout=nan"]
)
def test_an_option_has_one_of_its_values(query: str) -> None:
    with pytest.raises(ValueError, match=query.partition("=")[0]):
        Store(f"sqlite://a.db?{query}")


@pytest.mark.parametrize(
    "dsn", ["", "sqlite://", "sqlite://?timeout=1", ":memory:", "sqlite://:memory:", "memory://name"]
)
def test_a_dsn_without_a_place_is_a_value_error(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"memory://|file name"):
        Store(dsn, frozen=False)


@pytest.mark.parametrize("dsn", [None, 5, b"a.db", ["a.db"]], ids=repr)
def test_a_dsn_is_a_str_or_a_path(dsn: Any) -> None:
    with pytest.raises(TypeError):
        Store(dsn, frozen=False)


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="histroy"):
        Store("memory://", histroy=False)  # type: ignore[call-arg]


def test_describing_a_store_creates_nothing(tmp_path: Path) -> None:
    Store(tmp_path / "a.db", frozen=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("cryptography", "cryptography", lambda: Store("memory://", key=KEY)),
        ("msgspec", "msgpack", lambda: __import__("rstore").MsgpackStore("memory://")),
        ("psycopg", "postgresql", lambda: Store("postgresql://localhost")),
        ("redis", "redis", lambda: Store("redis://localhost")),
    ],
)
def test_what_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, use: Callable[[], Store]
) -> None:
    ours = ("rstore.encoding.cipher", "rstore.adapters.postgresql", "rstore.adapters.redis")
    for module in [name for name in sys.modules if name.startswith(ours)]:
        monkeypatch.delitem(sys.modules, module)
    for module in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(StoreError) as caught:
        use()

    assert f"pip install 'rlib-store[{extra}]'" in str(caught.value)


# -- what a store looks like ------------------------------------------------------------------------------------------


def test_repr_tells_what_and_where_it_is(tmp_path: Path) -> None:
    class Audit(Store):
        pass

    assert repr(Audit(tmp_path / "a.db", "logs")) == f"<Audit sqlite://{tmp_path}/a.db namespace='logs' frozen>"
    assert repr(Store("memory://", frozen=False)) == "<Store memory:// namespace='default' writable>"


# -- open and close ---------------------------------------------------------------------------------------------------


def test_a_closed_store_says_so(backend: Backend, key: str | None) -> None:
    fill(backend.store(key=key))
    never_opened = Store(backend.connect, key=key, frozen=False)
    closed = Store(backend.connect, key=key, frozen=False)
    with closed:
        assert closed["key"] == "value"

    for name, call in CALLS.items():
        for store in (never_opened, closed):
            with case(name, store), pytest.raises(StoreClosedError, match="not open"):
                call(store)

    assert issubclass(StoreClosedError, StoreError)
    assert backend.store(key=key)["key"] == "value"


def test_what_was_begun_in_an_open_store_ends_with_it(backend: Backend, key: str | None) -> None:
    store = Store(backend.connect, key=key, frozen=False)
    with store:
        store.set_many({f"{i:04}": i for i in range(1000)})
        for t in range(1000):
            store.extend("long", (t, t))
        unfinished = [iter(store), iter(store.items()), store.points("long")]
        for iterator in unfinished:
            next(iterator)

    for iterator in unfinished:
        with pytest.raises(StoreError):
            list(iterator)


def test_open_and_close_exist_beside_with(backend: Backend, key: str | None) -> None:
    store = Store(backend.connect, key=key, frozen=False)

    assert store.open() is store
    fill(store)
    store.close()
    store.close()
    with pytest.raises(StoreError):
        store.get("key")
    store.open()
    assert store["key"] == "value"
    assert store.current("key") == {"n": 2}
    store.close()


def test_a_store_can_be_entered_again_and_again(backend: Backend, key: str | None) -> None:
    store = Store(backend.connect, key=key, frozen=False)

    for n in range(3):
        with store as entered:
            assert entered is store
            assert store.get("n", -1) == n - 1
            store["n"] = n
            assert store.apply("log", {"n": n}) == {"n": n}


def test_a_store_may_be_entered_while_it_is_open(backend: Backend, key: str | None) -> None:
    store = Store(backend.connect, key=key, frozen=False)

    with store:
        with store:
            store["a"] = 1
        assert store["a"] == 1
        with pytest.raises(ZeroDivisionError), store:
            store["a"] = 1 / 0
        assert store["a"] == 1
    with pytest.raises(StoreClosedError):
        store["a"]


def test_an_error_in_the_block_closes_the_store(backend: Backend) -> None:
    store = Store(backend.connect, frozen=False)

    with pytest.raises(ZeroDivisionError), store:
        raise ZeroDivisionError
    with pytest.raises(StoreClosedError):
        store.keys()


def test_a_store_that_could_not_be_opened_can_be_later(backend: Backend) -> None:
    store = Store(backend.connect)
    for _ in range(2):
        with pytest.raises(StoreNotAvailableError):
            store.open()
        with pytest.raises(StoreNotAvailableError), store:
            pass
    with pytest.raises(StoreClosedError):
        store.keys()

    backend.store()["a"] = 1
    with store:
        assert store["a"] == 1
    with pytest.raises(StoreClosedError):
        store.keys()


# -- frozen -----------------------------------------------------------------------------------------------------------


def test_a_frozen_store_that_there_is_not_is_not_available(tmp_path: Path) -> None:
    for dsn in ("memory://", tmp_path / "missing.db", f"sqlite://{tmp_path}/missing.db", tmp_path / "no" / "where.db"):
        with pytest.raises(StoreNotAvailableError), Store(dsn):
            pass

    assert list(tmp_path.iterdir()) == []


def test_a_frozen_namespace_that_there_is_not_is_not_available(backend: Backend) -> None:
    backend.store()["a"] = 1

    for _ in range(2):
        with pytest.raises(StoreNotAvailableError, match="unknown"):
            backend.store(namespace="unknown", frozen=True)


def test_nothing_is_made_of_an_empty_file_by_looking_at_it(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()

    with pytest.raises(StoreNotAvailableError), Store(tmp_path / "empty.db"):
        pass

    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]
    with Store(tmp_path / "empty.db", frozen=False) as store:
        store["a"] = 1


def test_frozen_is_the_default_and_reads_all(backend: Backend, key: str | None) -> None:
    writable = backend.store(key=key)
    fill(writable)

    with Store(backend.connect, key=key) as store:
        assert answers(store) == answers(writable)
        writable["key"] = "new"
        writable.apply("key", {"n": 5})
        assert store["key"] == "new"
        assert store.current("key") == {"n": 5}


def test_a_frozen_store_refuses_every_write(backend: Backend, key: str | None) -> None:
    writable = backend.store(key=key)
    fill(writable)
    before = answers(writable)
    store = backend.store(key=key, frozen=True)

    for name in (*WRITES, *ERASERS):
        with case(name), pytest.raises(FrozenStoreError, match="frozen=False"):
            CALLS[name](store)

    assert answers(store) == answers(writable) == before


def test_a_frozen_sqlite_store_does_not_change_its_file(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        fill(store)
    before = (tmp_path / "a.db").read_bytes()

    with Store(tmp_path / "a.db") as store:
        answers(store)

    assert (tmp_path / "a.db").read_bytes() == before


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_namespaces_know_nothing_of_each_other(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key, namespace="one"), backend.store(key=key, namespace="other")
    fill(one)
    assert not any(answers(other)[name] for name in ("keys", "timeseries", "eventsources", "get('key')", "len"))
    fill(other)

    one["key"] = "changed"
    one.remove("key")
    one.apply("key", {"n": 99})
    one.prune("key")
    one.compact()

    assert other["key"] == "value"
    assert other.range("key") == [(1, "a"), (2, "b")]
    assert other.current("key") == {"n": 2}
    assert len(other.events("key") or ()) == 2


def test_a_namespace_is_the_default_unless_given(backend: Backend) -> None:
    backend.store()["a"] = "default"

    assert backend.store(namespace="default") == {"a": "default"}
    assert backend.store(namespace=None) == {"a": "default"}
    assert backend.store(namespace="Default") == {}


def test_a_subclass_may_fix_the_namespace_and_the_key(backend: Backend) -> None:
    class Secrets(Store):
        _namespace = "secrets"
        _key = KEY

    backend.store(Secrets)["a"] = 1

    assert backend.store(namespace="secrets", key=KEY) == {"a": 1}
    assert backend.store(Secrets).namespace == "secrets"
    assert backend.store(Secrets, namespace="default") == {}
    with pytest.raises(StoreError):
        backend.store(Secrets, key=OTHER_KEY).get("a")
    with pytest.raises(StoreError):
        backend.store(namespace="secrets").get("a")


# -- names ------------------------------------------------------------------------------------------------------------

ORDINARY = (
    *(
        "",
        " ",
        "a",
        "A",
        "__",
        "__init__",
        ".",
        "..",
        "a.b",
        "%",
        "%s",
        "100%25",
        "*",
        "?",
        "[a]",
        ":",
        "a:b",
        "{}",
        "{a}",
    ),
    *(
        "{0}",
        "\\",
        "/",
        "../a",
        "'",
        '"',
        "'; DROP TABLE x; --",
        "--",
        "\n",
        "\t",
        "\r\n",
        "\x01",
        "\x7f",
        "é",
        "e\u0301",
    ),
    *(
        "\u200b",
        "\ue000",
        "\uffff",
        "\U00010000",
        "\N{GRINNING FACE}",
        "\U0010ffff",
        "null",
        "None",
        "0",
        "-1",
        "~",
        "@#$^&",
    ),
    *("a" * 1024, "b" * 1023, "é" * 512, "\N{GRINNING FACE}" * 256),
)
WRONG: list[tuple[Any, type[Exception]]] = [
    (1, TypeError),
    (None, TypeError),
    (b"key", TypeError),
    (("a",), TypeError),
    (True, TypeError),
    ("a" * 1025, ValueError),
    ("é" * 513, ValueError),
    ("\N{GRINNING FACE}" * 257, ValueError),
    ("\0", ValueError),
    ("a\0b", ValueError),
    ("\ud800", ValueError),
    ("a\udfffb", ValueError),
]
wrong_names = in_turn(("name", "error"), WRONG)


def test_odd_characters_are_ordinary_in_keys(store: Store) -> None:
    for name in ORDINARY:
        store[name] = ["value", name]
        store.extend(name, (1, name))
        store.apply(name, {"name": name})

    assert store.keys() == store.timeseries() == store.eventsources() == sorted(ORDINARY)
    assert store.get_many(ORDINARY) == {name: ["value", name] for name in ORDINARY}
    for name in ORDINARY:
        assert store[name] == ["value", name]
        assert store.last(name) == (1, name)
        assert store.current(name) == {"name": name}
    store.delete(*ORDINARY[1:])
    store.remove(*ORDINARY[1:])
    assert store.keys() == store.timeseries() == [ORDINARY[0]]


def test_odd_characters_are_ordinary_in_items(store: Store) -> None:
    state = {name: ["value", name] for name in ORDINARY}

    store.apply("odd", state, t=1)
    store.apply("odd", dict.fromkeys(ORDINARY, (operator.add, [1])), t=2)

    assert store.current("odd") == {name: ["value", name, 1] for name in ORDINARY}
    for name in ORDINARY:
        assert store.events("odd", item=name) == [
            (1, name, operator.setitem, ["value", name]),
            (2, name, operator.add, [1]),
        ]


def test_odd_characters_are_ordinary_in_namespaces(backend: Backend, key: str | None) -> None:
    names = [name for name in ORDINARY if name]
    for name in names:
        backend.store(namespace=name, key=key)["name"] = name

    for name in names:
        assert backend.store(namespace=name, key=key, frozen=True) == {"name": name}


@pytest.mark.parametrize("call", [*READS, *WRITES])
def test_what_is_no_key_is_refused_alike_everywhere(backend: Backend, call: str) -> None:
    store = backend.store()
    store["another"] = "before"

    for name, error in WRONG:
        with case(name), pytest.raises(error, match="key"):
            (READS | WRITES)[call](store, name)

    assert store == {"another": "before"}
    assert store.timeseries() == store.eventsources() == []


@wrong_names
def test_what_is_no_item_is_refused(store: Store, name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="item"):
        store.apply("log", {"good": 1, name: 1})
    if name is not None:
        with pytest.raises(error, match="item"):
            store.events("log", item=name)

    assert store.eventsources() == []


@wrong_names
def test_what_is_no_namespace_is_refused(backend: Backend, name: Any, error: type[Exception]) -> None:
    if name is not None:
        with pytest.raises(error, match="namespace"):
            Store(backend.connect, name)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (0, TypeError), (b"", TypeError), (False, TypeError)])
def test_an_empty_namespace_is_refused_and_not_the_default(backend: Backend, name: Any, error: type[Exception]) -> None:
    class Empty(Store):
        _namespace = name

    with pytest.raises(error, match="namespace"):
        Store(backend.connect, name)
    with pytest.raises(error, match="namespace"):
        Empty(backend.connect)


# -- discard ----------------------------------------------------------------------------------------------------------


def test_discard_erases_the_namespace_and_no_other(backend: Backend, key: str | None) -> None:
    store, other = backend.store(key=key), backend.store(key=key, namespace="other")
    fill(store)
    fill(other)
    before = answers(other)

    store.discard()

    assert store == {}
    assert store.timeseries() == store.eventsources() == []
    assert store.current("key") is None
    assert store.range("key") == []
    assert list(backend.log().follow()) == []
    assert answers(other) == before


def test_a_discarded_namespace_is_not_available(backend: Backend) -> None:
    store = backend.store()
    store["a"] = 1

    store.discard()
    store.close()

    with pytest.raises(StoreNotAvailableError):
        backend.store(frozen=True)


def test_a_discarded_namespace_can_be_written_to_again(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    for _ in range(3):
        fill(store)
        assert store.current("key") == {"n": 2}
        store.discard()

    store["a"] = 1
    store.extend("a", (1, 1))
    store.apply("a", {"n": 1}, t=1)

    with Store(backend.connect, key=key) as reader:
        assert reader == {"a": 1}
        assert reader.range("a") == [(1, 1)]
        assert reader.current("a") == {"n": 1}


def test_another_store_notices_a_discard(backend: Backend, key: str | None) -> None:
    store, other = backend.store(key=key), backend.store(key=key)
    fill(store)
    assert other.current("key") == {"n": 2}

    store.discard()

    assert other.keys() == other.timeseries() == other.eventsources() == []
    assert other.current("key") is None
    other["a"] = 1
    assert store == {"a": 1}


def test_discard_deletes_a_file_with_nothing_else_in_it(tmp_path: Path, key: str | None) -> None:
    with Store(tmp_path / "a.db", key=key, frozen=False) as store:
        fill(store)
        store.discard()
        assert list(tmp_path.iterdir()) == []

    assert list(tmp_path.iterdir()) == []


def test_discard_deletes_the_file_with_the_last_namespace(tmp_path: Path) -> None:
    for namespace in ("one", "other"):
        with Store(tmp_path / "a.db", namespace, frozen=False) as store:
            fill(store)
    for namespace, left in (("one", True), ("other", False)):
        with Store(tmp_path / "a.db", namespace, frozen=False) as store:
            store.discard()
        assert (tmp_path / "a.db").exists() == left

    assert list(tmp_path.iterdir()) == []


def test_discard_keeps_a_file_with_somebody_elses_table(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as db, db:
        db.execute("CREATE TABLE theirs (a)")
        db.execute("INSERT INTO theirs VALUES (42)")

    with Store(f"sqlite://{tmp_path}/a.db?adopt=yes", frozen=False) as store:
        fill(store)
        store.discard()

    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        assert db.execute("SELECT a FROM theirs").fetchall() == [(42,)]
    with pytest.raises(StoreNotAvailableError), Store(tmp_path / "a.db"):
        pass


def test_what_others_write_after_a_discard_stays(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as one, Store(tmp_path / "a.db", frozen=False) as other:
        fill(one)
        assert other["key"] == "value"
        one.discard()
        other["a"] = "stays"
        assert one == {"a": "stays"}

    with Store(tmp_path / "a.db") as store:
        assert store == {"a": "stays"}


# -- compact ----------------------------------------------------------------------------------------------------------


def lived_in(store: Store) -> None:
    """Fill a store with much that can be given back."""
    for n in range(5):
        store.set_many({f"key {i}": (n, i) for i in range(20)})
    store.delete(*(f"key {i}" for i in range(10, 20)))
    store["back"] = 1
    del store["back"]
    store["back"] = 2
    for t in range(300):
        store.extend("single points", (t, t))
    store.extend("overlaid", ((time, 1) for time in range(10_000)))
    store.extend("overlaid", ((time, 2) for time in range(5000, 6000)))
    store.remove("overlaid", start=100, end=899)
    store.extend("removed", (1, 1))
    store.remove("removed")
    store.extend("refilled", (1, 1), (2, 2))
    store.remove("refilled")
    store.extend("refilled", (2, 3))
    for t in range(600):
        store.apply("counter", {"n": t, "sum": (operator.add, t) if t else 0}, t=t)
    store.apply("emptied", {"n": 1}, t=1)
    store.apply("emptied", {"n": (operator.delitem, None)}, t=2)
    store["still here"] = store.extend("still here", (1, 1))


KEYS = ("key 3", "key 15", "back", "single points", "overlaid", "removed", "refilled", "counter", "still here")


def present(store: Store) -> dict[str, Any]:
    """Return the answers that a compact must not change: those about the present."""
    past = ("past", "events", "events filtered")
    shown = {name: answer for name, answer in answers(store, KEYS).items() if not name.startswith(past)}
    return shown | {"eventsources": ["counter"], "eventsequences": ["counter"]}


def test_compact_changes_no_read_of_the_present(backend: Backend, key: str | None) -> None:
    store, other = backend.store(key=key), backend.store(key=key)
    lived_in(store)
    before = present(store)
    assert present(other) == before

    saved = store.compact()

    assert isinstance(saved, Reclaimed)
    assert saved.records > 1000
    assert saved.bytes > 1000
    for reader in (store, other, backend.store(key=key)):
        assert present(reader) == before
        assert reader.eventsources() == ["counter"]
        assert len(reader.events("counter", item="n") or ()) == 1
        assert len(reader.events("counter", item="sum") or ()) == 600


def test_compact_is_done_once(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    lived_in(store)
    before = present(store)

    store.compact()

    for _ in range(3):
        assert store.compact() == Reclaimed(0, 0)
        assert present(store) == before


def test_compact_returns_what_it_saved(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    assert store.compact() == Reclaimed(0, 0)

    def bytes_in_the_log() -> int:
        return sum(len(record.data) for _, stream, record in backend.log().follow() if stream != ERASURES)

    store["a"] = "x" * 100
    store["a"] = "y" * 50
    store["gone"] = 1
    del store["gone"]
    store.apply("log", {"n": 1}, t=1)
    store.apply("log", {"n": 2}, t=2)
    store.extend("series", (1, 1))
    store.extend("series", (2, 2))
    before = bytes_in_the_log()

    saved = store.compact()

    assert saved.records == 1 + 2 + 1 + 1
    assert saved.bytes == before - bytes_in_the_log()
    left = [stream.kind for _, stream, _ in backend.log().follow() if stream not in (STREAM, ERASURES)]
    assert left == ["kv", "es", "ts"]


@pytest.mark.parametrize("times", [1, 2])
def test_life_goes_on_after_a_compact(backend: Backend, key: str | None, times: int) -> None:
    store, other = backend.store(key=key), backend.store(key=key)
    for _ in range(2):
        store.set_many({"set": 0, "deleted": 0, "popped": 0, "kept": 0, "gone": 0})
    store.delete("gone")
    fill(store)
    other.current("key")
    for _ in range(times):
        store.compact()

    for writer in (store, other):
        writer["set"] = 1
        writer.setdefault("gone", 1)
        assert writer.pop("popped", 1) in (0, 1)
        writer.delete("deleted")
        writer.extend("key", (2, "B"), (3, "c"))
        writer.remove("key", start=1, end=1)
        writer.apply("key", {"n": (operator.add, 1)})
    del store["gone"]

    for reader in (store, other):
        assert reader == {"key": "value", "set": 1, "kept": 0}
        assert reader.range("key") == [(2, "B"), (3, "c")]
        assert reader.current("key") == {"n": 4}


def test_compact_gives_the_space_back(tmp_path: Path, key: str | None) -> None:
    rng = random.Random(1)
    with Store(tmp_path / "a.db", key=key, frozen=False) as store:
        store.extend("series", ((time, rng.randbytes(20)) for time in range(20_000)))
        store.remove("series", start=100)
        for _ in range(3):
            store.set_many({f"key {i}": rng.randbytes(1000) for i in range(300)})
        store.delete(*(f"key {i}" for i in range(10, 300)))
        size = sum(path.stat().st_size for path in tmp_path.iterdir())

        saved = store.compact()

        assert saved.bytes > 1_000_000
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < size - saved.bytes
        assert len(store) == 10
        assert len(store.range("series")) == 100


def test_what_was_compacted_away_is_nowhere_in_the_file(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store["a"] = "secret-in-a-value"
        store["a"] = "new"
        store["b"] = "secret-in-a-deleted-key"
        del store["b"]
        store.extend("series", (1, "secret-in-a-point"), (2, "new"))
        store.remove("series", end=1)
        store.apply("log", {"n": "secret-in-an-event"})
        store.apply("log", {"n": "new"})

        def left() -> bytes:
            return b"".join(path.read_bytes() for path in tmp_path.iterdir())

        assert left().count(b"secret-in-a") >= 4
        store.compact()
        assert b"secret-in-a" not in left()


def test_compact_does_not_wait_for_those_who_read(tmp_path: Path) -> None:
    with Store(f"sqlite://{tmp_path}/a.db?timeout=10", frozen=False) as store:
        fill(store)
        store.extend("long", ((t, t) for t in range(20_000)))
        points = store.points("long")
        first = next(points)

        begun = time.monotonic()
        assert store.compact().records > 0
        assert time.monotonic() - begun < 5
        assert [first, *points] == [(t, t) for t in range(20_000)]


# -- files that are not ours ------------------------------------------------------------------------------------------

frozen_or_not = pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "writable"])


@frozen_or_not
def test_a_newer_schema_is_refused(tmp_path: Path, frozen: bool) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store["a"] = 1
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "a.db").read_bytes()

    with pytest.raises(StoreError, match=r"(?s)(?=.*\b99\b)(?=.*newer)"), Store(tmp_path / "a.db", frozen=frozen):
        pass

    assert (tmp_path / "a.db").read_bytes() == before


@frozen_or_not
@pytest.mark.parametrize("version", [1, 7, -1, 2**31 - 1])
@pytest.mark.timeout(20)
def test_another_applications_file_is_refused_and_left_alone(tmp_path: Path, version: int, frozen: bool) -> None:
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as db, db:
        db.execute("CREATE TABLE theirs (a)")
        db.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / "theirs.db").read_bytes()

    with pytest.raises(StoreError, match=r"theirs\.db"), Store(tmp_path / "theirs.db", frozen=frozen):
        pass

    assert (tmp_path / "theirs.db").read_bytes() == before
    assert os.listdir(tmp_path) == ["theirs.db"]


@frozen_or_not
def test_an_applications_file_without_a_version_is_left_alone_unless_it_is_to_be_adopted(
    tmp_path: Path, frozen: bool
) -> None:
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE theirs (a)")
    before = file.read_bytes()

    for dsn in (file, f"sqlite://{file}", f"sqlite://{file}?adopt=no"):
        words = (
            "no namespace 'default'" if frozen else r"tables of another application.*\?adopt=yes.*nothing was changed"
        )
        with pytest.raises(StoreNotAvailableError, match=words), Store(dsn, frozen=frozen):
            pass
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["theirs.db"]


def test_a_store_that_was_adopted_into_a_file_is_opened_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE theirs (a)")
    with Store(f"sqlite://{file}?adopt=yes&timeout=5", frozen=False) as store:
        store["a"] = 1
    with Store(file, frozen=False) as store:
        store["b"] = 2
        store.discard()
    with Store(file, frozen=False) as store:
        store["c"] = 3
    with Store(file) as store:
        assert dict(store) == {"c": 3}
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM theirs").fetchone() == (0,)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    for name in ("nothing.db", "no-tables.db"):
        (tmp_path / name).touch()
    with closing(sqlite3.connect(tmp_path / "no-tables.db")) as db:
        db.execute("VACUUM")  # a header and nothing else
    for name in ("nothing.db", "no-tables.db"):
        with Store(tmp_path / name, frozen=False) as store:
            store["a"] = 1


def test_adopting_is_an_option_of_sqlite_with_two_answers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="adopt is yes or no, not 'maybe'"):
        Store(f"sqlite://{tmp_path}/a.db?adopt=maybe")
    with pytest.raises(ValueError, match="unknown option 'adopt'"):
        Store("memory://?adopt=yes")


@frozen_or_not
@pytest.mark.parametrize("size", [15, 100, 5000])
def test_what_is_no_sqlite_file_is_refused_and_left_alone(tmp_path: Path, size: int, frozen: bool) -> None:
    data = (b"This is a letter and no database. " * 200)[:size]
    (tmp_path / "letter.txt").write_bytes(data)

    with pytest.raises(StoreError, match=r"letter\.txt"), Store(tmp_path / "letter.txt", frozen=frozen):
        pass

    assert (tmp_path / "letter.txt").read_bytes() == data
    assert os.listdir(tmp_path) == ["letter.txt"]


@frozen_or_not
def test_a_directory_or_a_missing_one_is_not_available(tmp_path: Path, frozen: bool) -> None:
    for path in (tmp_path, tmp_path / "missing" / "a.db"):
        with pytest.raises(StoreNotAvailableError), Store(path, frozen=frozen):
            pass

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_file_that_is_cut_off_gives_store_errors_only(tmp_path: Path, key: str | None, part: float) -> None:
    with Store(tmp_path / "a.db", key=key, frozen=False) as store:
        store.set_many({f"key {i}": i for i in range(500)})
        store.extend("series", ((time, os.urandom(9)) for time in range(9000)))
        for t in range(20):
            store.apply("log", {f"item {t}": "x" * 500}, t=t)
    size = (tmp_path / "a.db").stat().st_size
    os.truncate(tmp_path / "a.db", int(size * part))

    def read_all() -> None:
        with Store(tmp_path / "a.db", key=key) as store:
            answers(store, ["key 5", "series", "log"])

    with pytest.raises(StoreError, match=r"a\.db"):
        read_all()


@pytest.mark.parametrize("name", ["a.db?durability=normal", "a.db?timeout=5&durability=full"])
def test_options_behind_a_bare_name_are_refused(name: str) -> None:
    """They would be part of the name, and another file, which is empty, would be opened without them."""
    with pytest.raises(ValueError, match=re.escape(f"write 'sqlite://{name}'")):
        Store(name)
    assert repr(Store(Path(name))) == f"<Store sqlite://{name} namespace='default' frozen>"


def test_a_block_that_ends_without_a_beginning_leaves_the_store_usable(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db", frozen=False)
    store.__exit__(None, None, None)
    with store:
        store["a"] = 1


def test_a_frozen_store_refuses_a_removal_of_nothing_too(tmp_path: Path) -> None:
    Store(tmp_path / "a.db", frozen=False).open().close()
    with Store(tmp_path / "a.db") as frozen, pytest.raises(FrozenStoreError):
        frozen.remove()
