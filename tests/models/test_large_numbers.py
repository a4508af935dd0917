"""Numbers that are too long to be written, and those that are too large to be calculated."""

from __future__ import annotations

import operator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rstore import JsonStore, Store, StoreIntegrityError
from rstore.cli.program import run
from rstore.text.values import LongNumberError, parse_value, show_value, to_json
from tests.conftest import Backend

LONG = 10**5000


def test_a_long_number_comes_back_and_is_shown_for_what_it_is(store: Store) -> None:
    store["n"] = LONG
    store.extend("series", (1, LONG), (2, [LONG]))
    store.apply("account", {"n": LONG}, t=1)
    assert store["n"] == store.range("series")[0][1] == LONG
    assert store.apply("account", {"n": (operator.add, 1)}, t=2) == {"n": LONG + 1}
    assert [change.value for change in store.log(kind="kv")] == [LONG]
    assert "too many digits" in store.history("n")._repr_html_()  # type: ignore[attr-defined]
    assert [show_value(change.value)[:5] for change in store.history("n")] == ["<int "]
    assert to_json([LONG]) == {"repr": "<list with a number of more than 4,300 digits>"}
    assert to_json(10**1000) == 10**1000


def test_the_command_shows_a_long_number_and_refuses_to_take_one_for_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSTORE_DSN", str(tmp_path / "test.db"))
    with Store(tmp_path / "test.db", frozen=False) as store:
        store["n"] = LONG
        store.apply("account", {"n": LONG})
    for words in (("get", "n"), ("log",), ("history", "n"), ("current", "account"), ("events", "account")):
        assert run(words) == 0
        assert run([*words, "--json"]) == 0
        assert capsys.readouterr().out.count("more than 4,300 digits") >= 2
    assert run(("set", "m", "1" * 5000)) in (2, 3)
    assert "5,000 digits" in capsys.readouterr().err
    with Store(tmp_path / "test.db") as store:
        assert "m" not in store
    with pytest.raises(LongNumberError):
        parse_value("[" + "1" * 5000 + "]")


def test_a_json_store_refuses_a_long_number_by_key(backend: Backend) -> None:
    store = backend.store(JsonStore)
    with pytest.raises(ValueError, match="digits") as raised:
        store["n"] = LONG
    assert raised.value.__notes__ == ["rstore: while dumping a value for 'n'; nothing was stored"]
    assert "n" not in store


TOO_LARGE: dict[str, tuple[Any, Any, Any]] = {
    "power": (10, operator.pow, 100_000_000),
    "power of a fraction": (Fraction(3, 2), operator.pow, -100_000_000),
    "shift": (1, operator.lshift, 10**12),
    "text": ("text", operator.mul, 10**9),
    "list": (10**9, operator.mul, [1, 2]),
    "product": (1 << (1 << 23), operator.mul, 1 << (1 << 23) + 1),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_would_take_all_memory_is_refused_before_it_is_calculated(store: Store, name: str) -> None:
    value, op, operand = TOO_LARGE[name]
    store.apply("account", {"n": value}, t=1)
    with pytest.raises(StoreIntegrityError, match=rf"operator.{op.__name__} fails on item 'n' .* 16,777,216 bits"):
        store.apply("account", {"n": (op, operand)}, t=2)
    assert store.current("account") == {"n": value}


@pytest.mark.parametrize(
    ("value", "op", "operand", "result"),
    [
        (1, operator.pow, 10**9, 1),
        (-1, operator.pow, 10**9, 1),
        (0, operator.lshift, 10**12, 0),
        ("", operator.mul, 10**12, ""),
        ("ab", operator.mul, -(10**12), ""),
        (2.0, operator.pow, 10, 1024.0),
        (2, operator.pow, -1, 0.5),
        (3, operator.mul, 4, 12),
        ([1], operator.mul, 2, [1, 1]),
    ],
)
def test_what_stays_small_is_calculated(store: Store, value: Any, op: Any, operand: Any, result: Any) -> None:
    store.apply("account", {"n": value}, t=1)
    assert store.apply("account", {"n": (op, operand)}, t=2) == {"n": result}
