"""The statements for the log in PostgreSQL, and what each of them is for.

Tables and functions are in ``schema.sql`` and ``functions.sql``. Writes call those functions. A function decides on the
server whether the stream is there and at the version that its writer expects, so each write is one round trip. Its
statements are planned once in a session, also behind a pooler that can't prepare any.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from rstore.domain.log import Query
from rstore.domain.operators import DELITEM
from rstore.domain.paging import RECORD_BYTES
from rstore.domain.spans import TIME_MAX, TIME_MIN, TOP_LEVEL
from rstore.domain.streams import KV, SS

# -- the schema and its namespaces ------------------------------------------------------------------------------------

SCHEMA_VERSION: Final = 4

EPOCH_STEP: Final = 1 << 40
"""A fencing epoch adds this to transaction ids and versions: more than any server gives out. A million epochs fit."""

CONFLICT: Final = "RS409"
"""The code of our own error: a stream is not at the version that its writer expects."""

UPGRADES: Final[Mapping[int, str]] = {
    1: "ALTER TABLE rstore.about ADD COLUMN timeline text COLLATE \"C\" NOT NULL DEFAULT '';",
    2: "",  # only functions have changed
    3: "ALTER TABLE rstore.stream DROP CONSTRAINT IF EXISTS stream_namespace_fkey;",
}
"""The step that takes the tables of each earlier schema version to the next one.

After the last step the functions are replaced. Those with other parameters than now stay in the schema, for the stores
that were opened before.
"""

# Two writers may create the schema at once: the second waits here, and finds it made. The number is arbitrary but ours.
CREATION_LOCK: Final = "SELECT pg_advisory_xact_lock(7235430851)"

# This reads the catalogue itself: to_regclass() may remember from before the wait that there was no schema. It reads
# the tables, since the views of them take five times as long to plan.
HAS_SCHEMA: Final = """
    SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'rstore' AND c.relname = 'about')
"""

ARRIVE: Final = "SELECT rstore.arrive()"

OPEN_NAMESPACE: Final = "SELECT rstore.open_namespace(%s, %s, %s)"

VERSION: Final = "SELECT schema_version FROM rstore.about"

# Others may be using the schema meanwhile: an upgrade waits for their locks no longer than a write would.
PATIENCE: Final = "SELECT set_config('lock_timeout', %s, true)"

HAS_NAMESPACE: Final = "SELECT EXISTS (SELECT FROM rstore.namespace WHERE name = %s)"

NAMESPACES: Final = "SELECT name FROM rstore.namespace ORDER BY name"

# A vacuum that is running already does the same.
VACUUM: Final = "VACUUM (SKIP_LOCKED) rstore.stream, rstore.record"


def script(name: str) -> str:
    """Return the text of a SQL file of this folder; read at creation only, and so not kept."""
    return files("rstore.adapters.postgresql").joinpath(name).read_text(encoding="utf-8")


# -- writes -----------------------------------------------------------------------------------------------------------

CHUNK_BYTES: Final = 4 << 20
"""So many bytes of payloads are sent or read at once."""


def _call(function: str, types: str) -> str:
    """Return the statement that calls a function of the schema with parameters of these types."""
    return f"SELECT * FROM rstore.{function}({', '.join(f'%s::{of_type}' for of_type in types.split())})"


# Every write begins with these: how long it waits for a lock, whether it is durable, and in which namespace it is.
_TERMS: Final = "bigint boolean text "
_PAYLOADS: Final = " text[] text[] bytea[] bytea[]"

APPEND_ONE: Final = _call(
    "append_one",
    _TERMS + "text text bigint boolean boolean boolean bigint bigint bigint bigint bigint text text bytea bytea",
)
APPEND: Final = _call(
    "append",
    _TERMS + "bigint text[] text[] bigint[] boolean[] boolean[] boolean[] boolean[] bigint[] bigint[] "
    "bigint[] bigint[] bigint[] bigint[] bigint[] bigint[]" + _PAYLOADS,
)
REDATE: Final = _call("redate", "text bigint")
PUT: Final = _call(
    "put", _TERMS + "text text bigint bigint bigint bigint[] bigint[] bigint[] bigint[] bigint[]" + _PAYLOADS
)
REWRITE: Final = _call(
    "rewrite",
    _TERMS + "text[] text[] bigint[] bigint[] bigint[] bigint[] boolean[] boolean[] bigint[] bigint[]",
)
RESTORE: Final = _call(
    "restore",
    _TERMS + "bigint text[] text[] bigint[] boolean[] bigint[] bigint[] bigint[] bigint[] bigint[] bigint[] bigint[] "
    "bigint[]" + _PAYLOADS,
)
DISCARD: Final = _call("discard", _TERMS)

# These forget thousands of streams in a transaction. rewrite() takes seven times the server's CPU, since it goes from
# stream to stream. Rejected: one more function, for which each database would move to another schema version.
BEGIN_WRITE: Final = _call("begin_write", "bigint boolean")
HOLD_NAMESPACE: Final = _call("hold_namespace", "text")
LOCK_STREAMS: Final = """
    SELECT t.id, coalesce(t.version, 0), coalesce(t.floor, 0)
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w (kind, key, n) LEFT JOIN LATERAL (
        SELECT x.id, x.version, x.floor FROM rstore.stream AS x
        WHERE x.namespace = (SELECT a.id FROM rstore.namespace AS a WHERE a.name = %s)
            AND x.kind = w.kind AND x.key = w.key OFFSET 0 FOR UPDATE) AS t ON true
    ORDER BY w.n
"""
# As rewrite() does, this draws a number for each stream.
FORGET_STREAMS: Final = """
    WITH
        records (size) AS (DELETE FROM rstore.record AS r WHERE r.stream = ANY (%s::bigint[]) RETURNING length(r.data)),
        streams AS (DELETE FROM rstore.stream AS t WHERE t.id = ANY (%s::bigint[]) RETURNING nextval('rstore.place'))
    SELECT count(*), coalesce(sum(r.size), 0)::bigint FROM records AS r
"""

# -- the newest record of a stream ------------------------------------------------------------------------------------

_NEAR: Final = 512  # versions: reading as many takes no longer than bisecting

_COLUMNS: Final = 'version, txid, place, recorded, start, "end", item, op, data, meta'
_OF_R: Final = ", ".join(f"r.{column}" for column in _COLUMNS.split(", "))

_STREAM: Final = """rstore.stream AS s
    WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND s.kind = %s AND s.key = %s"""

# The version of the newest record by a time, in a stream that was written to since. It is nearly always among the
# newest ones.
_NEAR_VERSION: Final = f"""
    (SELECT max(version) FROM rstore.record
    WHERE stream = s.id AND version > s.newest - {_NEAR} AND recorded <= %(until)s)"""

# If not, it lies between the oldest record and those. Each look at the record below the middle halves what is left
# between two bounds. Rejected: an index on times, which would cost every append.
_FAR_VERSION: Final = """
    (WITH RECURSIVE bounds (low, high) AS (
        SELECT (SELECT min(version) FROM rstore.record WHERE stream = s.id), s.newest
        UNION ALL
        SELECT CASE WHEN m.recorded <= %(until)s THEN middle ELSE low END,
            CASE WHEN m.recorded <= %(until)s THEN high ELSE m.version END
        FROM bounds CROSS JOIN LATERAL (SELECT (low + high) / 2) AS halves (middle)
        CROSS JOIN LATERAL (
            SELECT version, recorded FROM rstore.record WHERE stream = s.id AND version <= middle
            ORDER BY version DESC LIMIT 1) AS m
        WHERE high - low > 1)
    SELECT version FROM rstore.record
    WHERE stream = s.id AND version <= (SELECT max(low) FROM bounds) AND recorded <= %(until)s
    ORDER BY version DESC LIMIT 1)"""
_EARLIER: Final = f"coalesce({_NEAR_VERSION}, {_FAR_VERSION})"

# Which record of a stream: the newest; the newest by a time; or that only if it is near, which halves the server's work
# of preparing the statement.
_NEWEST: Final = "r.version = s.newest"
_BY_TIME: Final = f"r.version = CASE WHEN s.recorded <= %(until)s THEN s.newest ELSE {_EARLIER} END"
_IF_NEAR: Final = f"r.version = CASE WHEN s.recorded <= %(until)s THEN s.newest ELSE {_NEAR_VERSION} END"


class Ways(NamedTuple):
    """A statement for the newest record of a stream, one for its newest by a time, and one for that if it is near."""

    newest: str
    by_time: str
    if_near: str

    def by(self, until: int | None) -> str:
        """Return the statement for the newest record, by a time if one is given."""
        return self.newest if until is None else self.by_time


def _each_way(statement: str) -> Ways:
    return Ways(*(statement.format(which=which) for which in (_NEWEST, _BY_TIME, _IF_NEAR)))


_FROM_STREAM: Final = """FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {which}
WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
    AND s.kind = %(kind)s AND s.key = %(key)s"""

LAST: Final = _each_way(f"\nSELECT {_OF_R}, s.id, s.namespace {_FROM_STREAM}")

# The name is compared too: a schema that was dropped and made anew uses its ids again.
LAST_OF_ID: Final = _each_way(f"""
SELECT {_OF_R} FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
WHERE s.id = %(id)s AND s.namespace = %(home)s AND s.kind = %(kind)s AND s.key = %(key)s""")

# LATERAL and OFFSET make the server look up the streams one by one. The planner might rather list all of them, and
# search for each.
# As many from the first one on as have some size together. The length of a payload that is stored apart is known
# without reading it.
LAST_OF_MANY: Final = _each_way(f"""
SELECT {_COLUMNS} FROM (
    SELECT asked.nth, r.*, sum(coalesce(octet_length(r.data), 0) + coalesce(octet_length(r.meta), 0))
        OVER (ORDER BY asked.nth ROWS UNBOUNDED PRECEDING) AS size
    FROM unnest(%(kinds)s::text[], %(keys)s::text[]) WITH ORDINALITY AS asked (kind, key, nth)
    LEFT JOIN LATERAL (
        SELECT {_OF_R} FROM rstore.stream AS s JOIN rstore.record AS r ON r.stream = s.id AND {{which}}
        WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
            AND s.kind = asked.kind AND s.key = asked.key
        OFFSET 0) AS r ON true) AS page
WHERE nth = 1 OR size <= %(room)s ORDER BY nth""")

# -- streams ----------------------------------------------------------------------------------------------------------

# Of keys, only one that ever had a value with an end has levels.
_END: Final = f"""CASE WHEN s.kind = '{KV}' AND s.levels <> 0 THEN coalesce(
    (SELECT "end" FROM rstore.record WHERE stream = s.id AND version = s.newest), 0) ELSE 0 END"""

HEAD: Final = f"SELECT s.version, s.floor, s.live, s.died, {_END} FROM {_STREAM}"

LIST: Final = f"""
SELECT s.key, s.version, s.floor, s.live, s.died, {_END} FROM rstore.stream AS s
WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND s.kind = %s AND s.key {{above}} %s {{live}}
ORDER BY s.key LIMIT %s"""

HEAD_BY_TIME: Final = _each_way(f'\nSELECT r.version, r.op, r."end" {_FROM_STREAM}')

# A stream that was not written to since the time needs no look at its records: its last operator follows from whether
# it lives.
LIST_BY_TIME: Final = f"""
SELECT s.key, coalesce(r.version, s.newest), coalesce(r.op, CASE WHEN s.live THEN '' ELSE '{DELITEM}' END),
    coalesce(r."end", {_END})
FROM rstore.stream AS s LEFT JOIN LATERAL (
    SELECT version, op, "end" FROM rstore.record
    WHERE stream = s.id AND version = CASE WHEN s.recorded > %(until)s THEN {_EARLIER} END) AS r ON true
WHERE s.newest > 0 AND (s.recorded <= %(until)s OR r.version IS NOT NULL)
    AND s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
    AND s.kind = %(kind)s AND s.key {{above}} %(low)s
ORDER BY s.key LIMIT %(size)s"""

COUNTS: Final = """
SELECT (SELECT count(*) FROM rstore.stream AS s WHERE s.namespace = n.id AND s.kind = asked.kind AND s.live)
FROM unnest(%s::text[]) WITH ORDINALITY AS asked (kind, nth) LEFT JOIN rstore.namespace AS n ON n.name = %s
ORDER BY asked.nth"""

# -- records ----------------------------------------------------------------------------------------------------------

BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# Where a stream's records are, and how large they may be.
PLACES: Final = f"SELECT s.id, s.levels, s.died, s.largest FROM {_STREAM}"

# One statement sees all of it in one snapshot of the database. The tail begins after the version that the caller gives,
# or after the one that the stored snapshot has folded. A snapshot that names no version is damaged: no tail is read. If
# the given version has no record, a failover has lost it. What the caller folded up to it is then of no use, so the
# answer has a floor above it. Each stream that was asked for has a row of its head, and then one for each record.
_REPLAY: Final = f"""
SELECT r.follows, r.head, r.floor, r.live, r.died, {_OF_R} FROM (
    SELECT asked.nth, r.* {{size}} FROM {{asked}}
    LEFT JOIN LATERAL (
        SELECT s.id, s.version, s.live, s.died, s.levels, CASE
            WHEN asked.after > s.floor AND asked.after < s.version AND NOT EXISTS (
                SELECT FROM rstore.record AS r WHERE r.stream = s.id AND r.version = asked.after)
            THEN s.version ELSE s.floor END AS floor
        FROM rstore.stream AS s
        WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
            AND s.kind = asked.kind AND s.key = asked.key
        OFFSET 0) AS s ON true
    LEFT JOIN LATERAL (
        SELECT {_OF_R} FROM rstore.record AS r
        WHERE asked.after IS NULL AND r.stream = (
                SELECT s.id FROM rstore.stream AS s
                WHERE s.namespace = (SELECT id FROM rstore.namespace WHERE name = %(namespace)s)
                    AND s.kind = '{SS}' AND s.key = asked.key)
            AND r.level = 0 AND r.start <= least(asked."end", asked.horizon) AND r.recorded <= asked.until
        ORDER BY r.start DESC, r.version DESC LIMIT 1) AS snapshot ON s.id IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT false AS follows, s.version AS head, s.floor, s.live, s.died, snapshot.*
        UNION ALL
        SELECT true, NULL, NULL, NULL, NULL, {{records}}) AS r) AS r
{{where}} ORDER BY r.nth, r.follows, r.start{{order}}, r.version{{order}}"""

_TAIL: Final = {
    "records": f"""{_OF_R} FROM rstore.record AS r
        WHERE r.stream = s.id AND r.start <= asked."end" AND r.recorded <= asked.until
            AND r.version > coalesce(asked.after, CASE
                WHEN snapshot.item ~ '^[0-9]{{1,18}}$' THEN snapshot.item::bigint
                WHEN snapshot.item IS NOT NULL THEN {TIME_MAX} ELSE 0 END)""",
    "order": "",
}

# Constants are planned as such, and an array for each parameter of one stream takes longer to send.
REPLAY: Final = _REPLAY.format(
    **_TAIL,
    size="",
    where="",
    asked="""(SELECT 1 AS nth, %(kind)s::text AS kind, %(key)s::text AS key, %(end)s::bigint AS "end",
        %(horizon)s::bigint AS horizon, %(after)s::bigint AS after, %(until)s::bigint AS until) AS asked""",
)

# As many streams from the first one on as take some memory together.
_MANY: Final = {
    "size": f""", sum(coalesce(octet_length(r.data) + coalesce(octet_length(r.meta), 0) + {RECORD_BYTES}, 0))
        OVER (ORDER BY asked.nth) AS size""",
    "where": "WHERE r.nth = 1 OR r.size <= %(room)s",
    "asked": """unnest(%(kind)s::text[], %(key)s::text[], %(start)s::bigint[], %(end)s::bigint[], %(horizon)s::bigint[],
        %(after)s::bigint[], %(until)s::bigint[])
        WITH ORDINALITY AS asked (kind, key, start, "end", horizon, after, until, nth)""",
}
REPLAY_MANY: Final = _REPLAY.format(**_TAIL, **_MANY)

# The records of each stream that match a query: of each level that the stream has, one range of the index. Rejected: to
# ask for the levels first, which is one more round trip.
_MATCHING: Final = f"""r.* FROM (
        SELECT {{columns}} FROM generate_series(0, {TOP_LEVEL}) AS each (of_level) CROSS JOIN LATERAL (
            SELECT * FROM rstore.record
            WHERE stream = s.id AND level = of_level AND start <= asked."end" AND "end" >= asked.start
                AND start >= CASE
                    WHEN asked.start < '{TIME_MIN}'::bigint + (1::bigint << least(of_level, {TOP_LEVEL - 1}))
                        OR of_level = {TOP_LEVEL} THEN '{TIME_MIN}'::bigint
                    ELSE asked.start - (1::bigint << of_level) + 1 END
                AND recorded <= asked.until AND version > greatest(asked.after{{died}}){{filters}}
            ORDER BY start{{order}}, version{{order}} LIMIT %(limit)s) AS r
        WHERE s.levels >> of_level & 1 = 1 ORDER BY start{{order}}, version{{order}} LIMIT %(limit)s) AS r"""


def replay_matching(query: Query) -> str:
    """Return the statement for the records of many streams that match a query, which may differ in times alone."""
    filters = {" AND item = %(item)s": query.item, " AND op = ANY(%(ops)s::text[])": query.ops}
    order = " DESC" if query.reverse else ""
    records = _MATCHING.format(
        columns=columns_of(query.most),
        died=", s.died" if query.alive else "",
        filters="".join(text for text, value in filters.items() if value is not None),
        order=order,
    )
    return _REPLAY.format(records=records, order=order, **_MANY)


def columns_of(most: int | None) -> str:
    """Return the columns of a record, of which the payload may be cut after so many bytes."""
    # the payloads are not compressed, so the server reads no more of a long one than that
    return _COLUMNS if most is None else _COLUMNS.replace("data", f"substr(data, 1, {most:d}) AS data")


# -- following --------------------------------------------------------------------------------------------------------

# All transactions below the horizon have ended. It is the oldest transaction in progress that may write to the log.
# A writer locks the table of streams before it gets a transaction id, and holds the lock to its end. So transactions
# without that lock don't count, and hold no follower up, however long they are. Nor do ANALYZE and VACUUM, which lock
# the table in modes of their own. A transaction whose lock is not yet listed counts: it is in the snapshot a moment
# before its lock is in the table of locks. A standby knows neither the locks of its primary nor which transactions are
# in progress there: there all count. If nobody has written since the log came here from another server, the horizon is
# above all records that there are, and below the epoch that the first writer will begin.
HORIZON: Final = f"""
SELECT CASE
    WHEN a.system <> c.system_identifier THEN a.epoch + {EPOCH_STEP}
    WHEN pg_is_in_recovery() THEN a.epoch + pg_snapshot_xmin(now)::text::bigint
    ELSE a.epoch + coalesce((
        SELECT min(running::text::bigint) FROM pg_snapshot_xip(now) AS running
        WHERE (running::text::bigint & 4294967295) NOT IN (
            SELECT x.transactionid::text::bigint FROM pg_locks AS x
            WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted AND NOT EXISTS (
                SELECT FROM pg_locks AS w
                WHERE w.virtualtransaction = x.virtualtransaction AND w.relation = 'rstore.stream'::regclass
                    AND w.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
                    AND w.database = (SELECT oid FROM pg_database WHERE datname = current_database())))),
        pg_snapshot_xmax(now)::text::bigint) END
FROM rstore.about AS a, pg_control_system() AS c, pg_current_snapshot() AS now"""

# The end of the write-ahead log is the cheapest sign that nothing new was committed, on a standby too. It misses a
# transaction that has written before and commits only now.
END_OF_WAL: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text"""

# As many records as have some megabytes together: their sizes are known without reading the payloads. Their streams are
# looked up one by one, as above. A record without a stream comes with NULL as its kind: to leave it out would end the
# page early, and hide what follows.
FOLLOW: Final = f"""
SELECT s.kind, s.key, {_OF_R} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY txid, place ROWS UNBOUNDED PRECEDING) - octet_length(data)
        AS before
    FROM (
        SELECT * FROM rstore.record
        WHERE namespace = (SELECT id FROM rstore.namespace WHERE name = %s) AND (txid, place) > (%s, %s) AND txid < %s
        ORDER BY txid, place LIMIT %s) AS page) AS r
LEFT JOIN LATERAL (SELECT kind, key FROM rstore.stream WHERE id = r.stream OFFSET 0) AS s ON true
WHERE r.before < {CHUNK_BYTES} ORDER BY r.txid, r.place"""
