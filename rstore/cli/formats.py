"""How a file is written: as was said, as its name says, or as its first bytes do."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from rstore.cli.command import check_usage

Written: TypeAlias = Literal["jsonl", "csv", "parquet"]

STANDARD: Final = "-"

_SUFFIXES: Final[Mapping[str, Written]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
}
_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_LOOKED_AT: Final = 1 << 12


class Source(NamedTuple):
    """What is read, and how it is written."""

    file: Any
    written: Written


def said_or_named(file: str, form: str | None) -> Written | None:
    """Return how a file is written: as was said, or as its name says; None if neither does.

    >>> [said_or_named(name, None) for name in ('a.tsv', 'A.CSV.gz', 'a.pq', 'a.jsonl', '-')]
    ['csv', 'csv', 'parquet', 'jsonl', None]
    """
    if form is None:
        return _SUFFIXES.get(Path(file.lower().removesuffix(".gz")).suffix)
    check_usage(form in get_args(Written), f"--format is {' or '.join(get_args(Written))}, not {form!r}")
    return cast("Written", form)


def looks_like(beginning: bytes) -> Written:
    """Return how a file is written that begins with these bytes: with a JSON object, as Parquet, else as a table.

    >>> looks_like(b' {"rstore": 1}'), looks_like(b'PAR1'), looks_like(b'time,value'), looks_like(b'')
    ('jsonl', 'parquet', 'csv', 'csv')
    """
    if beginning.startswith(_PARQUET):
        return "parquet"
    return "jsonl" if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "csv"


@contextmanager
def source_of(file: str, form: str | None) -> Iterator[Source]:
    """Yield what is to be read: a name, or what is open if that can be read only once, such as a pipe."""
    written = said_or_named(file, form)
    if file == STANDARD:
        yield _stream(sys.stdin.buffer, written)
    elif Path(file).is_file():
        yield Source(file, written or _looked_at(file))
    else:
        with open(file, "rb") as stream:
            yield _stream(stream, written)


def _looked_at(file: str) -> Written:
    with open(file, "rb") as data:
        beginning = data.read(_LOOKED_AT)
    if beginning.startswith(_GZIP) and file.lower().endswith(".gz"):
        from rstore.transfer.files import DAMAGED

        with suppress(*DAMAGED), gzip.open(file) as unpacked:
            beginning = unpacked.read(_LOOKED_AT)
    return looks_like(beginning)


def _stream(stream: BinaryIO, written: Written | None) -> Source:
    buffered = cast("io.BufferedReader", stream)
    form = written or looks_like(buffered.peek(_LOOKED_AT))
    if form == "parquet":
        return Source(stream, form)
    return Source(io.TextIOWrapper(buffered, "utf-8", newline=""), form)
