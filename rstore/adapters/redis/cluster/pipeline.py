"""Requests to the nodes of a cluster on their way: what a node answers is kept, what it refuses is sent again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    NoScriptError,
    RedisError,
    TryAgainError,
)

from rstore.adapters.redis.connection import Command, Line
from rstore.adapters.redis.errors import is_busy
from rstore.adapters.redis.node import Node, Request

_REFUSALS: Final = (AskError, TryAgainError, ClusterDownError, BusyLoadingError, NoScriptError)
_ASKING: Final[Command] = (b"ASKING",)


class Pending:
    """A request, as far as it is not answered.

    What comes after a refused command is sent again too, so that the order stays. While a slot moves, its owner sends
    us elsewhere for each key that it has no more. Only the command that was refused goes there, since the other node
    would say of a key that it has not got yet that there is none.
    """

    def __init__(self, request: Request) -> None:
        self.slot, self._script, self.advances = request.slot, request.script, request.advances
        self._commands = request.commands
        self.replies: list[Any] = []
        self.asked: str | None = None
        self.is_asking = self.has_moved_on = False

    @property
    def before(self) -> Sequence[Command]:
        """What is sent before each of its commands."""
        return [_ASKING] if self.is_asking else []

    @property
    def left(self) -> Sequence[Command]:
        return self._commands[len(self.replies) :]

    def sent(self) -> list[Command]:
        """Return what is to be sent next."""
        self.has_moved_on = False
        return [*self.before, self.left[0]] if self.is_asking else list(self.left)

    def take(self, replies: Sequence[Any]) -> Exception | None:
        """Keep the replies before the first refusal, and return that."""
        for reply in replies[len(self.before) :]:
            if isinstance(reply, _REFUSALS) or is_busy(reply):
                return reply  # type: ignore[no-any-return]
            self.replies.append(reply)
            self.has_moved_on = True
        return None

    def spell_out(self) -> None:
        """Send the script itself, since the node does not know its name."""
        if self._script is not None:
            ((_, _, *rest),) = self._commands
            self._commands = [(b"EVAL", self._script.source, *rest)]


class Flight:
    """Requests on their way to a node, and back.

    ``error`` is what ended it, if anything did, and nobody knows then what was executed.
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
        self._batches = [(each, each.sent()) for each in pending]
        self._after: list[Command] = []
        self._writing, self._confirming = writing, confirming
        self._line: Line | None = None
        self._is_sent = False

    @property
    def is_repeatable(self) -> bool:
        """Whether nothing was executed, or it does not matter."""
        return not (self._writing and self._is_sent) or isinstance(self.error, BusyLoadingError)

    def prepare(self) -> None:
        """Connect, and lift the partitions that may be behind what the node has lost; what it refuses is not sent."""
        try:
            line = self._line = self.node.lease()
            self._lift(line)
        except (RedisError, OSError) as exc:
            self._fail(exc)

    def _lift(self, line: Line) -> None:
        doubtful = [
            (each, each.advances)
            for each, _ in self._batches
            if each.advances is not None and not line.is_above(each.advances)
        ]
        if not doubtful:
            return
        replies = self.node.lift(line, [(meta, each.before) for each, meta in doubtful])
        refusals = {each: reply for (each, _), reply in zip(doubtful, replies, strict=True) if reply not in (0, 1)}
        self._batches = [(each, batch) for each, batch in self._batches if each not in refusals]
        self._hand_out([(each, [*each.before, reply]) for each, reply in refusals.items()])

    def send(self) -> None:
        if self._line is None:
            return
        commands = [command for _, batch in self._batches for command in batch]
        try:
            self._after = self.node.confirmations(self._line) if self._confirming else []
            self._is_sent = True
            self._line.send([*commands, *self._after])
        except (RedisError, OSError) as exc:
            self._fail(exc)

    def receive(self) -> None:
        line = self._line
        if line is None:
            return
        try:
            replies = [line.reply() for _, batch in self._batches for _ in batch]
            confirmed = self.node.read_confirmations(line, self._after)
        except (RedisError, OSError) as exc:
            self._fail(exc)
            return
        self.node.give_back(line)
        self._line, self.confirmed = None, confirmed
        answers = iter(replies)
        self._hand_out((each, list(islice(answers, len(batch)))) for each, batch in self._batches)

    def end(self) -> None:
        """Shut a connection down whose replies were not read: they would be taken for those of the next call."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _hand_out(self, answers: Iterable[tuple[Pending, Sequence[Any]]]) -> None:
        for each, replies in answers:
            refusal = each.take(replies)
            if refusal is not None:
                self.refused.append((each, refusal))

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.end()
