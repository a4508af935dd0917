"""Files that the caller names, compressed or not, or has opened already."""

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
"""The errors of an archive that is no gzip, or damaged, or cut off."""

_OPTIONS: Final[dict[str, Any]] = {"encoding": "utf-8", "newline": ""}


def name_of(file: TextFile | BinaryFile) -> str:
    """Return the name of a file; empty if it was given open."""
    return os.fspath(file) if isinstance(file, str | os.PathLike) else ""


@contextmanager
def written(file: TextFile) -> Iterator[TextIO]:
    """Yield a file to write text to. A named file is complete at the end, or unchanged if anything fails."""
    if not isinstance(file, str | os.PathLike):
        yield file
        file.flush()
        return
    path = os.fspath(file)
    with _replacing(path) as part, _open_as(path, part, "w") as text:
        yield text


@contextmanager
def written_bytes(file: BinaryFile) -> Iterator[BinaryIO]:
    """Yield a file to write bytes to, in the same way."""
    if not isinstance(file, str | os.PathLike):
        yield file
        file.flush()
        return
    with _replacing(os.fspath(file)) as part, open(part, "wb") as data:
        yield data


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Yield the name of a new file that replaces another one once it is complete and safe on the disk.

    It has the permissions of the other one. A path that is no regular file, such as a device or a pipe, is yielded as
    it is.
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
    """Yield a function that returns the file from its beginning each time it is called.

    A file that can't seek, such as a pipe, is copied to a temporary file.

    Raises:
        StoreError: the file is no text, or a damaged archive.
    """
    try:
        with _rewindable(file) as again:
            yield again
    except DAMAGED as exc:
        raise StoreError(f"the file is no whole archive of gzip: it is damaged, or cut off ({exc})") from None
    except UnicodeDecodeError as exc:
        if exc.start == 0 and exc.object[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
            raise StoreError(
                "the file is text in UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"
            ) from None
        byte = f"0x{exc.object[exc.start]:02x}"
        raise StoreError(f"the file is no text in UTF-8, where byte {byte} is invalid: convert it first") from None


@contextmanager
def seekable(file: BinaryFile) -> Iterator[BinaryFile]:
    """Yield a file that can seek. A file that can't is copied to a temporary file."""
    if isinstance(file, str | os.PathLike) or file.seekable():
        yield file
        return
    with tempfile.TemporaryFile(prefix="rstore-") as temporary:
        shutil.copyfileobj(file, temporary)
        temporary.seek(0)
        yield temporary


@contextmanager
def _rewindable(file: TextFile) -> Iterator[Callable[[], TextIO]]:
    if isinstance(file, str | os.PathLike):
        path = os.fspath(file)
        with _open_as(path, path, "r") as text:
            yield lambda: _at(text, 0)
    elif file.seekable():
        begin = file.tell()
        try:
            yield lambda: _at(file, begin)
        except BaseException:
            file.seek(begin)  # so that a caller that tries again reads the same
            raise
    else:
        with tempfile.TemporaryFile("w+", prefix="rstore-", **_OPTIONS) as temporary:
            shutil.copyfileobj(file, temporary)
            yield lambda: _at(temporary, 0)


def _open_as(path: str, name: str, mode: str) -> TextIO:
    """Open a file, compressed if the ``path`` that it will have ends in ``.gz``."""
    if path.endswith(".gz"):
        return cast("TextIO", gzip.open(name, f"{mode}t", compresslevel=1, **_OPTIONS))  # the caller closes it
    return cast("TextIO", open(name, mode, **_OPTIONS))


def _at(text: TextIO, offset: int) -> TextIO:
    text.seek(offset)
    return text
