"""Erasing records of a key: each one is in the key's head, or in the change that replaced it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.file import Connection
from rstore.domain.log import Record


class Link(NamedTuple):
    """A record of a key without its payload. ``holder`` is the position of the change that holds it; None: the head."""

    version: int
    position: int
    size: int
    holder: int | None


def links(db: Connection, number: int) -> list[Link]:
    """Return the records of the key with an id, the newest one first."""
    found: list[Link] = []
    holder = None
    for version, position, size in db.execute(sql.LINKS, (number, 0)):
        found.append(Link(version, position, size, holder))
        holder = position
    return found


def among(found: Iterable[Link], versions: Collection[int]) -> list[Link]:
    """Return the records that have one of some versions."""
    chosen = versions if isinstance(versions, range) else frozenset(versions)
    return [link for link in found if link.version in chosen]


def erase(db: Connection, number: int, found: Iterable[Link], dropped: Iterable[Link]) -> None:
    """Erase records. The head, or the change after a gap, takes over the record before the gap."""
    gone = {link.position for link in dropped}
    left = [link for link in found if link.position not in gone]
    holders = [*(link.holder for link in left), None]  # a change or a head that takes over nothing holds nothing
    if not left or holders[0] is not None:
        db.execute(sql.HEAD_TAKES, (holders[0], number))
    for link, holder in zip(left, holders[1:], strict=True):
        if holder != link.position:
            db.execute(sql.CHANGE_TAKES, (holder, link.position))
    if gone:
        db.execute(sql.KEEP_POSITIONS)
        db.executemany(sql.FORGET_CHANGE, ((position,) for position in gone))
        db.execute(sql.FORGET_MILESTONES, (json.dumps([number]),))
        db.execute(sql.MARK_AGAIN, (number, 0))


def forget_changes(db: Connection, numbers: Sequence[int]) -> None:
    """Erase the changes of the keys with some ids. Their heads stay as they are, for the caller to replace or erase."""
    if not numbers:
        return
    ids = json.dumps(numbers)
    db.execute(sql.KEEP_POSITIONS)
    db.execute(sql.FORGET_CHANGES, (ids, 0))
    db.execute(sql.FORGET_MILESTONES, (ids,))


def put(db: Connection, number: int, found: Iterable[Link], records: Iterable[Record]) -> tuple[set[int], int]:
    """Let records stand in for those of the same versions, and return these versions and the bytes of the new records.

    A record that is gone does not come back.
    """
    by_version = {link.version: link for link in found}
    replaced, size = set(), 0
    for record in records:
        link = by_version.get(record.version)
        if link is not None:
            values = (record.recorded, *record[3:])
            if link.holder is None:
                db.execute(sql.PUT_IN_HEAD, (*values, number))
            else:
                db.execute(sql.PUT_IN_CHANGE, (*values, link.holder))
            replaced.add(record.version)
            size += len(record.data)
    return replaced, size
