"""Changes, each described in a line."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rstore.domain.erasure import OPERATIONS, Erasure
from rstore.domain.operators import DELETE, DELITEM, EVENT, OPERATORS, REMOVE, SETITEM, UPDATE_IN, Update
from rstore.domain.streams import ES, TS
from rstore.domain.typed_operators import TypedOperator
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import Change
from rstore.history.commits import Commit
from rstore.repository.events import VERSION
from rstore.text.changes import SIGNS
from rstore.text.times import show_time
from rstore.text.units import recognised
from rstore.text.values import show_text, show_value

_SIGN_OF: Final = {function.__name__: sign for sign, function in SIGNS.items()}
_SHOWN_POINTS: Final = 3
_SHOWN_KEYS: Final = 3


class Wording(NamedTuple):
    """The parts of a text that depend on where it is read.

    Attributes:
        zone: of times; None for the local time zone.
        advise: rewrites the advice in a message of the library, which is meant for programmers.
    """

    zone: datetime.tzinfo | None = None
    advise: Callable[[str], str] = str


LOCAL: Final = Wording()


def describe(change: Change, wording: Wording = LOCAL) -> str:
    """Return one line that says what a change did.

    >>> store.extend('t', (1, 20.5), (2, 21.0))
    >>> _ = store.apply('account', {'balance': 10})
    >>> _ = store.apply('account', {'balance': (operator.add, 5)})
    >>> store.delete_events('account')
    >>> [describe(change) for change in store.log()]
    ['2 points from 1 to 2: 20.5, 21.0', 'balance = 10', 'balance += 5', 'balance deleted', 'deleted']
    """
    if isinstance(change.value, Unreadable):
        return f"{_subject(change)}{change.op} {show_unreadable(change.value, wording)}"
    if change.op in OPERATIONS:
        return f"{change.op}: {describe_erasure(change.value)}"
    if change.kind == TS:
        return describe_points(change, wording)
    if change.op == UPDATE_IN:
        change = _of_part(change)
    operation = _describe_operator(change.op, change.value)
    end = "" if change.until is None else f" until {show_time(change.until, wording.zone)}"
    return operation if change.op == DELETE else f"{_subject(change)}{operation}{end}".rstrip()


def describe_with_key(change: Change, wording: Wording = LOCAL) -> str:
    """Return the same with kind and key in front. An erasure names its keys itself."""
    line = describe(change, wording)
    return line if change.op in OPERATIONS else f"{change.kind} {show_text(change.key)}  {line}"


def describe_decision(commit: Commit) -> str:
    """Return the name of a decision, with its arguments if there are any: ``pay(amount=20.9)``."""
    return f"{show_text(commit.did or '')}({', '.join(_pairs(commit.arguments or {}))})"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{show_text(name)}={show_value(value)}" for name, value in values.items()]


def _subject(change: Change) -> str:
    return f"{show_text(change.item)} " if change.kind == ES else ""


def describe_erasure(erasure: Erasure) -> str:
    """Return a line for the trace of a ``prune``, ``compact`` or ``rekey``."""
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
        return show_fields(value)
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


def show_fields(event: Any) -> str:
    """Return the fields of a domain event. Programs get the version of its class, too."""
    if not isinstance(event, Mapping):  # no repository has stored it
        return show_value(event)
    return " ".join(_pairs({name: value for name, value in event.items() if name != VERSION}))


def describe_points(change: Change, wording: Wording = LOCAL) -> str:
    """Return a line for an ``extend`` or ``remove`` of a series."""
    if change.op == REMOVE:
        first, last = change.value
        return f"removed from {show_stamp(first, wording)} to {show_stamp(last, wording)}"
    count, first, last = len(change.value), change.value[0][0], change.value[-1][0]
    values = [show_value(value) for _, value in change.value[:_SHOWN_POINTS]]
    more = ", ..." if count > _SHOWN_POINTS else ""
    span = (
        f"1 point at {show_stamp(first, wording)}"
        if count == 1
        else f"{count} points from {show_stamp(first, wording)} to {show_stamp(last, wording)}"
    )
    return f"{span}: {', '.join(values)}{more}"


def show_stamp(timestamp: int, wording: Wording = LOCAL) -> str:
    """Return a timestamp of a series as a time if it looks like one, else as a number."""
    unit = recognised(timestamp)
    return str(timestamp) if unit is None else show_time(unit.to_ms(timestamp), wording.zone)


def show_unreadable(value: Unreadable, wording: Wording = LOCAL) -> str:
    """Return the placeholder for a value that can't be read."""
    return f"(unreadable: {show_text(wording.advise(value.reason))})"
