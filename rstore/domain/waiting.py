"""Waiting where nobody tells that something has come: looking at something cheap until it changes."""

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
    """Tell whether there are news, or what is looked at changes within so many seconds.

    The first look is before the news: what comes between the two is not missed. Pauses grow from the shortest to the
    longest. They are counted, since a clock may be held; nothing is held meanwhile, neither a connection nor a lock.
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
