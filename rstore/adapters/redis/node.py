"""A Redis or Valkey server: its connections, what it confirms, and whether it can be used.

The driver is told to repeat nothing: an append whose outcome is unknown must not be written twice. What the server
refused because it is busy for the moment was not executed, and is asked for again until the timeout.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from rstore.adapters.redis.connection import Command, Line
from rstore.adapters.redis.dsn import Server
from rstore.adapters.redis.errors import UNKNOWN, is_busy, translated
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.scripts import FENCE, Script
from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError

_OLDEST: Final = 7
_RETRY_SECONDS: Final = 0.02
_UNCONFIRMED: Final = ("appendonly is disabled", "unknown command")
"""What a server answers to WAITAOF that has no append-only file, or is older than Redis 7.2 and does not know it.

``durability=full`` then is what the server can do: rejected was to refuse it, since full is what nobody has to ask for.
"""
_UNCONFIRMED_SECONDS: Final = 60  # then it is asked again, since the file can be switched on at any time


class Request(NamedTuple):
    """Commands about keys of one slot. They may be sent again, from any of them on.

    Only the last of them may be one that must not be executed twice. ``advances`` is the key of the meta of a partition
    that gives out positions by them.
    """

    slot: int
    commands: Sequence[Command]
    script: Script | None = None
    advances: bytes | None = None


class Run(NamedTuple):
    """A script to be run on keys of one slot."""

    slot: int
    script: Script
    keys: Sequence[bytes]
    args: Sequence[bytes]

    def request(self) -> Request:
        """Return it as a command that names the script, which the server may not know yet."""
        command: Command = b"EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args
        return Request(self.slot, [command], self.script, self.keys[0] if self.script.fenced else None)


class Node:
    """The connections to one server. Threads share it; after a fork, the child makes its own connections."""

    partitions: Final = 1
    """How many a new namespace gets."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = True
        self._idle: tuple[int, deque[Line]] = os.getpid(), deque()
        self._connections = server.connections()

    def close(self) -> None:
        """Let go of all connections; those in use end with their call."""
        self._open = False
        idle = self._pool()
        while idle:
            idle.pop().close()

    def check_open(self) -> None:
        """Raise StoreClosedError if it was closed."""
        if not self._open:
            raise StoreClosedError(self.server.name)

    def at(self, slot: int) -> Node:  # noqa: ARG002  # a cluster has a node for each slot
        """Return what answers for a slot."""
        return self

    def slot_of_each(self) -> list[int]:
        """Return for each server a slot that it has."""
        return [0]

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands that may be repeated, in one go, and return the replies."""
        replies = self._exchange(commands) if commands else []
        for reply in replies:
            if isinstance(reply, RedisError):
                raise self.translated(reply) from reply
        return replies

    def ask_each(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Send requests that may be repeated, all at once, and return the replies to each."""
        replies = iter(self.ask(*(command for request in requests for command in request.commands)))
        return [list(islice(replies, len(request.commands))) for request in requests]

    def tell(self, *commands: Command) -> None:
        """Send commands, of which the first must not be executed twice."""
        self.ask(*commands)  # to one server, nothing is sent again in any case

    def query(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that only reads, or may be run again."""
        return self._run(script, keys, args, writing=False)

    def write(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that writes, and wait until what it wrote is safe."""
        return self._run(script, keys, args, writing=True)

    def write_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that write, and return what each answers."""
        return [self.write(run.script, run.keys, *run.args) for run in runs]

    def query_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that may be run again, and return what each answers."""
        return [self.query(run.script, run.keys, *run.args) for run in runs]

    def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, writing: bool) -> Any:
        rest: Command = (len(keys), *keys, *args)
        advances = keys[0] if script.fenced else None
        (reply,) = self._exchange([(b"EVALSHA", script.sha, *rest)], writing=writing, advances=advances)
        if isinstance(reply, NoScriptError):
            spelt_out = b"EVAL", script.source, *rest
            (reply,) = self._exchange([spelt_out], writing=writing, advances=advances)
        if isinstance(reply, RedisError):
            raise self.translated(reply) from reply
        return reply

    def lift(self, line: Line, partitions: Sequence[tuple[bytes, Sequence[Command]]]) -> list[Any]:
        """Let partitions go on above all that the server may have lost, and return what it says to each.

        They are given by the key of their meta, with the commands that come before. What is written next is only sent
        when a lift is safe: lost together, they would leave positions that were seen and are given out again.

        Raises:
            StoreNotAvailableError: a lift is not known to be safe.
        """
        line.send([each for meta, before in partitions for each in (*before, _lifting(meta))])
        replies = [[line.reply() for _ in (*before, meta)][-1] for meta, before in partitions]
        if 1 in replies:
            waits = self.confirmations(line)
            line.send(waits)
            self.check_confirmed(self.read_confirmations(line, waits), "that it goes on above what it has lost")
        for (meta, _), reply in zip(partitions, replies, strict=True):
            if not isinstance(reply, RedisError):
                line.note_above(meta)
        return replies

    def confirmations(self, line: Line) -> list[Command]:
        """Return what is sent behind a write on a connection, so that it is answered when that is safe."""
        if self.server.durability != "full":
            return []
        has_file = line.no_file_until <= time.monotonic()
        waits: list[Command] = [(b"WAITAOF", 1, 0)] if has_file else []
        if self.server.replicas:
            waits.append((b"WAIT", self.server.replicas))
        # one waits after the other, and together no longer than the timeout
        return [(*wait, int(self.server.timeout * 1000) // len(waits)) for wait in waits]

    def read_confirmations(self, line: Line, commands: Sequence[Command]) -> list[tuple[Command, Any]]:
        """Return commands with their replies, but for what the server can't confirm, and is not asked again for now."""
        replies = [(command, line.reply()) for command in commands]
        if not any(_is_unconfirmed(reply) for _, reply in replies):
            return replies
        line.no_file_until = time.monotonic() + _UNCONFIRMED_SECONDS
        return [(command, reply) for command, reply in replies if not _is_unconfirmed(reply)]

    def check_confirmed(self, replies: Iterable[tuple[Command, Any]], what: str = "the write") -> None:
        """Raise StoreNotAvailableError if a write is not as safe as it should be."""
        for command, reply in replies:
            wanted = 1 if command[0] == b"WAITAOF" else self.server.replicas
            if isinstance(reply, RedisError):
                raise self.translated(reply, f"; {what} was stored, but is not known to be durable") from reply
            if (reply[0] if isinstance(reply, list) else reply) < wanted:
                by = "its disk" if command[0] == b"WAITAOF" else f"{wanted} replicas"
                raise StoreNotAvailableError(f"{self.server.name}: {what} was stored, but not confirmed by {by}")

    def check_server(self, home: Partition, *, writing: bool) -> None:
        """Raise StoreNotAvailableError if the server is not reached or too old, or would refuse or lose writes."""
        hello, *others = self._exchange([*questions(writing=writing), *attempts(home, writing=writing)])
        check_facts(self.server.name, hello, *others[:1])
        if writing and b"replica" in hello:  # it may take writes, and would lose them
            raise self.translated(ReadOnlyError())
        check_attempts(self.server.name, others[1:])

    # -- connections --------------------------------------------------------------------------------------------------

    def _exchange(
        self, commands: Sequence[Command], *, writing: bool = False, advances: bytes | None = None
    ) -> list[Any]:
        """Send commands and return the replies; errors that the server answers with are among them.

        Args:
            writing: the first may not be executed twice, and what it wrote is safe when this returns.
            advances: the key of the meta of a partition that gives out positions by them.
        """
        deadline = time.monotonic() + self.server.timeout
        while True:
            self.check_open()
            try:
                replies = self._exchange_once(commands, writing=writing, advances=advances)
            except BusyLoadingError as exc:
                if time.monotonic() > deadline:
                    raise self.translated(exc) from exc
            else:
                if not is_busy(replies[0]) or time.monotonic() > deadline:
                    return replies
            time.sleep(_RETRY_SECONDS)

    def _exchange_once(self, commands: Sequence[Command], *, writing: bool, advances: bytes | None) -> list[Any]:
        try:
            line = self.lease()
        except BusyLoadingError:
            raise
        except (RedisError, OSError) as exc:
            raise self.translated(exc) from exc
        is_unknown = False
        try:
            if advances is not None and not line.is_above(advances):
                (refusal,) = self.lift(line, [(advances, ())])
                if isinstance(refusal, RedisError):
                    self.give_back(line)
                    return [refusal] * len(commands)
            is_unknown = writing
            after = self.confirmations(line) if writing else []
            line.send([*commands, *after])
            replies = [line.reply() for _ in commands]
            confirmed = self.read_confirmations(line, after)
        except BusyLoadingError:
            raise
        except (RedisError, OSError) as exc:
            raise self.translated(exc, UNKNOWN if is_unknown else "") from exc
        except BaseException:
            line.close()  # replies that were not read would be taken for those of the next call
            raise
        self.give_back(line)
        if not isinstance(replies[0], RedisError):
            self.check_confirmed(confirmed)
        return replies

    def give_back(self, line: Line) -> None:
        """Keep a connection, from which all replies were read, for the next call."""
        if self._open:
            self._pool().append(line)
        else:
            line.close()

    def lease(self) -> Line:
        """Return a connection: the one that was used last, if the server has not closed it meanwhile, or a new one.

        The driver's own pool does the same, and takes twice as long.
        """
        idle = self._pool()
        with suppress(IndexError):
            while True:
                line = idle.pop()
                if line.is_quiet():
                    return line
                line.close()
        return Line(self._connections)

    def _pool(self) -> deque[Line]:
        """Return the idle connections of this process: those of a parent are not used, nor shut down."""
        pid, idle = self._idle
        if pid != os.getpid():
            idle = deque()
            self._idle = os.getpid(), idle
        return idle

    # -- errors -------------------------------------------------------------------------------------------------------

    def translated(self, error: Exception, suffix: str = "") -> StoreError:
        """Return the StoreError that says what an error means; whatever it is, if the connections were closed."""
        return translated(error, self.server.name, suffix) if self._open else StoreClosedError(self.server.name)


def questions(*, writing: bool) -> list[Command]:
    """Return what is asked of a server before it is used."""
    ask_policy: list[Command] = [(b"CONFIG", b"GET", b"maxmemory-policy")] if writing else []
    return [(b"HELLO",), *ask_policy]


def attempts(home: Partition, *, writing: bool) -> list[Command]:
    """Return what only a writer may do: who may not is told so when opening, and not when it is too late."""
    return [(b"HDEL", home.meta, b""), (b"INFO", b"server")] if writing else []


def _lifting(meta: bytes) -> Command:
    """Return what lifts a partition. By its source, since it is needed so rarely that its name need not be known."""
    return b"EVAL", FENCE.source, 1, meta


def check_attempts(name: str, replies: Iterable[Any]) -> None:
    """Raise StoreNotAvailableError if nothing can be written; what may be over when something is does not count."""
    for reply in replies:
        if isinstance(reply, NoPermissionError | ReadOnlyError):
            raise translated(reply, name) from reply


def check_facts(name: str, hello: Any, *policy: Any) -> None:
    """Raise StoreNotAvailableError if a server's answers to :func:`questions` are not as they should be."""
    if isinstance(hello, RedisError):
        raise translated(hello, name) from hello
    facts = dict(zip(hello[::2], hello[1::2], strict=True))
    if int(facts[b"version"].partition(b".")[0]) < _OLDEST:
        raise StoreNotAvailableError(f"{name}: rstore needs Redis {_OLDEST} or Valkey, or later")
    if policy and isinstance(policy[0], list) and b"allkeys" in b"".join(policy[0]):
        raise StoreNotAvailableError(
            f"{name}: it evicts any key when its memory is full: set maxmemory-policy to noeviction"
        )


def _is_unconfirmed(reply: Any) -> bool:
    """Tell whether a server can't say that something is on its disk."""
    return isinstance(reply, ResponseError) and any(words in str(reply) for words in _UNCONFIRMED)
