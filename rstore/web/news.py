"""News for the tails: the streams that changed, coalesced, and the state of the store.

A subscription holds no more than a bounded number of names, however long its reader takes. The thread that tells never
waits for a reader.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from typing import Final, NamedTuple

from rstore.domain.streams import Stream

_STREAMS: Final = 100
_CHARACTERS: Final = 8_192


class News(NamedTuple):
    """The changes since a subscription was last asked.

    Attributes:
        streams: the streams that changed, if they are not many.
        many: whether more streams changed than are named, or any may have.
        work: whether a projection or a delivery has moved on.
        recorded: the greatest time of a change so far, in POSIX milliseconds; None if there was none.
        error: why the log can't be read at present; None if it can.
        is_over: whether nothing will come any more.
    """

    streams: Collection[Stream] = ()
    many: bool = False
    work: bool = False
    recorded: int | None = None
    error: str | None = None
    is_over: bool = False

    def and_then(self, later: News) -> News:
        """Return the news of both: the state is that of the later.

        >>> both = News([Stream('kv', 'a')], work=True, recorded=5).and_then(News([Stream('kv', 'b')], recorded=7))
        >>> [stream.key for stream in both.streams], both.work, both.recorded
        (['a', 'b'], True, 7)
        """
        streams = list(dict.fromkeys((*self.streams, *later.streams)))
        many = self.many or later.many or len(streams) > _STREAMS or sum(len(key) for _, key in streams) > _CHARACTERS
        work, is_over = self.work or later.work, self.is_over or later.is_over
        return News([] if many else streams, many, work, later.recorded, later.error, is_over)


class Subscription:
    """The news that a coroutine has not asked for yet. It belongs to the event loop that runs when it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._lock = threading.Lock()
        self._news: News | None = None

    def tell(self, news: News) -> bool:
        """Tell news, from any thread, and return whether its event loop still runs."""
        with self._lock:
            is_asleep = self._news is None
            self._news = news if self._news is None else self._news.and_then(news)
            if is_asleep:  # one call that waits in the loop, however much is told
                try:
                    self._loop.call_soon_threadsafe(self._woken.set)
                except RuntimeError:  # the loop was closed
                    return False
        return True

    async def next(self, seconds: float) -> News | None:
        """Wait for news, so many seconds at most, and return them; None if there were none."""
        try:
            async with asyncio.timeout(seconds):  # Python 3.11's wait_for loses a cancellation that comes with its end
                await self._woken.wait()
        except TimeoutError:
            return None
        with self._lock:
            news, self._news = self._news, None
            self._woken.clear()
        return news
