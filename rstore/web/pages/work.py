"""Projections and deliveries: how far behind they are, and what is parked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from rstore.domain.errors import StoreError
from rstore.history.deliveries import DeliveryLag, DueKey
from rstore.history.lag import ProjectionLag
from rstore.web.asked import Asked
from rstore.web.timing import Timing, timing_of_namespace

_COUNTED: Final = 10_000
"""So many records of each are counted at most."""
_PARKED: Final = 100


@frozen
class Projection:
    """How far behind a projection is.

    Attributes:
        name: that of the projection.
        records: the number of records that it has not dealt with yet.
        is_least: whether there may be more than ``records``.
        seconds: the age of the oldest of these.
        skipped: the number of changes that it has skipped.
    """

    name: str
    records: int
    is_least: bool
    seconds: float
    skipped: int


@frozen
class Parked:
    """A key of which a message failed in all attempts.

    Attributes:
        kind, key: its stream.
        version: that of the last change of the message.
        attempts: how many there were.
        error: that of the last attempt.
        since: when it was parked, in POSIX milliseconds.
    """

    kind: str
    key: str
    version: int
    attempts: int
    error: str
    since: int


@frozen
class Delivery:
    """How far behind a delivery is.

    Attributes:
        name: that of the delivery.
        due, leased, waiting, parked: the number of keys in its queue, by state.
        records: the number of records that were not delivered yet.
        is_least: whether there may be more than ``records``.
        seconds: the age of the oldest of these.
        keys: those that are parked, or the first ones of many.
    """

    name: str
    due: int
    leased: int
    waiting: int
    parked: int
    records: int
    is_least: bool
    seconds: float
    keys: Sequence[Parked]


@frozen
class Work:
    """All projections and deliveries of a namespace, by name.

    Attributes:
        errors: why those that are not listed can't be read.
    """

    projections: Sequence[Projection]
    deliveries: Sequence[Delivery]
    errors: Sequence[str]
    timing: Timing


def page(asked: Asked) -> Work:
    """Return the model of the page: the present, whatever the time of the page."""
    store, errors = asked.store, []
    projections: list[ProjectionLag] = []
    deliveries: list[Delivery] = []
    try:
        projections = store.projections(most=_COUNTED)
    except StoreError as exc:  # one can't be opened, say: the deliveries can
        errors.append(str(exc))
    try:
        deliveries = [
            _delivery(lag, store.parked(lag.name) if lag.parked else ()) for lag in store.deliveries(most=_COUNTED)
        ]
    except StoreError as exc:
        errors.append(str(exc))
    return Work(list(map(_projection, projections)), deliveries, errors, timing_of_namespace(asked))


def _projection(lag: ProjectionLag) -> Projection:
    return Projection(lag.name, lag.records, lag.records >= _COUNTED, lag.seconds, lag.skipped)


def _delivery(lag: DeliveryLag, parked: Sequence[DueKey]) -> Delivery:
    keys = [
        Parked(each.kind, each.key, each.version, each.attempts, each.error or "", each.since or 0)
        for each in parked[:_PARKED]
    ]
    *_, records, seconds = lag
    return Delivery(*lag[:5], records, records >= _COUNTED, seconds, keys)
