"""Folding the events of a sequence into its state, and finding those that a prune may drop."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final, NamedTuple

from rstore.domain.errors import StoreError, StoreIntegrityError
from rstore.domain.growth import TooLargeError
from rstore.domain.operators import DELETE, DELITEM, EVENT, RESETS, SETITEM, calculate

_RECORD: Final = 64
"""The bytes that a record takes beside its payload, more or less."""


class Fact(NamedTuple):
    """An event as the fold sees it; ``time`` is in POSIX milliseconds, ``size`` that of its payload in bytes."""

    version: int
    time: int
    item: str
    op: str
    value: Any
    size: int = 0


class Unloaded(NamedTuple):
    """Stands for a value that cannot be loaded, until that is replaced or deleted."""

    error: Exception


def loaded(value: Any) -> Any:
    """Return a value, or raise the error for which it could not be loaded."""
    if type(value) is Unloaded:
        raise value.error
    return value


class EventState(NamedTuple):
    """A state and how it came about. Never changed in place.

    ``version`` is that of the newest event folded, ``time`` the latest time among them (None: no event).
    ``tail`` counts the events folded since the last snapshot. ``owed`` are the bytes of that snapshot, less
    those of the events since. ``deleted`` says whether a deletion came last.
    """

    version: int = 0
    time: int | None = None
    state: Mapping[str, Any] = {}
    tail: int = 0
    deleted: bool = False
    owed: int = 0

    @property
    def lives(self) -> bool:
        """Whether there was any event, and the last of them was no deletion."""
        return self.time is not None and not self.deleted

    @property
    def is_whole(self) -> bool:
        """Whether there is no :class:`Unloaded` in the state."""
        return Unloaded not in map(type, self.state.values())


def fold(start: EventState, changes: Iterable[Fact]) -> EventState:
    """Return the state after ``changes``, which come in order of ``(time, version)``.

    Raises:
        StoreIntegrityError: an operator fails; item, operator and time are named.

    A value that cannot be loaded, and all that is calculated with it, is :class:`Unloaded`.

    >>> fold(EventState(), [Fact(1, 10, 'n', 'setitem', 1), Fact(2, 20, 'n', 'add', 4)])
    EventState(version=2, time=20, state={'n': 5}, tail=2, deleted=False, owed=-128)
    """
    version, time, tail, deleted, owed = start.version, start.time, start.tail, start.deleted, start.owed
    state = dict(start.state)
    for change in changes:
        number, time, _, op, _, size = change
        deleted = op == DELETE
        if deleted:
            state.clear()  # also of items that were recorded later, for an earlier time
        elif op != EVENT:
            _step(state, change)
        version = max(version, number)
        tail += 1
        owed -= _RECORD + size
    return EventState(version, time, state, tail, deleted, owed)


def _step(state: dict[str, Any], change: Fact) -> None:
    _, time, item, op, value, _ = change
    try:
        if op == SETITEM:  # as change_item does it, and not by a call of that: a long fold would take an eighth more
            state[item] = value
        elif op == DELITEM:
            del state[item]
        elif type(value) is Unloaded or type(state[item]) is Unloaded:
            state[item] = value if type(value) is Unloaded else state[item]
        else:
            state[item] = calculate(op, state[item], value)
    except (StoreError, MemoryError):  # of a store that a user's value reads, or of the process: not of the history
        raise
    except Exception as exc:  # whatever an operator raises on a user's values, the history does not fold
        known = item in state
        reason = type(exc).__name__ if known else "there is no such item at that time"
        reason = str(exc) if isinstance(exc, TooLargeError) else reason
        raise StoreIntegrityError(f"operator.{op} fails on item {item!r} at time {time}: {reason}") from exc


def obsolete(changes: Iterable[tuple[int, str, str]], lasting: Container[int] = ()) -> list[int]:
    """Return the versions of the events that no longer contribute to the current state.

    ``changes`` are ``(version, item, op)`` in order of ``(time, version)``. What comes before an item's last
    ``setitem`` or ``delitem`` goes, and a ``delitem`` that ends it goes too: without events the item is absent anyway.
    A deletion ends all items. A domain event contributes nothing. ``lasting`` are versions that stay, with all that
    they build on.

    >>> obsolete([(1, 'a', 'setitem'), (2, 'b', 'setitem'), (3, 'a', 'setitem'), (4, 'b', 'delitem')])
    [1, 2, 4]
    >>> obsolete([(1, 'a', 'setitem'), (2, 'a', 'setitem'), (3, 'a', 'setitem')], lasting=[3])
    [1]
    """
    dropped: list[int] = []
    kept: dict[str, list[int]] = {}
    stays: set[str] = set()
    for version, item, op in changes:
        if op == EVENT:
            dropped += [] if version in lasting else [version]
            continue
        ended = {*kept} if op == DELETE else {item}
        if version in lasting:
            # later events stay too: they may have been recorded before this one, and a view shows them without it
            stays |= ended
        if op == DELETE or op in RESETS:
            dropped += [each for name in ended - stays for each in kept.pop(name, ())]
        if op == DELETE:
            dropped += [] if stays or version in lasting else [version]
        elif op == DELITEM and item not in stays:
            dropped.append(version)
        else:
            kept.setdefault(item, []).append(version)
    return sorted(dropped)
