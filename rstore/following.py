"""Following the log: what was stored after a checkpoint, and then what is stored now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, Self

from rstore.audit import Audit, Change, Wanted, wanted
from rstore.domain.log import Batch, Position, Record, Stream, check_name
from rstore.face import now
from rstore.scopes import Scopes

_PROJECT: Final = "project"
"""Kind of the streams that hold the checkpoints of projections: private."""

_BATCH: Final = 100
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.016


class Following(Audit, Scopes):
    """Iterating over changes as they are stored, and read models that are kept up to date."""

    def follow(
        self,
        after: str | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
    ) -> Iterator[tuple[str, Change]]:
        """Yield ``(checkpoint, change)`` for all that was stored after a checkpoint, then for what is stored meanwhile.

        No change whose write has returned is ever skipped, and none is repeated, however many writers there are.
        What a transaction under way has written comes when that has ended.

        Args:
            after: the checkpoint of the last change that was dealt with: a str to be kept anywhere. None: from the
                beginning.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            wait: go on until nothing came for so many seconds; ``math.inf`` never ends. None: end with what there is.

        >>> store['price'] = 10
        >>> [(checkpoint, change)] = store.follow()
        >>> store['price'] = 11
        >>> [change.value for _, change in store.follow(after=checkpoint)]
        [11]
        """
        streams = wanted(kind, prefix)
        position = None if after is None else self._log.position(after)
        if wait is not None and not wait >= 0:
            raise ValueError(f"wait is a number of seconds, 0 or more, not {wait!r}")
        return self._followed(position, streams, wait)

    def _followed(self, after: Position | None, streams: Wanted, wait: float | None) -> Iterator[tuple[str, Change]]:
        for position, stream, record in self._feed(after, streams, wait):
            yield self._log.checkpoint(position), self._change(stream, record)

    def _feed(
        self, after: Position | None, streams: Wanted, wait: float | None
    ) -> Iterator[tuple[Position, Stream, Record]]:
        """Yield what is wanted. The pauses are counted, not measured: a clock that is held does not hold this up."""
        idle, pause = 0.0, _SHORTEST_PAUSE
        while True:
            for after, stream, record in self._log.follow(after):  # noqa: B020, PLR1704  # goes on from the last one
                if streams.has(stream):
                    yield after, stream, record
                    idle, pause = 0.0, _SHORTEST_PAUSE
            if wait is None or idle >= wait:
                return
            time.sleep(min(pause, wait - idle))
            idle += pause
            pause = min(2 * pause, _LONGEST_PAUSE)

    def project(
        self,
        name: str,
        fn: Callable[[Change, Self], Any],
        *,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        rebuild: bool = False,
    ) -> int:
        """Keep a read model up to date: call ``fn(change, store)`` for each change since the last time, exactly once.

        What ``fn`` writes to this store is stored in one transaction with the checkpoint, for up to 100 changes at a
        time: after a crash, or in two processes at once, ``fn`` may be called again, but each change has its effect on
        the store once. What ``fn`` itself has written is not fed to it.

        Args:
            name: that of the projection; its checkpoint is kept under it.
            kind, prefix, wait: as in :meth:`follow`.
            rebuild: begin again with the first change. Delete what the projection has written before that.

        Returns:
            The number of changes that were dealt with.

        >>> def count(change, store):
        ...     store['changes of ' + change.key] = store.get('changes of ' + change.key, 0) + 1
        >>> store['price'] = 10
        >>> store['price'] = 11
        >>> store.project('counts', count), store['changes of price'], store.project('counts', count)
        (2, 2, 0)
        """
        self._check_writable()
        stream, streams = Stream(_PROJECT, check_name("projection", name, empty=False)), wanted(kind, prefix)
        if rebuild:
            self._log.append([self._progress(stream, "", None)])
        done, idle, pause = 0, 0.0, _SHORTEST_PAUSE
        while True:
            moved, count = self._decide(partial(self._project, stream, streams, fn))
            done += count
            if moved:
                idle, pause = 0.0 if count else idle, _SHORTEST_PAUSE
                continue
            if wait is None or idle >= wait:
                return done
            time.sleep(min(pause, wait - idle))
            idle += pause
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _project(self, stream: Stream, streams: Wanted, fn: Callable[[Change, Self], Any]) -> tuple[int, int]:
        """Feed the next changes to a projection; return how many there were, and how many of these were fed."""
        found = self._log.last((stream,))[0]
        if found is not None:
            self._payload.check(stream, found)
        after = self._log.position(found.item) if found is not None and found.item else None
        page = list(islice(self._feed(after, streams, None), _BATCH))
        if not page:
            return 0, 0
        changes = [self._change(stream, record) for _, stream, record in page]
        foreign = [change for change in changes if change.more.get(_PROJECT) != stream.key]
        with self.transaction(), self.context(**{_PROJECT: stream.key}):
            for change in foreign:
                fn(change, self)
            checkpoint = self._log.checkpoint(page[-1][0])
            self._log.append([self._progress(stream, checkpoint, found.version if found else 0)])
        return len(page), len(foreign)

    def _progress(self, stream: Stream, checkpoint: str, expect: int | None) -> Batch:
        entry = self._payload.entry(stream, _PROJECT, item=checkpoint, start=0, end=0)
        return Batch(stream, (entry,), now(), expect, replace=True)
