"""The types of plain fields are checked when they are stored; one bad instance does not break all others."""

from __future__ import annotations

import dataclasses
import enum
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import attrs
import cattrs
import pytest

from rstore import Repository, Store, StoreClosedError, StoreError, StoreModelError


class Level(enum.IntEnum):
    HIGH = 3


@attrs.frozen
class Thing:
    number: int = 0
    ratio: float = 0.5
    text: str = ""
    flag: bool = False
    raw: bytes = b""
    maybe: int | None = None
    either: str | int = 0
    old: int = None  # type: ignore[assignment]
    free: Any = None
    nothing: None = None


@pytest.fixture
def things(store: Store) -> Repository[Thing]:
    return Repository(store, Thing)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", True),
        ("number", Level.HIGH),
        ("ratio", 1),
        ("maybe", None),
        ("maybe", 4),
        ("either", "a"),
        ("either", 2),
        ("old", None),
        ("old", 7),
        ("free", ["whatever"]),
    ],
)
def test_what_a_type_checker_accepts_is_stored(things: Repository[Thing], field: str, value: Any) -> None:
    assert getattr(things.create("a", **{field: value}), field) == value
    things.create("b")
    assert things.do("b", lambda _: {field: value}) == things["b"] == things["a"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("number", 1.5, "field 'number': 1.5 is no int, but of type float"),
        ("number", "1", "field 'number': '1' is no int, but of type str"),
        ("number", None, "field 'number': None is no int, but of type NoneType"),
        ("ratio", "x", "is no float"),
        ("text", 1, "is no str"),
        ("flag", 1, "is no bool"),
        ("raw", "text", "is no bytes"),
        ("maybe", "text", r"is no int \| None"),
        ("either", 1.5, r"is no str \| int"),
        ("old", "text", "is no int"),
        ("nothing", 0, "is no NoneType"),
    ],
)
def test_others_are_refused(things: Repository[Thing], field: str, value: Any, message: str) -> None:
    with pytest.raises(StoreModelError, match=message) as raised:
        things.create("a", **{field: value})
    assert raised.value.key == "a"
    assert things.version("a") == 0
    things.create("a")
    before = things.version("a")
    with pytest.raises(StoreModelError, match=message):
        things.do("a", lambda _: {field: value})
    assert things.version("a") == before


def test_the_result_of_an_operator_is_checked_too(things: Repository[Thing]) -> None:
    things.create("a", number=7)
    with pytest.raises(StoreModelError, match=r"field 'number': 3\.5 is no int"):
        things.do("a", lambda _: {"number": (operator.truediv, 2)})
    assert things.do("a", lambda _: {"number": (operator.floordiv, 2)}).number == 3


def test_what_was_stored_before_still_loads_and_decides(store: Store, things: Repository[Thing]) -> None:
    store.apply("Thing/a", {"number": "seven", "text": 5})
    assert things["a"] == Thing(number="seven", text=5)  # type: ignore[arg-type]
    assert things.do("a", lambda _: {"flag": True}).number == "seven"
    with pytest.raises(StoreModelError, match="is no str"):
        things.do("a", lambda _: {"text": (operator.add, 1)})
    assert things.do("a", lambda _: {"number": 7, "text": "5"}) == Thing(number=7, text="5", flag=True)


def test_of_dataclasses_too(store: Store) -> None:
    @dataclass
    class Row:
        count: int
        name: str = "x"

    rows = Repository(store, Row)
    with pytest.raises(StoreModelError, match="'count'"):
        rows.create("a", count="1")
    assert rows.create("a", count=1).count == 1


class TestAll:
    @pytest.fixture
    def mixed(self, store: Store, things: Repository[Thing]) -> Repository[Thing]:
        things.create("a")
        store.apply("Thing/b", {"colour": "red"})
        things.create("c", number=3)
        store.apply("Thing/d", {"number": 4})
        store.delete_events("Thing/d")
        return things

    def test_raises(self, mixed: Repository[Thing]) -> None:
        with pytest.raises(StoreModelError, match="'b': 'colour'"):
            list(mixed.all())

    def test_skips(self, mixed: Repository[Thing]) -> None:
        assert dict(mixed.all("skip")) == dict(mixed.at(2**62).all("skip")) == {"a": Thing(), "c": Thing(3)}

    def test_yields_errors(self, mixed: Repository[Thing]) -> None:
        found = dict(mixed.all(errors="yield"))
        assert list(found) == ["a", "b", "c"]
        assert isinstance(found["b"], StoreModelError)
        assert [isinstance(each, StoreError) for each in found.values()] == [False, True, False]

    def test_refuses_other_words_at_once(self, things: Repository[Thing]) -> None:
        with pytest.raises(ValueError, match="errors is 'raise', 'skip' or 'yield', not 'ignore'"):
            things.all("ignore")  # type: ignore[call-overload]


def _read_a_closed_store(*_: Any) -> Any:
    return Store("memory://")["a"]


def _exhaust_the_memory(*_: Any) -> Any:
    raise MemoryError


@pytest.mark.parametrize("fail", [_read_a_closed_store, _exhaust_the_memory])
class TestWhatSaysNothingAboutAnInstance:
    """A store that a class reads, and that can't be reached, must not look like an instance that does not fit."""

    @pytest.fixture
    def converter(self, fail: Callable[..., Any]) -> cattrs.Converter:
        converter = cattrs.Converter()
        converter.register_structure_hook(Level, fail)
        converter.register_unstructure_hook(Level, fail)
        return converter

    def check(self, things: Repository[Any], store: Store, state: dict[str, Any]) -> None:
        store.apply("Thing/a", state)
        for errors in ("skip", "yield", "raise"):
            with pytest.raises((StoreClosedError, MemoryError, ExceptionGroup)):
                list(things.all(errors))  # type: ignore[call-overload]

    def test_of_an_upcast(self, store: Store, fail: Callable[..., Any]) -> None:
        self.check(Repository(store, Thing, upcast={"before": fail}), store, {"before": 1})

    def test_of_the_class(self, store: Store, fail: Callable[..., Any]) -> None:
        by_validator = attrs.make_class("Thing", {"number": attrs.field(validator=fail)})
        self.check(Repository(store, by_validator), store, {"number": 1})
        as_a_whole = dataclasses.make_dataclass(
            "Thing", [("number", int)], namespace={"__post_init__": lambda self: fail()}
        )
        self.check(Repository(store, as_a_whole), store, {"number": 1})

    def test_of_a_converter(self, store: Store, converter: cattrs.Converter) -> None:
        model = attrs.make_class("Thing", {"level": attrs.field(type=Level)})
        things: Repository[Any] = Repository(store, model, converter=converter)
        self.check(things, store, {"level": 3})
        with pytest.raises((StoreClosedError, MemoryError)):
            things.create("b", level=Level.HIGH)

    def test_inside_of_a_value(self, store: Store, converter: cattrs.Converter) -> None:
        model = attrs.make_class("Thing", {"levels": attrs.field(type=list[Level])})
        self.check(Repository(store, model, converter=converter), store, {"levels": [3]})
