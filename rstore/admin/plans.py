"""What a compaction erases of keys and event sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from typing import Final

from rstore.admin.erasures import Eraser
from rstore.core import Core, now
from rstore.domain.erasure import NOTHING_GONE, Plan, sized
from rstore.domain.errors import StoreConflictError
from rstore.domain.event_state import obsolete
from rstore.domain.log import ALL_VERSIONS, Head, Reclaimed, Rewrite
from rstore.domain.operators import DELITEM
from rstore.domain.paging import pages
from rstore.domain.rules import is_there
from rstore.domain.streams import SS, Stream

_PAGE: Final = 256


def compact_keys(eraser: Eraser, heads: Iterable[Head], before: int | None, *, expire: bool = False) -> Reclaimed:
    """Keep only the last value of each key that is there; with ``before`` the last one then, and all later records.

    Args:
        expire: whether a value that was stored up to that time, and is still the last one, goes as well.
    """
    plans = _plans_of_keys(eraser.core, heads, before, expire=expire)
    return eraser.erase_all((plan, partial(forget, eraser.core, plan.rewrites)) for plan in plans)


def _plans_of_keys(core: Core, heads: Iterable[Head], before: int | None, *, expire: bool) -> Iterator[Plan]:
    for page in pages(heads, _PAGE):
        present = {head.stream: head.version for head in page}
        moment = now() if before is None else before
        then = page if before is None else _heads_at(core, page, before)
        then = [head._replace(live=is_there(head, moment)) for head in then]
        dead = [head for head in then if (expire or not head.live) and head.version == present[head.stream]]
        rewrites = [
            all_of(head.stream, head.version)
            if head in dead
            else Rewrite(head.stream, None, range(head.version + (not head.live)), bump_version=False)
            for head in then
        ]
        gone = {
            rewrite.stream: sized(each for each in core.log.read(rewrite.stream) if each.version in rewrite.drop)
            for rewrite in rewrites
        }
        yield Plan([each for each in rewrites if gone[each.stream] or each.live is False], gone)


def _heads_at(core: Core, heads: list[Head], moment: int) -> list[Head]:
    """Return the heads of keys as they were at a time."""
    lasts = zip(heads, core.log.last([head.stream for head in heads], moment), strict=True)
    return [
        head._replace(version=last.version, live=last.op != DELITEM, end=last.end)
        for head, last in lasts
        if last is not None
    ]


def forget(core: Core, rewrites: Sequence[Rewrite]) -> Reclaimed:
    """Rewrite streams, but for those that others have written to meanwhile."""
    try:
        return core.base.rewrite(rewrites)
    except StoreConflictError:  # one of the keys was set meanwhile: leave it as it is
        half = len(rewrites) // 2
        halves = (rewrites[:half], rewrites[half:]) if half else ()
        return reduce(Reclaimed.plus, map(partial(forget, core), halves), Reclaimed(0, 0))


def all_of(stream: Stream, version: int) -> Rewrite:
    """Return the rewrite that forgets a stream, if it is still at a version."""
    return Rewrite(stream, version, range(version + 1), live=False)


def prune_sequences(eraser: Eraser, streams: Iterable[Stream], before: int, *, remove: bool = True) -> Reclaimed:
    """Erase the events that do not contribute to present states, nor to those after a time."""
    plans = (partial(plan_prune, eraser.core, stream, remove, before) for stream in streams)
    return eraser.erase_all((plan(), partial(_pruned, eraser, plan)) for plan in plans)


def _pruned(eraser: Eraser, plan: Callable[[], Plan]) -> Reclaimed:
    """Prune a sequence that others have written to since it was planned."""
    return eraser.core.decide(lambda: eraser.erase(plan()))


def plan_prune(core: Core, stream: Stream, remove: bool, before: int) -> Plan:
    """Return what a prune erases of a sequence: see :meth:`rstore.Store.prune`."""
    head = core.log.head(stream)
    if head is None:
        return NOTHING_GONE
    events, lasting = [], set()
    sizes: dict[int, int] = {}
    for record in core.log.read(stream):
        core.envelope.check(stream, record)
        events.append((record.version, record.item, record.op))
        sizes[record.version] = len(record.data)
        if max(record.recorded, record.start) > before:
            lasting.add(record.version)
    dropped = obsolete(events, lasting)
    stays = len(dropped) < len(events) or (head.live and not remove)
    if stays and not dropped:
        return NOTHING_GONE
    snapshots = Stream(SS, stream.key)
    rewrites = [
        Rewrite(stream, head.version, dropped, live=None if stays else False),
        Rewrite(snapshots, None, ALL_VERSIONS, live=False),
    ]
    gone = {stream: [(version, sizes[version]) for version in dropped], snapshots: sized(core.log.read(snapshots))}
    return Plan(rewrites, gone)
