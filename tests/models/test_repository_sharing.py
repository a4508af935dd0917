"""What instances share with the states that they are made of: nothing that could change."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NewType

import attrs
import pytest
from cattrs.preconf.json import make_converter

from rstore import Repository, Store
from rstore.repository.fields import converter_for, fields_of
from rstore.repository.sharing import Sharing, sharing_of
from tests.conftest import in_turn

Article = NewType("Article", str)


@pytest.fixture
def store() -> Iterator[Store]:
    """Yield a store in memory: whatever it is kept in, states are cached above."""
    with Store("memory://", frozen=False) as store:
        yield store


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Line:
    article: Article
    price: Decimal = Decimal(0)
    colour: Colour | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    line: Line


@dataclasses.dataclass
class Open:
    names: tuple[str, ...] = ()


@attrs.frozen
class Converted:
    names: tuple[str, ...] = attrs.field(converter=list, default=())


@attrs.frozen
class Derived:
    name: str
    parts: list[str] = attrs.field(init=False, factory=list)


@attrs.frozen
class Loose:
    inside: Any


@attrs.frozen
class Tree:
    name: str
    branches: tuple[Tree, ...] = ()


TYPES: dict[Any, tuple[Any, Sharing]] = {
    Decimal: (Decimal(1), Sharing.FROZEN),
    datetime.date | None: (None, Sharing.FROZEN),
    Literal["a", "b"]: ("a", Sharing.FROZEN),
    tuple[Line, ...]: ((Line(Article("cup")),), Sharing.FROZEN),
    tuple[Slotted, int]: ((Slotted(Line(Article("cup"))), 1), Sharing.FROZEN),
    frozenset[str]: (frozenset("a"), Sharing.FROZEN),
    Tree: (Tree("a", (Tree("b"),)), Sharing.FROZEN),
    list[Line]: ([Line(Article("cup"))], Sharing.FRESH),
    set[int]: ({1}, Sharing.FRESH),
    dict[str, list[int]]: ({"a": [1]}, Sharing.FRESH),
    Sequence[int]: ((1,), Sharing.FRESH),
    Mapping[str, Line]: ({"a": Line(Article("cup"))}, Sharing.FRESH),
    Open: (Open(("a",)), Sharing.FRESH),
    tuple[Open, ...]: ((Open(("a",)),), Sharing.FRESH),
    Converted: (Converted(("a",)), Sharing.FRESH),
    Derived: (Derived("a"), Sharing.FRESH),
    Loose: (Loose({"a": [1]}), Sharing.UNKNOWN),
    tuple[Loose, ...]: ((Loose([1]),), Sharing.UNKNOWN),
    list[Any]: ([[1], {"a": [2]}], Sharing.UNKNOWN),
    list: ([[1]], Sharing.UNKNOWN),
    dict: ({"a": [1]}, Sharing.UNKNOWN),
    collections.deque[int]: (collections.deque([1]), Sharing.UNKNOWN),
}


def model_of(of_type: Any) -> Any:
    """Return a class with a field of a type, one of any type, and a number."""
    return attrs.make_class(
        "Model",
        {"value": attrs.field(type=of_type), "plain": attrs.field(type=Any), "n": attrs.field(type=int, default=0)},
    )


def spoil(value: Any) -> None:
    """Change all that can be changed in a value."""
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        parts = list(value)
    else:
        parts = [getattr(value, each.name) for each in _fields(value)]
    for part in parts:
        spoil(part)
    if hasattr(value, "clear"):
        value.clear()
    for each in _fields(value):
        try:
            setattr(value, each.name, None)
        except (attrs.exceptions.FrozenError, dataclasses.FrozenInstanceError):
            return


def _fields(value: Any) -> Any:
    if isinstance(value, type):
        return ()
    return attrs.fields(type(value)) if attrs.has(type(value)) else getattr(value, "__dataclass_fields__", {}).values()


def test_each_type_tells_what_its_values_share() -> None:
    for of_type, (_, sharing) in TYPES.items():
        fields = fields_of(model_of(of_type))
        assert sharing_of(fields, converter_for(model_of(of_type), fields), True)["value"] is sharing, of_type


def test_the_converter_of_a_user_may_do_anything() -> None:
    fields = fields_of(model_of(tuple[Line, ...]))
    assert sharing_of(fields, make_converter(), False) == {"value": Sharing.UNKNOWN}


@in_turn("upcast", [{}, {"old": "n"}])
def test_what_is_done_to_an_instance_changes_no_other(store: Store, upcast: Any) -> None:
    for number, (of_type, (value, _)) in enumerate(TYPES.items()):
        models = Repository(store, model_of(of_type), f"{number} {len(upcast)}/", upcast=upcast)
        kept, text = [], repr(models.create("1", value=value, plain=[{"a": [1]}]))

        def decide(model: Any, kept: Any = kept) -> Any:
            kept.append(model)
            spoil(model)
            return {"n": 0}

        for _ in range(2):
            for instance in (models["1"], models.get("1"), *dict(models.all()).values(), models.do("1", decide)):
                assert repr(instance) == text, of_type
                spoil(instance)
            spoil(kept.pop())
        assert repr(models["1"]) == text, of_type


def test_what_an_upcast_does_to_a_stored_form_is_not_stored(store: Store) -> None:
    def first(values: Any) -> Any:
        return {"n": values.pop()}

    store.apply("1", {"value": {"a": [1]}, "plain": None, "olds": [5, 6]})
    models: Any = Repository(store, model_of(dict[str, list[int]]), "", upcast={"olds": first})
    assert [models["1"].n for _ in range(3)] == [6, 6, 6]


def test_a_value_that_nobody_can_change_is_made_once_for_each_stored_form(store: Store) -> None:
    made = []

    @attrs.frozen
    class Counted:
        name: str

        def __attrs_post_init__(self) -> None:
            made.append(self.name)

    globals()["Counted"] = Counted  # where its type is looked for
    orders: Any = Repository(store, model_of(tuple[Counted, ...]), "")
    orders.create("1", value=(Counted("a"),), plain=None)
    made.clear()
    orders.do("1", lambda order: {"n": 1})
    assert made == ["a"]
    made.clear()
    orders.do("1", lambda order: {"value": (Counted("b"),)})
    assert sorted(made) == ["a", "b", "b"]
