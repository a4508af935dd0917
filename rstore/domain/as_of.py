"""A log as it was known at a transaction time: the same reads, of the records up to then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rstore.domain.log import EVERYTHING, Head, LogReader, Position, Query, Record, Replay, ReplayQuery
from rstore.domain.operators import DELETE
from rstore.domain.rules import folded_version
from rstore.domain.streams import ES, Stream


class AsOf:
    """Reads a log through the bound that each of its reads takes; nothing is copied, and nothing can be written.

    What was erased since is missing. A series of which all points were removed is still listed: only they can tell.
    An event sequence that was deleted is not.
    """

    def __init__(self, log: LogReader, until: int) -> None:
        self._log, self.until = log, until

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        return self._log.read(stream, self._then(query))

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        found = self._log.replay([each._replace(query=self._then(each.query)) for each in queries], room)
        return [replay and _replayed(query, replay) for query, replay in zip(queries, found, strict=False)]

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        return self._log.last(streams, self._bound(until), room)

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        return self._log.head(stream, self._bound(until))

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        bound = self._bound(until)
        found = self._log.heads(kind, prefix, live=live, after=after, until=bound)
        if kind != ES or not live:
            return found
        # one read for each of those that an append has ever ended
        ended = {head.stream for head in self._log.heads(ES, prefix, live=False, after=after) if head.died}
        return (head for head in found if head.stream not in ended or not self._is_deleted(head.stream, bound))

    def _is_deleted(self, stream: Stream, until: int) -> bool:
        """Tell whether the latest event of a sequence that had been recorded by then is its deletion."""
        latest = next(self._log.read(stream, Query(until=until, reverse=True, limit=1)), None)
        return latest is not None and latest.op == DELETE

    def counts(self, kinds: Sequence[str]) -> list[int]:
        return [sum(1 for _ in self.heads(kind)) for kind in kinds]

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        return (found for found in self._log.follow(after) if found[2].recorded <= self.until)

    def wait(self, after: Position | None, seconds: float) -> bool:
        return self._log.wait(after, seconds)

    def checkpoint(self, position: Position) -> str:
        return self._log.checkpoint(position)

    def position(self, checkpoint: str) -> Position:
        return self._log.position(checkpoint)

    def _then(self, query: Query) -> Query:
        # not alive: the stream may have ended since, and the records tell themselves which of them are hidden
        return query._replace(until=self._bound(query.until), alive=False)

    def _bound(self, until: int | None) -> int:
        return self.until if until is None else min(until, self.until)


def _replayed(query: ReplayQuery, found: Replay) -> Replay | None:
    """Return a replay with the head that the sequence had then; None if it was not there."""
    folded = query.query.after or folded_version(found.snapshot)
    version = max((record.version for record in found.records), default=folded)
    floor = found.head.floor if query.horizon is None else 0  # a fold from before a rewrite begins anew
    return found._replace(head=Head(query.stream, version, floor, live=True)) if version else None
