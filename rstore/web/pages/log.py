"""The log of a namespace: its commits, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from rstore.core import core_of
from rstore.domain.erasure import OPERATIONS
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.history.changes import Change, stream_filter
from rstore.history.commits import check_by, commit_of
from rstore.history.follow import mark_of, position_in
from rstore.text.describe import Wording, describe, describe_decision
from rstore.text.values import show_value
from rstore.web.asked import UTC, Asked
from rstore.web.backwards import Gathered, Selection, newest_commits
from rstore.web.timing import Timing, timing_of_namespace
from rstore.web.values import short

_PATIENCE_SECONDS: Final = 1.0
_CHARACTERS: Final = 1_000
_WORDING: Final = Wording(UTC)
_FILTERS: Final = ("who", "did", "kind", "prefix", "since", "until", "by")


@frozen
class Line:
    """A change of a commit.

    Attributes:
        kind, key: its stream; both empty for an erasure.
        op: the name of its operator.
        line: what it did, in one line.
    """

    kind: str
    key: str
    op: str
    line: str


@frozen
class Entry:
    """A commit.

    Attributes:
        id: its id; None where there are no words.
        recorded: when it was stored, in POSIX milliseconds.
        did: its decision, with the arguments; empty without one.
        more: its other words, each value as a text.
        changes: its first changes.
        hidden: how many more changes it has.
    """

    id: str | None
    recorded: int
    who: str | None
    why: str | None
    did: str
    more: Mapping[str, str]
    changes: Sequence[Line]
    hidden: int


@frozen
class Log:
    """A page of commits.

    Attributes:
        filters: the words of the query that select commits, all of them, as they were given.
        entries: the commits, the newest first.
        before: the word of the query for the page of older commits; None if there are none.
        is_complete: whether the log was read up to its end. If not, newer commits are missing.
        read: the number of changes that were read so far.
    """

    filters: Mapping[str, str]
    entries: Sequence[Entry]
    before: str | None
    is_complete: bool
    read: int
    timing: Timing


def page(asked: Asked) -> Log:
    """Return the model of the page.

    Raises:
        ValueError: a word of the query makes no sense.
    """
    filters = {word: asked.query.get(word, "").strip() for word in _FILTERS}
    core, selection = core_of(asked.store), _selection(asked, filters)
    before = asked.query.get("before")
    place = position_in(core, before) if before else None
    is_complete = asked.watcher.look(_PATIENCE_SECONDS)
    commits, rest = newest_commits(asked.watcher, selection, place)
    return Log(
        filters,
        [_entry(commit) for commit in commits],
        None if rest is None else f"{mark_of(core)}-{core.base.checkpoint(rest)}",
        is_complete,
        asked.watcher.timeline.changes,
        timing_of_namespace(asked),
    )


def _selection(asked: Asked, filters: Mapping[str, str]) -> Selection:
    since, until = asked.time("since"), asked.time("until")
    return Selection(
        TIME_MIN if since is None else since,
        min(TIME_MAX if time is None else time for time in (until, asked.at)),
        stream_filter(filters["kind"] or None, filters["prefix"] or None),
        filters["who"] or None,
        filters["did"] or None,
        check_by(filters["by"] or "commit"),
    )


def _entry(gathered: Gathered) -> Entry:
    first = gathered.first
    changes = gathered.changes()
    return Entry(
        first.commit,
        first.recorded,
        first.who,
        first.why,
        _decision(first),
        {word: _text(value) for word, value in first.more.items()},
        list(map(_line, changes)),
        gathered.number - len(changes),
    )


def _decision(first: Change) -> str:
    if first.did is None or first.arguments is None:
        return short(first.did or "")
    return short(describe_decision(commit_of([first])))


def _line(change: Change) -> Line:
    is_erasure = change.op in OPERATIONS
    kind, key = ("", "") if is_erasure else (change.kind, change.key)
    return Line(kind, key, change.op, describe(change, _WORDING)[:_CHARACTERS])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else short(show_value(value))
