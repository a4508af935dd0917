"""Reads of a long series, beside pandas in memory: ``python -m benchmarks.series [rounds] [points]``.

The series are floats, one a second, and floats at irregular seconds. Each figure is a median over the rounds, and a
ratio divides two medians. rstore and pandas take turns. rstore reads a file from the system's cache. pandas has the
whole series in memory. A round makes each short read a hundred times, at other places.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.core import KEY
from rstore import Store

POINTS = 5_000_000
SHORT = 100  # reads of one round


def regular(points: int) -> pd.Series:
    """Make noise, one value a second."""
    return pd.Series(np.random.default_rng(1).standard_normal(points), np.arange(points).astype("M8[s]"))


def irregular(points: int) -> pd.Series:
    """Make noise at times that are one to three seconds apart."""
    dice = np.random.default_rng(1)
    return pd.Series(dice.standard_normal(points), np.cumsum(dice.integers(1, 4, points)).astype("M8[s]"))


def resampling(store: Store, series: pd.Series) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Yield a name, the call of rstore, and that of pandas."""
    for freq, how in (("1h", "mean"), ("1h", "ohlc"), ("7D", "mean"), ("30D", "max")):
        yield (
            f"resample {freq}, {how}",
            lambda freq=freq, how=how: store.resample("key", freq, how),  # type: ignore[misc]
            lambda freq=freq, how=how: getattr(series.resample(freq), how)(),  # type: ignore[misc]
        )


def short_reads(store: Store, times: Any) -> dict[str, Callable[[], Any]]:
    """Return the reads of few points by name."""
    chosen = times[:-10].tolist()
    return {
        "last": lambda: store.last("key"),
        "first": lambda: store.first("key"),
        "range of 10 seconds": lambda: store.range("key", at := random.choice(chosen), end=at + 9),
        "range, n=10": lambda: store.range("key", random.choice(chosen), n=10),
        "time_axis": lambda: store.time_axis("key"),
    }


def timed(function: Callable[[], Any], times: int = 1) -> float:
    """Return how many seconds of the processor a call took."""
    start = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - start) / times


def measure(series: pd.Series, rounds: int, key: str | None) -> None:
    """Print the figures of a series."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(f"sqlite:///{Path(folder) / 'file'}", key=key, frozen=False) as store,
    ):
        store.extend("key", series)
        for name, ours, theirs in resampling(store, series):
            pairs = [(timed(ours), timed(theirs)) for _ in range(rounds + 1)][1:]
            mine, rival = map(median, zip(*pairs, strict=True))
            print(f"  {name:24}{mine * 1e3:8.1f} ms{rival * 1e3:8.1f} ms{mine / rival:8.2f}", flush=True)
        for name, read in short_reads(store, series.index.asi8).items():
            print(f"  {name:24}{median(timed(read, SHORT) for _ in range(rounds)) * 1e6:8.0f} us", flush=True)


def main() -> None:
    """Print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    points = int(sys.argv[2]) if len(sys.argv) > 2 else POINTS
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, pandas {pd.__version__}; {points:,} points")
    for make in (regular, irregular):
        for key in (None, KEY):
            print(f"{make.__name__}{', encrypted' if key else ''}{'':16}rstore     pandas   ratio")
            measure(make(points), rounds, key)


if __name__ == "__main__":
    main()
