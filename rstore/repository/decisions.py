"""Decisions: the changes that a method of a model returns, and how they are recorded as events."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from rstore.domain.errors import StoreIntegrityError, StoreModelError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.names import exact
from rstore.domain.operators import DELITEM, OPERATORS, SETITEM, parse
from rstore.domain.typed_operators import typed_change
from rstore.repository.fields import short_repr
from rstore.repository.mapping import ModelMapping

M = TypeVar("M")

Changes: TypeAlias = Mapping[str, Any]
"""A decision: ``{field: value}`` or ``{field: (operator, value)}``, as for :meth:`Store.apply`."""

Step: TypeAlias = tuple[str, Any]
"""One change of a field: the name of an operator, and its value."""


def steps_of(mapping: ModelMapping[Any], key: str, changes: Changes) -> dict[str, Step]:
    """Return the steps of a decision, by field.

    Raises:
        StoreModelError: it is no mapping, or changes a name that is no field.
        TypeError: an operator is unknown, or has no value; see :func:`rstore.domain.operators.parse`.
    """
    if not isinstance(changes, Mapping):
        raise StoreModelError(key, f"a decision is a mapping of fields, not {type(changes).__name__}")
    for name in changes:
        if name not in mapping.fields:
            raise StoreModelError(
                key,
                f"a decision changes {name!r}, which is no field of {mapping.title}: "
                f"it has {', '.join(mapping.fields)}",
            )
    return {exact(name): parse(name, change) for name, change in changes.items()}


def instance_after(mapping: ModelMapping[M], key: str, instance: M, steps: Mapping[str, Step]) -> M:
    """Return the instance that a decision makes of another, or raise what its class raises."""
    values = mapping.values(instance)
    for name, (op, value) in steps.items():
        try:
            values = dict(fold(EventState(state=values), [Fact(1, 0, name, op, value)]).state)
        except StoreIntegrityError as exc:
            given = f" of {short_repr(value)}" if OPERATORS[op].binary else ""
            problem = f"operator.{op}{given} fails with {type(exc.__cause__).__name__}"
            raise StoreModelError(key, f"field {name!r}: {problem}; nothing was stored") from exc.__cause__
    mapping.check_whole(key, values)
    given_values = {name: values[name] for name in steps if name in values}
    return mapping.make(key, mapping.arguments(values), given_values)


def change_to_record(
    mapping: ModelMapping[M], key: str, state: Mapping[str, Any], name: str, step: Step, instance: M
) -> tuple[Callable[..., Any], Any]:
    """Return the change of an item that records a step: the operator, if it does to the state what it did to the field.

    It does not if the item is not stored yet, since the field has its default or had another name. Nor does it if the
    stored form is of another type, or if the class changed the value. Then the result is recorded.
    """
    (op, value), field = step, mapping.fields[name]
    before = {name: state[name]} if name in state else {}
    if op == DELITEM and before and name not in mapping.upcasted(key, state.keys() - before, state):
        return operator.delitem, None
    result = mapping.stored(key, name, getattr(instance, name), state.get(name))
    if op not in (SETITEM, DELITEM) and before:
        typed = None if field.is_plain else typed_change(getattr(instance, name), op, value)
        stored = typed or (op, value if field.is_plain else mapping.converter.unstructure(value))
        if _gives(before, Fact(1, 0, name, *stored), result):
            return OPERATORS[stored[0]].function, stored[1]
    return operator.setitem, result


def _gives(state: Mapping[str, Any], fact: Fact, result: Any) -> bool:
    """Tell whether an operator, applied to a stored value, gives the result that it gave for an instance."""
    try:
        after = fold(EventState(state=state), [fact]).state[fact.item]
    except StoreIntegrityError:  # the operator fails on stored forms
        return False
    try:
        return type(after) is type(result) and bool(after == result)
    except Exception:  # comparing a user's values may raise anything: arrays do
        return False
