"""The statements for the log in a SQLite file, and what each of them is for. The schema is in ``schema.sql``."""

from __future__ import annotations

from typing import Final, NamedTuple

from rstore.domain.log import Entry
from rstore.domain.streams import KV

# -- the file and its namespaces --------------------------------------------------------------------------------------

SCHEMA_VERSION: Final = 2

# One statement for the version and whether the file is a store's, since another process may just be making the schema.
VERSION: Final = """
SELECT user_version, EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'rstore_namespace') FROM pragma_user_version"""

# A random number that tells a file from all others, given when its schema is made. Rejected: inodes, which file systems
# use again.
IDENTITY: Final = "PRAGMA application_id"

IS_FOREIGN: Final = """
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT GLOB 'rstore_*' AND name NOT GLOB 'sqlite_*')"""

IS_USED: Final = "SELECT EXISTS (SELECT 1 FROM rstore_namespace WHERE live)"

NAMESPACE: Final = "SELECT id, live FROM rstore_namespace WHERE name = ?"

NAMESPACES: Final = "SELECT name FROM rstore_namespace WHERE live ORDER BY name"

REVIVE: Final = """
INSERT INTO rstore_namespace (name, live) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET live = 1
RETURNING id, floor"""

# Changes of keys are about to be erased: no other record may get their positions.
KEEP_POSITIONS: Final = """
UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(position), 0) FROM rstore_change))
WHERE name = 'rstore_record'"""

# The floor is raised above all versions, so that a cache notices that its streams are gone.
DISCARD: Final = (
    """UPDATE rstore_namespace SET live = 0, floor = max(floor, coalesce(
        (SELECT max(max(h.floor, coalesce(h.version, r.version, 0))) FROM rstore_head AS h
         LEFT JOIN rstore_record AS r ON r.stream = h.id WHERE h.namespace = :id), 0)) + 1 WHERE id = :id""",
    KEEP_POSITIONS,
    *(
        f"DELETE FROM {table} WHERE stream IN (SELECT id FROM rstore_head WHERE namespace = :id)"
        for table in ("rstore_record", "rstore_change", "rstore_milestone")
    ),
    "DELETE FROM rstore_head WHERE namespace = :id",
    "DELETE FROM rstore_count WHERE namespace = :id",
)

# Stores that go on with a backup never give out a position that followers of the first file have seen: positions begin
# at the clock, as in schema.sql. Those that the first file gives out later stay far below the clock, unless it writes a
# million records a second.
ADVANCE_POSITIONS: Final = """
UPDATE sqlite_sequence SET seq = max(seq, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
WHERE name = 'rstore_record'"""


# -- the newest record of a stream ------------------------------------------------------------------------------------

_NEAR: Final = 32  # records: reading as many one by one takes no longer than bisecting

_NAMES: Final = ("version", "position", "recorded", "start", "end", "item", "op", "data", "meta")


def _named(prefix: str) -> dict[str, str]:
    """Return an expression for each column of a record, and ``columns`` for all of them."""
    each = {name: f'{prefix}"{name}"' if name == "end" else f"{prefix}{name}" for name in _NAMES}
    return each | {"columns": ", ".join(each.values())}


BARE, _IN_HEAD, _IN_RECORD = _named(""), _named("h."), _named("r.")
_OLD, _IN_CHANGE = ({name: text.replace('"', "") for name, text in _named(p).items()} for p in ("old_", "c.old_"))

# Where a key's newest record is for which a condition does not hold, such as to be of a later time: in the change that
# replaced it. The search begins at the next milestone above, and goes back from there. It ends at the first change of
# the key, which replaced nothing, if there is no such record.
_HOLDER: Final = """(WITH RECURSIVE hop (position) AS (
    SELECT coalesce((SELECT m.position FROM rstore_milestone AS m WHERE m.stream = h.id AND m.{milestone}
        ORDER BY m.version LIMIT 1), h.position)
    UNION ALL
    SELECT c.old_position FROM hop CROSS JOIN rstore_change AS c ON c.position = hop.position WHERE c.old_{above})
SELECT min(position) FROM hop)"""

_NEWEST: Final = "SELECT position FROM rstore_record WHERE stream = h.id ORDER BY version DESC LIMIT 1"

# The newest record by a time is nearly always among the newest ones. If not, it lies between the oldest record and
# those. Each look at the record below the middle halves what is left between two bounds. Rejected: an index on times,
# which would cost every append.
_NEWEST_BY_TIME: Final = f"""
SELECT coalesce(
    (SELECT position FROM (
        SELECT position, recorded FROM rstore_record WHERE stream = h.id ORDER BY version DESC LIMIT {_NEAR})
    WHERE recorded <= ?4 LIMIT 1),
    (WITH RECURSIVE bounds (low, high) AS (
        SELECT (SELECT min(version) FROM rstore_record WHERE stream = h.id),
            (SELECT max(version) FROM rstore_record WHERE stream = h.id)
        UNION ALL
        SELECT iif(r.recorded <= ?4, (low + high) / 2, low), iif(r.recorded <= ?4, high, r.version)
        FROM bounds CROSS JOIN rstore_record AS r ON r.position = (
            SELECT position FROM rstore_record WHERE stream = h.id AND version <= (low + high) / 2
            ORDER BY version DESC LIMIT 1)
        WHERE high - low > 1)
    SELECT position FROM rstore_record
    WHERE stream = h.id AND version <= (SELECT max(low) FROM bounds) AND recorded <= ?4
    ORDER BY version DESC LIMIT 1))"""


class Ways(NamedTuple):
    """The statements for the newest records of keys, and for those of other streams; and the same by a time."""

    key: str
    key_by_time: str
    other: str
    other_by_time: str

    def by(self, kind: str, until: int | None) -> str:
        """Return the statement for a kind of streams, by a time if one is given."""
        present, by_time = self[:2] if kind == KV else self[2:]
        return present if until is None else by_time


# The index has live streams and others apart. SQLite merges them where there is an order.
_LIVES: Final = ("h.live = 1", "h.live = 0")


def _each_way(selected: str, tables: str, where: str, order: str) -> Ways:
    """Return the statements for the newest record of each stream of a table ``h``.

    Args:
        selected: what is wanted, with the columns of the record in braces.
        tables, where: which streams.
        order: in which order, and how many.
    """
    # CROSS JOIN looks up the stream first. The planner might rather list all records, and search for each.
    held = "rstore_change AS c ON c.position = " + _HOLDER.format(milestone="recorded > ?4", above="recorded > ?4")
    in_head = f"SELECT {selected.format(**_IN_HEAD)} FROM {tables} WHERE {where} AND "
    in_change = f"SELECT {selected.format(**_IN_CHANGE)} FROM {tables} CROSS JOIN {held} WHERE {where} AND "
    in_record = f"SELECT {selected.format(**_IN_RECORD)} FROM {tables} CROSS JOIN rstore_record AS r WHERE {where} AND "

    def joined(*arms: str) -> str:
        return " UNION ALL ".join(f"{arm} AND {live}" for arm in arms for live in _LIVES) + f" {order}"

    return Ways(
        joined(f"{in_head} h.position IS NOT NULL"),
        joined(f"{in_head} h.recorded <= ?4", f"{in_change} h.recorded > ?4 AND c.old_position IS NOT NULL"),
        joined(f"{in_record} r.position = ({_NEWEST})"),
        joined(f"{in_record} r.position = ({_NEWEST_BY_TIME})"),
    )


_OF_KIND: Final = "h.namespace = ?1 AND h.kind = ?2 AND h.key"

LAST: Final = _each_way("h.id, {columns}", "rstore_head AS h", f"{_OF_KIND} = ?3", "LIMIT 1")

# An id may be given out again, so the key has to be the same.
LAST_OF_ID: Final = f"""
SELECT {_IN_HEAD["columns"]} FROM rstore_head AS h
WHERE h.id = ?4 AND h.position IS NOT NULL AND {_OF_KIND} = ?3"""

_MANY: Final = ("json_each(?3) AS asked CROSS JOIN rstore_head AS h", f"{_OF_KIND} = asked.value", "")

LAST_OF_MANY: Final = _each_way("h.key, {columns}", *_MANY)

# SQLite knows the length of a BLOB without reading it.
SIZES: Final = _each_way("h.key, length({data}) + coalesce(length({meta}), 0)", *_MANY)

# -- streams ----------------------------------------------------------------------------------------------------------

_ROW: Final = """h.id, h.live, h.levels, h.floor, h.died, max(h.floor, coalesce(h.version, r.version, 0)),
    coalesce(h.recorded, r.recorded), coalesce(h."end", 0)"""
_WITH_NEWEST: Final = f"rstore_head AS h LEFT JOIN rstore_record AS r ON r.position = ({_NEWEST})"
_STREAM: Final = f"SELECT {_ROW} FROM {_WITH_NEWEST} WHERE h.namespace = ?1 AND h.kind = ?2 AND h.key = ?3 AND "

STREAM: Final = " UNION ALL ".join(f"{_STREAM} {live}" for live in _LIVES) + " LIMIT 1"

STREAMS: Final = f"""
SELECT h.key, {_ROW} FROM json_each(?3) AS asked CROSS JOIN {_WITH_NEWEST}
WHERE h.namespace = ?1 AND h.kind = ?2 AND h.live IN (0, 1) AND h.key = asked.value"""

_LIST: Final = """SELECT h.key, max(h.floor, coalesce(h.version,
    (SELECT max(version) FROM rstore_record WHERE stream = h.id), 0)), h.floor, h.live, h.died, coalesce(h."end", 0)
FROM rstore_head AS h WHERE h.namespace = ?1 AND h.kind = ?2 AND h.key >= ?3 AND """

LIST_LIVE: Final = f"{_LIST} h.live = 1 ORDER BY h.key LIMIT ?4"
LIST: Final = " UNION ALL ".join(f"{_LIST} {live}" for live in _LIVES) + " ORDER BY 1 LIMIT ?4"

# A key's newest record by a time is in its head or in a change. Rejected: a part for each of them. An order waits for
# the first row of each part, and where few keys were set again since, the part of the changes goes through all keys.
_KEY_THEN: Final = ", ".join(
    f"iif(h.recorded <= ?4, {_IN_HEAD[name]}, {_IN_CHANGE[name]})" for name in ("version", "op", "end")
)
_KEY_BY_TIME: Final = f"""
SELECT h.key, {_KEY_THEN}
FROM rstore_head AS h
LEFT JOIN rstore_change AS c
    ON h.recorded > ?4 AND c.position = {_HOLDER.format(milestone="recorded > ?4", above="recorded > ?4")}
WHERE {_OF_KIND} >= ?3 AND (h.recorded <= ?4 OR c.old_position IS NOT NULL) AND """

LIST_BY_TIME: Final = _each_way(
    "h.key, {version}, {op}, {end}", "rstore_head AS h", f"{_OF_KIND} >= ?3", "ORDER BY 1 LIMIT ?5"
)._replace(key_by_time=" UNION ALL ".join(f"{_KEY_BY_TIME} {live}" for live in _LIVES) + " ORDER BY 1 LIMIT ?5")

HEAD_BY_TIME: Final = _each_way("{version}, {op}, {end}", "rstore_head AS h", f"{_OF_KIND} = ?3", "LIMIT 1")

COUNT: Final = "SELECT live FROM rstore_count WHERE namespace = ? AND kind = ?"

ADD_TO_COUNT: Final = (
    "INSERT INTO rstore_count (namespace, kind, live) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET live = live + excluded.live"
)

CREATE_STREAM: Final = (
    "INSERT INTO rstore_head (namespace, kind, key, live, levels, floor, died) VALUES (?, ?, ?, 0, 0, ?, 0)"
)

CHANGE_STREAM: Final = "UPDATE rstore_head SET live = ?, levels = ?, floor = ?, died = ? WHERE id = ?"

FORGET_STREAM: Final = "DELETE FROM rstore_head WHERE id = ?"

_THOSE: Final = "(SELECT value FROM json_each(?))"

FORGET_STREAMS: Final = (
    f"DELETE FROM rstore_record WHERE stream IN {_THOSE}",
    f"DELETE FROM rstore_head WHERE id IN {_THOSE}",
)

RAISE_FLOOR: Final = "UPDATE rstore_namespace SET floor = max(floor, ?) WHERE id = ?"

# -- append -----------------------------------------------------------------------------------------------------------

# The last position that was given out, to whatever namespace.
END: Final = """
SELECT max(seq, coalesce((SELECT max(position) FROM rstore_change), 0)) FROM sqlite_sequence
WHERE name = 'rstore_record'"""

_NEXT: Final = f"1 + ({END})"

# These three take namespace, kind, key, expected version, recorded, and the entry; the last one also the level.
_PLACED: Final = ", ".join(f'"{name}" = ?{number}' for number, name in enumerate(Entry._fields, start=6))

# One entry for a live key: the triggers do the rest, so one statement is the transaction.
_SET_ONE: Final = f"""
UPDATE rstore_head SET version = max(floor, coalesce(version, 0)) + 1, position = {_NEXT},
    recorded = max(coalesce(recorded, ?5), ?5), {_PLACED} {{more}}
WHERE namespace = ?1 AND kind = ?2 AND key = ?3 AND live = 1 {{only}}
    AND (?4 IS NULL OR ?4 = max(floor, coalesce(version, 0)))
RETURNING version"""

SET_ONE: Final = _SET_ONE.format(more="", only="")

# The same in place of all earlier values, where there is one at most: the trigger takes that away.
REPLACE_ONE: Final = _SET_ONE.format(
    more=", floor = max(floor, coalesce(version, 0)) + 1",
    only="""AND NOT EXISTS (
        SELECT 1 FROM rstore_change AS c WHERE c.position = rstore_head.position AND c.old_position IS NOT NULL)""",
)

# One entry for another live stream whose level is known: no other table changes.
APPEND_ONE: Final = f"""
INSERT INTO rstore_record (position, stream, version, recorded, start, "end", level, item, op, data, meta)
SELECT {_NEXT}, h.id, max(h.floor, coalesce(r.version, 0)) + 1, max(coalesce(r.recorded, ?5), ?5),
    ?6, ?7, ?12, ?8, ?9, ?10, ?11
FROM rstore_head AS h LEFT JOIN rstore_record AS r ON r.position = ({_NEWEST})
WHERE h.namespace = ?1 AND h.kind = ?2 AND h.key = ?3 AND h.live = 1 AND (h.levels >> ?12) & 1
    AND (?4 IS NULL OR ?4 = max(h.floor, coalesce(r.version, 0)))
RETURNING version"""

# In a transaction, where version, position and transaction time are known.
ADD_KEY: Final = f"""
INSERT INTO rstore_head (namespace, kind, key, live, levels, floor, died, {BARE["columns"]})
VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

SET: Final = f"""
UPDATE rstore_head SET ({BARE["columns"]}, floor) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"""

# Those of some keys that have more than one record.
WITH_HISTORY: Final = """
SELECT h.id FROM json_each(?) AS asked CROSS JOIN rstore_head AS h ON h.id = asked.value
CROSS JOIN rstore_change AS c ON c.position = h.position WHERE c.old_position IS NOT NULL"""

INSERT: Final = f"""
INSERT INTO rstore_record ({BARE["columns"]}, stream, level) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# -- erase ------------------------------------------------------------------------------------------------------------

REPLACE: Final = """
UPDATE rstore_record SET recorded = ?, start = ?, "end" = ?, level = ?, item = ?, op = ?, data = ?, meta = ?
WHERE stream = ? AND version = ?"""

DELETE_ALL: Final = "DELETE FROM rstore_record WHERE stream = ?"

HAS_RECORDS: Final = "SELECT EXISTS (SELECT 1 FROM rstore_record WHERE stream = ?)"

# To both of these a condition on the version is added.
SIZE: Final = "SELECT count(*), coalesce(sum(length(data)), 0) FROM rstore_record WHERE stream = ? AND "
DELETE: Final = "DELETE FROM rstore_record WHERE stream = ? AND version NOT IN (SELECT value FROM json_each(?)) AND "
IN_RANGE: Final = "version >= ? AND version < ?"
LISTED: Final = f"version IN {_THOSE}"

# The records of a key, from its head back: each one is in the change that replaced it.
_CHAIN: Final = """WITH RECURSIVE chain AS (
    SELECT {columns} FROM rstore_head AS h WHERE h.id {which} AND h.position IS NOT NULL
    UNION ALL
    SELECT {old} FROM chain CROSS JOIN rstore_change AS c ON c.position = chain.position
    WHERE c.old_version > ?)"""

_LINK: Final = "version, position, length(data) AS size"
_OLD_LINK: Final = "c.old_version, c.old_position, length(c.old_data)"
LINKS: Final = _CHAIN.format(which="= ?", columns=_LINK, old=_OLD_LINK) + " SELECT version, position, size FROM chain"
_LINKS_OF_MANY: Final = _CHAIN.format(which=f"IN {_THOSE}", columns=_LINK, old=_OLD_LINK)

SIZE_OF_STREAMS: Final = f"""{_LINKS_OF_MANY}
SELECT count(*), coalesce(sum(size), 0)
FROM (SELECT size FROM chain UNION ALL SELECT length(data) FROM rstore_record WHERE stream IN {_THOSE})"""

_TAKEN: Final = f"SELECT {_OLD['columns']} FROM rstore_change WHERE position = ?"
HEAD_TAKES: Final = f"UPDATE rstore_head SET ({BARE['columns']}) = ({_TAKEN}) WHERE id = ?"
CHANGE_TAKES: Final = f"UPDATE rstore_change SET ({_OLD['columns']}) = ({_TAKEN}) WHERE position = ?"

_PUT: Final = ("recorded", *Entry._fields)
PUT_IN_HEAD: Final = f"UPDATE rstore_head SET {', '.join(f'{BARE[name]} = ?' for name in _PUT)} WHERE id = ?"
PUT_IN_CHANGE: Final = f"UPDATE rstore_change SET {', '.join(f'{_OLD[name]} = ?' for name in _PUT)} WHERE position = ?"

FORGET_CHANGES: Final = f"{_LINKS_OF_MANY} DELETE FROM rstore_change WHERE position IN (SELECT position FROM chain)"

FORGET_CHANGE: Final = "DELETE FROM rstore_change WHERE position = ?"

FORGET_MILESTONES: Final = f"DELETE FROM rstore_milestone WHERE stream IN {_THOSE}"

MARK_AGAIN: Final = (
    _CHAIN.format(
        which="= ?",
        columns="id, version, recorded, position",
        old="chain.id, c.old_version, c.old_recorded, c.old_position",
    )
    + " INSERT INTO rstore_milestone SELECT * FROM chain WHERE version % 64 = 0"
)

# -- read -------------------------------------------------------------------------------------------------------------

SNAPSHOT: Final = f"""
SELECT {BARE["columns"]} FROM rstore_record INDEXED BY rstore_record_span WHERE level = 0 AND stream =
    (SELECT id FROM rstore_head WHERE namespace = ?1 AND kind = ?2 AND live IN (0, 1) AND key = ?3)
AND start <= ?4 AND recorded <= ?5 ORDER BY start DESC, position DESC LIMIT 1"""

# Each part is in the order of r.position, so that SQLite merges them and sorts nothing.
_PLACED_OF_KEY: Final = ", ".join(
    "r.position" if name == "position" else f"iif(h.position = r.position, {_IN_HEAD[name]}, {_IN_CHANGE[name]})"
    for name in _NAMES
)

# Of a key that is set again and again, the next change is near. Others are found from a milestone back.
_SUCCESSOR: Final = f"""coalesce(
    (SELECT position FROM (SELECT n.position, n.stream FROM rstore_change AS n WHERE n.position > r.position
        ORDER BY n.position LIMIT 4) WHERE stream = r.stream LIMIT 1),
    {_HOLDER.format(milestone="version > r.version", above="position > r.position")})"""

# A key's record is in its head, or in the change that replaced it. Rejected: a part for each of these. To begin, each
# part looks for its first record. Where there are few of a sort, that goes through all the others.
FOLLOW: Final = f"""
SELECT h.kind, h.key, {_IN_RECORD["columns"]}
FROM rstore_record AS r CROSS JOIN rstore_head AS h ON h.id = r.stream
WHERE r.position > ?1 AND h.namespace = ?2 AND h.position IS NULL
UNION ALL
SELECT h.kind, h.key, {_PLACED_OF_KEY}
FROM rstore_change AS r CROSS JOIN rstore_head AS h ON h.id = r.stream AND h.position >= r.position
LEFT JOIN rstore_change AS c ON c.position = iif(h.position > r.position, {_SUCCESSOR}, NULL)
WHERE r.position > ?1 AND h.namespace = ?2 AND (h.position = r.position OR c.position IS NOT NULL)
ORDER BY 4"""

BY_CHAIN: Final = _CHAIN.format(which="= ?", columns=BARE["columns"], old=_IN_CHANGE["columns"])

# The beginning of a payload, where the driver has no way to read only that: SQLite reads all of it.
BEGINNING: Final = "SELECT substr(data, 1, ?) FROM rstore_record WHERE position = ?"
