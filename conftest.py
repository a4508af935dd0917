"""Examples in docstrings are tests: this gives those of each class, method and function a store of their own."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.rest import DocTestParser

import rstore


def _begin(namespace: dict[str, Any]) -> None:
    stack = namespace["_stack"] = ExitStack()
    store = stack.enter_context(rstore.Store("memory://", frozen=False))
    namespace.update(vars(rstore), operator=operator, store=store)


def _end(namespace: dict[str, Any]) -> None:
    namespace["_stack"].close()


def _begin_anew(example: Example) -> None:
    _end(example.namespace)
    _begin(example.namespace)


def _docstring(document: Document) -> Iterator[Region]:
    """Yield the beginning of a docstring that has examples: each is given here on its own."""
    if ">>> " in document.text:
        yield Region(0, 0, evaluator=_begin_anew)


pytest_collect_file = Sybil(
    parsers=[DocTestParser(), _docstring], path="rstore", pattern="*.py", setup=_begin, teardown=_end
).pytest()
