"""The tables of values, events, states, changes and commits: their columns, and how the log is read for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from rstore.commits import DID
from rstore.core import Reading
from rstore.domain.erasure import ERASURES, Erasure, place
from rstore.domain.errors import StoreError
from rstore.domain.event_state import loaded
from rstore.domain.log import Query, Record
from rstore.domain.operators import DELITEM, EVENTS, OF_NO_ITEM, SET_UNTIL, SETITEM
from rstore.domain.paging import PAGE, newest, pages
from rstore.domain.rules import has_expired
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, Stream
from rstore.encoding.unreadable import Unreadable
from rstore.history.changes import KINDS, Change, StreamFilter, change_of, note_of, selected_change
from rstore.history.commits import by_commit
from rstore.models.event_states import newest_of_many
from rstore.sql.kinds import INT, JSON, MOMENT, NOTHING, TEXT, Kind
from rstore.sql.pushed import Bound, Pushed
from rstore.sql.tables import Chunk, Columns, FixedTable, Lost, Row, Table, few_keys, in_columns, is_key, keys_in

_ALL: Final = StreamFilter()
_NOTE: Final = frozenset({"who", "why", "did"})


# -- values -----------------------------------------------------------------------------------------------------------


def _values(core: Reading, pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Row]:
    if set(wanted) <= {"key"}:
        yield from (((key, None, None, None, None, None), len(key)) for key in keys_in(core, KV, pushed.of("key")))
        return
    moment = core.moment()
    for stream, record in _newest_values(core, pushed.of("key")):
        op = core.envelope.check_op(stream, record, (SETITEM, SET_UNTIL, DELITEM))
        if op == DELITEM or has_expired(record, moment):
            core.envelope.check(stream, record)
            continue
        value = _load(core, stream, record, wanted, lost)
        who, why, _ = _note_words(core, stream, record, wanted, lost)
        yield (stream.key, value, record.recorded, record.version, who, why), len(record.data)


def _newest_values(core: Reading, bound: Bound) -> Iterator[tuple[Stream, Record]]:
    chosen = few_keys(bound)
    keys = keys_in(core, KV, bound) if chosen is None else iter(chosen)
    for page in pages((Stream(KV, key) for key in keys), PAGE, first=1):
        found = zip(page, newest(core.log, page), strict=True)
        yield from ((stream, record) for stream, record in found if record is not None)


def _load(core: Reading, stream: Stream, record: Record, wanted: Columns, lost: Lost) -> Any:
    """Return the value of a record if it is wanted. If not, verify the record without loading it."""
    if "value" in wanted:
        return lost.value(partial(core.envelope.value, stream, record))
    core.envelope.check(stream, record)
    return None


def _note_words(core: Reading, stream: Stream, record: Record, wanted: Columns, lost: Lost) -> tuple[Any, Any, Any]:
    """Return who, why and did, if one of them is wanted."""
    if not _NOTE & set(wanted):
        return None, None, None
    note, error = note_of(core, stream, record)
    lost.count += error is not None
    return note.get("who"), note.get("why"), note.get(DID)


# -- events and states ------------------------------------------------------------------------------------------------


def _events(core: Reading, pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Row]:
    query = _event_query(pushed)
    for key in keys_in(core, ES, pushed.of("key"), live=False):
        stream = Stream(ES, key)
        for record in core.log.read(stream, query):
            op = core.envelope.check_op(stream, record, EVENTS)
            if op in OF_NO_ITEM:
                core.envelope.check(stream, record)
                continue
            value = _load(core, stream, record, wanted, lost)
            words = _note_words(core, stream, record, wanted, lost)
            yield (key, record.start, record.item, op, value, record.recorded, *words), len(record.data)


def _event_query(pushed: Pushed) -> Query:
    """Return a query for the events that a filter may let through. The times of the filter are in microseconds."""
    times, items = pushed.of("t"), [item for item in pushed.of("item").values or () if is_key(item)]
    low = TIME_MIN if times.low is None else times.low // 1000
    high = TIME_MAX if times.high is None else times.high // 1000
    return Query(low, high, item=items[0] if len(items) == 1 else None)


def _states(core: Reading, pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Row]:
    for key, found in newest_of_many(core, keys_in(core, ES, pushed.of("key")), first=1):
        if isinstance(found, StoreError):
            raise found
        for item, value in found.state.items():
            yield (key, item, lost.value(partial(loaded, value)) if "value" in wanted else None), 0


# -- changes and commits ----------------------------------------------------------------------------------------------


def _changes(core: Reading, pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Row]:
    for change, size in _read_changes(core, pushed, load="value" in wanted):
        value = change.value
        if isinstance(value, Unreadable):
            lost.count += 1
            value = None
        elif isinstance(value, Erasure):
            value = value._asdict() | {"streams": [each._asdict() for each in value.streams]}
        yield change._replace(value=value), size


def _read_changes(core: Reading, pushed: Pushed, *, load: bool) -> Iterator[tuple[Change, int]]:
    recorded, kinds, keys = (pushed.of(name) for name in ("recorded", "kind", "key"))
    for stream, record in _records(core, kinds, keys):
        if not (_ALL.may_have(stream) and recorded.has(record.recorded * 1000)):
            continue
        if stream == ERASURES:
            change = selected_change(core, _ALL, stream, record)
        elif kinds.has(stream.kind) and keys.has(stream.key):
            change = change_of(core, stream, record, load=load)
        else:
            continue
        if change is not None:
            yield change, len(record.data)


def _records(core: Reading, kinds: Bound, keys: Bound) -> Iterator[tuple[Stream, Record]]:
    """Yield the records of the namespace; of a few keys, only theirs, and the erasures that may be about them."""
    chosen = few_keys(keys)
    if chosen is None or "" in chosen:  # an erasure of several keys has an empty one
        yield from ((stream, record) for _, stream, record in core.log.follow())
        return
    for stream in (Stream(kind, key) for key in chosen for kind in KINDS if kinds.has(kind)):
        yield from ((stream, record) for record in core.log.read(stream))
    for at in {place(key) for key in chosen}:
        yield from ((ERASURES, record) for record in core.log.read(ERASURES, Query(at, at)))


def _commits(core: Reading, pushed: Pushed, _: Columns, __: Lost) -> Iterator[Row]:
    recorded = Pushed({"recorded": pushed.of("recorded")})  # the only condition that all changes of a commit share
    for each in by_commit(change for change, _ in _read_changes(core, recorded, load=False)):
        words = each.who, each.why, each.did, each.arguments, each.more
        yield (each.id, each.recorded, *words, len(each.changes)), 0


# -- all of them ------------------------------------------------------------------------------------------------------

ReadRows: TypeAlias = Callable[[Reading, Pushed, Columns, Lost], Iterator[Row]]

_WHO: Final = {"who": TEXT, "why": TEXT}
_ROWS: Final[Mapping[str, tuple[Mapping[str, Kind], ReadRows]]] = {
    "kv": ({"key": TEXT, "value": NOTHING, "recorded": MOMENT, "version": INT, **_WHO}, _values),
    "events": (
        {
            "key": TEXT,
            "t": MOMENT,
            "item": TEXT,
            "op": TEXT,
            "value": NOTHING,
            "recorded": MOMENT,
            **_WHO,
            "did": TEXT,
        },
        _events,
    ),
    "states": ({"key": TEXT, "item": TEXT, "value": NOTHING}, _states),
    "changes": (
        {
            "recorded": MOMENT,
            "timestamp": INT,
            "item": TEXT,
            "op": TEXT,
            "value": NOTHING,
            **_WHO,
            "version": INT,
            "kind": TEXT,
            "key": TEXT,
            "more": JSON,
            "did": TEXT,
            "arguments": JSON,
            "commit": TEXT,
            "until": MOMENT,
        },
        _changes,
    ),
    "commits": (
        {"id": TEXT, "recorded": MOMENT, **_WHO, "did": TEXT, "arguments": JSON, "more": JSON, "changes": INT},
        _commits,
    ),
}
"""The tables whose rows are records, by name: their columns, and the function that reads them."""

NAMES: Final = tuple(_ROWS)


def record_table(core: Reading, name: str) -> Table:
    """Return one of the tables whose rows are records."""
    columns, read = _ROWS[name]

    def chunks(pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Chunk]:
        return in_columns(read(core, pushed, wanted, lost), columns, wanted)

    return FixedTable(columns, chunks)
