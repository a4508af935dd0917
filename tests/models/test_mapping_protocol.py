"""A Store passes what CPython asks of every mapping."""

from __future__ import annotations

import unittest
from itertools import count

import pytest

from rstore import Store
from tests.conftest import Backend

mapping_tests = pytest.importorskip(
    "test.mapping_tests", reason="this Python comes without its own tests (on Debian they are in libpython3-testsuite)"
)

PROMISES = unittest.TestLoader().getTestCaseNames(mapping_tests.BasicTestMappingProtocol)


@pytest.mark.parametrize("promise", PROMISES)
def test_a_store_keeps_the_mapping_protocol(backend: Backend, key: str | None, promise: str) -> None:
    numbers = count()

    class StoreAsMapping(mapping_tests.BasicTestMappingProtocol):
        def _empty_mapping(self) -> Store:
            return backend.store(key=key, namespace=f"empty {next(numbers)}")

    StoreAsMapping(promise).debug()


def test_there_are_promises_to_keep() -> None:
    assert {"test_read", "test_write", "test_update", "test_pop", "test_popitem"} <= set(PROMISES)
