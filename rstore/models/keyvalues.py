"""Key/value pairs: a dict that remembers."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from functools import partial
from itertools import chain
from typing import Any, Final, Self

from rstore.commits import NewCommit
from rstore.core import Core, Reading, ReadSurface, Surface, check_expect, check_key, check_keys, check_one, now
from rstore.domain.log import ALL_VERSIONS, Batch, Entry, Head, Record, Rewrite
from rstore.domain.operators import DELITEM, SETITEM
from rstore.domain.paging import PAGE, newest, pages
from rstore.domain.patterns import Pattern, pattern_of
from rstore.domain.streams import KV, Stream
from rstore.models.spool import Packing, Reiterable, Spool

_PAGE_OF_SETTINGS: Final = 20_000
_ROOM: Final = 32 << 20  # bytes of memory: pairs up to these go into the log at once
_MISSING: Final = object()
_OPS: Final = (SETITEM, DELITEM)


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
        return head is not None and head.live

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
        return self._core.log.count(KV)


class KeyValueWriter(Surface):
    """Writes key/value pairs: what ``MutableMapping`` has besides ``Mapping``."""

    def set(self, key: str, value: Any, *, expect: int | None = None, once: str | None = None) -> None:
        """Store a value. The earlier value stays in the log, unless the store has ``history=False``.

        Args:
            expect: the version that the key must still have, as :meth:`version` returned it; 0 if it must be new.
            once: an idempotency key: a second call with it, for this key, stores nothing.

        Raises:
            StoreConflictError: the key is at another version than expected.

        >>> store.set('some_key', {'any': ['picklable', 'value']})
        >>> store.set('some_key', 'a new one', expect=store.version('some_key', 'kv'))
        """
        set_value(self._core, key, value, check_expect(expect), once)

    def set_many(self, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Store all pairs or nothing, in one transaction. Of pairs with the same key, the last one counts.

        An iterable may be longer than memory holds. Its pairs are sealed one by one, and set aside in a temporary file,
        in the order of their keys, until all of them are known to be good. SQLite and PostgreSQL then take them a page
        at a time. Other backends keep all pairs in memory.

        >>> store.set_many((f'square {n}', n * n) for n in range(1, 4))
        >>> store.find('square *')
        [('square 1', 1), ('square 2', 4), ('square 3', 9)]
        """
        self._core.check_writable()
        with Spool(_SETTINGS, _ROOM) as spool:
            spool.extend(_settings(self._core, pairs, now()))
            settings = spool.items()
            if isinstance(settings, list):
                self._core.append(list({batch.stream: batch for batch in settings}.values()))
            else:
                self._core.append_pages(Reiterable(lambda: pages(_last_of_each(settings), _PAGE_OF_SETTINGS)))

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

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, having stored the default if there was none."""
        stream = Stream(KV, check_key(key))

        def attempt() -> Any:
            record = self._core.log.last((stream,))[0]
            value = _MISSING if record is None else _value(self._core, stream, record, _MISSING)
            if value is not _MISSING:
                return value
            expect = record.version if record else 0
            self._core.append((_setting(self._core, self._core.new_commit(), stream, default, now(), expect),))
            return default

        return self._core.decide(attempt)

    def update(self, other: Any = (), /, **pairs: Any) -> None:
        """Store what a mapping, an iterable of pairs, or keywords hold, in one transaction."""
        self.set_many(chain(_items(other), pairs.items()))

    def clear(self) -> None:
        """Delete all keys, in one transaction. Series and event sequences stay."""
        self._core.check_writable()
        self.delete(*_keys(self._core))

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self


# -- read --------------------------------------------------------------------------------------------------------------


def _value(core: Reading, stream: Stream, record: Record, default: Any, *, load: bool = True) -> Any:
    if record.op == SETITEM and load:
        return core.envelope.value(stream, record)
    op = core.envelope.check_op(stream, record, _OPS)
    core.envelope.check(stream, record)
    return None if op == SETITEM else default


def values_of(core: Reading, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of those keys that there are, in one read."""
    streams = [Stream(KV, key) for key in keys]
    records = core.log.last(streams) if streams else []
    found = {
        stream.key: _value(core, stream, record, _MISSING)
        for stream, record in zip(streams, records, strict=True)
        if record is not None
    }
    return {key: value for key, value in found.items() if value is not _MISSING}


def _keys(core: Reading) -> Iterator[str]:
    return (head.stream.key for head in core.log.heads(KV))


def _pairs(core: Reading, pattern: Pattern | None = None) -> Iterator[tuple[str, Any]]:
    heads = core.log.heads(KV, pattern.prefix if pattern else "")
    keys = (head.stream.key for head in heads if pattern is None or pattern.matches(head.stream.key))
    for page in pages(keys, PAGE, first=1):
        yield from values_of(core, page).items()


# -- write -------------------------------------------------------------------------------------------------------------


def set_value(core: Core, key: str, value: Any, expect: int | None = None, once: str | None = None) -> None:
    """Store a value, if its key is at the version expected."""
    core.check_writable()
    setting = _setting(core, core.new_commit(), Stream(KV, check_key(key)), value, now(), expect)
    if expect is None and once is None:
        core.append((setting,))
    else:
        core.write(setting, once)


def _setting(
    core: Core, commit: NewCommit, stream: Stream, value: Any, recorded: int, expect: int | None = None
) -> Batch:
    body = core.envelope.dump(stream.key, value)
    entry = commit.entry(stream, SETITEM, body, start=0, end=0)
    return Batch(stream, (entry,), recorded, expect, True, not core.history)  # by position: names take longer


def _items(pairs: Any) -> Iterable[tuple[str, Any]]:
    """Return the pairs of what ``dict`` takes: a mapping, an object with ``keys``, or an iterable of pairs."""
    if isinstance(pairs, Mapping):
        return pairs.items()
    return ((key, pairs[key]) for key in pairs.keys()) if hasattr(pairs, "keys") else pairs  # noqa: SIM118


def _settings(core: Core, pairs: Any, recorded: int) -> Iterator[Batch]:
    """Yield the batch that stores a pair, for each of them."""
    commit = core.new_commit()
    for number, pair in enumerate(_items(pairs)):
        try:
            key, value = pair
        except (TypeError, ValueError) as exc:  # as dict raises them
            kind = type(pair).__name__
            raise type(exc)(f"item {number} is no (key, value) pair, but {kind}; nothing is stored") from None
        yield _setting(core, commit, Stream(KV, check_key(key)), value, recorded)


def _packed(batch: Batch) -> tuple[Any, ...]:
    (_, key), (entry,), recorded, _, _, replace, _ = batch
    return key, recorded, replace, *entry


def _unpacked(fields: Sequence[Any]) -> Batch:
    key, recorded, replace, *entry = fields
    return Batch(Stream(KV, key), (Entry._make(entry),), recorded, None, True, replace)


def _size(batch: Batch) -> int:
    (entry,) = batch.entries
    return len(entry.data)


_SETTINGS: Final = Packing(_packed, _unpacked, _size, order=lambda batch: batch.stream.key)


def _last_of_each(settings: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the last batch of each stream, of batches in the order of their streams."""
    last = None
    for batch in settings:
        if last is not None and batch.stream != last.stream:
            yield last
        last = batch
    if last is not None:
        yield last


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
        # what is appended meanwhile is not among the versions that go: the rewrite expects this one
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
        return any(found is value or found == value for found in self)
