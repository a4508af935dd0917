"""The commits of a namespace, the newest first. A log is only read forwards: so it is read block by block, from behind.

A page has a bounded number of commits, and of each the first changes alone. Of a commit, only the words are read for
all of its changes, to know where it begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from attrs import Factory, define

from rstore.core import Core, core_of
from rstore.domain.erasure import ERASURES
from rstore.domain.log import Position
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change, StreamFilter, change_of, selected_change
from rstore.history.commits import is_next
from rstore.web.timeline import Block
from rstore.web.watcher import Found, Watcher

_LINES: Final = 20
_LINES_MOST: Final = 400
_COMMITS: Final = 100
_BLOCKS: Final = 8
_EXAMINED: Final = 20_000
"""So many changes are looked at for one page, however few are selected."""


class Selection(NamedTuple):
    """Selects changes.

    Attributes:
        low, high: those that were stored from one time to the other, both inclusive, in POSIX milliseconds.
        streams: those of these streams, and erasures of some of their records.
        who, did: those with these words, and those whose words can't be read; None for any.
        grouped: whether they come by commit; or else each comes as a commit of its own.
    """

    low: int
    high: int
    streams: StreamFilter = StreamFilter()
    who: str | None = None
    did: str | None = None
    grouped: bool = True

    def has_words(self, change: Change) -> bool:
        """Tell whether a change has the words."""
        if isinstance(change.value, Unreadable) and change.commit is None:
            return True
        return (self.who is None or change.who == self.who) and (self.did is None or change.did == self.did)


@define(eq=False)
class Gathered:
    """The changes of a commit, from the last one to the first.

    Attributes:
        first: the first one so far, without its value: it has the words of the commit.
        place: its position.
        number: how many there are.
    """

    core: Core
    streams: StreamFilter
    first: Change
    place: Position
    number: int = 0
    _found: deque[Found] = Factory(lambda: deque(maxlen=_LINES))

    def add(self, change: Change, found: Found) -> None:
        """Add the change before the first one."""
        self.first, self.place = change, found[0]
        self.number += 1
        self._found.append(found)

    def changes(self) -> list[Change]:
        """Return the first changes, in the order of the log."""
        read = (selected_change(self.core, self.streams, stream, record) for _, stream, record in reversed(self._found))
        return [change for change in read if change is not None]


class Part(NamedTuple):
    """Some commits, the newest first; and the position before which there may be more, None if there are no more."""

    commits: list[Gathered]
    before: Position | None


def newest_commits(watcher: Watcher, selection: Selection, before: Position | None) -> Part:
    """Return the newest commits before a position, as far as the watcher has read the log."""
    core = core_of(watcher.store)
    commits: list[Gathered] = []
    passed: Position | None = None
    lines = examined = 0
    for found in _backwards(watcher, selection, before):
        place = found[0]
        last = commits[-1] if commits else None
        if examined >= _EXAMINED:
            return Part(commits, passed)
        examined, passed = examined + 1, place
        change = _without_value(core, selection.streams, found)
        if change is None or not selection.has_words(change):
            continue
        if last is None or not selection.grouped or not is_next(last.first, change):
            lines += 0 if last is None else min(last.number, _LINES)
            if len(commits) == _COMMITS or lines >= _LINES_MOST:
                return Part(commits, last.place if last else None)
            last = Gathered(core, selection.streams, change, place)
            commits.append(last)
        last.add(change, found)
    return Part(commits, None)


def _backwards(watcher: Watcher, selection: Selection, before: Position | None) -> Iterator[Found]:
    """Yield the changes from one time to another, the last one of the log first."""
    low, high = selection.low, selection.high
    blocks = (
        block for block in watcher.blocks(low, high) if before is None or block.after is None or block.after < before
    )
    for block in _joined(blocks):
        for found in reversed(watcher.records(block)):
            if low <= found[2].recorded <= high and (before is None or found[0] < before):
                yield found


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """Join blocks that follow each other, more and more. To begin a read may take longer than to read a block."""
    joined: Block | None = None
    number, most = 0, 1
    for block in blocks:
        if joined is not None and number < most and block.until == joined.after:
            joined, number = joined._replace(after=block.after), number + 1
            continue
        if joined is not None:
            yield joined
            most = min(2 * most, _BLOCKS)
        joined, number = block, 1
    if joined is not None:
        yield joined


def _without_value(core: Core, streams: StreamFilter, found: Found) -> Change | None:
    """Return a change that is selected, without its value. An erasure has it: it tells of which streams that is."""
    _, stream, record = found
    if stream == ERASURES:
        return selected_change(core, streams, stream, record)
    return change_of(core, stream, record, load=False) if streams.has(stream) else None
