"""Key/value pairs: a dict that remembers."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from functools import partial
from itertools import chain
from typing import Any, Final, Self

from rstore.commits import NewCommit
from rstore.core import Core, Reading, ReadSurface, Surface, check_expect, check_key, check_keys, check_one, now
from rstore.domain.log import ALL_VERSIONS, Batch, Head, Record, Rewrite
from rstore.domain.operators import DELITEM, SET_UNTIL, SETITEM
from rstore.domain.paging import PAGE, newest, pages
from rstore.domain.patterns import Pattern, pattern_of
from rstore.domain.rules import has_expired, is_there
from rstore.domain.streams import EXPIRY, KV, Stream
from rstore.models.expiry import Seconds, end_of, marks
from rstore.models.settings import SETTINGS, last_of_each, pairs_in
from rstore.models.spool import Reiterable, Spool
from rstore.timestamps import Moment

_PAGE_OF_SETTINGS: Final = 20_000
_ROOM: Final = 32 << 20  # bytes of memory: pairs up to these go into the log at once
_MISSING: Final = object()
_OPS: Final = (SETITEM, SET_UNTIL, DELITEM)


class KeyValueReader(ReadSurface, Mapping[str, Any]):
    """Reads key/value pairs: the whole of ``Mapping``, and calls that handle many keys at once.

    Keys are str of at most 1024 bytes in UTF-8 and are listed in code-point order. Values are
    anything that the serializer takes, None included.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if there is none.

        >>> store.get('unknown', 0)
        0
        """
        stream = Stream(KV, check_key(key))
        record = self._core.log.last((stream,))[0]
        return default if record is None else _value(self._core, stream, record, default)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return ``{key: value}`` of those keys that there are.

        In one consistent read; on a Redis Cluster, in one of each partition.

        >>> store.set_many({'a': 1, 'b': 2})
        >>> store.get_many(['a', 'b', 'c'])
        {'a': 1, 'b': 2}
        """
        if isinstance(keys, str):
            raise TypeError("get_many takes several keys: write [key], or use get")
        return values_of(self._core, map(check_key, keys))

    def has(self, key: str) -> bool:
        """Tell whether there is such a key."""
        head = self._core.log.head(Stream(KV, check_key(key)))
        return head is not None and is_there(head, self._core.moment())

    def expiry(self, key: str) -> int | None:
        """Return the time from which on the value of a key no longer holds, in POSIX milliseconds.

        None if it has no end, or if there is no such key.

        >>> store.set('session', 'ada', until=4102444800000)
        >>> store.expiry('session'), store.expiry('unknown')
        (4102444800000, None)
        """
        head = self._core.log.head(Stream(KV, check_key(key)))
        if head is None or not head.end or not is_there(head, self._core.moment()):
            return None
        return head.end + 1

    def keys(self) -> list[str]:  # type: ignore[override]
        """Return all keys, in code-point order. Iterating over the store does the same lazily."""
        return list(_keys(self._core))

    def items(self) -> ItemsView[str, Any]:
        """Return a view of ``(key, value)`` pairs, which are read in pages as it is iterated over."""
        return _Items(self, self._core)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, which are read in pages as it is iterated over."""
        return _Values(self, self._core)

    def find(self, pattern: str | None = None) -> list[tuple[str, Any]]:
        """Return ``(key, value)`` of the keys that match a pattern as a whole; of all without one.

        ``*``, ``?`` and ``[...]`` are as in fnmatch, all else is literal. The text before the first of them is looked
        up in the index.

        >>> store.set_many({'user:ada': 1, 'user:bob': 2, 'zone': 3})
        >>> store.find('user:*')
        [('user:ada', 1), ('user:bob', 2)]
        """
        if pattern is None:
            return list(_pairs(self._core))
        return list(_pairs(self._core, pattern_of(check_key(pattern))))

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return self.has(key)  # type: ignore[arg-type]  # has() raises with what is wrong with the key

    def __iter__(self) -> Iterator[str]:
        return _keys(self._core)

    def __len__(self) -> int:
        number, marked = self._core.log.counts((KV, EXPIRY.kind))
        return sum(1 for _ in _keys(self._core)) if marked else number


class KeyValueWriter(Surface):
    """Writes key/value pairs: what ``MutableMapping`` has besides ``Mapping``."""

    def set(
        self,
        key: str,
        value: Any,
        *,
        expect: int | None = None,
        once: str | None = None,
        ttl: Seconds | None = None,
        until: Moment | None = None,
    ) -> None:
        """Store a value. The earlier value stays in the log, unless the store has ``history=False``.

        A value with ``ttl`` or ``until`` has an end. From then on no read finds it, as if it were deleted; but nothing
        is appended, so no follower sees its end. ``compact`` erases it. A view of the past shows the value of its time.

        Args:
            expect: the version that the key must still have, as :meth:`version` returned it; 0 if it must be new.
            once: an idempotency key: a second call with it, for this key, stores nothing.
            ttl: how long the value holds: seconds, or a timedelta.
            until: the time from which on it no longer holds, instead of ``ttl``.

        Raises:
            StoreConflictError: the key is at another version than expected.
            TypeError, ValueError: there are ``ttl`` and ``until``, or one of them is no length or no time.

        >>> store.set('some_key', {'any': ['picklable', 'value']})
        >>> store.set('some_key', 'a new one', expect=store.version('some_key', 'kv'))
        """
        set_value(self._core, key, value, check_expect(expect), once, end_of(ttl, until))

    def set_many(
        self,
        pairs: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        ttl: Seconds | None = None,
        until: Moment | None = None,
    ) -> None:
        """Store all pairs or nothing, in one transaction. Of pairs with the same key, the last one counts.

        An iterable may be longer than memory holds. Its pairs are sealed one by one, and wait in a temporary file, in
        the order of their keys. When all are known to be good, SQLite and PostgreSQL take them a page at a time. Other
        backends keep all pairs in memory. All have the same end, if one is given: see :meth:`set`.

        >>> store.set_many((f'square {n}', n * n) for n in range(1, 4))
        >>> store.find('square *')
        [('square 1', 1), ('square 2', 4), ('square 3', 9)]
        """
        self._core.check_writable()
        recorded, end = now(), end_of(ttl, until)
        with Spool(SETTINGS, _ROOM) as spool:
            spool.extend(_settings(self._core, pairs, recorded, end))
            settings, marked = spool.items(), marks(self._core, recorded) if end else ()
            if isinstance(settings, list):
                settings = list({batch.stream: batch for batch in settings}.values())
                self._core.append([*settings, *marked] if settings else ())
            else:
                parts = Reiterable(lambda: chain(marked, last_of_each(settings)))
                self._core.append_pages(Reiterable(lambda: pages(parts, _PAGE_OF_SETTINGS)))

    def delete(self, *keys: str, expect: int | None = None) -> None:
        """Delete keys, all in one transaction; unknown ones are passed over.

        Args:
            expect: the version that the key must still have; there is one key then.

        Raises:
            StoreConflictError: the key is at another version than expected.
        """
        self._core.check_writable()
        streams = [Stream(KV, key) for key in check_keys(keys)]
        _delete(self._core, streams, check_one(check_expect(expect), streams))

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if self._core.decide(partial(_take, self._core, Stream(KV, check_key(key)), load=False)) is _MISSING:
            raise KeyError(key)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Delete a key and return its value; the default, or KeyError without one, if there is none."""
        value = self._core.decide(partial(_take, self._core, Stream(KV, check_key(key))))
        if value is not _MISSING:
            return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[str, Any]:
        """Delete a key and return it with its value; KeyError if there is none."""
        for key in _keys(self._core):
            value = self._core.decide(partial(_take, self._core, Stream(KV, key)))
            if value is not _MISSING:
                return key, value
        raise KeyError("the store has no keys")

    def setdefault(
        self, key: str, default: Any = None, *, ttl: Seconds | None = None, until: Moment | None = None
    ) -> Any:
        """Return the value of a key, having stored the default if there was none, with an end if one is given."""
        stream, end = Stream(KV, check_key(key)), end_of(ttl, until)

        def attempt() -> Any:
            record = self._core.log.last((stream,))[0]
            value = _MISSING if record is None else _value(self._core, stream, record, _MISSING)
            if value is not _MISSING:
                return value
            expect = record.version if record else 0
            setting = _setting(self._core, self._core.new_commit(), stream, default, now(), expect, end)
            self._core.append((setting, *(marks(self._core, setting.recorded) if end else ())))
            return default

        return self._core.decide(attempt)

    def update(self, other: Any = (), /, **pairs: Any) -> None:
        """Store the pairs of a mapping, an iterable or keywords, in one transaction."""
        self.set_many(chain(pairs_in(other), pairs.items()))

    def clear(self) -> None:
        """Delete all keys, in one transaction. Series and event sequences stay."""
        self._core.check_writable()
        self.delete(*(head.stream.key for head in self._core.log.heads(KV)))  # also those whose values have expired

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self


# -- read --------------------------------------------------------------------------------------------------------------


def _value(core: Reading, stream: Stream, record: Record, default: Any, *, load: bool = True) -> Any:
    op = record.op
    if op != SETITEM:
        op = core.envelope.check_op(stream, record, _OPS)
    if op == DELITEM or (op == SET_UNTIL and has_expired(record, core.moment())):
        core.envelope.check(stream, record)
        return default
    if load:
        return core.envelope.value(stream, record)
    core.envelope.check(stream, record)
    return None


def values_of(core: Reading, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of those keys that there are, in one read."""
    streams = [Stream(KV, key) for key in keys]
    records = core.log.last(streams) if streams else []
    values = {
        stream.key: _value(core, stream, record, _MISSING)
        for stream, record in zip(streams, records, strict=True)
        if record is not None
    }
    return {key: value for key, value in values.items() if value is not _MISSING}


def _keys(core: Reading) -> Iterator[str]:
    moment = core.moment()
    return (head.stream.key for head in core.log.heads(KV) if not has_expired(head, moment))


def _pairs(core: Reading, pattern: Pattern | None = None) -> Iterator[tuple[str, Any]]:
    moment = core.moment()
    heads = (head for head in core.log.heads(KV, pattern.prefix if pattern else "") if not has_expired(head, moment))
    keys = (head.stream.key for head in heads if pattern is None or pattern.matches(head.stream.key))
    for page in pages(keys, PAGE, first=1):
        yield from values_of(core, page).items()


# -- write -------------------------------------------------------------------------------------------------------------


def set_value(
    core: Core, key: str, value: Any, expect: int | None = None, once: str | None = None, end: int = 0
) -> None:
    """Store a value, if its key is at the version expected. If it has an end, that is the last time at which it holds.

    Its span then begins at 0, as that of all values. So an index has the values of a key in order of their versions.
    """
    core.check_writable()
    setting = _setting(core, core.new_commit(), Stream(KV, check_key(key)), value, now(), expect, end)
    marked = marks(core, setting.recorded) if end else ()
    if expect is None and once is None:
        core.append((setting, *marked))
    else:
        core.write(setting, once, marked)


def _setting(
    core: Core, commit: NewCommit, stream: Stream, value: Any, recorded: int, expect: int | None = None, end: int = 0
) -> Batch:
    body = core.envelope.dump(stream.key, value)
    entry = commit.entry(stream, SET_UNTIL if end else SETITEM, body, start=0, end=end)
    return Batch(stream, (entry,), recorded, expect, True, not core.history)  # by position: names take longer


def _settings(core: Core, pairs: Any, recorded: int, end: int = 0) -> Iterator[Batch]:
    """Yield the batch that stores a pair, for each of them."""
    commit = core.new_commit()
    for number, pair in enumerate(pairs_in(pairs)):
        try:
            key, value = pair
        except (TypeError, ValueError) as exc:  # as dict raises them
            kind = type(pair).__name__
            raise type(exc)(f"item {number} is no (key, value) pair, but {kind}; nothing is stored") from None
        yield _setting(core, commit, Stream(KV, check_key(key)), value, recorded, end=end)


def delete_value(core: Core, key: str, expect: int) -> None:
    """Delete a key that is at the version expected."""
    _delete(core, [Stream(KV, key)], expect)


def _delete(core: Core, streams: Sequence[Stream], expect: int | None) -> None:
    if core.history or core.active.get() is not None:
        commit = core.new_commit()
        core.append([_deletion(core, commit, stream, expect)._replace(if_live=True) for stream in streams])
    else:
        core.writer.ensure_check_value(now())
        core.base.rewrite([Rewrite(stream, expect, ALL_VERSIONS, live=False) for stream in streams])


def delete_values(core: Core, heads: Sequence[Head]) -> None:
    """Delete keys that are at the versions of these heads, in the transaction around this."""
    for _ in newest(core.log, (head.stream for head in heads)):
        pass  # the transaction has seen the versions of many at once then, and asks for none by itself
    commit = core.new_commit()
    core.append([_deletion(core, commit, head.stream, head.version) for head in heads])


def _deletion(core: Core, commit: NewCommit, stream: Stream, expect: int | None = None) -> Batch:
    entry = commit.entry(stream, DELITEM, start=0, end=0)
    return Batch(stream, (entry,), now(), expect, live=False, replace=not core.history)


def _take(core: Core, stream: Stream, *, load: bool = True) -> Any:
    """Delete a key and return its value, or None if it is not to be loaded; ``_MISSING`` if there is no such key."""
    record = core.log.last((stream,))[0]
    value = _MISSING if record is None else _value(core, stream, record, _MISSING, load=load)
    if record is None or value is _MISSING:
        return _MISSING
    if core.history or core.active.get() is not None:
        core.append((_deletion(core, core.new_commit(), stream, record.version),))
    else:
        core.writer.ensure_check_value(now())
        # a value that is appended meanwhile does not go: the rewrite expects this version
        core.base.rewrite([Rewrite(stream, record.version, range(record.version + 1), live=False)])
    return value


class _Items(ItemsView[str, Any]):
    def __init__(self, mapping: Mapping[str, Any], core: Reading) -> None:
        super().__init__(mapping)
        self._core = core

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _pairs(self._core)


class _Values(ValuesView[Any]):
    def __init__(self, mapping: Mapping[str, Any], core: Reading) -> None:
        super().__init__(mapping)
        self._core = core

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _pairs(self._core))

    def __contains__(self, value: object) -> bool:
        return any(own is value or own == value for own in self)
