"""Changes, described in one line of the log or in the columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rstore.cli.advice import translated
from rstore.cli.changes import SIGNS
from rstore.cli.output import COUNT, MOMENT, TEXT, Column, Form
from rstore.cli.times import show_time
from rstore.cli.units import Unit, recognised
from rstore.cli.values import show_text, show_value, to_json
from rstore.domain.erasure import OPERATIONS, Erasure, to_words
from rstore.domain.operators import DELETE, DELITEM, EVENT, EXTEND, OPERATORS, REMOVE, SETITEM, UPDATE_IN, Update
from rstore.domain.streams import ES, TS
from rstore.domain.typed_operators import TypedOperator
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change
from rstore.history.commits import Commit
from rstore.repository.events import VERSION

_SIGN_OF: Final = {function.__name__: sign for sign, function in SIGNS.items()}
_SHOWN_POINTS: Final = 3
_SHOWN_KEYS: Final = 3


def describe(change: Change) -> str:
    """Return one line that says what a change did.

    >>> store.extend('t', (1, 20.5), (2, 21.0))
    >>> _ = store.apply('account', {'balance': 10})
    >>> _ = store.apply('account', {'balance': (operator.add, 5)})
    >>> store.delete_events('account')
    >>> [describe(change) for change in store.log()]
    ['2 points from 1 to 2: 20.5, 21.0', 'balance = 10', 'balance += 5', 'balance deleted', 'deleted']
    """
    if isinstance(change.value, Unreadable):
        return f"{_subject(change)}{change.op} {show_unreadable(change.value)}"
    if change.op in OPERATIONS:
        return f"{change.op}: {_describe_erasure(change.value)}"
    if change.kind == TS:
        return _describe_points(change)
    if change.op == UPDATE_IN:
        change = _of_part(change)
    operation = _describe_operator(change.op, change.value)
    end = "" if change.until is None else f" until {show_time(change.until)}"
    return operation if change.op == DELETE else f"{_subject(change)}{operation}{end}".rstrip()


def describe_with_key(change: Change) -> str:
    """Return the same with kind and key in front. An erasure names its keys itself."""
    line = describe(change)
    return line if change.op in OPERATIONS else f"{change.kind} {show_text(change.key)}  {line}"


def describe_decision(commit: Commit) -> str:
    """Return the name of a decision, with its arguments if there are any: ``pay(amount=20.9)``."""
    return f"{show_text(commit.did or '')}({', '.join(_pairs(commit.arguments or {}))})"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{show_text(name)}={show_value(value)}" for name, value in values.items()]


def _subject(change: Change) -> str:
    return f"{show_text(change.item)} " if change.kind == ES else ""


def _describe_erasure(erasure: Erasure) -> str:
    if erasure.records is None or erasure.bytes is None:
        return "records are encrypted with another key"
    records = _counted(erasure.records, "record")
    keys = list(dict.fromkeys(each.key for each in erasure.streams))
    shown = ", ".join(map(show_text, keys[:_SHOWN_KEYS])) + (", ..." if len(keys) > _SHOWN_KEYS else "")
    size = _counted(erasure.bytes, "byte")
    return f"{records}, {size}, erased of {_counted(len(keys), 'key')}: {shown}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _describe_operator(op: str, value: Any) -> str:
    if op == SETITEM:
        return f"= {show_value(value)}"
    if op in (DELITEM, DELETE):
        return "deleted"
    if op == EVENT:
        return _show_fields(value)
    function = OPERATORS[op].function
    if isinstance(function, TypedOperator):
        return _describe_typed(function, value)
    if op in _SIGN_OF:
        return f"{_SIGN_OF[op]}= {show_value(value)}"
    return f"{op} {show_value(value)}" if OPERATORS[op].binary else op


def _of_part(change: Change) -> Change:
    """Return an update of a part as a change of that part: ``address.city = Graz``."""
    try:
        path, op, operand = Update.of(change.value)
    except ValueError:  # another program has stored it: the fold refuses it, and the log shows it
        return change
    return change._replace(item=".".join(map(str, (change.item, *path))), op=op, value=operand)


def _describe_typed(function: TypedOperator, value: Any) -> str:
    sign = f"{_SIGN_OF[function.operator]}=" if function.operator in _SIGN_OF else function.operator
    if not function.is_binary:
        return sign
    try:
        return f"{sign} {show_text(function.operand_text(value))}"
    except (TypeError, ValueError, ArithmeticError):  # of another program: the fold refuses it, and the log shows it
        return f"{function.__name__} {show_value(value)}"


def _show_fields(event: Any) -> str:
    """Return the fields of a domain event. Programs get the version of its class, too."""
    if not isinstance(event, Mapping):  # no repository has stored it
        return show_value(event)
    return " ".join(_pairs({name: value for name, value in event.items() if name != VERSION}))


def _describe_points(change: Change) -> str:
    if change.op == REMOVE:
        first, last = change.value
        return f"removed from {show_stamp(first)} to {show_stamp(last)}"
    count, first, last = len(change.value), change.value[0][0], change.value[-1][0]
    values = [show_value(value) for _, value in change.value[:_SHOWN_POINTS]]
    more = ", ..." if count > _SHOWN_POINTS else ""
    span = (
        f"1 point at {show_stamp(first)}"
        if count == 1
        else f"{count} points from {show_stamp(first)} to {show_stamp(last)}"
    )
    return f"{span}: {', '.join(values)}{more}"


def show_stamp(timestamp: int) -> str:
    """Return a timestamp of a series as a time if it looks like one, else as a number."""
    unit = recognised(timestamp)
    return str(timestamp) if unit is None else show_time(unit.to_ms(timestamp))


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
        return _show_fields(operand.value)
    return show_value(operand.value) if operand.op != DELETE and OPERATORS[operand.op].binary else ""


OPERAND: Final = Form(_show_operand, _show_operand, lambda operand: to_json(operand.value))


def show_unreadable(value: Unreadable) -> str:
    """Return the placeholder for a value that can't be read."""
    return f"(unreadable: {show_text(translated(value.reason))})"


def _show_change(change: Change) -> str:
    if isinstance(change.value, Unreadable):
        return show_unreadable(change.value)
    if change.op in OPERATIONS:
        return _describe_erasure(change.value)
    return _describe_points(change) if change.kind == TS else _show_operand(Operand(change.op, change.value))


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
