"""The documentation: its examples run as written, page by page, and the site builds without a warning."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import rstore
from rstore.cli.exit_codes import EXIT_CODES
from rstore.cli.program import program
from rstore.domain.operators import OPERATORS
from rstore.text.changes import parse_changes

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TUTORIAL = "tutorial.md"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if SNIPPET.search(page.read_text("utf-8")))
PAGES.remove(TUTORIAL)  # its snippets go on from its commands
PAGES.remove("howto/web.md")  # test_web.py sends requests to its applications

# By page: code that makes the older files which its snippets read.
BEFORE = {
    "howto/migrating.md": """
import operator, pickle, shelve
from diskcache import Cache
from sqlitedict import SqliteDict
events = [(10, {"balance": (operator.setitem, 10)}), (20, {"balance": (operator.add, 5)})]
series = {"temperature": [(1, 20.5), (2, 21.0)]}
with open("dump.pickle", "wb") as file:
    pickle.dump({"values": {"greeting": "hello"}, "series": series, "sequences": {"account": events}}, file)
with shelve.open("old-shelf") as old:
    old.update({"greeting": "hello", "numbers": [1, 2, 3]})
with SqliteDict("old.sqlite", autocommit=True) as old:
    old["greeting"] = "hello"
with Cache("old-cache") as old:
    old["greeting"] = "hello"
"""
}


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_one_after_the_other(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in [BEFORE.get(page, ""), *SNIPPET.findall((DOCS / page).read_text("utf-8"))]:
        exec(compile(snippet, page, "exec", dont_inherit=True), names)


def test_code_for_other_libraries_is_python() -> None:
    """It does not run here, since they are not installed."""
    page = (DOCS / "howto" / "coming-from.md").read_text("utf-8")
    snippets = re.findall(r'^```python title="(\w+)"\n(.*?)^```$', page, re.DOTALL | re.MULTILINE)
    assert [title for title, _ in snippets] == ["pyeventsourcing", "KurrentDB"]
    for title, snippet in snippets:
        compile(snippet, title, "exec")


def test_each_page_is_in_the_navigation() -> None:
    listed = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text("utf-8"))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """In a copy, since the site is built beside its sources; ``--strict`` fails on links that lead nowhere."""
    for source in (ROOT / "docs", Path(rstore.__file__).parent):  # which may be that of the wheel
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    reference = (tmp_path / "site" / "reference" / "store" / "index.html").read_text("utf-8")
    assert 'id="rstore.Store.range"' in reference
    assert "warning" not in (built.stdout + built.stderr).lower()


MARK = "-- the next command --"
BLOCKS = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?")


def script_of(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a shell script of all commands of a page, each after a line with a mark, and what each should print."""
    lines, expected = [], []
    for language, block in BLOCKS.findall(text):
        if language == "python":
            lines += [f"echo '{MARK}'", f"python - <<'END'\n{block}END"]
            expected.append((block, ""))
            continue
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            lines += [f"echo '{MARK}'", command]
            expected.append((command, output))
    return "\n".join(lines) + "\n", expected


def in_a_terminal(script: str, folder: Path) -> str:
    """Run a shell script in a pseudo-terminal, and return what it shows, without colours."""
    (folder / "script.sh").write_text(script, "utf-8")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RSTORE_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "COLUMNS": "120",
        "TZ": "UTC",
    }
    main, side = pty.openpty()
    with subprocess.Popen(["bash", "-e", "script.sh"], cwd=folder, env=environ, stdout=side, stderr=side) as process:
        os.close(side)
        shown = b""
        while True:
            try:
                piece = os.read(main, 1 << 16)
            except OSError:  # the other side was closed
                break
            shown += piece
    os.close(main)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode().replace("\r\n", "\n"))
    assert process.returncode == 0, text
    return text


def plain(output: str) -> list[str]:
    """Return the lines of an output, without moments and without blanks at their ends."""
    return [MOMENT.sub("MOMENT", line).rstrip() for line in output.rstrip().splitlines()]


@pytest.mark.slow
def test_the_tutorial_shows_what_happens(tmp_path: Path) -> None:
    script, expected = script_of((DOCS / TUTORIAL).read_text("utf-8"))
    _, *outputs = in_a_terminal(script, tmp_path).split(f"{MARK}\n")
    assert len(outputs) == len(expected) > 10
    for (command, output), shown in zip(expected, outputs, strict=True):
        assert plain(shown) == plain(output), command
    assert (tmp_path / "weather.png").read_bytes().startswith(b"\x89PNG")


def test_the_reference_has_each_command_and_each_exit_code() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text("utf-8")
    commands = typer.main.get_command(program()).commands  # type: ignore[attr-defined]  # it is a group
    assert set(commands) == set(re.findall(r"^\| `([\w-]+)` \| .* \| .*rstore .* \|$", page, re.MULTILINE))
    assert {str(code) for code in EXIT_CODES} == set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))


def test_the_reference_has_each_operator_and_how_to_type_it() -> None:
    page = (DOCS / "reference" / "operators.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z_.`, ]+`) \| .* \| `(.+)` \|$", page, re.MULTILINE)
    names = [re.findall(r"[\w.]+", cell) for cell, _ in rows]
    assert sorted(name for each in names for name in each) == sorted(OPERATORS)
    typed = [parse_changes([word.replace("\\|", "|")])["item"][0] for _, word in rows]
    assert typed == [OPERATORS[first].function for first, *_ in names]


def test_a_first_reading_of_the_source_is_a_short_one() -> None:
    _, section = (DOCS / "architecture.md").read_text("utf-8").split("### A first reading\n")
    files = re.findall(r"^\d\. `([\w/]+\.py)`", section, re.MULTILINE)
    assert "domain/log.py" in files
    lines = sum(len((Path(rstore.__file__).parent / file).read_text("utf-8").splitlines()) for file in files)
    assert 1_000 < lines < 1_750, "the page says that it is some 1,500 lines"
