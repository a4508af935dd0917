"""What a decider returns (changes, events, instances, or a list of these), and the changes to record for it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from rstore.domain.errors import StoreModelError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.operators import parse
from rstore.history.diff import difference
from rstore.models.event_states import copied
from rstore.repository.decisions import Changes, changes_to_record, instance_after, steps_of
from rstore.repository.events import EventTypes
from rstore.repository.mapping import ModelMapping

M = TypeVar("M")


class Decided(NamedTuple):
    """What is recorded of a decision.

    Attributes:
        changes: items or domain events, and what becomes of each, as :func:`rstore.models.applying.apply_if` takes it.
        values: those that the decided fields have afterwards.
    """

    changes: list[tuple[str, Any]]
    values: dict[str, Any]


def decided(
    mapping: ModelMapping[M], events: EventTypes, key: str, state: Mapping[str, Any], given: M, outcome: object
) -> Decided:
    """Return what is recorded of an outcome. Each part of a list is applied to what those before have made.

    Args:
        state: the stored state of the instance.
        given: the instance. The decider got another one, and may have changed that.
    """
    found, instance = Decided([], {}), given
    is_list = isinstance(outcome, list | tuple)
    for part in outcome if is_list else (outcome,):  # type: ignore[attr-defined]
        event, before = events.by_class.get(type(part)), given
        if event is not None:
            found.changes.append((event.name, event.stored(key, part)))
            before, part = instance, event.changes(part, mapping.load(key, copied(state)))  # noqa: PLW2901
        steps = steps_of(mapping, key, _changes_in(mapping, key, before, part))
        if not steps:
            continue
        instance = instance_after(mapping, key, instance, steps)
        records = changes_to_record(mapping, key, state, steps, instance)
        found.changes.extend(records)
        found.values.update((step.field, getattr(instance, step.field)) for step in steps)
        if is_list:
            state = _state_after(state, records)
    return found


def _changes_in(mapping: ModelMapping[M], key: str, before: M, part: object) -> Changes:
    """Return the changes that one part of an outcome stands for. An instance stands for the fields that differ."""
    if part is None:
        return {}
    if isinstance(part, Mapping):
        return part
    if isinstance(part, mapping.model):
        changed = difference(mapping.values(before), mapping.values(part)).changed
        return {name: (operator.setitem, value) for name, (_, value) in changed.items()}
    title, module = type(part).__name__, type(part).__module__
    hint = "" if module == "builtins" else f"; if it is an event, name its class in Repository(..., events=[{title}])"
    raise StoreModelError(key, f"a decision is a mapping of fields, not {title}{hint}")


def _state_after(state: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> Mapping[str, Any]:
    return fold(EventState(state=state), [Fact(0, 0, name, *parse(name, change)) for name, change in changes]).state
