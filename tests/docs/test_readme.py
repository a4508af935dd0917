"""Snippets of the README and of pages that belong to it run as written, on each backend, plain and encrypted."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from vega_datasets import local_data

import rstore
import rstore.store
from rstore.adapters.dsn import open_log
from rstore.domain.log import Connector
from tests.conftest import BACKENDS, KEY
from tests.support.command import run

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/howto/deciding.md",
    "docs/howto/models.md",
    "docs/howto/forgetting.md",
    "docs/howto/personal-data.md",
)


def snippets_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_run_as_written(
    page: str, backend: str, key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:

        @cache
        def a_place_for_each(dsn: str) -> Connector:
            return BACKENDS[backend](tmp_path, stack)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(rstore.store, "open_log", open_log if backend == "sqlite" else a_place_for_each)
        monkeypatch.setattr(rstore.Store, "_key", key)
        names: dict[str, object] = {}
        for snippet in snippets_of(page):
            exec(compile(snippet, page, "exec", dont_inherit=True), names)


def test_there_are_snippets_of_all_three_models_and_of_a_serializer() -> None:
    text = "".join(snippets_of("README.md"))
    for word in ("kv.set(", "ts.extend(", "es.apply(", "class JsonStore(Store)"):
        assert word in text


def test_the_commands_run_one_after_the_other_on_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, block = (ROOT / "README.md").read_text("utf-8").split("$ export RSTORE_DSN=shop.db\n")
    commands, _, _ = block.partition("```")
    (tmp_path / "weather.csv").write_bytes(Path(local_data.seattle_weather.filepath).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSTORE_DSN", "shop.db")

    printed = {}
    for command in commands.replace("postgresql://user@host/db", "elsewhere.db").splitlines():
        _, _, *words = shlex.split(command)
        printed[words[0]] = run(*words)
    assert "130" in printed["apply"]
    assert "the second booking was a mistake" in printed["log"]
    assert (tmp_path / "weather.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "elsewhere.db").exists()
    assert printed["check"] == ""
