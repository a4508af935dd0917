"""The statements for the log in PostgreSQL. Tables and functions are in ``schema.sql`` and ``functions.sql``.

Writes call those functions. A function decides on the server whether the stream is there and at the version that its
writer expects, so each write is one round trip. Its statements are planned once in a session, also behind a pooler
that can't prepare any.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

SCHEMA_VERSION: Final = 3

EPOCH_STEP: Final = 1 << 40
"""What a fencing epoch adds to transaction ids and versions: more than any server gives out. A million epochs fit."""

CONFLICT: Final = "RS409"
"""The code of our own error: a stream is not at the version that its writer expects."""

UPGRADES: Final[Mapping[int, str]] = {
    1: "ALTER TABLE rstore.about ADD COLUMN timeline text COLLATE \"C\" NOT NULL DEFAULT '';",
    2: "",  # only functions have changed
}
"""What to do to the tables of an earlier schema version, before the functions are replaced."""

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


def script(name: str) -> str:
    """Return the text of a SQL file of this folder; read at creation only, and so not kept."""
    return files("rstore.adapters.postgresql").joinpath(name).read_text(encoding="utf-8")
