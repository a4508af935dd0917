"""The page of an event sequence: its state at a time or at two, and the state after each commit."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from rstore.core import Reading, reading_of
from rstore.domain.errors import StoreError
from rstore.domain.event_state import EventState, Fact, Unloaded, fold
from rstore.domain.log import Query
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, Stream
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import change_of
from rstore.history.commits import Commit, by_commit
from rstore.history.diff import difference
from rstore.models.event_states import facts_of, past_state
from rstore.text.describe import Wording, describe, describe_decision
from rstore.web.asked import UTC, Asked
from rstore.web.timing import Timing, timing_of
from rstore.web.values import Shown, line_of, short, shown

_COMMITS: Final = 100
_EVENTS: Final = 2_000
_ITEMS: Final = 500
_UNCHANGED: Final = 8
_CHANGES: Final = 50


@frozen
class Item:
    """An item of the state.

    Attributes:
        name: its name.
        value: its value at the time of the page; None if it was not there.
        other: its value at the other time; None if it was not there, or if there is no other time.
        mark: ``added``, ``removed`` or ``changed`` from one time to the other; empty if it is the same.
    """

    name: str
    value: Shown | None
    other: Shown | None
    mark: str


@frozen
class Part:
    """An item of the state after a commit, in one line; of a removed one, the value before."""

    name: str
    line: str
    mark: str


@frozen
class Step:
    """A commit, and the state after it, as it was known then.

    Attributes:
        recorded: when it was stored, in POSIX milliseconds.
        times: the valid times of its events, if they are others than that.
        decision: the name of the decision with its arguments; empty if it has none.
        changes: a line for each change, the first 50.
        parts: the items that it changed, and some of the others.
        more: how many other items there are.
        problem: why the state is not known; empty if it is.
        is_shown: whether the page shows the state after it.
    """

    recorded: int
    times: Sequence[int]
    who: str | None
    why: str | None
    decision: str
    changes: Sequence[str]
    parts: Sequence[Part]
    more: int
    problem: str
    is_shown: bool


@frozen
class EventSequence:
    """An event sequence.

    Attributes:
        key: its key.
        items: its items by name, 500 at most.
        more: how many other items there are.
        is_there: whether there was a state at the time of the page.
        problem: why the state is not known; empty if it is.
        steps: its commits, the newest first: those of 100 times at most, and fewer where these have many events.
        older: when the newest commit was stored that is not among these; None if all are.
    """

    key: str
    items: Sequence[Item]
    more: int
    is_there: bool
    problem: str
    steps: Sequence[Step]
    older: int | None
    timing: Timing


def page(asked: Asked) -> EventSequence:
    """Return the model of the page.

    Raises:
        LookupError: there never was such an event sequence.
    """
    core, stream = reading_of(asked.store), Stream(ES, asked.key)
    stored = [(record.version, record.recorded) for record in core.log.read(stream, Query(most=0))]
    if not stored:
        raise LookupError(f"there never was an event sequence {asked.key!r} in {asked.store.namespace!r}")
    events = Counter(recorded for _, recorded in stored)
    times = sorted(events)
    listed = _last(times, events)
    if asked.at is not None and listed[0] > asked.at:
        listed = _last(times[: bisect_right(times, asked.at)], events)
    older = None if not listed or listed[0] == times[0] else times[times.index(listed[0]) - 1]
    after = min((version for version, recorded in stored if listed and recorded >= listed[0]), default=0) - 1
    steps = [*_steps(core, stream, listed, after, asked.at)] if listed else []
    problem, found, other = "", None, None
    try:
        found = past_state(reading_of(asked.view), stream, TIME_MAX)
        other = None if asked.other is None else past_state(reading_of(asked.other), stream, TIME_MAX)
    except StoreError as exc:
        problem = str(exc)
    items = _items(_state_of(found), None if asked.other is None else _state_of(other))
    is_there = found is not None and found.lives
    timing = timing_of(asked, times)
    return EventSequence(
        asked.key, items[:_ITEMS], max(0, len(items) - _ITEMS), is_there, problem, steps[::-1], older, timing
    )


def _last(times: Sequence[int], events: Mapping[int, int]) -> Sequence[int]:
    """Return the last times that a page lists: one at least, and no more than it has room for."""
    first, count = len(times), 0
    while first > 0 and len(times) - first < _COMMITS and (not count or count + events[times[first - 1]] <= _EVENTS):
        first -= 1
        count += events[times[first]]
    return times[first:]


def _state_of(found: EventState | None) -> Mapping[str, Any]:
    return {} if found is None else found.state


def _items(state: Mapping[str, Any], other: Mapping[str, Any] | None) -> list[Item]:
    marks = {} if other is None else _marks(state, other)
    names = sorted({*state, *(other or {})})
    return [Item(name, _shown(state, name), _shown(other or {}, name), marks.get(name, "")) for name in names]


def _marks(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    found = difference(before, after)
    marks = (("added", found.added), ("removed", found.removed), ("changed", found.changed))
    return {name: mark for mark, names in marks for name in names}


def _shown(state: Mapping[str, Any], name: str) -> Shown | None:
    return shown(_readable(state[name])) if name in state else None


def _readable(value: Any) -> Any:
    """Return a value of a state, or what stands for one that can't be loaded."""
    if type(value) is not Unloaded:
        return value
    return Unreadable(getattr(value.error, "reason", str(value.error)), type(value.error).__name__)


# -- the state after each commit --------------------------------------------------------------------------------------


def _steps(core: Reading, stream: Stream, listed: Sequence[int], after: int, at: int | None) -> Iterator[Step]:
    """Yield the commits of some times, in order.

    Each state is folded from the one before. An event that came in late would have to be put in before others: the
    state after that is read anew, as it was known then.
    """
    query = Query(after=after, until=listed[-1])
    records = sorted(core.log.read(stream, query), key=lambda record: record.version)
    facts = {fact.version: fact for fact in facts_of(core, stream, records)}
    known = [time for time in listed if at is None or time <= at]
    state = _known_state(core, stream, listed[0] - 1)
    for commit in by_commit(change_of(core, stream, record) for record in records):
        before = state
        state = _next(core, stream, before, [facts[change.version] for change in commit.changes], commit.recorded)
        yield _step(commit, before, state, is_shown=bool(known) and commit.recorded == known[-1])


def _known_state(core: Reading, stream: Stream, moment: int) -> EventState | StoreError:
    """Return the state as it was known at a time, or the error for which it is not known any more."""
    try:
        return past_state(core.at(moment), stream, TIME_MAX) or EventState()
    except StoreError as exc:
        return exc


def _next(
    core: Reading, stream: Stream, state: EventState | StoreError, facts: list[Fact], recorded: int
) -> EventState | StoreError:
    """Return the state after some events of one commit."""
    facts.sort(key=lambda fact: (fact.time, fact.version))
    if isinstance(state, StoreError) or (state.time is not None and facts[0].time < state.time):
        return _known_state(core, stream, recorded)
    try:
        return fold(state, facts)
    except StoreError as exc:
        return exc


def _decision(commit: Commit) -> str:
    """Return the name of a decision, with its arguments if these are known."""
    return describe_decision(commit) if commit.arguments is not None else short(commit.did or "")


def _step(commit: Commit, before: EventState | StoreError, after: EventState | StoreError, *, is_shown: bool) -> Step:
    old, new = ({} if isinstance(each, StoreError) else _state_of(each) for each in (before, after))
    marks = {} if isinstance(before, StoreError) else _marks(old, new)
    changed = [Part(name, line_of(_readable({**old, **new}[name])), mark) for name, mark in marks.items()]
    others = [name for name in new if name not in marks]
    times = {change.timestamp for change in commit.changes if change.timestamp is not None}
    return Step(
        commit.recorded,
        sorted(times - {commit.recorded}),
        commit.who,
        commit.why,
        _decision(commit),
        [describe(change, Wording(UTC)) for change in commit.changes[:_CHANGES]],
        changed + [Part(name, line_of(_readable(new[name])), "") for name in others[:_UNCHANGED]],
        max(0, len(others) - _UNCHANGED),
        str(after) if isinstance(after, StoreError) else "",
        is_shown,
    )
