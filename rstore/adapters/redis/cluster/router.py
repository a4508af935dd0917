"""A Redis Cluster: which node has which slot, and how requests find it when that changes.

Commands for many nodes go out to all of them before the first reply is read, so that the nodes work at the same time.
Rejected: threads, which cost more than they wait for.

A refused command is sent again until the timeout, to the node that the refusal names, or when its node is ready. This
is decided here and nowhere else. A command that may have been executed is sent again only if its caller allows it.

The map of slots is a hint, which the nodes correct. Rejected: the driver's own client for clusters. It repeats commands
that may have been executed, and may send a script and the wait for its confirmation over two connections.
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

from rstore.adapters.redis.cluster.pipeline import Pending, Pipeline
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.dsn import Server, address_of
from rstore.adapters.redis.errors import UNKNOWN, translated
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.node import Node, Request, Run, check_facts, check_write_probes, fact_queries, write_probes
from rstore.adapters.redis.scripts import Script
from rstore.domain.errors import StoreClosedError, StoreNotAvailableError

_RETRY_SECONDS: Final = 0.02
_PROMPT: Final = (AskError, NoScriptError)  # sent again without a pause: to another node, or with the script
_PROMPT_ROUNDS: Final = 4
_DENIED: Final = (AuthenticationError, AuthorizationError)
_UNREACHED: Final = (LostError, LateError, OSError)


class Cluster:
    """The nodes of a cluster. Threads share it; after a fork, the child makes its own connections."""

    partitions: Final = 64
    """How many partitions a new namespace gets: enough to spread it, few enough to ask all of them at once."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = True
        self._nodes: dict[str, Node] = {}
        self._slots: dict[int, str] = {}
        self._addresses = server.seeds  # those that did not answer are last
        self._is_doubtful = True  # the map of slots: a node did not answer, and another may have taken its place

    def close(self) -> None:
        """Close all connections; those in use end with their call."""
        self._open = False
        for node in list(self._nodes.values()):
            node.close()

    def check_open(self) -> None:
        """Raise StoreClosedError if it was closed."""
        if not self._open:
            raise StoreClosedError(self.server.name)

    def check_server(self, partition: Partition, *, writing: bool) -> None:
        """Raise StoreNotAvailableError if a node is too old, or writing would fail, or be lost."""
        self._find_slots()
        slots = self._slot_of_each() or [0]
        for answers in self.exchange([Request(slot, fact_queries(writing=writing)) for slot in slots]):
            check_facts(self.server.name, *answers)
        for answers in self.exchange([Request(partition.slot, write_probes(partition, writing=writing))]):
            check_write_probes(self.server.name, answers)

    def slot_of_each(self) -> list[int]:
        """Return for each node that has slots one of them.

        Raises:
            StoreNotAvailableError: the user may not ask which nodes there are.
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
        """Return the node of a slot, whichever that is at the time."""
        return Shard(self, slot)

    def ask_each(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Send requests that may be repeated, all at once, and return the replies to each.

        This works after a close too, as do the other calls for several slots: a write that has begun may end.
        """
        answers = self.exchange(requests)
        for replies in answers:
            self.check_replies(replies)
        return answers

    def query_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that may be repeated, and return their answers."""
        return self._run_each(runs, writing=False)

    def write_each(self, runs: Sequence[Run]) -> list[Any]:
        """Run scripts that write, wait until their writes are safe, and return their answers."""
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
        """Send requests and return the replies, among them errors that are no refusals.

        Args:
            writing: the requests must not be executed twice.
            confirming: return when their writes are safe.
        """
        deadline = time.monotonic() + self.server.timeout
        pending = [Pending(request) for request in requests]
        in_vain = 0
        while left := [each for each in pending if each.left]:
            if self._is_doubtful:
                self._find_slots(required=False)
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
        """Send each request to its node, and return the refusals, each with the node that refused."""
        groups = defaultdict(list)
        for each in pending:
            groups[self._address(each)].append(each)
        pipelines = [
            Pipeline(address, self._node(address), group, writing=writing, confirming=confirming)
            for address, group in groups.items()
        ]
        try:
            for pipeline in pipelines:
                pipeline.prepare()
            for pipeline in pipelines:
                pipeline.send()
            for pipeline in pipelines:
                pipeline.receive()
        finally:
            for pipeline in pipelines:
                pipeline.end()
        return [(pipeline.node, error) for pipeline in pipelines for error in self._refusals(pipeline)]

    def _refusals(self, pipeline: Pipeline) -> Iterator[Exception]:
        """Yield the refusals of a pipeline, and note to which node they redirect."""
        if pipeline.error is not None:
            self._set_aside(pipeline.address)
            if not pipeline.is_repeatable:
                raise pipeline.node.translated(pipeline.error, UNKNOWN) from pipeline.error
            if isinstance(pipeline.error, _DENIED) or not isinstance(pipeline.error, _UNREACHED):
                raise pipeline.node.translated(pipeline.error) from pipeline.error
            yield pipeline.error
        for each, refusal in pipeline.refused:
            self._redirect(each, refusal, pipeline.address)
            yield refusal
        if pipeline.confirmed:
            pipeline.node.check_confirmed(pipeline.confirmed)

    def _redirect(self, pending: Pending, refusal: Exception, refused_by: str) -> None:
        if isinstance(refusal, NoScriptError):
            pending.send_in_full()
        if isinstance(refusal, ClusterDownError):
            self._is_doubtful = True
        if not isinstance(refusal, AskError):
            return
        host = refusal.host or refused_by.rpartition(":")[0].strip("[]")  # no host: the same
        address = address_of(host, refusal.port)
        if isinstance(refusal, MovedError):  # for the driver, a special case of AskError
            self._slots[pending.slot] = address
        else:
            pending.asked = address

    # -- the map ------------------------------------------------------------------------------------------------------

    def _find_slots(self, *, required: bool = True) -> None:
        """Ask one node after the other for the map of slots. If none answers, raise, unless ``required`` is False."""
        for address in self._addresses:
            pending = Pending(Request(0, [(b"CLUSTER", b"SLOTS")]))
            pipeline = Pipeline(address, self._node(address), [pending])
            pipeline.prepare()
            pipeline.send()
            pipeline.receive()
            if pipeline.error is None:
                self._learn(address, *pending.replies)
                return
            self._set_aside(address)
        if required and pipeline.error:
            raise pipeline.node.translated(pipeline.error) from pipeline.error

    def _learn(self, source: str, reply: Any = None) -> None:
        self._is_doubtful = False
        if isinstance(reply, NoPermissionError) or reply is None:
            self._slots = {}  # redirections have to do
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

    def send_once(self, *commands: Command) -> None:
        """Send commands, the first of which must not be executed twice."""
        self._cluster.check_open()
        for command in commands:
            (replies,) = self._cluster.exchange([Request(self._slot, [command])], writing=command is commands[0])
            self._cluster.check_replies(replies)

    def write(self, script: Script, keys: Sequence[bytes], *args: bytes) -> Any:
        """Run a script that writes, and wait until its writes are safe."""
        self._cluster.check_open()
        (reply,) = self._cluster.write_each([Run(self._slot, script, keys, args)])
        return reply


Servers: TypeAlias = Node | Cluster
"""The servers that have the partitions of a namespace."""

Owner: TypeAlias = Node | Shard
"""The server that has the keys of a partition."""


def connect(server: Server) -> Servers:
    """Return a client of a server, or of all nodes of a cluster. It connects when it is first used."""
    return Cluster(server) if server.seeds else Node(server)
