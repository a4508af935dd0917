"""All instances of a repository, also those that can't be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, TypeVar, get_args

from rstore.core import Reading
from rstore.domain.errors import StoreError, StoreModelError
from rstore.domain.event_state import EventState
from rstore.domain.streams import ES
from rstore.models.event_states import UNREADABLE, newest_of_many, state_in
from rstore.repository.mapping import ModelMapping

M = TypeVar("M")

_UNLOADABLE: Final = (StoreModelError, *UNREADABLE)
"""The errors of an instance that can't be loaded. Others are about the whole store."""

Errors: TypeAlias = Literal["raise", "skip", "yield"]
"""How a list treats an instance that can't be loaded: raise its error, skip it, or yield the error in its place."""


def check_errors(errors: Errors) -> Errors:
    """Return a treatment of instances that can't be loaded, or raise if it is none."""
    if errors not in get_args(Errors):
        raise ValueError(f"errors is 'raise', 'skip' or 'yield', not {errors!r}")
    return errors


def instances(core: Reading, mapping: ModelMapping[M], errors: Errors) -> Iterator[tuple[str, M | StoreError]]:
    """Yield the key of each instance, and the instance or its error, in code-point order of the keys."""
    names = (head.stream.key for head in core.log.heads(ES, mapping.prefix))
    for name, found in newest_of_many(core, names, first=1):
        key = name.removeprefix(mapping.prefix)
        for instance in loaded_or_error(mapping, key, found, errors):
            yield key, instance


def loaded_or_error(
    mapping: ModelMapping[M], key: str, found: EventState | StoreError, errors: Errors
) -> tuple[M | StoreError, ...]:
    """Return the instance of a state, or its error; nothing of one that is skipped."""
    try:
        return (mapping.load(key, state_in(found)),)
    except _UNLOADABLE as exc:
        if errors == "raise":
            raise
        return (exc,) if errors == "yield" else ()
