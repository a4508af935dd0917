"""Frames of numbers and texts, beside raw files and Parquet: ``python -m benchmarks.frames [rounds] [words]``.

With words, the script measures only frames whose names have one of them. Each figure is the median over the rounds.
Speeds are in millions of cells a second. Ratios divide a time by that of the first rival. All writers wait until their
data are on the disk. All readers read data that were just written, from the system's cache. Each peak is that of a
process of its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.core import KEY, timed
from rstore import Store

POINTS = 5_000_000
ROWS = 1_000_000  # of texts, and of frames of several columns


class Rival(NamedTuple):
    """A way to keep a frame in a file: how to write it, and how to read it."""

    write: Callable[[Path, Any], None]
    read: Callable[[Path], Any]


def regular() -> pd.Series:
    """Make noise, one value a second."""
    index = pd.DatetimeIndex(np.arange(POINTS).astype("M8[s]"))
    return pd.Series(np.random.default_rng(1).standard_normal(POINTS), index, name="noise")


def irregular() -> tuple[Any, Any]:
    """Make noise at irregular times in nanoseconds."""
    dice = np.random.default_rng(1)
    return np.cumsum(dice.integers(1, 10**6, POINTS)), dice.standard_normal(POINTS)


def prices() -> pd.Series:
    """Make prices of two decimals, which compress to a third."""
    return (regular().cumsum() + 1000).round(2)


def counts() -> pd.Series:
    """Make numbers with little information: nearly all are 0."""
    return pd.Series(np.random.default_rng(1).poisson(0.01, POINTS).astype(float), regular().index)


def few_texts() -> pd.Series:
    """Make texts of which there are five."""
    words = np.array(["open", "closed", "pending", "in review", "déjà vu"], object)
    return texts(words[np.random.default_rng(1).integers(0, len(words), ROWS)].tolist())


def different_texts() -> pd.Series:
    """Make texts of which hardly two are the same."""
    dice = np.random.default_rng(1)
    return texts([f"message {n} of {many}" for n, many in enumerate(dice.integers(0, ROWS, ROWS).tolist())])


def texts(values: list[str]) -> pd.Series:
    """Make a Series of texts, one a second."""
    return pd.Series(values, np.arange(len(values)).astype("M8[s]"), name="text", dtype="str")


def wide() -> pd.DataFrame:
    """Make ten columns of noise."""
    noise = np.random.default_rng(1).standard_normal((10, ROWS))
    return pd.DataFrame({f"column {i}": row for i, row in enumerate(noise)}, np.arange(ROWS).astype("M8[s]"))


FRAMES: dict[str, Callable[[], Any]] = {
    "a pandas Series, one value a second": regular,
    "a NumPy pair, irregular times": irregular,
    "a pandas Series of prices": prices,
    "a pandas Series of counts, nearly all zero": counts,
    "a pandas Series of texts, five of them": few_texts,
    "a pandas Series of texts that differ": different_texts,
    "the same texts as objects": lambda: different_texts().astype(object),
    "a pandas DataFrame of ten columns": wide,
}


def arrays(frame: Any) -> tuple[Any, Any]:
    """Return the times and values of a frame."""
    return frame if isinstance(frame, tuple) else (frame.index.asi8, frame.to_numpy())


def to_disk(path: Path) -> None:
    """Wait until a file is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_raw(path: Path, frame: Any) -> None:
    with path.open("wb") as file:
        for array in arrays(frame):
            array.tofile(file)
        file.flush()
        os.fsync(file.fileno())


def read_raw(path: Path) -> Any:
    with path.open("rb") as file:
        return np.fromfile(file, np.int64, POINTS), np.fromfile(file, np.float64, POINTS)


def write_parquet(path: Path, frame: Any) -> None:
    if isinstance(frame, tuple):
        frame = pd.Series(frame[1], frame[0])
    (frame.to_frame("value") if isinstance(frame, pd.Series) else frame).to_parquet(path)
    to_disk(path)


def write_store(path: Path, frame: Any, key: str | None = None, durability: str = "full") -> None:
    with Store(f"sqlite:///{path}?durability={durability}", key=key, frozen=False) as store:
        store.extend("series", frame)


def read_store(path: Path, to: str, key: str | None = None) -> Any:
    with Store(path, key=key) as store:
        return store.range("series", to=to)


def rivals(frame: Any) -> dict[str, Rival]:
    """Return the rivals by name. All others are compared with the first."""
    to = "numpy" if isinstance(frame, tuple) else "pandas"
    return {
        **({"numpy tofile, fromfile": Rival(write_raw, read_raw)} if cells(frame) == POINTS else {}),
        "pandas to_parquet, read_parquet": Rival(write_parquet, pd.read_parquet),
        "rstore": Rival(write_store, partial(read_store, to=to)),
        "rstore, encrypted": Rival(partial(write_store, key=KEY), partial(read_store, to=to, key=KEY)),
        "rstore, durability=normal": Rival(partial(write_store, durability="normal"), partial(read_store, to=to)),
    }


def cells(frame: Any) -> int:
    """Return how many values a frame has."""
    return len(frame[0]) if isinstance(frame, tuple) else frame.size


def measure(name: str, rounds: int) -> None:
    """Print the table of a frame."""
    frame = FRAMES[name]()
    taken: dict[str, list[tuple[float, float, int]]] = {}
    for turn in range(rounds):
        everybody = list(rivals(frame).items())
        random.Random(turn).shuffle(everybody)  # memory is warm or not, as the rival before has left it
        for rival, (write, read) in everybody:
            with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
                path = Path(folder) / "file"
                times = timed(partial(write, path, frame)), timed(partial(read, path))
                taken.setdefault(rival, []).append((*times, path.stat().st_size))
    print(f"{name}\n{'':34}{'in':>12}{'ratio':>8}{'out':>12}{'ratio':>8}{'on disk':>10}")
    raw_in, raw_out, _ = map(median, zip(*taken[next(iter(rivals(frame)))], strict=True))
    for rival in rivals(frame):
        rows = taken[rival]
        seconds_in, seconds_out, size = map(median, zip(*rows, strict=True))
        print(
            f"  {rival:32}{cells(frame) / seconds_in / 1e6:8.1f} M/s{seconds_in / raw_in:8.2f}"
            f"{cells(frame) / seconds_out / 1e6:8.1f} M/s{seconds_out / raw_out:8.2f}{size / 1e6:7.0f} MB",
            flush=True,
        )


def peak(what: str) -> float:
    """Return the peak memory of a process that only makes the frame, or also writes and reads it, in MB."""
    script = f"""
import sys
from pathlib import Path
from benchmarks.frames import read_store, regular, write_store
frame = regular()
if {what!r} in ("in", "out"):
    write_store(Path(sys.argv[1]), frame)
if {what!r} == "out":
    del frame
    read_store(Path(sys.argv[1]), "pandas")
with open("/proc/self/status") as status:  # the peak of getrusage includes that of the parent
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
        root = Path(__file__).parent.parent
        found = subprocess.check_output([sys.executable, "-c", script, str(Path(folder) / "file")], cwd=root)
    return int(found) / 1e3


def main() -> None:
    """Print the tables."""
    rounds, words = int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:]
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, pandas {pd.__version__}, {os.cpu_count()} cores")
    for name in FRAMES:
        if not words or any(word in name for word in words):
            measure(name, rounds)
    made, written, read = map(peak, ("made", "in", "out"))
    print(f"peak memory: frame made {made:.0f} MB, written {written:.0f} MB, dropped and read again {read:.0f} MB")


if __name__ == "__main__":
    main()
