"""The statements for the log in a SQLite file, and what each of them is for. The schema is in ``schema.sql``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final, NamedTuple

from rstore.domain.log import Entry, Query
from rstore.domain.spans import ranges
from rstore.domain.streams import KV, Stream

# -- the file and its namespaces --------------------------------------------------------------------------------------

SCHEMA_VERSION: Final = 1

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

# The floor is raised above all versions, so that a cache notices that its streams are gone.
DISCARD: Final = (
    """UPDATE rstore_namespace SET live = 0, floor = max(floor, coalesce(
        (SELECT max(max(s.floor, coalesce(r.version, 0))) FROM rstore_stream AS s
         LEFT JOIN rstore_record AS r ON r.stream = s.id WHERE s.namespace = :id), 0)) + 1 WHERE id = :id""",
    "DELETE FROM rstore_record WHERE stream IN (SELECT id FROM rstore_stream WHERE namespace = :id)",
    "DELETE FROM rstore_stream WHERE namespace = :id",
    "DELETE FROM rstore_count WHERE namespace = :id",
)

# Stores that go on with a backup never give out a position that followers of the first file have seen: positions begin
# at the clock, as in schema.sql. Those that the first file gives out later stay far below the clock, unless it writes a
# million records a second.
ADVANCE_POSITIONS: Final = """
UPDATE sqlite_sequence SET seq = max(seq, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
WHERE name = 'rstore_record'"""


def schema() -> list[str]:
    """Return the statements that make the schema; read at creation only, and so not kept."""
    return files("rstore.adapters.sqlite").joinpath("schema.sql").read_text(encoding="utf-8").split(";\n")


# -- the newest record of a stream ------------------------------------------------------------------------------------

_NEAR: Final = 32  # records: reading as many one by one takes no longer than bisecting

_COLUMNS: Final = 'version, position, recorded, start, "end", item, op, data, meta'
_OF_R: Final = ", ".join(f"r.{column}" for column in _COLUMNS.split(", "))

_NEWEST: Final = "SELECT position FROM rstore_record WHERE stream = {stream} ORDER BY version DESC LIMIT 1"

# The newest record by a time is nearly always among the newest ones. If not, it lies between the oldest record and
# those. Each look at the record below the middle halves what is left between two bounds. Rejected: an index on times,
# which would cost every append.
_NEWEST_BY_TIME: Final = f"""
SELECT coalesce(
    (SELECT position FROM (
        SELECT position, recorded FROM rstore_record WHERE stream = {{stream}} ORDER BY version DESC LIMIT {_NEAR})
    WHERE recorded <= :until LIMIT 1),
    (WITH RECURSIVE bounds (low, high) AS (
        SELECT (SELECT min(version) FROM rstore_record WHERE stream = {{stream}}),
            (SELECT max(version) FROM rstore_record WHERE stream = {{stream}})
        UNION ALL
        SELECT iif(r.recorded <= :until, (low + high) / 2, low), iif(r.recorded <= :until, high, r.version)
        FROM bounds CROSS JOIN rstore_record AS r ON r.position = (
            SELECT position FROM rstore_record WHERE stream = {{stream}} AND version <= (low + high) / 2
            ORDER BY version DESC LIMIT 1)
        WHERE high - low > 1)
    SELECT position FROM rstore_record
    WHERE stream = {{stream}} AND version <= (SELECT max(low) FROM bounds) AND recorded <= :until
    ORDER BY version DESC LIMIT 1))"""


class Ways(NamedTuple):
    """A statement for the newest record of a stream, and one for its newest by a time."""

    newest: str
    by_time: str

    def by(self, until: int | None) -> str:
        """Return the statement for the newest record, by a time if one is given."""
        return self.newest if until is None else self.by_time


def _each_way(statement: str, stream: str) -> Ways:
    ways = (way.format(stream=stream) for way in (_NEWEST, _NEWEST_BY_TIME))
    return Ways(*(statement.format(newest=f"({way})") for way in ways))


LAST_OF_ID: Final = _each_way(f"SELECT {_COLUMNS} FROM rstore_record WHERE position = {{newest}}", ":id")

# CROSS JOIN looks up the stream first. The planner might rather list all streams, and search for each.
LAST: Final = _each_way(
    f"""
SELECT s.id, {_OF_R} FROM rstore_stream AS s CROSS JOIN rstore_record AS r ON r.position = {{newest}}
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key = :key""",
    "s.id",
)

_OF_MANY: Final = """
FROM json_each(:keys) AS asked
CROSS JOIN rstore_stream AS s ON s.namespace = :namespace AND s.kind = :kind AND s.key = asked.value
CROSS JOIN rstore_record AS r ON r.position = {newest}"""

LAST_OF_MANY: Final = _each_way(f"SELECT s.key, {_OF_R} {_OF_MANY}", "s.id")

# SQLite knows the length of a BLOB without reading it.
SIZES: Final = _each_way(f"SELECT s.key, length(r.data) + coalesce(length(r.meta), 0) {_OF_MANY}", "s.id")

# -- streams ----------------------------------------------------------------------------------------------------------

_WITH_NEWEST: Final = f"""FROM rstore_stream AS s LEFT JOIN rstore_record AS r ON r.position =
    ({_NEWEST.format(stream="s.id")})"""

STREAM: Final = f"""
SELECT s.id, s.live, s.levels, s.floor, s.died, max(s.floor, coalesce(r.version, 0)), r.recorded
{_WITH_NEWEST}
WHERE s.namespace = ? AND s.kind = ? AND s.key = ?"""

_LIST: Final = """
SELECT s.key, max(s.floor, coalesce((SELECT max(version) FROM rstore_record WHERE stream = s.id), 0)), s.floor, s.live,
    s.died
FROM rstore_stream AS s
WHERE s.namespace = ? AND s.kind = ? AND s.key >= ? {live} ORDER BY s.key LIMIT ?"""

LIST: Final = _LIST.format(live="")
LIST_LIVE: Final = _LIST.format(live="AND s.live")

_BY_TIME: Final = f"""rstore_stream AS s
CROSS JOIN rstore_record AS r ON r.position = ({_NEWEST_BY_TIME.format(stream="s.id")})
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key"""

LIST_BY_TIME: Final = f"""
SELECT s.key, r.version, r.op FROM {_BY_TIME} >= :low ORDER BY s.key LIMIT :page"""

HEAD_BY_TIME: Final = f"""
SELECT r.version, r.op FROM {_BY_TIME} = :key"""

COUNT: Final = "SELECT live FROM rstore_count WHERE namespace = ? AND kind = ?"

ADD_TO_COUNT: Final = (
    "INSERT INTO rstore_count (namespace, kind, live) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET live = live + excluded.live"
)

CREATE_STREAM: Final = "INSERT INTO rstore_stream (namespace, kind, key, live, levels, floor) VALUES (?, ?, ?, 0, 0, ?)"

CHANGE_STREAM: Final = "UPDATE rstore_stream SET live = ?, levels = ?, floor = ?, died = ? WHERE id = ?"

FORGET_STREAM: Final = "DELETE FROM rstore_stream WHERE id = ?"

RAISE_FLOOR: Final = "UPDATE rstore_namespace SET floor = max(floor, ?) WHERE id = ?"

# -- records ----------------------------------------------------------------------------------------------------------

# One entry for a live stream whose level is known: no other table changes, so one statement is the transaction.
APPEND_ONE: Final = f"""
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
SELECT s.id, max(s.floor, coalesce(r.version, 0)) + 1, max(coalesce(r.recorded, :recorded), :recorded),
    :start, :end, :level, :item, :op, :data, :meta
{_WITH_NEWEST}
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key = :key AND s.live
    AND (:level IS NULL OR (s.levels >> :level) & 1)
    AND (:expect IS NULL OR :expect = max(s.floor, coalesce(r.version, 0)))
RETURNING version"""

APPEND_ONE_NAMES: Final = ("namespace", *Stream._fields, "expect", "level", "recorded", *Entry._fields)

INSERT: Final = """
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

REPLACE: Final = """
UPDATE rstore_record SET recorded = ?, start = ?, "end" = ?, level = ?, item = ?, op = ?, data = ?, meta = ?
WHERE stream = ? AND version = ?"""

DELETE_ALL: Final = "DELETE FROM rstore_record WHERE stream = ?"

HAS_RECORDS: Final = "SELECT EXISTS (SELECT 1 FROM rstore_record WHERE stream = ?)"

# To both of these a condition on the version is added.
SIZE: Final = "SELECT count(*), coalesce(sum(length(data)), 0) FROM rstore_record WHERE stream = ? AND "
DELETE: Final = "DELETE FROM rstore_record WHERE stream = ? AND version NOT IN (SELECT value FROM json_each(?)) AND "
IN_RANGE: Final = "version >= ? AND version < ?"
LISTED: Final = "version IN (SELECT value FROM json_each(?))"

SNAPSHOT: Final = f"""
SELECT {_COLUMNS} FROM rstore_record INDEXED BY rstore_record_span WHERE level = 0 AND stream =
    (SELECT id FROM rstore_stream WHERE namespace = ? AND kind = ? AND key = ?)
AND start <= ? AND recorded <= ? ORDER BY start DESC, position DESC LIMIT 1"""

FOLLOW: Final = f"""
SELECT s.kind, s.key, {_OF_R}
FROM rstore_record AS r CROSS JOIN rstore_stream AS s ON s.id = r.stream
WHERE r.position > ? AND s.namespace = ? ORDER BY r.position"""

END: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'rstore_record'"

# Along the versions: values of a key, and records after a version.
_BY_VERSION: Final = 'INDEXED BY rstore_record_version WHERE stream = ? AND start <= ? AND "end" >= ?'

# The records of one level that touch a span.
_BY_SPAN: Final = (
    'INDEXED BY rstore_record_span WHERE stream = ? AND level = ? AND start BETWEEN ? AND ? AND "end" >= ?'
)


def records(kind: str, number: int, levels: int, died: int, query: Query) -> tuple[str, list[Any]]:
    """Return the statement, and its values, for the records that a query matches, in order of ``(start, position)``.

    Args:
        kind, number, levels, died: of the stream; ``number`` is its id.
    """
    start, end, item, ops, until, after, _, reverse, limit = query
    parts: list[tuple[int, ...]]
    if kind == KV or after > 0:
        where, parts = _BY_VERSION, [(number, end, start)]
    else:  # one range of the index for each level, merged in order by SQLite
        where, parts = _BY_SPAN, [(number, level, low, end, start) for level, low in ranges(levels, start)]
    filters: list[tuple[str, Iterable[Any] | None]] = [
        ("version > ?", [query.above(died)]),
        ("item = ?", None if item is None else [item]),
        ("recorded <= ?", None if until is None else [until]),
        (f"op IN ({', '.join('?' * len(ops or ()))})", ops),
    ]
    given = [(text, values) for text, values in filters if values is not None]
    each = f"SELECT {_COLUMNS} FROM rstore_record {where}" + "".join(f" AND {text}" for text, _ in given)
    order = "DESC" if reverse else "ASC"
    own = [value for _, values in given for value in values]
    values = [value for part in parts for value in (*part, *own)]
    statement = f"{' UNION ALL '.join([each] * len(parts))} ORDER BY 4 {order}, 2 {order} LIMIT ?"
    return statement, [*values, -1 if limit is None else limit]
