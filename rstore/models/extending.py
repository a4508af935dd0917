"""How points get into a series, and out of it: segments are sealed, appended, and hidden by removals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

from rstore import frames
from rstore.commits import NewCommit
from rstore.core import ATTEMPTS, Core, now
from rstore.domain.duplicates import Duplicates, check_duplicates
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Entry
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import Run, split
from rstore.domain.streams import TS, Stream
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


class ExtendOptions(NamedTuple):
    """How points are appended.

    ``version`` is the one that the caller expects. With ``unless_equal`` those that are equal to what is there are left
    out.
    """

    version: int | None = None
    once: str | None = None
    unless_equal: bool = False


def points_by_series(
    key: str, points: tuple[Any, ...], duplicates: Duplicates | None, key_column: str | None = None
) -> dict[Stream, Given]:
    """Return the points of a call by series: those of a frame with a column of keys are of several."""
    if duplicates is not None:
        check_duplicates(duplicates)
    frame = frames.recognized(points)
    if frame is not None:
        parts = frames.by_series(key, frame, key_column, duplicates or "refuse")
        return {Stream(TS, name): part for name, part in parts.items()}
    if key_column is not None:
        raise TypeError("key_column names a column of a frame, and these are points: pass a frame of them")
    if duplicates == "refuse":
        raise ValueError("of points the last of one time counts: pass a frame to have them refused")
    return {Stream(TS, key): points}


def extend_one(core: Core, stream: Stream, given: Given, options: ExtendOptions) -> None:
    """Append the points of one series."""

    def attempt() -> None:
        try:
            with Spool(ENTRIES) as spool:
                _write(core, stream, _batch(core, core.new_commit(), stream, given, spool, options), options)
        except StoreConflictError:  # a repeated call expects the version from before the first one
            if options.once is None or core.log.head(core.marker(stream, options.once).stream) is None:
                raise

    core.decide(attempt, 1 if options.version is not None or _come_once(given) else ATTEMPTS)


def extend_many(core: Core, given: Mapping[Stream, Given], options: ExtendOptions, room: int | None = None) -> None:
    """Append points or frames of several series, all of them or none.

    Args:
        room: the bytes of each series that may be in memory.
    """

    def attempt() -> None:
        with ExitStack() as stack:
            commit, batches = core.new_commit(), []
            for stream, points in given.items():
                spool = stack.enter_context(Spool(ENTRIES, room))
                with named(stream.key):
                    batches.append(_batch(core, commit, stream, points, spool, options))
            core.append([batch for batch in batches if batch is not None])

    core.decide(attempt, 1 if any(map(_come_once, given.values())) else ATTEMPTS)


def _come_once(given: Given) -> bool:
    """Tell whether points are items of an iterator: they are lost when they were compared."""
    return isinstance(given, tuple) and len(given) == 1 and isinstance(given[0], Iterator)


@contextmanager
def named(key: str) -> Iterator[None]:
    """Add the key of a series to an error, since there are others."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as exc:
        exc.add_note(f"rstore: in the points of {key!r}; nothing was stored")
        raise


def _write(core: Core, stream: Stream, batch: Batch | None, options: ExtendOptions) -> None:
    """Append a batch, if there is something to store. If all points are left out, the idempotency key is used still."""
    if batch is not None:
        core.write(batch, options.once)
        return
    core.check_version(stream, options.version)
    if options.unless_equal and options.once is not None:
        with suppress(StoreConflictError):  # it was used before
            core.append([core.marker(stream, options.once)])


def _batch(
    core: Core, commit: NewCommit, stream: Stream, given: Given, spool: Spool[Entry], options: ExtendOptions
) -> Batch | None:
    """Return what is appended to a series; None if that is nothing."""
    if isinstance(given, tuple):
        return _batch_of_points(core, commit, stream, given, spool, options)
    return _batch_of_frame(core, commit, stream, given, spool, options)


def _batch_of_points(
    core: Core, commit: NewCommit, stream: Stream, points: tuple[Any, ...], spool: Spool[Entry], options: ExtendOptions
) -> Batch | None:
    new, found = is_new(core, stream) if options.unless_equal else (True, 0)
    differing = _differing(core, stream, options, new=new)
    for run in runs_of_points(points, reader_of(core, stream), differing):
        spool.add(segment(core, commit, stream, run))
    return Batch(stream, spool.items(), now(), _expected(differing, found, options)) if spool else None


def _batch_of_frame(
    core: Core, commit: NewCommit, stream: Stream, frame: Frame, spool: Spool[Entry], options: ExtendOptions
) -> Batch | None:
    """Return the segments of a frame. If it gives the series its unit, no other writer may give it one meanwhile."""
    from rstore.frames.frame import fitted, runs, with_types
    from rstore.frames.reducing import aggregates_of
    from rstore.frames.times import pack_times

    if not len(frame):
        return None

    def entries(fitting: Frame) -> Iterator[Entry]:
        for run in runs(fitting):
            body = core.envelope.dump_run(stream.key, run, pack_times, aggregates_of)
            yield commit.entry(stream, EXTEND, body, start=int(run[0][0]), end=int(run[0][-1]))

    new, found = is_new(core, stream)
    differing = _differing(core, stream, options, new=new)
    fitting = fitted(stream.key, frame, None if new else layouts_of(core, stream, 2))
    if fitting.has_objects and not core.envelope.has_dump:
        fitting = with_types(fitting)
    if differing is not None:
        fitting = differing.frame(fitting)
        if not len(fitting):
            return None
    gives_unit = new and options.version is None
    expect = found if gives_unit else _expected(differing, found, options)
    sealed: Iterable[Entry] = Reiterable(partial(entries, fitting))
    if fitting.has_objects or fitting.is_short:  # the user's own _dump is not called while the log is held
        spool.extend(sealed)
        sealed = spool.items()
    return Batch(stream, sealed, now(), expect)


def _differing(core: Core, stream: Stream, options: ExtendOptions, *, new: bool) -> Differing | None:
    """Return what compares points with those of a series, if there is something to compare."""
    if not options.unless_equal:
        return None
    core.check_version(stream, options.version)
    return None if new else Differing(core, stream)


def _expected(differing: Differing | None, found: int, options: ExtendOptions) -> int | None:
    """Return the version that a series must have still: that which was ``found``, if points were left out."""
    is_compared = differing is not None and differing.has_left_out
    return found if options.version is None and is_compared else options.version


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


def runs_of_points(
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


def check_of_one(options: ExtendOptions) -> None:
    """Raise if an option is about one series, where a column of keys makes several."""
    if options.version is not None:
        raise TypeError("expect is the version of one key, and key_column makes several: use a transaction")
    if options.once is not None:
        raise TypeError("once is of one key, and key_column makes several: use transact(..., once=...)")
