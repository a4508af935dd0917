"""The standard streams of the process: all are there at its beginning, and all is written at its end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def fill_in() -> None:
    """Put something in the place of each standard stream that the caller has closed, as in ``rstore log >&-``.

    Otherwise the next file that is opened gets its descriptor, and Python has None where a stream should be. The
    descriptors are filled in order, since each new one is the lowest that is free. Standard output is opened for
    reading only: then writing to it fails, as it should.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  # it stays open as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def tell(message: str) -> None:
    """Print a line on standard error. If that can't be written, nobody is left to be told."""
    with suppress(OSError):
        print(message, file=sys.stderr)


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that comes, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def settle() -> None:
    """Leave nothing in the streams for the interpreter to write.

    It would do so when the command is over, and could say what goes wrong in words of its own only.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)
