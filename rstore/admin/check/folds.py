"""Checks that event sequences fold, and that their snapshots equal the folded states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import chain, islice
from typing import Any

from rstore.admin.check.problem import Problem, message_of
from rstore.domain.errors import StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.log import Log, Record
from rstore.domain.operators import EVENTS
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, SS, Stream
from rstore.encoding.envelope import Envelope
from rstore.history.diff import difference


class _UnfoldableError(Exception):
    """The history can't be folded. There is no ``problem`` if a payload can't be read, which is reported elsewhere."""

    def __init__(self, problem: Problem | None) -> None:
        self.problem = problem


class Folds:
    """Folds one event sequence after the other, with one state in memory at a time."""

    def __init__(self, log: Log, envelope: Envelope) -> None:
        self._log, self._envelope = log, envelope

    def problems(self, key: str) -> list[Problem]:
        """Return the problems of an event sequence and its snapshots."""
        while True:
            floor = self._floor(key)
            found = list(self._examined(key))
            if self._floor(key) == floor:  # nobody has erased events or snapshots meanwhile
                return found

    def _floor(self, key: str) -> int | None:
        head = self._log.head(Stream(ES, key))
        return None if head is None else head.floor

    def _examined(self, key: str) -> Iterator[Problem]:
        """Fold all events, and then again up to each newest snapshot that was made before late events came."""
        limit: int | None = TIME_MAX
        wanted: set[int] | None = None
        while limit is not None:
            late: set[int] = set()
            try:
                yield from self._folded(key, limit, wanted, late)
            except _UnfoldableError as exc:
                if exc.problem is not None:
                    yield exc.problem
                return
            limit, wanted = max(late, default=None), late

    def _folded(self, key: str, limit: int, wanted: set[int] | None, late: set[int]) -> Iterator[Problem]:
        """Fold the events up to a version, and compare each snapshot with the state at its time.

        Snapshots that lack an earlier event, which came in later, are added to ``late``.
        """
        snapshots = self._snapshots(key, wanted)
        first = list(islice(snapshots, 1))  # before the events: so these include all that any snapshot has folded
        events = (record for record in self._log.read(Stream(ES, key)) if record.version <= limit)
        folded, waiting = EventState(), next(events, None)

        def until(time: int) -> Iterator[Record]:
            nonlocal waiting
            while waiting is not None and waiting.start <= time:
                yield waiting
                waiting = next(events, None)

        for snapshot in chain(first, snapshots):
            folded = self._fold(key, folded, until(snapshot.start))
            if folded.version > folded_version(snapshot):
                late.add(folded_version(snapshot))
            else:
                yield from self._compared(key, snapshot, folded)
        folded = self._fold(key, folded, until(TIME_MAX))
        if limit == TIME_MAX:
            yield from self._lived(Stream(ES, key), folded)

    def _lived(self, stream: Stream, folded: EventState) -> Iterator[Problem]:
        """Check that a sequence is live as its events say, unless somebody has written meanwhile."""
        head = self._log.head(stream)
        is_last = head is not None and head.version in (folded.version, head.floor)
        if head is not None and is_last and head.live == folded.deleted:
            yield Problem(
                *stream, None, "it is live after its deletion" if head.live else "it is not live, and has events"
            )

    def _snapshots(self, key: str, wanted: set[int] | None) -> Iterator[Record]:
        return (
            record
            for record in self._log.read(Stream(SS, key))
            if record.item.isdecimal() and (wanted is None or folded_version(record) in wanted)
        )

    def _fold(self, key: str, folded: EventState, events: Iterable[Record]) -> EventState:
        stream = Stream(ES, key)
        at: int | None = None

        def facts() -> Iterator[Fact]:
            nonlocal at
            for record in events:
                at = record.version
                op = self._envelope.check_op(stream, record, EVENTS)
                yield Fact(at, record.start, record.item, op, self._envelope.value(stream, record))

        try:
            return fold(folded, facts())
        except StorePayloadError:
            raise _UnfoldableError(None) from None
        except StoreIntegrityError as exc:
            raise _UnfoldableError(Problem(*stream, at, message_of(exc))) from exc

    def _compared(self, key: str, snapshot: Record, folded: EventState) -> Iterator[Problem]:
        stream = Stream(SS, key)
        try:
            state: dict[str, Any] = self._envelope.state(stream, snapshot)
        except StorePayloadError:  # reported as a problem of the record
            return
        different = difference(folded.state, state)
        changed = [item for item, (value, _) in different.changed.items() if _is_comparable(value)]
        items = sorted([*different.added, *different.removed, *changed])
        if items:
            names = ", ".join(map(repr, items[:3])) + (", ..." if len(items) > 3 else "")
            yield Problem(*stream, snapshot.version, f"it differs from the state of the events: {names}")


def _is_comparable(value: Any) -> bool:
    """Return whether a value can be compared: it equals a copy of itself."""
    return not any(difference({"": value}, {"": deepcopy(value)}))
