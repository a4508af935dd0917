"""The key/value face of a Store: a dict that remembers."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, Sequence, ValuesView
from fnmatch import translate
from functools import partial, reduce
from itertools import islice
from typing import Any, Final, Self

from rstore.core import Face, check_expect, check_key, check_keys, check_one, now
from rstore.domain.erasure import Plan, sized
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Head, Record, Rewrite, Saved
from rstore.domain.operators import DELITEM, SETITEM
from rstore.domain.paging import pages
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import KV, Stream
from rstore.erasures import Eraser

_PAGE: Final = 256
_MISSING: Final = object()
_OPS: Final = (SETITEM, DELITEM)
_WILDCARDS: Final = re.compile(r"[*?[]")


class KeyValues(Face, MutableMapping[str, Any]):
    """Key/value pairs: the whole of ``MutableMapping``, and calls that handle many keys at once.

    Keys are str of at most 1024 bytes in UTF-8 and are listed in code-point order. Values are whatever the
    serializer takes, None included.
    """

    # -- read ---------------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if there is none.

        >>> store.get('unknown', 0)
        0
        """
        stream = Stream(KV, check_key(key))
        record = self._log.last((stream,))[0]
        return default if record is None else self._value(stream, record, default)

    def _value(self, stream: Stream, record: Record, default: Any, *, load: bool = True) -> Any:
        op = self._payload.check_op(stream, record, _OPS)
        if op == SETITEM and load:
            return self._payload.value(stream, record)
        self._payload.check(stream, record)
        return None if op == SETITEM else default

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return ``{key: value}`` of those keys that there are.

        In one consistent read; on a Redis Cluster, in one of each partition.

        >>> store.set_many({'a': 1, 'b': 2})
        >>> store.get_many(['a', 'b', 'c'])
        {'a': 1, 'b': 2}
        """
        if isinstance(keys, str):
            raise TypeError("get_many takes several keys: write [key], or use get")
        streams = [Stream(KV, check_key(key)) for key in keys]
        records = self._log.last(streams) if streams else []
        found = {
            stream.key: self._value(stream, record, _MISSING)
            for stream, record in zip(streams, records, strict=True)
            if record is not None
        }
        return {key: value for key, value in found.items() if value is not _MISSING}

    def has(self, key: str) -> bool:
        """Tell whether there is such a key."""
        head = self._log.head(Stream(KV, check_key(key)))
        return head is not None and head.live

    def keys(self) -> list[str]:  # type: ignore[override]
        """Return all keys, in code-point order. Iterating over the store does the same lazily."""
        return list(iter(self))  # of the store itself, list would ask for the length first

    def items(self) -> ItemsView[str, Any]:
        """Return a view of ``(key, value)`` pairs, which are read in pages as it is iterated over."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, which are read in pages as it is iterated over."""
        return _Values(self)

    def find(self, pattern: str | None = None) -> list[tuple[str, Any]]:
        """Return ``(key, value)`` of the keys that match a pattern as a whole; of all without one.

        ``*``, ``?`` and ``[...]`` are as in fnmatch, all else is literal. What stands before the first of them is
        looked up in the index.

        >>> store.set_many({'user:ada': 1, 'user:bob': 2, 'zone': 3})
        >>> store.find('user:*')
        [('user:ada', 1), ('user:bob', 2)]
        """
        if pattern is None:
            return list(self._pairs())
        pattern = check_key(pattern)
        prefix = _WILDCARDS.split(pattern, maxsplit=1)[0]
        return list(self._pairs(prefix, re.compile(translate(pattern))))

    def _pairs(self, prefix: str = "", pattern: re.Pattern[str] | None = None) -> Iterator[tuple[str, Any]]:
        heads = self._log.heads(KV, prefix)
        keys = (head.stream.key for head in heads if pattern is None or pattern.match(head.stream.key))
        size = 1  # pages grow: who wants only the first pair does not pay for more
        while page := list(islice(keys, size)):
            yield from self.get_many(page).items()
            size = min(2 * size, _PAGE)

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return self.has(key)  # type: ignore[arg-type]  # has() says what is wrong with it

    def __iter__(self) -> Iterator[str]:
        return (head.stream.key for head in self._log.heads(KV))

    def __len__(self) -> int:
        return self._log.count(KV)

    # -- write --------------------------------------------------------------------------------------------------------

    def set(self, key: str, value: Any, *, expect: int | None = None, once: str | None = None) -> None:
        """Store a value. What the key had before stays in the log (unless the store has ``history=False``).

        Args:
            expect: the version that the key must still have, as :meth:`version` returned it; 0 if it must be new.
            once: a token; whatever is done again with it, for this key, has been done already.

        Raises:
            StoreConflictError: the key is at another version than expected.

        >>> store.set('some_key', {'any': ['picklable', 'value']})
        >>> store.set('some_key', 'a new one', expect=store.version('some_key', 'kv'))
        """
        setting = self._setting(key, value, check_expect(expect))
        if expect is None and once is None:
            self._append((setting,))
        else:
            self._write(setting, once)

    def set_many(self, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Store all pairs or nothing, in one transaction."""
        self._check_writable()
        last = {check_key(key): value for key, value in dict(pairs).items()}
        self._append([self._setting(key, value) for key, value in last.items()])

    def _setting(self, key: str, value: Any, expect: int | None = None) -> Batch:
        stream = Stream(KV, check_key(key))
        self._check_writable()
        body = self._payload.dump(key, value)
        entry = self._entry(stream, SETITEM, body, start=0, end=0)
        return Batch(stream, (entry,), now(), expect, replace=not self._history)

    def delete(self, *keys: str, expect: int | None = None) -> None:
        """Delete keys, all in one transaction; unknown ones are passed over.

        Args:
            expect: the version that the key must still have; there is one key then.

        Raises:
            StoreConflictError: the key is at another version than expected.
        """
        self._check_writable()
        streams = [Stream(KV, key) for key in check_keys(keys)]
        version = check_one(check_expect(expect), streams)
        if self._history or self._work.get() is not None:
            self._append([self._deletion(stream, version)._replace(if_live=True) for stream in streams])
        else:
            self._writer.settle(now())
            self._base.rewrite([Rewrite(stream, version, range(TIME_MAX), live=False) for stream in streams])

    def _deletion(self, stream: Stream, expect: int | None = None) -> Batch:
        entry = self._entry(stream, DELITEM, start=0, end=0)
        return Batch(stream, (entry,), now(), expect, live=False, replace=not self._history)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if self._decide(partial(self._take, Stream(KV, check_key(key)), load=False)) is _MISSING:
            raise KeyError(key)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Delete a key and return its value; the default, or KeyError without one, if there is none."""
        value = self._decide(partial(self._take, Stream(KV, check_key(key))))
        if value is not _MISSING:
            return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def _take(self, stream: Stream, *, load: bool = True) -> Any:
        """Delete a key and return its value, or None without a look at it; ``_MISSING`` if there is no such key."""
        record = self._log.last((stream,))[0]
        value = _MISSING if record is None else self._value(stream, record, _MISSING, load=load)
        if record is None or value is _MISSING:
            return _MISSING
        if self._history or self._work.get() is not None:
            self._append((self._deletion(stream, record.version),))
        else:
            self._writer.settle(now())
            self._base.rewrite([_erasure(stream, record.version)])
        return value

    def popitem(self) -> tuple[str, Any]:
        """Delete a key and return it with its value; KeyError if there is none."""
        for key in self:
            value = self._decide(partial(self._take, Stream(KV, key)))
            if value is not _MISSING:
                return key, value
        raise KeyError("the store has no keys")

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, having stored the default if there was none."""
        stream = Stream(KV, check_key(key))

        def attempt() -> Any:
            record = self._log.last((stream,))[0]
            value = _MISSING if record is None else self._value(stream, record, _MISSING)
            if value is not _MISSING:
                return value
            self._append((self._setting(key, default, expect=record.version if record else 0),))
            return default

        return self._decide(attempt)

    def update(self, other: Any = (), /, **pairs: Any) -> None:
        """Store what a mapping, an iterable of pairs, or keywords hold, in one transaction."""
        self.set_many(dict(other, **pairs))

    def clear(self) -> None:
        """Delete all keys, in one transaction. Series and event sequences stay."""
        self._check_writable()
        self.delete(*self)

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    # -- compact ------------------------------------------------------------------------------------------------------

    def _compact_keys(self, eraser: Eraser, before: int | None) -> Saved:
        """Keep only the last value of each key, and nothing of deleted ones; or that of a time, and all after it."""
        return eraser.erase_all((plan, partial(self._forget, plan.rewrites)) for plan in self._plans_of_keys(before))

    def _plans_of_keys(self, before: int | None) -> Iterator[Plan]:
        for page in pages(self._log.heads(KV, live=False), _PAGE):
            present = {head.stream: head.version for head in page}
            then = page if before is None else self._heads_at(page, before)
            dead = [head for head in then if not head.live and head.version == present[head.stream]]
            rewrites = [
                _erasure(head.stream, head.version)
                if head in dead
                else Rewrite(head.stream, None, range(head.version + (not head.live)), moves=False)
                for head in then
            ]
            gone = {
                rewrite.stream: sized(each for each in self._log.read(rewrite.stream) if each.version in rewrite.drop)
                for rewrite in rewrites
            }
            yield Plan([each for each in rewrites if gone[each.stream] or each.live is False], gone)

    def _heads_at(self, heads: list[Head], moment: int) -> list[Head]:
        """Return the heads of keys as they were at a time."""
        lasts = zip(heads, self._log.last([head.stream for head in heads], moment), strict=True)
        return [
            head._replace(version=last.version, live=last.op != DELITEM) for head, last in lasts if last is not None
        ]

    def _forget(self, rewrites: Sequence[Rewrite]) -> Saved:
        try:
            return self._base.rewrite(rewrites)
        except StoreConflictError:  # one of them was set in the meantime: leave that one
            half = len(rewrites) // 2
            halves = (rewrites[:half], rewrites[half:]) if half else ()
            return reduce(Saved.plus, map(self._forget, halves), Saved(0, 0))


def _erasure(stream: Stream, version: int) -> Rewrite:
    return Rewrite(stream, version, range(version + 1), live=False)


class _Items(ItemsView[str, Any]):
    _mapping: KeyValues

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping._pairs()  # noqa: SLF001  # a view is a part of its mapping


class _Values(ValuesView[Any]):
    _mapping: KeyValues

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)
