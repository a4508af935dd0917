"""A connection to a Redis server: commands, replies, and facts about the server that hold while it lasts."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from ssl import SSLSocket
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from redis.connection import ConnectionPool

Command: TypeAlias = tuple[bytes | int, ...]

_FENCED_SECONDS: Final = 10
"""How long a partition is taken to be above all that its server may have lost: see ``lua/fence.lua``.

Not for ever: a server that becomes a replica, and then a master again, keeps its connections. No less than that: each
check takes a round trip.
"""


class Connection:
    """A connection of the driver's. From ``no_file_until`` on, the server may be asked for its append-only file."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._driver = unconnected(connections)
        self._driver.connect()
        self._events = _events_of(self._driver)
        self.no_file_until = 0.0
        self._fenced_until: dict[bytes, float] = {}

    def send(self, commands: Sequence[Command]) -> None:
        self._driver.send_packed_command(packed(commands))

    def reply(self) -> Any:
        """Return the next reply, or the error that the server answers with."""
        try:
            return self._driver.read_response()
        except ResponseError as exc:
            return exc

    def is_quiet(self) -> bool:
        """Tell whether there is nothing to be read: neither the end of the connection nor an unexpected reply."""
        if self._events is not None:
            return not self._events.poll(0)
        try:
            return not self._driver.can_read(0)
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        self._driver.disconnect()

    def is_fenced(self, meta: bytes) -> bool:
        """Tell whether a partition was lately seen to be above all that its server may have lost."""
        return self._fenced_until.get(meta, 0.0) > time.monotonic()

    def note_fenced(self, meta: bytes) -> None:
        self._fenced_until[meta] = time.monotonic() + _FENCED_SECONDS


def _events_of(driver: Any) -> Any:
    """Return an object that tells in a microsecond whether there is something to be read. The driver takes eight.

    Return None if the connection is encrypted: then more than replies comes in.
    """
    socket = driver._sock  # noqa: SLF001  # the driver has no public name for it
    if isinstance(socket, SSLSocket) or not hasattr(select, "poll"):
        return None
    events = select.poll()
    events.register(socket, select.POLLIN)
    return events


def unconnected(connections: ConnectionPool) -> Any:
    """Return a new connection of the driver's that is not connected yet."""
    return connections.connection_class(**connections.connection_kwargs)


_PIECE: Final = 10_000  # words


class _Sizes(dict[int, bytes]):
    """What stands before a word of a size, behind the word before it."""

    def __missing__(self, size: int) -> bytes:
        return b"\r\n$%d\r\n" % size


_SIZES: Final = _Sizes((size, b"\r\n$%d\r\n" % size) for size in range(1024))


def packed(commands: Sequence[Command]) -> Iterator[bytes]:
    """Yield commands as they are sent, in pieces: a server reads one while the next is made.

    The driver's own packing takes six times as long.
    """
    pieces: list[bytes] = []
    for command in commands:
        pieces.append(b"*%d" % len(command))
        for start in range(0, len(command), _PIECE):
            for word in command[start : start + _PIECE]:
                text = word if isinstance(word, bytes) else b"%d" % word
                pieces += _SIZES[len(text)], text
            if start + _PIECE < len(command):
                yield b"".join(pieces)
                pieces.clear()
        pieces.append(b"\r\n")
    yield b"".join(pieces)
