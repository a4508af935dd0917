"""Codecs for columns of numbers, on real data: ``python -m benchmarks.codecs [rounds] [words]``.

With words, the script measures only columns whose names have one of them. The data come from packages that ship them,
and the codecs from packages or the standard library. For each part that is not installed, it prints how to install it.

A codec gets a column as rstore keeps it: little-endian values of 8 bytes, in segments of at most 65,536 points. It has
to return every bit. Ratios divide the bytes before by those after, without times and headers. Speeds count the bytes
before, in MB/s of processor time. They are medians over the rounds, each of which repeats a short column.

The last columns estimate the time of ``extend`` and ``range`` on SQLite for each MB of values, in ms. The script
measures both for noise, which no codec shrinks. From that it subtracts the time of today's codec, and adds that of the
other one. For each MB that a codec saves, it subtracts the time of the raw driver for a blob, and of its checksum.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data_sets import columns, installed
from rstore import Store
from rstore.encoding.bodies import COMPRESSED, compressed_typed

SEGMENT = 1 << 16  # points
POINTS = 2_000_000  # of the noise that goes through a store
AT_LEAST = 1 << 21  # bytes that a round codes: shorter columns repeatedly
MOST_DIGITS = 6
MB = 1e6


# -- codecs -----------------------------------------------------------------------------------------------------------


class Codec(NamedTuple):
    """Two functions: one makes bytes of an array of 8-byte numbers, the other makes the array of bytes and a type.

    ``encode`` returns None where the codec can't code the numbers: the store then keeps them as they are.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any, Any], Any]


def shuffled(values: Any) -> Any:
    """Return the first byte of each value, then the second of each, and so on."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, 8).T)


def unshuffled(data: Any, dtype: Any) -> Any:
    """Return the values that :func:`shuffled` has shuffled."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(8, -1).T).view(dtype).reshape(-1)


def steps(values: Any) -> Any:
    """Return the differences of neighbours, as 64-bit integers that may wrap around."""
    return np.diff(values.view(np.uint64), prepend=np.uint64(0))


def by_bytes(pack: Callable[[Any], Any], unpack: Callable[[Any], Any], *, shuffle: bool, step: bool = False) -> Codec:
    """Return a codec of a compressor of bytes, after shuffling, or after taking steps and shuffling."""

    def encode(values: Any) -> Any:
        values = steps(values) if step else values
        return pack(memoryview(shuffled(values) if shuffle else values).cast("B"))

    def decode(data: Any, dtype: Any) -> Any:
        values = unshuffled(unpack(data), np.uint64) if shuffle else np.frombuffer(unpack(data), np.uint64)
        return (values.cumsum(dtype=np.uint64) if step else values).view(dtype)

    return Codec(encode, decode)


def as_today(values: Any) -> Any:
    """Return the bytes that rstore keeps today, after a byte of flags: it takes zlib only where an eighth is left."""
    body = compressed_typed(0, values.tobytes())
    return bytes((body.flags,)) + body.data


def from_today(data: Any, dtype: Any) -> Any:
    """Return the values that :func:`as_today` has coded."""
    body = memoryview(data)[1:]
    return np.frombuffer(zlib.decompress(body) if data[0] & COMPRESSED else body, np.uint8).copy().view(dtype)


def narrowed(values: Any) -> Any:
    """Return numbers as narrow integers above the least; floats first count a decimal, if all bits then come back.

    This is a frame of reference, as in ALP: rows can be read one by one, and no library is needed. The highest integer
    stands for NaN. A column with infinity, -0.0 or another NaN does not come back, so it is kept as it is.
    """
    digits, missing = 0, np.zeros(len(values), bool)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.all() or (values[missing].view(np.int64) != np.float64("nan").view(np.int64)).any():
            return None
        values = np.where(missing, values[missing.argmin()], values) if missing.any() else values
        exact = next(((n, ints) for n in range(MOST_DIGITS + 1) if (ints := counted(values, n)) is not None), None)
        if exact is None:
            return None
        digits, values = exact
    low, high = int(values.min()), int(values.max())
    width = next((width for width in (1, 2, 4) if high - low < (1 << 8 * width) - 1), 8)
    if width == 8:
        return None
    narrow = (values - low).astype(f"u{width}")
    narrow[missing] = (1 << 8 * width) - 1
    return bytes((digits, width, int(missing.any()))) + low.to_bytes(8, "little", signed=True) + narrow.tobytes()


def counted(values: Any, digits: int) -> Any:
    """Return floats as multiples of a decimal, or None if one has other bits when it comes back."""
    for part in (values[:64], values):  # most columns that don't come back show it at once
        scaled = np.rint(part * 10.0**digits)
        if not np.abs(scaled).max() < 2**53:
            return None
        ints = scaled.astype(np.int64)  # compared after this step, which loses the sign of -0.0
        if not np.array_equal((ints / 10.0**digits).view(np.int64), part.view(np.int64)):
            return None
    return ints


def widened(data: Any, dtype: Any) -> Any:
    """Return the numbers that :func:`narrowed` has coded."""
    digits, width, has_missing = data[:3]
    low = int.from_bytes(data[3:11], "little", signed=True)
    narrow = np.frombuffer(data, f"u{width}", offset=11)
    values = narrow.astype(dtype)
    values += low
    if digits:
        values /= 10.0**digits
    if has_missing:
        values[narrow == (1 << 8 * width) - 1] = np.nan
    return values


def of_pcodec() -> dict[str, Codec]:
    pco, config = importlib.import_module("pcodec.standalone"), importlib.import_module("pcodec").ChunkConfig
    return {
        f"pcodec {level}": Codec(
            lambda values, level=level: pco.simple_compress(values, config(compression_level=level)),  # type: ignore[misc]
            lambda data, _: pco.simple_decompress(data),
        )
        for level in (1, 8)
    }


def of_zstd() -> dict[str, Codec]:
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

    def pack(data: Any) -> Any:
        return zstd.compress(data, 1)

    return {
        "zstd 1": by_bytes(pack, zstd.decompress, shuffle=False),
        "shuffle, zstd 1": by_bytes(pack, zstd.decompress, shuffle=True),
        "steps, shuffle, zstd 1": by_bytes(pack, zstd.decompress, shuffle=True, step=True),
    }


def of_lz4() -> dict[str, Codec]:
    lz4 = importlib.import_module("lz4.frame")
    return {"shuffle, lz4": by_bytes(lz4.compress, lz4.decompress, shuffle=True)}


def of_blosc2() -> dict[str, Codec]:
    blosc2 = importlib.import_module("blosc2")
    blosc2.set_nthreads(1)
    return {
        f"blosc2 {mode.name.lower()}, {codec.name.lower()}": Codec(
            lambda values, mode=mode, codec=codec: blosc2.compress2(  # type: ignore[misc]
                values, codec=codec, clevel=1, filters=[mode], filters_meta=[0], typesize=8, nthreads=1
            ),
            lambda data, dtype: np.frombuffer(blosc2.decompress2(data, nthreads=1), dtype),
        )
        for mode, codec in ((blosc2.Filter.SHUFFLE, blosc2.Codec.LZ4), (blosc2.Filter.BITSHUFFLE, blosc2.Codec.ZSTD))
    }


def of_numpy() -> dict[str, Codec]:
    def pack(data: Any) -> bytes:
        return zlib.compress(data, 1)

    return {
        "today": Codec(as_today, from_today),
        "zlib 1": by_bytes(pack, zlib.decompress, shuffle=False),
        "shuffle, zlib 1": by_bytes(pack, zlib.decompress, shuffle=True),
        "steps, shuffle, zlib 1": by_bytes(pack, zlib.decompress, shuffle=True, step=True),
        "narrow integers": Codec(narrowed, widened),
    }


CODECS: dict[str, Callable[[], dict[str, Codec]]] = {
    "numpy": of_numpy,
    "backports.zstd": of_zstd,
    "lz4": of_lz4,
    "blosc2": of_blosc2,
    "pcodec": of_pcodec,
}
"""By the package that has the codecs: a function that returns them by name."""


# -- measuring --------------------------------------------------------------------------------------------------------


class Figures(NamedTuple):
    """The ratio of bytes of a codec for a column, and the ms of the processor for each MB before, in and out."""

    ratio: float
    into: float
    out: float


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many ms of the processor a call took, and its result."""
    start = time.process_time()
    result = function()
    return (time.process_time() - start) * 1e3, result


def measure(codec: Codec, values: Any, rounds: int) -> Figures:
    """Return the figures of a codec for a column, after it has returned every bit of it."""
    parts = [values[low : low + SEGMENT] for low in range(0, len(values), SEGMENT)]
    repeats = max(1, AT_LEAST // values.nbytes)
    coded: list[Any] = []
    decoded: list[Any] = []

    def into() -> None:
        for _ in range(repeats):
            coded[:] = [codec.encode(part) for part in parts]

    def out() -> None:
        for _ in range(repeats):
            decoded[:] = [
                part.copy() if data is None else codec.decode(data, part.dtype)
                for data, part in zip(coded, parts, strict=True)
            ]

    pairs = [(timed(into)[0], timed(out)[0]) for _ in range(rounds + 1)][1:]
    if any(part.tobytes() != back.tobytes() for part, back in zip(parts, decoded, strict=True)):
        raise AssertionError("a codec has lost bits")
    size = sum(part.nbytes if data is None else len(data) for data, part in zip(coded, parts, strict=True))
    ms_in, ms_out = (median(each) / repeats / (values.nbytes / MB) for each in zip(*pairs, strict=True))
    return Figures(values.nbytes / size, ms_in, ms_out)


def of_store(values: Any, rounds: int) -> tuple[float, float]:
    """Return the ms of ``extend`` and ``range`` for each MB that the values have, or would have in 8 bytes each."""
    times = np.arange(len(values))

    def once() -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
            path = Path(folder) / "file"

            def write() -> None:
                with Store(path, frozen=False) as store:
                    store.extend("key", (times, values))

            def read() -> Any:
                with Store(path) as store:
                    return store.range("key", to="numpy")

            return timed(write)[0], timed(read)[0]

    ms = [once() for _ in range(rounds + 1)][1:]
    into, out = (median(each) / (8 * len(values) / MB) for each in zip(*ms, strict=True))
    return into, out


def of_sqlite(rounds: int) -> tuple[float, float]:
    """Return the ms of the raw driver for each MB of blobs, in and out, with a checksum."""
    blob = np.random.default_rng(1).bytes(8 * SEGMENT)
    number = 8 * POINTS // len(blob)

    def once() -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("RSTORE_BENCH_DIR")) as folder:
            path = Path(folder) / "file"

            def write() -> None:
                with closing(sqlite3.connect(path)) as raw:
                    raw.execute("pragma journal_mode=wal")
                    raw.execute("create table blobs (id integer primary key, data blob)")
                    with raw:
                        checked = (blob for _ in range(number) if zlib.crc32(blob))
                        raw.executemany("insert into blobs (data) values (?)", ((data,) for data in checked))

            def read() -> None:
                with closing(sqlite3.connect(path)) as raw:
                    for (data,) in raw.execute("select data from blobs"):
                        zlib.crc32(data)

            return timed(write)[0], timed(read)[0]

    ms = [once() for _ in range(rounds + 1)][1:]
    into, out = (median(each) / (number * len(blob) / MB) for each in zip(*ms, strict=True))
    return into, out


def show(name: str, figures: Figures, store: tuple[float, float], sqlite: tuple[float, float]) -> None:
    """Print a line: the codec alone, and the estimate for a store."""
    saved = 1 - 1 / figures.ratio
    into, out = store[0] + figures.into - saved * sqlite[0], store[1] + figures.out - saved * sqlite[1]
    speeds = [f"{1e3 / max(ms, 0.01):10.0f}" for ms in (figures.into, figures.out)]
    print(f"  {name:28}{figures.ratio:7.1f}{''.join(speeds)}{into:9.1f}{out:8.1f}{into + out:8.1f}", flush=True)


def main() -> None:
    """Print a table for each column, and then one for each group, of medians over its columns."""
    rounds, words = int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:]
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, {os.cpu_count()} cores")
    codecs, arrays = dict(installed(CODECS)), columns(words)
    noise = np.random.default_rng(1).standard_normal(POINTS)
    today = measure(Codec(as_today, from_today), noise, rounds)
    whole, sqlite = of_store(noise, rounds), of_sqlite(rounds)
    store = whole[0] - today.into, whole[1] - today.out
    print(f"ms for each MB, in and out: extend, range {whole[0]:.1f} {whole[1]:.1f}, ", end="")
    print(f"the raw driver with a checksum {sqlite[0]:.1f} {sqlite[1]:.1f}")
    for dtype in ("int64", "int32", "int16"):
        into, out = of_store((noise * 1000).astype(dtype), rounds)
        print(f"in a store, as {dtype}: {into:.1f} {out:.1f}, by the MB of int64")
    head = f"{'':30}{'ratio':>7}{'in MB/s':>10}{'out MB/s':>10}{'extend':>9}{'range':>8}{'both':>8}"
    groups: dict[str, dict[str, list[Figures]]] = {}
    for name, values in arrays.items():
        print(f"{name}: {len(values):,} of {values.dtype}\n{head}")
        for codec, coder in codecs.items():
            figures = measure(coder, values, rounds)
            groups.setdefault(name.split()[0], {}).setdefault(codec, []).append(figures)
            show(codec, figures, store, sqlite)
    for group, rows in groups.items():
        print(f"medians of {group}\n{head}")
        for codec, many in rows.items():
            show(codec, Figures(*map(median, zip(*many, strict=True))), store, sqlite)


if __name__ == "__main__":
    main()
