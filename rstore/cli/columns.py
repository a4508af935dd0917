"""The columns of commands that show changes, timestamps and operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from rstore.cli.advice import translated
from rstore.cli.output import COUNT, MOMENT, TEXT, Column, Form
from rstore.domain.erasure import OPERATIONS, to_words
from rstore.domain.operators import DELETE, EVENT, EXTEND, OPERATORS, REMOVE
from rstore.domain.streams import TS
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change
from rstore.text.describe import Wording, describe_erasure, describe_points, show_fields, show_stamp, show_unreadable
from rstore.text.times import show_time
from rstore.text.units import Unit
from rstore.text.values import show_value, to_json

WORDING: Final = Wording(advise=translated)
"""Local times, and advice in the words of the command."""


def stamps(unit: Unit | None) -> Form:
    """Return the form of a series' timestamps: times if the series has a unit, else numbers."""
    shown = str if unit is None else lambda timestamp: show_time(unit.to_ms(timestamp))
    return Form(shown, str, lambda timestamp: timestamp, {"no_wrap": True})


STAMP: Final = Form(show_stamp, str, lambda timestamp: timestamp, {"no_wrap": True})
"""The form of a series' timestamp. Programs get the number."""


class Operand(NamedTuple):
    """An operator, and its operand if it takes one."""

    op: str
    value: Any


def _show_operand(operand: Operand) -> str:
    if operand.op == EVENT:
        return show_fields(operand.value)
    return show_value(operand.value) if operand.op != DELETE and OPERATORS[operand.op].binary else ""


OPERAND: Final = Form(_show_operand, _show_operand, lambda operand: to_json(operand.value))


def _show_change(change: Change) -> str:
    if isinstance(change.value, Unreadable):
        return show_unreadable(change.value, WORDING)
    if change.op in OPERATIONS:
        return describe_erasure(change.value)
    return describe_points(change) if change.kind == TS else _show_operand(Operand(change.op, change.value))


def _change_to_json(change: Change) -> Any:
    if isinstance(change.value, Unreadable):
        return {"unreadable": translated(change.value.reason), "error": change.value.error}
    if change.op in OPERATIONS:
        return to_words(change.value)
    if change.op == REMOVE:
        return list(change.value)
    if change.op == EXTEND:
        return [[time, to_json(value)] for time, value in change.value]
    return to_json(change.value)


_VALUE: Final = Form(_show_change, _show_change, _change_to_json)
_MORE: Final = Form(show_value, show_value, to_json)

_COLUMNS: Final[dict[str, tuple[Column, Callable[[Change], Any]]]] = {
    "recorded": (Column("recorded", MOMENT, "cyan"), lambda change: change.recorded),
    "kind": (Column("kind", TEXT, "dim"), lambda change: change.kind),
    "key": (Column("key", TEXT, "yellow"), lambda change: change.key),
    "version": (Column("version", COUNT, "dim"), lambda change: change.version),
    "timestamp": (Column("timestamp", STAMP), lambda change: change.timestamp),
    "item": (Column("item", TEXT, "green"), lambda change: change.item),
    "op": (Column("op"), lambda change: change.op),
    "value": (Column("value", _VALUE), lambda change: change),
    "who": (Column("who", TEXT, "magenta"), lambda change: change.who),
    "why": (Column("why"), lambda change: change.why),
    "more": (Column("more", _MORE), lambda change: change.more or None),
    "did": (Column("did"), lambda change: change.did),
    "arguments": (Column("arguments", _MORE), lambda change: change.arguments),
    "commit": (Column("commit", TEXT, "dim"), lambda change: change.commit),
}

CHANGE_COLUMNS: Final = [column for column, _ in _COLUMNS.values()]


def change_row(change: Change) -> list[Any]:
    """Return the cells of a change, one for each of ``CHANGE_COLUMNS``."""
    return [cell(change) for _, cell in _COLUMNS.values()]
