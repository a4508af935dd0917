"""A Redis or Valkey server: its connections, its confirmations, and the checks before it is used.

The driver repeats nothing: an append whose outcome is unknown must not be written twice. Commands that a server refused
because it was busy have not been executed. They are sent again until the timeout.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from rstore.adapters.redis.connection import Command, Connection
from rstore.adapters.redis.dsn import Server
from rstore.adapters.redis.errors import UNKNOWN, is_busy, translated
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.scripts import FENCE, Script
from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError

_OLDEST: Final = 7
_RETRY_SECONDS: Final = 0.02
_UNCONFIRMED: Final = ("appendonly is disabled", "unknown command")
"""Answers to WAITAOF of a server that has no append-only file, or is older than Redis 7.2.

``durability=full`` then is as much as the server can do. Rejected: to refuse such a server, since full is the default.
"""
_UNCONFIRMED_SECONDS: Final = 60  # then it is asked again, since the file can be switched on at any time


class Request(NamedTuple):
    """Commands about keys of one slot. They may be sent again, from any of them on.

    Only the last one may be a command that must not be executed twice. ``fenced`` is the meta of a partition that gives
    out positions meanwhile, and so has to be fenced before.
    """

    slot: int
    commands: Sequence[Command]
    script: Script | None = None
    fenced: bytes | None = None


class Run(NamedTuple):
    """A script to be run on keys of one slot."""

    slot: int
    script: Script
    keys: Sequence[bytes]
    args: Sequence[bytes]

    def request(self) -> Request:
        """Return a command that calls the script by its digest, which the server may not know yet."""
        command: Command = b"EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args
        return Request(self.slot, [command], self.script, self.keys[0] if self.script.fenced else None)


class Node:
    """The connections to one server. Threads share it; after a fork, the child makes its own connections."""

    partitions: Final = 1
    """How many partitions a new namespace gets."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = True
        self._idle: tuple[int, deque[Connection]] = os.getpid(), deque()
        self._connections = server.connections()

    def close(self) -> None:
        """Close all connections; those in use end with their call."""
        self._open = False
        idle = self._pool()
        while idle:
            idle.pop().close()

    def check_open(self) -> None:
        """Raise StoreClosedError if it was closed."""
        if not self._open:
            raise StoreClosedError(self.server.name)

    def at(self, slot: int) -> Node:  # noqa: ARG002  # a cluster has a node for each slot
        """Return the server of a slot."""
        return self

    def slot_of_each(self) -> list[int]:
        """Return for each server one of its slots."""
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

    def send_once(self, *commands: Command) -> None:
        """Send commands, the first of which must not be executed twice."""
        self.ask(*commands)  # to one server, nothing is sent again in any case

    def write(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that writes, and wait until its writes are safe."""
        return self._run(script, keys, args, writing=True)

    def write_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that write, wait until their writes are safe, and return their answers."""
        return [self.write(run.script, run.keys, *run.args) for run in runs]

    def query_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that may be repeated, and return their answers."""
        return [self._run(run.script, run.keys, run.args, writing=False) for run in runs]

    def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, writing: bool) -> Any:
        rest: Command = (len(keys), *keys, *args)
        fenced = keys[0] if script.fenced else None
        (reply,) = self._exchange([(b"EVALSHA", script.sha, *rest)], writing=writing, fenced=fenced)
        if isinstance(reply, NoScriptError):
            in_full = b"EVAL", script.source, *rest
            (reply,) = self._exchange([in_full], writing=writing, fenced=fenced)
        if isinstance(reply, RedisError):
            raise self.translated(reply) from reply
        return reply

    def fence(self, connection: Connection, partitions: Sequence[tuple[bytes, Sequence[Command]]]) -> list[Any]:
        """Let partitions go on above all that the server may have lost, and return its reply to each.

        Each partition is given by the key of its meta, with the commands to be sent before. The next write is only sent
        when a new fencing epoch is safe. Lost together, the two would leave positions that readers have seen, and that
        are given out again.

        Raises:
            StoreNotAvailableError: a new epoch is not known to be safe.
        """
        # the whole script, not its digest: such calls are rare
        fencing = [(*before, (b"EVAL", FENCE.source, 1, meta)) for meta, before in partitions]
        connection.send(list(chain.from_iterable(fencing)))
        replies = [[connection.reply() for _ in commands][-1] for commands in fencing]
        if 1 in replies:
            waits = self.confirmations(connection)
            connection.send(waits)
            confirmed = self.read_confirmations(connection, waits)
            self.check_confirmed(confirmed, "that it goes on above all that it may have lost")
        for (meta, _), reply in zip(partitions, replies, strict=True):
            if not isinstance(reply, RedisError):
                connection.note_fenced(meta)
        return replies

    def confirmations(self, connection: Connection) -> list[Command]:
        """Return the commands to be sent behind a write: they are answered when it is safe."""
        if self.server.durability != "full":
            return []
        has_file = connection.no_file_until <= time.monotonic()
        waits: list[Command] = [(b"WAITAOF", 1, 0)] if has_file else []
        if self.server.replicas:
            waits.append((b"WAIT", self.server.replicas))
        # one waits after the other, and together no longer than the timeout
        return [(*wait, int(self.server.timeout * 1000) // len(waits)) for wait in waits]

    def read_confirmations(self, connection: Connection, commands: Sequence[Command]) -> list[tuple[Command, Any]]:
        """Return commands with their replies, without those that the server can't confirm.

        It is not asked for these again for a while.
        """
        replies = [(command, connection.reply()) for command in commands]
        if not any(_is_unconfirmed(reply) for _, reply in replies):
            return replies
        connection.no_file_until = time.monotonic() + _UNCONFIRMED_SECONDS
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

    def check_server(self, partition: Partition, *, writing: bool) -> None:
        """Raise StoreNotAvailableError if the server is not reached or too old, or would refuse or lose writes."""
        hello, *others = self._exchange([*fact_queries(writing=writing), *write_probes(partition, writing=writing)])
        check_facts(self.server.name, hello, *others[:1])
        if writing and b"replica" in hello:  # it may take writes, and would lose them
            raise self.translated(ReadOnlyError())
        check_write_probes(self.server.name, others[1:])

    # -- connections --------------------------------------------------------------------------------------------------

    def _exchange(
        self, commands: Sequence[Command], *, writing: bool = False, fenced: bytes | None = None
    ) -> list[Any]:
        """Send commands and return the replies, among them the errors that the server answers with.

        Args:
            writing: the first command must not be executed twice, and its writes are safe when this returns.
            fenced: the meta of a partition that gives out positions meanwhile.
        """
        deadline = time.monotonic() + self.server.timeout
        while True:
            self.check_open()
            try:
                replies = self._exchange_once(commands, writing=writing, fenced=fenced)
            except BusyLoadingError as exc:
                if time.monotonic() > deadline:
                    raise self.translated(exc) from exc
            else:
                if not is_busy(replies[0]) or time.monotonic() > deadline:
                    return replies
            time.sleep(_RETRY_SECONDS)

    def _exchange_once(self, commands: Sequence[Command], *, writing: bool, fenced: bytes | None) -> list[Any]:
        try:
            connection = self.lease()
        except BusyLoadingError:
            raise
        except (RedisError, OSError) as exc:
            raise self.translated(exc) from exc
        is_unknown = False
        try:
            if fenced is not None and not connection.is_fenced(fenced):
                (refusal,) = self.fence(connection, [(fenced, ())])
                if isinstance(refusal, RedisError):
                    self.give_back(connection)
                    return [refusal] * len(commands)
            is_unknown = writing
            after = self.confirmations(connection) if writing else []
            connection.send([*commands, *after])
            replies = [connection.reply() for _ in commands]
            confirmed = self.read_confirmations(connection, after)
        except BusyLoadingError:
            raise
        except (RedisError, OSError) as exc:
            raise self.translated(exc, UNKNOWN if is_unknown else "") from exc
        except BaseException:
            connection.close()  # replies that were not read would be taken for those of the next call
            raise
        self.give_back(connection)
        if not isinstance(replies[0], RedisError):
            self.check_confirmed(confirmed)
        return replies

    def give_back(self, connection: Connection) -> None:
        """Keep a connection, from which all replies were read, for the next call."""
        if self._open:
            self._pool().append(connection)
        else:
            connection.close()

    def lease(self) -> Connection:
        """Return the connection that was used last, unless the server has closed it meanwhile; else a new one.

        Rejected: the driver's own pool, which does the same and takes twice as long.
        """
        idle = self._pool()
        with suppress(IndexError):
            while True:
                connection = idle.pop()
                if connection.is_quiet():
                    return connection
                connection.close()
        return Connection(self._connections)

    def _pool(self) -> deque[Connection]:
        """Return the idle connections of this process. Those of its parent are neither used nor closed."""
        pid, idle = self._idle
        if pid != os.getpid():
            idle = deque()
            self._idle = os.getpid(), idle
        return idle

    # -- errors -------------------------------------------------------------------------------------------------------

    def translated(self, error: Exception, suffix: str = "") -> StoreError:
        """Return the StoreError that says what an error means; after a close, that it was closed."""
        return translated(error, self.server.name, suffix) if self._open else StoreClosedError(self.server.name)


def fact_queries(*, writing: bool) -> list[Command]:
    """Return the questions to a server before it is used."""
    ask_policy: list[Command] = [(b"CONFIG", b"GET", b"maxmemory-policy")] if writing else []
    return [(b"HELLO",), *ask_policy]


def write_probes(partition: Partition, *, writing: bool) -> list[Command]:
    """Return commands that need write permission. Sent at open, they show a missing right before the first write."""
    return [(b"HDEL", partition.meta, b""), (b"INFO", b"server")] if writing else []


def check_write_probes(name: str, replies: Iterable[Any]) -> None:
    """Raise StoreNotAvailableError if nothing can be written. Refusals that may soon be over don't count."""
    for reply in replies:
        if isinstance(reply, NoPermissionError | ReadOnlyError):
            raise translated(reply, name) from reply


def check_facts(name: str, hello: Any, *policy: Any) -> None:
    """Raise StoreNotAvailableError if a server's answers to :func:`fact_queries` are not as they should be."""
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
    """Tell whether a reply says that the server can't confirm a write to its disk."""
    return isinstance(reply, ResponseError) and any(words in str(reply) for words in _UNCONFIRMED)
