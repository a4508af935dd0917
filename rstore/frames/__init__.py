"""Frames in and out of series: pandas, polars, Arrow and NumPy, each imported when a caller asks for it.

Each library has a module in this package with three functions: ``owns`` tells whether an object is a frame of the
library. ``read`` returns such a frame as a :class:`~rstore.frames.frame.Frame`, and ``show`` does the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rstore.domain.duplicates import Duplicates
from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.resampling import Reduce
from rstore.domain.series import Merge, Run
from rstore.encoding.chosen_columns import ChosenColumns
from rstore.encoding.columns import Layout, TimeAxis
from rstore.encoding.conditions import Where
from rstore.encoding.envelope import UnpackTimes

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

LIBRARIES: Final = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow", "numpy": "numpy"}
"""The values of ``to``, which are also the extras that install a library, and the package of each."""


def recognized(points: tuple[Any, ...]) -> Frame | None:
    """Return the argument of ``extend`` as a frame, or None if it is no frame.

    No library is imported to find out: a frame's class tells its package.

    Raises:
        TypeError, ValueError: the frame is no series; the message tells why.
    """
    if len(points) != 1:
        return None
    (given,) = points
    origins = _origins(given[0] if isinstance(given, tuple) and given else given)
    for name, package in LIBRARIES.items():
        if package in origins and (found := library(name)).owns(given):
            frame: Frame = found.read(given)
            return frame
    return None


def by_series(key: str, frame: Frame, key_column: str | None, duplicates: Duplicates) -> dict[str, Frame]:
    """Return a frame for each key: for ``key`` alone, or with a column of keys for each of its values.

    Raises:
        ValueError, TypeError: several rows of a series have one time, and ``duplicates`` is not ``'last'``; or the
            frame has no such column of keys.
    """
    from rstore.frames.parting import check_times_differ, parted

    parts = list(parted(key, frame, key_column))
    if duplicates == "refuse":
        for name, part, rows in parts:
            check_times_differ(name, part, rows)
    return {name: part for name, part, _ in parts}


def _origins(given: object) -> set[str]:
    """Return the packages of an object's class and of its base classes."""
    return {cls.__module__.partition(".")[0] for cls in type(given).__mro__}


def check_library(to: str) -> None:
    """Raise if ``to`` names no library, or one that is not installed."""
    if to not in LIBRARIES:
        raise ValueError(f"to is one of {', '.join(LIBRARIES)}, not {to!r}")
    library(to)


def as_arrays() -> tuple[UnpackTimes, Merge]:
    """Return the functions that unpack times as arrays, and that merge tables as arrays."""
    from rstore.frames import merging, times

    return times.unpack_times, merging.merge


def as_reduced() -> Reduce | None:
    """Return the function that finds aggregates of typed columns by NumPy; None if that is not installed."""
    try:
        from rstore.frames import reducing
    except ModuleNotFoundError:
        return None
    return reducing.reduced


def as_filtered(where: Where) -> Callable[[Run], Iterator[Run]]:
    """Return the function that yields the rows of a run which meet conditions."""
    from rstore.frames import filtering

    return partial(filtering.filtered, where)


def gathered(
    rows: Iterable[Run],
    freq: int | None,
    n: int | None,
    kind: Callable[[], Layout | None],
    columns: ChosenColumns | None,
) -> Frame:
    """Return runs of rows as a frame, thinned and limited as ``range`` does it, with the chosen columns.

    Args:
        kind: finds the layout of the series, where none of the rows tells it.
    """
    from rstore.frames.frame import with_columns
    from rstore.frames.gathering import gathered, limited

    if columns is None:
        return gathered(limited(rows, freq, n), kind)
    frame = gathered(limited(rows, freq, n), kind, by_name=True)
    return with_columns(frame, columns.names, framed=not columns.is_one)


def framed(points: Sequence[tuple[int, Any]], times: TimeAxis, to: str, kind: Layout | None = None) -> Any:
    """Return points as a frame of a library. Points whose values are dicts make a frame of several columns.

    Args:
        kind: the layout of the series: it tells which columns hold times or durations, and their units.
    """
    from rstore.frames.gathering import of_points

    return shown(of_points(points, times, kind), to)


def as_one(frames: Mapping[str, Frame], shape: str) -> Frame:
    """Return the frames of several series as one, ``'long'`` or ``'wide'``."""
    from rstore.frames import several

    return several.long(frames) if shape == "long" else several.wide(frames)


def shown(frame: Frame, to: str) -> Any:
    """Return a frame as one of a library."""
    try:
        return library(to).show(frame)
    except UnicodeError:
        raise ValueError(f"{to} has no type for a text with lone surrogates: leave out to=") from None


def library(name: str) -> Any:
    """Return the module of this package for a library.

    Raises:
        StoreNotAvailableError: it is not installed.
    """
    try:
        return import_module(f"rstore.frames.from_{name}")
    except ModuleNotFoundError as exc:
        raise StoreNotAvailableError(
            f"frames of {name} need the packages {LIBRARIES[name]} and numpy: pip install 'rlib-store[{name}]'"
        ) from exc
