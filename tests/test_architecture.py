"""Imports point inwards, the domain is pure, and drivers are imported only when one is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rstore

ROOT = Path(rstore.__file__).parent
DOMAIN = "rstore.domain"
DRIVERS = (
    *("sqlite3", "cryptography", "msgspec", "psycopg", "psycopg_pool", "redis", "cattrs", "asyncio", "typer"),
    *("duckdb", "numpy", "pandas", "polars", "pyarrow", "opentelemetry", "prometheus_client"),
    *("jinja2", "starlette", "uvicorn"),
)
SCREEN = ("typer", "rich", "plotext", "matplotlib")
IMPURE = {
    *("time", "datetime", "random", "secrets", "uuid", "os", "sys", "io", "pathlib", "tempfile", "shutil", "signal"),
    *("socket", "ssl", "select", "subprocess", "threading", "multiprocessing", "asyncio", "concurrent", "sqlite3"),
    *("logging", "pickle", "marshal", "importlib", "ctypes"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
IN_DOMAIN = [name for name in MODULES if name == DOMAIN or name.startswith(f"{DOMAIN}.")]
ADAPTERS = [name for name in MODULES if name.startswith("rstore.adapters.")]


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that are imported anywhere in a file, also inside functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute, so that this test can read them"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [name for name in found if name in MODULES]
            yield from submodules if len(submodules) == len(found) else [str(node.module), *submodules]


def own_imports(name: str) -> set[str]:
    return {imported for imported in imports(MODULES[name]) if imported.split(".")[0] == "rstore"}


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_modules_that_these_rules_are_about_are_there() -> None:
    assert {"rstore.adapters.memory", "rstore.adapters.sqlite.log", "rstore.adapters.redis.cluster.router"} <= set(
        ADAPTERS
    )
    assert {f"{DOMAIN}.log", f"{DOMAIN}.operators", f"{DOMAIN}.event_state", f"{DOMAIN}.series"} <= set(IN_DOMAIN)


def test_imports_are_found_wherever_they_stand() -> None:
    tree = ast.parse("import a.b\nfrom rstore.domain import log\ndef f():\n    from c import d\n    import e as g")
    assert set(imports(tree)) == {"a.b", "rstore.domain.log", "c", "e"}


@pytest.mark.parametrize("name", IN_DOMAIN)
def test_the_domain_imports_only_the_standard_library_attrs_and_itself(name: str) -> None:
    allowed = sys.stdlib_module_names | {"attr", "attrs"}
    assert not [found for found in imports(MODULES[name]) if found.split(".")[0] not in allowed | {"rstore"}]
    assert not [found for found in own_imports(name) if not is_below(found, DOMAIN)]


@pytest.mark.parametrize("name", IN_DOMAIN)
def test_the_domain_reads_no_clock_draws_no_lots_and_opens_nothing(name: str) -> None:
    values = {"datetime"} if name == f"{DOMAIN}.typed_operators" else set()  # it calculates with given times
    assert not {found.split(".")[0] for found in imports(MODULES[name])} & IMPURE - values
    assert not {node.attr for node in ast.walk(MODULES[name]) if isinstance(node, ast.Attribute)} & {"now", "today"}
    called = {node.id for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name)}
    assert not called & {"open", "print", "input", "__import__", "eval", "exec"}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_imports_nothing_of_rstore_but_the_domain_and_the_pool(name: str) -> None:
    own_folder = ".".join(name.split(".")[:3])
    allowed = (
        (DOMAIN, "rstore.adapters.pool", own_folder) if name != "rstore.adapters.dsn" else (DOMAIN, "rstore.adapters")
    )
    assert not [found for found in own_imports(name) if not any(is_below(found, each) for each in allowed)]


def test_only_the_composition_root_knows_the_adapters() -> None:
    knowing = {
        name
        for name in MODULES
        if not is_below(name, "rstore.adapters") and any(is_below(i, "rstore.adapters") for i in own_imports(name))
    }
    assert knowing == {"rstore.store"}


def test_only_cipher_imports_cryptography() -> None:
    importing = {name for name, tree in MODULES.items() if any(is_below(i, "cryptography") for i in imports(tree))}
    assert importing == {"rstore.encoding.cipher"}


def test_only_the_command_knows_of_terminals_and_nobody_knows_the_command() -> None:
    for name, tree in MODULES.items():
        inside = is_below(name, "rstore.cli") or name == "rstore.__main__"
        found = [each for each in imports(tree) if is_below(each, "rstore.cli") or each.split(".")[0] in SCREEN]
        assert inside or not found, (name, found)
    assert {each.split(".")[0] for name in MODULES for each in imports(MODULES[name])} >= set(SCREEN)


def test_the_wall_clock_is_read_in_one_place_and_looked_up_on_its_module() -> None:
    clocks = {"time", "time_ns", "clock_gettime", "clock_gettime_ns"}
    reading = [
        f"{name}:{node.attr}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (isinstance(node.value, ast.Name) and node.value.id == "time" and node.attr in clocks)
    ]
    # a span lies in real time, to the microsecond, also where a test holds the clock
    assert reading == ["rstore.core:time_ns", "rstore.observing.opentelemetry:time_ns"]
    assert not [
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime")
    ]


@pytest.mark.parametrize(
    "use",
    [
        "import rstore",
        "import rstore.adapters.dsn, rstore.domain.log",
        "import rstore; rstore.Store('memory://', frozen=False).open().set('k', 1)",
    ],
)
def test_no_driver_is_imported_before_it_is_needed(use: str) -> None:
    # whatever the interpreter's start has imported (a coverage tracer, say) does not count
    code = f"""
import sys
for name in {DRIVERS!r}:
    sys.modules.pop(name, None)
{use}
print(*[name for name in {DRIVERS!r} if name in sys.modules])
"""
    assert run(code) == ""


def test_the_driver_is_imported_when_it_is_needed() -> None:
    assert run("import sys, rstore; rstore.Store('never-opened.db'); print('sqlite3' in sys.modules)") == "True"


def test_no_module_has_more_than_400_lines_and_no_function_more_than_40() -> None:
    """Docstrings of functions do not count: those of the public surface are pages of the manual."""
    sources = sorted(ROOT.rglob("*.py"))
    assert [path.name for path in sources if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []
    functions = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if lines_of_code(node) > 40] == []


def lines_of_code(node: ast.FunctionDef) -> int:
    first, last = node.body[0], node.end_lineno or node.lineno
    is_documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return last - (first.end_lineno or 0 if is_documented else node.lineno - 1)
