"""States that grow by a line at a time: what is stored, and what is read, grows with what is added."""

from __future__ import annotations

import operator
import random
from decimal import Decimal

import attrs
import pytest

from rstore import Changes, JsonStore, Repository, Store, StorePayloadError
from rstore.core import core_of
from rstore.domain.log import Batch, Query
from rstore.domain.operators import SNAPSHOT
from rstore.domain.streams import ES, SS, Stream
from rstore.models.event_states import copied, current_state
from tests.conftest import Backend

LINES = 1_000


@attrs.frozen
class Line:
    article: str
    price: Decimal


@attrs.frozen
class Order:
    lines: tuple[Line, ...] = ()
    notes: list[Line] = attrs.Factory(list)
    prices: dict[str, Decimal] = attrs.Factory(dict)

    def add(self, line: Line) -> Changes:
        return {
            "lines": (operator.add, (line,)),
            "notes": (operator.add, [line]),
            "prices": (operator.or_, {line.article: line.price}),
        }


def stored_bytes(store: Store, kind: str, key: str) -> int:
    return sum(len(record.data) for record in store._core.base.read(Stream(kind, key), Query()))


@pytest.mark.parametrize("cls", [Store, JsonStore])
def test_lists_and_dicts_record_what_is_added(backend: Backend, key: str | None, cls: type[Store]) -> None:
    orders = Repository(backend.store(cls, key=key), Order)
    orders.when(t=1000).create("o")
    tea, milk = Line("tea", Decimal("1.10")), Line("milk", Decimal("0.80"))
    orders.when(t=3000).do("o", Order.add, tea)
    late = orders.when(t=2000).do("o", Order.add, milk)
    assert late == orders["o"] == Order((milk, tea), [milk, tea], {"milk": milk.price, "tea": tea.price})
    stored = {"article": "milk", "price": "0.80"}
    assert [(change.item, change.op, change.value) for change in orders.history("o")[-3:]] == [
        ("lines", "add", [stored]),
        ("notes", "add", [stored]),
        ("prices", "or_", {"milk": "0.80"}),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["memory", "sqlite"], indirect=True)
def test_snapshots_of_a_growing_list_take_no_more_than_its_lines(
    backend: Backend, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 16)
    dice = random.Random(5)
    store = backend.store(key=key)
    store.apply("o", {"lines": []})
    for n in range(LINES):
        store.apply("o", {"lines": (operator.add, [{"article": f"{dice.getrandbits(128):x}", "number": n}])})
    events, snapshots = (stored_bytes(store, kind, "o") for kind in (ES, SS))
    assert 0 < snapshots < events + 64 * LINES
    newest = max(record.start for record in store._core.base.read(Stream(SS, "o"), Query()))
    after = [record for record in store._core.base.read(Stream(ES, "o"), Query()) if record.start > newest]
    largest = max(len(record.data) for record in store._core.base.read(Stream(SS, "o"), Query()))
    assert (
        len(after) <= 17 or sum(64 + len(record.data) for record in after) <= 1.5 * largest
    )  # a seal takes some bytes, too
    reader = backend.store(key=key)
    assert reader.current("o") == store.current("o")
    assert len(reader.current("o")["lines"]) == LINES  # type: ignore[index]


def test_a_writer_counts_events_and_bytes_as_a_reader_does(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 4)
    store = backend.store()
    store.apply("o", {"lines": [], "number": 0})
    for n in range(30):
        store.apply("o", {"lines": (operator.add, ["line"]), "number": n})
        written, read = (current_state(core_of(each), "o") for each in (store, backend.store()))
        assert written is not None
        assert read is not None
        assert written._replace(owed=read.owed) == read
        assert abs(written.owed - read.owed) <= 8 * read.tail  # the writer does not count the head of an envelope
    assert stored_bytes(store, SS, "o") > 0


def test_a_damaged_snapshot_stops_the_fold(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    store.apply("o", {"number": 1})
    core, snapshots = core_of(store), Stream(SS, "o")
    current = current_state(core, "o")
    assert current is not None
    assert current.time is not None
    body = core.envelope.dump_state("o", {"number": 2})
    assert body is not None
    entry = core.envelope.entry(
        snapshots, SNAPSHOT, body, item=str(current.version), start=current.time, end=current.time
    )
    core.append([Batch(snapshots, (entry._replace(data=entry.data[:-1] + bytes([entry.data[-1] ^ 1])),), 0)])
    with pytest.raises(StorePayloadError):
        backend.store(key=key).current("o")


@pytest.mark.slow
def test_an_order_of_ten_thousand_lines_stores_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstore.models.applying._SNAPSHOT_EVERY", 4)
    dice = random.Random(7)

    def line() -> Line:
        return Line(f"{dice.getrandbits(128):x}", Decimal(dice.randrange(10_000)) / 100)

    with JsonStore("memory://", frozen=False) as store:
        orders = Repository(store, Order)
        orders.create("o", lines=tuple(line() for _ in range(10_000)))
        first = stored_bytes(store, ES, "Order/o")
        for _ in range(12):
            orders.do("o", lambda order: {"lines": (operator.add, (line(),))})
        assert len(orders["o"].lines) == 10_012
        assert stored_bytes(store, ES, "Order/o") - first < 12 * 400
        assert 0 < stored_bytes(store, SS, "Order/o") < 1.5 * first  # one snapshot: the next is due after as many bytes


def test_a_copy_of_a_state_is_as_deep_and_shares_what_the_state_shares() -> None:
    line = {"article": ["tea"]}
    endless: list[object] = [line]
    endless.append(endless)
    state = {"a": [line, line, (line,), {(1, 2): line}, {1.5, 2.5}], "b": endless, "n": 1}
    first, second, (third,), inside, numbers = copied(state)["a"]
    assert first is second is third is inside[1, 2] == line
    assert numbers == {1.5, 2.5}
    assert first is not line
    assert first["article"] is not line["article"]
    copy = copied(state)["b"]
    assert copy[1] is copy is not endless
    assert list(copied(state)) == ["a", "b", "n"]
