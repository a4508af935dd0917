"""The history of a key, and that of the namespace: changes, or commits of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, overload

from rstore.commits import DID
from rstore.core import Reading, ReadSurface, check_key
from rstore.domain.erasure import ERASURES, place
from rstore.domain.log import Query, Record
from rstore.domain.names import exact
from rstore.domain.streams import ES, Stream
from rstore.domain.transaction import PROVISIONAL
from rstore.history.changes import (
    KINDS,
    Change,
    StreamFilter,
    change_of,
    check_kind,
    note_of,
    selected_change,
    stream_filter,
    version_of,
)
from rstore.history.commits import By, Commit, by_commit, check_by
from rstore.history.diff import Diff, difference, states_at
from rstore.html import Listed, counted, moment, table
from rstore.tags import moment_of
from rstore.timestamps import Moment


class History(Listed[Change]):
    """The changes of a key, as :meth:`Store.history` returns them: a list, and in notebooks a table."""

    def _repr_html_(self) -> str:
        header = ("recorded", "kind", "timestamp", "item", "op", "value", "who", "why")
        return table(counted(len(self), "change"), header, self, _cells)


def _cells(change: Change) -> Sequence[Any]:
    recorded = moment(change.recorded)
    return recorded, change.kind, change.timestamp, change.item, change.op, change.value, change.who, change.why


class HistoryReader(ReadSurface):
    """Reads what was changed, by whom and why."""

    def version(self, key: str, kind: str = ES) -> int:
        """Return the version of a key's event sequence, or its ``kv`` or ``ts``: what ``expect`` compares with.

        It is 0 if the key never had one, and that of the deletion if it was deleted. A write inside a transaction gets
        a version that holds only there.

        >>> store.version('unknown')
        0
        """
        return version_of(self._core, check_key(key), check_kind(kind))

    @overload
    def history(self, key: str, kind: str | None = None, *, by: Literal["change"] = "change") -> list[Change]: ...
    @overload
    def history(self, key: str, kind: str | None = None, *, by: Literal["commit"]) -> list[Commit]: ...
    def history(self, key: str, kind: str | None = None, *, by: By = "change") -> list[Change] | list[Commit]:
        """Return all changes of a key in the order in which they were stored; of one kind, or of all that it has.

        Args:
            by: ``commit`` returns :class:`rstore.Commit` instead: what was stored together, with its words.

        >>> with store.context(who='ada', did='open'):
        ...     _ = store.apply('account', {'owner': 'Ada', 'balance': 0})
        >>> [(commit.did, len(commit.changes)) for commit in store.history('account', by='commit')]
        [('open', 2)]
        >>> store['price'] = 10
        >>> with store.context(who='ada', why='typing error'):
        ...     store['price'] = 11
        >>> [(change.op, change.value, change.who, change.why) for change in store.history('price')]
        [('setitem', 10, None, None), ('setitem', 11, 'ada', 'typing error')]
        """
        grouped = check_by(by)
        kinds = list(KINDS) if kind is None else [check_kind(kind)]
        name = check_key(key)
        streams = [Stream(each, name) for each in kinds]
        found = [(record, stream) for stream in streams for record in self._core.log.read(stream)]
        changes = [change_of(self._core, stream, record) for record, stream in _in_order(found)]
        erasures = list(_erasures_of(self._core, name, kind))
        # an erasure comes last in its millisecond: the records that it took away were there before
        shown = sorted([*changes, *erasures], key=attrgetter("recorded")) if erasures else changes
        return list(by_commit(shown)) if grouped else History(shown)

    @overload
    def log(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        who: str | None = None,
        *,
        did: str | None = None,
        more: Mapping[str, Any] | None = None,
        by: Literal["change"] = "change",
    ) -> Iterator[Change]: ...
    @overload
    def log(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        who: str | None = None,
        *,
        did: str | None = None,
        more: Mapping[str, Any] | None = None,
        by: Literal["commit"],
    ) -> Iterator[Commit]: ...
    def log(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        who: str | None = None,
        *,
        did: str | None = None,
        more: Mapping[str, Any] | None = None,
        by: By = "change",
    ) -> Iterator[Change] | Iterator[Commit]:
        """Yield the changes of the whole namespace in the order of the log, lazily.

        Args:
            since, until: only changes that were stored from then to then, both inclusive.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            who, did, more: only changes with these words, as :meth:`Store.context` attached them; and changes whose
                words cannot be read. ``more`` names the others: ``{'request': '4711'}``.
            by: ``commit`` yields :class:`rstore.Commit` instead. On a Redis Cluster, the changes of an append to
                several keys may come as several commits with one id, since each partition has a log of its own.

        A value that cannot be read is an :class:`Unreadable`: its class is gone, say, or the key was not used.
        """
        grouped = check_by(by)
        low = None if since is None else moment_of(self._core, since, "since", up=True)
        high = None if until is None else moment_of(self._core, until, "until")
        given = {"who": who, DID: did, **(more or {})}
        words = {
            word: exact(value) if isinstance(value, str) else value
            for word, value in given.items()
            if value is not None
        }
        changes = _logged(self._core, low, high, stream_filter(kind, prefix), words)
        return by_commit(changes) if grouped else changes

    def diff(self, key: str, t1: Moment, t2: Moment, kind: str = ES) -> Diff:
        """Return the differences between two states of a key.

        The states of an event sequence are those of two valid times, by item. Those of a value (``kind='kv'``) or a
        series (``kind='ts'``) are those known at two transaction times, by key or by timestamp.

        >>> _ = store.apply('account', {'owner': 'Ada', 'balance': 10}, t=1)
        >>> _ = store.apply('account', {'balance': 15, 'limit': 5}, t=2)
        >>> store.diff('account', 1, 2)
        Diff(added={'limit': 5}, removed={}, changed={'balance': (10, 15)})
        """
        first, second = moment_of(self._core, t1), moment_of(self._core, t2)
        return difference(*states_at(self._core, check_kind(kind), check_key(key), first, second))


def _in_order(found: list[tuple[Record, Stream]]) -> list[tuple[Record, Stream]]:
    """Return the records of a key in the order in which they were stored; those of a transaction come last."""
    found.sort(key=lambda each: each[0].version)
    if len({stream for _, stream in found}) < 2:
        return found
    # the versions of two streams tell nothing of their order: by these, what one append wrote would be torn apart
    stored = [each for each in found if each[0].version < PROVISIONAL]
    stored.sort(key=lambda each: each[0].position)
    stored.sort(key=lambda each: each[0].recorded)
    return stored + found[len(stored) :]


def _erasures_of(core: Reading, key: str, kind: str | None) -> Iterator[Change]:
    at, one = place(key), StreamFilter(kind, key, is_key=True)
    for record in sorted(core.log.read(ERASURES, Query(at, at)), key=attrgetter("version")):
        change = selected_change(core, one, ERASURES, record)
        if change is not None:
            yield change


def _logged(
    core: Reading, low: int | None, high: int | None, streams: StreamFilter, words: Mapping[str, Any]
) -> Iterator[Change]:
    for _, stream, record in core.log.follow():
        if (low is not None and record.recorded < low) or (high is not None and record.recorded > high):
            continue
        if words and not (streams.may_have(stream) and _has_words(core, stream, record, words)):
            continue
        change = selected_change(core, streams, stream, record)
        if change is not None:
            yield change


def _has_words(core: Reading, stream: Stream, record: Record, words: Mapping[str, Any]) -> bool:
    """Tell whether the note of a record has some words, or cannot be read."""
    note, error = note_of(core, stream, record)
    return error is not None or all(note.get(word) == value for word, value in words.items())
