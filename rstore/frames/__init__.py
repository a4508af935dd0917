"""Frames in and out of series: pandas, polars, Arrow and NumPy, each imported when it is asked for.

A library is a module of this package with three functions: ``owns`` (is it mine?), ``read`` (a frame of its own as a
:class:`~rstore.frames.frame.Frame`) and ``show`` (the other way).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rstore.domain.duplicates import Duplicates
from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.series import Merge, Run
from rstore.encoding.columns import Layout, TimeAxis
from rstore.encoding.envelope import UnpackTimes

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

LIBRARIES: Final = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow", "numpy": "numpy"}
"""What ``to`` may be, which is also the extra that installs it, and which library that is."""


def recognized(points: tuple[Any, ...]) -> Frame | None:
    """Return what was given to ``extend`` as a frame, None if it is none.

    No library is imported to find out: a frame's class tells where it comes from.

    Raises:
        TypeError, ValueError: it is a frame that is no series; the message tells why.
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
    """Return a frame by the keys of its series: ``key``, or with a column of keys one for each of its values.

    Raises:
        ValueError, TypeError: several rows have one time, and ``duplicates`` is not ``'last'``; or there is no such
            column of keys. The message tells.
    """
    from rstore.frames.parting import check_times_differ, parted

    parts = list(parted(key, frame, key_column))
    if duplicates == "refuse":
        for name, part, rows in parts:
            check_times_differ(name, part, rows)
    return {name: part for name, part, _ in parts}


def _origins(thing: object) -> set[str]:
    """Return the packages that a thing's class, and those above it, come from."""
    return {cls.__module__.partition(".")[0] for cls in type(thing).__mro__}


def check_library(to: str) -> None:
    """Raise if there is no such kind of frame, or its library is not installed."""
    if to not in LIBRARIES:
        raise ValueError(f"to is one of {', '.join(LIBRARIES)}, not {to!r}")
    library(to)


def as_arrays() -> tuple[UnpackTimes, Merge]:
    """Return what reads times as arrays, and what merges tables as such."""
    from rstore.frames import merging, times

    return times.unpack_times, merging.merge


def shown(rows: Iterable[Run], freq: int | None, n: int | None, kind: Callable[[], Layout | None], to: str) -> Any:
    """Return runs of rows as a frame of a library, thinned and limited as by ``range``.

    Args:
        kind: finds out of what kind the series is, where none of the rows tells.
    """
    from rstore.frames.gathering import gathered, limited

    return _show(gathered(limited(rows, freq, n), kind), to)


def framed(points: Sequence[tuple[int, Any]], times: TimeAxis, to: str, kind: Layout | None = None) -> Any:
    """Return points as a frame of a library; those of which the values are dicts as one of several columns.

    Args:
        kind: tells which columns hold times or durations, and in what these are counted.
    """
    from rstore.frames.gathering import of_points

    return _show(of_points(points, times, kind), to)


def _show(frame: Frame, to: str) -> Any:
    try:
        return library(to).show(frame)
    except UnicodeEncodeError:
        raise ValueError(f"{to} has no type for a text with lone surrogates: leave out to=") from None


def library(name: str) -> Any:
    """Return the module for a library.

    Raises:
        StoreNotAvailableError: it is not installed.
    """
    try:
        return import_module(f"rstore.frames.from_{name}")
    except ModuleNotFoundError as exc:
        raise StoreNotAvailableError(
            f"frames of {name} need the packages {LIBRARIES[name]} and numpy: pip install 'rlib-store[{name}]'"
        ) from exc
