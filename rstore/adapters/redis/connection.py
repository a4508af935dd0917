"""A connection to a Redis server: what goes over it, and what is known of the server for as long as it lasts."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from ssl import SSLSocket
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from redis.connection import ConnectionPool

Command: TypeAlias = tuple[bytes | int, ...]

_ABOVE_SECONDS: Final = 10
"""How long a partition is taken to be above what its server may have lost.

Not for ever: a server that becomes a replica, and then a master again, keeps its connections. No less than that: it
takes a round trip to ask.
"""


class Line:
    """A connection of the driver's. ``no_file_until`` is when it may be asked for its append-only file again."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._wire = unconnected(connections)
        self._wire.connect()
        self._events = _events_of(self._wire)
        self.no_file_until = 0.0
        self._above: dict[bytes, float] = {}

    def send(self, commands: Sequence[Command]) -> None:
        self._wire.send_packed_command([packed(commands)])

    def reply(self) -> Any:
        """Return the next reply, or the error that the server answers with."""
        try:
            return self._wire.read_response()
        except ResponseError as exc:
            return exc

    def is_quiet(self) -> bool:
        """Tell whether there is nothing to be read: neither the end of the connection nor what nobody waited for."""
        if self._events is not None:
            return not self._events.poll(0)
        try:
            return not self._wire.can_read(0)
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        self._wire.disconnect()

    def is_above(self, meta: bytes) -> bool:
        """Tell whether it was seen lately that a partition is above what its server may have lost."""
        return self._above.get(meta, 0.0) > time.monotonic()

    def note_above(self, meta: bytes) -> None:
        """Note that it is."""
        self._above[meta] = time.monotonic() + _ABOVE_SECONDS


def _events_of(wire: Any) -> Any:
    """Return what tells in a microsecond whether there is something to be read, where the driver takes eight.

    Not if it is encrypted: then there is more to be read than replies.
    """
    socket = wire._sock  # noqa: SLF001  # the driver shows it to nobody
    if isinstance(socket, SSLSocket) or not hasattr(select, "poll"):
        return None
    events = select.poll()
    events.register(socket, select.POLLIN)
    return events


def unconnected(connections: ConnectionPool) -> Any:
    """Return a new connection of the driver's, which is not connected yet."""
    return connections.connection_class(**connections.connection_kwargs)


def packed(commands: Sequence[Command]) -> bytes:
    """Return commands as they are sent. The driver's own packing takes three times as long."""
    pieces: list[bytes] = []
    for command in commands:
        pieces.append(b"*%d\r\n" % len(command))
        for word in command:
            text = word if isinstance(word, bytes) else b"%d" % word
            pieces += b"$%d\r\n" % len(text), text, b"\r\n"
    return b"".join(pieces)
