"""Instances as they were at earlier versions, folded forward from one version to the next."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import Final

from attrs import Factory, define

from rstore.core import Reading
from rstore.domain.errors import StorePayloadError
from rstore.domain.event_state import EventState, fold
from rstore.domain.log import Query, Record
from rstore.domain.rules import folded_version
from rstore.domain.streams import ES, SS, Stream
from rstore.history.messages import oldest
from rstore.models.event_states import State, copied, facts_of

_KEPT: Final = 1_024
_AHEAD: Final = 256
_AHEAD_BYTES: Final = 1 << 16


@define(eq=False)
class _Folded:
    """The state of a sequence at a version, and the records after that up to version ``end``, in order of versions."""

    state: EventState
    end: int
    ahead: list[Record] = Factory(list)


@define(eq=False)
class EarlierStates:
    """States of event sequences at versions of the past, for a reader that goes through the log once.

    By version, and not by time: two commits may share a millisecond, and one may come in late. The states of the
    sequences that were used last are kept, each with some records that follow: the next version needs no read then.
    Reads pass by all transactions: the past does not change.
    """

    core: Reading
    _kept: OrderedDict[str, _Folded] = Factory(OrderedDict)

    def at(self, key: str, version: int) -> State | None:
        """Return the state that the records up to a version make; None if there was none, or it was deleted.

        The log shows all records up to that version already.

        Raises:
            StorePayloadError: a value of it can't be loaded.
            StoreIntegrityError: what it builds on was pruned.
        """
        folded = self._kept.pop(key, None)
        if folded is None or folded.state.version > version or not self._go_on(key, folded, version):
            folded = self._begun(key, version)
            if not self._go_on(key, folded, version):
                folded = _Folded(self._anew(key, version), version)
        self._kept[key] = folded
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return copied(folded.state.state) if folded.state.lives else None

    def _go_on(self, key: str, folded: _Folded, version: int) -> bool:
        """Fold the next records, up to a version. Return false if one of them is of an earlier time than the state."""
        stream = Stream(ES, key)
        while True:
            due = list(takewhile(lambda record: record.version <= version, folded.ahead))
            times = [record.start for record in due]
            if times != sorted(times) or (due and folded.state.time is not None and times[0] < folded.state.time):
                return False
            folded.state = fold(folded.state, facts_of(self.core, stream, due))
            del folded.ahead[: len(due)]
            if folded.ahead or folded.end >= version:
                return True
            records = self.core.base.read(stream, Query(after=folded.end))
            folded.ahead, more = oldest(records, _AHEAD, _AHEAD_BYTES)
            last = folded.ahead[-1].version if folded.ahead else 0
            folded.end = last if more else max(last, version)

    def _begun(self, key: str, version: int) -> _Folded:
        """Return the newest snapshot up to a version, or the beginning."""
        snapshots = Stream(SS, key)
        for record in self.core.base.read(snapshots, Query(reverse=True)):
            folded = folded_version(record)
            if folded <= version:
                try:
                    state = self.core.envelope.state(snapshots, record)
                except StorePayloadError as exc:
                    if not exc.is_genuine:
                        raise
                    continue  # a class of its values is gone, and its events are all there
                return _Folded(EventState(folded, record.start, state), folded)
        return _Folded(EventState(), 0)

    def _anew(self, key: str, version: int) -> EventState:
        """Fold all records up to a version in the order of their times."""
        stream = Stream(ES, key)
        records = (record for record in self.core.base.read(stream) if record.version <= version)
        return fold(EventState(), facts_of(self.core, stream, records))
