"""Repositories: classes whose instances are folded from decisions, also when the classes change."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import fractions
import operator
import pathlib
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

import attrs
import pytest
from freezegun import freeze_time

from rstore import (
    Changes,
    FrozenStoreError,
    JsonStore,
    MsgpackStore,
    Repository,
    Store,
    StoreConflictError,
    StoreModelError,
)
from tests.conftest import KEY, Backend


@attrs.frozen
class Account:
    owner: str
    balance: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    limit: int | None = None

    def deposit(self, amount: int) -> Changes:
        if amount <= 0:
            raise ValueError("amount must be positive")
        return {"balance": (operator.add, amount)}

    def withdraw(self, amount: int) -> Changes:
        return {"balance": (operator.sub, amount)}


@pytest.fixture
def accounts(store: Store) -> Repository[Account]:
    return Repository(store, Account)


def test_deciding_needs_no_store() -> None:
    assert Account("Ada").deposit(10) == {"balance": (operator.add, 10)}
    with pytest.raises(ValueError, match="positive"):
        Account("Ada").deposit(0)


class TestInstances:
    def test_are_created_decide_and_are_found_again(self, store: Store, accounts: Repository[Account]) -> None:
        assert accounts.create("acc-1", owner="Ada") == Account("Ada")
        assert accounts.do("acc-1", Account.deposit, 10) == Account("Ada", 10)
        assert accounts.do("acc-1", Account.withdraw, amount=3) == Account("Ada", 7)
        assert accounts.get("acc-1") == accounts["acc-1"] == Account("Ada", 7)
        assert store.current("Account/acc-1") == {"owner": "Ada", "balance": 7, "limit": None}
        assert [change.op for change in accounts.history("acc-1")] == ["setitem", "setitem", "setitem", "add", "sub"]

    def test_are_kept_for_who_comes_later(self, backend: Backend, key: str | None) -> None:
        Repository(backend.store(key=key), Account).create("a", owner="Ada", balance=5)
        assert Repository(backend.store(key=key, frozen=True), Account).get("a") == Account("Ada", 5)

    def test_can_be_listed(self, accounts: Repository[Account]) -> None:
        for name in ("b", "é", "a", ""):
            accounts.create(name, owner=name)
        assert accounts.keys() == list(accounts) == ["", "a", "b", "é"]
        assert list(accounts.all()) == [(name, Account(name)) for name in ("", "a", "b", "é")]
        assert len(accounts) == 4
        assert "a" in accounts
        assert "c" not in accounts

    def test_that_are_not_there(self, accounts: Repository[Account]) -> None:
        assert accounts.get("a") is None
        assert accounts.get("a", 5) == 5
        assert accounts.past("a", 5) is None
        assert accounts.history("a") == accounts.keys() == list(accounts.all()) == []
        with pytest.raises(KeyError):
            accounts["a"]
        with pytest.raises(KeyError):
            accounts.do("a", Account.deposit, 1)
        assert accounts.keys() == []

    def test_are_created_once(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        with pytest.raises(StoreConflictError):
            accounts.create("a", owner="Bob")
        assert accounts["a"] == Account("Ada")

    def test_that_are_invalid_are_not_stored(self, store: Store, accounts: Repository[Account]) -> None:
        for wrong in ({"owner": "Ada", "balance": -1}, {}, {"owner": "Ada", "unknown": 1}):
            with pytest.raises((ValueError, TypeError)):
                accounts.create("a", **wrong)
        accounts.create("a", owner="Ada", balance=5)
        with pytest.raises(ValueError, match="balance"):
            accounts.do("a", Account.withdraw, 6)
        with pytest.raises(ValueError, match="positive"):
            accounts.do("a", Account.deposit, 0)
        assert accounts["a"] == Account("Ada", 5)
        assert len(list(store.log())) == 3

    @pytest.mark.parametrize("wrong", [1, None, b"a", ("a",)])
    def test_have_texts_as_keys(self, accounts: Repository[Account], wrong: Any) -> None:
        for call in (accounts.get, accounts.create, accounts.__contains__, accounts.history, accounts.__getitem__):
            with pytest.raises(TypeError, match="key must be a str"):
                call(wrong)

    def test_what_is_handed_out_is_nobody_elses(self, backend: Backend) -> None:
        @dataclass
        class Cart:
            items: Any

        carts, given = Repository(backend.store(), Cart), ["a"]
        carts.create("c", items=given)
        given.append("b")
        found = carts["c"]
        found.items.append("c")
        assert carts["c"] == Cart(["a"])
        assert carts.do("c", lambda cart: {"items": [*cart.items, "d"]}).items == ["a", "d"]

    def test_at_other_times(self, backend: Backend, key: str | None) -> None:
        accounts = Repository(backend.store(key=key), Account)
        with freeze_time("2024-01-01 12:00:00") as clock:
            accounts.create("a", owner="Ada")
            clock.tick(60)
            accounts.do("a", Account.deposit, 10)
            clock.tick(60)
            accounts.create("b", owner="Bob")
        assert accounts.past("a", "2024-01-01T12:00:30Z") == Account("Ada")
        assert accounts.past("a", datetime.datetime(2024, 1, 1, 12, 1, tzinfo=datetime.UTC)) == Account("Ada", 10)
        assert accounts.past("a", 0) is None
        then = accounts.at("2024-01-01T12:00:30Z")
        assert dict(then.all()) == {"a": Account("Ada")}
        assert "b" not in then
        assert then.get("b") is None
        assert (len(accounts), len(then), len(accounts.at(0))) == (2, 1, 0)
        for write in (lambda: then.do("a", Account.deposit, 1), lambda: then.create("c", owner="Cy")):
            with pytest.raises(FrozenStoreError):
                write()

    def test_who_and_why_are_in_their_history(self, store: Store, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        with store.context(who="teller", why="cash"):
            accounts.do("a", Account.deposit, 10)
        change = accounts.history("a")[-1]
        assert (change.item, change.op, change.value, change.who, change.why) == (
            "balance",
            "add",
            10,
            "teller",
            "cash",
        )

    def test_it_says_what_it_is(self, accounts: Repository[Account]) -> None:
        assert repr(accounts).startswith("<Repository of Account under 'Account/' in <Store ")


class TestDecisions:
    @pytest.mark.parametrize("nothing", [None, {}])
    def test_may_change_nothing(self, store: Store, accounts: Repository[Account], nothing: Any) -> None:
        accounts.create("a", owner="Ada")
        before = store.version("Account/a")
        assert accounts.do("a", lambda account: nothing) == Account("Ada")
        assert store.version("Account/a") == before

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"balanse": 1}, "no field of Account: it has owner, balance, limit"),
            ({"balance": 1, "_x": 1}, "'_x'"),
            ([("balance", 1)], "a mapping of fields, not tuple"),
            (7, "a mapping of fields, not int"),
            ({"owner": (operator.add, 5)}, "'a': field 'owner': operator.add of 5 fails with TypeError"),
            ({"balance": (operator.truediv, 0)}, "'a': field 'balance': operator.truediv of 0 fails with Zero"),
        ],
    )
    def test_that_do_not_fit_are_refused(
        self, store: Store, accounts: Repository[Account], wrong: Any, message: str
    ) -> None:
        accounts.create("a", owner="Ada")
        before = store.version("Account/a")
        with pytest.raises(StoreModelError, match=message) as raised:
            accounts.do("a", lambda account: wrong)
        assert raised.value.key == "a"
        assert store.version("Account/a") == before

    def test_of_what_is_no_operator_are_refused(self, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada")
        for wrong in ((print, 1), operator.add, (operator.add, 1, 2)):
            with pytest.raises(TypeError, match="operator"):
                accounts.do("a", lambda account, wrong=wrong: {"balance": wrong})  # type: ignore[misc]

    def test_may_reset_a_field_to_its_default(self, store: Store, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada", balance=5, limit=7)
        assert accounts.do("a", lambda account: {"limit": (operator.delitem, None)}) == Account("Ada", 5)
        assert store.current("Account/a") == {"owner": "Ada", "balance": 5}
        assert accounts["a"] == Account("Ada", 5)
        with pytest.raises(StoreModelError, match="field 'owner' of Account has no value and no default"):
            accounts.do("a", lambda account: {"owner": (operator.delitem, None)})

    def test_are_taken_again_if_somebody_was_faster(self, backend: Backend) -> None:
        one, other = (Repository(backend.store(), Account) for _ in range(2))
        one.create("a", owner="Ada")
        seen = []

        def decide(account: Account) -> Changes:
            seen.append(account.balance)
            if len(seen) < 3:
                other.do("a", Account.deposit, 10)
            return {"balance": account.balance + 1}

        assert one.do("a", decide).balance == 21
        assert seen == [0, 10, 20]

    def test_of_several_threads_are_all_kept(self, backend: Backend, key: str | None) -> None:
        first, *others = [Repository(backend.store(key=key), Account) for _ in range(3)]
        first.create("a", owner="Ada")
        errors: list[BaseException] = []

        def work(accounts: Repository[Account]) -> None:
            try:
                for _ in range(15):
                    accounts.do("a", Account.deposit, 1)
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(accounts,)) for accounts in (first, first, *others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [accounts["a"].balance for accounts in (first, *others)] == [60, 60, 60]

    def test_in_a_transaction_are_stored_together(self, store: Store, accounts: Repository[Account]) -> None:
        accounts.create("a", owner="Ada", balance=10)
        accounts.create("b", owner="Bob")

        def transfer(amount: int) -> None:
            with store.transaction():
                accounts.do("b", Account.deposit, amount)
                accounts.do("a", Account.withdraw, amount)
                assert accounts["b"].balance == amount

        with pytest.raises(ValueError, match="balance"):
            transfer(11)
        assert dict(accounts.all()) == {"a": Account("Ada", 10), "b": Account("Bob")}
        transfer(4)
        assert dict(accounts.all()) == {"a": Account("Ada", 6), "b": Account("Bob", 4)}
        with pytest.raises(ZeroDivisionError), store.transaction():
            accounts.create("c", owner="Cy")
            raise ZeroDivisionError
        assert "c" not in accounts


# -- classes ----------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


NOBODY = uuid.UUID(int=0)


@attrs.frozen
class Line:
    what: str
    price: Decimal
    quantity: int = 1


@attrs.frozen
class Order:
    lines: list[Line]
    colour: Colour
    due: datetime.date
    placed: datetime.datetime
    total: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()
    takes: datetime.timedelta = datetime.timedelta(days=1, microseconds=3)
    ident: uuid.UUID = NOBODY
    note: str | None = None
    first: Line | None = None
    size: tuple[int, int] = (1, 2)
    prices: dict[str, Decimal] = attrs.Factory(dict)
    path: pathlib.Path = pathlib.Path("a/b")
    at: datetime.time = datetime.time(9, 30)
    share: fractions.Fraction = fractions.Fraction(1, 3)
    raw: bytes | str = b"raw"


GIVEN: dict[str, Any] = {
    "lines": [Line("tea", Decimal("1.10")), Line("milk", Decimal("0.80"), 2)],
    "colour": Colour.RED,
    "due": datetime.date(2024, 2, 29),
    "placed": datetime.datetime(2024, 2, 1, 12, 30, 15, 250, datetime.UTC),
    "first": Line("tea", Decimal("1.10")),
    "tags": frozenset({"new", "urgent"}),
    "prices": {"tea": Decimal("1.10")},
}


class TestStructured:
    @pytest.mark.parametrize("cls", [Store, JsonStore, MsgpackStore])
    @pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
    def test_values_come_back_as_they_were(self, backend: Backend, cls: type[Store], key: str | None) -> None:
        given = GIVEN | ({"raw": ""} if cls is JsonStore else {})  # JSON has no bytes
        orders = Repository(backend.store(cls, key=key), Order)
        assert orders.create("o", **given) == Order(**given)
        assert Repository(backend.store(cls, key=key), Order)["o"] == Order(**given)

        def decide(order: Order) -> Changes:
            return {
                "lines": [*order.lines, Line("bread", Decimal("2.50"))],
                "total": (operator.add, sum(line.price * line.quantity for line in order.lines)),
                "due": (operator.add, datetime.timedelta(days=1)),
                "tags": (operator.or_, {"paid"}),
                "colour": Colour.GREEN,
                "first": None,
                "note": "with operators",
                "prices": {"milk": Decimal("0.80")},
            }

        changed = orders.do("o", decide)
        assert changed.total == Decimal("2.70")
        assert changed.due == datetime.date(2024, 3, 1)
        assert changed.tags == {"new", "urgent", "paid"}
        assert orders["o"] == changed == Repository(backend.store(cls, key=key), Order)["o"]

    def test_what_an_operator_does_to_an_instance_is_what_is_recorded(self, backend: Backend) -> None:
        """A Decimal is stored as text, whose operators have names of their own."""

        @attrs.frozen
        class Basket:
            price: Decimal
            things: list[str]

        baskets = Repository(backend.store(), Basket)
        baskets.create("b", price=Decimal("1.00"), things=["a"])
        added = baskets.do("b", lambda _: {"price": (operator.add, Decimal("0.50")), "things": (operator.add, ["b"])})
        assert added == baskets["b"] == Basket(Decimal("1.50"), ["a", "b"])
        changes = {change.item: (change.op, change.value) for change in baskets.history("b")[-2:]}
        assert changes == {"price": ("decimal.add", "0.50"), "things": ("add", ["b"])}

    def test_without_cattrs_it_says_how_to_get_it(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cattrs", None)
        monkeypatch.setitem(sys.modules, "cattrs.preconf.json", None)
        store = backend.store()
        with pytest.raises(ImportError, match=r"of Order can't .* pip install 'rlib-store\[models\]'"):
            Repository(store, Order)
        assert Repository(store, Account).create("a", owner="Ada", limit=3) == Account("Ada", 0, 3)

    def test_a_converter_of_ones_own(self, backend: Backend) -> None:
        import cattrs

        converter = cattrs.Converter()
        converter.register_unstructure_hook(complex, lambda value: [value.real, value.imag])
        converter.register_structure_hook(complex, lambda value, _: complex(*value))

        @dataclass
        class Wave:
            amplitude: complex

        with pytest.raises(TypeError, match=r"amplitude of .*Wave can't be structured: pass a converter="):
            Repository(backend.store(), Wave)
        waves = Repository(backend.store(JsonStore), Wave, converter=converter)
        waves.create("w", amplitude=1 + 2j)
        assert waves["w"] == waves.at(2**62)["w"] == Wave(1 + 2j)


class TestClasses:
    def test_private_and_aliased_fields(self, backend: Backend) -> None:
        @attrs.define
        class Safe:
            _code: int
            content: int = attrs.field(alias="inside", default=0)
            opened: int = attrs.field(init=False, default=0)

        safes = Repository(backend.store(), Safe)
        safes.create("s", code=1, inside=2)
        assert safes["s"] == Safe(code=1, inside=2)
        changed = safes.do("s", lambda safe: {"_code": safe._code + 1, "content": (operator.add, 1)})
        assert changed == safes["s"] == Safe(code=2, inside=3)
        with pytest.raises(StoreModelError, match="it has _code, content"):
            safes.do("s", lambda safe: {"inside": 1})
        with pytest.raises(StoreModelError, match="'opened'"):
            safes.do("s", lambda safe: {"opened": 1})

    def test_dataclasses_with_all_that_they_can_have(self, backend: Backend) -> None:
        @dataclass(frozen=True, slots=True)
        class Base:
            name: str

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Thing(Base):
            KIND: ClassVar[str] = "thing"
            parts: Any = dataclasses.field(default_factory=list)
            cached: int = dataclasses.field(init=False, default=3, compare=False)
            mode: Literal["on", "off"] = "on"

        things = Repository(backend.store(), Thing)
        assert things.create("t", name="a") == Thing(name="a")
        assert things.do("t", lambda thing: {"parts": [1], "mode": "off"}) == things["t"]
        assert things["t"] == Thing(name="a", parts=[1], mode="off")

    def test_converters_and_validators_of_the_class_have_the_last_word(self, backend: Backend) -> None:
        @attrs.frozen
        class Level:
            value: int = attrs.field(default=0, converter=lambda value: min(int(value), 10))

        store = backend.store()
        levels = Repository(store, Level)
        levels.create("l", value="3")
        assert store.current("Level/l") == {"value": 3}
        assert levels.do("l", lambda level: {"value": (operator.add, 5)}).value == 8
        assert levels.do("l", lambda level: {"value": (operator.add, 5)}).value == 10
        assert levels.do("l", lambda level: {"value": "4"}) == levels["l"] == Level(4)
        assert [(change.op, change.value) for change in levels.history("l")] == [
            ("setitem", 3),
            ("add", 5),
            ("setitem", 10),
            ("setitem", 4),
        ]

    def test_fields_without_a_type(self, backend: Backend) -> None:
        old = attrs.make_class("Old", ["a", "b"])
        olds: Repository[Any] = Repository(backend.store(), old)
        olds.create("o", a=1, b=[2])
        assert olds["o"] == old(1, [2])

    @pytest.mark.parametrize("model", [dict, int, 5, Account("Ada")])
    def test_what_is_no_model_is_refused(self, backend: Backend, model: Any) -> None:
        with pytest.raises(TypeError, match=r"is neither an attrs class, nor a dataclass, nor|a model is a class"):
            Repository(backend.store(), model)

    def test_a_type_that_can_not_be_found(self, backend: Backend) -> None:
        @attrs.define
        class Broken:
            field: Nowhere  # type: ignore[name-defined]  # noqa: F821

        with pytest.raises(TypeError, match=r"a type of .*Broken can't be found"):
            Repository(backend.store(), Broken)

    def test_a_class_without_fields(self, backend: Backend) -> None:
        with pytest.raises(StoreModelError, match="no fields"):
            Repository(backend.store(), attrs.make_class("Empty", [])).create("e")


class TestPrefixes:
    def test_two_repositories_do_not_see_each_other(self, store: Store) -> None:
        one, other = Repository(store, Account, prefix="one/"), Repository(store, Account, prefix="other/")
        one.create("a", owner="Ada")
        other.create("a", owner="Bob")
        store.apply("a", {"no": "account"})
        store["one/b"] = "another kind"
        assert (dict(one.all()), dict(other.all())) == ({"a": Account("Ada")}, {"a": Account("Bob")})
        assert one.at(2**62).keys() == ["a"]

    def test_without_any(self, store: Store) -> None:
        accounts = Repository(store, Account, prefix="")
        accounts.create("a", owner="Ada")
        assert accounts.keys() == store.eventsources() == ["a"]

    def test_what_is_no_account_says_so(self, store: Store) -> None:
        store.apply("Account/a", {"something": "else"})
        store.apply("Account/b", {"balance": 5})
        accounts = Repository(store, Account)
        with pytest.raises(StoreModelError, match="'a': 'something' is no field of Account: say in upcast="):
            list(accounts.all())
        with pytest.raises(StoreModelError, match="'b': field 'owner' of Account has no value and no default"):
            accounts.get("b")

    def test_no_value_is_told_by_an_error(self, store: Store) -> None:
        store.apply("Account/a", {"owner": "Ada", "balance": -123456})
        with pytest.raises(StoreModelError) as raised:
            Repository(store, Account).get("a")
        assert "123456" not in str(raised.value)
        assert isinstance(raised.value.__cause__, ValueError)


# -- classes that change ----------------------------------------------------------------------------------------------


@attrs.frozen
class Person:
    first: str
    last: str = ""
    age: int = 0
    size: int = 170


def split(name: str) -> Mapping[str, Any]:
    first, _, last = name.partition(" ")
    return {"first": first, "last": last}


class TestUpcast:
    @pytest.fixture
    def old(self, store: Store) -> Store:
        store.apply("Person/p", {"name": "Ada Lovelace", "years": 36, "shoe": 38}, t=1)
        return store

    @pytest.fixture
    def people(self, old: Store) -> Repository[Person]:
        return Repository(old, Person, upcast={"name": split, "years": "age", "shoe": None})

    def test_fields_are_gained_renamed_split_and_lost(self, people: Repository[Person]) -> None:
        ada = Person("Ada", "Lovelace", 36)
        assert people["p"] == people.past("p", 1) == people.at(2**62)["p"] == ada
        assert dict(people.all()) == {"p": ada}

    def test_an_unknown_item_is_an_error_that_says_what_to_do(self, old: Store) -> None:
        with pytest.raises(StoreModelError, match="'p': 'shoe' is no field of Person: say in upcast="):
            Repository(old, Person, upcast={"name": split, "years": "age"}).get("p")

    def test_operators_on_what_has_another_name_or_its_default(self, old: Store, people: Repository[Person]) -> None:
        aged = people.do("p", lambda person: {"age": (operator.add, 1), "size": (operator.sub, 10)})
        assert aged == people["p"] == Person("Ada", "Lovelace", 37, 160)
        assert people.do("p", lambda person: {"age": (operator.add, 1)}) == people["p"]
        assert people["p"].age == 38
        changes = [(change.item, change.op, change.value) for change in people.history("p")[3:]]
        assert changes == [("age", "setitem", 37), ("size", "setitem", 160), ("age", "add", 1)]
        assert old.current("Person/p")["years"] == 36  # type: ignore[index]

    def test_a_field_that_is_reset_does_not_get_its_old_value_back(self, people: Repository[Person]) -> None:
        for _ in range(2):
            people.do("p", lambda person: {"age": (operator.delitem, None), "size": (operator.delitem, None)})
            assert people["p"] == Person("Ada", "Lovelace")
            people.do("p", lambda person: {"age": 5, "size": 6})
            assert people["p"] == Person("Ada", "Lovelace", 5, 6)

    def test_what_is_recorded_under_the_new_name_counts(self, old: Store, people: Repository[Person]) -> None:
        people.do("p", lambda person: {"last": "King"})
        assert people["p"] == Person("Ada", "King", 36)
        old.apply("Person/p", {"name": "an old program writes on"})
        assert people["p"] == Person("an", "King", 36)

    def test_of_several_names_the_last_in_the_table_counts(self, store: Store) -> None:
        store.apply("Person/p", {"last_name": "B", "surname": "C", "first": "A"})
        people = Repository(store, Person, upcast={"surname": "last", "last_name": "last"})
        assert people["p"].last == "B"
        people = Repository(store, Person, upcast={"last_name": "last", "surname": "last"})
        assert people["p"].last == "C"

    def test_a_value_that_is_structured(self, store: Store) -> None:
        store.apply("Line/l", {"label": "tea", "cents": 110})
        upcast = {"label": "what", "cents": lambda cents: {"price": f"{cents / 100:.2f}"}}
        lines: Repository[Line] = Repository(store, Line, upcast=upcast)
        assert lines["l"] == Line("tea", Decimal("1.10"))
        lines.do("l", lambda line: {"price": (operator.mul, 2)})
        assert lines["l"] == Line("tea", Decimal("2.20"))

    def test_a_function_that_fails_or_gives_what_is_no_field(self, old: Store) -> None:
        wrong: dict[str, Any] = {
            "upcast of 'name' fails: ZeroDivisionError": lambda name: 1 // 0,
            "upcast of 'name' fails: TypeError": lambda name: 5,
            "upcast of 'name' gives 'frist': no field of Person": lambda name: {"frist": name},
        }
        for message, function in wrong.items():
            people = Repository(old, Person, upcast={"name": function, "years": None, "shoe": None})
            with pytest.raises(StoreModelError, match=message):
                people.get("p")

    @pytest.mark.parametrize(
        ("table", "message"),
        [({"age": "size"}, "'age' is a field of Person"), ({"years": "aeg"}, "became 'aeg', which is no field")],
    )
    def test_a_table_with_a_typing_error_is_refused_at_once(
        self, store: Store, table: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            Repository(store, Person, upcast=table)

    def test_also_from_snapshots(self, store: Store) -> None:
        for n in range(600):
            store.apply("Person/p", {"name": "Ada", "years": n, "shoe": n})
        people = Repository(store, Person, upcast={"name": split, "years": "age", "shoe": None})
        assert people["p"] == Person("Ada", "", 599)
        assert people.do("p", lambda person: {"age": (operator.add, 1)}).age == 600


def test_differences_and_the_way_back(store: Store) -> None:
    accounts = Repository(store, Account)
    accounts.create("a", owner="Ada")
    created = accounts.history("a")[0].timestamp
    assert created is not None
    accounts.do("a", Account.deposit, 10)
    last = accounts.history("a")[-1].timestamp
    assert last is not None
    assert accounts.diff("a", created, last).changed == {"balance": (0, 10)}
    assert accounts.revert("a", created) == accounts["a"] == Account("Ada")
    with pytest.raises(KeyError):
        accounts.revert("b", created)
    with pytest.raises(StoreModelError, match="no Account yet"):
        accounts.revert("a", created - 1)
    assert accounts["a"] == Account("Ada")


def test_a_decision_that_changes_its_own_instance_has_only_decided_what_it_returns(store: Store) -> None:
    @dataclass
    class Till:
        balance: int = 0

        def take(self, amount: int) -> Changes:
            self.balance -= amount
            return {"balance": (operator.sub, amount)}

    tills = Repository(store, Till)
    tills.create("a", balance=10)
    assert tills.do("a", Till.take, 3).balance == 7
    assert tills["a"].balance == 7


def test_a_deleted_instance_is_as_unknown_until_it_is_created_again(store: Store) -> None:
    accounts = Repository(store, Account)
    accounts.create("a", owner="Ada")
    accounts.create("b", owner="Bob")
    created = accounts.history("a")[0]
    assert created.timestamp is not None
    accounts.delete("a", "unknown")
    assert accounts.get("a", "none") == "none"
    assert accounts.past("a", created.timestamp) == Account("Ada")
    assert "a" not in accounts
    assert dict(accounts.all()) == {"b": Account("Bob")}
    assert accounts.keys() == list(accounts) == ["b"]
    with pytest.raises(KeyError):
        accounts["a"]
    with pytest.raises(KeyError):
        accounts.do("a", Account.deposit, 10)
    assert accounts.create("a", owner="Eve", balance=5) == accounts["a"] == Account("Eve", 5)
    with pytest.raises(StoreConflictError):
        accounts.create("a", owner="Ada")
    accounts.delete("a")
    assert accounts.revert("a", created.timestamp) == accounts["a"] == Account("Ada")
    with pytest.raises(KeyError):
        accounts.revert("unknown", created.timestamp)


def test_a_decision_is_a_function(store: Store) -> None:
    accounts = Repository(store, Account)
    with pytest.raises(TypeError, match=r"decide is a function of an instance, such as Account.deposit, not str"):
        accounts.do("1", "pay")  # type: ignore[arg-type]
