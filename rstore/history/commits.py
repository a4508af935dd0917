"""Changes by commit: those of one append, or of one decision, together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from rstore.history.changes import Change

By: TypeAlias = Literal["change", "commit"]
_WAYS: Final = ("change", "commit")


class Commit(NamedTuple):
    """Changes that were stored together: those of one append, or of one decision in a transaction.

    Attributes:
        id: the id of the commit, 16 hexadecimal digits. All decisions of a transaction have the same one; as it is
            stored key by key, a decision about several keys may come as several commits. It is None where there are no
            words; then the changes of one millisecond that are neighbours in the log stand together.
        recorded: when it was stored, in POSIX milliseconds.
        who, why, did, arguments, more: its words, as a :class:`rstore.Change` has them.
        changes: in the order of the log; only those that were asked for.
    """

    id: str | None
    recorded: int
    who: str | None
    why: str | None
    did: str | None
    arguments: dict[str, Any] | None
    more: dict[str, Any]
    changes: list[Change]


def check_by(by: str) -> bool:
    """Tell whether changes are asked for by commit.

    Raises:
        ValueError: there is no such way.
    """
    if by not in _WAYS:
        raise ValueError(f"by is {' or '.join(map(repr, _WAYS))}, not {by!r}")
    return by == "commit"


def commit_of(changes: list[Change]) -> Commit:
    """Return the commit of changes that belong together."""
    first = changes[0]
    return Commit(first.commit, first.recorded, first.who, first.why, first.did, first.arguments, first.more, changes)


def is_next(change: Change, before: Change) -> bool:
    """Tell whether a change belongs to the commit of the one before it. The arguments of a decision begin a new one."""
    is_of_one = change.arguments is None and change.commit == before.commit
    return is_of_one and _words(change) == _words(before)


def by_commit(changes: Iterable[Change]) -> Iterator[Commit]:
    """Yield the commits of changes that are in the order of the log, lazily."""
    together: list[Change] = []
    for change in changes:
        if together and not is_next(change, together[-1]):
            yield commit_of(together)
            together = []
        together.append(change)
    if together:
        yield commit_of(together)


def _words(change: Change) -> tuple[Any, ...]:
    # a transaction that has not ended yet shows each change with a time of its own
    recorded = change.recorded if change.commit is None else None
    return change.commit, recorded, change.did, change.who, change.why, change.more
