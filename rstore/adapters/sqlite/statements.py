"""The statements for the log in a SQLite file, and what each of them is for. The schema is in ``schema.sql``."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

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

REVIVE: Final = """
INSERT INTO rstore_namespace (name, live) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET live = 1
RETURNING id, floor"""

# Stores that go on with a backup never give out a position that followers of the first file have seen: positions begin
# at the clock, as in schema.sql. Those that the first file gives out later stay far below the clock, unless it writes a
# million records a second.
ADVANCE_POSITIONS: Final = """
UPDATE sqlite_sequence SET seq = max(seq, CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
WHERE name = 'rstore_record'"""


def schema() -> list[str]:
    """Return the statements that make the schema; read at creation only, and so not kept."""
    return files("rstore.adapters.sqlite").joinpath("schema.sql").read_text(encoding="utf-8").split(";\n")
