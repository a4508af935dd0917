"""pydantic models in a repository."""

from __future__ import annotations

import datetime
import enum
import operator
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import pytest

pydantic = pytest.importorskip("pydantic")

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator  # noqa: E402

from rstore import Changes, JsonStore, Repository, Store, StoreModelError  # noqa: E402
from tests.conftest import KEY, Backend  # noqa: E402


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Line(BaseModel):
    model_config = ConfigDict(frozen=True)
    what: str
    price: Decimal = Field(alias="cost")


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Order(BaseModel):
    model_config = ConfigDict(frozen=True)

    customer: str
    total: Decimal = Decimal(0)
    count: int = Field(default=0, ge=0)
    lines: list[Line] = Field(default_factory=list)
    colour: Colour = Colour.RED
    due: datetime.date | None = None
    tags: frozenset[str] = frozenset()
    ident: UUID = UUID(int=0)
    paid: Annotated[Cash | Card, Field(discriminator="kind")] = Cash()
    readings: list[float] = []
    takes: datetime.timedelta = datetime.timedelta(days=1, microseconds=3)

    @field_validator("customer")
    @classmethod
    def stripped(cls, customer: str) -> str:
        if not customer.strip():
            raise ValueError("a customer has a name")
        return customer.strip()

    def add(self, line: Line) -> Changes:
        return {"lines": [*self.lines, line], "total": (operator.add, line.price), "count": (operator.add, 1)}


LINE = Line(what="tea", cost=Decimal("1.10"))


@pytest.mark.parametrize("cls", [Store, JsonStore])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_values_come_back_as_they_were(backend: Backend, cls: type[Store], key: str | None) -> None:
    orders = Repository(backend.store(cls, key=key), Order)
    given: dict[str, Any] = {
        "customer": " Ada ",
        "lines": [LINE],
        "due": datetime.date(2024, 2, 29),
        "tags": frozenset({"new"}),
        "paid": Card(number="42"),
        "readings": [1.5, float("inf")],
    }
    assert orders.create("o", **given) == Order(**given)
    changed = orders.do("o", Order.add, LINE)
    assert (changed.customer, changed.total, changed.count, len(changed.lines)) == ("Ada", Decimal("1.10"), 1, 2)
    assert orders.do("o", lambda order: {"colour": Colour.GREEN, "due": None, "paid": Cash()}) == orders["o"]
    assert Repository(backend.store(cls, key=key), Order)["o"] == orders["o"]
    commit = orders.history("o", by="commit")[1]
    assert (commit.did, [change.op for change in commit.changes][-1]) == ("add", "add")


def test_validators_have_the_last_word(store: Store) -> None:
    orders = Repository(store, Order)
    with pytest.raises(ValidationError):
        orders.create("o", customer=" ")
    with pytest.raises(ValidationError):
        orders.create("o")
    assert orders.create("o", customer="Ada", count="3").count == 3
    assert store.current("Order/o")["count"] == 3  # type: ignore[index]
    before = orders.version("o")
    with pytest.raises(ValidationError):
        orders.do("o", lambda order: {"count": (operator.sub, 4)})
    with pytest.raises(ValidationError):
        orders.do("o", lambda order: {"due": "noon"})
    assert orders.version("o") == before
    store.apply("Order/o", {"count": -1})
    with pytest.raises(StoreModelError, match="field 'count': it makes no Order") as raised:
        orders.get("o")
    assert "-1" not in str(raised.value)


def test_aliases(store: Store) -> None:
    class Safe(BaseModel):
        model_config = ConfigDict(frozen=True)
        code: int = Field(alias="theCode")
        inside: int = Field(default=0, validation_alias=AliasChoices("within", "content"))

    safes = Repository(store, Safe)
    assert safes.create("s", theCode=1, within=2).inside == 2
    assert store.current("Safe/s") == {"code": 1, "inside": 2}
    assert safes.do("s", lambda safe: {"code": 5, "inside": (operator.add, 1)}) == safes["s"]
    assert (safes["s"].code, safes["s"].inside) == (5, 3)

    class Named(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        code: int = Field(alias="theCode")

    named = Repository(store, Named)
    assert named.create("a", code=1) == named.create("b", theCode=1) == named["a"]

    class Deep(BaseModel):
        code: int = Field(validation_alias=AliasPath("a", 0))

    with pytest.raises(TypeError, match="no argument of Deep sets code"):
        Repository(store, Deep)


def test_an_error_names_the_field_and_no_alias(store: Store) -> None:
    class Safe(BaseModel):
        size: int = 0
        code: int = Field(alias="theCode", ge=0)

    store.apply("Safe/s", {"code": -1})
    with pytest.raises(StoreModelError, match=r"'s': field 'code': it makes no Safe \(ValidationError\)"):
        Repository(store, Safe).get("s")


def test_an_error_of_another_model_names_none_of_its_fields(store: Store) -> None:
    class Weight(BaseModel):
        grams: int = Field(ge=0)

    @dataclass
    class Parcel:
        weight: int

        def __post_init__(self) -> None:
            Weight(grams=self.weight)

    store.apply("Parcel/p", {"weight": -1})
    with pytest.raises(StoreModelError, match=r"'p': weight make no Parcel \(ValidationError\)"):
        Repository(store, Parcel).get("p")


def test_strict_models_and_nested_ones(store: Store) -> None:
    class Visit(BaseModel):
        model_config = ConfigDict(strict=True, frozen=True)
        on: datetime.date
        by: tuple[Colour, ...] = ()

    class Guest(BaseModel):
        model_config = ConfigDict(strict=True)
        visits: list[Visit]
        first: datetime.date

    day = datetime.date(2026, 5, 1)
    guests = Repository(store, Guest)
    guests.create("g", visits=[Visit(on=day, by=(Colour.RED,))], first=day)
    assert guests["g"].visits[0].by == (Colour.RED,)
    with pytest.raises(ValidationError):
        guests.do("g", lambda guest: {"first": "2026-05-01"})


def test_inside_of_other_classes(store: Store) -> None:
    @attrs.frozen
    class Basket:
        lines: list[Line]
        first: Line | None = None

    baskets = Repository(store, Basket)
    assert baskets.create("b", lines=[LINE], first=LINE) == baskets["b"] == Basket([LINE], LINE)


def test_fields_are_gained_renamed_and_unknown(store: Store) -> None:
    store.apply("Order/o", {"who": "Ada", "weight": 5})
    orders = Repository(store, Order, upcast={"who": "customer"}, unknown="keep")
    assert orders["o"] == Order(customer="Ada")
    with pytest.raises(StoreModelError, match="'weight' is no field of Order"):
        Repository(store, Order, upcast={"who": "customer"}).get("o")


def test_what_could_not_be_loaded_is_refused(store: Store) -> None:
    class Login(BaseModel):
        password: SecretStr = SecretStr("")
        numbers: list[float] = []

    logins = Repository(store, Login)
    with pytest.raises(StoreModelError, match="'password'"):
        logins.create("a", password=SecretStr("secret"))
    assert logins.create("b", numbers=[float("nan")]).numbers[0] != 0

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    with pytest.raises(TypeError, match="Open allows extra values"):
        Repository(store, Open)

    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        what: Backend

    with pytest.raises(TypeError, match="what of Odd can't be structured: pass a converter="):
        Repository(store, Odd)


def test_nobody_who_has_none_imports_pydantic() -> None:
    program = """if True:
        import sys, attrs, rstore
        Account = attrs.make_class("Account", {"balance": attrs.field(type=int, default=0)})
        accounts = rstore.Repository(rstore.Store("memory://", frozen=False).open(), Account)
        accounts.create("a")
        assert "pydantic" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)
