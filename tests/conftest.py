"""The backends under test, behind one fixture: another adapter is another row of ``BACKENDS``."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial, wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import freezegun
import pytest
from attrs import define
from hypothesis import HealthCheck, settings

from rstore import Store
from rstore.adapters.dsn import open_log
from rstore.adapters.memory import MemoryLog, Space
from rstore.domain.log import Adapter, Connector
from tests.support.servers import Cluster, Postgres, Valkey

# How long an example takes depends on what else the machine does, and fails no test.
settings.register_profile("rstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rstore")

# To hold the clock, freezegun looks into every module for one. In these it would find none of ours.
freezegun.configure(extend_ignore_list=["matplotlib", "numpy", "pandas", "playwright", "polars", "pyarrow"])

# It need look into the others only once: no module of ours gets a clock later. Otherwise it lists the attributes of
# 1,500 modules each time, to see whether one has changed. That took most of the time of many tests that hold the clock.
freezegun.api._get_module_attributes_hash = lambda module: f"{id(module)}"

# A shell that runs the tests in the background has them ignore an interrupt, and so would each process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
OTHER_KEY = "zyxwvutsrqponmlkjihgfedcba9876543210ABCDEFG="


@define
class Backend:
    """A place for stores: everything opened from one Backend shares its data."""

    name: str
    connect: Connector
    stack: ExitStack

    @property
    def is_local(self) -> bool:
        """Whether there is no server in between."""
        return self.name in ("memory", "sqlite")

    def store(self, cls: type[Store] = Store, **options: Any) -> Store:
        """Open a store, by default a writable one, until the test ends."""
        return self.stack.enter_context(cls(self.connect, **{"frozen": False, **options}))

    def log(self, namespace: str = "default", *, frozen: bool = False) -> Adapter:
        """Open a log until the test ends."""
        log = self.connect(namespace, frozen)
        log.open()
        self.stack.callback(log.close)
        return log


SERVERS = ExitStack()
"""The servers that this process has started, each when a test first asked for it."""

SERVED = frozenset({"postgresql", "redis", "cluster"})
"""The backends that are servers."""

SERVERS_ALLOWED: list[bool] = [False]
"""Whether the test that runs is marked ``server``: so that no other one starts any."""


def check_marked() -> None:
    assert SERVERS_ALLOWED == [True], "a test that uses a server is marked with pytest.mark.server"


def postgresql() -> str:
    check_marked()
    return _postgresql()


def redis() -> str:
    check_marked()
    return _redis()


def cluster() -> str:
    check_marked()
    return _cluster()


@cache
def _postgresql() -> str:
    """Start a server that need not survive a loss of power; or take the one that was given."""
    from tests.support.sessions import end_sessions

    dsn = os.environ.get("RSTORE_TEST_POSTGRESQL") or SERVERS.enter_context(Postgres.start({"fsync": "off"})).dsn
    SERVERS.callback(end_sessions)
    return dsn


@cache
def _redis() -> str:
    return os.environ.get("RSTORE_TEST_REDIS") or SERVERS.enter_context(Valkey.start()).dsn


@cache
def _cluster() -> str:
    return SERVERS.enter_context(Cluster.start()).dsn


class Apart:
    """A connector on a server that many tests share, whose namespaces are nobody else's.

    They are left behind on a server of ours, which is thrown away, and erased on one that was given.
    """

    def __init__(self, dsn: str, stack: ExitStack) -> None:
        self._connect, self._prefix = open_log(dsn), uuid4().hex
        self._used: set[str] = set()
        if dsn in os.environ.values():
            stack.callback(self._erase)

    def __call__(self, namespace: str, frozen: bool) -> Adapter:
        self._used.add(namespace)
        return self._connect(self.named(namespace), frozen)

    def named(self, namespace: str) -> str:
        """Return the name of a namespace on the server."""
        return f"{self._prefix} {namespace}"

    def _erase(self) -> None:
        for namespace in list(self._used):
            log = self(namespace, False)
            log.open()
            log.discard()
            log.close()


if TYPE_CHECKING:  # drivers are imported when one is asked for; that all have what the port wants, mypy tells
    from rstore.adapters.postgresql.log import PostgresqlLog
    from rstore.adapters.redis.log import RedisLog
    from rstore.adapters.sqlite.log import SqliteLog
    from rstore.domain.as_of import AsOf
    from rstore.domain.log import LogReader
    from rstore.domain.transaction import Transaction

    ADAPTERS: tuple[type[Adapter], ...] = (MemoryLog, SqliteLog, PostgresqlLog, RedisLog)
    READERS: tuple[type[LogReader], ...] = (AsOf, Transaction)


def apart_in_postgresql(_: Path, stack: ExitStack) -> Connector:
    """Connect by sessions that other tests have left. Tests of the adapter itself make new ones."""
    dsn = postgresql()
    from tests.support.sessions import keeping_sessions

    stack.enter_context(keeping_sessions())
    return Apart(dsn, stack)


def apart_in_cluster(_: Path, stack: ExitStack) -> Connector:
    """Connect to a cluster where a new namespace gets few partitions: each node has several all the same.

    To make 64 and to ask each of them took longer than what most tests are about. Tests of the adapter itself do that.
    """
    dsn = cluster()
    from rstore.adapters.redis.cluster import router

    stack.enter_context(patch.object(router.Cluster, "partitions", 8))
    return Apart(dsn, stack)


BACKENDS: dict[str, Callable[[Path, ExitStack], Connector]] = {
    "memory": lambda _, __: partial(MemoryLog, Space()),
    "sqlite": lambda path, _: open_log(path / "test.db"),
    "postgresql": apart_in_postgresql,
    "redis": lambda _, stack: Apart(redis(), stack),
    "cluster": apart_in_cluster,
}


@contextmanager
def case(*values: object) -> Iterator[None]:
    """Say of an error which of several cases, tried in one test, it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case of {', '.join(map(repr, values))}")
        raise


def in_turn(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try all cases in one test, with the same fixtures; otherwise, this is ``pytest.mark.parametrize``.

    For tests that do no harm to the store they are given: a new one for each case would take more time than the case.
    """
    listed = [names] if isinstance(names, str) else list(names)
    rows = [(each,) if isinstance(names, str) else tuple(each) for each in cases]
    assert rows, "a test of no case can't fail"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def each_in_turn(*args: Any, **fixtures: Any) -> None:
            for row in rows:
                with case(*row):
                    test(*args, **fixtures, **dict(zip(listed, row, strict=True)))

        shown = signature(test)
        left = [parameter for name, parameter in shown.parameters.items() if name not in listed]
        assert len(left) == len(shown.parameters) - len(listed), "the test takes each of them"
        each_in_turn.__signature__ = shown.replace(parameters=left)  # type: ignore[attr-defined]
        return each_in_turn

    return decorate


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    with SERVERS:
        yield


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield Backend(request.param, BACKENDS[request.param](tmp_path, stack), stack)


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> str | None:
    chosen: str | None = request.param
    return chosen


@pytest.fixture
def store(backend: Backend, key: str | None) -> Store:
    """An empty, writable store: on every backend, plain and encrypted."""
    return backend.store(key=key)


@pytest.fixture
def log(backend: Backend) -> Adapter:
    """An empty, writable log on every backend."""
    return backend.log()


RAM = Path("/dev/shm")
RAM_FOR_FILES = 2 << 30  # bytes: enough for all files that the tests of several workers have at one time


OF_THE_MACHINE = ("PYTHON", "PG", "RSTORE_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PAGER")
OF_THE_TESTS = ("PYTHONPATH", "RSTORE_TEST_", "RSTORE_EXAMPLES")


def forget_environment() -> None:
    """Let no variable of the machine decide a result, in this process or in those that tests start."""
    for name in [name for name in os.environ if name.startswith(OF_THE_MACHINE) and not name.startswith(OF_THE_TESTS)]:
        del os.environ[name]


def pytest_configure() -> None:
    forget_environment()
    use_ram()


def use_ram() -> None:
    """Keep the files of tests in RAM where there is enough.

    The code that runs is the same, fsync and all; only that no test waits for a disk. None could tell anyway: what they
    kill are processes, and those lose nothing that was handed to the system.
    """
    if RAM.is_dir() and shutil.disk_usage(RAM).free > RAM_FOR_FILES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(RAM))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: two for each core, since half of the time a test waits for servers and processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, nor ever again in what they are: all of it stays to the end.

    Each worker collects all tests. Of the time that took, a quarter went into looking.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


ENCRYPTED_ON_SERVERS = ("test_changes", "test_envelope", "test_properties", "test_readme")
"""Tests of what is stored. All others are of what is done with sealed bytes, which a server does as with any bytes."""

ON_SERVERS = ("test_cluster", "test_postgresql", "test_redis", "test_redis_loss")
"""Modules all of whose tests are about servers; elsewhere, the backend tells it, or the test is marked."""

for _module in (*ENCRYPTED_ON_SERVERS, *ON_SERVERS):
    assert any(Path(__file__).parent.rglob(f"{_module}.py")), f"there is no {_module}.py any more"


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server or a browser and what is encrypted.

    On servers, run only plain what is not about what is stored. In memory and on SQLite, all runs twice.
    """
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.stem in ON_SERVERS or not SERVED.isdisjoint(map(str, params.values())):
            item.add_marker("server")
        if params.get("key") is not None:
            item.add_marker("encrypted")
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")

    def is_twice(item: pytest.Item) -> bool:
        marks = {mark.name for mark in item.iter_markers()}
        return {"server", "encrypted"} <= marks and item.path.stem not in ENCRYPTED_ON_SERVERS

    items[:] = [item for item in items if not is_twice(item)]


@pytest.hookimpl(tryfirst=True)  # before the fixtures that start one
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember which test asks for a server."""
    SERVERS_ALLOWED[:] = [item.get_closest_marker("server") is not None]
