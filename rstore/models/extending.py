"""How points get into a series, and out of it: segments are sealed, appended, and hidden by removals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

from rstore.commits import NewCommit
from rstore.core import ATTEMPTS, Core, now
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Entry
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import Run, split
from rstore.domain.streams import Stream
from rstore.encoding.rows import joined
from rstore.models.differing import Differing
from rstore.models.segments import bare_runs, extent_of, is_new, layouts_of
from rstore.models.spool import ENTRIES, Reiterable, Spool
from rstore.models.stamps import reader_of
from rstore.models.typed_points import TypedPoints

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

Given: TypeAlias = Union["Frame", tuple[Any, ...]]
"""The points of one series in a call: a frame, or the arguments of ``extend``."""


def segment(core: Core, commit: NewCommit, stream: Stream, run: Run) -> Entry:
    """Return a sealed segment of points."""
    body = core.envelope.dump_run(stream.key, run)
    return commit.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])


class How(NamedTuple):
    """How points are appended.

    ``version`` is the one that the caller expects. With ``unless_equal`` those that are equal to what is there are left
    out.
    """

    version: int | None = None
    once: str | None = None
    unless_equal: bool = False


def extend_with_points(core: Core, stream: Stream, points: tuple[Any, ...], how: How) -> None:
    """Append the points of a call."""

    def attempt() -> None:
        with Spool(ENTRIES) as spool:
            _write(core, stream, _batch_of_points(core, core.new_commit(), stream, points, spool, how), how)

    if how.unless_equal:  # what is compared may change meanwhile
        core.decide(attempt, 1 if _come_once(points) or how.version is not None else ATTEMPTS)
    else:
        attempt()


def _batch_of_points(
    core: Core, commit: NewCommit, stream: Stream, points: tuple[Any, ...], spool: Spool[Entry], how: How
) -> Batch | None:
    differing, found = _differing(core, stream, how)
    for run in runs_given(points, reader_of(core, stream), differing):
        spool.add(segment(core, commit, stream, run))
    return Batch(stream, spool.items(), now(), _expected(differing, found, how)) if spool else None


def _differing(core: Core, stream: Stream, how: How) -> tuple[Differing | None, int]:
    """Return what compares points with those of a series, if there is something to compare; and its version."""
    if not how.unless_equal:
        return None, 0
    core.check_version(stream, how.version)
    new, found = is_new(core, stream)
    return None if new else Differing(core, stream), found


def _expected(differing: Differing | None, found: int, how: How) -> int | None:
    return found if how.version is None and differing is not None and differing.has_left_out else how.version


def _write(core: Core, stream: Stream, batch: Batch | None, how: How) -> None:
    """Append a batch, if there is something to store. If not, the idempotency key is used all the same."""
    if batch is not None:
        core.write(batch, how.once)
        return
    core.check_version(stream, how.version)
    if how.unless_equal and how.once is not None:
        with suppress(StoreConflictError):  # it was used before
            core.append([core.marker(stream, how.once)])


def extend_with_frame(core: Core, stream: Stream, frame: Frame, how: How) -> None:
    """Append a frame. If it settles the unit of the series, no other writer may settle on another unit meanwhile."""

    def attempt() -> None:
        with Spool(ENTRIES) as spool:
            _write(core, stream, _batch_of_frame(core, core.new_commit(), stream, frame, spool, how), how)

    core.decide(attempt, 1 if how.version is not None else ATTEMPTS)


def extend_with_many(core: Core, given: Mapping[Stream, Given], how: How, room: int | None = None) -> None:
    """Append points or frames of several series, all of them or none.

    Args:
        room: the bytes of each series that may be in memory.
    """

    def attempt() -> None:
        with ExitStack() as stack:
            commit, batches = core.new_commit(), []
            for stream, points in given.items():
                spool = stack.enter_context(Spool(ENTRIES, room))
                batch_of: Any = _batch_of_points if isinstance(points, tuple) else _batch_of_frame
                with _named(stream.key):
                    batches.append(batch_of(core, commit, stream, points, spool, how))
            core.append([batch for batch in batches if batch is not None])

    core.decide(attempt, 1 if any(map(_come_once, given.values())) else ATTEMPTS)


def _come_once(given: Given) -> bool:
    """Tell whether points are items of an iterator: they are lost when they were compared."""
    return isinstance(given, tuple) and len(given) == 1 and isinstance(given[0], Iterator)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Add the key of a series to an error, since there are others."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as exc:
        exc.add_note(f"rstore: in the points of {key!r}; nothing was stored")
        raise


def _batch_of_frame(
    core: Core, commit: NewCommit, stream: Stream, frame: Frame, spool: Spool[Entry], how: How
) -> Batch | None:
    from rstore.frames.frame import fitted, runs, with_types
    from rstore.frames.reducing import aggregates_of
    from rstore.frames.times import pack_times

    if not len(frame):
        return None

    def entries(fitting: Frame) -> Iterator[Entry]:
        for run in runs(fitting):
            body = core.envelope.dump_run(stream.key, run, pack_times, aggregates_of)
            yield commit.entry(stream, EXTEND, body, start=int(run[0][0]), end=int(run[0][-1]))

    differing, found = _differing(core, stream, how)
    new, version = is_new(core, stream)
    known = None if new else layouts_of(core, stream, 2)
    fitting = fitted(stream.key, frame, known)
    if fitting.has_objects and not core.envelope.has_dump:
        fitting = with_types(fitting)
    if differing is not None:
        fitting = differing.frame(fitting)
        if not len(fitting):
            return None
    settles = new and how.version is None  # the unit of the series
    expect = version if settles else _expected(differing, found, how)
    sealed: Iterable[Entry] = Reiterable(partial(entries, fitting))
    if fitting.has_objects or fitting.is_short:  # the user's own _dump is not called while the log is held
        spool.extend(sealed)
        sealed = spool.items()
    return Batch(stream, sealed, now(), expect)


def overwrite(core: Core, stream: Stream, low: int, high: int, rows: Iterable[Run], version: int) -> None:
    """Replace all points from ``low`` to ``high`` by others, in one append."""
    extent, commit = extent_of(core, stream), core.new_commit()
    with Spool(ENTRIES) as spool:
        live = False
        if extent is not None:
            live = low > extent[0] or high < extent[1]
            start, end = max(low, extent[0]), min(high, extent[1])
            if start <= end:
                spool.add(commit.entry(stream, REMOVE, start=start, end=end))
        for run in joined(rows):
            live = True
            spool.add(segment(core, commit, stream, run))
        if spool:
            core.append((Batch(stream, spool.items(), now(), version, live),))


def remove_span(core: Core, stream: Stream, low: int, high: int, expect: int | None) -> None:
    """Hide the points from ``low`` to ``high``. The hole that is recorded is clipped to the extent of the series."""
    head = core.log.head(stream)
    version = head.version if head else 0
    if expect is not None and expect != version:
        raise StoreConflictError(*stream, expect, version)
    extent = extent_of(core, stream)
    if head is None or extent is None:
        return
    low, high = max(low, extent[0]), min(high, extent[1])
    if low > high or not any(True for _ in bare_runs(core, stream, low, high)):
        return
    hole = core.new_commit().entry(stream, REMOVE, start=low, end=high)
    live = low > extent[0] or high < extent[1]
    core.append((Batch(stream, (hole,), now(), head.version, live),))


def runs_given(
    points: tuple[Any, ...], read: Callable[[Any], Any], differing: Differing | None = None
) -> Iterator[Run]:
    """Cut the points of a call into runs, each of which becomes a segment. ``read`` makes timestamps of times.

    Only points that differ are returned, if ``differing`` tells them.
    """
    if len(points) == 1 and isinstance(points[0], TypedPoints):
        return (points[0] if differing is None else differing.typed(points[0])).runs()
    runs = split(_flat(points), read)
    return runs if differing is None else split(differing.points(runs))


def _flat(points: tuple[Any, ...]) -> Iterable[Any]:
    """Return the points of a call: its arguments, or the items of its only argument."""
    if len(points) != 1:
        return points
    (only,) = points
    is_pair = isinstance(only, tuple) and len(only) == 2
    if is_pair and (isinstance(only[0], str) or not isinstance(only[0], Iterable)):
        return points
    if not isinstance(only, Iterable) or isinstance(only, str | bytes):
        raise TypeError(f"points are (timestamp, value) pairs or one iterable of them, not {type(only).__name__}")
    return only


def check_options(expect: int | None, once: str | None, key_column: str | None) -> None:
    """Raise if an option is about one series, where a column of keys makes several."""
    if key_column is None:
        return
    if expect is not None:
        raise TypeError("expect is the version of one key, and key_column makes several: use a transaction")
    if once is not None:
        raise TypeError("once is of one key, and key_column makes several: use transact(..., once=...)")
