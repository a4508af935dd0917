"""The SQL for PostgreSQL: whether it is still what other versions of rstore have stored and send."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from rstore.adapters.postgresql import selection
from rstore.adapters.postgresql import statements as sql
from tests.support.digests import digests_of

DIGESTS = {
    "APPEND": "b6e280580096f826",
    "APPEND_ONE": "4f087475f7f61e98",
    "ARRIVE": "0695942fbe6dab0b",
    "BEGIN_READ": "8e3f57f125a99ee8",
    "BEGIN_WRITE": "2f91aff71c9b4675",
    "COUNTS": "5cd6bc2603362191",
    "CREATION_LOCK": "2642c725ee28c8c2",
    "DISCARD": "dc2c1cd9cbc83576",
    "END_OF_WAL": "ead1724b9274efe3",
    "FOLLOW": "41921385808c8564",
    "FORGET_STREAMS": "69196ebb900b4c54",
    "HAS_NAMESPACE": "e3550b4b9ae63b6f",
    "HAS_SCHEMA": "9a9e819bdc770753",
    "HEAD": "e6e9061a6708eb2e",
    "HEAD_BY_TIME": "28b9a6bdd102605d",
    "HOLD_NAMESPACE": "bee9f9dc3003dddb",
    "HORIZON": "8d84f7ac13734c36",
    "LAST": "80453a7bf430a846",
    "LAST_OF_ID": "f786560bc0212eed",
    "LAST_OF_MANY": "0e7f538d19e4568d",
    "LIST": "3ac3ba56aa2e2d2d",
    "LIST_BY_TIME": "b61dfe6775bd3b32",
    "LOCK_STREAMS": "fec808ccc1f24578",
    "NAMESPACES": "d2ea00498edf63fd",
    "OPEN_NAMESPACE": "e37f63600cf782a5",
    "PATIENCE": "f66c4b64b48596a7",
    "PLACES": "9b519d03665b7416",
    "PUT": "c2d607359d803827",
    "REDATE": "04ed0fcf97a085ae",
    "REPLAY": "871cf17ef137af94",
    "REPLAY_MANY": "3e672c8355d3ea1b",
    "RESTORE": "87800aacc44e4902",
    "REWRITE": "f936092d4b743298",
    "VACUUM": "984fe03c61d64a5a",
    "VERSION": "45b969e0793477f2",
    "records": "82ccf988e5a1f44b",
}

SCRIPTS = {
    "schema.sql": "a96e4cb1ec270044030344d6a0954fc7447276b9d782291f43fac462079f474f",
    "functions.sql": "32aed891a1e084f23fda23632582f21a19caebf83947e70602035603cd53725c",
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


def test_each_statement_is_what_it_was() -> None:
    """A change is a decision: whether its plan is as good, and whether databases of other versions take it."""
    assert digests_of(sql, selection) == DIGESTS
