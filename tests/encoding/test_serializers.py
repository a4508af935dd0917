"""What JsonStore and MsgpackStore keep: it comes back as it was, as documented, or it is refused by name."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import operator
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pandas as pd
import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import JsonStore, MsgpackStore, Store
from rstore.encoding.msgpack_values import EXTENSIONS, Packer
from tests.conftest import Backend, in_turn


class Colour(str, enum.Enum):  # noqa: UP042  # a StrEnum formats as what it is
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Number(int):
    pass


@dataclasses.dataclass
class Point:
    x: int


@attrs.frozen
class Place:
    x: int


Pair = namedtuple("Pair", "x y")  # noqa: PYI024  # a class of its own all the same

BERLIN = ZoneInfo("Europe/Berlin")
IN_BERLIN = "ad" + b"Europe/Berlin".hex()
HALF_PAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types, also inside; NaN is like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(alike(each, found) for found in other) for each in one)
    if isinstance(one, datetime.datetime | datetime.time) and (one.fold, one.utcoffset()) != (
        other.fold,
        other.utcoffset(),
    ):
        return False
    return repr(one) == repr(other)


# -- MessagePack ------------------------------------------------------------------------------------------------------

ZONES = st.sampled_from([None, datetime.UTC, HALF_PAST, BERLIN, ZoneInfo("UTC")])
TEXTS = st.text(max_size=5) | st.text(st.characters(), max_size=3).map(lambda text: text + "\udcff")
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.complex_numbers()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.fractions()
    | TEXTS
    | st.binary(max_size=5)
    | st.dates()
    | st.times(timezones=ZONES)
    | st.datetimes(timezones=ZONES)
    | st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=ZONES), st.sampled_from([0, 1]))
    | st.timedeltas()
    | st.uuids()
)
HASHABLE = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE | st.just(Decimal("sNaN")) | st.binary(max_size=5).map(bytearray) | st.sets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=500)
@given(VALUES)
@pytest.mark.slow
def test_msgpack_gives_back_each_value_equal_and_of_the_same_types(value: Any) -> None:
    packer = Packer()
    assert alike(packer.unpack(packer.pack(value)), value)


KEPT: list[tuple[Any, str]] = [
    (2**64, "c7092101" + "00" * 8),
    (-(2**63) - 1, "c70921ff7fffffffffffffff"),
    ("a\udcff", "d622 61edb3bf"),
    ({(1,): 2, "b": 3}, "c70923 94 d5249101 02 a16203"),
    ((1, "a"), "d624 9201a161"),
    ({1}, "d525 9101"),
    (frozenset({1}), "d526 9101"),
    (bytearray(b"ab"), "d527 6162"),
    (1 + 2j, "d828 3ff0000000000000 4000000000000000"),
    (Decimal("1.10"), "d629 312e3130"),
    (Fraction(1, 3), "c7032a 920103"),
    (datetime.datetime(2024, 1, 2, 3, 4, 5), "c7172b 93b3323032342d30312d30325430333a30343a303500c0"),  # noqa: DTZ001
    (
        datetime.datetime(2024, 1, 2, tzinfo=BERLIN),
        f"c7242b 93b3{b'2024-01-02T00:00:00'.hex()} 00 ad{b'Europe/Berlin'.hex()}",
    ),
    (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "d6ff65935200"),
    (datetime.date(2024, 1, 2), "c70a2c 323032342d30312d3032"),
    (datetime.time(3, 4), "c70c2d 93a830333a30343a303000c0"),
    (datetime.timedelta(1, 2, 3), "d62e 93010203"),
    (uuid.UUID(int=1), "d82f 00000000000000000000000000000001"),
]


@in_turn(("value", "packed"), KEPT)
def test_what_is_packed_is_a_stored_format_that_does_not_change(value: Any, packed: str) -> None:
    assert Packer().pack(value) == bytes.fromhex(packed)
    assert alike(Packer().unpack(bytes.fromhex(packed)), value)


def test_each_extension_type_is_among_those_whose_bytes_are_written_down() -> None:
    assert {type(value) for value, _ in KEPT} == set(EXTENSIONS)
    assert sorted(extension.code for extension in EXTENSIONS.values()) == list(range(33, 48))


BEFORE: list[Any] = [
    *(None, True, 1, 2**64 - 1, -(2**63), 1.5, "é", b"\0", [1, [2]], {"a": 1, 2: [3], b"c": None, 1.5: False}),
    datetime.datetime(2024, 1, 2, 3, 4, 5, 6, datetime.UTC),
]


@in_turn("value", BEFORE)
def test_what_msgspec_alone_has_written_is_read_and_written_as_ever(value: Any) -> None:
    written = msgspec.msgpack.encode(value)
    assert alike(Packer().unpack(written), value)
    assert Packer().pack(value) == written


def test_what_became_another_type_before_is_read_as_that() -> None:
    for value, became in (((1, 2), [1, 2]), (Decimal("1.1"), "1.1"), (datetime.date(2024, 1, 2), "2024-01-02")):
        assert alike(Packer().unpack(msgspec.msgpack.encode(value)), became)


def test_extension_types_of_ones_own_come_back(backend: Backend) -> None:
    store = backend.store(MsgpackStore)
    for code in (0, 32, 48, 127, -128):
        store["own"] = [msgspec.msgpack.Ext(code, b"x")]
        (found,) = store["own"]
        assert (found.code, found.data) == (code, b"x")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)

REFUSED: list[tuple[Any, str]] = [
    (Colour.RED, r"test_serializers\.Colour as it is: store its \.value"),
    (Size.SMALL, r"store its \.value"),
    (Point(1), r"store dataclasses\.asdict\(it\)"),
    (Place(1), r"store attrs\.asdict\(it\)"),
    (Pair(1, 2), r"Pair as it is: store its \._asdict\(\)"),
    (Number(1), r"Number as it is: make it of type int first"),
    (OrderedDict(a=1), r"collections\.OrderedDict as it is: make it of type dict first"),
    (np.float64(1.5), r"numpy\.float64 as it is: store its \.tolist\(\)"),
    (np.str_("a"), r"store its \.tolist\(\)"),
    (np.array([1]), r"numpy\.ndarray as it is: store its \.tolist\(\)"),
    (pd.Timestamp(1), r"Timestamp as it is: make it of type datetime first"),
    (pd.NA, "make it of one of the types Decimal, Fraction"),
    (object(), "make it of one of the types Decimal, Fraction"),
    (msgspec.msgpack.Ext(40, b""), "its code is one of rstore's own, choose another"),
]


@in_turn(("wrong", "message"), REFUSED)
def test_msgpack_refuses_by_name_what_would_come_back_as_another_type(
    backend: Backend, wrong: Any, message: str
) -> None:
    store = backend.store(MsgpackStore)
    writes = (
        lambda value: store.set("k", value),
        lambda value: store.extend("k", (1, value), (2, 0)),
        lambda value: store.apply("k", {"item": value}),
    )
    for value in (wrong, [wrong], {"a": (wrong,)}):
        for write in writes:
            with pytest.raises(TypeError, match=message) as told:
                write(value)
            assert told.value.__notes__[0].startswith("rstore: while dumping")
    assert store.keys() == store.timeseries() == store.eventsources() == []


def test_msgpack_refuses_what_holds_itself(backend: Backend) -> None:
    with pytest.raises(ValueError, match="holds itself, or is nested so deeply"):
        backend.store(MsgpackStore)["k"] = CIRCLE


GIVEN = {
    "price": Decimal("1.10"),
    "when": datetime.datetime(2024, 1, 2, 3, tzinfo=BERLIN),
    "naive": datetime.datetime(2024, 1, 2, 3),  # noqa: DTZ001
    "day": datetime.date(2024, 1, 2),
    "size": (1, {2}, frozenset({"a"})),
    "ident": uuid.UUID(int=5),
    "great": 2**100,
}


def test_msgpack_keeps_types_in_every_model(backend: Backend, key: str | None) -> None:
    store = backend.store(MsgpackStore, key=key)
    store["k"] = GIVEN
    store.extend("k", (1, GIVEN), *((time, Decimal(time)) for time in range(2, 5)))
    for n in range(300):  # so many that a snapshot is made
        store.apply("k", {**GIVEN, "n": Decimal(n)}, t=n)
    store.apply("k", {"price": (operator.mul, Decimal(2)), "size": (operator.add, (3,))}, t=300)
    after = {**GIVEN, "n": Decimal(299), "price": Decimal("2.20"), "size": (*GIVEN["size"], 3)}  # type: ignore[misc]
    store.compact()
    for reader in (store, backend.store(MsgpackStore, key=key, frozen=True)):
        assert alike(reader["k"], GIVEN)
        assert alike(list(reader.range("k")), [(1, GIVEN), *((time, Decimal(time)) for time in range(2, 5))])
        assert alike(reader.current("k"), after)


def test_msgpack_keeps_types_in_columns_of_frames(backend: Backend) -> None:
    store = backend.store(MsgpackStore)
    prices = [Decimal("1.10"), Decimal("2.20")]
    store.extend("k", pd.DataFrame({"price": prices, "size": [1, 2]}, index=[1, 2]))
    assert [row["price"] for _, row in store.range("k")] == prices


# -- JSON -------------------------------------------------------------------------------------------------------------


@in_turn(
    ("value", "became"),
    [
        ((1, (2,)), [1, [2]]),
        (Colour.RED, "red"),
        (Size.SMALL, 1),
        (Number(5), 5),
        (np.float64(1.5), 1.5),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        ({1: 1, True and 2: 2, None: 3, 1.5: 4, False: 5}, {"1": 1, "2": 2, "null": 3, "1.5": 4, "false": 5}),
        ([math.nan, math.inf, -math.inf], [math.nan, math.inf, -math.inf]),
        ("a\udcff", "a\udcff"),
        ({"a\ud800": 1}, {"a\ud800": 1}),
        (2**100, 2**100),
    ],
)
def test_json_gives_back_what_is_documented(backend: Backend, value: Any, became: Any) -> None:
    store = backend.store(JsonStore)
    store["k"] = value
    store.extend("k", (1, value), (2, value))
    assert alike(store["k"], became)
    assert alike(list(store.range("k")), [(1, became), (2, became)])


@in_turn("keys", [(1, "1"), (True, "true"), (None, "null"), (1.5, "1.5"), (math.nan, "NaN")])
def test_json_loses_no_value_to_a_key_that_becomes_the_same(backend: Backend, keys: tuple[Any, str]) -> None:
    store = backend.store(JsonStore)
    doubled = {keys[0]: "one", keys[1]: "other"}
    for value in (doubled, [doubled], {"a": (1, doubled)}):
        with pytest.raises(ValueError, match=f"two keys of a dict are both '{keys[1]}' in JSON"):
            store["k"] = value
    assert store.keys() == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_json_gives_back_each_value_of_its_own_types(value: Any) -> None:
    with JsonStore("memory://", frozen=False) as store:
        store["k"] = value
        assert alike(store["k"], value)


@pytest.mark.parametrize("cls", [JsonStore, MsgpackStore, Store])
def test_no_serializer_stores_a_lone_surrogate_that_it_can_not_read(backend: Backend, cls: type[Store]) -> None:
    store = backend.store(cls)
    store["k"] = "a\ud800"
    store.extend("k", (1, "a\ud800"), (2, "b"))
    assert store.apply("k", {"n": "\udcff"}) == {"n": "\udcff"}
    assert store["k"] == "a\ud800"
    assert store.first("k") == (1, "a\ud800")


def test_what_is_stored_while_the_clock_is_held_is_what_is_stored_otherwise() -> None:
    """A held clock hands out dates of classes of its own."""
    zone = ZoneInfo("Europe/Berlin")
    moments = [datetime.datetime(2026, 10, 25, 2, 30, 0, 5, tzinfo=zone, fold=1), datetime.date(2026, 1, 1)]
    with freeze_time("2026-01-01"), MsgpackStore("memory://", frozen=False) as store:
        held = [datetime.datetime.now(datetime.UTC), datetime.datetime.now(zone), datetime.datetime.now(zone).date()]
        store["held"] = [*held, *moments]
        assert store["held"] == [*held, *moments]
        assert {type(each).__name__ for each in store["held"]} <= {"datetime", "date", "FakeDatetime", "FakeDate"}
    with MsgpackStore("memory://", frozen=False) as store:
        store["k"] = held
        assert [type(each) for each in store["k"]] == [datetime.datetime, datetime.datetime, datetime.date]
