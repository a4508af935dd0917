"""Erasing event sequences as a whole: ``Repository.erase``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial, reduce

from rstore.admin.erasures import Eraser
from rstore.core import Core
from rstore.domain.erasure import ERASE, Plan, sized
from rstore.domain.log import ALL_VERSIONS, Reclaimed, Rewrite
from rstore.domain.operators import ONCE
from rstore.domain.streams import DUE, ES, SS, Stream, kind_of
from rstore.models.indexes import description


def erase_sequences(core: Core, prefix: str, keys: Sequence[str], *, dry_run: bool = False) -> Reclaimed:
    """Erase all records of event sequences, and free their space: events, snapshots, and markers of idempotency keys.

    Entries of indexes go too, since they have values in their names. All keys begin with the prefix.

    Each marker has a kind of its own, and no index leads from a key to its markers. So the log is read once for them.
    Rejected: to leave them, since a marker has the key in clear beside it, and a key may be a name. The same holds for
    the queues of deliveries.
    """
    eraser, saved = Eraser(core, ERASE, dry_run), list[Reclaimed]()
    if not keys:
        return Reclaimed(0, 0)
    if dry_run:
        _erase(eraser, prefix, keys, saved)
    else:
        core.decide(partial(_erase, eraser, prefix, keys, saved))
        core.base.vacuum()  # also if there was nothing left to erase: an earlier call may have been interrupted before
    return reduce(Reclaimed.plus, saved, Reclaimed(0, 0))


def _erase(eraser: Eraser, prefix: str, keys: Sequence[str], saved: list[Reclaimed]) -> None:
    """Erase what is left of the keys, and note what that saved: a repeated attempt finds the rest only."""
    heads = {key: eraser.core.base.head(Stream(ES, key)) for key in keys}  # before the markers: a later write conflicts
    beside = _beside(eraser.core, prefix, frozenset(keys))
    for key, head in heads.items():
        rewrites = beside.get(key, [])
        gone = {}
        if head is not None:
            stream, snapshots = head.stream, Stream(SS, key)
            gone = {each: sized(eraser.core.base.read(each)) for each in (stream, snapshots)}
            rewrites[:0] = [
                Rewrite(stream, head.version, ALL_VERSIONS, live=False),
                Rewrite(snapshots, None, ALL_VERSIONS, live=False),
            ]
        saved.append(eraser.erase(Plan(rewrites, gone)))


def _beside(core: Core, prefix: str, keys: Collection[str]) -> dict[str, list[Rewrite]]:
    """Return what takes away the markers of keys, and the entries of indexes, by key."""
    indexes = {index.kind: index for index in description(core, prefix).indexes()}
    found: dict[Stream, str] = {}
    for _, stream, record in core.base.follow():
        index = indexes.get(stream.kind)
        key = stream.key if index is None else index.owner(core, stream, record)
        if key in keys and (index is not None or _is_marker(stream)):
            found[stream] = key
    beside: dict[str, list[Rewrite]] = defaultdict(list)
    for stream, key in found.items():
        index = indexes.get(stream.kind)
        erasing = (
            Rewrite(stream, None, ALL_VERSIONS, live=False) if index is None else index.erasing(core, stream, keys)
        )
        beside[key].append(erasing)
    return beside


def _is_marker(stream: Stream) -> bool:
    return kind_of(stream) == ONCE or (kind_of(stream) == DUE and stream.kind.endswith(f".{ES}"))
