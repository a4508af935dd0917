"""Waiting where no backend reports a change: a cheap look at the log, again and again, until it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def wait_for_change(
    look: Callable[[], object],
    news: Callable[[], Iterator[Any]],
    sleep: Callable[[float], object],
    seconds: float,
    shortest: float,
    longest: float,
) -> bool:
    """Tell whether there are news, or the result of ``look`` changes within a number of seconds.

    The first look comes before the news, so that a record between the two is not missed. Pauses grow from the shortest
    to the longest, all in seconds. They are added up, since a test may hold the clock. The caller holds neither a
    connection nor a lock meanwhile.
    """
    before, waited, pause = look(), 0.0, shortest
    if next(news(), None) is not None:
        return True
    while waited < seconds:
        sleep(min(pause, seconds - waited))
        waited += pause
        pause = min(2 * pause, longest)
        if look() != before:
            return True
    return False
