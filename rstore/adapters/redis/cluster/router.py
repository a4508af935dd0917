"""A Redis Cluster: which node has which slot, and what to do when that changes.

Commands for many nodes go out to all of them before the first reply is read, so that they work at the same time;
threads were rejected, since they cost more than what they wait for. What a node refuses is sent again, to whom it
points to or when it is ready, until the timeout: this is the one place where that is decided. What may have been
executed is only sent again if that does no harm, which the caller knows.

The map of slots is a hint, and is corrected by what the nodes say. The driver's own client for clusters is not used: it
repeats what may have been executed, and takes a script and the wait for its confirmation apart.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    RedisError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError

from rstore.adapters.redis.cluster.pipeline import Flight, Pending
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.dsn import Server, address_of
from rstore.adapters.redis.errors import UNKNOWN, translated
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.node import (
    Node,
    Request,
    Run,
    attempts,
    check_attempts,
    check_facts,
    questions,
)
from rstore.adapters.redis.scripts import Script
from rstore.domain.errors import StoreClosedError, StoreNotAvailableError

_RETRY_SECONDS: Final = 0.02
_PROMPT: Final = (AskError, NoScriptError)  # what need not be waited for: somebody else knows, or can be told
_PROMPT_ROUNDS: Final = 4
_DENIED: Final = (AuthenticationError, AuthorizationError)
_UNREACHED: Final = (LostError, LateError, OSError)


class Cluster:
    """The nodes of a cluster. Threads share it; after a fork, the child makes its own connections."""

    partitions: Final = 64
    """How many a new namespace gets: enough for a cluster to spread it, few enough to ask all of them at once."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = True
        self._nodes: dict[str, Node] = {}
        self._slots: dict[int, str] = {}
        self._addresses = server.seeds  # those that did not answer are last
        self._is_doubtful = True  # the map: a node did not answer, and another may have taken its place

    def close(self) -> None:
        """Let go of all connections; those in use end with their call."""
        self._open = False
        for node in list(self._nodes.values()):
            node.close()

    def check_open(self) -> None:
        """Raise StoreClosedError if it was closed."""
        if not self._open:
            raise StoreClosedError(self.server.name)

    def check_server(self, home: Partition, *, writing: bool) -> None:
        """Raise StoreNotAvailableError if a node is too old, or writing would fail, or be lost."""
        self._find_slots()
        slots = self._slot_of_each() or [0]
        for answers in self.exchange([Request(slot, questions(writing=writing)) for slot in slots]):
            check_facts(self.server.name, *answers)
        for answers in self.exchange([Request(home.slot, attempts(home, writing=writing))]):
            check_attempts(self.server.name, answers)

    def slot_of_each(self) -> list[int]:
        """Return for each node that has slots one of these.

        Raises:
            StoreNotAvailableError: who we are may not ask which nodes there are.
        """
        self.check_open()
        self._find_slots()
        slots = self._slot_of_each()
        if not slots:
            raise StoreNotAvailableError(f"{self.server.name}: to look at all nodes, allow this user +cluster|slots")
        return slots

    def _slot_of_each(self) -> list[int]:
        return list({address: slot for slot, address in self._slots.items()}.values())

    def at(self, slot: int) -> Shard:
        """Return what answers for a slot."""
        return Shard(self, slot)

    def ask_each(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Send requests that may be repeated, all at once, and return the replies to each.

        Also after it was closed, as the other calls for several slots: what has begun may come to its end.
        """
        answers = self.exchange(requests)
        for replies in answers:
            self.check_replies(replies)
        return answers

    def query_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that may be run again, and return what each answers."""
        return self._run_each(runs, writing=False)

    def write_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that write, wait until what they wrote is safe, and return what each answers."""
        return self._run_each(runs, writing=True)

    def _run_each(self, runs: Sequence[Run], *, writing: bool) -> list[Any]:
        answers = self.exchange([run.request() for run in runs], writing=writing, confirming=writing)
        replies = [reply for (reply,) in answers]
        self.check_replies(replies)
        return replies

    def check_replies(self, replies: Iterable[Any]) -> None:
        """Raise if one of the replies is an error."""
        for reply in replies:
            if isinstance(reply, RedisError):
                raise translated(reply, self.server.name) from reply

    # -- to the nodes and back ----------------------------------------------------------------------------------------

    def exchange(
        self, requests: Sequence[Request], *, writing: bool = False, confirming: bool = False
    ) -> list[list[Any]]:
        """Send requests and return the replies; errors that are no refusals are among them.

        Args:
            writing: they must not be executed twice.
            confirming: return when what they wrote is safe.
        """
        deadline = time.monotonic() + self.server.timeout
        pending = [Pending(request) for request in requests]
        in_vain = 0
        while left := [each for each in pending if each.left]:
            if self._is_doubtful:
                self._find_slots(anybody=False)
            refusals = self._round(left, writing=writing, confirming=confirming)
            if not refusals:
                continue
            if time.monotonic() > deadline:
                node, error = refusals[-1]
                raise node.translated(error) from error
            in_vain = 0 if any(each.has_moved_on for each in left) else in_vain + 1
            if in_vain > _PROMPT_ROUNDS or not all(isinstance(error, _PROMPT) for _, error in refusals):
                time.sleep(_RETRY_SECONDS)
        return [each.replies for each in pending]

    def _round(self, pending: Sequence[Pending], *, writing: bool, confirming: bool) -> list[tuple[Node, Exception]]:
        """Send what is pending to whom it belongs, and return what was refused by whom."""
        groups = defaultdict(list)
        for each in pending:
            groups[self._address(each)].append(each)
        flights = [
            Flight(address, self._node(address), group, writing=writing, confirming=confirming)
            for address, group in groups.items()
        ]
        try:
            for flight in flights:
                flight.prepare()
            for flight in flights:
                flight.send()
            for flight in flights:
                flight.receive()
        finally:
            for flight in flights:
                flight.end()
        return [(flight.node, error) for flight in flights for error in self._landed(flight)]

    def _landed(self, flight: Flight) -> Iterator[Exception]:
        """Yield the refusals that a flight came back with, and note whom they point to."""
        if flight.error is not None:
            self._set_aside(flight.address)
            if not flight.is_repeatable:
                raise flight.node.translated(flight.error, UNKNOWN) from flight.error
            if isinstance(flight.error, _DENIED) or not isinstance(flight.error, _UNREACHED):
                raise flight.node.translated(flight.error) from flight.error
            yield flight.error
        for each, refusal in flight.refused:
            self._redirect(each, refusal, flight.address)
            yield refusal
        if flight.confirmed:
            flight.node.check_confirmed(flight.confirmed)

    def _redirect(self, pending: Pending, refusal: Exception, refused_by: str) -> None:
        if isinstance(refusal, NoScriptError):
            pending.spell_out()
        if isinstance(refusal, ClusterDownError):
            self._is_doubtful = True
        if not isinstance(refusal, AskError):
            return
        host = refusal.host or refused_by.rpartition(":")[0].strip("[]")  # no host: the same
        address = address_of(host, refusal.port)
        if isinstance(refusal, MovedError):  # which the driver takes for a special case of the other
            self._slots[pending.slot] = address
        else:
            pending.asked = address

    # -- the map ------------------------------------------------------------------------------------------------------

    def _find_slots(self, *, anybody: bool = True) -> None:
        """Ask one node after the other who has which slot; raise if ``anybody`` should answer and nobody does."""
        for address in self._addresses:
            pending = Pending(Request(0, [(b"CLUSTER", b"SLOTS")]))
            flight = Flight(address, self._node(address), [pending])
            flight.prepare()
            flight.send()
            flight.receive()
            if flight.error is None:
                self._learn(address, *pending.replies)
                return
            self._set_aside(address)
        if anybody and flight.error:
            raise flight.node.translated(flight.error) from flight.error

    def _learn(self, source: str, reply: Any = None) -> None:
        self._is_doubtful = False
        if isinstance(reply, NoPermissionError) or reply is None:
            self._slots = {}  # then the nodes' redirections have to do
            return
        if isinstance(reply, RedisError):
            raise StoreNotAvailableError(f"{self.server.name}: it is no cluster: write redis:// instead")
        own_host = source.rpartition(":")[0].strip("[]")
        slots = {}
        for first, last, (host, port, *_), *_ in reply:
            address = address_of(host.decode() if host else own_host, port)
            slots.update(dict.fromkeys(range(first, last + 1), address))
        self._slots = slots
        self._addresses = (*self._addresses, *sorted(set(slots.values()) - set(self._addresses)))

    def _address(self, pending: Pending) -> str:
        asked, pending.asked = pending.asked, None
        pending.is_asking = asked is not None
        return asked or self._slots.get(pending.slot) or self._addresses[0]

    def _set_aside(self, address: str) -> None:
        self._addresses = (*(each for each in self._addresses if each != address), address)
        self._is_doubtful = True

    def _node(self, address: str) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, Node(self.server.node_at(address)))
            if not self._open:
                node.close()  # keeps no connection
        return node


class Shard:
    """The node that has a slot, whichever it is."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster, self._slot = cluster, slot

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands that may be repeated, in one go, and return the replies."""
        (replies,) = self._cluster.ask_each([Request(self._slot, commands)])
        return replies

    def tell(self, *commands: Command) -> None:
        """Send commands, of which the first must not be executed twice."""
        self._cluster.check_open()
        for command in commands:
            (replies,) = self._cluster.exchange([Request(self._slot, [command])], writing=command is commands[0])
            self._cluster.check_replies(replies)

    def query(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that only reads, or may be run again."""
        self._cluster.check_open()
        (reply,) = self._cluster.query_each([Run(self._slot, script, keys, args)])
        return reply

    def write(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that writes, and wait until what it wrote is safe."""
        self._cluster.check_open()
        (reply,) = self._cluster.write_each([Run(self._slot, script, keys, args)])
        return reply


Servers: TypeAlias = Node | Cluster
"""All that a namespace is spread over."""

Owner: TypeAlias = Node | Shard
"""Who has the keys of a partition."""


def connect(server: Server) -> Servers:
    """Return what talks to a server, or to all nodes of a cluster; it connects when it is first used."""
    return Cluster(server) if server.seeds else Node(server)
