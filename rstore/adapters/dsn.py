"""The backends: a table of DSN schemes. A driver is imported when a DSN with one of its schemes comes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Final
from urllib.parse import unquote, unquote_plus

from attrs import frozen

from rstore.domain.errors import StoreError
from rstore.domain.log import Connector
from rstore.domain.names import exact

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_OPTION: Final = re.compile(r"\?(durability|timeout|adopt)=")
_DURABILITIES: Final = ("full", "normal")
_TIMEOUT: Final = 30.0


@frozen
class Options:
    """The options that every DSN may have. ``timeout`` is the longest wait for a connection or a lock, in seconds."""

    durability: str = "full"
    timeout: float = _TIMEOUT


@frozen
class Address:
    """The parts of a DSN, ``scheme://rest?query``, none of them decoded. ``query`` is without our options."""

    scheme: str
    rest: str
    query: str = ""
    options: Options = Options()

    @property
    def uri(self) -> str:
        """The part of the DSN that is for a driver."""
        return f"{self.scheme}://{self.rest}{'?' if self.query else ''}{self.query}"

    def taking(self, *names: str) -> dict[str, str]:
        """Return a backend's own options in the query, or raise ValueError if it has others."""
        found = {name: value for _, name, value in _pairs(self.query)}
        for name in found:
            if name not in names:
                own = "".join(f", {each}=..." for each in names)
                raise ValueError(
                    f"unknown option {name!r} in the DSN: use durability=full|normal or timeout=SECONDS{own}"
                )
        return found


def _memory(address: Address) -> Connector:
    from rstore.adapters.memory import MemoryLog, Space

    address.taking()
    if address.rest or address.options != Options():
        raise ValueError("memory:// takes neither name nor options: each Store has a memory of its own")
    return partial(MemoryLog, Space())


def _sqlite(address: Address) -> Connector:
    adopt = address.taking("adopt").get("adopt", "no")
    if adopt not in ("yes", "no"):
        raise ValueError(f"adopt is yes or no, not {adopt!r}")
    return _file(unquote(address.rest), address.options, adopt=adopt == "yes")


def _file(path: str, options: Options, *, adopt: bool = False) -> Connector:
    from rstore.adapters.sqlite.log import SqliteLog

    if not path or path == ":memory:":
        raise ValueError("a SQLite store needs a file name; for one in memory use 'memory://'")
    if "\0" in path:
        raise ValueError("a file name can't have NUL characters")
    return partial(SqliteLog, path, options.durability, options.timeout, adopt=adopt)


def _served(name: str, driver: str, log: str, address: Address) -> Connector:
    try:
        adapter = import_module(f"rstore.adapters.{name}.log")
    except ModuleNotFoundError as exc:
        raise StoreError(f"{name}:// needs the package {driver}: pip install 'rlib-store[{name}]'") from exc
    server = adapter.Server.at(address.uri, address.options.durability, address.options.timeout)
    return partial(getattr(adapter, log), server)


_postgresql: Final = partial(_served, "postgresql", "psycopg", "PostgresqlLog")
_redis: Final = partial(_served, "redis", "redis", "RedisLog")
_SCHEMES: Final[Mapping[str, Callable[[Address], Connector]]] = {
    "sqlite": _sqlite,
    "memory": _memory,
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "redis": _redis,
    "rediss": _redis,
    "valkey": _redis,
    "valkeys": _redis,
    "unix": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
}


def open_log(dsn: str | os.PathLike[str]) -> Connector:
    """Return a function that makes the logs of a DSN's namespaces. It connects to nothing yet.

    A DSN without ``scheme://`` is the name of a SQLite file, taken literally. But options behind it are refused.

    Raises:
        TypeError: it is neither str nor a path.
        ValueError: the scheme or an option is unknown; the message lists those that there are.
        StoreError: the scheme's driver is not installed; the message says how to install it.
    """
    path = os.fspath(dsn)
    if not isinstance(path, str):
        raise TypeError(f"a DSN is a str or a path, not {type(dsn).__name__}")
    path = exact(path)
    try:
        os.fsencode(path)  # surrogates may stand for bytes of a file name that are not UTF-8
    except UnicodeEncodeError:
        raise ValueError(f"a DSN can't have lone surrogates: {path[:60]!r}") from None
    match = _SCHEME.match(path) if isinstance(dsn, str) else None
    if match is None and isinstance(dsn, str) and _OPTION.search(path):
        raise ValueError(f"options need a scheme: write 'sqlite://{path}', or a Path if the file is called so")
    if match is None:
        return _file(path, Options())
    scheme = match[1].lower()
    connect = _SCHEMES.get(scheme)
    if connect is None:
        raise ValueError(
            f"unknown scheme {scheme}://: use a file name or {' or '.join(f'{name}://' for name in _SCHEMES)}"
        )
    rest, _, query = match[2].partition("?")
    return connect(Address(scheme, rest, *_options(query)))


def _options(query: str) -> tuple[str, Options]:
    """Split a query: return the options that are for the driver, and ours."""
    pairs = _pairs(query)
    ours = {name: value for _, name, value in pairs if name in ("durability", "timeout")}
    durability = ours.get("durability", Options().durability)
    if durability not in _DURABILITIES:
        raise ValueError(f"durability is {' or '.join(_DURABILITIES)}, not {durability!r}")
    try:
        timeout = float(ours.get("timeout", _TIMEOUT))
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout < float("inf"):
        raise ValueError(f"timeout is a number of seconds, not {ours['timeout']!r}")
    return "&".join(pair for pair, name, _ in pairs if name not in ours), Options(durability, timeout)


def _pairs(query: str) -> list[tuple[str, str, str]]:
    """Return the parts of a query, each as it stands, and decoded as a name and its value."""
    parts = [part for part in query.split("&") if part]
    return [(part, unquote_plus(part.partition("=")[0]), unquote_plus(part.partition("=")[2])) for part in parts]
