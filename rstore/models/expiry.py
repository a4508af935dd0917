"""When the values of keys end: the times that users give, and the mark of a namespace that has such values."""

from __future__ import annotations

import datetime
import math
from numbers import Real

from rstore.core import Core, now
from rstore.domain.log import Batch
from rstore.domain.operators import EXPIRE
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import EXPIRY
from rstore.domain.transaction import Transaction
from rstore.timestamps import Moment, posix_ms

Seconds = float | datetime.timedelta
"""A length of time: a number of seconds, or a timedelta."""

_MILLISECOND = datetime.timedelta(milliseconds=1)


def end_of(ttl: Seconds | None, until: Moment | None) -> int:
    """Return the last time at which a value holds, in POSIX milliseconds; 0 if it holds for ever.

    Args:
        ttl: how long it holds from now on: more than 0 seconds. A fraction of a millisecond counts as one.
        until: the time from which on it no longer holds, instead. If that has passed, the value holds at no time.

    Raises:
        TypeError, ValueError: there are both, or one of them is no length or no time.

    >>> end_of(None, '1970-01-01T00:00:10Z'), end_of(None, 0), end_of(None, None)
    (9999, 1, 0)
    """
    if ttl is not None and until is not None:
        raise TypeError("a value has ttl or until, not both; nothing was stored")
    if ttl is None and until is None:
        return 0
    end = posix_ms(until, "until") if until is not None else now() + _milliseconds(ttl)
    return max(1, min(end, TIME_MAX) - 1)  # the end itself is a time, too: users read it, and give it again


def _milliseconds(ttl: object) -> int:
    if isinstance(ttl, datetime.timedelta):
        milliseconds = -(-ttl // _MILLISECOND)
    elif isinstance(ttl, bool) or not isinstance(ttl, Real):
        raise TypeError(f"ttl is a number of seconds, or a timedelta, not {type(ttl).__name__}")
    elif not math.isfinite(float(ttl)):
        raise ValueError(f"ttl is a number of seconds, not {ttl}: a value without ttl holds for ever")
    else:
        milliseconds = math.ceil(float(ttl) * 1000)
    if milliseconds <= 0:
        raise ValueError(f"ttl is more than 0 seconds, not {ttl}")
    return milliseconds


def marks(core: Core, recorded: int) -> tuple[Batch, ...]:
    """Return the batch that goes with the first value that has an end, and marks the namespace; none later on.

    ``len`` lists the keys only where it finds the mark. Two writers may both be the first: then there are two records.
    Rejected: to remember the mark, which saves a look. Another process may discard the namespace meanwhile, and ``len``
    would count values that have expired.
    """
    log = core.log
    is_pending = isinstance(log, Transaction) and log.newest(EXPIRY) is not None
    if is_pending or core.base.head(EXPIRY) is not None:  # of the base: to mark the namespace is no conflict
        return ()
    return (Batch(EXPIRY, (core.envelope.entry(EXPIRY, EXPIRE, start=0, end=0),), recorded),)
