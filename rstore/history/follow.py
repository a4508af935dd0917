"""Following the log: changes as they are stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from typing import Final, Literal, TypeAlias, overload

from rstore.core import Core, Surface
from rstore.domain.log import LogReader, Position, Record
from rstore.domain.names import exact
from rstore.domain.streams import ORIGIN, Stream
from rstore.domain.transaction import check_stored
from rstore.history.changes import Change, StreamFilter, selected_change, stream_filter
from rstore.history.commits import By, Commit, check_by, commit_of, is_next

_PAGE: Final = 4_096
_PAGE_BYTES: Final = 1 << 21
LOOK_SECONDS: Final = 0.25
_LEAST_SECONDS: Final = 0.001

_Found: TypeAlias = tuple[Position, Stream, Record]


class Pauses:
    """The pauses between looks at the log, which end when nothing has come for so many seconds.

    Pauses are counted as well as measured. So a clock that stands still does not hold a follower up. Nor do changes for
    others, which take longer to look at than the pauses last.
    """

    def __init__(self, wait: float | None) -> None:
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
            raise TypeError(f"wait is a number of seconds, not {type(wait).__name__}")
        if wait is not None and not wait >= 0:
            raise ValueError(f"wait is a number of seconds, 0 or more, not {wait!r}")
        self._wait = wait
        self.restart()

    def restart(self) -> None:
        """Begin the wait anew: a change came."""
        self._counted, self._began = 0.0, time.monotonic()

    def pause(self, log: LogReader, after: Position | None, most: float = LOOK_SECONDS) -> bool:
        """Wait for a change after a position, for so many seconds at most, and return true.

        Return false if none came for long enough.
        """
        waited = max(self._counted, time.monotonic() - self._began)
        if self._wait is None or waited >= self._wait:
            return False
        seconds = min(most, self._wait - waited)
        self._counted += _LEAST_SECONDS if log.wait(after, seconds) else seconds
        return True


class Follower(Surface):
    """Iterates over changes as they are stored."""

    @overload
    def follow(
        self,
        after: str | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        *,
        by: Literal["change"] = "change",
    ) -> Iterator[tuple[str, Change]]: ...
    @overload
    def follow(
        self,
        after: str | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        *,
        by: Literal["commit"],
    ) -> Iterator[tuple[str, Commit]]: ...
    def follow(
        self,
        after: str | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        *,
        by: By = "change",
    ) -> Iterator[tuple[str, Change]] | Iterator[tuple[str, Commit]]:
        """Yield ``(checkpoint, change)`` for all changes after a checkpoint, then for those that are stored meanwhile.

        No change whose write has returned is ever skipped, and none is repeated, however many writers there are.
        The changes of a transaction come when it has ended. Inside it, they come after all stored changes, with
        checkpoints from which nothing goes on. Changes that were pruned or compacted before they were followed do not
        come any more; the erasure does, as a change whose value is an :class:`rstore.Erasure`. A value that cannot be
        read is an :class:`Unreadable`. That a value has reached its end is no change: see ``until`` of the change.

        Args:
            after: the checkpoint of the last change that was handled: a str to be kept anywhere. None: from the
                beginning.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            wait: end when nothing has come for so many seconds; ``math.inf`` never ends. None: end with the last change
                that is there.
            by: ``commit`` yields :class:`rstore.Commit` instead, with the checkpoint of its last change: a caller that
                goes on from there never sees a part of one.

        Raises:
            ValueError: ``after`` is no checkpoint of this kind of store.

        >>> store['price'] = 10
        >>> [(checkpoint, change)] = store.follow()
        >>> store['price'] = 11
        >>> [change.value for _, change in store.follow(after=checkpoint)]
        [11]
        """
        grouped = check_by(by)
        streams, pauses = stream_filter(kind, prefix), Pauses(wait)
        position = None if after is None else position_in(self._core, after)
        # a caller that waits, and may take long over each change, gets pages: no read is open meanwhile
        found = self._core.log.follow(position) if wait is None else _live(self._core, position, streams, pauses)
        changes = _followed(self._core, self._core.log, found, streams)
        return _commits(changes) if grouped else (each for each in changes if each is not None)


def _followed(
    core: Core, log: LogReader, found: Iterable[_Found | None], streams: StreamFilter
) -> Iterator[tuple[str, Change] | None]:
    """Yield checkpoints and changes, and None before each pause."""
    mark = mark_of(core)
    for each in found:
        if each is None:
            yield None
            continue
        position, stream, record = each
        change = selected_change(core, streams, stream, record)
        if change is not None:
            yield f"{mark}-{log.checkpoint(position)}", change


def _commits(changes: Iterable[tuple[str, Change] | None]) -> Iterator[tuple[str, Commit]]:
    """Yield checkpoints and commits. A commit is whole when another one begins, or when there is a pause."""
    together: list[Change] = []
    last = ""
    for each in chain(changes, (None,)):
        if together and (each is None or not is_next(each[1], together[-1])):
            yield last, commit_of(together)
            together = []
        if each is not None:
            last = each[0]
            together.append(each[1])


def mark_of(core: Core) -> str:
    """Return the prefix of this namespace's checkpoints. Other namespaces, and the source of a copy, have others."""
    (origin,) = core.base.last([ORIGIN])
    return sha256((core.namespace + ("" if origin is None else f"\0{origin.item}")).encode()).hexdigest()[:6]


def position_in(core: Core, checkpoint: str) -> Position:
    """Return the position that a checkpoint of this namespace stands for."""
    if not isinstance(checkpoint, str):
        raise TypeError(f"a checkpoint is a str that follow() has yielded, not {type(checkpoint).__name__}")
    checkpoint = exact(checkpoint)
    mark, _, text = checkpoint.partition("-")
    if mark != mark_of(core):
        raise ValueError(
            f"{checkpoint[:60]!r} is no checkpoint of the namespace {core.namespace!r}, but of another one, or of "
            "what was copied there: begin without one"
        )
    check_stored(text)
    return core.log.position(text)


def _live(core: Core, after: Position | None, streams: StreamFilter, pauses: Pauses) -> Iterator[_Found | None]:
    """Yield records as they come, and None before each pause."""
    came = False
    while True:
        page, more = page_of(core.log, after)
        for found in page:
            after = found[0]
            if streams.may_have(found[1]):
                came = True
                yield found
        if more:
            continue
        yield None
        if came:  # only now: a caller may take long over a change, and over the commit that ends here
            pauses.restart()
            came = False
        if not pauses.pause(core.log, after):
            return


def page_of(log: LogReader, after: Position | None) -> tuple[list[_Found], bool]:
    """Return the next records, some megabytes at most, and whether there may be more."""
    page, size = [], 0
    for found in log.follow(after):
        page.append(found)
        size += len(found[2].data)
        if size >= _PAGE_BYTES or len(page) == _PAGE:
            return page, True
    return page, False
