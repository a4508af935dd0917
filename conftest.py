"""Examples in docstrings and documents are tests: this gives them a fresh store, and a folder to write to."""

from __future__ import annotations

import operator
import os
import tempfile
from contextlib import ExitStack
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

import rstore


def _setup(namespace: dict[str, Any]) -> None:
    stack = namespace["_stack"] = ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    stack.callback(os.chdir, os.getcwd())
    os.chdir(folder)
    namespace.update(vars(rstore), operator=operator)


def _setup_docstring(namespace: dict[str, Any]) -> None:
    _setup(namespace)
    namespace["store"] = namespace["_stack"].enter_context(rstore.Store("memory://", frozen=False))


def _teardown(namespace: dict[str, Any]) -> None:
    namespace["_stack"].close()


_docstrings = Sybil(parsers=[DocTestParser()], patterns=["rstore/**/*.py"], setup=_setup_docstring, teardown=_teardown)
_documents = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_setup,
    teardown=_teardown,
)

pytest_collect_file = (_docstrings + _documents).pytest()
