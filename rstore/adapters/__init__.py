"""The backends: a table of DSN schemes. Drivers are imported when one of theirs is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, unquote

from attrs import frozen

from rstore.domain.log import Connector

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_DURABILITIES: Final = ("full", "normal")
_TIMEOUT: Final = 30.0


@frozen
class Options:
    """What a DSN's query may say. ``timeout`` is in seconds: the longest wait for a connection or a lock."""

    durability: str = "full"
    timeout: float = _TIMEOUT


def _memory(rest: str, options: Options) -> Connector:
    from rstore.adapters.memory import MemoryLog, Space

    if rest or options != Options():
        raise ValueError("memory:// takes neither name nor options: each Store has a memory of its own")
    return partial(MemoryLog, Space())


def _sqlite(path: str, options: Options) -> Connector:
    from rstore.adapters.sqlite import SqliteLog

    if not path or path == ":memory:":
        raise ValueError("a SQLite store needs a file name; for one in memory use 'memory://'")
    if "\0" in path:
        raise ValueError("a file name can't have NUL characters")
    return partial(SqliteLog, path, options.durability, options.timeout)


_SCHEMES: Final[Mapping[str, Callable[[str, Options], Connector]]] = {
    "sqlite": _sqlite,
    "memory": _memory,
}


def open_log(dsn: str | os.PathLike[str]) -> Connector:
    """Return what makes the logs of a DSN's namespaces. Nothing is connected to yet.

    A DSN without ``scheme://`` is the name of a SQLite file, taken literally.

    Raises:
        TypeError: it is neither str nor a path.
        ValueError: an unknown scheme or option; the message lists those that there are.
    """
    path = os.fspath(dsn)
    if not isinstance(path, str):
        raise TypeError(f"a DSN is a str or a path, not {type(dsn).__name__}")
    match = _SCHEME.match(path) if isinstance(dsn, str) else None
    if match is None:
        return _sqlite(path, Options())
    scheme, rest = match[1].lower(), match[2]
    connect = _SCHEMES.get(scheme)
    if connect is None:
        raise ValueError(f"unknown scheme {scheme}://: use a file name or {_listed(f'{name}://' for name in _SCHEMES)}")
    rest, _, query = rest.partition("?")
    return connect(unquote(rest), _options(query))


def _options(query: str) -> Options:
    values = dict(parse_qsl(query, keep_blank_values=True))
    for name in values:
        if name not in ("durability", "timeout"):
            raise ValueError(f"unknown option {name!r} in the DSN: use durability=full|normal or timeout=SECONDS")
    durability = values.get("durability", Options().durability)
    if durability not in _DURABILITIES:
        raise ValueError(f"durability is {_listed(_DURABILITIES)}, not {durability!r}")
    try:
        timeout = float(values.get("timeout", _TIMEOUT))
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout < float("inf"):
        raise ValueError(f"timeout is a number of seconds, not {values['timeout']!r}")
    return Options(durability, timeout)


def _listed(names: Iterable[str]) -> str:
    return " or ".join(names)
