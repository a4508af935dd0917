"""Pipelined requests to the nodes of a cluster: replies are kept, refused commands are sent again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from redis.exceptions import AskError, BusyLoadingError, ClusterDownError, NoScriptError, RedisError, TryAgainError

from rstore.adapters.redis.connection import Command, Connection
from rstore.adapters.redis.errors import is_busy
from rstore.adapters.redis.node import Node, Request

_REFUSALS: Final = (AskError, TryAgainError, ClusterDownError, BusyLoadingError, NoScriptError)
_ASKING: Final[Command] = (b"ASKING",)


class Pending:
    """A request, as far as it is not answered.

    Commands after a refused one are sent again too, so that the order stays. While a slot moves, its owner redirects
    each command about a key that has moved. Only the refused command goes to the other node, which would say of a key
    that has not moved yet that there is none.
    """

    def __init__(self, request: Request) -> None:
        self.slot, self._script, self.fenced = request.slot, request.script, request.fenced
        self._commands = request.commands
        self.replies: list[Any] = []
        self.asked: str | None = None
        self.is_asking = self.has_moved_on = False

    @property
    def before(self) -> Sequence[Command]:
        """The commands that are sent before each of its own."""
        return [_ASKING] if self.is_asking else []

    @property
    def left(self) -> Sequence[Command]:
        return self._commands[len(self.replies) :]

    def to_send(self) -> list[Command]:
        """Return the commands to be sent next."""
        self.has_moved_on = False
        return [*self.before, self.left[0]] if self.is_asking else list(self.left)

    def take(self, replies: Sequence[Any]) -> Exception | None:
        """Keep the replies before the first refusal, and return the refusal."""
        for reply in replies[len(self.before) :]:
            if isinstance(reply, _REFUSALS) or is_busy(reply):
                return reply  # type: ignore[no-any-return]
            self.replies.append(reply)
            self.has_moved_on = True
        return None

    def send_in_full(self) -> None:
        """Let the script itself be sent, since the node does not know its digest."""
        if self._script is not None:
            ((_, _, *rest),) = self._commands
            self._commands = [(b"EVAL", self._script.source, *rest)]


class Pipeline:
    """Requests to one node, on one connection: sent together, then answered together.

    ``error`` is the exception that ended it, if one did. Which commands were executed is unknown then.
    """

    def __init__(
        self,
        address: str,
        node: Node,
        pending: Sequence[Pending],
        *,
        writing: bool = False,
        confirming: bool = False,
    ) -> None:
        self.address, self.node = address, node
        self.error: Exception | None = None
        self.refused: list[tuple[Pending, Exception]] = []
        self.confirmed: list[tuple[Command, Any]] = []
        self._batches = [(each, each.to_send()) for each in pending]
        self._after: list[Command] = []
        self._writing, self._confirming = writing, confirming
        self._connection: Connection | None = None
        self._is_sent = False

    @property
    def is_repeatable(self) -> bool:
        """Whether nothing was executed, or a second time does no harm."""
        return not (self._writing and self._is_sent) or isinstance(self.error, BusyLoadingError)

    def prepare(self) -> None:
        """Connect, and fence the partitions that may be behind records that the node has lost.

        Where it refuses, the request is not sent.
        """
        try:
            connection = self._connection = self.node.lease()
            self._fence(connection)
        except (RedisError, OSError) as exc:
            self._fail(exc)

    def _fence(self, connection: Connection) -> None:
        doubtful = [
            (each, each.fenced)
            for each, _ in self._batches
            if each.fenced is not None and not connection.is_fenced(each.fenced)
        ]
        if not doubtful:
            return
        replies = self.node.fence(connection, [(meta, each.before) for each, meta in doubtful])
        refusals = {each: reply for (each, _), reply in zip(doubtful, replies, strict=True) if reply not in (0, 1)}
        self._batches = [(each, batch) for each, batch in self._batches if each not in refusals]
        self._hand_out([(each, [*each.before, reply]) for each, reply in refusals.items()])

    def send(self) -> None:
        if self._connection is None:
            return
        commands = [command for _, batch in self._batches for command in batch]
        try:
            self._after = self.node.confirmations(self._connection) if self._confirming else []
            self._is_sent = True
            self._connection.send([*commands, *self._after])
        except (RedisError, OSError) as exc:
            self._fail(exc)

    def receive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            replies = [connection.reply() for _, batch in self._batches for _ in batch]
            confirmed = self.node.read_confirmations(connection, self._after)
        except (RedisError, OSError) as exc:
            self._fail(exc)
            return
        self.node.give_back(connection)
        self._connection, self.confirmed = None, confirmed
        answers = iter(replies)
        self._hand_out((each, list(islice(answers, len(batch)))) for each, batch in self._batches)

    def end(self) -> None:
        """Close a connection whose replies were not read: they would be taken for those of the next call."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _hand_out(self, answers: Iterable[tuple[Pending, Sequence[Any]]]) -> None:
        for each, replies in answers:
            refusal = each.take(replies)
            if refusal is not None:
                self.refused.append((each, refusal))

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.end()
