"""The backends under test, behind one fixture: another adapter is another row of ``BACKENDS``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from rstore import Store
from rstore.adapters import open_log
from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.log import Connector, Log

KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
OTHER_KEY = "zyxwvutsrqponmlkjihgfedcba9876543210ABCDEFG="


@define
class Backend:
    """A place for stores: everything opened from one Backend shares its data."""

    name: str
    connect: Connector
    stack: ExitStack

    def store(self, cls: type[Store] = Store, **options: Any) -> Store:
        """Open a store, by default a writable one, until the test ends."""
        return self.stack.enter_context(cls(self.connect, **{"frozen": False, **options}))

    def log(self, namespace: str = "default", *, frozen: bool = False) -> Log:
        """Open a log until the test ends."""
        log = self.connect(namespace, frozen)
        log.open()
        self.stack.callback(log.close)
        return log


BACKENDS: dict[str, Callable[[Path], Connector]] = {
    "memory": lambda _: partial(MemoryLog, Space()),
    "sqlite": lambda path: open_log(path / "test.db"),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield Backend(request.param, BACKENDS[request.param](tmp_path), stack)


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.fixture
def store(backend: Backend, key: str | None) -> Store:
    """An empty, writable store: on every backend, plain and encrypted."""
    return backend.store(key=key)


@pytest.fixture
def log(backend: Backend) -> Log:
    """An empty, writable log on every backend."""
    return backend.log()
