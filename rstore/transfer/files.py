"""Files as they are given: by name, compressed or not, or open already."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import tempfile
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final, TextIO, TypeAlias, cast

from rstore.domain.errors import StoreError

TextFile: TypeAlias = str | os.PathLike[str] | TextIO
"""A file by its name, which may end in ``.gz``, or one that is open for text."""

BinaryFile: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A file by its name, or one that is open for bytes."""

DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error)
"""What is raised when an archive is none, or not whole."""

_OPTIONS: Final[dict[str, Any]] = {"encoding": "utf-8", "newline": ""}


@contextmanager
def written(file: TextFile) -> Iterator[TextIO]:
    """Yield what text is to be written to. By its name, a file is there as a whole at the end, or as it was before."""
    if not isinstance(file, str | os.PathLike):
        yield file
        file.flush()
        return
    path = os.fspath(file)
    with _replacing(path) as part, _open_as(path, part, "w") as text:
        yield text


@contextmanager
def written_bytes(file: BinaryFile) -> Iterator[BinaryIO]:
    """Yield what bytes are to be written to, likewise."""
    if not isinstance(file, str | os.PathLike):
        yield file
        file.flush()
        return
    with _replacing(os.fspath(file)) as part, open(part, "wb") as data:
        yield data


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Yield the name of a file that takes the place of another one once it is complete and safe.

    Who may read the other one may read it. What is no regular file, such as a device or a pipe, is written to as it is.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    there = os.path.realpath(path)  # a symbolic link goes on leading to the file
    mode = os.stat(there).st_mode & 0o777 if os.path.exists(there) else 0o666
    part = f"{there}.{secrets.token_hex(4)}.part"
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        yield part
        with open(part, "rb") as whole:
            os.fsync(whole.fileno())
        os.replace(part, there)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise


@contextmanager
def read_again(file: TextFile) -> Iterator[Callable[[], TextIO]]:
    """Yield what returns the file from its beginning, each time that it is called.

    One that can't be wound back, such as a pipe, is set aside in a temporary file.

    Raises:
        StoreError: it is no text, or a damaged archive.
    """
    try:
        with _wound_back(file) as again:
            yield again
    except DAMAGED as exc:
        raise StoreError(f"the file is no whole archive of gzip: it is damaged, or cut off ({exc})") from None
    except UnicodeDecodeError as exc:
        if exc.start == 0 and exc.object[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
            raise StoreError(
                "the file is text in UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"
            ) from None
        byte = f"0x{exc.object[exc.start]:02x}"
        raise StoreError(f"the file is no text in UTF-8, which has no byte {byte} there: convert it first") from None


@contextmanager
def seekable(file: BinaryFile) -> Iterator[BinaryFile]:
    """Yield a file in which a reader may go back: one that can't be wound back is set aside in a temporary file."""
    if isinstance(file, str | os.PathLike) or file.seekable():
        yield file
        return
    with tempfile.TemporaryFile(prefix="rstore-") as aside:
        shutil.copyfileobj(file, aside)
        aside.seek(0)
        yield aside


@contextmanager
def _wound_back(file: TextFile) -> Iterator[Callable[[], TextIO]]:
    if isinstance(file, str | os.PathLike):
        path = os.fspath(file)
        with _open_as(path, path, "r") as text:
            yield lambda: _at(text, 0)
    elif file.seekable():
        begin = file.tell()
        try:
            yield lambda: _at(file, begin)
        except BaseException:
            file.seek(begin)  # so that who repeats what has failed reads the same again
            raise
    else:
        with tempfile.TemporaryFile("w+", prefix="rstore-", **_OPTIONS) as aside:
            shutil.copyfileobj(file, aside)
            yield lambda: _at(aside, 0)


def _open_as(path: str, name: str, mode: str) -> TextIO:
    """Open the file of a name as what another one says that it is."""
    if path.endswith(".gz"):
        return cast("TextIO", gzip.open(name, f"{mode}t", compresslevel=1, **_OPTIONS))  # who calls does
    return cast("TextIO", open(name, mode, **_OPTIONS))


def _at(text: TextIO, place: int) -> TextIO:
    text.seek(place)
    return text
