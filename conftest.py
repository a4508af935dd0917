"""Examples in docstrings are tests: this gives them a fresh store."""

from __future__ import annotations

import operator
from contextlib import ExitStack
from typing import Any

from sybil import Sybil
from sybil.parsers.rest import DocTestParser

import rstore


def _setup(namespace: dict[str, Any]) -> None:
    stack = namespace["_stack"] = ExitStack()
    store = stack.enter_context(rstore.Store("memory://", frozen=False))
    namespace.update(vars(rstore), operator=operator, store=store)


def _teardown(namespace: dict[str, Any]) -> None:
    namespace["_stack"].close()


pytest_collect_file = Sybil(
    parsers=[DocTestParser()], patterns=["rstore/**/*.py"], setup=_setup, teardown=_teardown
).pytest()
