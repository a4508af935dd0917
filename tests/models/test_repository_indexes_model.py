"""What indexes find is what a look at all instances finds: after any writes, at any time.

``RSTORE_EXAMPLES=500`` in the environment makes the search longer.
"""

from __future__ import annotations

import operator
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from freezegun import freeze_time

from rstore import (
    Between,
    Repository,
    StartsWith,
    Store,
    StoreConflictError,
    StoreIntegrityError,
    StoreModelError,
    StoreUniqueError,
)
from rstore.admin.check import check
from tests.conftest import Backend, case

EXAMPLES = int(os.environ.get("RSTORE_EXAMPLES", "0"))
START = 1_767_225_600_000
STEPS = 40
TICK = 5
SIZES = (None, -1, 0, 0.5, 1, 1.0, 1.5, 10)
NAMES = ("", "a", "ab", "b", "\x00", "\x01", "é")
CODES = (None, 0, 1, 2)


@attrs.frozen
class Thing:
    size: float | None
    name: str
    code: int | None = None
    other: int = 0

    def change(self, **fields: Any) -> Mapping[str, Any]:
        return fields

    def grow(self) -> Mapping[str, Any]:
        return {"size": (operator.add, 1)} if self.size is not None else {"other": (operator.add, 1)}


class Writer:
    """Writes at random to three instances, a step every few milliseconds."""

    def __init__(self, store: Store, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = store
        self.things = Repository(store, Thing, index=["size", "name"], unique=["code"])
        self.time = START
        self.steps: dict[str, tuple[int, Callable[[str], object]]] = {
            "create": (6, lambda key: self.things.create(key, **self.fields(3))),
            "change": (10, lambda key: self.things.do(key, Thing.change, **self.fields(1))),
            "late": (6, lambda key: self.things.when(t=self.earlier()).do(key, Thing.change, **self.fields(2))),
            "grow": (6, lambda key: self.things.do(key, Thing.grow)),
            "revert": (3, lambda key: self.things.revert(key, self.earlier())),
            "revive": (1, lambda _: self.things.revert(self.chance.choice("abc"), self.earlier())),
            "delete": (2, self.things.delete),
            "erase": (1, self.things.erase),
            "beside": (1, self.beside),
            "compact": (1, lambda _: self.store.compact(before=self.time - 10 * TICK)),
        }
        self.unsure = START

    def fields(self, most: int) -> dict[str, Any]:
        drawn = {"size": SIZES, "name": NAMES, "code": CODES}
        names = self.chance.sample(list(drawn), most)
        return {name: self.chance.choice(drawn[name]) for name in names}

    def earlier(self) -> int:
        return self.time - self.chance.randrange(1, 20) * TICK - 1

    def beside(self, key: str) -> None:
        if key in self.things:
            self.store.apply(f"Thing/{key}", {"name": self.chance.choice(NAMES)})
            self.things.reindex()

    def step(self) -> None:
        name = self.chance.choices(list(self.steps), [weight for weight, _ in self.steps.values()])[0]
        before = dict(self.things.all())
        there = [] if name == "create" else list(before)
        key = self.chance.choice(there or "abc")
        try:
            self.steps[name][1](key)
        except StoreUniqueError as error:
            refused = before[error.owner].code
            assert (dict(self.things.all()) == before, refused is None) == (True, False)
        except (KeyError, StoreConflictError, StoreModelError, StoreIntegrityError):
            assert dict(self.things.all()) == before
        if name in ("erase", "beside"):
            self.unsure = self.time
        elif name == "compact":
            self.unsure = max(self.unsure, self.time - 10 * TICK)


CRITERIA: list[Mapping[str, Any]] = [
    *({"size": each} for each in (*SIZES, Between(0, 1), Between(None, 0.5), Between(1, None), Between(2, 1))),
    *({"name": each} for each in (*NAMES, StartsWith(""), StartsWith("a"), Between("a", "b"), Between("ac", None))),
    *({"code": each} for each in (*CODES, Between(1, None), Between(0, 1))),
    *({"code": code, "size": Between(0, None)} for code in CODES),
    *({"name": StartsWith("a"), "code": code} for code in CODES),
]


def meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, StartsWith):
        return isinstance(value, str) and value.startswith(str(wanted.prefix))
    if not isinstance(wanted, Between):
        return bool(value == wanted)
    low, high = wanted.start, wanted.end
    return value is not None and not ((low is not None and value < low) or (high is not None and value > high))


def looked_for(everything: Mapping[str, Thing], wanted: Mapping[str, Any]) -> list[tuple[str, Thing]]:
    found = [
        (key, thing)
        for key, thing in everything.items()
        if all(meets(getattr(thing, name), each) for name, each in wanted.items())
    ]
    value = operator.attrgetter(next(iter(wanted)))
    return sorted(found, key=lambda pair: ((value(pair[1]) is not None, value(pair[1])), pair[0]) if found[1:] else ())


def check_view(view: Repository[Thing], criteria: list[Mapping[str, Any]]) -> None:
    everything = dict(view.all())
    for wanted in criteria:
        expected = looked_for(everything, wanted)
        with case(wanted, everything):
            assert list(view.by(**wanted)) == expected
            assert view.count(**wanted) == len(expected)


def test_an_index_finds_what_a_look_at_all_instances_finds(backend: Backend, key: str | None) -> None:
    """Servers get few of the examples that a local store gets: each is many round trips."""
    store = backend.store(key=key)
    for seed in range(EXAMPLES or (8 if backend.is_local else 1)):
        store.discard()
        writer = Writer(store, seed)
        with freeze_time("2026-01-01") as clock:
            for n in range(STEPS):
                writer.time = START + TICK * n
                clock.move_to(f"2026-01-01 00:00:00.{TICK * n:03d}")
                writer.step()
        with case(seed):
            check_view(writer.things, CRITERIA)
            for _ in range(3):
                moment = writer.chance.randrange(writer.unsure, writer.time + 1)
                check_view(writer.things.at(moment), writer.chance.sample(CRITERIA, 8))
            assert writer.things.reindex() == (0, 0)
            assert list(check(store)) == []
