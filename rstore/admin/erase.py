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


def erase_sequences(core: Core, keys: Sequence[str], *, dry_run: bool = False) -> Reclaimed:
    """Erase all records of event sequences, and free their space: events, snapshots, and markers of idempotency keys.

    Each marker has a kind of its own, and no index leads from a key to its markers. So the log is read once for them.
    Rejected: to leave them, since a marker has the key in clear beside it, and a key may be a name. The same holds for
    the queues of deliveries.
    """
    eraser, saved = Eraser(core, ERASE, dry_run), list[Reclaimed]()
    if not keys:
        return Reclaimed(0, 0)
    if dry_run:
        _erase(eraser, keys, saved)
    else:
        core.decide(partial(_erase, eraser, keys, saved))
        core.base.vacuum()  # also if there was nothing left to erase: an earlier call may have been interrupted before
    return reduce(Reclaimed.plus, saved, Reclaimed(0, 0))


def _erase(eraser: Eraser, keys: Sequence[str], saved: list[Reclaimed]) -> None:
    """Erase what is left of the keys, and note what that saved: a repeated attempt finds the rest only."""
    heads = {key: eraser.core.base.head(Stream(ES, key)) for key in keys}  # before the markers: a later write conflicts
    markers = _markers(eraser.core, frozenset(keys))
    for key, head in heads.items():
        rewrites = [Rewrite(each, None, ALL_VERSIONS, live=False) for each in markers.get(key, ())]
        gone = {}
        if head is not None:
            stream, snapshots = head.stream, Stream(SS, key)
            gone = {each: sized(eraser.core.base.read(each)) for each in (stream, snapshots)}
            rewrites[:0] = [
                Rewrite(stream, head.version, ALL_VERSIONS, live=False),
                Rewrite(snapshots, None, ALL_VERSIONS, live=False),
            ]
        saved.append(eraser.erase(Plan(rewrites, gone)))


def _markers(core: Core, keys: Collection[str]) -> dict[str, list[Stream]]:
    """Return the streams of the markers of keys, by key."""
    streams = (stream for _, stream, _ in core.base.follow())
    markers: dict[str, list[Stream]] = defaultdict(list)
    for stream in dict.fromkeys(each for each in streams if each.key in keys and _is_marker(each)):
        markers[stream.key].append(stream)
    return markers


def _is_marker(stream: Stream) -> bool:
    return kind_of(stream) == ONCE or (kind_of(stream) == DUE and stream.kind.endswith(f".{ES}"))
