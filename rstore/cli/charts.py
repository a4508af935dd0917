"""Curves over time, drawn with characters in a terminal or as a picture."""

from __future__ import annotations

import datetime
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from rstore.cli.exit_codes import USAGE, CommandError, check_usage
from rstore.domain.scalars import is_missing
from rstore.text.units import Unit, spanned
from rstore.text.values import show_text

_FORMATS: Final = (".png", ".svg")
_INCHES, _DPI = (10, 5), 120
_LEAST_WIDTH, _LEAST_HEIGHT, _MOST_HEIGHT = 40, 8, 22
_TICK_WIDTH: Final = 22
_HIGHEST: Final = 1e300
"""The greatest value that can be drawn. The libraries that draw add and multiply, and floats end at 1.8e308."""
_DAY, _YEAR = 86_400, 365 * 86_400
_TICK_FORMS: Final = (
    (5, "%H:%M:%S.%f"),
    (_DAY, "%H:%M:%S"),
    (_YEAR, "%m-%d %H:%M"),
    (math.inf, "%Y-%m-%d"),
)
"""The format of times along an axis, by the span in seconds below which it is used."""


class Curve(NamedTuple):
    """Values over timestamps, in order; NaN is a gap. ``unit`` is the unit of the timestamps if the series has one."""

    name: str
    times: Sequence[int]
    values: Sequence[float]
    unit: Unit | None = None


def number(value: Any, name: str, time: int) -> float:
    """Return a value as a number that can be drawn. A missing or infinite value is a gap.

    Raises:
        CommandError: the value is no number, or too big.
    """
    try:
        found = math.nan if is_missing(value) else float(_not_text(value))
    except (TypeError, ValueError, OverflowError):
        raise CommandError(
            f"{name!r} has no number at {time} but a {type(value).__name__}: it can't be drawn", USAGE
        ) from None
    if not math.isfinite(found):
        return math.nan
    check_usage(abs(found) < _HIGHEST, f"{name!r} has {found} at {time}, which is too far away to be drawn")
    return found


def _not_text(value: Any) -> Any:
    if isinstance(value, str | bytes):
        raise TypeError
    return value


def steps(curve: Curve) -> Curve:
    """Return the curve of a quantity that keeps its value until the next one.

    >>> steps(Curve('n', [1, 5], [10.0, 20.0]))
    Curve(name='n', times=[1, 5, 5], values=[10.0, 10.0, 20.0], unit=None)
    """
    times, values = list(curve.times[:1]), list(curve.values[:1])
    for time, value in zip(curve.times[1:], curve.values[1:], strict=True):
        times += [time, time]
        values += [values[-1], value]
    return Curve(curve.name, times, values)


def thinned(curve: Curve, columns: int) -> Curve:
    """Return the points that show in a chart of so many columns. No peak is lost.

    >>> thinned(Curve('c', range(100), [float(t % 50) for t in range(100)]), 2)
    Curve(name='c', times=[0, 49, 50, 99], values=[0.0, 49.0, 0.0, 49.0], unit=None)
    """
    times, values = curve.times, curve.values
    if len(times) <= 2 * columns:
        return curve
    width = (times[-1] - times[0]) // columns + 1
    kept: list[int] = []
    for _, group in groupby(range(len(times)), lambda i: (times[i] - times[0]) // width):
        kept += _outline(list(group), values)
    return Curve(curve.name, [times[i] for i in kept], [values[i] for i in kept])


def _outline(places: Sequence[int], values: Sequence[float]) -> list[int]:
    numbers = [i for i in places if not math.isnan(values[i])]
    extremes = {min(numbers, key=values.__getitem__), max(numbers, key=values.__getitem__)} if numbers else set()
    return sorted({places[0], places[-1], *extremes})


def runs(curve: Curve) -> Iterator[Curve]:
    """Yield the parts of a curve between its gaps.

    >>> [list(run.times) for run in runs(Curve('c', [1, 2, 3, 4], [0.5, math.nan, 0.5, 0.5]))]
    [[1], [3, 4]]
    """
    pairs = zip(curve.times, curve.values, strict=True)
    for is_gap, group in groupby(pairs, lambda pair: math.isnan(pair[1])):
        if not is_gap:
            times, values = zip(*group, strict=True)
            yield Curve(curve.name, times, values)


def common_unit(curves: Iterable[Curve]) -> Unit | None:
    """Return the unit that all curves of a chart have, None if there is none.

    If a series has no unit, its last timestamp decides: early ones may be from before 1973.
    """
    units = {curve.unit or spanned(curve.times[0], curve.times[-1]) for curve in curves}
    return units.pop() if len(units) == 1 else None


# -- with characters ---------------------------------------------------------------------------------------------------


def characters(curves: Sequence[Curve], *, colours: bool) -> str:
    """Return curves as lines of characters, as wide as the terminal."""
    try:
        import plotext
    except ModuleNotFoundError as exc:
        raise CommandError(f"drawing needs the package {exc.name}: pip install 'rlib-store[cli]'", USAGE) from None
    size = shutil.get_terminal_size((80, 24))
    width, height = max(_LEAST_WIDTH, size.columns), max(_LEAST_HEIGHT, min(_MOST_HEIGHT, size.lines - 2))
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("simple")
    for curve in curves:
        figure.draw(_signal(figure, thinned(curve, 2 * width)))
    unit = common_unit(curves)
    if unit is not None:
        places, labels = ticks(curves, unit, width // _TICK_WIDTH)
        figure.ruler("x").ticks(places, labels)
    return str(figure.build().string(colorless=not colours))


def _signal(figure: Any, curve: Curve) -> Any:
    """Return a signal of plotext that connects all numbers, except across gaps."""
    parts = [(run.times, run.values) for run in runs(curve)]
    times = [float(time) for part, _ in parts for time in part]
    signal = figure.signal(times, [value for _, part in parts for value in part])
    signal.lines()
    for begin in accumulate(len(part) for part, _ in parts[:-1]):
        signal.line(begin, active=False)
    return signal.label(show_text(curve.name))


def ticks(curves: Sequence[Curve], unit: Unit, count: int) -> tuple[list[float], list[str]]:
    """Return the timestamps of ticks from first to last, and their labels in the local time zone."""
    first, last = min(curve.times[0] for curve in curves), max(curve.times[-1] for curve in curves)
    steps = max(1, count - 1)
    places = sorted({first + (last - first) * i // steps for i in range(steps + 1)})
    span = (last - first) // unit.per_second
    form = next(form for most, form in _TICK_FORMS if span < most)
    return [float(place) for place in places], [_local(unit.seconds(place)).strftime(form) for place in places]


def _local(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()


# -- as a picture ------------------------------------------------------------------------------------------------------


def check_picture(name: str) -> None:
    """Raise an error if no picture can be drawn into a file of this name."""
    if Path(name).suffix.lower() not in _FORMATS:
        raise CommandError(f"pictures are {' or '.join(_FORMATS)} files, not {name!r}", USAGE)


def picture(curves: Sequence[Curve], name: str) -> None:
    """Draw curves into a file: PNG or SVG, as its suffix says."""
    check_picture(name)
    logging.getLogger("matplotlib").setLevel(
        logging.ERROR
    )  # it warns where it can't write at home, and draws all the same
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise CommandError(f"pictures need the package {exc.name}: pip install 'rlib-store[plot]'", USAGE) from None
    figure = Figure(figsize=_INCHES, layout="constrained")  # not pyplot, which would look for a screen
    axes = figure.add_subplot()
    unit = common_unit(curves)
    lines = [axes.plot(_abscissae(curve, unit), curve.values, linewidth=1)[0] for curve in curves]
    if unit is not None:
        _date_axis(axes)
    if len(curves) == 1:
        axes.set_title(show_text(curves[0].name), parse_math=False)
    else:
        _legend(axes, lines, curves)
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(name, dpi=_DPI)


def _legend(axes: Any, lines: Sequence[Any], curves: Sequence[Curve]) -> None:
    for text in axes.legend(lines, [show_text(curve.name) for curve in curves]).get_texts():
        text.set_parse_math(False)  # a $ in a key is a $


def _abscissae(curve: Curve, unit: Unit | None) -> Any:
    if unit is None:
        return curve.times
    import numpy as np  # matplotlib needs it too

    return np.array(curve.times, dtype="int64").astype(f"datetime64[{unit.name}]")


def _date_axis(axes: Any) -> None:
    from dateutil.tz import tzlocal
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=tzlocal())  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=tzlocal())  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
