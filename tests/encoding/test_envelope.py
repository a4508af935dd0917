"""Values to bytes and back: serializers, encryption, damage, and what must never be read."""

from __future__ import annotations

import json
import math
import operator
import pickle
import random
import sqlite3
import struct
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rstore import (
    JsonStore,
    MsgpackStore,
    Store,
    StoreError,
    StoreFormatError,
    StoreMissingKeyError,
    StorePayloadError,
    StorePlaintextError,
    StoreWrongKeyError,
)
from rstore.domain.log import Batch, Entry, Record, Rewrite
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.bodies import Body
from rstore.encoding.cipher import Cipher
from rstore.encoding.envelope import Envelope
from tests.conftest import KEY, OTHER_KEY, Backend, case, in_turn


class Model(NamedTuple):
    """One of the three models: how a value gets in, and how it is read."""

    kind: str
    write: Callable[[Store, str, Any], Any]
    read: Callable[[Store, str], Any]


MODELS = {
    "value": Model(KV, lambda store, key, value: store.set(key, value), lambda store, key: store[key]),
    "point": Model(
        TS,
        lambda store, key, value: store.extend(key, (5, value)),
        lambda store, key: store.range(key)[0][1],
    ),
    "segment": Model(
        TS,
        lambda store, key, value: store.extend(key, (5, value), (7, value), (70, value)),
        lambda store, key: store.range(key)[2][1],
    ),
    "event": Model(
        ES,
        lambda store, key, value: store.apply(key, {"item": value}, t=5),
        lambda store, key: store.current(key)["item"],
    ),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


class IssueStore(Store):
    """The example of the README."""

    def _dump(self, value: Any) -> str:
        return json.dumps(value)

    def _load(self, data: Any) -> Any:
        return json.loads(data)


class Sealed:
    """A record in the log of a backend, to be tampered with."""

    def __init__(self, backend: Backend, stream: Stream, namespace: str = "default") -> None:
        self._log, self.stream = backend.log(namespace), stream

    def record(self) -> Record:
        (record,) = self._log.last([self.stream])
        assert record is not None
        return record

    def put(self, **changes: Any) -> None:
        """Change the last record behind the store's back."""
        record = self.record()
        self._log.rewrite([Rewrite(self.stream, None, [record.version], [record._replace(**changes)])])


# -- serializers ------------------------------------------------------------------------------------------------------

JSON_VALUES = [
    None,
    True,
    False,
    0,
    -7,
    1.5,
    "",
    "text",
    'é \N{GRINNING FACE} \\ " \n',
    [],
    [1, [None]],
    {},
    {"a": {"b": [1]}},
]


@in_turn("cls", [IssueStore, JsonStore, MsgpackStore, Store])
def test_every_serializer_serves_every_model(backend: Backend, key: str | None, cls: type[Store], model: Model) -> None:
    store = backend.store(cls, key=key)
    values = {f"{cls.__name__} {i}": value for i, value in enumerate(JSON_VALUES)}
    for name, value in values.items():
        model.write(store, name, value)

    for reader in (store, backend.store(cls, key=key, frozen=True)):
        for name, value in values.items():
            found = model.read(reader, name)
            assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("cls", [IssueStore, JsonStore])
def test_a_serializer_folds_what_it_will_read_back(backend: Backend, key: str | None, cls: type[Store]) -> None:
    store = backend.store(cls, key=key)

    assert store.apply("log", {"list": (1, 2), "n": 1}, t=1) == {"list": [1, 2], "n": 1}
    assert store.apply("log", {"list": (operator.concat, (3,)), "n": (operator.truediv, 2)}, t=2) == {
        "list": [1, 2, 3],
        "n": 0.5,
    }
    assert store.events("log", item="list") == [
        (1, "list", operator.setitem, [1, 2]),
        (2, "list", operator.concat, [3]),
    ]
    store.compact()
    assert backend.store(cls, key=key).current("log") == {"list": [1, 2, 3], "n": 0.5}


def test_msgpack_keeps_bytes_and_64_bits(backend: Backend, key: str | None, model: Model) -> None:
    store = backend.store(MsgpackStore, key=key)
    for i, value in enumerate((b"\0\xff", 2**64 - 1, -(2**63), {1: 2}, [b""])):
        model.write(store, f"{i}", value)
        assert model.read(store, f"{i}") == value


@in_turn("dumped", [str, bytes, bytearray, memoryview])
def test_load_gets_what_dump_returned_once_for_each_value(
    backend: Backend, key: str | None, model: Model, dumped: type
) -> None:
    got: list[Any] = []
    dumps: list[Any] = []

    class Recording(Store):
        def _dump(self, value: Any) -> Any:
            dumps.append(value)
            return value if dumped is str else dumped(value.encode())

        def _load(self, data: Any) -> Any:
            got.append(data)
            return data if isinstance(data, str) else data.decode()

    store = backend.store(Recording, key=key)
    values = 3 if model is MODELS["segment"] else 1
    for text in ("é", "", "long " * 100):
        name = f"{dumped.__name__} {text}"
        dumps.clear()
        model.write(store, name, text)
        assert dumps == [text] * values
        got.clear()
        assert model.read(backend.store(Recording, key=key), name) == text
        assert got == [text if dumped is str else text.encode()] * values


def test_dump_may_return_str_for_one_value_and_bytes_for_another(backend: Backend, key: str | None) -> None:
    class Mixed(Store):
        def _dump(self, value: Any) -> Any:
            return value

        def _load(self, data: Any) -> Any:
            return data

    store = backend.store(Mixed, key=key)
    values = ["text", b"bytes", "", b"", "\N{GRINNING FACE}", "\ud800", b"\xff"]
    store.extend("series", enumerate(values))

    assert [value for _, value in store.range("series")] == values


def test_dump_returns_str_or_bytes_and_nothing_else(backend: Backend, key: str | None, model: Model) -> None:
    class Wrong(Store):
        def _dump(self, value: Any) -> Any:
            return value

    with pytest.raises(TypeError, match="_dump"):
        model.write(backend.store(Wrong, key=key), "key", 5)


BOOMS: list[str] = []


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> Any:
        return BOOMS.append, ("boom",)


def test_a_store_with_its_own_load_never_unpickles(backend: Backend, key: str | None, model: Model) -> None:
    model.write(backend.store(key=key), "key", Bomb())
    BOOMS.clear()

    for cls in (IssueStore, JsonStore, MsgpackStore):
        with case(cls), pytest.raises(StoreFormatError, match=f"{model.kind} 'key' in namespace 'default'"):
            model.read(backend.store(cls, key=key), "key")

    assert BOOMS == []


def test_a_pickling_store_never_unpickles_what_another_dumped(backend: Backend, key: str | None, model: Model) -> None:
    class Smuggler(Store):
        def _dump(self, value: Any) -> bytes:
            return pickle.dumps(Bomb())

        def _load(self, data: Any) -> None:
            return None

    others = (Smuggler, IssueStore, JsonStore, MsgpackStore)
    for cls in others:
        model.write(backend.store(cls, key=key), cls.__name__, "value")

    reader = backend.store(key=key)
    for cls in others:
        with pytest.raises(StoreFormatError, match=f"{model.kind} '{cls.__name__}' in namespace 'default'"):
            model.read(reader, cls.__name__)
    assert BOOMS == []


UNDUMPABLE: list[tuple[type[Store], Any]] = [
    (Store, lambda: None),
    (IssueStore, object()),
    (JsonStore, {1, 2}),
    (MsgpackStore, object()),
]


@in_turn(("cls", "bad"), UNDUMPABLE)
def test_what_cannot_be_dumped_is_the_dumpers_error_with_the_key(
    backend: Backend, key: str | None, model: Model, cls: type[Store], bad: Any
) -> None:
    store = backend.store(cls, key=key)
    expected: tuple[type[Exception], ...] = (pickle.PicklingError, AttributeError) if cls is Store else (TypeError,)

    with pytest.raises(expected) as caught:
        model.write(store, "some key", bad)

    assert any("'some key'" in note for note in caught.value.__notes__)
    assert store.keys() == store.timeseries() == store.eventsources() == []


@pytest.mark.parametrize(("cls", "bad"), UNDUMPABLE, ids=[cls.__name__ for cls, _ in UNDUMPABLE])
def test_with_what_cannot_be_dumped_nothing_is_stored(
    backend: Backend, key: str | None, cls: type[Store], bad: Any
) -> None:
    store = backend.store(cls, key=key)
    store["a"] = "before"
    store.extend("a", (1, "before"))
    store.apply("a", {"n": "before"}, t=1)

    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as caught:
        store.set_many({"a": "after", "b": bad, "c": "after"})
    assert any("'b'" in note for note in caught.value.__notes__)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        store.extend("a", ((t, bad if t == 50_000 else "after") for t in range(60_000)))
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        store.apply("a", {"m": "after", "n": bad}, t=2)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        store.setdefault("d", bad)

    assert store == {"a": "before"}
    assert store.range("a") == [(1, "before")]
    assert store.events("a") == [(1, "n", operator.setitem, "before")]


def test_an_error_of_load_becomes_an_error_that_names_the_place(backend: Backend, model: Model) -> None:
    class Forgetful(Store):
        forgets = False

        def _dump(self, value: Any) -> str:
            return str(value)

        def _load(self, data: Any) -> Any:
            if self.forgets:
                raise LookupError("secret-value")
            return data

    model.write(backend.store(Forgetful), "key", "x")
    store = backend.store(Forgetful)
    store.forgets = True

    with pytest.raises(StorePayloadError, match=f"{model.kind} 'key' in namespace 'default'.*LookupError"):
        model.read(store, "key")


# -- encryption -------------------------------------------------------------------------------------------------------


def test_another_key_does_not_open_it(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=KEY), "key", "value")

    with pytest.raises(StoreWrongKeyError, match=f"{model.kind} 'key' in namespace 'default'"):
        model.read(backend.store(key=OTHER_KEY), "key")
    with pytest.raises(StoreWrongKeyError):
        model.read(backend.store(key=OTHER_KEY, plaintext=True), "key")


def test_no_key_does_not_open_it(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=KEY), "key", "value")

    with pytest.raises(StoreMissingKeyError, match=rf"{model.kind} 'key' in namespace 'default'.*key=\.\.\."):
        model.read(backend.store(), "key")


def test_keys_are_not_encrypted(backend: Backend) -> None:
    for model in MODELS.values():
        model.write(backend.store(key=KEY), "key", "value")
    store = backend.store()

    assert store.keys() == store.timeseries() == store.eventsources() == ["key"]
    assert store.has("key")


def test_a_key_is_str_or_bytes(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=KEY), "key", "value")

    assert model.read(backend.store(key=KEY.encode()), "key") == "value"
    assert model.read(backend.store(key=[KEY.encode()]), "key") == "value"
    assert model.read(backend.store(key=(KEY,)), "key") == "value"


def test_keys_are_rotated_with_a_list(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=OTHER_KEY), "old", "old value")
    rotating = backend.store(key=[KEY, OTHER_KEY])

    assert model.read(rotating, "old") == "old value"
    model.write(rotating, "new", "new value")
    assert model.read(backend.store(key=KEY), "new") == "new value"
    with pytest.raises(StoreWrongKeyError):
        model.read(backend.store(key=OTHER_KEY), "new")
    with pytest.raises(StoreWrongKeyError):
        model.read(backend.store(key=KEY), "old")


def test_plaintext_is_refused_under_a_key_unless_it_is_asked_for(backend: Backend, model: Model) -> None:
    model.write(backend.store(), "key", "plain")
    encrypting = backend.store(key=KEY)

    with pytest.raises(StorePlaintextError, match=f"{model.kind} 'key' in namespace 'default'.*plaintext=True"):
        model.read(encrypting, "key")
    assert model.read(backend.store(key=KEY, plaintext=True), "key") == "plain"


def test_one_file_holds_both_and_what_is_written_is_encrypted(backend: Backend, model: Model) -> None:
    model.write(backend.store(), "plain", "plain value")
    mixed = backend.store(key=KEY, plaintext=True)
    model.write(mixed, "secret", "secret value")

    assert model.read(mixed, "plain") == "plain value"
    assert model.read(mixed, "secret") == "secret value"
    assert model.read(backend.store(), "plain") == "plain value"
    assert model.read(backend.store(key=KEY), "secret") == "secret value"
    with pytest.raises(StoreMissingKeyError):
        model.read(backend.store(), "secret")


def test_a_plain_deletion_is_refused_under_a_key(backend: Backend) -> None:
    encrypting = backend.store(key=KEY)
    encrypting["key"] = "value"
    encrypting.extend("key", (1, "a"), (2, "b"))
    encrypting.apply("key", {"n": 1})
    plain = Envelope("default")
    for kind, op, item in ((KV, "delitem", ""), (TS, "remove", ""), (ES, "delitem", "n")):
        start = TIME_MAX if kind == ES else 0
        entry = plain.entry(Stream(kind, "key"), op, item=item, start=start, end=1 if kind == TS else start)
        backend.log().append([Batch(Stream(kind, "key"), [entry], 0)])

    for read in (encrypting.get, encrypting.range, encrypting.current, encrypting.events):
        with pytest.raises(StorePlaintextError):
            read("key")


def test_values_are_nowhere_in_an_encrypted_file(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", key=KEY, frozen=False) as store:
        for name, model in MODELS.items():
            model.write(store, name, "secret value")
        for t in range(300):
            store.apply("long", {"n": "secret value", "m": t})

        data = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"segment" in data
    assert b"secret value" not in data


@pytest.mark.parametrize(
    "bad", ["", "too-short-to-be-a-key", KEY[:-1], KEY + "A", KEY[:-4], KEY.replace("0", "!"), "é" * 44, b"\xff" * 44]
)
def test_a_bad_key_is_a_value_error_that_does_not_show_it(bad: Any) -> None:
    for keys in (bad, [bad], [KEY, bad]):
        with pytest.raises(ValueError, match="32 bytes in URL-safe base64") as caught:
            Store("memory://", key=keys)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert not bad or str(bad) not in shown
        assert KEY not in shown


@pytest.mark.parametrize("bad", [5, 1.5, [5], [None], [[KEY]]], ids=str)
def test_a_key_of_another_type_is_a_type_error(bad: Any) -> None:
    with pytest.raises(TypeError):
        Store("memory://", key=bad)


def test_an_empty_list_of_keys_is_not_no_encryption() -> None:
    with pytest.raises(ValueError, match="key=None"):
        Store("memory://", key=[])


def test_a_key_is_never_shown(backend: Backend, model: Model) -> None:
    store = backend.store(key=[KEY, OTHER_KEY])
    model.write(store, "key", "value")
    Sealed(backend, Stream(model.kind, "key")).put(data=b"\x01\x10" + bytes(40))

    with pytest.raises(StoreError) as caught:
        model.read(store, "key")
    with pytest.raises(StoreError) as wrong:
        model.read(backend.store(key=OTHER_KEY), "key")

    shown = [repr(store), str(store), repr(vars(store)), repr(vars(Cipher(KEY))), repr(store._core.envelope)]
    for error in (caught.value, wrong.value):
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    for key in (KEY, OTHER_KEY):
        assert not any(key in text or key[:20] in text for text in shown)


# -- what is moved does not open --------------------------------------------------------------------------------------


def test_a_ciphertext_moved_to_another_key_does_not_open(backend: Backend, model: Model) -> None:
    store = backend.store(key=KEY)
    model.write(store, "one", "value")
    model.write(store, "other", "value")

    Sealed(backend, Stream(model.kind, "other")).put(data=Sealed(backend, Stream(model.kind, "one")).record().data)

    assert model.read(store, "one") == "value"
    with pytest.raises(StorePayloadError, match=f"{model.kind} 'other' in namespace 'default'"):
        model.read(backend.store(key=KEY), "other")


def test_a_ciphertext_moved_to_another_namespace_does_not_open(backend: Backend, model: Model) -> None:
    for namespace in ("one", "other"):
        model.write(backend.store(namespace=namespace, key=KEY), "key", "value")
    stream = Stream(model.kind, "key")

    Sealed(backend, stream, "other").put(data=Sealed(backend, stream, "one").record().data)

    assert model.read(backend.store(namespace="one", key=KEY), "key") == "value"
    with pytest.raises(StorePayloadError, match=f"{model.kind} 'key' in namespace 'other'"):
        model.read(backend.store(namespace="other", key=KEY), "key")


@pytest.mark.parametrize("other", MODELS)
def test_a_ciphertext_moved_to_another_kind_does_not_open(backend: Backend, model: Model, other: str) -> None:
    if MODELS[other].kind == model.kind:
        other = next(name for name, candidate in MODELS.items() if candidate.kind != model.kind)
    store = backend.store(key=KEY)
    model.write(store, "key", "value")
    MODELS[other].write(store, "key", "value")
    record = Sealed(backend, Stream(MODELS[other].kind, "key")).record()

    Sealed(backend, Stream(model.kind, "key")).put(
        data=record.data, start=record.start, end=record.end, item=record.item, op=record.op
    )

    with pytest.raises(StorePayloadError):
        model.read(backend.store(key=KEY), "key")


MOVES: list[dict[str, Any]] = [
    {"start": 4, "end": 4},
    {"start": 4},
    {"end": 71},
    {"start": 6, "end": 71},
    {"item": "other"},
    {"item": ""},
    {"item": "any"},
]


def test_a_ciphertext_moved_to_another_time_or_item_does_not_open(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=KEY), "key", "value")
    reader = backend.store(key=KEY)
    sealed = Sealed(backend, Stream(model.kind, "key"))
    true = sealed.record()
    at_home = {"start": true.start, "end": true.end, "item": true.item}

    for changes in MOVES:
        if at_home | changes == at_home:
            continue
        sealed.put(**at_home | changes)
        with case(changes), pytest.raises(StorePayloadError):
            model.read(reader, "key")
    sealed.put(**at_home)
    assert model.read(reader, "key") == "value"


def test_a_ciphertext_under_another_operator_does_not_open(backend: Backend, model: Model) -> None:
    model.write(backend.store(key=KEY), "key", "value")
    reader = backend.store(key=KEY)
    sealed = Sealed(backend, Stream(model.kind, "key"))
    true = sealed.record().op

    for op in ("setitem", "delitem", "add", "extend", "remove", "concat", "neg", "mul"):
        if op == true:
            continue
        sealed.put(op=op)
        with case(op), pytest.raises(StorePayloadError):
            model.read(reader, "key")
    sealed.put(op=true)
    assert model.read(reader, "key") == "value"


def test_a_deletion_moved_elsewhere_does_not_delete(backend: Backend) -> None:
    store = backend.store(key=KEY)
    for name in ("one", "other"):
        store[name] = "value"
        store.extend(name, (1, "a"), (2, "b"), (3, "c"))
        store.apply(name, {"n": 1, "m": 1}, t=1)
    del store["one"]
    store.remove("one", start=2, end=2)
    store.apply("one", {"n": (operator.delitem, None)}, t=2)
    for kind in (KV, TS, ES):
        deletion = Entry(*Sealed(backend, Stream(kind, "one")).record()[3:])
        backend.log().append([Batch(Stream(kind, "other"), [deletion], 0)])

    reader = backend.store(key=KEY)
    for read in (reader.get, reader.range, reader.current):
        with pytest.raises(StorePayloadError, match="'other'"):
            read("other")


def test_a_hole_cannot_be_widened(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store.extend("series", ((t, t) for t in range(100)))
    store.remove("series", start=50, end=50)

    Sealed(backend, Stream(TS, "series")).put(start=1, end=98)

    with pytest.raises(StorePayloadError, match="'series'"):
        store.range("series")
    with pytest.raises(StorePayloadError, match="'series'"):
        store.last("series")


def test_rows_swapped_in_the_file_do_not_open(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", key=KEY, frozen=False) as store:
        store.set_many({"admin": "alice", "guest": "mallory"})
    with closing(sqlite3.connect(tmp_path / "a.db")) as db, db:
        (one, data), (other, more) = db.execute("SELECT id, data FROM rstore_head WHERE kind = 'kv'").fetchall()
        db.executemany("UPDATE rstore_head SET data = ? WHERE id = ?", [(data, other), (more, one)])

    with Store(tmp_path / "a.db", key=KEY) as store:
        for key in ("admin", "guest"):
            with pytest.raises(StorePayloadError, match=f"kv '{key}'"):
                store.get(key)


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed_wherever_it_is(backend: Backend, key: str | None, model: Model) -> None:
    model.write(backend.store(key=key), "key", "value")
    reader = backend.store(key=key, frozen=True)
    sealed = Sealed(backend, Stream(model.kind, "key"))
    data = sealed.record().data

    for i in range(0, len(data), 1 if backend.is_local else 7):
        bit = 1 << random.Random(i).randrange(8)
        sealed.put(data=bytes([*data[:i], data[i] ^ bit, *data[i + 1 :]]))
        with pytest.raises(StorePayloadError, match=f"{model.kind} 'key' in namespace 'default'"):
            model.read(reader, "key")
    sealed.put(data=data)
    assert model.read(reader, "key") == "value"


def test_a_payload_that_is_cut_off_is_noticed(backend: Backend, key: str | None, model: Model) -> None:
    model.write(backend.store(key=key), "key", "value")
    reader = backend.store(key=key, frozen=True)
    sealed = Sealed(backend, Stream(model.kind, "key"))
    data = sealed.record().data

    lengths = range(0, len(data), 1 if backend.is_local else 7)
    for damaged in (*(data[:i] for i in lengths), data + b"\0", b"\0" * len(data)):
        sealed.put(data=damaged)
        with pytest.raises(StorePayloadError, match=f"{model.kind} 'key' in namespace 'default'"):
            model.read(reader, "key")


def test_an_unknown_format_or_flag_is_a_clear_error(backend: Backend, key: str | None, model: Model) -> None:
    model.write(backend.store(key=key), "key", "value")
    reader = backend.store(key=key)
    sealed = Sealed(backend, Stream(model.kind, "key"))
    data = sealed.record().data

    for header in (b"\x00\x00", b"\x02\x00", b"\xff\x00", b"\x01\x80", b"\x01\xc0"):
        sealed.put(data=header + data[2:])
        match = f"{model.kind} 'key' in namespace 'default'.*newer rstore"
        with case(header), pytest.raises(StoreFormatError, match=match):
            model.read(reader, "key")


def test_a_pickle_that_fails_is_a_payload_error(backend: Backend, key: str | None, model: Model) -> None:
    model.write(backend.store(key=key), "key", "value")
    sealed = Sealed(backend, Stream(model.kind, "key"))
    record, stream = sealed.record(), sealed.stream
    envelope = Envelope("default", cipher=Cipher(key) if key else None)
    for body in (b"no pickle", b"cno_such_module\nthing\n.", pickle.dumps([1, 2])[:-3]):
        forged = envelope.entry(stream, record.op, Body(0, body), item=record.item, start=record.start, end=record.end)
        sealed.put(data=forged.data)
        with pytest.raises(StorePayloadError, match=f"{model.kind} 'key' in namespace 'default'"):
            model.read(backend.store(key=key), "key")


def test_an_operator_of_a_newer_version_is_a_store_error(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    store.apply("log", {"n": 1}, t=1)
    envelope, stream = Envelope("default", cipher=Cipher(key) if key else None), Stream(ES, "log")
    entry = envelope.entry(stream, "frobnicate", envelope.dump("log", 5), item="n", start=2, end=2)
    backend.log().append([Batch(stream, [entry], 0)])

    for read in (store.events, store.current, lambda key: store.past(key, 5), lambda key: store.apply(key, {"n": 1})):
        with pytest.raises(StoreError, match=r"(?s)(?=.*frobnicate)(?=.*'log')"):
            read("log")


# -- round trips ------------------------------------------------------------------------------------------------------

TIMES = st.integers(TIME_MIN, TIME_MAX)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = SCALARS | st.lists(SCALARS | st.lists(SCALARS), max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)
ANY = (
    JSON
    | st.binary()
    | st.tuples(st.integers(), st.text())
    | st.sets(st.integers())
    | st.complex_numbers(allow_nan=False)
)
SERIES = Stream(TS, "series")


def through_the_log(envelope: Envelope, times: list[int], values: list[Any]) -> list[tuple[int, Any]]:
    """Seal points as a record and open it again."""
    body = envelope.dump_run("series", (times, values))
    record = Record(1, 1, 0, *envelope.entry(SERIES, "extend", body, start=times[0], end=times[-1]))
    return list(zip(*envelope.run(SERIES, record), strict=True))


def envelopes(**options: Any) -> list[Envelope]:
    return [Envelope("default", **options), Envelope("default", **options, cipher=Cipher(KEY))]


@given(st.dictionaries(TIMES, ANY, min_size=1))
def test_points_of_any_times_and_values_come_back_from_a_segment(points: dict[int, Any]) -> None:
    times = sorted(points)
    values = [points[time] for time in times]

    for envelope in envelopes():
        assert through_the_log(envelope, times, values) == list(zip(times, values, strict=True))


@given(st.dictionaries(TIMES, JSON, min_size=1))
def test_segments_of_dumped_values_come_back_too(points: dict[int, Any]) -> None:
    times = sorted(points)
    values = [points[time] for time in times]

    for dump in (json.dumps, lambda value: json.dumps(value).encode()):
        for envelope in envelopes(dump=dump, load=json.loads):
            assert through_the_log(envelope, times, values) == list(zip(times, values, strict=True))


@given(st.integers(TIME_MIN, 2**62), st.integers(1, 2**50), st.integers(1, 2000))
def test_regular_times_come_back_from_next_to_nothing(start: int, step: int, count: int) -> None:
    times = list(range(start, start + step * count, step))[:count]
    envelope = Envelope("default")

    assert [time for time, _ in through_the_log(envelope, times, [None] * count)] == times
    assert len(envelope.dump_run("series", (times, [None] * count)).data) < 300


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_states_come_back_from_a_snapshot(state: dict[str, Any]) -> None:
    stream = Stream("ss", "log")
    for envelope in [*envelopes(), *envelopes(dump=json.dumps, load=json.loads)]:
        body = envelope.dump_state("log", state)
        assert body is not None
        record = Record(1, 1, 0, *envelope.entry(stream, "snapshot", body, item="7", start=1, end=1))
        assert envelope.state(stream, record) == state


@given(
    st.sampled_from([1, 3, 5, 7, 9, 13]),
    st.binary(max_size=20)
    | st.builds(
        lambda count, index, data, size: struct.pack("<II", count, len(index) + size) + index + data,
        st.integers(0, 4),
        st.builds(lambda code, data: bytes([code]) + data, st.sampled_from(b"BHIQRbhqfduw\0"), st.binary(max_size=20)),
        st.builds(
            lambda blobs: b"B" + bytes(map(len, blobs)) + b"".join(blobs),
            st.lists(st.sampled_from([b"1b", b'"x"t', b"b", b"t", b"", b"[b", b"\xfft"]), max_size=4),
        ),
        st.integers(-1, 1),
    ),
)
@example(5, struct.pack("<II", 0, 9) + b"R" + bytes(8) + b"B")
@example(5, struct.pack("<II", 0, 1) + b"B" + b"B")
@example(5, struct.pack("<II", 2, 5) + b"u\3\0\0\0" + b"B\2\2" + b"1b1b")
@example(5, struct.pack("<II", 2, 9) + b"d" + struct.pack("<d", 3.0) + b"B\2\2" + b"1b1b")
@example(5, struct.pack("<II", 2, 2) + b"b\3" + b"B\2\2" + b"1b1b")
@example(5, struct.pack("<II", 2, 9) + b"R" + struct.pack("<Q", 2) + b"B\2\2" + b"1b1b")
def test_whatever_a_payload_holds_is_read_or_is_a_store_error(flags: int, body: bytes) -> None:
    envelope = Envelope("default", json.dumps, json.loads)
    record = Record(1, 1, 0, *envelope.entry(SERIES, "extend", Body(flags, body), start=0, end=3))

    for read in (envelope.value, envelope.run, envelope.state, envelope.check):
        try:
            read(SERIES, record)
        except StorePayloadError as exc:
            assert "ts 'series' in namespace 'default'" in str(exc)  # noqa: PT017  # any other error fails the test


@pytest.mark.parametrize("compresses", [True, False])
def test_values_are_compressed_if_that_saves_something(
    backend: Backend, key: str | None, model: Model, compresses: bool
) -> None:
    store = backend.store(key=key)
    value = b"again " * 20_000 if compresses else random.Random(1).randbytes(120_000)
    model.write(store, "key", value)
    size = len(Sealed(backend, Stream(model.kind, "key")).record().data)

    assert model.read(backend.store(key=key), "key") == value
    assert size < 4000 if compresses else len(value) < size < 4 * len(value)


def test_nan_is_a_value_too(store: Store, model: Model) -> None:
    model.write(store, "key", math.nan)

    assert math.isnan(model.read(store, "key"))
