"""Errors of the driver and of servers, translated: this is the one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError

from rstore.domain.errors import StoreError, StoreNotAvailableError

UNKNOWN: Final = "; the write may or may not have been stored"

_BY_CLASS: Final[Mapping[type[RedisError], str]] = {
    AuthenticationError: "user or password is missing or wrong",
    NoPermissionError: "the user may not do this (reading needs +@read +@connection ~rstore:*, writing +@all)",
    ReadOnlyError: "this is a replica: connect to the master, or open it with frozen=True",
    OutOfMemoryError: "the server's memory is full (maxmemory); nothing was stored",
    TryAgainError: "a part of its data has been on the move to another server for longer than the timeout",
    ClusterDownError: "the cluster is not complete: no server answers for a part of its data",
    BusyLoadingError: "it is still loading its data (wait longer with ?timeout=SECONDS)",
    MovedError: "it is a part of a cluster: write redis+cluster:// instead of redis://",
    AskError: "it is a part of a cluster: write redis+cluster:// instead of redis://",
    LateError: "it did not answer in time (wait longer with ?timeout=SECONDS)",
    LostError: "it can't be reached, or the connection was lost",
}
_BY_CODE: Final = {
    "BUSY": "it is busy with a script for longer than the timeout (raise it with ?timeout=SECONDS)",
    "MISCONF": "it can't save to its disk, and takes no writes until it can; nothing was stored",
    "NOREPLICAS": "it has fewer replicas than it is configured to want; nothing was stored",
    "MASTERDOWN": "this replica has lost its master",
    "NOINFO": "the user may not ask for INFO, which tells a writer that the server has lost records: grant +info",
    "UNBLOCKED": "it has just become a replica of another server",
}


def translated(error: Exception, name: str, suffix: str = "") -> StoreError:
    """Return the StoreError for an error of the driver or of a server. No message repeats the server's own words."""
    for kind, message in _BY_CLASS.items():
        if isinstance(error, kind):
            return StoreNotAvailableError(f"{name}: {message}{suffix}")
    if isinstance(error, OSError):
        return StoreNotAvailableError(f"{name}: {_BY_CLASS[LostError]}{suffix}")
    code = str(error).partition(" ")[0]
    if code in _BY_CODE:
        return StoreNotAvailableError(f"{name}: {_BY_CODE[code]}{suffix}")
    if code == "DAMAGED":
        return damaged()
    if code == "WRONGTYPE":
        return StoreError(f"{name}: a key that begins with 'rstore:' was not written by rstore")
    return StoreError(f"{name}: the server refused a command of rstore{suffix}")


def damaged() -> StoreError:
    return StoreError(
        "keys that begin with 'rstore:' hold data that rstore did not write: does another program use them?"
    )


def is_busy(reply: Any) -> bool:
    """Tell whether a server refused a command because a script has been running for too long."""
    return isinstance(reply, ResponseError) and str(reply).startswith("BUSY ")
