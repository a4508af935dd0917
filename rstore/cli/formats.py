"""The format of a file: the one that the user gave, the one of its name, or the one of its first bytes."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from rstore.cli.exit_codes import check_usage

FileFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]

STANDARD: Final = "-"

_SUFFIXES: Final[Mapping[str, FileFormat]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
}
TABLE_SUFFIXES: Final = [suffix for suffix, found in _SUFFIXES.items() if found != "jsonl"]
_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_SAMPLE_BYTES: Final = 1 << 12


class Source(NamedTuple):
    """The input of an import: its name or an open file, and its format."""

    file: Any
    format: FileFormat


def format_of_name(file: str, given: str | None) -> FileFormat | None:
    """Return the format that the user gave, or the one of the file's name; None if there is neither.

    >>> [format_of_name(name, None) for name in ('a.tsv', 'A.CSV.gz', 'a.pq', 'a.jsonl', '-')]
    ['csv', 'csv', 'parquet', 'jsonl', None]
    """
    if given is None:
        return _SUFFIXES.get(Path(file.lower().removesuffix(".gz")).suffix)
    check_usage(given in get_args(FileFormat), f"--format is {' or '.join(get_args(FileFormat))}, not {given!r}")
    return cast("FileFormat", given)


def format_of_content(beginning: bytes) -> FileFormat:
    """Return the format of a file that begins with these bytes: a JSON object, Parquet's mark, or else a table.

    >>> [format_of_content(data) for data in (b' {"rstore": 1}', b'PAR1', b'time,value', b'')]
    ['jsonl', 'parquet', 'csv', 'csv']
    """
    if beginning.startswith(_PARQUET):
        return "parquet"
    return "jsonl" if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "csv"


@contextmanager
def source_of(file: str, given: str | None) -> Iterator[Source]:
    """Yield the input: its name, or an open file if it can be read only once, as a pipe can."""
    known = format_of_name(file, given)
    if file == STANDARD:
        yield _opened(sys.stdin.buffer, known)
    elif Path(file).is_file():
        yield Source(file, known or _sampled(file))
    else:
        with open(file, "rb") as stream:
            yield _opened(stream, known)


def _sampled(file: str) -> FileFormat:
    with open(file, "rb") as data:
        beginning = data.read(_SAMPLE_BYTES)
    if beginning.startswith(_GZIP) and file.lower().endswith(".gz"):
        from rstore.transfer.files import DAMAGED

        with suppress(*DAMAGED), gzip.open(file) as unpacked:
            beginning = unpacked.read(_SAMPLE_BYTES)
    return format_of_content(beginning)


def _opened(stream: BinaryIO, known: FileFormat | None) -> Source:
    buffered = cast("io.BufferedReader", stream)
    found = known or format_of_content(buffered.peek(_SAMPLE_BYTES))
    return Source(stream if found == "parquet" else io.TextIOWrapper(buffered, "utf-8", newline=""), found)
