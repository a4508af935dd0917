"""A namespace in Redis: finding, creating and discarding it.

A namespace is there if its partition 0 is. A discarded one leaves no key, and yet no version or position is used again:
new namespaces begin above a counter that all of a database share, :data:`HIGH_WATER`.

Rejected: a tombstone for each namespace, since none of them would ever go. Rejected: the server's clock alone, since it
may be set back. The clock counts too, for a server that has lost even the counter.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rstore.adapters.redis.cluster.router import Owner, Servers
from rstore.adapters.redis.codec import stored_number
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import HIGH_WATER, HIGH_WATER_SLOT, META_PATTERN, SCHEMA, Partition, namespace_of
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.scripts import CREATE, END, RAISE_HIGH_WATER, SWEEP
from rstore.domain.errors import StoreNotAvailableError

_SWEPT: Final = 1000
_SCANNED: Final = 1000
_MOST_PARTITIONS: Final = 16384


def find_partitions(servers: Servers, namespace: str) -> list[Partition]:
    """Return the partitions of a namespace; none if there is no such namespace.

    Raises:
        StoreNotAvailableError: it was made by a newer version of rstore.
        StoreError: its meta was not written by rstore.
    """
    partition = Partition(namespace, 0)
    ((n, schema, number),) = servers.at(partition.slot).ask((b"HMGET", partition.meta, b"n", b"schema", b"partitions"))
    if n is None:
        return []
    if stored_number(schema) > SCHEMA:
        raise StoreNotAvailableError(
            f"namespace {namespace!r} in {servers.server.name} was made by a newer version of rstore: upgrade this one"
        )
    if not 0 < stored_number(number) <= _MOST_PARTITIONS:
        raise damaged()
    return [Partition(namespace, each) for each in range(int(number))]


def list_namespaces(servers: Servers) -> list[str]:
    """Return the names of all namespaces, in code-point order: each server is searched for their keys.

    Rejected: an index of them. It would be a key in another slot, which no script could change together with them.
    """
    found = {name for slot in servers.slot_of_each() for name in _scanned(servers.at(slot))}
    names = sorted(found)  # of str: by code points
    partitions = [Partition(name, 0) for name in names]
    answers = servers.ask_each([Request(each.slot, [(b"HEXISTS", each.meta, b"n")]) for each in partitions])
    return [name for name, (is_there,) in zip(names, answers, strict=True) if is_there]


def _scanned(owner: Owner) -> Iterator[str]:
    cursor = b"0"
    while True:
        ((cursor, keys),) = owner.ask((b"SCAN", cursor, b"MATCH", META_PATTERN, b"COUNT", _SCANNED))
        yield from (name for name in map(namespace_of, keys) if name is not None)
        if int(cursor) == 0:
            return


def create_partitions(servers: Servers, partitions: Sequence[Partition]) -> None:
    """Create all partitions that are not there, after the rest of a discard that is under way.

    All of them are created at once: none may give out positions below those that others have given out already.
    Partition 0 comes last. If a discard comes in between, it takes the others too, and writers to them notice.

    Raises:
        StoreNotAvailableError: others kept discarding it until the timeout, or it has another number of partitions.
    """
    deadline = time.monotonic() + servers.server.timeout
    while missing := _missing(servers, partitions):
        if time.monotonic() > deadline:
            raise StoreNotAvailableError(
                f"{servers.server.name}: others keep discarding the namespace; nothing was stored"
            )
        claims = [
            Request(
                each.slot, [(b"HSETNX", each.meta, b"claim", secrets.token_bytes(8)), (b"HGET", each.meta, b"claim")]
            )
            for each in missing
        ]
        holding = [claim or b"" for _, claim in servers.ask_each(claims)]
        (high_water,) = servers.at(HIGH_WATER_SLOT).ask((b"GET", HIGH_WATER))
        facts = b"%d" % SCHEMA, b"%d" % len(partitions), b"%d" % stored_number(high_water or b"0")
        first, *others = [
            Run(each.slot, CREATE, (each.meta, each.feed, each.all), (claim, *facts))
            for each, claim in zip(missing, holding, strict=True)
        ]
        servers.write_each(others)
        servers.write_each([first])


def _missing(servers: Servers, partitions: Sequence[Partition]) -> list[Partition]:
    """Return the partitions that are not there, once the rest of a discarded namespace is gone."""
    looks = [Request(each.slot, [(b"HMGET", each.meta, b"n", b"ending", b"partitions")]) for each in partitions]
    found = [state for (state,) in servers.ask_each(looks)]
    n, discarded, number = found[0]
    if n is not None and stored_number(number) != len(partitions):
        raise StoreNotAvailableError(
            f"{servers.server.name}: the namespace was made anew with {int(number)} partitions instead of "
            f"{len(partitions)}; nothing was stored: close it, and open it again"
        )
    if discarded is not None:
        discard(servers, partitions)
    else:
        _sweep(servers, [(each, end) for each, (_, end, _) in zip(partitions, found, strict=True) if end is not None])
    return [each for each, (n, *_) in zip(partitions, found, strict=True) if n is None]


def discard(servers: Servers, partitions: Sequence[Partition]) -> None:
    """Erase all partitions. Partition 0 ends first and goes last: writers that find it ending finish the discard."""
    first, *others = [Run(each.slot, END, (each.meta, each.feed, each.all), ()) for each in partitions]
    endings = [*servers.write_each([first]), *servers.write_each(others)]
    ended = [(each, ending) for each, ending in zip(partitions, endings, strict=True) if ending is not None]
    _sweep(servers, ended[1:])
    _sweep(servers, ended[:1])


def _sweep(servers: Servers, ended: Sequence[tuple[Partition, bytes]]) -> None:
    """Erase partitions that were ended. Large ones go in steps, since a server does nothing else during each."""
    if not ended:
        return
    highest = max(stored_number(ending) for _, ending in ended)
    servers.at(HIGH_WATER_SLOT).write(RAISE_HIGH_WATER, [HIGH_WATER], b"%d" % (highest + 1))
    while ended:
        swept = servers.write_each(_sweepings(servers, ended))
        ended = [each for each, is_empty in zip(ended, swept, strict=True) if not is_empty]


def _sweepings(servers: Servers, ended: Sequence[tuple[Partition, bytes]]) -> list[Run]:
    """Return runs that erase some streams of each partition, and all of it if there are no more."""
    looks = [
        Request(
            each.slot,
            [
                (b"HVALS", each.prepared),
                (b"ZRANGE", each.all, 0, _SWEPT - 1),
                *((b"SRANDMEMBER", streams, _SWEPT) for streams in each.retired_streams),
            ],
        )
        for each, _ in ended
    ]
    runs = []
    for (each, ending), (txids, *found) in zip(ended, servers.ask_each(looks), strict=True):
        names = {name for some in found for name in some}
        keys = [key for name in names for key in each.each_of(name)]
        keys += _prepared_keys(servers.at(each.slot), each, set(txids))
        own = (*each.own, *each.retired_streams, each.prepared, each.transactions)
        runs.append(Run(each.slot, SWEEP, (*own, *keys), (ending, *names)))
    return runs


def _prepared_keys(owner: Owner, partition: Partition, txids: Iterable[bytes]) -> list[bytes]:
    """Return the keys of prepared calls and of their uploads, which do not expire while a call is prepared."""
    calls = [partition.prepared_call(txid) for txid in txids]
    sizes = owner.ask(*((b"LINDEX", call, 0) for call in calls))
    written = owner.ask(
        *((b"LRANGE", call, 1, stored_number(size or b"0")) for call, size in zip(calls, sizes, strict=True))
    )
    return [*calls, *(key for keys in written for key in keys if partition.is_staged(key))]
