"""Instances are found by the values of their fields, with indexes that are written in the same append."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pydantic
import pytest

from rstore import (
    Between,
    FrozenStoreError,
    JsonStore,
    Repository,
    StartsWith,
    Store,
    StoreConflictError,
    StoreError,
    StoreFormatError,
    StoreIndexError,
    StoreModelError,
    StorePayloadError,
    StoreUniqueError,
    transfer,
)
from rstore.admin.check import check
from rstore.core import core_of
from rstore.domain.log import Batch, Rewrite
from rstore.domain.streams import Stream
from rstore.encoding.notes import note_body
from tests.conftest import KEY, OTHER_KEY, Backend
from tests.support.workers import SECONDS, Crew, seats_of


class Status(enum.Enum):
    NEW = "new"
    PAID = "paid"


@attrs.frozen
class Address:
    city: str
    zip: str = ""


@attrs.frozen
class Order:
    customer: str
    status: Status = Status.NEW
    total: Decimal | None = None
    placed: datetime.date | None = None
    number: str | None = None
    home: Address | None = None
    notes: int = 0

    def pay(self) -> Mapping[str, Any]:
        return {"status": Status.PAID}

    def note(self) -> Mapping[str, Any]:
        return {"notes": (operator.add, 1)}

    def change(self, **fields: Any) -> Mapping[str, Any]:
        return fields


FIELDS = ["customer", "status", "total", "placed", "home.city"]


def orders_in(store: Any, **options: Any) -> Repository[Order]:
    return Repository(store, Order, **{"index": FIELDS, "unique": ["number"], **options})


@pytest.fixture
def orders(store: Store) -> Repository[Order]:
    return orders_in(store)


def keys(found: Any) -> list[str]:
    return [key for key, _ in found]


def fill(orders: Repository[Order]) -> None:
    for n, customer in enumerate(["Grün", "Gray", "Ada", "Grün"]):
        orders.create(f"o-{n}", customer=customer, total=Decimal(f"{9 + n}.50"), placed=datetime.date(2026, 1, 1 + n))


class TestFinding:
    def test_by_equal_values_ranges_and_prefixes(self, orders: Repository[Order]) -> None:
        assert (list(orders.by(status="new")), orders.count(number="1")) == ([], 0), "where nothing was ever stored"
        fill(orders)
        orders.do("o-1", Order.pay)
        assert list(orders.by(status=Status.PAID)) == [("o-1", orders["o-1"])]
        assert keys(orders.by(status="new")) == ["o-0", "o-2", "o-3"]
        assert keys(orders.by(customer=StartsWith("Gr"))) == ["o-1", "o-0", "o-3"], "in order of value, then key"
        assert keys(orders.by(total=Between(Decimal("9.5"), 11))) == ["o-0", "o-1"], "9.50 before 10.50"
        assert keys(orders.by(total=Between(10.5, None))) == ["o-1", "o-2", "o-3"], "inclusive, and of any number"
        assert keys(orders.by(placed=Between(None, datetime.date(2026, 1, 2)))) == ["o-0", "o-1"]
        assert keys(orders.by(customer="Grün", placed=datetime.date(2026, 1, 4))) == ["o-3"]
        assert keys(orders.by(customer="nobody")) == keys(orders.by(placed=None)) == []
        assert (orders.count(customer="Grün"), orders.count(customer=StartsWith("Gr")), orders.count(status="x")) == (
            *(2, 3),
            0,
        )
        assert orders.count(customer="Grün", status="new") == 2
        assert list(check(orders._store)) == []  # type: ignore[arg-type]

    def test_a_change_of_other_fields_writes_no_entry(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        before = entries(store)
        orders.do("o-0", Order.note)
        orders.do("o-0", Order.change, customer="Grün")
        assert entries(store) == before
        orders.do("o-0", Order.change, customer="Ada")
        assert len(entries(store)) == len(before) + 2

    def test_parts_of_values_and_none(self, orders: Repository[Order]) -> None:
        orders.create("a", customer="", home=Address("Bern"))
        orders.create("b", customer="")
        assert keys(orders.by(**{"home.city": "Bern"})) == ["a"]
        assert keys(orders.by(**{"home.city": None})) == keys(orders.by(number=None))[1:] == ["b"]
        orders.do("b", Order.change, home=Address("Basel"))
        assert keys(orders.by(**{"home.city": StartsWith("B")})) == ["b", "a"]

    def test_odd_keys_and_long_texts(self, orders: Repository[Order]) -> None:
        odd = ["", "\x01", "\x02", "\x02\x01x", "a\x01b", "ü" * 400, "x" * 1000, "%_*"]
        long = "a" * 2000
        for n, key in enumerate(odd):
            orders.create(key, customer=f"{long}{n % 2}", number=f"{long}{n}", total=Decimal(n))
        for n, key in enumerate(odd):
            assert keys(orders.by(number=f"{long}{n}")) == keys(orders.by(total=n)) == [key]
        assert set(keys(orders.by(customer=f"{long}0"))) == set(odd[::2])
        assert orders.count(customer=f"{long}0") == orders.count(customer=Between(f"{long}0", f"{long}0")) == 4
        assert orders.count(customer=StartsWith(long)) == orders.count(customer=Between(long, None)) == 8
        assert orders.count(customer=StartsWith("a" * 150)) == orders.count(customer=Between(None, f"{long}1")) == 8
        assert orders.count(customer=StartsWith(f"{long}0")) == 4
        orders.delete(*odd)
        assert orders.count(customer=StartsWith("")) == orders.count(number=StartsWith("")) == 0

    def test_goes_with_a_time(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        new = store.tag("new")
        orders.do("o-1", Order.pay)
        orders.delete("o-0")
        then = store.tag("then")
        orders.do("o-2", Order.pay)
        orders.revert("o-0", new)
        assert keys(orders.at(new).by(status="new")) == ["o-0", "o-1", "o-2", "o-3"]
        assert (orders.at(new).count(status="new"), orders.at(new).count(status="paid")) == (4, 0)
        assert (keys(orders.at(then).by(status="paid")), orders.at(then).count(status="new")) == (["o-1"], 2)
        assert (keys(orders.by(status="paid")), keys(orders.by(status="new"))) == (["o-1", "o-2"], ["o-0", "o-3"])
        with pytest.raises(FrozenStoreError):
            orders.at(then).reindex()
        assert (list(orders.at(1).by(status="new")), orders.at(1).count(number=None)) == ([], 0), "there was nothing"

    def test_what_has_no_index_or_order_is_an_error(self, store: Store, orders: Repository[Order]) -> None:
        with pytest.raises(ValueError, match=r"no index of 'notes'; its indexes are customer, .*, home\.city, number"):
            next(orders.by(notes=1))
        with pytest.raises(ValueError, match="no index of 'notes'; its indexes are none: declare them with index="):
            Repository(store, Order).count(notes=1)
        for wrong, message in (
            ([1], r"by\(customer=...\): list has no order here"),
            (Between(1, "a"), "can't be compared"),
            (Between(), "one end"),
            (StartsWith(1), "takes a text"),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError, match=message):
                next(orders.by(customer=wrong))
        with pytest.raises(TypeError, match="name a field"):
            next(orders.by())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"index": ["stat"]}, "index: Order has no field 'stat'"),
            ({"unique": ["home.town"]}, r"unique: Address has no field 'town' \(in 'home.town'\): it has city, zip"),
            ({"index": ["status"], "unique": ["status"]}, "'status' has an index already"),
            ({"index": "status"}, r"index= takes several names of fields: write \['status'\]"),
            ({"index": [1]}, "index= takes names of fields, not int"),
        ],
    )
    def test_names_are_checked_at_once(self, options: Any, message: str) -> None:
        with Store("memory://", frozen=False) as store, pytest.raises((TypeError, ValueError), match=message):
            Repository(store, Order, **options)

    def test_a_value_without_order_is_not_stored(self, store: Store) -> None:
        @attrs.frozen
        class Bag:
            things: Any

        bags = Repository(store, Bag, index=["things"])
        with pytest.raises(StoreModelError, match="'things' has an index, and list has no order here"):
            bags.create("1", things=[1])
        assert bags.keys() == []
        bags.create("1", things=1)
        bags.create("2", things="1")
        assert keys(bags.by(things=1)) == ["1"]
        for wrong in ([1], object):
            with pytest.raises(StoreModelError, match="'things' has an index, and"):
                bags.do("1", lambda _, wrong=wrong: {"things": wrong})  # type: ignore[misc]
        assert keys(bags.by(things=1)) == ["1"]

    def test_a_part_of_a_value_that_has_none_is_not_stored(self, store: Store) -> None:
        @attrs.frozen
        class Bag:
            tags: Any

        bags = Repository(store, Bag, index=["tags.colour"])
        bags.create("1", tags={"colour": "red"})
        with pytest.raises(StoreModelError, match=r"'tags\.colour' has an index, and 'str' object has no attribute"):
            bags.do("1", lambda _: {"tags": "red"})
        assert keys(bags.by(**{"tags.colour": "red"})) == ["1"]

    def test_a_value_without_order_that_is_there_already_is_in_no_way(self, store: Store) -> None:
        """Programs that do not declare the index have stored lists, and a value that is not equal to itself."""

        @attrs.frozen
        class Bag:
            things: Any
            n: int = 0

        plain = Repository(store, Bag)
        for key, things in {"list": [1], "dict": {"a": 1}, "nan": Decimal("sNaN"), "int": 1}.items():
            plain.create(key, things=things)
        bags = Repository(store, Bag, index=["things", "n"])
        with pytest.raises(StoreModelError, match="'things' has an index, and"):
            bags.reindex()
        assert bags.reindex("skip") == (2 + 4, 0), "in the other index, all are"
        assert (keys(bags.by(things=1)), bags.count(n=0), bags.count(n=0, things=1)) == (["int"], 4, 1)
        assert [bags.do(key, lambda bag: {"n": 1}).n for key in ("list", "dict", "nan", "int")] == [1, 1, 1, 1]
        bags.do("list", lambda _: {"things": 2})
        bags.delete("dict")
        assert (keys(bags.by(things=2)), keys(bags.by(things=Decimal("NaN")))) == (["list"], ["nan"])
        store.apply("Bag/list", {"things": [2]})
        assert (keys(bags.by(things=2)), keys(bags.by(n=1, things=2))) == ([], [])
        assert bags.reindex("skip") == (0, 1), "its entry was out of date"
        assert bags.count(things=2) == 0

    def test_instances_that_cant_be_loaded(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        store.apply("Order/o-2", {"odd": 1})
        with pytest.raises(StoreModelError):
            list(orders.by(status="new"))
        assert keys(orders.by("skip", status="new")) == ["o-0", "o-1", "o-3"]
        assert [type(found) for _, found in orders.by("yield", customer="Ada")] == [StoreModelError]
        with pytest.raises(StoreModelError):
            orders.reindex()
        assert orders.reindex("skip") == (0, 0)
        orders.delete("o-2")
        assert orders.count(customer="Ada") == 0, "also where nobody knows which value it had"
        assert orders.count(status="new") == 3, "and only its own entries have ended"

    def test_an_instance_that_could_not_be_loaded_is_found_after_a_revert(self, store: Store) -> None:
        orders = orders_in(store)
        orders.create("a", customer="Ada", number="1")
        before = store.tag("before")
        store.apply("Order/a", {"odd": 1})
        assert orders.revert("a", before).customer == "Ada"
        assert keys(orders.by(customer="Ada")) == keys(orders.by(number="1")) == ["a"]
        assert orders.reindex() == (0, 0)
        assert list(check(store)) == []


def entry_streams(store: Store) -> list[Stream]:
    return [stream for _, stream, _ in store._core.base.follow() if stream.kind.startswith("ix/")]


def entries(store: Store) -> list[Any]:
    return [record for _, stream, record in store._core.base.follow() if stream.kind.startswith("ix/")]


class TestWriting:
    def test_once_conditions_and_late_decisions(self, orders: Repository[Order]) -> None:
        fill(orders)
        orders.do("o-0", Order.change, customer="Eve")
        orders.when(once="1").do("o-0", Order.pay)
        orders.when(once="1").do("o-0", Order.pay)
        assert (keys(orders.by(customer="Eve")), keys(orders.by(status="paid"))) == (["o-0"], ["o-0"])
        orders.when(t=1000).create("l", customer="one")
        orders.when(t=3000).do("l", Order.change, customer="three")
        orders.when(t=2000).do("l", Order.change, customer="two", number="5")
        found = [orders.count(customer=each) for each in ("one", "two", "three")]
        assert (found, keys(orders.by(number="5"))) == ([0, 0, 1], ["l"]), "of the state that is the present one then"
        orders.when(expect=orders.version("o-0")).do("o-0", Order.change, customer="Zoë")
        assert (keys(orders.by(customer="Zoë")), keys(orders.by(customer="Eve"))) == (["o-0"], [])

    def test_a_late_decision_ends_the_entry_of_the_present_value(self, store: Store) -> None:
        orders = orders_in(store, index=["notes"])
        orders.when(t=1000).create("a", customer="")
        orders.when(t=3000).do("a", Order.note)
        assert orders.when(t=2000).do("a", Order.note).notes == 2
        assert [orders.count(notes=n) for n in range(3)] == [0, 0, 1]

    def test_what_has_only_defaults_comes_back(self, store: Store) -> None:
        @attrs.frozen
        class Flag:
            colour: str = "red"

        flags = Repository(store, Flag, index=["colour"])
        flags.create("a")
        before = store.tag("before")
        flags.delete("a")
        assert flags.revert("a", before) == Flag()
        assert keys(flags.by(colour="red")) == ["a"]

    def test_the_first_transaction_may_fail(self, store: Store, orders: Repository[Order]) -> None:
        def failing() -> None:
            with store.transaction():
                orders.create("a", customer="Ada")
                orders.create("b", customer="Ada")
                orders.do("nobody", Order.pay)

        with pytest.raises(KeyError):
            failing()
        orders.create("c", customer="Ada")
        assert keys(orders.by(customer="Ada")) == ["c"]

    def test_a_deletion_alone_begins_no_index(self, store: Store) -> None:
        Repository(store, Order).create("a", customer="Ada")
        orders_in(store).delete("a")
        assert store._core.base.head(Stream("index", "Order/")) is None

    def test_transactions(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        with store.transaction():
            orders.create("n", customer="Ada", number="1")
            orders.do("o-0", Order.pay)
            orders.do("n", Order.pay)
            assert keys(orders.by(status="paid")) == ["n", "o-0"]
            assert keys(orders.by(customer="Ada")) == ["n", "o-2"]
            orders.delete("n")
            orders.create("m", customer="Eve", number="1")
        assert (keys(orders.by(status="paid")), keys(orders.by(number="1"))) == (["o-0"], ["m"])

        def failing() -> None:
            with store.transaction():
                orders.do("o-1", Order.pay)
                orders.do("nobody", Order.pay)

        with pytest.raises(KeyError):
            failing()
        assert keys(orders.by(status="paid")) == ["o-0"]
        with store.transaction(), pytest.raises(StoreError, match="inside a transaction"):
            orders.reindex()

    def test_erasing_leaves_no_value(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        orders.create("e", customer="Eve", number="7", home=Address("Bern"))
        orders.delete("e")
        orders.create("f", customer="Eve", number="7")
        orders.do("f", Order.change, number="8")
        orders.erase("e", "f")
        names = [stream.key for _, stream, _ in store._core.base.follow() if stream.kind.startswith("ix/")]
        assert not [name for name in names if "Eve" in name or name.endswith(("\x01e", "\x01f")) or "s7" in name]
        orders.create("g", customer="Eve", number="7")
        orders.do("g", Order.change, number="8")
        orders.create("h", customer="Kim", number="7")
        orders.erase("g")
        assert keys(orders.by(number="7")) == ["h"]
        assert orders.reindex() == (0, 0)
        assert list(check(store)) == []

    def test_compacting_forgets_ended_entries(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        orders.do("o-0", Order.pay)
        orders.delete("o-1")
        then = store.tag("then")
        orders.do("o-2", Order.pay)
        before = len(entries(store))
        assert store.compact(before=then, dry_run=True) == store.compact(before=then)
        assert len(entries(store)) < before
        assert keys(orders.at(then).by(status="new")) == ["o-2", "o-3"]
        store.compact()
        assert all(record.op == "setitem" for record in entries(store))
        assert keys(orders.by(status="paid")) == ["o-0", "o-2"]
        assert orders.reindex() == (0, 0)
        assert list(check(store)) == []


@contextmanager
def meanwhile(orders: Repository[Order], *acts: Callable[[], object]) -> Iterator[list[Callable[[], object]]]:
    """Let others act just before each of the next appends of a repository. Return the acts that are left."""
    writer, left = core_of(orders._store).writer, list(acts)
    append = writer.append

    def late(batches: Any) -> Any:
        if left:
            left.pop(0)()
        return append(batches)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "append", late)
        yield left


class TestUniqueFields:
    def test_have_each_value_once(self, orders: Repository[Order]) -> None:
        orders.create("a", customer="", number="1")
        orders.create("b", customer="")
        with pytest.raises(StoreUniqueError, match="'c': 'number' is unique, and 'a' has the same value") as caught:
            orders.create("c", customer="", number="1")
        assert (caught.value.owner, orders.get("c"), orders.count(customer="")) == ("a", None, 2)
        with pytest.raises(StoreUniqueError):
            orders.do("b", Order.change, number="1")
        orders.do("a", Order.change, number="2")
        orders.do("b", Order.change, number="1")
        assert (keys(orders.by(number="1")), keys(orders.by(number="2"))) == (["b"], ["a"])
        orders.delete("a")
        orders.create("d", customer="", number="2")
        orders.create("e", customer="")
        assert (keys(orders.by(number="2")), keys(orders.by(number=None))) == (["d"], ["e"]), "None is not unique"
        assert keys(orders.by(number=Between("1", "2"))) == ["b", "d"]
        assert orders.count(number=StartsWith("")) == 2

    def test_of_two_writers_at_once_one_gets_it(self, backend: Backend, key: str | None) -> None:
        one, other = (orders_in(backend.store(key=key)) for _ in range(2))
        one.create("a", customer="")
        taken: list[object] = []

        def slowly(order: Order) -> Mapping[str, Any]:
            if not taken:
                taken.append(other.create("b", customer="", number="1"))
            return {"number": "1"}

        with pytest.raises(StoreUniqueError):
            one.do("a", slowly)
        assert (one["a"].number, keys(one.by(number="1"))) == (None, ["b"])

    def test_another_may_come_between_the_look_and_the_append(self, backend: Backend, key: str | None) -> None:
        """The decision is taken once: a conflict over an index says nothing about it."""
        one, other = (orders_in(backend.store(key=key)) for _ in range(2))
        with meanwhile(one, lambda: other.create("b", customer="Bob", number="2")):
            one.create("a", customer="Ada", number="1")  # both find that there are no indexes yet
        assert keys(one.by(number=StartsWith(""))) == ["a", "b"]
        decided: list[Order] = []

        def change(order: Order, number: str) -> Mapping[str, Any]:
            decided.append(order)
            return {"number": number}

        with (
            meanwhile(one, lambda: other.create("c", customer="", number="3")),
            pytest.raises(StoreUniqueError, match="'c' has the same value"),
        ):
            one.do("a", change, "3")
        with meanwhile(one, lambda: (other.do("b", Order.change, number="4"), other.do("b", Order.change, number="5"))):
            assert one.do("a", change, "4").number == "4"
        assert len(decided) == 2
        assert [keys(one.by(number=number)) for number in "12345"] == [[], [], ["c"], ["a"], ["b"]]

    def test_only_the_owner_gives_a_value_back(self, store: Store, orders: Repository[Order]) -> None:
        orders.create("a", customer="", number="1")
        orders.create("b", customer="")
        store.apply("Order/b", {"number": "1"})
        orders.do("b", Order.change, number="2")
        assert (keys(orders.by(number="1")), keys(orders.by(number="2"))) == (["a"], ["b"])
        with pytest.raises(StoreUniqueError):
            orders.create("c", customer="", number="1")

    def test_first_writers_at_once(self, backend: Backend) -> None:
        one, other = (orders_in(backend.store(key=KEY)) for _ in range(2))
        store = one._store
        assert isinstance(store, Store)

        def both() -> None:
            with store.transaction():
                one.create("a", customer="Ada")
                other.create("b", customer="Ada")

        with pytest.raises(StoreConflictError):
            both()
        one.create("a", customer="Ada")
        assert keys(other.by(customer="Ada")) == keys(one.by(customer="Ada")) == ["a", "b"]

    @pytest.mark.slow
    def test_processes_that_race_and_are_killed(self, backend: Backend, key: str | None, tmp_path: Path) -> None:
        store = backend.store(key=key)
        with Crew(backend, tmp_path, key, seed=5) as crew:
            for name in ("a", "b", "c"):
                crew.start("seats", name)
            crew.work(SECONDS)
            crew.stop()
            told = crew.told("seats")
        seats = seats_of(store)
        everyone = dict(seats.all())
        numbers = [seat.number for seat in everyone.values() if seat.number is not None]
        assert len(numbers) == len(set(numbers)), "no two have the same"
        assert {number: keys(seats.by(number=number)) for number in numbers} == {
            seat.number: [key] for key, seat in everyone.items() if seat.number is not None
        }
        for row in "ab":
            assert keys(seats.by(row=row)) == sorted(key for key, seat in everyone.items() if seat.row == row)
        assert any(line.startswith("taken") for line in told), "they did race"
        assert seats.reindex() == (0, 0)
        assert list(check(store)) == []


class TestReindexing:
    def test_builds_what_was_there_before(self, store: Store) -> None:
        plain = Repository(store, Order)
        fill(plain)
        plain.do("o-1", Order.pay)
        orders = orders_in(store)
        for wrong in (lambda: orders.count(status="new"), lambda: next(orders.by(status="new"))):
            with pytest.raises(
                StoreIndexError, match=r"the index of 'status' may lack instances of Order.*reindex\(\)"
            ):
                wrong()
        orders.do("o-0", Order.pay)
        with pytest.raises(StoreIndexError):
            orders.count(status="paid")
        added = orders.reindex().added
        assert added == 4 * len(FIELDS) + 4 - 1, "o-0 has moved, and its entry is there"
        assert (keys(orders.by(status="paid")), orders.count(number=None)) == (["o-0", "o-1"], 4)
        assert orders.reindex() == (0, 0)

    def test_mends_what_was_written_beside(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        store.apply("Order/o-0", {"customer": "Eve", "number": "1"})
        store.delete_events("Order/o-1")
        assert keys(orders.by(customer="Grün")) == ["o-3"], "never what does not meet the criteria"
        assert keys(orders.by(customer="Gray")) == [], "nor what was deleted"
        assert orders.reindex() == (2, 2 + len(FIELDS) + 1)
        assert keys(orders.by(customer="Eve")) == keys(orders.by(number="1")) == ["o-0"]
        assert orders.count(status="new") == 3

    def test_names_instances_with_the_same_unique_value(self, store: Store) -> None:
        plain = Repository(store, Order)
        for key in "abc":
            plain.create(key, customer=key, number="1")
        orders = orders_in(store)
        with pytest.raises(StoreUniqueError, match="'b': 'number' is unique, and 'a' has the same value"):
            orders.reindex()
        with pytest.raises(StoreIndexError):
            orders.count(number="1")
        assert orders.count(customer="b") == 1, "the other indexes are complete"
        orders.do("b", Order.change, number="2")
        orders.delete("c")
        orders.reindex()
        assert keys(orders.by(number=StartsWith(""))) == ["a", "b"]

    def test_an_instance_of_which_an_entry_is_left_is_found_once(self, store: Store, orders: Repository[Order]) -> None:
        orders.create("a", customer="", total=Decimal(5))
        store.apply("Order/a", {"total": "2"})
        assert keys(orders.by(total=Between(0, 9))) == ["a"], "though its value was greater"
        store.apply("Order/a", {"total": "7"})
        orders.do("a", Order.change, total=Decimal(8))
        assert (keys(orders.by(total=Between(0, 9))), orders.count(total=Between(0, 9))) == (["a"], 2)
        store.delete_events("Order/a")
        store.prune("Order/a")
        assert keys(orders.by(total=Between(0, 9))) == []
        assert orders.reindex() == (0, 2 + len(FIELDS))

    def test_is_needed_after_a_writer_that_keeps_other_indexes(self, store: Store, orders: Repository[Order]) -> None:
        fill(orders)
        Repository(store, Order, index=["status"]).do("o-0", Order.change, customer="Eve", status=Status.PAID)
        with pytest.raises(StoreIndexError):
            next(orders.by(customer="Eve"))
        orders.reindex()
        assert keys(orders.by(customer="Eve")) == ["o-0"]

    def test_while_others_write(self, backend: Backend) -> None:
        """Between each look of a reindex and its append, down to a page of one instance."""
        orders, other = (orders_in(backend.store()) for _ in range(2))
        fill(Repository(backend.store(), Order))

        def changing(key: str, n: int) -> Callable[[], object]:
            return lambda: other.do(key, Order.change, customer=f"late {n}", number=f"{n}")

        with meanwhile(orders, nothing, changing("o-0", 1), changing("o-1", 2), changing("o-0", 3)) as acts:
            orders.reindex()
        assert acts == []
        assert keys(orders.by(customer=StartsWith("late"))) == ["o-1", "o-0"]
        assert keys(orders.by(number=StartsWith(""))) == ["o-1", "o-0"]
        assert orders.count(status="new") == orders.count(placed=Between(datetime.date(2026, 1, 1), None)) == 4
        assert orders.reindex() == (0, 0)

    def test_ends_no_entry_that_came_back(self, backend: Backend) -> None:
        orders, other = (orders_in(backend.store()) for _ in range(2))
        fill(orders)
        other._store.apply("Order/o-0", {"customer": "Eve"})  # type: ignore[union-attr]
        with meanwhile(orders, lambda: other.do("o-0", Order.change, customer="Grün")):
            assert orders.reindex() == (0, 0)
        assert keys(orders.by(customer="Grün")) == ["o-0", "o-3"]
        assert orders.reindex() == (0, 0)

    def test_takes_no_value_from_its_owner(self, store: Store, orders: Repository[Order]) -> None:
        orders.create("b", customer="", number="1")
        orders.create("a", customer="")
        store.apply("Order/a", {"number": "1"})
        with pytest.raises(StoreUniqueError, match="'number' is unique"):
            orders.reindex()
        assert keys(orders.by(number="1")) == ["b"]

    def test_is_repeated_after_an_interruption(self, backend: Backend) -> None:
        """By a namespace that got a key meanwhile: it has an index in clear, which is complete."""
        fill(orders_in(backend.store()))
        backend.store(key=KEY, plaintext=True).rekey()
        for n in range(10):
            orders = orders_in(backend.store(key=KEY))
            with meanwhile(orders, *[nothing] * n, interrupt):
                try:
                    orders.reindex()
                except ConnectionError:
                    with suppress(StoreIndexError):
                        assert orders.count(status="new") == 4
                else:
                    break
        assert n > 2
        assert orders.count(status="new") == 4
        assert orders.reindex() == (0, 0)


def nothing() -> None:
    """Leave all as it is."""


def interrupt() -> None:
    raise ConnectionError


class TestEncryption:
    def test_no_value_is_in_clear(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        orders = orders_in(store)
        orders.create("a", customer="secret name", number="secret number")
        found = list(store._core.base.follow())
        assert b"secret" not in b"".join(record.data + (record.meta or b"") for *_, record in found)
        assert "secret" not in "".join(stream.key + stream.kind + record.item for _, stream, record in found)
        assert keys(orders.by(customer=StartsWith("secret"))) == keys(orders.by(number="secret number")) == ["a"]

    def test_another_key_and_a_copy_keep_the_index(self, backend: Backend, tmp_path: Any) -> None:
        store = backend.store(key=KEY)
        fill(orders_in(store))
        with_both = backend.store(key=[OTHER_KEY, KEY])
        with_both.rekey()
        orders = orders_in(backend.store(key=OTHER_KEY))
        assert orders.count(customer=StartsWith("Gr")) == 3
        orders.do("o-1", Order.change, customer="Eve", number="5")
        with Store(tmp_path / "copy.db", frozen=False, key=KEY) as target:
            transfer.copy(backend.store(key=OTHER_KEY), target)
            copied = orders_in(target)
            assert (keys(copied.by(customer="Eve")), copied.count(customer="Gray")) == (["o-1"], 0)
            assert copied.reindex() == (0, 0)
            with pytest.raises(StoreUniqueError):
                copied.create("x", customer="", number="5")

    def test_an_index_in_clear_is_built_anew_with_a_key(self, backend: Backend) -> None:
        fill(orders_in(backend.store()))
        store = backend.store(key=KEY, plaintext=True)
        store.rekey()
        orders = orders_in(store)
        assert orders.count(customer="Grün") == 2
        orders.do("o-2", Order.change, number="7")
        orders.delete("o-3")
        orders.reindex()
        orders.do("o-1", Order.change, number="9")
        assert (orders.count(customer="Grün"), keys(orders.by(number="9"))) == (1, ["o-1"])
        store.compact()
        assert {len(stream.key.partition("\x01")[0]) for stream in entry_streams(store)} == {32}, "all are digests"
        assert orders.reindex() == (0, 0)
        assert (keys(orders.by(number="7")), list(check(store))) == (["o-2"], [])

    def test_erasing_takes_the_values_of_an_index_in_clear_too(self, backend: Backend) -> None:
        plain = orders_in(backend.store())
        fill(plain)
        plain.do("o-0", Order.change, number="7")
        store = backend.store(key=KEY, plaintext=True)
        store.rekey()
        orders = orders_in(store)
        orders.reindex()
        orders.erase("o-0", "o-3")
        assert "Gr\xfcn" not in "".join(stream.key for stream in entry_streams(store))
        assert "s7\x01" not in {stream.key for stream in entry_streams(store)}


class TestOtherPrograms:
    def test_damaged_entries_are_said_to_be_so(self, backend: Backend, key: str | None) -> None:
        store = backend.store(key=key)
        fill(orders_in(store))
        orders_in(store).do("o-0", Order.change, number="7")
        log = store._core.base
        for kind in {stream.kind for _, stream, _ in log.follow() if stream.kind.startswith(("ix/", "index"))}:
            for stream in [head.stream for head in log.heads(kind)]:
                (*_, record) = log.read(stream)
                put = record._replace(data=record.data[:-1] + bytes([record.data[-1] ^ 1]))
                log.rewrite([Rewrite(stream, None, [record.version], [put], bump_version=False)])
        damaged_kinds = {problem.kind for problem in check(store)}
        assert damaged_kinds >= {"index", *(kind for kind in damaged_kinds if kind.startswith("ix/"))}
        assert len(damaged_kinds) == 1 + len(FIELDS) + 1
        damaged = orders_in(backend.store(key=key, frozen=True))
        with pytest.raises(StorePayloadError):
            next(damaged.by(customer="Ada"))

    def test_words_that_describe_no_index(self, backend: Backend) -> None:
        store = backend.store()
        stream = Stream("index", "Order/")
        for words in (
            {},
            {"fields": 1, "secret": None},
            {"fields": [[1]], "secret": None},
            {"fields": [], "secret": 1},
        ):
            entry = store._core.envelope.entry(stream, "index", note_body(words), start=0, end=0)
            store._core.append([Batch(stream, (entry,), 1)])
            with pytest.raises(StorePayloadError) as error:
                orders_in(store).count(customer="")
            assert "its words describe no index" in str(error.value)
        newer = store._core.envelope.entry(stream, "newer", start=0, end=0)
        store._core.append([Batch(stream, (newer,), 1)])
        with pytest.raises(StoreFormatError, match="a newer rstore wrote it"):
            orders_in(store).create("a", customer="")

    def test_an_export_keeps_the_index(self, backend: Backend, key: str | None, tmp_path: Path) -> None:
        store = backend.store(key=key)
        fill(orders_in(store))
        orders_in(store).do("o-0", Order.change, customer="\x00 \ud800", number="7")
        orders_in(store).delete("o-1")
        transfer.export(store, tmp_path / "all.jsonl")
        with Store(tmp_path / "new.db", frozen=False, key=key) as target:
            transfer.load(target, tmp_path / "all.jsonl")
            orders = orders_in(target)
            assert keys(orders.by(customer="\x00 \ud800")) == keys(orders.by(number="7")) == ["o-0"]
            assert (orders.count(customer="Gray"), orders.reindex()) == (0, (0, 0))

    def test_stores_with_their_own_dump_and_other_classes(self, backend: Backend) -> None:
        @dataclasses.dataclass
        class Item:
            name: str
            tags: dict[str, int]

        class Page(pydantic.BaseModel):
            title: str
            size: datetime.timedelta

        store = backend.store(JsonStore)
        items = Repository(store, Item, index=["name", "tags.a"])
        items.create("1", name="n", tags={"a": 1})
        items.create("2", name="m", tags={})
        assert (keys(items.by(**{"tags.a": 1})), keys(items.by(**{"tags.a": None}))) == (["1"], ["2"])
        items.do("2", lambda item: {"tags.a": 1.0})
        assert keys(items.by(**{"tags.a": True})) == ["1", "2"]
        pages = Repository(store, Page, index=["size"], unique=["title"])
        pages.create("1", title="t", size=datetime.timedelta(hours=1))
        pages.create("2", title="u", size=datetime.timedelta(days=-1))
        assert keys(pages.by(size=Between(None, datetime.timedelta(days=2)))) == ["2", "1"]
        frozen = Repository(backend.store(JsonStore, frozen=True), Page, index=["size"], unique=["title"])
        assert (keys(frozen.by(title="u")), frozen.count(size=Between(datetime.timedelta(), None))) == (["2"], 1)
