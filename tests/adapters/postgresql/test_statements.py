"""The SQL for PostgreSQL: whether it is still what other versions of rstore have stored and send."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from rstore.adapters.postgresql import statements as sql

SCRIPTS = {
    "schema.sql": "12ce80d30c4e2595ab0ab7d7ce810a88aa19803421889da5feedc776f7a12418",
    "functions.sql": "0a0efb4d65e7d6df90c4edc7cddf9e85cac79241024ac596bd3b700c1caed915",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_what_it_was_but_for_the_comments_around_its_statements(name: str) -> None:
    """The server keeps the bodies of functions, with the comments in them."""
    text = re.sub(r"(?m)^--.*\n", "", sql.script(name)).strip()
    assert sha256(text.encode()).hexdigest() == SCRIPTS[name]


def test_the_numbers_in_the_functions_are_those_in_python() -> None:
    functions = sql.script("functions.sql")
    assert f"epoch = epoch + {sql.EPOCH_STEP}\n" in functions
    assert f"(top / {sql.EPOCH_STEP} + 1) * {sql.EPOCH_STEP}" in functions
    assert functions.count(f"ERRCODE = '{sql.CONFLICT}'") == 2
    assert functions.endswith(f"UPDATE rstore.about SET schema_version = {sql.SCHEMA_VERSION};\n")
