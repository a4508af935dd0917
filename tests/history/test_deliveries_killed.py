"""Deliveries whose workers are killed, or fail, at random: each message at least once, in order of each key."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import Delivery, Store
from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.log import Adapter
from tests.conftest import Backend
from tests.support.workers import SECONDS, Crew, Sent, sent

KEYS = 20


def check_sent(told: list[Sent], expected: dict[str, list[int]]) -> int:
    """Check what was sent, in order of time, against the messages of each key. Return how many came again."""
    by_key: dict[str, list[Sent]] = defaultdict(list)
    for each in told:
        by_key[each.key].append(each)
    for key, versions in expected.items():
        came = [each.version for each in by_key[key]]
        assert came == sorted(came), f"{key} is out of order"
        assert list(dict.fromkeys(came)) == versions, f"of {key} something is missing"
    tokens = {(each.key, each.version, each.token) for each in told}
    assert len(tokens) == len({token for *_, token in tokens}) == sum(map(len, expected.values()))
    return len(told) - len(tokens)


def versions_of(store: Store) -> dict[str, list[int]]:
    """Return the versions of all messages by key."""
    expected: dict[str, list[int]] = defaultdict(list)
    for change in store.log(prefix="order "):
        expected[change.key].append(change.version)
    return expected


@pytest.mark.slow
def test_workers_that_are_killed_skip_nothing(backend: Backend, tmp_path: Path) -> None:
    store = backend.store()
    last: list[str] = []
    with Crew(backend, tmp_path, None, seed=3) as crew:
        for name in ("a", "b", "c"):
            crew.start("deliver", name)
        end, n = time.monotonic() + SECONDS, 0
        while time.monotonic() < end or (backend.name != "memory" and crew.killed < 3):
            for _ in range(50):
                store[f"order {n % KEYS}"] = n
                n += 1
            crew.work(0.01)
        crew.stop()
        store.deliver(
            "mail",
            lambda each: last.append(f"{time.monotonic_ns()} {each.key} {each.version} {each.attempt} {each.token}"),
            prefix="order ",
            wait=3.0,
            attempts=None,
        )
        again = check_sent(sent([*crew.told("deliver"), *last]), versions_of(store))
    assert again <= 2 * crew.killed, "each worker has two threads, and each thread one message in hand"
    print(f"{n:,} messages, {crew.killed} killed, {again} sent again")


class Crash(BaseException):
    """The end of a worker that stores nothing any more."""


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=8))
def test_workers_that_fail_crash_or_renew_nothing_do_as_the_naive_model(seed: int, rounds: list[list[int]]) -> None:
    """The model is a list for each key. Whatever befalls workers, what was sent is that list with repetitions."""
    dice, space, told = random.Random(seed), Space(), list[Sent]()
    lock = threading.Lock()

    def place(namespace: str, frozen: bool) -> Adapter:
        return MemoryLog(space, namespace, frozen)

    def send(delivery: Delivery) -> None:
        with lock:
            told.append(Sent(len(told), delivery.key, delivery.version, delivery.attempt, delivery.token))
            fate = dice.random()
        if fate < 0.1:
            raise Crash
        if fate < 0.3:
            raise ConnectionError

    options: dict[str, Any] = {"lease": 0.01, "backoff": 0.001, "attempts": None, "workers": 2}
    with Store(place, frozen=False) as store, Store(place, frozen=False) as other:
        n = 0
        for keys in rounds:
            for key in keys:
                n += 1
                store[f"order {key}"] = n
            for each in dice.sample([store, other], 2):
                try:
                    each.deliver("mail", send, wait=0.001, **options)
                except Crash:
                    time.sleep(0.011)
        while any(store.due("mail")) or store.deliveries()[0].records:
            try:
                other.deliver("mail", send, wait=0.02, **options)
            except Crash:
                time.sleep(0.011)
        check_sent(told, versions_of(store))
