"""Digests of texts that other versions of rstore have stored, or send too."""

from __future__ import annotations

from hashlib import sha256
from itertools import product, starmap
from types import ModuleType

from rstore.domain.log import Query
from rstore.domain.streams import ES, KV


def digest(text: object) -> str:
    return sha256(repr(text).encode()).hexdigest()[:16]


def _is_statement(value: object) -> bool:
    return isinstance(value, tuple) or (isinstance(value, str) and " " in value)


def digests_of(statements: ModuleType, selection: ModuleType) -> dict[str, str]:
    """Return a digest of each statement, or tuple of statements, that a module names; and one of the composed ones."""
    named = {
        name: digest(tuple(value) if isinstance(value, tuple) else value)
        for name, value in vars(statements).items()
        if name.isupper() and not name.startswith("_") and _is_statement(value)
    }
    fields = (7,), (9,), (None, "i"), (None, "ab"), (None, 5), (0, 3), *[(False, True)] * 2, (None, 4), (None,)
    queries = starmap(Query, product(*fields))
    composed = [selection.records(kind, 9, mask, 5, query) for kind, mask, query in product((KV, ES), (0, 5), queries)]
    return {**named, "records": digest(composed)}
