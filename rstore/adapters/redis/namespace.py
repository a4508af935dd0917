"""A namespace in Redis: how it is looked for, made and discarded.

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


def find_partitions(node: Servers, namespace: str) -> list[Partition]:
    """Return the partitions of a namespace; none if there is no such namespace.

    Raises:
        StoreNotAvailableError: it was made by a newer version of rstore.
        StoreError: what it says of itself was written by somebody else.
    """
    home = Partition(namespace, 0)
    ((n, schema, number),) = node.at(home.slot).ask((b"HMGET", home.meta, b"n", b"schema", b"partitions"))
    if n is None:
        return []
    if stored_number(schema) > SCHEMA:
        raise StoreNotAvailableError(
            f"namespace {namespace!r} in {node.server.name} was made by a newer version of rstore: upgrade this one"
        )
    if not 0 < stored_number(number) <= _MOST_PARTITIONS:
        raise damaged()
    return [Partition(namespace, each) for each in range(int(number))]


def list_namespaces(node: Servers) -> list[str]:
    """Return the names of all namespaces, in code-point order: each server is searched for their keys.

    No index of them is kept: it would be a key in another slot, and so could not be changed together with them.
    """
    found = {name for slot in node.slot_of_each() for name in _scanned(node.at(slot))}
    names = sorted(found)  # of str: by code points
    homes = [Partition(name, 0) for name in names]
    answers = node.ask_each([Request(home.slot, [(b"HEXISTS", home.meta, b"n")]) for home in homes])
    return [name for name, (is_there,) in zip(names, answers, strict=True) if is_there]


def _scanned(owner: Owner) -> Iterator[str]:
    cursor = b"0"
    while True:
        ((cursor, keys),) = owner.ask((b"SCAN", cursor, b"MATCH", META_PATTERN, b"COUNT", _SCANNED))
        yield from (name for name in map(namespace_of, keys) if name is not None)
        if int(cursor) == 0:
            return


def create_partitions(node: Servers, partitions: Sequence[Partition]) -> None:
    """Make all partitions that are not there. A discard that is under way is finished first.

    All at once, since none may give out positions that are behind those that others already have. Partition 0 comes
    last: if a discard came in between, it took the others too, and whoever writes to them notices.

    Raises:
        StoreNotAvailableError: others kept discarding it until the timeout, or made it with another number of them.
    """
    deadline = time.monotonic() + node.server.timeout
    while missing := _missing(node, partitions):
        if time.monotonic() > deadline:
            raise StoreNotAvailableError(
                f"{node.server.name}: others keep discarding the namespace; nothing was stored"
            )
        claims = [
            Request(
                each.slot, [(b"HSETNX", each.meta, b"claim", secrets.token_bytes(8)), (b"HGET", each.meta, b"claim")]
            )
            for each in missing
        ]
        holding = [claim or b"" for _, claim in node.ask_each(claims)]
        (epoch,) = node.at(HIGH_WATER_SLOT).ask((b"GET", HIGH_WATER))
        facts = b"%d" % SCHEMA, b"%d" % len(partitions), b"%d" % stored_number(epoch or b"0")
        first, *others = [
            Run(each.slot, CREATE, (each.meta, each.feed, each.all), (claim, *facts))
            for each, claim in zip(missing, holding, strict=True)
        ]
        node.write_each(others)
        node.write_each([first])


def _missing(node: Servers, partitions: Sequence[Partition]) -> list[Partition]:
    """Return the partitions that are not there, after the rest of what was discarded is gone."""
    looks = [Request(each.slot, [(b"HMGET", each.meta, b"n", b"ending", b"partitions")]) for each in partitions]
    found = [state for (state,) in node.ask_each(looks)]
    n, discarded, number = found[0]
    if n is not None and stored_number(number) != len(partitions):
        raise StoreNotAvailableError(
            f"{node.server.name}: the namespace was made anew with {int(number)} partitions instead of "
            f"{len(partitions)}; nothing was stored: close it, and open it again"
        )
    if discarded is not None:
        discard(node, partitions)
    else:
        _sweep(node, [(each, end) for each, (_, end, _) in zip(partitions, found, strict=True) if end is not None])
    return [each for each, (n, *_) in zip(partitions, found, strict=True) if n is None]


def discard(node: Servers, partitions: Sequence[Partition]) -> None:
    """Erase all partitions. Partition 0 ends first and goes last: who finds it ending finishes the discard."""
    first, *others = [Run(each.slot, END, (each.meta, each.feed, each.all), ()) for each in partitions]
    endings = [*node.write_each([first]), *node.write_each(others)]
    ended = [(each, ending) for each, ending in zip(partitions, endings, strict=True) if ending is not None]
    _sweep(node, ended[1:])
    _sweep(node, ended[:1])


def _sweep(node: Servers, ended: Sequence[tuple[Partition, bytes]]) -> None:
    """Erase partitions that were ended: all at once unless they are large, since Redis does nothing else meanwhile."""
    if not ended:
        return
    highest = max(stored_number(ending) for _, ending in ended)
    node.at(HIGH_WATER_SLOT).write(RAISE_HIGH_WATER, [HIGH_WATER], b"%d" % (highest + 1))
    while ended:
        swept = node.write_each(_sweepings(node, ended))
        ended = [each for each, is_empty in zip(ended, swept, strict=True) if not is_empty]


def _sweepings(node: Servers, ended: Sequence[tuple[Partition, bytes]]) -> list[Run]:
    """Return what erases some streams of each partition, and all of it if there are no more."""
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
    for (each, ending), (txids, *found) in zip(ended, node.ask_each(looks), strict=True):
        names = {name for some in found for name in some}
        keys = [key for name in names for key in each.each_of(name)]
        keys += _promises(node.at(each.slot), each, set(txids))
        own = (*each.own, *each.retired_streams, each.prepared, each.transactions)
        runs.append(Run(each.slot, SWEEP, (*own, *keys), (ending, *names)))
    return runs


def _promises(owner: Owner, partition: Partition, txids: Iterable[bytes]) -> list[bytes]:
    """Return the keys of what was promised, with its uploads, which do not expire as long as it is."""
    promises = [partition.prepared_call(txid) for txid in txids]
    sizes = owner.ask(*((b"LINDEX", promise, 0) for promise in promises))
    written = owner.ask(
        *((b"LRANGE", each, 1, stored_number(size or b"0")) for each, size in zip(promises, sizes, strict=True))
    )
    return [*promises, *(key for keys in written for key in keys if partition.is_staged(key))]
