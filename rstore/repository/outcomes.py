"""The outcomes of deciders (changes, events, instances, or lists of these), and the changes to record for them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from rstore.domain.errors import StoreModelError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.operators import parse
from rstore.history.diff import difference
from rstore.repository.decisions import Changes, changes_to_record, instance_after, steps_of
from rstore.repository.events import EventTypes
from rstore.repository.mapping import Made, ModelMapping

M = TypeVar("M")


class Decided(NamedTuple):
    """The records of a decision, and the values that it gives to fields.

    Attributes:
        changes: pairs of an item and its change, or of a domain event and its fields, as
            :func:`rstore.models.applying.apply_if` takes them.
        values: those of the decided fields, after the decision.
    """

    changes: list[tuple[str, Any]]
    values: dict[str, Any]


def decided(
    mapping: ModelMapping[M],
    events: EventTypes,
    key: str,
    state: Mapping[str, Any],
    instance: M,
    outcome: object,
    made: Made,
) -> Decided:
    """Return the changes to record for an outcome. Each part of a list is applied to what those before have made.

    Args:
        state: the stored state of the instance.
        instance: the decider got another one of the same state, and may have changed that.
        made: the values that were made of parts of the state.
    """
    decision, changed = Decided([], {}), instance
    parts = outcome if isinstance(outcome, list | tuple) else (outcome,)
    for part in parts:
        event = events.by_class.get(type(part))
        if event is None:
            changes = _changes_in(mapping, key, instance, part)
        else:
            decision.changes.append((event.name, event.stored(key, part)))
            own = mapping.load(key, state, made=made)  # what the event does to it is no change
            changes = _changes_in(mapping, key, changed, event.changes(part, own))
        if not changes:
            continue
        steps = steps_of(mapping, key, changes)
        changed = instance_after(mapping, key, changed, steps)
        records = changes_to_record(mapping, key, state, steps, changed)
        decision.changes.extend(records)
        decision.values.update((step.field, getattr(changed, step.field)) for step in steps)
        if len(parts) > 1:
            state = _state_after(state, records)
    return decision


def _changes_in(mapping: ModelMapping[M], key: str, before: M, part: object) -> Changes:
    """Return the changes that one part of an outcome stands for. An instance stands for the fields that differ.

    Raises:
        StoreModelError: it is neither changes nor an instance.
    """
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
