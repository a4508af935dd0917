"""Reports to observers: each batch of a projection, and each attempt at a message of a delivery."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rstore.core import Core, now
from rstore.domain.observer import Handled, Sort
from rstore.history.changes import Change


@contextmanager
def handling(
    core: Core, sort: Sort, name: str, changes: Sequence[Change], attempt: int = 1, *, is_last: bool = False
) -> Iterator[None]:
    """Report to the observer, if there is one, how long the block took for some changes, and its error.

    Args:
        attempt: the number of the attempt at a message.
        is_last: whether the message is parked if the block fails.
    """
    if core.reporter is None:
        yield
        return
    error, began = None, time.perf_counter_ns()
    try:
        yield
    except BaseException as exc:
        error = type(exc).__name__
        raise
    finally:
        seconds = (time.perf_counter_ns() - began) / 1e9
        lag = max(0, now() - changes[-1].recorded) / 1000 if changes else 0.0
        is_parked = error is not None and is_last
        core.reporter.handled(
            Handled(sort, name, core.namespace, len(changes), attempt, seconds, lag, error, is_parked)
        )
