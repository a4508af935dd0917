"""A bank: whatever is killed while it moves money, there is as much of it as before, at any time that one looks at."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from rstore import Store
from tests.conftest import Backend
from tests.support.workers import ACCOUNTS, BALANCE, SECONDS, STRESS, WORKERS, Crew, account, book

pytestmark = pytest.mark.slow

TOTAL = ACCOUNTS * BALANCE
SAMPLES = 200 if STRESS else 20


def balances(store: Any) -> list[int]:
    return [(store.current(account(n)) or {})["balance"] for n in range(ACCOUNTS)]


class Auditor:
    """Looks at the bank now and then, as it was known a moment before."""

    def __init__(self, store: Store, opened: int) -> None:
        self._store, self._opened = store, opened
        self.found: list[tuple[int, list[int]]] = []

    def look(self) -> None:
        moment = time.time_ns() // 1_000_000 - 100
        if moment >= self._opened:
            view = self._store.at(moment)
            before, found = None, balances(view)
            while found != before:  # somebody had waited for his turn since then, and came while this was looking
                before, found = found, balances(view)
            self.found.append((moment, found))


@pytest.mark.timeout(600)
def test_money_is_neither_made_nor_lost(backend: Backend, key: str | None, tmp_path: Path) -> None:
    store = backend.store(key=key)
    with store.transaction():
        for n in range(ACCOUNTS):
            store.apply(account(n), {"balance": BALANCE})
    auditor = Auditor(store, store.history(account(0))[0].recorded)
    with Crew(backend, tmp_path, key, seed=3) as crew:
        for n in range(WORKERS):
            crew.start("pay", f"p{n}")
        crew.start("books", "b0")
        crew.work(SECONDS, meanwhile=auditor.look)
        crew.stop()
        paid = len(crew.told("pay"))

    present = balances(store)
    assert (sum(present), min(present) >= 0) == (TOTAL, True)
    changes = list(store.log(kind="es"))
    transfers, rest = divmod(len(changes) - ACCOUNTS, 2)
    assert rest == 0
    assert paid <= transfers <= paid + crew.killed

    assert auditor.found
    for moment, found in auditor.found:
        assert sum(found) == sum(balances(store.at(moment))) == TOTAL
    moments = sorted({change.recorded for change in changes})
    dice = random.Random(4)
    for moment in [moments[0], *dice.sample(moments, min(SAMPLES, len(moments))), moments[-1]]:
        assert sum(balances(store.at(moment))) == TOTAL
        assert sum(change.recorded <= moment for change in changes) % 2 == ACCOUNTS % 2, "half a transfer"

    store.project("books", book, kind="es", prefix="account ")
    assert store["bookings"] == len(changes)
    assert store["balance of all"] == TOTAL
    assert [store[f"balance of {account(n)}"] for n in range(ACCOUNTS)] == present
    assert paid > (100 if STRESS else 5)
    print(f"{transfers:,} transfers, {crew.killed} killed, {len(auditor.found)} times looked at")
