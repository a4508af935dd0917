"""The page of a value: what it was at a time, all its versions, and the differences between two times."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from typing import Any, Final

from attrs import frozen

from rstore.core import reading_of
from rstore.domain.errors import StorePayloadError
from rstore.domain.log import Query
from rstore.domain.streams import KV, Stream
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change, change_of
from rstore.store import Store
from rstore.view import View
from rstore.web.asked import Asked
from rstore.web.timing import Timing, times_of, timing_of
from rstore.web.values import Shown, line_of, shown

_VERSIONS: Final = 200
_MISSING: Final = object()


@frozen
class Version:
    """A version of a value.

    Attributes:
        version: its number.
        recorded: when it was stored, in POSIX milliseconds.
        is_deletion: whether it deleted the key.
        line: the value in one line; empty if it deleted the key.
        until: the time from which on it no longer holds; None if it has no end.
        is_shown: whether it is the one that the page shows.
    """

    version: int
    recorded: int
    is_deletion: bool
    line: str
    until: int | None
    who: str | None
    why: str | None
    did: str | None
    is_shown: bool


@frozen
class Value:
    """A value.

    Attributes:
        key: its key.
        value: the value at the time of the page; None if there was none then.
        other: the value at the other time; None if there was none, or if there is no other time.
        differences: the lines in which both differ: the first character is ``+``, ``-``, ``@`` or a space.
        versions: its versions, the newest first: 200 at most.
        older: when the newest version was stored that is not among these; None if all are.
    """

    key: str
    value: Shown | None
    other: Shown | None
    differences: Sequence[str]
    versions: Sequence[Version]
    older: int | None
    timing: Timing


def page(asked: Asked) -> Value:
    """Return the model of the page.

    Raises:
        LookupError: the key never had a value.
    """
    times = times_of(asked, KV)
    if not times:
        raise LookupError(f"there never was a value of {asked.key!r} in {asked.store.namespace!r}")
    changes = _changes(asked)
    value = _value_in(asked.view, asked.key)
    other = None if asked.other is None else _value_in(asked.other, asked.key)
    return Value(
        asked.key,
        value,
        other,
        [] if asked.to is None else _differences(value, other),
        _versions(changes[:_VERSIONS], asked.at),
        changes[_VERSIONS].recorded if len(changes) > _VERSIONS else None,
        timing_of(asked, times),
    )


def _changes(asked: Asked) -> list[Change]:
    """Return the newest changes, the newest first: of all, or where the page shows an older one, from that one on."""
    core, stream = reading_of(asked.store), Stream(KV, asked.key)
    newest = Query(reverse=True, limit=_VERSIONS + 1)
    records = list(core.log.read(stream, newest))
    if asked.at is not None and len(records) > _VERSIONS and records[_VERSIONS - 1].recorded > asked.at:
        records = list(core.log.read(stream, newest._replace(until=asked.at)))
    return [change_of(core, stream, record) for record in records]


def _value_in(view: Store | View, key: str) -> Shown | None:
    try:
        value: Any = view.get(key, _MISSING)
    except StorePayloadError as exc:
        value = Unreadable(exc.reason, type(exc).__name__)
    return None if value is _MISSING else shown(value)


def _versions(changes: Sequence[Change], at: int | None) -> list[Version]:
    """Return the versions of changes."""
    known = [change.version for change in changes if at is None or change.recorded <= at]
    newest = max(known, default=None)
    return [
        Version(
            change.version,
            change.recorded,
            change.op != "setitem",
            "" if change.op != "setitem" else line_of(change.value),
            change.until,
            change.who,
            change.why,
            change.did,
            change.version == newest,
        )
        for change in changes
    ]


def _differences(value: Shown | None, other: Shown | None) -> list[str]:
    lines, others = (each.text.split("\n") if each else [] for each in (value, other))
    return [line for line in unified_diff(lines, others, lineterm="", n=3) if line[:3] not in ("---", "+++")]
