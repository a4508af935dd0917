"""Decisions: the changes that a method of a model returns, and how they are recorded as events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rstore.domain.errors import StoreModelError
from rstore.domain.names import exact
from rstore.domain.operators import DELITEM, OPERATORS, RESETS, SETITEM, UPDATE_IN, change_item, parse
from rstore.domain.typed_operators import typed_change
from rstore.repository.faults import is_about_a_value, is_equal
from rstore.repository.fields import short_repr
from rstore.repository.mapping import ModelMapping
from rstore.repository.paths import Path, part_at, path_text, split_name, stored_path, updated

M = TypeVar("M")

Changes: TypeAlias = Mapping[Any, Any]
"""A decision: ``{field: value}`` or ``{field: (operator, value)}``, as for :meth:`Store.apply`.

``'address.city'`` names a part of a field, and so does ``('address', 'city')``: its keys may have dots.
"""

Event: TypeAlias = tuple[str, Any]
"""An operator's name, and its operand as it is stored."""


class Step(NamedTuple):
    """One change of a field, or of the part of it at a path: the name of an operator, and its value."""

    field: str
    path: Path
    op: str
    value: Any


def steps_of(mapping: ModelMapping[Any], key: str, changes: Changes) -> list[Step]:
    """Return the steps of a decision.

    Raises:
        StoreModelError: it changes a name that is no field.
        TypeError: an operator is unknown, or has no value; see :func:`rstore.domain.operators.parse`.
    """
    steps = []
    for name, change in changes.items():
        field, path = split_name(name, mapping.fields)
        if field not in mapping.fields:
            raise StoreModelError(
                key,
                f"a decision changes {name!r}, which is no field of {mapping.title}: "
                f"it has {', '.join(mapping.fields)}",
            )
        steps.append(Step(exact(field), path, *parse(path_text(field, path) if path else field, change)))
    return steps


def instance_after(mapping: ModelMapping[M], key: str, instance: M, steps: Iterable[Step]) -> M:
    """Return the instance that a decision makes of another, or raise what its class raises."""
    values, changed = mapping.values(instance), []
    for step in steps:
        changed.append(step.field)
        _change(mapping, key, values, step)
    mapping.check_whole(key, values)
    decided_values = {name: values[name] for name in changed if name in values}
    return mapping.make(key, mapping.arguments(values), decided_values)


def _change(mapping: ModelMapping[Any], key: str, values: dict[str, Any], step: Step) -> None:
    """Change the value of a field among those of an instance."""
    field, path, op, value = step
    try:
        if path:
            values[field] = updated(values[field], path, op, value)
        else:
            change_item(values, field, op, value)
    except Exception as exc:  # whatever an operator raises on a user's values, or the class of a part
        if not is_about_a_value(exc):
            raise
        name = path_text(field, path)
        if path and not isinstance(exc, AttributeError | TypeError | ArithmeticError | LookupError):
            exc.add_note(f"rstore: field {name!r} of {mapping.title} {key!r}; nothing was stored")
            raise
        operand = f" of {short_repr(value)}" if OPERATORS[op].binary else ""
        reason = f": {exc}" if path else ""
        problem = f"operator.{op}{operand} fails with {type(exc).__name__}{reason}"
        raise StoreModelError(key, f"field {name!r}: {problem}; nothing was stored") from exc


def changes_to_record(
    mapping: ModelMapping[M], key: str, state: Mapping[str, Any], steps: Iterable[Step], instance: M
) -> list[tuple[str, Any]]:
    """Return the changes of items that record the steps to an instance.

    They are the operators, if these do to the state what they did to the instance. They don't if an item is not stored
    yet, since the field has its default or had another name. Nor do they if a stored form is of another type, or if the
    class changed the value. Then the result is recorded.
    """
    of_fields: dict[str, list[Step]] = {}
    for step in steps:
        of_fields.setdefault(step.field, []).append(step)
    return [
        (field, (OPERATORS[op].function, operand))
        for field, those in of_fields.items()
        for op, operand in _events(mapping, key, state, those, instance)
    ]


def _events(
    mapping: ModelMapping[M], key: str, state: Mapping[str, Any], steps: Sequence[Step], instance: M
) -> list[Event]:
    """Return the events that record the steps of one field."""
    field, path, op, _ = steps[0]
    before = {field: state[field]} if field in state else {}
    if op == DELITEM and not path and before and field not in mapping.upcasted(key, state.keys() - before, state):
        return [(DELITEM, None)]
    value = getattr(instance, field)
    result = mapping.stored(key, field, value, state.get(field))
    if before and all(step.path or step.op not in RESETS for step in steps):
        for change in (_as_decided, _as_set):
            try:
                events = [change(mapping, before[field], value, result, step) for step in steps]
                if _make(before, field, events, result):
                    return events
            except (
                Exception
            ) as exc:  # the stored form has other parts, or a converter or operator takes no such operand
                if not is_about_a_value(exc):
                    raise
    return [(SETITEM, result)]


def _as_decided(mapping: ModelMapping[Any], before: Any, value: Any, result: Any, step: Step) -> Event:
    """Return the event that does to a stored form what a step does to a value."""
    field, path, op, operand = step
    if op == SETITEM:
        return _as_set(mapping, before, value, result, step)
    if op == DELITEM:
        return _at(_stored_path(mapping, before, step), (DELITEM, None))
    is_plain = mapping.fields[field].is_plain
    typed = None if is_plain else typed_change(part_at(value, path), op, operand)
    stored = typed or (op, operand if is_plain else mapping.converter.unstructure(operand))
    return _at(path and _stored_path(mapping, before, step), stored)


def _as_set(mapping: ModelMapping[Any], before: Any, _: Any, result: Any, step: Step) -> Event:
    """Return the event that sets a part to its final value; a field that was deleted, to its default."""
    path = _stored_path(mapping, before, step)
    return _at(path, (SETITEM, part_at(result, tuple(path))))


def _stored_path(mapping: ModelMapping[Any], before: Any, step: Step) -> list[Any]:
    return stored_path(before, step.path, lambda key: mapping.converter.unstructure(key) if mapping.converter else key)


def _at(path: Sequence[Any], event: Event) -> Event:
    return (UPDATE_IN, [list(path), *event]) if path else event


def _make(state: Mapping[str, Any], item: str, events: Iterable[Event], result: Any) -> bool:
    """Tell whether events make of a stored value what the steps made of the value of an instance.

    Raises:
        Exception: whatever an operator raises on stored forms.
    """
    values = dict(state)
    for op, operand in events:
        change_item(values, item, op, operand)
    after = values[item]
    return type(after) is type(result) and is_equal(after, result)
