"""Changes that depend on the present value: a function of it, or the way back to an earlier one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from rstore.commits import decision_name
from rstore.core import ATTEMPTS, Core, Surface, check_key
from rstore.domain.spans import check_time
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.history.changes import KINDS, check_kind, version_of
from rstore.history.diff import changed_span, difference
from rstore.models.applying import Beside, apply_if, changes_of, delete_sequence
from rstore.models.event_states import State, copied, current_of, current_state, past_of
from rstore.models.extending import overwrite
from rstore.models.keyvalues import delete_value, set_value, values_of
from rstore.models.segments import rows_of
from rstore.tags import moment_of
from rstore.timestamps import Moment
from rstore.transactions import unless_named


class Revision(Surface):
    """Changes values with regard to what they are, or were."""

    def update_with(
        self, key: str, fn: Callable[[Any], Any], default: Any = None, *, kind: str = KV, retries: int = ATTEMPTS
    ) -> Any:
        """Store what ``fn`` returns for a key's value, and return it. A conflict with another writer starts it over.

        Args:
            fn: gets the value, or the default without one. It may be called several times. The changes are a decision
                of its name, unless a :meth:`context` has given one; a lambda has none.
            default: the value for ``fn`` if there is no such key.
            kind: ``kv``; or ``es``: ``fn`` gets the state of an event sequence, ``{}`` if there is none, and returns
                changes for :meth:`apply`, which returns the new state.
            retries: the most times that it starts over.

        Raises:
            StoreConflictError: another writer came in between each time.

        >>> store['stock'] = 3
        >>> store.update_with('stock', lambda n: n - 1)
        2
        """
        if kind not in tuple(_UPDATES):
            raise ValueError(f"kind is one of {', '.join(_UPDATES)}, not {kind!r}")
        attempt = partial(_UPDATES[kind], self._core, check_key(key), fn, default)
        with unless_named(self._core, decision_name(fn)):
            return self._core.decide(attempt, check_time("retries", retries) + 1)

    def revert(self, key: str, t: Moment, kind: str = ES) -> Any:
        """Bring a key back to its state at ``t``, by new changes. Nothing is erased; its history shows this too.

        ``t`` is a valid time for an event sequence, whose state is returned, and a transaction time for a value
        (``kind='kv'``) or a series (``kind='ts'``). At a time before the first change the key is deleted.

        Raises:
            KeyError: there is no such key.

        >>> _ = store.apply('account', {'balance': 10}, t=1)
        >>> _ = store.apply('account', {'balance': 99, 'typo': True}, t=2)
        >>> store.revert('account', 1)
        {'balance': 10}
        """
        key, kind, time = check_key(key), check_kind(kind), moment_of(self._core, t)
        if version_of(self._core, key, kind) == 0:
            others = [each for each in KINDS if version_of(self._core, key, each)]
            raise KeyError(f"{key} (there is a {others[0]} of this name: pass kind={others[0]!r})" if others else key)
        with unless_named(self._core, "revert"):
            return self._core.decide(partial(_REVERTS[kind], self._core, key, time))


def revert_state(core: Core, key: str, time: int, beside: Beside | None = None) -> State:
    """Bring an event sequence back to its state at a valid time; to be tried again after a conflict.

    Args:
        beside: what is stored with the changes.
    """
    version, found, then = version_of(core, key, ES), current_state(core, key), past_of(core, key, time)
    if then is None:
        delete_sequence(core, key, version, beside=beside)
        return {}
    now = {} if found is None else found.state
    back = difference(now, then)
    changes: State = dict.fromkeys(back.removed, (operator.delitem, None))
    for item in (*back.added, *back.changed):
        changes[item] = operator.setitem, then[item]
    return apply_if(core, key, changes.items(), expect=version, beside=beside) if changes else copied(now)


def _update_value(core: Core, key: str, fn: Callable[[Any], Any], default: Any) -> Any:
    head = core.log.head(Stream(KV, key))
    found = values_of(core, [key])
    value = fn(found.get(key, default))
    set_value(core, key, value, expect=head.version if head else 0, end=head.end if head and found else 0)
    return value


def _update_state(core: Core, key: str, fn: Callable[[Any], Any], default: Any) -> Any:
    version = version_of(core, key, ES)
    state = current_of(core, key)
    if state is None:
        state = {} if default is None else default
    return apply_if(core, key, changes_of(fn(state)), expect=version)


_UPDATES: Final[Mapping[str, Callable[..., Any]]] = {KV: _update_value, ES: _update_state}


def _revert_value(core: Core, key: str, time: int) -> None:
    past = core.at(time)
    version, head, then = version_of(core, key, KV), past.log.head(Stream(KV, key)), values_of(past, [key])
    if head is not None and then:
        set_value(core, key, then[key], expect=version, end=head.end)
    else:
        delete_value(core, key, expect=version)


def _revert_series(core: Core, key: str, time: int) -> None:
    version, span = version_of(core, key, TS), changed_span(core, key, time)
    if span is not None:
        stream = Stream(TS, key)
        overwrite(core, stream, *span, rows_of(core.at(time), stream, *span), version)


_REVERTS: Final[Mapping[str, Callable[..., Any]]] = {KV: _revert_value, TS: _revert_series, ES: revert_state}
