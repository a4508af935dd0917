"""Examples in docstrings are tests: this gives each docstring a fresh store."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import pytest

import rstore


@pytest.fixture(autouse=True)
def _names_in_examples(request: pytest.FixtureRequest) -> Iterator[None]:
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    names = request.getfixturevalue("doctest_namespace")
    with rstore.Store("memory://", frozen=False) as store:
        names.update(vars(rstore), operator=operator, store=store)
        yield
